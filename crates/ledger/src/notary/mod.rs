//! Notarised data: that a key knew a data item at a height (seed 002).
//!
//! Source: docs/spec/names.md §10.

mod notarise;

pub(crate) use notarise::notarise;
