//! Orders opaque blocks for a boxed chain.
pub mod certificate;
pub mod keys;
