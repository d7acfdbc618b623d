//! Signatures over RRsets (RFC 4034): what is signed, in which octets, and
//! whether a signature holds.
//!
//! The same octets are composed by whoever signs and whoever verifies; the
//! canonical forms are the library's. Nothing here holds a private key.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use domain::{
    base::{
        CanonicalOrd as _, Name, Record, ToName as _, Ttl,
        iana::{Class, Rtype, SecurityAlgorithm},
    },
    rdata::{ZoneRecordData, dnssec::ProtoRrsig, dnssec::Timestamp},
};
use wire::KEY_SIGNING_FLAGS;

use super::zone::{Apex, Data, Label, OwnerName, RrSet, TaggedKey};

/// Octets of a signature of algorithm 13 (RFC 6605 §4).
pub const SIGNATURE_OCTETS: usize = 64;

/// RRsets of one label that one message may bring: a name's record sets, what
/// follows from its replicas, and an NSEC record for each owner.
pub const MAX_SIGNED_SETS: usize = 1024;

/// What of a signature does not follow from the RRset and the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Signature {
    /// The key's tag.
    pub key_tag: u16,
    /// When it begins to hold, Unix seconds modulo 2^32.
    pub inception: u32,
    /// When it ceases to hold, Unix seconds modulo 2^32.
    pub expiration: u32,
    /// r and s.
    pub octets: [u8; SIGNATURE_OCTETS],
}

/// The signatures of one RRset.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SetSignatures {
    /// The owner relative to the label, in wire form without the root label.
    pub owner: Vec<u8>,
    /// The RRset's type.
    pub rtype: u16,
    /// One for each key that signs it.
    pub signatures: Vec<Signature>,
}

/// Signatures of RRsets at and beneath one label.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LabelSignatures {
    /// The label beneath the apex; empty for the apex itself.
    pub label: Vec<u8>,
    /// Those of its RRsets that were signed anew, or all.
    pub sets: Vec<SetSignatures>,
}

/// Why a zone cannot be served with the signatures there are.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SignatureError {
    /// A signature for an RRset that the zone does not hold or does not sign.
    #[error("a signature is for {owner} {rtype}, which the zone does not sign")]
    Stray {
        /// Where.
        owner: String,
        /// Its type.
        rtype: Rtype,
    },
    /// A signature under a key that the ledger does not name, or that does not verify.
    #[error("a signature over {owner} {rtype} does not hold under the zone's keys")]
    Invalid {
        /// Where.
        owner: String,
        /// Its type.
        rtype: Rtype,
    },
    /// An RRset without a signature.
    #[error("{owner} {rtype} is not signed")]
    Missing {
        /// Where.
        owner: String,
        /// Its type.
        rtype: Rtype,
    },
}

/// Whether an RRset is signed by key-signing keys: those that the parent's DS
/// leads to, which vouch for the keys and say which the parent should hold.
pub fn is_of_keys(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::DNSKEY | Rtype::CDS | Rtype::CDNSKEY)
}

fn proto(
    apex: &OwnerName,
    owner: &OwnerName,
    set: &RrSet,
    key_tag: u16,
    inception: u32,
    expiration: u32,
) -> ProtoRrsig<OwnerName> {
    ProtoRrsig::new(
        set.rtype,
        SecurityAlgorithm::ECDSAP256SHA256,
        owner.rrsig_label_count(),
        set.ttl,
        Timestamp::from(expiration),
        Timestamp::from(inception),
        key_tag,
        apex.clone(),
    )
}

/// The octets that a signature over `set` is made over (RFC 4034 §3.1.8.1).
///
/// Units: times in Unix seconds modulo 2^32.
pub fn signed_octets(
    apex: &OwnerName,
    owner: &OwnerName,
    set: &RrSet,
    key_tag: u16,
    inception: u32,
    expiration: u32,
) -> Vec<u8> {
    let proto = proto(apex, owner, set, key_tag, inception, expiration);
    canonical_octets(&proto, owner, set.ttl, &set.data)
}

/// The octets of a signature that says `proto` over records of `owner`
/// (RFC 4034 §3.1.8.1).
pub(crate) fn canonical_octets(
    proto: &ProtoRrsig<OwnerName>,
    owner: &OwnerName,
    ttl: Ttl,
    data: &[Data],
) -> Vec<u8> {
    let mut octets = Vec::with_capacity(512);
    // Composing into a vector does not fail.
    let _ = proto.compose_canonical(&mut octets);
    let mut data: Vec<&Data> = data.iter().collect();
    data.sort_by(|a, b| a.canonical_cmp(b));
    for data in data {
        let record = Record::new(owner, Class::IN, ttl, data);
        let _ = record.compose_canonical(&mut octets);
    }
    octets
}

/// `signature` as an RRSIG record over `set`; none if it cannot be one.
pub fn rrsig(
    apex: &OwnerName,
    owner: &OwnerName,
    set: &RrSet,
    signature: &Signature,
) -> Option<Data> {
    let Signature {
        key_tag,
        inception,
        expiration,
        octets,
    } = signature;
    let rrsig = proto(apex, owner, set, *key_tag, *inception, *expiration)
        .into_rrsig(Bytes::copy_from_slice(octets))
        .ok()?;
    Some(rrsig.into())
}

/// An RRSIG record's data as a [`Signature`]; none for other data.
pub fn signature_of(data: &Data) -> Option<Signature> {
    let ZoneRecordData::Rrsig(rrsig) = data else {
        return None;
    };
    Some(Signature {
        key_tag: rrsig.key_tag(),
        inception: rrsig.inception().into_int(),
        expiration: rrsig.expiration().into_int(),
        octets: rrsig.signature().as_ref().try_into().ok()?,
    })
}

