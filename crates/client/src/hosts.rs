//! Hosts as a client reads them: what appraisers last found of them, proven.

use serde::Serialize;
use wire::{AccountId, Digest, Height, record::HostAppraisal, state_key};

use crate::{error::ClientError, ledger::Client};

/// What an appraiser last found of a host, proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Appraised {
    /// SHA-256 of the public area of the host's attestation key.
    pub host: Digest,
    /// Who says so: whether to believe it is the reader's to say.
    pub appraiser: AccountId,
    /// What was recorded.
    pub record: HostAppraisal,
    /// The height at which it was proven.
    pub height: Height,
}

impl Client {
    /// What was last found of `host`, or of every host.
    ///
    /// Errors: no node answers, or one gives proofs that do not hold.
    pub async fn appraisals(&self, host: Option<Digest>) -> Result<Vec<Appraised>, ClientError> {
        let prefix = host.map_or_else(|| state_key::HOSTS.to_vec(), state_key::appraisals_of);
        let known = host.map_or(Vec::new(), |host| host.0.to_vec());
        let found = self.proven_under::<HostAppraisal>(&prefix).await?;
        Ok(found
            .into_iter()
            .filter_map(|(rest, record, height)| {
                let place = [&known[..], &rest].concat();
                let (host, appraiser) = place.split_first_chunk()?;
                Some(Appraised {
                    host: Digest(*host),
                    appraiser: AccountId(appraiser.try_into().ok()?),
                    record,
                    height,
                })
            })
            .collect())
    }
}
