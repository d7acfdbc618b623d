//! A service from its launch to its end, over TLS by way of the host.

use std::{
    io::{Read as _, Write as _},
    sync::Arc,
    time::Duration,
};

use handshake::LogSource;
use wire::{
    Beat, Digest, Height, Operation, Outcome, PayloadKind,
    channel::{EnclaveMessage, HostMessage},
};

use crate::host::{ClientSide, Host, NAME, User, service_bundle};

/// Certifies the enclave's key as the circle's authority does; gives the
/// client's side of TLS.
pub fn certify(host: &mut Host) -> Arc<rustls::ClientConfig> {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let request = host.keys.certificate_request.clone();
    let request = rcgen::CertificateSigningRequestParams::from_der(&request.into()).unwrap();
    let leaf = request.signed_by(&issuer).unwrap();
    host.send(&HostMessage::Certificate {
        chain: vec![leaf.der().to_vec()],
    });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// One request on a connection of its own; status line, headers and body as sent.
pub fn get(host: &mut Host, tls: &Arc<rustls::ClientConfig>, stream: u32, path: &str) -> String {
    let name = NAME.try_into().unwrap();
    let connection = rustls::ClientConnection::new(Arc::clone(tls), name).unwrap();
    let mut client = rustls::StreamOwned::new(connection, ClientSide::open(host, stream));
    let request = format!("GET {path} HTTP/1.1\r\nhost: {NAME}\r\nconnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    let mut response = Vec::new();
    client.read_to_end(&mut response).unwrap();
    String::from_utf8(response).unwrap()
}

#[test]
fn a_service_starts_serves_stops_and_starts_again() {
    let user = User::with(&service_bundle());
    let mut host = Host::launch(&user, PayloadKind::Service);
    host.start(&user, 1);
    let tls = certify(&mut host);
    let response = get(&mut host, &tls, 1, "/somewhere");
    assert!(response.starts_with("HTTP/1.1 200 OK"), "{response}");
    assert!(response.contains("/somewhere"), "{response}");

    let (height, block) = (Height(7), Digest([8; 32]));
    host.send(&HostMessage::Tick { height, block });
    let signature = host.expect("beat", |message| match message {
        EnclaveMessage::Beat {
            height: at,
            block: of,
            signature,
        } if *at == height && *of == block => Some(*signature),
        _ => None,
    });
    let signed = Beat::signed_bytes(host.launch.contract, height, block);
    host.keys
        .signing
        .verify(Beat::PURPOSE, &signed, &signature)
        .unwrap();

    let stopped = host.operate(&user, 2, Operation::Stop);
    assert_eq!(stopped.outcome, Outcome::Confirmed);
    host.send(&HostMessage::Tick { height, block });
    let beat = |message: &EnclaveMessage| matches!(message, EnclaveMessage::Beat { .. });
    assert!(
        !host.comes(beat, Duration::from_millis(200)),
        "no sign of life after a stop"
    );

    host.start(&user, 3);
    let response = get(&mut host, &tls, 2, "/again");
    assert!(response.contains("/again"), "{response}");
    host.send(&HostMessage::Shutdown);
    assert_eq!(host.wait().code(), Some(0));
}

#[test]
fn a_payload_that_misbehaves_harms_its_own_request_only() {
    let user = User::with(&service_bundle());
    let mut host = Host::launch(&user, PayloadKind::Service);
    host.start(&user, 1);
    let tls = certify(&mut host);
    for (stream, path) in [(1, "/abort"), (3, "/allocate")] {
        let response = get(&mut host, &tls, stream, path);
        assert!(!response.starts_with("HTTP/1.1 200"), "{path}: {response}");
        let response = get(&mut host, &tls, stream + 1, "/well");
        assert!(
            response.starts_with("HTTP/1.1 200 OK"),
            "after {path}: {response}"
        );
    }
    // The user learns of it from the sealed log.
    let mut sources = Vec::new();
    for number in 0.. {
        let record = host.log(&user, number);
        sources.push(record.source);
        if record.source == LogSource::Enclave {
            assert!(record.text.starts_with("request failed"), "{}", record.text);
            break;
        }
    }
}

#[test]
fn a_client_that_comes_before_the_certificate_waits_for_it() {
    let user = User::with(&service_bundle());
    let mut host = Host::launch(&user, PayloadKind::Service);
    host.start(&user, 1);
    host.send(&HostMessage::Open { stream: 1 });
    let tls = certify(&mut host);
    let name = NAME.try_into().unwrap();
    let connection = rustls::ClientConnection::new(tls, name).unwrap();
    let side = ClientSide {
        host: &mut host,
        stream: 1,
    };
    let mut client = rustls::StreamOwned::new(connection, side);
    client
        .write_all(b"GET /early HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut response = String::new();
    client.read_to_string(&mut response).unwrap();
    assert!(response.contains("/early"), "{response}");
}

#[test]
fn a_stop_drops_open_connections() {
    let user = User::with(&service_bundle());
    let mut host = Host::launch(&user, PayloadKind::Service);
    host.start(&user, 1);
    let tls = certify(&mut host);
    let name = NAME.try_into().unwrap();
    let connection = rustls::ClientConnection::new(tls, name).unwrap();
    let mut client = rustls::StreamOwned::new(connection, ClientSide::open(&mut host, 1));
    client
        .write_all(b"GET /spin HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    drop(client);
    let stopped = host.operate(&user, 2, Operation::Stop);
    assert_eq!(stopped.outcome, Outcome::Confirmed);
    host.wait_stream(1);
    while !host.streams[&1].reset && !host.streams[&1].finished {
        host.streams.get_mut(&1).unwrap().bytes.clear();
        host.wait_stream(1);
    }
}

#[test]
fn garbage_from_a_client_ends_its_connection_only() {
    let user = User::with(&service_bundle());
    let mut host = Host::launch(&user, PayloadKind::Service);
    host.start(&user, 1);
    let tls = certify(&mut host);
    let mut client = ClientSide::open(&mut host, 1);
    client.write_all(&[0xff; 5000]).unwrap();
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    let response = get(&mut host, &tls, 2, "/well");
    assert!(response.contains("/well"), "{response}");
}
