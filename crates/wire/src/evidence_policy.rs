//! What must evidence show beyond its code? The one language in which the
//! circle's members and each request say so; `attest` appraises under it.
//!
//! A policy only ever narrows: the circle's and the request's must both hold.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{
    Digest, PublicKey,
    limits::{MAX_LIST, MAX_PINNED_CHIPS},
};

/// Characters of an advisory's name, such as `INTEL-SA-00828`.
pub const MAX_ADVISORY_BYTES: usize = 32;

/// What a vendor says of a platform's trusted computing base, in Intel's words
/// (DCAP, "TCB status"). A revoked platform never verifies.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum TcbStatus {
    /// Nothing is known to be missing.
    UpToDate = 0,
    /// Software inside must mitigate what the hardware cannot.
    SwHardeningNeeded = 1,
    /// The firmware's settings expose the platform.
    ConfigurationNeeded = 2,
    /// Both of the above.
    ConfigurationAndSwHardeningNeeded = 3,
    /// The module was updated beneath a running guest, which has old state.
    RelaunchAdvised = 4,
    /// As above, and the firmware's settings expose the platform.
    RelaunchAdvisedConfigurationNeeded = 5,
    /// Security updates are missing.
    OutOfDate = 6,
    /// Security updates are missing and the firmware's settings expose it.
    OutOfDateConfigurationNeeded = 7,
}

/// The security versions of an AMD platform's parts, or the least of each.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(default, deny_unknown_fields)]
pub struct SnpTcb {
    /// The firmware's mutable first stage; zero before the Turin generation.
    pub fmc: u8,
    /// The secure processor's boot loader.
    pub bootloader: u8,
    /// The secure processor's operating system.
    pub tee: u8,
    /// The SEV-SNP firmware.
    pub snp: u8,
    /// The cores' microcode.
    pub microcode: u8,
}

impl SnpTcb {
    /// Whether every part has at least the version in `least`.
    pub fn is_at_least(&self, least: &Self) -> bool {
        self.fmc >= least.fmc
            && self.bootloader >= least.bootloader
            && self.tee >= least.tee
            && self.snp >= least.snp
            && self.microcode >= least.microcode
    }
}

/// What evidence must show beyond its kind and code. The default is strict in
/// what vendors judge (only `up-to-date`) and open in what only the relying
/// party knows (chips, least versions, ages).
///
/// Source: docs/spec/evidence.md.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(default, deny_unknown_fields)]
pub struct EvidencePolicy {
    /// Statuses that are accepted besides [`TcbStatus::UpToDate`]; ascending.
    pub accepted_tcb: Vec<TcbStatus>,
    /// Advisories that must not apply, such as `INTEL-SA-00828`; ascending.
    pub refused_advisories: Vec<String>,
    /// The greatest age of a vendor's collateral, milliseconds; none for as
    /// long as the vendor lets it hold.
    pub max_collateral_age_ms: Option<u64>,
    /// Whether AMD evidence must bring AMD's revocation list.
    pub require_revocation_list: bool,
    /// The least security versions of an AMD platform.
    pub least_snp_tcb: SnpTcb,
    /// The only machines that are accepted ([`crate::record::AttestationResult::chip`]);
    /// ascending; empty for any.
    pub chips: Vec<Digest>,
}

impl EvidencePolicy {
    /// Whether it is in its canonical form and within its limits.
    pub fn is_well_formed(&self) -> bool {
        fn ascends<T: Ord>(list: &[T]) -> bool {
            list.windows(2).all(|pair| pair[0] < pair[1])
        }
        self.accepted_tcb.len() <= MAX_LIST
            && self.refused_advisories.len() <= MAX_LIST
            && self.chips.len() <= MAX_PINNED_CHIPS
            && ascends(&self.accepted_tcb)
            && ascends(&self.refused_advisories)
            && ascends(&self.chips)
            && self.refused_advisories.iter().all(|name| {
                (1..=MAX_ADVISORY_BYTES).contains(&name.len())
                    && name.bytes().all(|byte| byte.is_ascii_graphic())
            })
    }
}

/// What a circle decides about evidence, besides its reference values.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(default, deny_unknown_fields)]
pub struct EvidenceRules {
    /// What every enclave's evidence must show.
    pub policy: EvidencePolicy,
    /// Keys of those who certify TPM attestation keys after credential activation.
    pub tpm_enrollers: Vec<PublicKey>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_tcb_counts() {
        let least = SnpTcb {
            fmc: 1,
            bootloader: 1,
            tee: 1,
            snp: 1,
            microcode: 1,
        };
        assert!(least.is_at_least(&least));
        let lower: [fn(&mut SnpTcb); 5] = [
            |tcb| tcb.fmc = 0,
            |tcb| tcb.bootloader = 0,
            |tcb| tcb.tee = 0,
            |tcb| tcb.snp = 0,
            |tcb| tcb.microcode = 0,
        ];
        for lower in lower {
            let mut tcb = least;
            lower(&mut tcb);
            assert!(!tcb.is_at_least(&least), "{tcb:?}");
        }
    }

    #[test]
    fn a_policy_has_one_form_within_limits() {
        assert!(EvidencePolicy::default().is_well_formed());
        type Break = fn(&mut EvidencePolicy);
        let breaks: [Break; 6] = [
            |policy| policy.accepted_tcb = vec![TcbStatus::OutOfDate, TcbStatus::OutOfDate],
            |policy| policy.refused_advisories = vec!["B".to_owned(), "A".to_owned()],
            |policy| policy.refused_advisories = vec![String::new()],
            |policy| policy.refused_advisories = vec!["A".repeat(MAX_ADVISORY_BYTES + 1)],
            |policy| policy.refused_advisories = vec!["INTEL SA".to_owned()],
            |policy| {
                policy.chips = (0..=MAX_PINNED_CHIPS as u8)
                    .map(|n| Digest([n; 32]))
                    .collect()
            },
        ];
        for (number, change) in breaks.iter().enumerate() {
            let mut policy = EvidencePolicy::default();
            change(&mut policy);
            assert!(!policy.is_well_formed(), "case {number}");
        }
    }
}
