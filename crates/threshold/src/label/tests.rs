//! A committee of four without misconduct: keys of labels, and what comes of them.

use std::sync::OnceLock;

use aws_lc_rs::{
    aead, agreement,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};
use wire::CircleId;

use super::*;
use crate::{
    Answer, Dealing, ENCRYPTION_OVERHEAD, EncryptionError, Join, MAX_ENCRYPTED_BYTES, encrypt,
    founded,
};

const LABEL: &[u8] = b"a label";

/// A committee that was made by the protocol, and its keepers.
fn four() -> &'static (Committee, Vec<Vec<u8>>) {
    static FOUR: OnceLock<(Committee, Vec<Vec<u8>>)> = OnceLock::new();
    FOUR.get_or_init(|| {
        let (committee, keepers) = founded::keepers(CircleId([1; 32]), 4);
        let stored = keepers.iter().map(|keeper| keeper.encode().to_vec());
        (committee, stored.collect())
    })
}

fn keepers() -> Vec<Keeper> {
    let stored = &four().1;
    stored
        .iter()
        .map(|bytes| Keeper::decode(bytes).unwrap())
        .collect()
}

fn key_of(label: &[u8]) -> LabelKey {
    let committee = &four().0;
    let mut rng = StdRng::from_seed([5; 32]);
    let request = Digest([6; 32]);
    let one_time = OneTimeKey::generate(&mut rng);
    let public = one_time.public();
    let mut asker = Asker::new(committee, label, request, one_time);
    for keeper in keepers() {
        let sealed = answer(&keeper, committee, label, &request, &public, &mut rng).unwrap();
        asker.take(keeper.key(), &sealed).unwrap();
    }
    asker.combine().unwrap()
}

#[test]
fn an_answer_is_good_for_its_asker_request_label_and_keeper_alone() {
    let committee = &four().0;
    let mut rng = StdRng::from_seed([1; 32]);
    let request = Digest([6; 32]);
    let (own, other) = ([3; 32], [4; 32]);
    let public = OneTimeKey(own).public();
    let keepers = keepers();
    let mut sealed =
        |label, request| answer(&keepers[0], committee, label, request, &public, &mut rng).unwrap();
    let take = |key, label, keeper: KeeperKey, sealed: &[u8]| {
        Asker::new(committee, label, request, OneTimeKey(key)).take(keeper, sealed)
    };
    let (key, second) = (keepers[0].key(), keepers[1].key());
    let good = sealed(LABEL, &request);
    assert!(good.len() <= PARTIAL_BYTES);
    assert_eq!(take(own, LABEL, key, &good), Ok(false));
    let refused = Err(AnswerError::NotAuthentic);
    assert_eq!(take(other, LABEL, key, &good), refused);
    assert_eq!(take(own, b"other", key, &good), refused);
    assert_eq!(take(own, LABEL, second, &good), refused);
    assert_eq!(
        take(own, LABEL, key, &sealed(LABEL, &Digest([7; 32]))),
        refused
    );
    assert_eq!(take(own, LABEL, key, &[0; PARTIAL_BYTES + 1]), refused);
    assert_eq!(take(own, LABEL, [9; 32], &good), Err(AnswerError::Stranger));
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1;
        assert!(take(own, LABEL, key, &changed).is_err(), "{at}");
        assert!(take(own, LABEL, key, &good[..at]).is_err(), "{at}");
    }
}

#[test]
fn a_share_in_anothers_name_is_refused() {
    let committee = &four().0;
    let mut rng = StdRng::from_seed([1; 32]);
    let request = Digest([6; 32]);
    let public = OneTimeKey([3; 32]).public();
    let keepers = keepers();
    // A byzantine keeper that has another's answer can open neither, but it
    // can seal any plaintext in its own name.
    let share = keepers[0].share_in(committee).unwrap();
    let partial = threshold::sign_message::<MinSig>(&share, NAMESPACE, LABEL);
    let place = place(&keepers[1].key(), &request, LABEL);
    let sealed = sealed::seal(&public, &place, &partial.encode(), &mut rng).unwrap();
    let mut asker = Asker::new(committee, LABEL, request, OneTimeKey([3; 32]));
    let taken = asker.take(keepers[1].key(), &sealed);
    assert_eq!(taken, Err(AnswerError::BadShare));
}

