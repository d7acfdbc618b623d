//! The SIG(0) at the end of a message (RFC 2931).

use domain::{
    base::{Name, RecordSection, Rtype, ToName as _, iana::Class},
    dep::octseq::Parser,
};
use wire::{Digest, PublicKey, Signature};

use crate::{MAX_SIGNATURE_SECONDS, Update, UpdateError};

/// Octets of a SIG's data before the signer's name (RFC 2535 §4.1): type,
/// algorithm, labels, TTL, expiration, inception, key tag.
const FIXED: usize = 18;

/// Octets of a record without its data whose owner is the root.
const ROOT_RECORD: usize = 11;

/// IANA's numbers of DNSSEC algorithms.
const ECDSA_P256_SHA256: u8 = 13;
const ED25519: u8 = 15;

/// A signature and what it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Of DNSSEC's algorithms.
    pub algorithm: u8,
    /// When it begins to hold, Unix seconds.
    pub inception: u32,
    /// When it ceases to, Unix seconds.
    pub expiration: u32,
    /// The name of the key: at or beneath the name that it owns.
    pub(crate) signer: Name<Vec<u8>>,
    signature: Signature,
    covered: Vec<u8>,
}

/// Why a signature does not hold, or could not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No record, or none of this kind, at the end.
    #[error("the last record is no SIG(0): sign with the key of the name's owner")]
    Missing,
    /// RFC 2931 §3, or RFC 2535 §4.1.
    #[error("the SIG(0) is malformed")]
    Malformed,
    /// Not the algorithm of the owner's key.
    #[error("the algorithm {0} is not that of the owner's key (15 for Ed25519, 13 for P-256)")]
    Algorithm(u8),
    /// The key's name lies elsewhere.
    #[error("the signing key's name is not at or beneath the name that is changed")]
    Signer,
    /// It holds for too long.
    #[error("a signature holds for at most {MAX_SIGNATURE_SECONDS} seconds")]
    Lifetime,
    /// It does not verify.
    #[error("the signature is not that of the name's owner")]
    Wrong,
}

impl Signed {
    /// Takes the signature from the additional section: its one record.
    pub(crate) fn read(
        octets: &[u8],
        additional: &mut RecordSection<'_, &[u8]>,
    ) -> Result<Self, UpdateError> {
        let start = additional.pos();
        let record = match additional.next() {
            Some(Ok(record)) if record.rtype() == Rtype::SIG => record,
            Some(Err(_)) => return Err(SignatureError::Malformed.into()),
            Some(Ok(_)) | None => return Err(SignatureError::Missing.into()),
        };
        let length = usize::from(record.rdlen());
        let root = octets.get(start) == Some(&0);
        let last = additional.next().is_none() && start + ROOT_RECORD + length == octets.len();
        if !root || !last || record.class() != Class::ANY || record.ttl().as_secs() != 0 {
            return Err(SignatureError::Malformed.into());
        }
        let data = &octets[start + ROOT_RECORD..];
        Self::from_data(octets, start, data).ok_or_else(|| SignatureError::Malformed.into())
    }

    fn from_data(octets: &[u8], start: usize, data: &[u8]) -> Option<Self> {
        let (fixed, rest) = data.split_at_checked(FIXED)?;
        let number = |at: usize| -> Option<u32> {
            Some(u32::from_be_bytes(fixed.get(at..at + 4)?.try_into().ok()?))
        };
        // RFC 2931 §3: it covers no type.
        if fixed[..2] != [0, 0] {
            return None;
        }
        let mut parser = Parser::from_ref(rest);
        let signer: Name<Vec<u8>> = Name::parse(&mut parser).ok()?.to_name();
        let length = parser.pos();
        let signature = &rest[length..];
        // RFC 2931 §3.1: the data without the signature, then the message as it
        // was before the record was put behind it.
        let mut covered = data[..FIXED + length].to_vec();
        covered.extend_from_slice(&octets[..start]);
        let count = FIXED + length + 10;
        let additional = covered.get_mut(count..count + 2)?;
        let records = u16::from_be_bytes([additional[0], additional[1]]).checked_sub(1)?;
        additional.copy_from_slice(&records.to_be_bytes());
        Some(Self {
            algorithm: fixed[2],
            expiration: number(8)?,
            inception: number(12)?,
            signer,
            signature: Signature(signature.try_into().ok()?),
            covered,
        })
    }
}

impl Update {
    /// Checks that `owner` signed the message, for not too long a time.
    ///
    /// Errors: [`SignatureError`]. Whether that time is now is for the caller.
    pub fn verify(&self, owner: &PublicKey) -> Result<(), SignatureError> {
        let signed = &self.signed;
        let fits = match owner {
            PublicKey::Ed25519(_) => signed.algorithm == ED25519,
            PublicKey::P256(_) => signed.algorithm == ECDSA_P256_SHA256,
        };
        if !fits {
            return Err(SignatureError::Algorithm(signed.algorithm));
        }
        let lifetime = signed.expiration.checked_sub(signed.inception);
        if lifetime.is_none_or(|seconds| seconds > MAX_SIGNATURE_SECONDS) {
            return Err(SignatureError::Lifetime);
        }
        owner
            .verify_octets(&signed.covered, &signed.signature)
            .map_err(|_| SignatureError::Wrong)
    }

    /// Whether the signature holds at `now_s`, Unix seconds.
    pub fn is_timely(&self, now_s: u64) -> bool {
        (u64::from(self.signed.inception)..=u64::from(self.signed.expiration)).contains(&now_s)
    }

    /// What is remembered of a message so that it is good once: what is signed,
    /// not the signature, of which there can be several.
    pub fn digest(&self) -> Digest {
        Digest::tagged("ringfort/name-update/1", &[&self.signed.covered])
    }
}
