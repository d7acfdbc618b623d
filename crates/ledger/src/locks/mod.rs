//! Locks: funds that only a satisfied condition sets free.

mod condition;
mod lock_funds;
mod unlock_funds;

pub(crate) use lock_funds::lock_funds;
pub(crate) use unlock_funds::unlock_funds;
