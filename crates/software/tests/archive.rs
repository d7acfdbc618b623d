//! The chain from Debian's own signature to the digest of a file, on a part of
//! its archive (data/debian), checked by Debian's own gpgv.

use std::path::{Path, PathBuf};

use software::{
    archive::{ArchiveError, ListedPackage, Release, check_package, check_packages, check_release},
    index::Index,
};

const LIST: &str = "main/binary-amd64/Packages";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/debian")
        .join(name)
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

fn release() -> Release {
    check_release(&file("InRelease"), &path("keyring.gpg")).unwrap()
}

fn listed(release: &Release) -> Vec<ListedPackage> {
    check_packages(release, LIST, &file("Packages")).unwrap()
}

#[test]
fn the_chain_leads_from_debians_signature_to_a_file() {
    let release = release();
    assert_eq!(release.name, "Debian bookworm-updates");
    let listed = listed(&release);
    assert_eq!(listed.len(), 38);
    let name = "openssh-sftp-server";
    let one = listed.iter().find(|one| one.name == name).unwrap();
    let files = check_package(one, &file("openssh-sftp-server.deb")).unwrap();
    let paths: Vec<&str> = files.iter().map(|file| &*file.path).collect();
    assert_eq!(
        paths,
        [
            "usr/lib/openssh/sftp-server",
            "usr/share/man/man8/sftp-server.8.gz"
        ]
    );
    let mut index = Index::default();
    let added = vec![(one.clone(), files.clone())];
    index.take_release(&release, &listed, added).unwrap();
    let owner = index.containing(&files[0].sha256).next().unwrap();
    assert_eq!((&*owner.name, &*owner.version), (name, "1:9.2p1-2+deb12u7"));
    assert_eq!(owner.current_until_ms, None);
}

#[test]
fn a_changed_release_is_refused() {
    let good = file("InRelease");
    let text = String::from_utf8(good.clone()).unwrap();
    let at = text.find("\nSHA256:").unwrap() + 20;
    for at in [at, 60, good.len() - 400] {
        let mut changed = good.clone();
        changed[at] ^= 1;
        assert!(matches!(
            check_release(&changed, &path("keyring.gpg")),
            Err(ArchiveError::Signature(_))
        ));
    }
    // Text outside the signed part is not part of the release.
    let mut longer = good;
    longer.extend(b"\nOrigin: Evil\n");
    if let Ok(read) = check_release(&longer, &path("keyring.gpg")) {
        assert_eq!(read, release());
    }
}

#[test]
fn a_release_by_another_key_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.gpg");
    std::fs::write(&empty, []).unwrap();
    assert!(matches!(
        check_release(&file("InRelease"), &empty),
        Err(ArchiveError::Signature(_))
    ));
}

#[test]
fn a_changed_list_or_package_is_refused() {
    let release = release();
    let mut list = file("Packages");
    list[100] ^= 1;
    assert!(matches!(
        check_packages(&release, LIST, &list),
        Err(ArchiveError::Digest(_))
    ));
    let listed = listed(&release);
    let mut deb = file("openssh-sftp-server.deb");
    deb[5000] ^= 1;
    let name = "openssh-sftp-server";
    let one = listed.iter().find(|one| one.name == name).unwrap();
    assert!(matches!(
        check_package(one, &deb),
        Err(ArchiveError::Digest(_))
    ));
}