#[test]
fn a_keeper_without_a_share_of_the_committee_answers_nobody() {
    let committee = &four().0;
    let mut rng = StdRng::from_seed([1; 32]);
    let public = OneTimeKey([3; 32]).public();
    let error = |keeper: &Keeper, public: &[u8; 32], rng: &mut StdRng| {
        answer(keeper, committee, LABEL, &Digest([6; 32]), public, rng).unwrap_err()
    };
    let stranger = Keeper::new([1; 32]);
    assert_eq!(error(&stranger, &public, &mut rng), AnswerError::NoShare);
    assert_eq!(
        error(&keepers()[0], &[0; 32], &mut rng),
        AnswerError::BadKey
    );
}

#[test]
fn derived_keys_differ_by_kind_context_and_label_and_work() {
    let (key, other) = (key_of(LABEL), key_of(b"other"));
    let mut all: Vec<[u8; 32]> = Vec::new();
    for key in [&key, &other] {
        for context in [&b""[..], b"a"] {
            let kinds = [
                key.symmetric(context),
                key.x25519(context),
                key.hpke(context).private,
                key.ed25519(context),
                key.p256(context),
            ];
            all.extend(kinds.iter().map(|key| *key.as_bytes()));
        }
    }
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
    assert_eq!(
        key.symmetric(b"a").as_bytes(),
        key_of(LABEL).symmetric(b"a").as_bytes()
    );

    // Each with another implementation than the one that made it.
    aead::UnboundKey::new(&aead::AES_256_GCM, key.symmetric(b"").as_bytes()).unwrap();
    let x25519 = key.x25519(b"");
    let private =
        agreement::PrivateKey::from_private_key(&agreement::X25519, x25519.as_bytes()).unwrap();
    assert_eq!(
        private.compute_public_key().unwrap().as_ref(),
        x25519.x25519_public()
    );
    let pair = key.hpke(b"");
    let sealed = sealed::seal(&pair.public, b"", b"x", &mut StdRng::from_seed([1; 32])).unwrap();
    assert!(sealed::open(pair.private.as_bytes(), b"", &sealed).is_some());
    let seed = *key.ed25519(b"").as_bytes();
    let zebra = ed25519_zebra::VerificationKey::from(&ed25519_zebra::SigningKey::from(seed));
    let ours = key.signing_key(b"").public();
    assert_eq!(ours.bytes(), <[u8; 32]>::from(zebra));
    let scalar = key.p256(b"");
    let secret = p256::SecretKey::from_slice(scalar.as_bytes()).unwrap();
    let public = p256::ecdsa::VerifyingKey::from(p256::ecdsa::SigningKey::from(&secret));
    let point = public.to_sec1_point(false);
    let pair = EcdsaKeyPair::from_private_key_and_public_key(
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        scalar.as_bytes(),
        point.as_bytes(),
    )
    .unwrap();
    assert_eq!(pair.public_key().as_ref(), point.as_bytes());
}

#[test]
fn what_is_encrypted_to_a_label_opens_with_its_key_alone() {
    let master = four().0.master_key();
    let mut rng = StdRng::from_seed([2; 32]);
    let key = key_of(LABEL);
    let message = encrypt(&master, LABEL, b"plain", &mut rng).unwrap();
    assert_eq!(message.len(), 5 + ENCRYPTION_OVERHEAD);
    assert_eq!(&**key.decrypt(&message).unwrap(), b"plain");
    assert_ne!(
        message,
        encrypt(&master, LABEL, b"plain", &mut rng).unwrap()
    );
    let refused = Err(EncryptionError::NotAuthentic);
    assert_eq!(key_of(b"other").decrypt(&message), refused);
    for at in 0..message.len() {
        let mut changed = message.clone();
        changed[at] ^= 1;
        assert!(key.decrypt(&changed).is_err(), "{at}");
        assert!(key.decrypt(&message[..at]).is_err(), "{at}");
    }
    // The right signature in the name of another label.
    let mut renamed = key_of(LABEL);
    renamed.label = b"other".to_vec();
    assert_eq!(renamed.decrypt(&message), refused);
}

