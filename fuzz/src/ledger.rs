//! Decoders of the ledger's world: what a node reads from the engine, the API
//! and its store, and what a client reads from a node.

use borsh::BorshDeserialize;
use wire::{
    AccountId, Action, Amount, Block, CheckedTransaction, CircleId, CircleKey, CircleKind,
    Condition, Digest, DomainName, Evidence, EvidenceKind, Genesis, Header, Height, LockFunds,
    Measurement, NameSet, Parameters, PublicKey, RecordSet, ReferenceValue, RelativeName,
    ServerKey, SigningKey, Transaction, Transfer, Validator, record,
};

const CIRCLE: CircleId = CircleId([0xc1; 32]);

fn key() -> SigningKey {
    SigningKey::ed25519([7; 32])
}

/// Asserts that what decodes has one encoding.
fn canonical<T: BorshDeserialize + borsh::BorshSerialize>(bytes: &[u8]) {
    if let Ok(value) = T::try_from_slice(bytes) {
        assert_eq!(
            borsh::to_vec(&value).expect("what was decoded encodes"),
            bytes
        );
    }
}

pub(crate) fn transactions() -> Vec<Vec<u8>> {
    let condition = Condition::Any(vec![
        Condition::AfterHeight(Height(9)),
        Condition::Threshold {
            need: 1,
            of: vec![Condition::Key(key().public())],
        },
    ]);
    let records = vec![RecordSet {
        owner: None,
        rtype: 1,
        ttl: 60,
        data: vec![vec![127, 0, 0, 1]],
    }];
    let actions = vec![
        Action::Transfer(Transfer {
            to: AccountId([2; 32]),
            amount: Amount(5),
        }),
        Action::LockFunds(LockFunds {
            amount: Amount(1),
            condition,
        }),
        Action::NameSet(NameSet {
            name: hello(),
            records,
        }),
        Action::NameSecure(wire::NameSecure {
            name: hello(),
            owner: Some("*".parse().expect("a wildcard")),
            server: Some((key().public(), None)),
        }),
        Action::NameRotate(wire::NameRotate {
            name: hello(),
            to: key().public(),
            consent: wire::Signature([1; 64]).into(),
        }),
        Action::Notarise(wire::Notarise {
            digest: Digest([4; 32]),
            size: 1,
            encrypted: false,
            media: "text/plain".to_owned(),
            note: String::new(),
        }),
        Action::RecordAppraisal(wire::RecordAppraisal {
            host: Digest([6; 32]),
            result: wire::HostResult {
                report: Digest([1; 32]),
                index: Digest([2; 32]),
                entries: 1_000,
                known: 990,
                boot_events: 70,
                findings: 10,
            },
        }),
    ];
    let transaction = Transaction {
        version: Transaction::VERSION,
        circle: CIRCLE,
        sender: key().public(),
        sequence: 3,
        expires_at: Height(100),
        fee_limit: Amount(1000),
        actions,
    };
    let plain = transaction.clone().sign(&key());
    let transaction = Transaction {
        sender: SigningKey::p256([9; 32]).expect("a scalar").public(),
        ..transaction
    };
    let by_passkey = wire::SignedTransaction {
        signature: wire::AnySignature::WebAuthn(wire::Assertion {
            authenticator_data: vec![1; 37],
            client_data: passkey_client_data(&transaction),
            signature: wire::Signature([1; 64]),
        }),
        transaction,
    };
    vec![plain.encode(), by_passkey.encode()]
}

/// Client data that gets as far as the signature.
fn passkey_client_data(transaction: &Transaction) -> String {
    let challenge = transaction.challenge();
    let challenge = base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, challenge.0);
    format!(
        r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"https://a","crossOrigin":false}}"#
    )
}

pub(crate) fn transaction(bytes: &[u8]) {
    let _ = CheckedTransaction::check(bytes, CIRCLE);
    canonical::<wire::SignedTransaction>(bytes);
}

fn header() -> Header {
    Header {
        version: Header::VERSION,
        circle: CIRCLE,
        height: Height(9),
        time_ms: 1,
        parent: Digest([1; 32]),
        state_root: Digest([2; 32]),
        transactions: Digest([3; 32]),
    }
}

pub(crate) fn blocks() -> Vec<Vec<u8>> {
    let block = Block {
        header: header(),
        transactions: transactions(),
    };
    vec![borsh::to_vec(&block).expect("a block encodes")]
}

