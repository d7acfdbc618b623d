//! Hosts that break the rules, and users that are not the user.

use std::{io::Write as _, time::Duration};

use handshake::{DataKey, Entropy, SealedStep};
use wire::{
    Digest, Evidence, EvidenceKind, HandshakeStep, Height, Operation, Outcome, PayloadKind,
    channel::{EnclaveMessage, HostMessage, MAX_DATA_BYTES, STREAM_WINDOW},
    limits::{MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES, MAX_SEALED_BYTES},
};

use crate::host::{Host, User, job_bundle, spawn};

fn launched() -> (User, Host) {
    let user = User::with(&job_bundle());
    let host = Host::launch(&user, PayloadKind::Job);
    (user, host)
}

fn is_fetch(message: &EnclaveMessage) -> bool {
    matches!(message, EnclaveMessage::FetchPayload)
}

#[test]
fn a_wrong_client_response_is_rejected_and_the_next_operation_may_be_right() {
    let (user, mut host) = launched();
    let (mut session, server) = host.challenge(&user, 1, Operation::Start);
    let place = host.context.place(1, SealedStep::ClientResponse);
    // What somebody can seal who saw everything on the ledger.
    let forged = place
        .seal(&host.keys.agreement, &[7; 32 + 1 + 60], &mut Entropy)
        .unwrap();
    let _ = server;
    host.respond(1, Operation::Start, forged);
    let message = host.outcome(&mut session, 1);
    assert_eq!(message.outcome, Outcome::Rejected);
    assert!(!host.comes(is_fetch, Duration::from_millis(100)));
    host.start(&user, 2);
}

#[test]
fn a_replayed_or_misdirected_response_releases_nothing() {
    let (user, mut host) = launched();
    let (mut first, server) = host.challenge(&user, 1, Operation::Start);
    let genuine = first
        .client_response(&server, &user.data_key, &mut Entropy)
        .unwrap();
    // The host keeps it back and opens another operation.
    let (mut second, _) = host.challenge(&user, 2, Operation::Start);
    host.respond(1, Operation::Start, genuine.clone());
    host.respond(2, Operation::Start, genuine);
    let message = host.outcome(&mut second, 2);
    assert_eq!(message.outcome, Outcome::Rejected);
    assert!(!host.comes(is_fetch, Duration::from_millis(100)));
    // The first one was ignored, and noted for the user.
    assert!(host.log(&user, 0).text.contains("operation 1"));
}

#[test]
fn a_wrong_data_key_and_a_corrupt_payload_are_errors_for_the_user() {
    let (user, mut host) = launched();
    let (mut session, server) = host.challenge(&user, 1, Operation::Start);
    let wrong = DataKey::generate(&mut Entropy);
    let response = session
        .client_response(&server, &wrong, &mut Entropy)
        .unwrap();
    host.respond(1, Operation::Start, response);
    host.send_payload(&user.payload);
    let message = host.outcome(&mut session, 1);
    assert_eq!(message.outcome, Outcome::Error);
    assert!(
        message.message.contains("not authentic"),
        "{}",
        message.message
    );

    let mut corrupt = user.payload.clone();
    let last = corrupt.len() - 20;
    corrupt[last] ^= 1;
    let (mut session, server) = host.challenge(&user, 2, Operation::Start);
    let response = session
        .client_response(&server, &user.data_key, &mut Entropy)
        .unwrap();
    host.respond(2, Operation::Start, response);
    host.send_payload(&corrupt);
    let message = host.outcome(&mut session, 2);
    assert_eq!(message.outcome, Outcome::Error);
    assert!(message.message.contains("hash"), "{}", message.message);
    host.start(&user, 3);
}

#[test]
fn a_start_while_the_payload_runs_is_an_error_and_changes_nothing() {
    let user = User::with(&crate::host::service_bundle());
    let mut host = Host::launch(&user, PayloadKind::Service);
    host.start(&user, 1);
    let (mut session, server) = host.challenge(&user, 2, Operation::Start);
    let response = session
        .client_response(&server, &user.data_key, &mut Entropy)
        .unwrap();
    host.respond(2, Operation::Start, response);
    assert_eq!(host.outcome(&mut session, 2).outcome, Outcome::Error);
    host.send(&HostMessage::Tick {
        height: Height(1),
        block: Digest([1; 32]),
    });
    host.expect("beat", |message| match message {
        EnclaveMessage::Beat { .. } => Some(()),
        _ => None,
    });
}

