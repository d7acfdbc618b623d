//! Decoders between user, host and enclave: what an enclave reads from its
//! host, and what a user reads of an enclave through a host.
//!
//! Where a decoder stands behind authenticated encryption, the target fuzzes
//! both sides of it: the ciphertext as it comes, and the plaintext of an
//! honest key that holds arbitrary bytes.

use handshake::{
    AgreementSecret, ArchiveView, Bundle, BundleFile, BundleView, Context, DataKey, DerivedKeys,
    Entropy, LogRecord, LogSource, Purpose, Receiver, UserSession, encode_archive, encrypt,
    open_log, seal_log,
};
use wire::{
    CircleId, ContractId, Digest, Operation, Outcome, PayloadKind,
    channel::{self, EnclaveMessage, HostMessage},
};

const KEY: [u8; 32] = [5; 32];
const CONTRACT: ContractId = ContractId([3; 32]);

fn user() -> AgreementSecret {
    AgreementSecret::from_bytes([1; 32])
}

fn context() -> Context {
    Context {
        circle: CircleId([2; 32]),
        contract: CONTRACT,
        evidence: Digest([4; 32]),
        payload_sha256: Digest([6; 32]),
        user_agreement: user().public(),
        enclave_agreement: AgreementSecret::from_bytes([9; 32]).public(),
    }
}

pub(crate) fn frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for message in [
        HostMessage::Payload { bytes: vec![1; 40] },
        HostMessage::Open { stream: 7 },
        HostMessage::Certificate {
            chain: vec![vec![1; 20], vec![2; 20]],
        },
    ] {
        let mut frame = Vec::new();
        channel::encode_frame(&message, &mut frame).expect("a small frame");
        frames.push(frame);
    }
    frames
}

pub(crate) fn frame(bytes: &[u8]) {
    let Some((header, body)) = bytes.split_first_chunk::<4>() else {
        return;
    };
    if let Ok(length) = channel::frame_length(*header) {
        let body = &body[..length.min(body.len())];
        let _ = channel::decode_frame::<HostMessage>(body);
        let _ = channel::decode_frame::<EnclaveMessage>(body);
    }
}

pub(crate) fn payloads() -> Vec<Vec<u8>> {
    [0, 100, 70_000]
        .map(|length| {
            let mut sealed = Vec::new();
            encrypt(
                &KEY,
                Purpose::Payload,
                &vec![7; length][..],
                &mut sealed,
                &mut Entropy,
            )
            .expect("memory neither fails to read nor to write");
            sealed
        })
        .to_vec()
}

pub(crate) fn payload(bytes: &[u8]) {
    let mut receiver = Receiver::new(Purpose::Payload, bytes.len() as u64);
    // Pieces of a size that fits no boundary of the format.
    let taken = bytes
        .chunks(1021)
        .all(|piece| receiver.push(&KEY, piece).is_ok());
    if !taken {
        return;
    }
    if let Ok(plain) = receiver.finish() {
        assert!(
            plain.iter().all(|byte| *byte == 7),
            "only what was encrypted comes out"
        );
    }
}

pub(crate) fn bundles() -> Vec<Vec<u8>> {
    let bundle = Bundle {
        kind: PayloadKind::Job,
        args: vec!["script.rb".to_owned()],
        env: vec![("GREETING".to_owned(), "hello".to_owned())],
        label_keys: Vec::new(),
        component: vec![0, 97, 115, 109],
        inputs: vec![BundleFile {
            path: "lib/a.rb".to_owned(),
            bytes: vec![1; 9],
        }],
    };
    vec![bundle.encode().expect("a valid bundle").to_vec()]
}

pub(crate) fn bundle(bytes: &[u8]) {
    if let Ok(view) = BundleView::parse(bytes) {
        assert!(view.inputs.iter().all(|(path, _)| is_confined(path)));
    }
}

pub(crate) fn archives() -> Vec<Vec<u8>> {
    let files = [
        ("words.tsv".to_owned(), &b"a\t1"[..]),
        ("d/e".to_owned(), &b""[..]),
    ];
    vec![encode_archive(&files).expect("a valid archive").to_vec()]
}

pub(crate) fn archive(bytes: &[u8]) {
    if let Ok(view) = ArchiveView::parse(bytes) {
        assert!(view.files.iter().all(|file| is_confined(&file.path)));
    }
}

/// Whether joining `path` to a directory stays beneath it.
fn is_confined(path: &str) -> bool {
    use std::path::{Component, Path};
    let mut components = Path::new(path).components().peekable();
    components.peek().is_some()
        && components.all(|component| matches!(component, Component::Normal(_)))
}

pub(crate) fn messages() -> Vec<Vec<u8>> {
    let mut session =
        UserSession::new(context(), 1, Operation::Start, &user()).expect("valid keys");
    vec![
        session
            .client_challenge(&mut Entropy)
            .expect("a new session"),
    ]
}

pub(crate) fn message(bytes: &[u8]) {
    let session = || UserSession::new(context(), 1, Operation::Start, &user()).expect("valid keys");
    let data_key = DataKey::from_bytes(KEY);
    let released = session().client_response(bytes, &data_key, &mut Entropy);
    assert!(
        released.is_err(),
        "no fuzzer answers a challenge: the key must stay"
    );
    let _ = session().outcome(Outcome::Confirmed, bytes);
    let _ = handshake::open_completion(&context(), 1, &user(), bytes);
}

pub(crate) fn logs() -> Vec<Vec<u8>> {
    let keys = DerivedKeys::for_user(&context(), &user()).expect("valid keys");
    let record = LogRecord {
        sequence: 4,
        time_ms: 1,
        source: LogSource::Stdout,
        text: "a line".to_owned(),
    };
    vec![seal_log(&keys, CONTRACT, &record)]
}

pub(crate) fn log(bytes: &[u8]) {
    let keys = DerivedKeys::for_user(&context(), &user()).expect("valid keys");
    if let Ok(record) = open_log(&keys, CONTRACT, 4, bytes) {
        assert_eq!(record.text, "a line", "only what was sealed comes out");
    }
}
