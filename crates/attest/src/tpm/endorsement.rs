//! Does a TPM's maker vouch for its endorsement key?

use crate::certificate;

/// Certificates between a TPM and its maker's root; makers use one or two.
const MAX_CHAIN: usize = 4;

/// An endorsement key that a maker's root vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndorsementKey {
    /// Its SubjectPublicKeyInfo, DER.
    pub public: Vec<u8>,
}

/// Why an endorsement certificate is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndorsementError {
    /// A certificate does not decode.
    #[error("a certificate does not decode: {0}")]
    Malformed(String),
    /// No chain to a root that was handed in.
    #[error("no root that is trusted here vouches for it")]
    UnknownRoot,
    /// A certificate of the chain does not hold now.
    #[error("a certificate of the chain does not hold now")]
    OutOfTime,
    /// An issuer in the chain may not issue.
    #[error("an issuer of the chain is no certificate authority")]
    NotAnAuthority,
}

/// Follows `certificate` through `intermediates` to one of `roots`.
///
/// Shape:  all certificates DER, in any order; the roots are trusted as they are.
/// Errors: [`EndorsementError`].
pub fn check_endorsement(
    certificate: &[u8],
    intermediates: &[Vec<u8>],
    roots: &[Vec<u8>],
    time_ms: u64,
) -> Result<EndorsementKey, EndorsementError> {
    let malformed = EndorsementError::Malformed;
    let leaf = certificate::read(certificate).map_err(malformed)?;
    let public = leaf.public_key().raw.to_vec();
    let mut current = certificate.to_vec();
    for _ in 0..=MAX_CHAIN {
        let subject = certificate::read(&current).map_err(malformed)?;
        if !certificate::holds_at(&subject, time_ms) {
            return Err(EndorsementError::OutOfTime);
        }
        let signed_by = |issuer: &&Vec<u8>| {
            certificate::read(issuer)
                .is_ok_and(|issuer| certificate::is_signed_by(&subject, &issuer))
        };
        if let Some(root) = roots.iter().find(signed_by) {
            let root = certificate::read(root).map_err(malformed)?;
            return match certificate::holds_at(&root, time_ms) {
                true => Ok(EndorsementKey { public }),
                false => Err(EndorsementError::OutOfTime),
            };
        }
        let Some(issuer) = intermediates.iter().find(signed_by) else {
            return Err(EndorsementError::UnknownRoot);
        };
        let parsed = certificate::read(issuer).map_err(malformed)?;
        if !parsed.is_ca() {
            return Err(EndorsementError::NotAnAuthority);
        }
        current = issuer.clone();
    }
    Err(EndorsementError::UnknownRoot)
}
