//! Decoders of the vault (credentials, program files, its agent's messages) and of a
//! keykeeper's channel.

use std::time::Duration;

use keykeeper::{
    channel::{FromCore, ToCore},
    recovery::{HandedOver, RecoveryRequest},
};
use vault::{Certificate, Code, Credential, certify, sign};
use vault_guard::{FromVault, MAX_ENCODED_BYTES, Measured, Moment, Place, Refused, ToVault, Vault};
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

/// A vault's place whose time stands still and whose challenges are known.
#[derive(Default)]
struct Still {
    challenges: u8,
}

impl Place for Still {
    fn now(&self) -> Moment {
        Duration::ZERO
    }

    fn host_time_ms(&self) -> u64 {
        0
    }

    fn make_key(&mut self) -> Result<Vec<String>, Refused> {
        Ok(Vec::new())
    }

    fn random(&mut self) -> Result<[u8; 32], Refused> {
        self.challenges = self.challenges.wrapping_add(1);
        Ok([self.challenges; 32])
    }

    fn authenticate(&mut self, _: &[u8]) -> Result<[u8; 32], Refused> {
        Ok([9; 32])
    }
}

/// Messages one after the other, each after its length in two bytes.
fn session(messages: &[ToVault]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        let message = borsh::to_vec(message).expect("a message always encodes");
        let length = u16::try_from(message.len()).expect("a seed is short");
        bytes.extend(length.to_le_bytes());
        bytes.extend(message);
    }
    bytes
}

pub(crate) fn vault_sessions() -> Vec<Vec<u8>> {
    let begin = ToVault::Begin {
        root: SigningKey::ed25519([1; 32]).public(),
        application: "ledgerbook".to_owned(),
    };
    let challenge = ToVault::Challenge { caller: 1 };
    let measured = |challenge: u8, credential: Option<Vec<u8>>| ToVault::Measured {
        caller: 1,
        challenge: [challenge; 32],
        measured: Measured {
            code: vec![Digest([7; 32]), Digest([8; 32])],
        },
        credential,
    };
    let ask = ToVault::Authenticate {
        caller: 1,
        message: b"message".to_vec(),
    };
    let shown = measured(1, credentials().pop());
    let whole = [
        begin.clone(),
        challenge.clone(),
        shown.clone(),
        ask.clone(),
        challenge.clone(),
        measured(2, None),
        ask.clone(),
        ToVault::Forget { caller: 1 },
        ask.clone(),
    ];
    vec![
        session(&whole),
        session(&[begin.clone(), challenge, shown, ask.clone()]),
        session(&[begin, ask]),
    ]
}

/// An agent's messages to a vault: whatever they are, only a caller that was measured
/// with what the root's release key signed is answered.
pub(crate) fn vault_session(mut bytes: &[u8]) {
    let mut vault = Vault::new(Still::default());
    let credential = credentials().pop().expect("there is one");
    let mut admitted = false;
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (message, rest) = rest.split_at(length);
        bytes = rest;
        let answer = vault.answer_encoded(message);
        assert!(answer.len() <= MAX_ENCODED_BYTES);
        let decoded: Option<ToVault> = borsh::from_slice(message).ok();
        match borsh::from_slice(&answer).expect("an answer decodes") {
            FromVault::Done => {
                admitted |= matches!(&decoded,
                    Some(ToVault::Measured { measured, credential: Some(shown), .. })
                        if *shown == credential && measured.code.contains(&Digest([7; 32])));
            }
            FromVault::Code(_) => assert!(admitted, "nobody was measured"),
            _ => {}
        }
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