/// Whether `signature` is one over `set` under one of `keys`.
fn holds(
    keys: &[TaggedKey],
    apex: &OwnerName,
    owner: &OwnerName,
    set: &RrSet,
    signature: &Signature,
) -> bool {
    let octets = || {
        let Signature {
            key_tag,
            inception,
            expiration,
            ..
        } = *signature;
        signed_octets(apex, owner, set, key_tag, inception, expiration)
    };
    keys.iter()
        .filter(|key| key.tag == signature.key_tag)
        .filter(|key| !is_of_keys(set.rtype) || key.key.flags == KEY_SIGNING_FLAGS)
        .any(|key| {
            // SEC 1 §2.3.3: an uncompressed point.
            let mut point = [4; 65];
            point[1..].copy_from_slice(&key.key.public_key);
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(&octets(), &signature.octets)
                .is_ok()
        })
}

/// Labels from which on their signatures are verified on every core: a thread
/// costs as much as some signatures.
const LABELS_PER_THREAD: usize = 64;

/// Puts verified signatures on a zone's RRsets.
///
/// Errors: the first signature that is stray or does not hold; the zone is
///         then half signed, and not to be served.
pub fn attach(apex: &mut Apex, labels: &[LabelSignatures]) -> Result<(), SignatureError> {
    for (one, sets) in labels.iter().zip(verify(apex, labels)?) {
        for (signed, signatures) in one.sets.iter().zip(sets) {
            let set = apex
                .node_mut(&one.label, &signed.owner)
                .and_then(|node| node.get_mut(Rtype::from_int(signed.rtype)));
            if let Some(set) = set {
                set.signatures = signatures;
            }
        }
    }
    apex.copy_denial();
    Ok(())
}

/// The RRSIG records of one RRset.
type Signatures = Vec<Data>;

/// Verifies signatures, those of many labels on every core.
///
/// Shape: for each label its sets' records, in their order.
fn verify(apex: &Apex, labels: &[LabelSignatures]) -> Result<Vec<Vec<Signatures>>, SignatureError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = labels.len().div_ceil(threads).max(LABELS_PER_THREAD);
    let verify_some = |some: &[LabelSignatures]| -> Result<Vec<_>, _> {
        some.iter().map(|one| verify_label(apex, one)).collect()
    };
    if labels.len() <= share {
        return verify_some(labels);
    }
    std::thread::scope(|scope| {
        let some = labels.chunks(share);
        let running: Vec<_> = some
            .map(|some| scope.spawn(move || verify_some(some)))
            .collect();
        let mut all = Vec::with_capacity(labels.len());
        for thread in running {
            match thread.join() {
                Ok(some) => all.extend(some?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(all)
    })
}

fn verify_label(apex: &Apex, one: &LabelSignatures) -> Result<Vec<Signatures>, SignatureError> {
    let keys = apex.keys().unwrap_or_default();
    let domain = apex.domain(&one.label);
    let mut all = Vec::with_capacity(one.sets.len());
    for signed in &one.sets {
        let rtype = Rtype::from_int(signed.rtype);
        let owner = apex.owner_of(&one.label, &signed.owner);
        let stray = || SignatureError::Stray {
            owner: format!("{owner:?}"),
            rtype,
        };
        let node = match &domain {
            Some(domain) => domain.node(&signed.owner),
            None if one.label.is_empty() && signed.owner.is_empty() => Some(apex.node()),
            None => None,
        };
        let owner = owner.as_ref().ok_or_else(stray)?;
        let set = node.and_then(|node| node.get(rtype)).ok_or_else(stray)?;
        let mut signatures = Vec::with_capacity(signed.signatures.len());
        for signature in &signed.signatures {
            let data = rrsig(apex.name(), owner, set, signature);
            // What was verified before need not be again.
            let known = data
                .as_ref()
                .is_some_and(|data| set.signatures.contains(data));
            if !known && !holds(keys, apex.name(), owner, set, signature) {
                let owner = owner.to_string();
                return Err(SignatureError::Invalid { owner, rtype });
            }
            signatures.extend(data);
        }
        all.push(signatures);
    }
    Ok(all)
}

/// Checks that every RRset at and beneath `labels` that the zone signs has a
/// signature, under a key that still counts.
///
/// Errors: [`SignatureError::Missing`], naming the first that has none.
pub fn check_whole<'a>(
    apex: &Apex,
    labels: impl IntoIterator<Item = &'a Label>,
) -> Result<(), SignatureError> {
    let Some(keys) = apex.keys() else {
        return Ok(());
    };
    for label in labels {
        let mut missing = None;
        apex.see_signed_sets(label, |owner, set| {
            let counts = |data: &Data| {
                signature_of(data)
                    .is_some_and(|signature| keys.iter().any(|key| key.tag == signature.key_tag))
            };
            if !set.signatures.iter().any(counts) {
                missing = Some((apex.owner_of(label, owner), set.rtype));
            }
        });
        if let Some((owner, rtype)) = missing {
            let owner = owner.map_or_else(String::new, |owner: Name<Bytes>| owner.to_string());
            return Err(SignatureError::Missing { owner, rtype });
        }
    }
    Ok(())
}

/// The signatures that a zone's RRsets at and beneath `label` have.
pub fn signatures_at(apex: &Apex, label: &[u8]) -> LabelSignatures {
    let mut sets = Vec::new();
    apex.see_signed_sets(label, |owner, set| {
        sets.push(SetSignatures {
            owner: owner.to_vec(),
            rtype: set.rtype.to_int(),
            signatures: set.signatures.iter().filter_map(signature_of).collect(),
        });
    });
    LabelSignatures {
        label: label.to_vec(),
        sets,
    }
}
