//! Which software has a host started since it was switched on, and is it what
//! its distribution published? (seed 001: host software metadata verification.)
//!
//! Three sources, checked against one another:
//!
//! - a TPM's quote (`attest::tpm`), whose registers two logs must replay to:
//!   the firmware's ([`boot_log`]) and the kernel's list of executed and loaded
//!   files ([`ima_log`]);
//! - an [`index::Index`] of what packages contain, made from archives whose
//!   signatures were checked (Debian's: [`archive`]; RPM's: [`rpm`]), with the time
//!   at which each version was current.
//!
//! [`appraisal`] joins them: what is unknown or changed is named with its
//! package. Everything but the making of an index is pure.

pub mod appraisal;
pub mod archive;
pub mod boot_log;
pub mod ima_log;
pub mod index;
mod reader;
pub mod rpm;
