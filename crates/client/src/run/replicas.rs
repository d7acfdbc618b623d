//! A request and all contracts that serve or served it, from proven records.

use serde::Serialize;
use wire::{
    ContractId, RequestId,
    record::{self, ContractStatus},
    state_key,
};

use super::{RunError, User, exchange::Served};
use crate::{
    error::ClientError,
    ledger::{MAX_PROVEN_KEYS, decode},
    wallet::RequestSecrets,
};

/// A request with its contracts.
#[derive(Clone, Debug, Serialize)]
pub struct RequestView {
    /// Its id.
    pub id: RequestId,
    /// Its record.
    pub request: record::Request,
    /// Its contracts, live and ended, by replica and then in the order in
    /// which they were made.
    pub replicas: Vec<ReplicaView>,
}

/// One contract.
#[derive(Clone, Debug, Serialize)]
pub struct ReplicaView {
    /// Its id.
    pub id: ContractId,
    /// Its record.
    pub contract: record::Contract,
    /// Its enclave, if one was registered.
    pub enclave: Option<record::Enclave>,
}

impl RequestView {
    /// Contracts that have not ended.
    pub fn live(&self) -> impl Iterator<Item = &ReplicaView> {
        self.replicas
            .iter()
            .filter(|replica| !matches!(replica.contract.status, ContractStatus::Ended(_)))
    }
}

impl User {
    /// The request `id`, proven.
    ///
    /// Errors: [`RunError::NoRequest`], [`RunError::NotOwn`].
    pub async fn request(&self, id: RequestId) -> Result<record::Request, RunError> {
        let (request, _) = self
            .client()
            .proven::<record::Request>(state_key::request(id))
            .await?;
        let request = request.ok_or(RunError::NoRequest(id))?;
        if request.user == self.account.id() {
            Ok(request)
        } else {
            Err(RunError::NotOwn(id))
        }
    }

    /// The secrets of a request of this user.
    ///
    /// Errors: [`RunError::NoSecrets`] if it was posted from another wallet.
    pub fn secrets(
        &self,
        id: RequestId,
        request: &record::Request,
    ) -> Result<RequestSecrets, RunError> {
        self.wallet
            .request(&request.terms.agreement_key)?
            .ok_or(RunError::NoSecrets(id))
    }

    /// A request with every contract that serves or served it.
    ///
    /// Errors: as [`User::request`].
    pub async fn view(&self, id: RequestId) -> Result<RequestView, RunError> {
        let request = self.request(id).await?;
        let mut ids = contract_ids(id, &request);
        for live in request.replicas.iter().flatten() {
            if !ids.contains(live) {
                ids.push(*live);
            }
        }
        let mut replicas = Vec::new();
        for ids in ids.chunks(MAX_PROVEN_KEYS / 2) {
            let keys = ids
                .iter()
                .flat_map(|id| [state_key::contract(*id), state_key::enclave(*id)])
                .collect();
            let proven = self.client().proven_many(keys).await?;
            for (id, pair) in ids.iter().zip(proven.chunks(2)) {
                let contract = decode(&pair[0]).map_err(ClientError::Record)?;
                if let Some(contract) = contract {
                    replicas.push(ReplicaView {
                        id: *id,
                        contract,
                        enclave: decode(&pair[1]).map_err(ClientError::Record)?,
                    });
                }
            }
        }
        replicas.sort_by_key(|replica| (replica.contract.replica, replica.contract.matched_at));
        Ok(RequestView {
            id,
            request,
            replicas,
        })
    }

    /// Ids of this user's requests, open and closed. The listing is unproven;
    /// what [`User::request`] then proves is.
    ///
    /// Errors: no node answers.
    pub async fn requests(&self) -> Result<Vec<RequestId>, RunError> {
        let prefix = state_key::user_requests(self.account.id());
        let keys = self
            .client()
            .list_keys(&prefix, MAX_LISTED_REQUESTS)
            .await?;
        Ok(keys
            .iter()
            .filter_map(|key| key[prefix.len()..].try_into().ok().map(RequestId))
            .collect())
    }
}

/// Requests of one user that are listed: far more than anyone keeps.
const MAX_LISTED_REQUESTS: usize = 10_000;

/// Every contract that can have been made for the request.
fn contract_ids(id: RequestId, request: &record::Request) -> Vec<ContractId> {
    let attempts = 0..request.attempts;
    let replicas = 0..request.terms.replicas;
    replicas
        .flat_map(|replica| {
            attempts
                .clone()
                .map(move |attempt| ContractId::of(id, replica, attempt))
        })
        .collect()
}

impl<'a> Served<'a> {
    pub(crate) fn new(
        id: RequestId,
        request: &'a record::Request,
        secrets: &'a RequestSecrets,
    ) -> Self {
        Self {
            id,
            request,
            secrets,
        }
    }
}

impl User {
    /// As [`User::advance`], for a caller outside this module.
    pub(crate) async fn advance_for(
        &self,
        id: RequestId,
        request: &record::Request,
        secrets: &RequestSecrets,
        tracked: &mut super::Tracked,
        since: wire::Height,
        observer: &super::Observer,
    ) -> Result<super::Progress, RunError> {
        let served = Served::new(id, request, secrets);
        self.advance(&served, tracked, since, observer).await
    }
}
