//! A registered name as a zone keeps it: open while it is changed and signed,
//! packed while it is served.
//!
//! Packed it is its rendered entry and nothing else, a quarter of the memory.

use std::{borrow::Cow, sync::Arc};

use super::Domain;
use crate::names::rendered;

/// What is registered under a label.
#[derive(Clone, Debug)]
pub(super) enum Held {
    /// Its records.
    Open(Arc<Domain>),
    /// The entry that they were rendered into, which is whole.
    Packed(Arc<[u8]>),
}

impl Held {
    pub fn new(domain: Domain) -> Self {
        Self::Open(Arc::new(domain))
    }

    /// The records.
    pub fn get(&self) -> Cow<'_, Domain> {
        match self {
            Self::Open(domain) => Cow::Borrowed(domain),
            Self::Packed(entry) => Cow::Owned(unpacked(entry)),
        }
    }

    /// The records, to be changed.
    pub fn open(&mut self) -> &mut Domain {
        loop {
            match self {
                Self::Open(domain) => return Arc::make_mut(domain),
                Self::Packed(entry) => *self = Self::new(unpacked(entry)),
            }
        }
    }

    /// Whether two are the same piece of memory.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Open(one), Self::Open(other)) => Arc::ptr_eq(one, other),
            (Self::Packed(one), Self::Packed(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

/// What is packed was unpacked once, to see that nothing of it is lost.
fn unpacked(entry: &[u8]) -> Domain {
    rendered::decode(entry).unwrap_or_default()
}
