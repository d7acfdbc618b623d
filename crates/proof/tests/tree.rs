//! Proofs made from real trees by the tree's own library, under real
//! certificates: what must verify does, and nothing else.

use std::{cell::RefCell, collections::BTreeMap};

use blst::min_sig::SecretKey;
use jmt::{
    KeyHash, OwnedValue, Sha256Jmt, Version,
    storage::{LeafNode, Node, NodeKey, TreeReader},
};
use proof::{Certificate, DOMAIN_SEPARATION_TAG, Path, Proof, ProofError, verify_header};
use proptest::prelude::*;
use wire::{CircleId, CircleKey, Digest, Header, HeaderSummary, Height};

/// A tree of one version in memory.
#[derive(Default)]
struct Tree {
    nodes: BTreeMap<NodeKey, Node>,
    values: BTreeMap<KeyHash, OwnedValue>,
    root: RefCell<Digest>,
}

impl TreeReader for Tree {
    fn get_node_option(&self, key: &NodeKey) -> anyhow::Result<Option<Node>> {
        Ok(self.nodes.get(key).cloned())
    }

    fn get_value_option(&self, _: Version, key: KeyHash) -> anyhow::Result<Option<OwnedValue>> {
        Ok(self.values.get(&key).cloned())
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        Ok(None)
    }
}

fn key_hash(key: &[u8]) -> KeyHash {
    KeyHash(Digest::of(&[key]).0)
}

impl Tree {
    fn of(entries: &BTreeMap<Vec<u8>, Vec<u8>>) -> Self {
        let mut tree = Self::default();
        let set: Vec<_> = entries
            .iter()
            .map(|(key, value)| (key_hash(key), Some(value.clone())))
            .collect();
        let (root, batch) = Sha256Jmt::new(&tree).put_value_set(set, 0).unwrap();
        tree.nodes = batch.node_batch.nodes().clone();
        tree.values = entries
            .iter()
            .map(|(key, value)| (key_hash(key), value.clone()))
            .collect();
        *tree.root.borrow_mut() = Digest(root.0);
        tree
    }

    fn path(&self, key: &[u8]) -> Path {
        let (_, proof) = Sha256Jmt::new(self)
            .get_with_proof(key_hash(key), 0)
            .unwrap();
        Path::from_library(&borsh::to_vec(&proof).unwrap(), Digest::of(&[key])).unwrap()
    }

    fn prove(&self, key: &[u8], secret: &SecretKey) -> Proof {
        let header = Header {
            version: Header::VERSION,
            circle: CircleId([0xc1; 32]),
            height: Height(123_456),
            time_ms: 1_700_000_000_000,
            parent: Digest([2; 32]),
            state_root: *self.root.borrow(),
            transactions: Digest([3; 32]),
        }
        .summary();
        Proof {
            certificate: certify(&header, secret),
            header,
            key: key.to_vec(),
            value: self.values.get(&key_hash(key)).cloned(),
            path: self.path(key),
        }
    }
}

/// A threshold signature is an ordinary one under the group's key, so one
/// secret key stands for a whole circle.
fn circle() -> (SecretKey, CircleKey) {
    let secret = SecretKey::key_gen(&[5; 32], &[]).unwrap();
    let key = CircleKey(secret.sk_to_pk().compress());
    (secret, key)
}

fn certify(header: &HeaderSummary, secret: &SecretKey) -> Certificate {
    let mut certificate = Certificate {
        epoch: 0,
        view: 123_460,
        parent_view: 123_459,
        signature: [0; 48],
    };
    let message = certificate.message(header.circle, header.digest());
    certificate.signature = secret.sign(&message, DOMAIN_SEPARATION_TAG, &[]).compress();
    certificate
}

fn entries(count: u32) -> BTreeMap<Vec<u8>, Vec<u8>> {
    (0..count)
        .map(|number| {
            let id = Digest::of(&[&number.to_be_bytes()]);
            ([b"a/", &id.0[..]].concat(), number.to_be_bytes().repeat(4))
        })
        .collect()
}