pub(crate) fn block(bytes: &[u8]) {
    canonical::<Block>(bytes);
}

fn hello() -> DomainName {
    "hello.internal".parse().expect("a valid name")
}

fn founding() -> Genesis {
    Genesis {
        version: Genesis::VERSION,
        name: "fuzz".to_owned(),
        kind: CircleKind::Development,
        time_ms: 1,
        circle_key: CircleKey([1; 96]),
        sharing: vec![1; 100],
        validators: vec![Validator {
            key: key().public(),
            name: "one".to_owned(),
        }],
        accounts: vec![(AccountId([1; 32]), Amount(9))],
        apexes: vec!["internal".parse().expect("a valid name")],
        certificate_authorities: vec![AccountId([1; 32])],
        zone_signers: vec![AccountId([2; 32])],
        name_servers: vec![AccountId([1; 32])],
        keykeepers: Vec::new(),
        development_roots: vec![key().public()],
        reference_values: vec![ReferenceValue {
            measurement: Measurement([4; 32]),
            kind: EvidenceKind::Development,
        }],
        evidence: Default::default(),
        parameters: Parameters::default(),
        origin: None,
    }
}

pub(crate) fn geneses() -> Vec<Vec<u8>> {
    vec![
        borsh::to_vec(&founding()).expect("a genesis encodes"),
        serde_json::to_vec(&founding()).expect("a genesis encodes"),
    ]
}

pub(crate) fn genesis(bytes: &[u8]) {
    canonical::<Genesis>(bytes);
    let decoded: [Option<Genesis>; 2] = [
        Genesis::try_from_slice(bytes).ok(),
        serde_json::from_slice(bytes).ok(),
    ];
    for genesis in decoded.into_iter().flatten() {
        let _ = genesis.check();
        let _ = genesis.circle();
    }
}

pub(crate) fn records() -> Vec<Vec<u8>> {
    let name = record::Name {
        name: hello(),
        owner: key().public(),
        deposit: Amount(1),
        status: record::NameStatus::Active,
        registered_at: Height(1),
        rent_due: Height(2),
        changed_at: Height(1),
        notice_due: Some(Height(3)),
        sale: Some(wire::Sale {
            price: Amount(5),
            buyer: Some(AccountId([3; 32])),
            expires_at: Height(4),
        }),
        records: vec![],
        keys: vec![ServerKey {
            owner: Some("www".parse().expect("a valid name")),
            key: key().public(),
            certificate: Some(Digest([7; 32])),
        }],
        endpoints: vec![],
    };
    vec![
        record::encode(&name),
        record::encode(&record::Account {
            balance: Amount(1),
            sequence: 2,
        }),
        record::encode(&record::CircleRecord {
            genesis: founding(),
        }),
        record::encode(&record::KeyRound {
            round: 1,
            previous: vec![1; 40],
            invited: vec![key().public(); 3],
            least: 2,
            phase: wire::KeyPhase::Deal,
            awaited: 3,
            window: 10,
            ends_at: Height(20),
            outcome: None,
        }),
    ]
}

pub(crate) fn record(bytes: &[u8]) {
    let _ = record::decode::<record::Account>(bytes);
    let _ = record::decode::<record::Name>(bytes);
    let _ = record::decode::<record::Offer>(bytes);
    let _ = record::decode::<record::Request>(bytes);
    let _ = record::decode::<record::Contract>(bytes);
    let _ = record::decode::<record::Enclave>(bytes);
    let _ = record::decode::<record::Certificate>(bytes);
    let _ = record::decode::<record::Completion>(bytes);
    let _ = record::decode::<record::CircleRecord>(bytes);
    let _ = record::decode::<record::Bid>(bytes);
    let _ = record::decode::<record::Recovery>(bytes);
    let _ = record::decode::<record::Released>(bytes);
    let _ = record::decode::<record::AddressOwners>(bytes);
    let _ = record::decode::<record::Notarisation>(bytes);
    let _ = record::decode::<record::HostAppraisal>(bytes);
    let _ = record::decode::<record::Keykeeper>(bytes);
    let _ = record::decode::<record::KeyCommittee>(bytes);
    let _ = record::decode::<record::KeyRound>(bytes);
    let _ = record::decode::<record::KeyMessage>(bytes);
    let _ = record::decode::<record::Label>(bytes);
    let _ = record::decode::<record::KeyRequest>(bytes);
    let _ = record::decode::<record::KeyAnswer>(bytes);
}

