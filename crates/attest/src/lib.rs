//! Evidence in, claims out; and the policies that appraise claims.
//!
//! Words follow RFC 9334: an enclave is the *attester*, whoever calls
//! [`verify`] is the *verifier*. Two questions are kept apart:
//!
//! - [`verify`]: is the evidence genuine, and what does it say? It needs the
//!   roots of trust of the evidence's kind and a [`Moment`], nothing else.
//! - [`appraise`]: do the claims satisfy a policy? It needs no cryptography.
//!
//! The ledger appraises under the circle's policy and the request's; a user's
//! client does so again for itself before it releases a key. The crate takes
//! no clock, no entropy and no I/O. Each kind of evidence has a file of its
//! own; a kind without a verifier in this build is [`EvidenceError::Unsupported`].

mod appraisal;
mod claims;
pub mod development;

pub use appraisal::{AppraisalError, AppraisalPolicy, appraise};
pub use claims::{Claims, EvidenceError, Moment, Roots, verify};