#[test]
fn refuses_large_messages_and_a_master_key_that_is_none() {
    let master = four().0.master_key();
    let mut rng = StdRng::from_seed([2; 32]);
    let key = key_of(LABEL);
    let largest = vec![0; MAX_ENCRYPTED_BYTES - ENCRYPTION_OVERHEAD];
    let message = encrypt(&master, LABEL, &largest, &mut rng).unwrap();
    assert_eq!(**key.decrypt(&message).unwrap(), largest);
    let larger = vec![0; largest.len() + 1];
    let too_large = EncryptionError::TooLarge;
    assert_eq!(encrypt(&master, LABEL, &larger, &mut rng), Err(too_large));
    assert_eq!(
        key.decrypt(&vec![0; MAX_ENCRYPTED_BYTES + 1]),
        Err(too_large)
    );
    let mut infinity = [0; 96];
    infinity[0] = 0xc0;
    for none in [[0; 96], infinity, [0xff; 96]] {
        let error = encrypt(&none, LABEL, b"plain", &mut rng);
        assert_eq!(error, Err(EncryptionError::BadKey));
    }
}

/// The label's key is an ordinary BLS signature, as another implementation
/// (blst's own interface, RFC 9380's suite) checks it.
#[test]
fn a_labels_key_is_a_bls_signature_on_the_label() {
    let key = key_of(LABEL);
    let signature = blst::min_sig::Signature::from_bytes(&key.signature).unwrap();
    let master = blst::min_sig::PublicKey::from_bytes(&four().0.master_key()).unwrap();
    let mut message = vec![NAMESPACE.len() as u8];
    message.extend_from_slice(NAMESPACE);
    message.extend_from_slice(LABEL);
    let suite = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";
    let verified = signature.verify(true, &message, suite, &[], &master, true);
    assert_eq!(verified, blst::BLST_ERROR::BLST_SUCCESS);
}

/// The bytes of a committee, of a key and of what comes of it never change
/// unnoticed: a disk's key is derived years later.
#[test]
fn derivation_is_golden() {
    let key = key_of(LABEL);
    let digest = |bytes: &[u8]| hex::encode(&Digest::tagged("test", &[bytes]).0[..8]);
    let all = [
        digest(&four().0.encode()),
        digest(&key.signature),
        digest(key.symmetric(b"c").as_bytes()),
        digest(key.x25519(b"c").as_bytes()),
        digest(key.hpke(b"c").private.as_bytes()),
        digest(key.ed25519(b"c").as_bytes()),
        digest(key.p256(b"c").as_bytes()),
    ];
    assert_eq!(all.join(" "), include_str!("golden.txt").trim());
}

proptest! {
    #[test]
    fn decoders_take_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Committee::decode(&bytes);
        let _ = Keeper::decode(&bytes);
        let _ = Join::decode(&bytes);
        let _ = Dealing::decode(&bytes);
        let _ = Answer::decode(&bytes);
        let _ = key_of_cached().decrypt(&bytes);
    }

    #[test]
    fn a_changed_committee_is_refused_or_another(at in 0usize..400, bit in 0u8..8) {
        let committee = &four().0;
        let mut bytes = committee.encode();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = Committee::decode(&bytes) {
            prop_assert_ne!(&changed, committee);
            prop_assert_eq!(changed.encode(), bytes);
        }
    }
}

fn key_of_cached() -> &'static LabelKey {
    static KEY: OnceLock<LabelKey> = OnceLock::new();
    KEY.get_or_init(|| key_of(LABEL))
}
