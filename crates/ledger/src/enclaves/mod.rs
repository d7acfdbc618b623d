//! Enclaves: their keys with evidence, and certificates for them.

mod issue_certificate;
mod register;

pub(crate) use issue_certificate::issue_certificate;
pub(crate) use register::register;
