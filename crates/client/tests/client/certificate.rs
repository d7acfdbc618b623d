//! What a certificate proves by itself, with real trees and real signatures.

use std::{collections::BTreeMap, sync::LazyLock};

use client::certificate::{
    CertificateProofError, PROOF_EXTENSION, ProvenCertificate, read, verify,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair, PublicKeyData as _};
use wire::{CertifiedName, CircleKey, Digest, Height, SigningKey, record, state_key};

use crate::fake_node::{circle, prove};

/// Entries beside the grant: the path to it has about twelve siblings.
const OTHERS: u16 = 4096;

/// Siblings by which the path among a million entries is longer.
const MORE_SIBLINGS: usize = 8;

const NAME: &str = "hello.internal";

struct Made {
    circle: CircleKey,
    key: KeyPair,
    /// The grant's proof, and that of another record.
    proof: Vec<u8>,
    other: Vec<u8>,
}

static MADE: LazyLock<Made> = LazyLock::new(|| {
    let circle = circle();
    let key = KeyPair::generate().unwrap();
    let grant = record::Grant {
        names: vec![NAME.parse().unwrap()],
        owner: SigningKey::ed25519([7; 32]).public(),
        key: Digest::of(&[&key.subject_public_key_info()]),
        granted_at: Height(9),
    };
    let place = state_key::grant(&[5; 32]);
    let mut entries: BTreeMap<Vec<u8>, Vec<u8>> = (0..OTHERS)
        .map(|number| (number.to_be_bytes().to_vec(), record::encode(&number)))
        .collect();
    entries.insert(place.clone(), record::encode(&grant));
    let elsewhere = b"elsewhere".to_vec();
    entries.insert(elsewhere.clone(), record::encode(&grant));
    let proofs = prove(
        &circle,
        &entries,
        &[place, elsewhere],
        1_000_000,
        1_800_000_000_000,
    );
    Made {
        circle: circle.key,
        key,
        proof: proofs[0].encode(),
        other: proofs[1].encode(),
    }
});

/// A self-signed certificate: who signed it makes no difference.
fn certificate(names: &[&str], key: &KeyPair, proof: Option<&[u8]>) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.custom_extensions = proof
        .map(|proof| {
            let content = yasna::construct_der(|writer| writer.write_bytes(proof));
            CustomExtension::from_oid_content(PROOF_EXTENSION, content)
        })
        .into_iter()
        .collect();
    params.self_signed(key).unwrap().der().to_vec()
}

fn verdict(der: &[u8]) -> Result<ProvenCertificate, CertificateProofError> {
    verify(der, &MADE.circle)
}

#[test]
fn a_certificate_proves_its_names_and_key_with_the_circles_key_alone() {
    let der = certificate(&[NAME], &MADE.key, Some(&MADE.proof));
    let proven = verdict(&read(&der).unwrap()).unwrap();
    let name: CertifiedName = NAME.parse().unwrap();
    assert_eq!(proven.names, [name]);
    assert_eq!(proven.owner, SigningKey::ed25519([7; 32]).public());
    assert_eq!(proven.height, Height(1_000_000));
    assert_eq!(proven.proof_bytes, MADE.proof.len());
}

#[test]
fn a_proof_among_a_million_entries_is_below_a_kilobyte() {
    let bytes = MADE.proof.len() + MORE_SIBLINGS * 32;
    assert!(bytes <= 1024, "{bytes}");
}

#[test]
fn what_proves_nothing_is_refused() {
    type Error = CertificateProofError;
    let absent = certificate(&[NAME], &MADE.key, None);
    assert!(matches!(verdict(&absent), Err(Error::Absent)));
    let stranger = KeyPair::generate().unwrap();
    let stolen = certificate(&[NAME], &stranger, Some(&MADE.proof));
    assert!(matches!(verdict(&stolen), Err(Error::OtherKey)));
    for names in [&["other.internal"][..], &[NAME, "other.internal"], &[]] {
        let other = certificate(names, &MADE.key, Some(&MADE.proof));
        assert!(
            matches!(verdict(&other), Err(Error::OtherNames)),
            "{names:?}"
        );
    }
    let elsewhere = certificate(&[NAME], &MADE.key, Some(&MADE.other));
    assert!(matches!(verdict(&elsewhere), Err(Error::OtherRecord)));
    let good = certificate(&[NAME], &MADE.key, Some(&MADE.proof));
    let secret = blst::min_sig::SecretKey::key_gen(&[6; 32], &[]).unwrap();
    let other_circle = CircleKey(secret.sk_to_pk().compress());
    assert!(matches!(
        verify(&good, &other_circle),
        Err(Error::NotProven(_))
    ));
    assert!(matches!(verdict(&good[1..]), Err(Error::Malformed)));
}

#[test]
fn every_changed_octet_of_a_proof_is_refused() {
    for at in 0..MADE.proof.len() {
        let mut changed = MADE.proof.clone();
        changed[at] ^= 1;
        let der = certificate(&[NAME], &MADE.key, Some(&changed));
        assert!(verdict(&der).is_err(), "octet {at}");
    }
}
