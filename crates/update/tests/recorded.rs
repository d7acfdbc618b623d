//! Messages of nsupdate (BIND 9.18.49), signed with keys of its dnssec-keygen,
//! recorded for this test: prerequisites, removals, and a record whose data
//! the message compresses.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use update::{Change, Prerequisite, SignatureError, Unmet, Update, UpdateError};
use wire::{PublicKey, RecordSet};

const ED25519: &[u8] = include_bytes!("ed25519.update");
const P256: &[u8] = include_bytes!("p256.update");

/// The keys as the KEY records had them.
const ED25519_KEY: &str = "zVXsLCj2EWVL98m8SgP/WOfmnh2iiECXvAvShQdkAr0=";
const P256_KEY: &str =
    "4M1TADJndXTmeHPt0IPR6aUCZsCGQqvNz9HwA+lnDqF5AV1e+8LyWm7Kjqd48+rEafaALQ2bnREbOnW36oVdww==";

fn keys() -> [PublicKey; 2] {
    let ed25519 = STANDARD.decode(ED25519_KEY).unwrap().try_into().unwrap();
    let p256 = [vec![4], STANDARD.decode(P256_KEY).unwrap()].concat();
    [
        PublicKey::Ed25519(ed25519),
        PublicKey::from_p256_point(&p256).unwrap(),
    ]
}

#[test]
fn each_holds_for_its_key_alone() {
    let [ed25519, p256] = keys();
    let messages = [ED25519, P256].map(|message| Update::read(message).unwrap());
    assert_eq!(messages[0].verify(&ed25519), Ok(()));
    assert_eq!(messages[1].verify(&p256), Ok(()));
    assert_eq!(
        messages[0].verify(&p256),
        Err(SignatureError::Algorithm(15))
    );
    let other = PublicKey::Ed25519([7; 32]);
    assert_eq!(messages[0].verify(&other), Err(SignatureError::Wrong));
    assert_ne!(messages[0].digest(), messages[1].digest());
    // nsupdate allows clocks five minutes either way.
    let inception = u64::from(messages[0].signed.inception);
    assert!(messages[0].is_timely(inception) && messages[0].is_timely(inception + 600));
    assert!(!messages[0].is_timely(inception - 1) && !messages[0].is_timely(inception + 601));
}

#[test]
fn no_octet_can_be_changed() {
    let [ed25519, p256] = keys();
    for (message, key) in [(ED25519, ed25519), (P256, p256)] {
        for at in 0..message.len() {
            let mut changed = message.to_vec();
            changed[at] ^= 1;
            let held = Update::read(&changed).is_ok_and(|update| update.verify(&key).is_ok());
            assert!(!held, "octet {at}");
        }
        for length in 0..message.len() {
            assert!(Update::read(&message[..length]).is_err(), "{length} octets");
        }
        let longer = [message, &[0]].concat();
        assert!(Update::read(&longer).is_err());
    }
    let long = vec![0; update::MAX_UPDATE_BYTES + 1];
    assert_eq!(Update::read(&long), Err(UpdateError::TooLong));
}

fn set(owner: Option<&str>, rtype: u16, data: &[u8]) -> RecordSet {
    RecordSet {
        owner: owner.map(|owner| owner.parse().unwrap()),
        rtype,
        ttl: 60,
        data: vec![data.to_vec()],
    }
}

#[test]
fn what_was_typed_is_what_is_read() {
    let update = Update::read(ED25519).unwrap();
    assert_eq!(update.zone.as_str(), "internal");
    assert_eq!(update.name.as_str(), "hello.internal");
    let www = || Some("www".parse().unwrap());
    let text = b"\x03a b".to_vec();
    let address = vec![192, 0, 2, 1];
    assert_eq!(
        update.prerequisites,
        [
            Prerequisite::SetMissing(www(), 1),
            Prerequisite::SetHolds(None, 16, text.clone()),
        ]
    );
    let mail = b"\x00\x0a\x04mail\x05hello\x08internal\x00".to_vec();
    assert_eq!(
        update.changes,
        [
            Change::RemoveName(Some("old".parse().unwrap())),
            Change::RemoveRecord {
                owner: www(),
                rtype: 1,
                data: address.clone()
            },
            Change::Add {
                owner: www(),
                rtype: 15,
                ttl: 300,
                data: mail.clone()
            },
        ]
    );
    let texts = set(None, 16, &text);
    assert_eq!(update.replacements(&[]), Err(Unmet::SetMissing));
    let there = [texts.clone(), set(Some("www"), 1, &address)];
    assert_eq!(update.replacements(&there), Err(Unmet::SetExists));
    let old = set(Some("old"), 1, &address);
    let gone = RecordSet {
        data: Vec::new(),
        ..old.clone()
    };
    let added = RecordSet {
        ttl: 300,
        ..set(Some("www"), 15, &mail)
    };
    assert_eq!(update.replacements(&[texts, old]), Ok(vec![gone, added]));
}
