//! Signing what changed: RRsets without a signature get one, and nothing else
//! is touched.

use std::collections::BTreeSet;

use domain::base::Rtype;
use wire::KEY_SIGNING_FLAGS;

use crate::names::{
    dnssec::{self, LabelSignatures, SetSignatures, Signature},
    zone::{Apex, Label},
};

use super::keys::{HeldKey, KeySource, SignError};

/// How long a signature holds: long enough that a signer may be away over a
/// week without harm (RFC 6781 §4.4.2).
pub const VALIDITY_SECONDS: u64 = 14 * 86_400;

/// How long before its end a signature is made anew.
pub const REFRESH_SECONDS: u64 = 5 * 86_400;

/// By how much the ends of signatures that are made together lie apart, so
/// that they are not all made anew in one second.
pub const JITTER_SECONDS: u64 = 2 * 86_400;

/// How far back a signature begins, for clocks that are behind.
pub const INCEPTION_SECONDS: u64 = 3_600;

/// When signatures begin and end.
#[derive(Clone, Copy, Debug)]
pub struct Period {
    /// The time of signing, Unix seconds.
    pub now: u64,
}

impl Period {
    fn inception(self) -> u32 {
        (self.now - INCEPTION_SECONDS.min(self.now)) as u32
    }

    /// The end of a signature over what stands at `label`: spread by a hash
    /// of the label, so that a label's signatures end together.
    fn expiration(self, label: &[u8]) -> u32 {
        // FNV-1a: spread is all that is asked of it.
        let hash = label.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        (self.now + VALIDITY_SECONDS - hash % JITTER_SECONDS) as u32
    }
}

/// The keys that sign a zone now, of those that the ledger knows.
#[derive(Clone, Debug, Default)]
pub struct Signers {
    of_keys: Vec<HeldKey>,
    of_zone: Vec<HeldKey>,
}

impl Signers {
    /// Those of `apex` among what `source` holds.
    pub fn of(apex: &Apex, source: &impl KeySource) -> Self {
        let choose = |of_keys: bool| {
            let known = |held: &HeldKey| {
                apex.keys().unwrap_or_default().iter().any(|key| {
                    key.key.public_key == held.public_key
                        && (key.key.flags == KEY_SIGNING_FLAGS) == of_keys
                })
            };
            let mut held = source.held(apex.text(), of_keys);
            held.retain(known);
            // A key whose turn has come signs once the ledger shows it; until
            // then the former one goes on.
            if held.iter().any(|key| key.is_active) {
                held.retain(|key| key.is_active);
            } else {
                held.truncate(1);
            }
            held
        };
        Self {
            of_keys: choose(true),
            of_zone: choose(false),
        }
    }

    fn of_type(&self, rtype: Rtype) -> &[HeldKey] {
        if dnssec::is_of_keys(rtype) {
            &self.of_keys
        } else {
            &self.of_zone
        }
    }

    /// Whether a signature is to be made anew: under a key whose turn is
    /// over, or near its end.
    pub fn is_stale(&self, rtype: Rtype, signature: &Signature, period: Period) -> bool {
        let ours = self.of_type(rtype);
        // RFC 4034 §3.1.5: times are compared in serial arithmetic.
        let left = signature.expiration.wrapping_sub(period.now as u32) as i32;
        ours.iter().all(|key| key.tag != signature.key_tag)
            || i64::from(left) < REFRESH_SECONDS as i64
    }
}

/// Signs every RRset at and beneath `labels` that lacks a signature.
///
/// Shape:  gives the signatures made, by label.
/// Errors: a key that does not sign; the zone is then half signed.
pub fn sign_missing(
    apex: &mut Apex,
    labels: &BTreeSet<Label>,
    source: &impl KeySource,
    signers: &Signers,
    period: Period,
) -> Result<Vec<LabelSignatures>, SignError> {
    let mut made = Vec::new();
    for label in labels {
        let mut unsigned: Vec<(Vec<u8>, Rtype)> = Vec::new();
        apex.see_signed_sets(label, |owner, set| {
            if set.signatures.is_empty() {
                unsigned.push((owner.to_vec(), set.rtype));
            }
        });
        let sets = sign_sets(apex, label, unsigned, source, signers, period)?;
        if !sets.is_empty() {
            made.push(LabelSignatures {
                label: label.to_vec(),
                sets,
            });
        }
    }
    apex.copy_denial();
    Ok(made)
}

/// Takes stale signatures off the RRsets at and beneath `label`. Gives
/// whether there were any, and adds the tags of all that it saw to `seen`.
pub fn drop_stale(
    apex: &mut Apex,
    label: &Label,
    signers: &Signers,
    period: Period,
    seen: &mut BTreeSet<u16>,
) -> bool {
    let mut stale: Vec<(Vec<u8>, Rtype)> = Vec::new();
    apex.see_signed_sets(label, |owner, set| {
        let signatures: Vec<Signature> = set
            .signatures
            .iter()
            .filter_map(dnssec::signature_of)
            .collect();
        seen.extend(signatures.iter().map(|signature| signature.key_tag));
        let any = |signature| signers.is_stale(set.rtype, signature, period);
        if signatures.iter().any(any) {
            stale.push((owner.to_vec(), set.rtype));
        }
    });
    for (owner, rtype) in &stale {
        if let Some(set) = apex
            .node_mut(label, owner)
            .and_then(|node| node.get_mut(*rtype))
        {
            set.signatures.clear();
        }
    }
    !stale.is_empty()
}

fn sign_sets(
    apex: &mut Apex,
    label: &Label,
    unsigned: Vec<(Vec<u8>, Rtype)>,
    source: &impl KeySource,
    signers: &Signers,
    period: Period,
) -> Result<Vec<SetSignatures>, SignError> {
    let zone = apex.name().clone();
    let (inception, expiration) = (period.inception(), period.expiration(label));
    let mut made = Vec::with_capacity(unsigned.len());
    for (relative, rtype) in unsigned {
        let Some(owner) = apex.owner_of(label, &relative) else {
            continue;
        };
        let Some(set) = apex
            .node_mut(label, &relative)
            .and_then(|node| node.get_mut(rtype))
        else {
            continue;
        };
        let mut signatures = Vec::new();
        for key in signers.of_type(rtype) {
            let tag = key.tag;
            let octets = dnssec::signed_octets(&zone, &owner, set, tag, inception, expiration);
            signatures.push(Signature {
                key_tag: tag,
                inception,
                expiration,
                octets: source.sign(key, &octets)?,
            });
        }
        set.signatures = signatures
            .iter()
            .filter_map(|signature| dnssec::rrsig(&zone, &owner, set, signature))
            .collect();
        made.push(SetSignatures {
            owner: relative,
            rtype: rtype.to_int(),
            signatures,
        });
    }
    Ok(made)
}