#[test]
fn a_host_that_breaks_the_rules_is_told_so_and_left() {
    let evidence = Evidence {
        kind: EvidenceKind::Development,
        bytes: b"evidence".to_vec(),
    };
    let handshake = |step, sealed| HostMessage::Handshake {
        operation: 1,
        kind: Operation::Start,
        step,
        sealed,
    };
    let data = |bytes| HostMessage::Data { stream: 1, bytes };
    let cases: Vec<(&str, Vec<HostMessage>)> = vec![
        ("a second evidence", vec![HostMessage::Evidence(evidence)]),
        (
            "a sealed message is over",
            vec![handshake(
                HandshakeStep::ClientChallenge,
                vec![0; MAX_SEALED_BYTES + 1],
            )],
        ),
        (
            "the enclave's own",
            vec![handshake(HandshakeStep::ServerResponse, Vec::new())],
        ),
        (
            "certificate chain is over",
            vec![HostMessage::Certificate {
                chain: vec![Vec::new(); 9],
            }],
        ),
        (
            "is over 65536 bytes",
            vec![data(vec![0; MAX_DATA_BYTES + 1])],
        ),
        (
            "is open already",
            vec![
                HostMessage::Open { stream: 1 },
                HostMessage::Open { stream: 1 },
            ],
        ),
        (
            "past the window",
            std::iter::once(HostMessage::Open { stream: 1 })
                .chain(
                    (0..=STREAM_WINDOW as usize / MAX_DATA_BYTES)
                        .map(|_| data(vec![0; MAX_DATA_BYTES])),
                )
                .collect(),
        ),
        (
            "more than its window",
            vec![
                HostMessage::Open { stream: 1 },
                HostMessage::Credit {
                    stream: 1,
                    bytes: 1,
                },
            ],
        ),
    ];
    for (words, messages) in cases {
        let (_, mut host) = launched();
        for message in &messages {
            host.send(message);
        }
        let (fault, status) = host.fault();
        assert!(fault.contains(words), "{words}: {fault}");
        assert_eq!(status.code(), Some(2), "{words}");
    }
}

#[test]
fn frames_that_are_large_or_malformed_are_faults() {
    let large = (MAX_FRAME_BYTES as u32 + 1).to_le_bytes().to_vec();
    for (words, bytes) in [
        ("over the limit", large),
        ("does not decode", vec![1, 0, 0, 0, 0xff]),
        ("does not decode", vec![0, 0, 0, 0]),
    ] {
        let (_, mut host) = launched();
        host.send_bytes(&bytes);
        let (fault, status) = host.fault();
        assert!(fault.contains(words), "{words}: {fault}");
        assert_eq!(status.code(), Some(2));
    }
}

#[test]
fn nothing_may_come_before_the_launch_and_no_launch_may_be_too_large_or_second() {
    let (mut child, mut input, frames) = spawn();
    let mut frame = Vec::new();
    wire::channel::encode_frame(&HostMessage::Certificate { chain: vec![] }, &mut frame).unwrap();
    input.write_all(&frame).unwrap();
    let fault = frames.recv().unwrap();
    assert!(matches!(fault, EnclaveMessage::Fault { .. }), "{fault:?}");
    assert_eq!(child.wait().unwrap().code(), Some(2));

    let user = User::with(&job_bundle());
    let (mut child, mut input, frames) = spawn();
    let mut launch = user.launch(PayloadKind::Job);
    launch.payload_bytes = MAX_PAYLOAD_BYTES + 1;
    let mut frame = Vec::new();
    wire::channel::encode_frame(&HostMessage::Launch(launch), &mut frame).unwrap();
    input.write_all(&frame).unwrap();
    let fault = frames.recv().unwrap();
    assert!(matches!(fault, EnclaveMessage::Fault { .. }), "{fault:?}");
    assert_eq!(child.wait().unwrap().code(), Some(2));

    let mut host = Host::launch_without_evidence(user.launch(PayloadKind::Job));
    host.send(&HostMessage::Launch(user.launch(PayloadKind::Job)));
    assert!(host.fault().0.contains("a second launch"));
}

#[test]
fn a_handshake_needs_the_evidence_first() {
    let user = User::with(&job_bundle());
    let mut host = Host::launch_without_evidence(user.launch(PayloadKind::Job));
    host.send(&HostMessage::Handshake {
        operation: 1,
        kind: Operation::Start,
        step: HandshakeStep::ClientChallenge,
        sealed: Vec::new(),
    });
    assert!(host.fault().0.contains("before the evidence"));
}

#[test]
fn a_user_key_of_low_order_is_no_key() {
    let user = User::with(&job_bundle());
    let mut launch = user.launch(PayloadKind::Job);
    launch.user_agreement = [0; 32];
    let mut host = Host::launch_without_evidence(launch);
    host.send(&HostMessage::Evidence(Evidence {
        kind: EvidenceKind::Development,
        bytes: Vec::new(),
    }));
    assert!(host.fault().0.contains("low order"));
}

#[test]
fn the_enclave_ends_with_its_host() {
    let (_, host) = launched();
    assert_eq!(host.hang_up().code(), Some(0));
}
