//! Mirrors: put to all, get from the first whose bytes are right.

use std::path::{Path, PathBuf};

use client::storage::{AccessPolicy, ObjectStorage, StorageError, directory_url};
use wire::{CipherSuite, Digest, PayloadReference};

struct Mirrors {
    _root: tempfile::TempDir,
    source: PathBuf,
    target: PathBuf,
    directories: Vec<PathBuf>,
    storage: ObjectStorage,
    reference: PayloadReference,
}

const NAME: &str = "x.payload";

async fn mirrors(bytes: &[u8]) -> Mirrors {
    let root = tempfile::tempdir().unwrap();
    let source = root.path().join("source");
    std::fs::write(&source, bytes).unwrap();
    let directories: Vec<_> = ["a", "b", "c"].map(|name| root.path().join(name)).into();
    for directory in &directories {
        std::fs::create_dir(directory).unwrap();
    }
    let urls: Vec<_> = directories
        .iter()
        .map(|d| directory_url(d).unwrap())
        .collect();
    let storage = ObjectStorage::new(AccessPolicy::unrestricted(), None).unwrap();
    let locations = storage.put(&source, NAME, &urls).await.unwrap();
    Mirrors {
        source,
        target: root.path().join("target"),
        directories,
        storage,
        reference: PayloadReference {
            locations,
            sha256: Digest::of(&[bytes]),
            bytes: bytes.len() as u64,
            cipher: CipherSuite::Aes256GcmStream,
        },
        _root: root,
    }
}

fn flip_a_bit(directory: &Path) {
    let path = directory.join(NAME);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

fn payload() -> Vec<u8> {
    // Over one write of the store, so that chunks are joined.
    (0..9_000_000u32).map(|n| (n % 251) as u8).collect()
}

#[tokio::test]
async fn a_payload_is_in_every_mirror_and_comes_back_whole() {
    let bytes = payload();
    let mirrors = mirrors(&bytes).await;
    for directory in &mirrors.directories {
        assert_eq!(std::fs::read(directory.join(NAME)).unwrap(), bytes);
        // Nothing half-written is left beside it.
        assert_eq!(std::fs::read_dir(directory).unwrap().count(), 1);
    }
    let (storage, reference) = (&mirrors.storage, &mirrors.reference);
    storage
        .download(reference, &mirrors.target, 1)
        .await
        .unwrap();
    assert_eq!(std::fs::read(&mirrors.target).unwrap(), bytes);
    assert!(mirrors.source.exists());
}

#[tokio::test]
async fn a_flipped_bit_or_a_cut_or_missing_copy_leads_to_the_next_mirror() {
    let bytes = payload();
    let mirrors = mirrors(&bytes).await;
    flip_a_bit(&mirrors.directories[0]);
    let cut = &bytes[..bytes.len() - 1];
    std::fs::write(mirrors.directories[1].join(NAME), cut).unwrap();
    let (storage, reference) = (&mirrors.storage, &mirrors.reference);
    for location in &reference.locations[..2] {
        let error = storage.get(reference, location, &mirrors.target).await;
        assert!(
            matches!(error, Err(StorageError::Corrupt { .. })),
            "{error:?}"
        );
    }
    storage
        .download(reference, &mirrors.target, 1)
        .await
        .unwrap();
    assert_eq!(std::fs::read(&mirrors.target).unwrap(), bytes);
    std::fs::remove_file(mirrors.directories[0].join(NAME)).unwrap();
    storage
        .download(reference, &mirrors.target, 1)
        .await
        .unwrap();
}

#[tokio::test]
async fn corrupt_everywhere_is_told_from_unavailable() {
    let mirrors = mirrors(b"short").await;
    let (storage, reference) = (&mirrors.storage, &mirrors.reference);
    mirrors
        .directories
        .iter()
        .for_each(|directory| flip_a_bit(directory));
    let error = storage
        .download(reference, &mirrors.target, 2)
        .await
        .unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    assert!(!mirrors.target.exists());
    std::fs::remove_file(mirrors.directories[2].join(NAME)).unwrap();
    let error = storage
        .download(reference, &mirrors.target, 2)
        .await
        .unwrap_err();
    assert!(!error.is_corrupt(), "{error}");
}

#[tokio::test]
async fn a_larger_copy_is_not_read_beyond_what_the_ledger_says() {
    let mirrors = mirrors(b"right").await;
    let (storage, reference) = (&mirrors.storage, &mirrors.reference);
    let longer = mirrors.directories[0].join(NAME);
    std::fs::write(&longer, b"right and more").unwrap();
    // The bytes that the ledger names are right; what follows is never fetched.
    let location = &reference.locations[0];
    storage
        .get(reference, location, &mirrors.target)
        .await
        .unwrap();
    assert_eq!(std::fs::read(&mirrors.target).unwrap(), b"right");
}

#[tokio::test]
async fn a_mirror_on_the_web_is_read_and_a_private_one_refused_to_strangers() {
    let body = payload();
    let served = body.clone();
    let router = axum::Router::new().route(
        "/dir/{name}",
        axum::routing::get(move |headers: axum::http::HeaderMap| {
            let served = served.clone();
            async move {
                // The whole range is asked for; a server may answer it in full.
                let range = headers.get("range").map(|r| r.to_str().unwrap().to_owned());
                let all = format!("bytes=0-{}", served.len() - 1);
                match range.filter(|range| *range == all) {
                    Some(_) => (
                        axum::http::StatusCode::PARTIAL_CONTENT,
                        [(
                            "content-range",
                            format!("bytes 0-{}/{}", served.len() - 1, served.len()),
                        )],
                        served,
                    ),
                    None => (
                        axum::http::StatusCode::OK,
                        [("content-range", String::new())],
                        served,
                    ),
                }
            }
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("target");
    let reference = PayloadReference {
        locations: vec![format!("http://{address}/dir/{NAME}")],
        sha256: Digest::of(&[&body]),
        bytes: body.len() as u64,
        cipher: CipherSuite::Aes256GcmStream,
    };
    let own = ObjectStorage::new(AccessPolicy::unrestricted(), None).unwrap();
    own.download(&reference, &target, 1).await.unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), body);

    let strangers = ObjectStorage::new(AccessPolicy::public_only(), None).unwrap();
    let error = strangers
        .download(&reference, &target, 1)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("not a public address"),
        "{error}"
    );
    // A name that leads to a private address is refused where it is resolved.
    let by_name = PayloadReference {
        locations: vec![format!("http://localhost:{}/dir/{NAME}", address.port())],
        ..reference
    };
    assert!(strangers.download(&by_name, &target, 1).await.is_err());
    own.download(&by_name, &target, 1).await.unwrap();
}