fn assert_proves(tree: &Tree, key: &[u8]) {
    let (secret, circle_key) = circle();
    let proof = tree.prove(key, &secret);
    let decoded = Proof::decode(&proof.encode()).unwrap();
    assert_eq!(decoded, proof);
    let proven = decoded.verify(&circle_key).unwrap();
    assert_eq!(proven.key(), key);
    assert_eq!(
        proven.value(),
        tree.values.get(&key_hash(key)).map(Vec::as_slice)
    );
    assert_eq!(proven.height(), Height(123_456));
    assert_eq!(proven.circle(), proof.header.circle);
    assert_eq!(proven.header_digest(), proof.header.digest());
}

#[test]
fn proves_presence_and_absence_in_trees_of_every_small_size() {
    for count in [0, 1, 2, 3, 5, 16, 40] {
        let entries = entries(count);
        let tree = Tree::of(&entries);
        for key in entries.keys() {
            assert_proves(&tree, key);
        }
        for absent in 0..20u32 {
            assert_proves(&tree, &[b"absent/", &absent.to_be_bytes()[..]].concat());
        }
    }
}

#[test]
fn a_proof_among_many_entries_is_small() {
    let entries = entries(3000);
    let tree = Tree::of(&entries);
    let (secret, _) = circle();
    let largest = entries
        .keys()
        .map(|key| tree.prove(key, &secret).encode().len())
        .max()
        .unwrap();
    // 3,000 entries make paths of 12 to 20 siblings; a million makes 8 more.
    assert!(largest + 8 * 33 < 1168, "{largest} bytes");
}

#[test]
fn the_golden_vectors_are_unchanged() {
    let (secret, circle_key) = circle();
    let tree = Tree::of(&entries(5));
    let key = entries(5).into_keys().nth(2).unwrap();
    let vectors = [
        ("present", tree.prove(&key, &secret)),
        ("absent", tree.prove(b"a/nobody", &secret)),
    ];
    for ((name, proof), expected) in vectors.iter().zip(include_str!("golden.txt").lines()) {
        assert_eq!(format!("{name} {}", hex::encode(proof.encode())), expected);
        let bytes = hex::decode(expected.split_once(' ').unwrap().1).unwrap();
        Proof::decode(&bytes).unwrap().verify(&circle_key).unwrap();
    }
    assert_eq!(include_str!("golden.txt").lines().count(), vectors.len());
}

#[test]
fn refuses_another_key_value_height_or_root() {
    let (secret, circle_key) = circle();
    let tree = Tree::of(&entries(100));
    let keys: Vec<_> = entries(100).into_keys().collect();
    let good = tree.prove(&keys[0], &secret);
    good.verify(&circle_key).unwrap();

    let mut other_key = good.clone();
    other_key.key = keys[1].clone();
    assert_eq!(other_key.verify(&circle_key), Err(ProofError::StateRoot));

    let mut other_value = good.clone();
    other_value.value = Some(b"forged".to_vec());
    assert_eq!(other_value.verify(&circle_key), Err(ProofError::StateRoot));

    let mut said_absent = good.clone();
    said_absent.value = None;
    assert_eq!(said_absent.verify(&circle_key), Err(ProofError::StateRoot));

    let mut other_height = good.clone();
    other_height.header.height = Height(123_457);
    assert_eq!(
        other_height.verify(&circle_key),
        Err(ProofError::Certificate)
    );

    // A tree of the attacker's own: the path fits, the certificate does not.
    let forged = Tree::of(&[(keys[0].clone(), b"forged".to_vec())].into());
    let mut proof = forged.prove(&keys[0], &secret);
    proof.certificate = good.certificate;
    assert_eq!(proof.verify(&circle_key), Err(ProofError::Certificate));

    let mut version = good.header;
    version.version = 2;
    assert_eq!(
        verify_header(&version, &good.certificate, &circle_key),
        Err(ProofError::Version(2))
    );
}

