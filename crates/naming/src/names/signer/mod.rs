//! The zone signer: it follows the ledger through proofs, signs what changed,
//! and hands the signatures to name servers, which hold no key.

pub mod keys;
pub mod roll;
pub mod sign;
pub mod signing;

#[cfg(test)]
mod tests;
