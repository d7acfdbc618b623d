//! Hosts: what an appraisal of a machine's software came to (seed 001: host
//! software metadata verification).

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::Digest;

/// Records what the sender found when it appraised a host's quote and logs.
///
/// These are megabytes and stay with the appraiser, as does its report. Whoever
/// reads the record takes the sender's word for it: the ledger cannot appraise
/// again. A later one of the same sender about the same host takes its place.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct RecordAppraisal {
    /// SHA-256 of the public area of the host's attestation key, by which a host is
    /// known (docs/spec/evidence.md).
    pub host: Digest,
    /// What it came to.
    pub result: HostResult,
}

/// What the appraisal of a host came to, in numbers.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct HostResult {
    /// SHA-256 of the whole report, to show it later.
    pub report: Digest,
    /// SHA-256 of the index of packages that the host was held to.
    pub index: Digest,
    /// Entries of the measurement list that the quote commits to.
    pub entries: u64,
    /// Of these, files of packages.
    pub known: u64,
    /// Events of the boot.
    pub boot_events: u32,
    /// What was not as published: files and events of the boot.
    pub findings: u32,
}

impl HostResult {
    /// Whether everything was as published.
    pub fn is_clean(&self) -> bool {
        self.findings == 0
    }
}
