//! The record of a host's last appraisal.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{Height, HostResult, PublicKey};

/// What one appraiser last found of one host; the host is in the state key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct HostAppraisal {
    /// The key that signed.
    pub appraiser: PublicKey,
    /// What was found.
    pub result: HostResult,
    /// When it was recorded.
    pub appraised_at: Height,
    /// That block's time, Unix milliseconds.
    pub time_ms: u64,
    /// Since when every appraisal recorded by this key was clean; none if the last was not.
    pub clean_since: Option<Height>,
}
