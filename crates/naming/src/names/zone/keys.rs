//! A zone's keys as the ledger holds them, and the records that follow.

use aws_lc_rs::digest;
use bytes::Bytes;
use domain::{
    base::{
        Name, ToName as _, Ttl,
        iana::{DigestAlgorithm, Rtype, SecurityAlgorithm},
        rdata::ComposeRecordData as _,
    },
    rdata::{Cdnskey, Cds, Dnskey, Ds},
};
use wire::{KEY_SIGNING_FLAGS, ZoneKey};

use super::{OwnerName, RrSet};

/// The protocol field of every DNSKEY (RFC 4034 §2.1.2).
const PROTOCOL: u8 = 3;

/// One key with its tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedKey {
    /// The key as the ledger holds it.
    pub key: ZoneKey,
    /// Its tag (RFC 4034 appendix B).
    pub tag: u16,
}

/// The key as a DNSKEY record's data; none if it is not one.
pub fn dnskey(key: &ZoneKey) -> Option<Dnskey<Bytes>> {
    Dnskey::new(
        key.flags,
        PROTOCOL,
        SecurityAlgorithm::ECDSAP256SHA256,
        Bytes::copy_from_slice(&key.public_key),
    )
    .ok()
}

/// The key's tag; none if it is no key.
pub fn key_tag(key: &ZoneKey) -> Option<u16> {
    Some(dnskey(key)?.key_tag())
}

/// The DS record of a key of `apex` (RFC 4509: SHA-256), which its parent
/// holds and by which a resolver may be told to trust the zone.
pub fn ds(apex: &OwnerName, key: &ZoneKey) -> Option<Ds<Bytes>> {
    ds_of(apex, &dnskey(key)?, DigestAlgorithm::SHA256)
}

/// The DS record of any zone's key (RFC 4034 §5.1.4); none by a digest other
/// than SHA-256 and SHA-384.
pub(crate) fn ds_of(
    owner: &OwnerName,
    key: &Dnskey<Bytes>,
    kind: DigestAlgorithm,
) -> Option<Ds<Bytes>> {
    let algorithm = match kind {
        DigestAlgorithm::SHA256 => &digest::SHA256,
        DigestAlgorithm::SHA384 => &digest::SHA384,
        _ => return None,
    };
    let mut octets = Vec::new();
    owner.compose_canonical(&mut octets).ok()?;
    key.compose_canonical_rdata(&mut octets).ok()?;
    let digest = digest::digest(algorithm, &octets);
    let digest = Bytes::copy_from_slice(digest.as_ref());
    Ds::new(key.key_tag(), key.algorithm(), kind, digest).ok()
}

/// The keys whose signatures count: those in the DNSKEY RRset.
pub(super) fn published(keys: &[ZoneKey]) -> Vec<TaggedKey> {
    keys.iter()
        .filter(|key| key.published)
        .filter_map(|key| {
            Some(TaggedKey {
                key: key.clone(),
                tag: key_tag(key)?,
            })
        })
        .collect()
}

/// DNSKEY, and CDS and CDNSKEY for the parent (RFC 7344), as far as there are any.
pub(super) fn records(apex: &Name<Bytes>, keys: &[ZoneKey], ttl: Ttl) -> Vec<RrSet> {
    let announced = || {
        keys.iter()
            .filter(|key| key.announced && key.flags == KEY_SIGNING_FLAGS)
    };
    let dnskeys = keys
        .iter()
        .filter(|key| key.published)
        .filter_map(|key| Some(dnskey(key)?.into()))
        .collect();
    let cds = announced()
        .filter_map(|key| {
            let ds = ds(apex, key)?;
            let (tag, digest) = (ds.key_tag(), ds.digest().clone());
            let cds = Cds::new(tag, ds.algorithm(), ds.digest_type(), digest).ok()?;
            Some(cds.into())
        })
        .collect();
    let cdnskeys = announced()
        .filter_map(|key| {
            let key = dnskey(key)?;
            let public = key.public_key().clone();
            Some(
                Cdnskey::new(key.flags(), PROTOCOL, key.algorithm(), public)
                    .ok()?
                    .into(),
            )
        })
        .collect();
    [
        (Rtype::DNSKEY, dnskeys),
        (Rtype::CDS, cds),
        (Rtype::CDNSKEY, cdnskeys),
    ]
    .into_iter()
    .map(|(rtype, data)| RrSet::new(rtype, ttl, data))
    .filter(|set| !set.data.is_empty())
    .collect()
}