#[test]
fn a_header_that_was_verified_vouches_for_its_own_entries_alone() {
    let (secret, circle_key) = circle();
    let tree = Tree::of(&entries(100));
    let keys: Vec<_> = entries(100).into_keys().collect();
    let mut known = None;
    let first = tree.prove(&keys[0], &secret);
    first.verify_after(&circle_key, &mut known).unwrap();
    assert!(known.is_some());
    let second = tree.prove(&keys[1], &secret);
    second.verify_after(&circle_key, &mut known).unwrap();

    let mut other_value = second.clone();
    other_value.value = Some(b"forged".to_vec());
    let refused = other_value.verify_after(&circle_key, &mut known);
    assert_eq!(refused, Err(ProofError::StateRoot));

    // The attacker's own tree, beneath the certificate that was verified.
    let forged = Tree::of(&[(keys[0].clone(), b"forged".to_vec())].into());
    let mut proof = forged.prove(&keys[0], &secret);
    proof.certificate = first.certificate;
    let refused = proof.verify_after(&circle_key, &mut known);
    assert_eq!(refused, Err(ProofError::Certificate));

    // The header that was verified, beneath another certificate.
    let mut spoiled = second.clone();
    spoiled.certificate.view += 1;
    let refused = spoiled.verify_after(&circle_key, &mut known);
    assert_eq!(refused, Err(ProofError::Certificate));

    // Nor does it vouch under another circle's key.
    let other = SecretKey::key_gen(&[6; 32], &[]).unwrap();
    let other = CircleKey(other.sk_to_pk().compress());
    let refused = second.verify_after(&other, &mut known);
    assert_eq!(refused, Err(ProofError::Certificate));
    second.verify_after(&circle_key, &mut known).unwrap();
}

#[test]
fn refuses_a_change_of_any_byte() {
    let (secret, circle_key) = circle();
    let tree = Tree::of(&entries(60));
    let present = entries(60).into_keys().next().unwrap();
    for key in [&present[..], b"nobody", b"no one"] {
        let bytes = tree.prove(key, &secret).encode();
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1 << (index % 8);
            let proven = Proof::decode(&changed).map(|proof| proof.verify(&circle_key));
            // Where two absent keys have their place in the same empty
            // subtree, one path proves the absence of both; nothing else may pass.
            if let Ok(Ok(proven)) = proven {
                assert_ne!(proven.key(), key, "byte {index} of {}", bytes.len());
                assert_eq!(proven.value(), None);
                assert!(!tree.values.contains_key(&key_hash(proven.key())));
            }
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(Proof::decode(&longer).is_err());
        assert!(Proof::decode(&bytes[..bytes.len() - 1]).is_err());
    }
}

#[test]
fn a_claimed_length_is_refused_before_it_is_allocated() {
    let (secret, _) = circle();
    let proof = Tree::of(&entries(3)).prove(b"k", &secret);
    let bytes = proof.encode();
    let at = bytes.len() - borsh::object_length(&proof.path).unwrap() - 1 - 2;
    assert_eq!(bytes[at], 1, "the key's length stands here");
    let huge = [&bytes[..at], &[0xff; 9], &[1]].concat();
    assert!(Proof::decode(&huge).is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        if let Ok(proof) = Proof::decode(&bytes) {
            prop_assert!(proof.verify(&circle().1).is_err());
        }
    }

    #[test]
    fn a_spoiled_proof_is_refused(
        start in 0usize..900,
        noise in proptest::collection::vec(any::<u8>(), 1..40),
    ) {
        let (secret, circle_key) = circle();
        let entries = entries(200);
        let tree = Tree::of(&entries);
        let good = tree.prove(entries.keys().next().unwrap(), &secret).encode();
        let mut bytes = good.clone();
        let start = start % bytes.len();
        for (byte, noise) in bytes[start..].iter_mut().zip(&noise) {
            *byte = *noise;
        }
        let verified = Proof::decode(&bytes).is_ok_and(|proof| proof.verify(&circle_key).is_ok());
        prop_assert_eq!(verified, bytes == good);
    }

    #[test]
    fn the_path_leads_to_the_librarys_root(
        entries in proptest::collection::btree_map(
            proptest::collection::vec(any::<u8>(), 1..8),
            proptest::collection::vec(any::<u8>(), 0..40),
            0..60,
        ),
        other in proptest::collection::vec(any::<u8>(), 1..4),
    ) {
        let tree = Tree::of(&entries);
        for key in entries.keys().chain([&other]) {
            let value = entries.get(key).map(Vec::as_slice);
            prop_assert_eq!(tree.path(key).root(key, value).unwrap(), *tree.root.borrow());
        }
    }
}
