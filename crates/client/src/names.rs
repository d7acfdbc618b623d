//! Names as a client reads them: proven, alone or from an address, and from a
//! proof that was kept in a file.

use std::net::IpAddr;

use borsh::BorshDeserialize;
use proof::{Proof, Proven};
use serde::Serialize;
use wire::{
    AccountId, CircleKey, DomainName, Height,
    record::{AddressOwners, Bid, Name, RecordError},
    state_key,
};

use crate::{
    error::ClientError,
    ledger::{Client, MAX_PROVEN_KEYS, decode},
};

/// Entries that one look-up follows at most: more names than any one address
/// serves, and an end to what a node can make a client read.
const MAX_FOLLOWED: usize = 4096;

/// A registered name that has an address, proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddressName {
    /// The registered name.
    pub name: DomainName,
    /// The names at which the address stands: the registered one, or beneath it.
    pub at: Vec<DomainName>,
    /// The height at which it was proven.
    pub height: Height,
}

/// A bid for a name, proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BidFor {
    /// The bidder's account.
    pub bidder: AccountId,
    /// The bid.
    pub bid: Bid,
}

/// What a stored proof shows of a name.
#[derive(Clone, Debug)]
pub struct ProvenName {
    /// The name.
    pub name: DomainName,
    /// Its record; none if it is proven that the name was free.
    pub record: Option<Name>,
    /// The proof's circle, height and time.
    pub proven: Proven,
}

/// Why a stored proof shows nothing of a name.
#[derive(Debug, thiserror::Error)]
pub enum NameProofError {
    /// The bytes are no proof.
    #[error("the bytes are no proof")]
    Malformed(#[source] std::io::Error),
    /// It does not hold under the circle's key.
    #[error("the proof does not hold under the circle's key")]
    Proof(#[from] proof::ProofError),
    /// It is of another entry than a name.
    #[error("the proof is of another entry than a name")]
    NotAName,
    /// This build does not know the record's form.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Verifies the proof of a name; needs nothing but the circle's key.
///
/// Errors: [`NameProofError`]: who gave the proof erred or lied.
pub fn verify_name(bytes: &[u8], circle: &CircleKey) -> Result<ProvenName, NameProofError> {
    let proven = Proof::decode(bytes)
        .map_err(NameProofError::Malformed)?
        .verify(circle)?;
    let name: DomainName = proven
        .key()
        .strip_prefix(state_key::NAMES)
        .and_then(|text| std::str::from_utf8(text).ok()?.parse().ok())
        .ok_or(NameProofError::NotAName)?;
    let record: Option<Name> = decode(&proven)?;
    Ok(ProvenName {
        name,
        record,
        proven,
    })
}

impl Client {
    /// The names whose owners put `address` into their records, or that the
    /// market serves there.
    ///
    /// Shape:  ascending by name. Each is proven; that there are no others is
    ///         the nodes' word.
    /// Errors: no node answers, or one gives proofs that do not hold.
    pub async fn names_of(&self, address: IpAddr) -> Result<Vec<AddressName>, ClientError> {
        let prefix = state_key::address_names(address);
        let mut names = Vec::new();
        let parse = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
        for (rest, owners, height) in self.proven_under::<AddressOwners>(&prefix).await? {
            let Some(name): Option<DomainName> = parse(&rest) else {
                continue;
            };
            let at = owners
                .owners
                .iter()
                .filter_map(|owner| match owner {
                    None => Some(name.clone()),
                    Some(owner) => owner.beneath(&name),
                })
                .collect();
            names.push(AddressName { name, at, height });
        }
        Ok(names)
    }

    /// The bids that stand for `name`, each proven.
    ///
    /// Errors: as for [`Client::names_of`].
    pub async fn bids_for(&self, name: &DomainName) -> Result<Vec<BidFor>, ClientError> {
        let found = self.proven_under::<Bid>(&state_key::bids_for(name)).await?;
        Ok(found
            .into_iter()
            .filter_map(|(rest, bid, _)| {
                let bidder = AccountId(rest.try_into().ok()?);
                Some(BidFor { bidder, bid })
            })
            .collect())
    }

    /// Entries that a node lists under `prefix`, each proven: what follows the
    /// prefix, the record, and the height of the proof.
    pub(crate) async fn proven_under<T: BorshDeserialize>(
        &self,
        prefix: &[u8],
    ) -> Result<Vec<(Vec<u8>, T, Height)>, ClientError> {
        let keys = self.list_keys(prefix, MAX_FOLLOWED).await?;
        let mut found = Vec::new();
        for keys in keys.chunks(MAX_PROVEN_KEYS) {
            for proven in self.proven_many(keys.to_vec()).await? {
                // An entry that went since it was listed is proven absent.
                let Some(record) = decode(&proven).map_err(ClientError::Record)? else {
                    continue;
                };
                let rest = proven.key().strip_prefix(prefix).unwrap_or_default();
                found.push((rest.to_vec(), record, proven.height()));
            }
        }
        Ok(found)
    }
}
