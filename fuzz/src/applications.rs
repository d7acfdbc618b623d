//! Decoders of the vault (credentials, program files) and of a keykeeper's channel.

use keykeeper::{
    channel::{FromCore, ToCore},
    recovery::{HandedOver, RecoveryRequest},
};
use vault::{Certificate, Code, Credential, certify, sign};
use wire::{CircleId, CircleKey, Digest, SigningKey, channel};

pub(crate) fn credentials() -> Vec<Vec<u8>> {
    let (root, release) = (SigningKey::ed25519([1; 32]), SigningKey::ed25519([2; 32]));
    let certificate = Certificate {
        root: root.public(),
        key: release.public(),
        application: "ledgerbook".to_owned(),
        not_after_ms: 1000,
    };
    let signature = certify(&root, &certificate);
    let code = Code {
        program: vec![Digest([7; 32])],
        libraries: vec![Digest([8; 32])],
    };
    vec![sign(certificate, signature, &release, code).encode()]
}

pub(crate) fn credential(bytes: &[u8]) {
    let Ok(credential) = Credential::decode(bytes) else {
        return;
    };
    assert_eq!(credential.encode(), bytes, "one form");
    let root = SigningKey::ed25519([1; 32]).public();
    if credential.verify(&root, "ledgerbook", 0).is_ok() {
        assert_eq!(credentials(), [bytes], "only what was signed");
    }
}

/// The smallest file with an executable segment: its header and one program header.
pub(crate) fn programs() -> Vec<Vec<u8>> {
    let mut file = vec![0; 0x40 + 56];
    file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
    file[0x20] = 0x40;
    file[0x36] = 56;
    file[0x38] = 1;
    file[0x40] = 1;
    file[0x44] = 5;
    file[0x60] = 0x78;
    vec![file]
}

pub(crate) fn program(bytes: &[u8]) {
    if let Ok(code) = vault::code_of_bytes(bytes) {
        assert!(!code.program.is_empty());
    }
}

pub(crate) fn keykeeper_frames() -> Vec<Vec<u8>> {
    let begin = ToCore::Begin {
        circle: CircleId([1; 32]),
        circle_key: CircleKey([2; 96]),
        sealing_key: [3; 32],
        sealed: vec![4; 60],
    };
    let bytes = |value: &ToCore| borsh::to_vec(value).expect("a message always encodes");
    let done = FromCore::Done {
        steps: vec!["registered".to_owned()],
        trouble: None,
        holds: Some(1),
    };
    vec![
        bytes(&begin),
        bytes(&ToCore::Proofs(vec![vec![1, 2, 3]])),
        bytes(&ToCore::Act),
        bytes(&ToCore::Restore {
            circle_key: CircleKey([2; 96]),
            sealing_key: [3; 32],
            sealed: vec![4; 60],
            proofs: vec![vec![1, 2, 3]],
            pieces: vec![HandedOver {
                holder: 1,
                sealed: [5; 80],
            }],
        }),
        borsh::to_vec(&done).expect("a message always encodes"),
    ]
}

pub(crate) fn keykeeper_frame(bytes: &[u8]) {
    if let Ok(message) = channel::decode_frame::<ToCore>(bytes) {
        assert_eq!(borsh::to_vec(&message).expect("it encodes"), bytes);
    }
    if let Ok(message) = channel::decode_frame::<FromCore>(bytes) {
        assert_eq!(borsh::to_vec(&message).expect("it encodes"), bytes);
    }
}

/// What a host that restores a keykeeper asks members for.
pub(crate) fn recovery_requests() -> Vec<Vec<u8>> {
    let request = RecoveryRequest {
        circle: CircleId([1; 32]),
        keeper: [2; 32],
        key: [3; 32],
        evidence: wire::Evidence {
            kind: wire::EvidenceKind::Development,
            bytes: vec![4; 40],
        },
    };
    vec![request.encode()]
}

pub(crate) fn recovery_request(bytes: &[u8]) {
    if let Some(request) = RecoveryRequest::decode(bytes) {
        assert_eq!(request.encode(), bytes, "one form");
    }
}
