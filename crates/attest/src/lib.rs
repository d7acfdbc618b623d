//! Evidence in, claims out; and the policies that appraise claims.
//!
//! Words follow RFC 9334: an enclave is the *attester*, whoever calls
//! [`verify`] is the *verifier*. Two questions are kept apart:
//!
//! - [`verify`]: is the evidence genuine, and what does it say? It needs the
//!   roots of trust of the evidence's kind and a [`Moment`], nothing else;
//!   what vendors say of their platforms (*endorsements*) travels with it.
//! - [`appraise`]: do the claims satisfy a policy? It needs no cryptography.
//!
//! The ledger appraises under the circle's policy and the request's; a user's
//! client does so again for itself before it releases a key. The crate takes
//! no clock, no entropy and no I/O, so that all validators agree. Each kind of
//! evidence has a file of its own; logs that are larger than a transaction
//! (boot, IMA) are for the `software` crate.

mod appraisal;
mod certificate;
mod claims;
pub mod dcap;
pub mod development;
pub mod ear;
pub mod nitro;
pub mod snp;
pub mod tpm;

pub use appraisal::{AppraisalError, AppraisalPolicy, PlatformError, appraise, appraise_platform};
pub use claims::{Claims, EvidenceError, Moment, Platform, ReportData, Roots, chip_digest, verify};