pub(crate) fn names() -> Vec<Vec<u8>> {
    vec![
        b"hello.internal".to_vec(),
        b"_443._tcp.xn--bcher-kva.internal".to_vec(),
        b"*.www".to_vec(),
    ]
}

pub(crate) fn name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(name) = text.parse::<DomainName>() {
        assert_eq!(name.as_str(), text);
        assert!(
            name.labels()
                .all(|label| label.len() <= wire::MAX_LABEL_BYTES)
        );
    }
    if let Ok(name) = text.parse::<RelativeName>() {
        assert_eq!(name.as_str(), text);
        assert!(!text.trim_start_matches('*').contains('*'));
    }
    let _ = text.parse::<PublicKey>();
    let _ = text.parse::<CircleKey>();
}

pub(crate) fn proofs() -> Vec<Vec<u8>> {
    let proof = proof::Proof {
        header: header().summary(),
        certificate: proof::Certificate {
            epoch: 0,
            view: 300,
            parent_view: 299,
            signature: [1; 48],
        },
        key: b"a/key".to_vec(),
        value: Some(vec![1; 40]),
        path: proof::Path::new(vec![Some(Digest([4; 32])), None], None).expect("a short path"),
    };
    vec![proof.encode()]
}

pub(crate) fn proof(bytes: &[u8]) {
    if let Ok(proof) = proof::Proof::decode(bytes) {
        assert_eq!(proof.encode(), bytes);
        assert!(
            proof.verify(&CircleKey([1; 96])).is_err(),
            "no fuzzer can sign for a circle"
        );
    }
}

pub(crate) fn evidences() -> Vec<Vec<u8>> {
    let (root, quoting) = (SigningKey::ed25519([1; 32]), SigningKey::ed25519([2; 32]));
    let certificate =
        attest::development::certify(&root, quoting.public(), None, "fuzz").expect("it certifies");
    let quoting = attest::development::QuotingKey::new(quoting, certificate).expect("it fits");
    vec![
        quoting
            .quote(Measurement([4; 32]), Digest([5; 32]), [6; 32])
            .bytes,
    ]
}

pub(crate) fn evidence(bytes: &[u8]) {
    let foreign = SigningKey::ed25519([3; 32]).public();
    let evidence = Evidence {
        kind: EvidenceKind::Development,
        bytes: bytes.to_vec(),
    };
    let roots = attest::Roots {
        development: &[foreign],
        ..attest::Roots::default()
    };
    let moment = attest::Moment {
        height: Height(1),
        time_ms: 1,
    };
    assert!(
        attest::verify(&evidence, &roots, moment).is_err(),
        "no fuzzer holds the root's key"
    );
}

/// A chunk of two entries whose proof has all three kinds of node.
pub(crate) fn checkpoints() -> Vec<Vec<u8>> {
    let entries = vec![(b"a/1".to_vec(), vec![1, 2]), (b"a/2".to_vec(), vec![])];
    let mut chunk = borsh::to_vec(&entries).expect("entries encode");
    chunk.extend_from_slice(&3u32.to_le_bytes());
    for (kind, length) in [(0, 0), (1, 64), (2, 64)] {
        chunk.push(kind);
        chunk.extend(std::iter::repeat_n(7, length));
    }
    let manifest = node::checkpoint::Manifest {
        version: node::checkpoint::format::VERSION,
        header: Header {
            version: Header::VERSION,
            circle: CIRCLE,
            height: Height(2048),
            time_ms: 5,
            parent: Digest([1; 32]),
            state_root: Digest([2; 32]),
            transactions: Block::transactions_digest(&[]),
        },
        certificate: proof::Certificate {
            epoch: 0,
            view: 9,
            parent_view: 8,
            signature: [3; 48],
        },
        transactions: vec![vec![4; 9]],
        chunk_bytes: 1024,
        chunks: 3,
        entries: 4,
        bytes: 5,
    };
    vec![chunk, manifest.encode()]
}

/// What a node reads of a state that others give it.
pub(crate) fn checkpoint(bytes: &[u8]) {
    if let Ok(chunk) = node::checkpoint::Chunk::decode(bytes) {
        assert_eq!(chunk.encode(), bytes);
    }
    if let Ok(manifest) = node::checkpoint::Manifest::decode(bytes) {
        assert_eq!(manifest.encode(), bytes);
        // No certificate was made under this key.
        assert!(manifest.check(CIRCLE, &CircleKey([0; 96])).is_err());
    }
}
