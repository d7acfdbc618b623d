//! Records of the state in words: accounts, locks, names, the market,
//! enclaves, certificates.
//!
//! With `?proof=true` an answer carries the proof of the very entry that it
//! shows, and an entry that does not exist is an answer with the proof of its
//! absence.

use std::net::IpAddr;

use axum::{Json, extract::State};
use borsh::BorshDeserialize;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use wire::{
    AccountId, ContractId, Digest, DomainName, Height, LockId, OfferId, RequestId, record,
    state_key,
};

use super::{
    Api,
    entries::{self, Proving},
    error::ApiError,
    request::{Path, Query},
};
use crate::store::StoreError;

/// A record, where it is stored, and as of when.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Record<T> {
    /// The raw state key, hex.
    key: String,
    /// The height at which it is so.
    #[schema(value_type = u64)]
    height: Height,
    /// The record; none where its absence is proven.
    #[schema(value_type = Option<Object>)]
    record: Option<T>,
    /// A `proof::Proof`, base64; none unless asked for.
    proof: Option<String>,
}

fn decode<T: BorshDeserialize>(value: &[u8]) -> Result<T, ApiError> {
    record::decode(value).map_err(|error| StoreError::Damaged(error.to_string()).into())
}

async fn view<T: BorshDeserialize + Send + 'static>(
    api: Api,
    what: &'static str,
    key: Vec<u8>,
    Proving { proof }: Proving,
) -> Result<Json<Record<T>>, ApiError> {
    api.read(move |snapshot| {
        let read = entries::read(snapshot, &key, proof)?;
        if read.value.is_none() && !proof {
            return Err(ApiError::not_found(what, "with proof=true, that is proven"));
        }
        let record = read.value.as_deref().map(decode).transpose()?;
        Ok(Json(Record {
            key: hex::encode(&key),
            height: read.height,
            record,
            proof: read.proof,
        }))
    })
    .await
}

/// Makes one handler for each kind of record.
macro_rules! record_views {
    ($($(#[$doc:meta])* $name:ident, $path:literal, $parameter:literal, $id:ident: $id_type:ty, $record:ty, $what:literal, $key:expr;)*) => {
        $(
            $(#[$doc])*
            #[utoipa::path(get, path = $path,
                params(Proving, ($parameter = String, Path)),
                responses((status = 200, body = Record<serde_json::Value>),
                    (status = 404, body = ApiError), (status = 503, body = ApiError)))]
            pub(crate) async fn $name(
                State(api): State<Api>,
                Path($id): Path<$id_type>,
                Query(proving): Query<Proving>,
            ) -> Result<Json<Record<$record>>, ApiError> {
                view(api, $what, $key, proving).await
            }
        )*
    };
}

record_views! {
    /// An account.
    account, "/v1/accounts/{id}", "id", id: AccountId, record::Account, "account", state_key::account(id);
    /// A lock.
    lock, "/v1/locks/{id}", "id", id: LockId, record::Lock, "lock", state_key::lock(id);
    /// A registered name.
    name, "/v1/names/{name}", "name", name: DomainName, record::Name, "name", state_key::name(&name);
    /// The end of a free name's last registration.
    released, "/v1/names/{name}/released", "name", name: DomainName, record::Released, "end of a registration", state_key::released(&name);
    /// A recovery of a name that the members vote on or have decided.
    recovery, "/v1/names/{name}/recovery", "name", name: DomainName, record::Recovery, "recovery", state_key::recovery(&name);
    /// An offer.
    offer, "/v1/market/offers/{id}", "id", id: OfferId, record::Offer, "offer", state_key::offer(id);
    /// A request.
    request, "/v1/market/requests/{id}", "id", id: RequestId, record::Request, "request", state_key::request(id);
    /// A contract.
    contract, "/v1/market/contracts/{id}", "id", id: ContractId, record::Contract, "contract", state_key::contract(id);
    /// A contract's enclave.
    enclave, "/v1/enclaves/{contract}", "contract", contract: ContractId, record::Enclave, "enclave", state_key::enclave(contract);
    /// The certificate that was issued for a contract's enclave.
    certificate, "/v1/certificates/{contract}", "contract", contract: ContractId, record::Certificate, "certificate", state_key::certificate(contract);
}

/// A part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Part {
    /// What `next` said before.
    after: Option<String>,
    /// How many at most; 64 unless given, 256 at most.
    limit: Option<usize>,
}

/// An entry of a list, with its id.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListedRecord<T> {
    /// The id or name.
    id: String,
    /// The record.
    #[schema(value_type = Object)]
    record: T,
}

/// Records in the order of their keys. Not proven: what is left out cannot be seen.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Records<T> {
    /// The records.
    records: Vec<ListedRecord<T>>,
    /// The height at which it is so.
    #[schema(value_type = u64)]
    height: Height,
    /// Give this as `after` for the rest; none if there is none.
    next: Option<String>,
}

async fn list<T: BorshDeserialize + Send + 'static>(
    api: Api,
    prefix: Vec<u8>,
    after: Option<Vec<u8>>,
    limit: Option<usize>,
    id: fn(&[u8]) -> String,
) -> Result<Json<Records<T>>, ApiError> {
    api.read(move |snapshot| {
        let (entries, more) = entries::page(snapshot, &prefix, after.as_deref(), limit)?;
        let records = entries.into_iter().map(|(key, value)| {
            Ok(ListedRecord {
                id: id(&key[prefix.len()..]),
                record: decode(&value)?,
            })
        });
        let records: Vec<ListedRecord<T>> = records.collect::<Result<_, ApiError>>()?;
        let next = records.last().filter(|_| more).map(|last| last.id.clone());
        Ok(Json(Records {
            records,
            height: snapshot.height(),
            next,
        }))
    })
    .await
}

/// Registered names.
#[utoipa::path(get, path = "/v1/names", params(Part),
    responses((status = 200, body = Records<serde_json::Value>)))]
pub(crate) async fn names(
    State(api): State<Api>,
    Query(part): Query<Part>,
) -> Result<Json<Records<record::Name>>, ApiError> {
    let after = part
        .after
        .map(|name| [state_key::NAMES, name.as_bytes()].concat());
    list(api, state_key::NAMES.to_vec(), after, part.limit, text).await
}

/// An id that is text.
fn text(id: &[u8]) -> String {
    String::from_utf8_lossy(id).into_owned()
}

/// An id of 32 bytes that `next` said before, after `prefix`.
fn after_id(prefix: &[u8], after: Option<String>) -> Result<Option<Vec<u8>>, ApiError> {
    let parsed = after.map(|id| id.parse::<AccountId>()).transpose();
    let parsed = parsed.map_err(|error| {
        ApiError::bad_request(error.to_string(), "give what `next` said before")
    })?;
    Ok(parsed.map(|id| [prefix, &id.0].concat()))
}

/// Names that have an address: the record says at which owners.
#[utoipa::path(get, path = "/v1/addresses/{address}/names", params(Part, ("address" = String, Path)),
    responses((status = 200, body = Records<serde_json::Value>), (status = 400, body = ApiError)))]
pub(crate) async fn address_names(
    State(api): State<Api>,
    Path(address): Path<IpAddr>,
    Query(part): Query<Part>,
) -> Result<Json<Records<record::AddressOwners>>, ApiError> {
    let prefix = state_key::address_names(address);
    let after = part.after.map(|name| [&prefix, name.as_bytes()].concat());
    list(api, prefix, after, part.limit, text).await
}

/// Bids for a name, by the bidders' accounts.
#[utoipa::path(get, path = "/v1/names/{name}/bids", params(Part, ("name" = String, Path)),
    responses((status = 200, body = Records<serde_json::Value>), (status = 400, body = ApiError)))]
pub(crate) async fn bids(
    State(api): State<Api>,
    Path(name): Path<DomainName>,
    Query(part): Query<Part>,
) -> Result<Json<Records<record::Bid>>, ApiError> {
    let prefix = state_key::bids_for(&name);
    let after = after_id(&prefix, part.after)?;
    list(api, prefix, after, part.limit, |id| hex::encode(id)).await
}

/// Who notarised a data item, by the signers' accounts.
#[utoipa::path(get, path = "/v1/notarised/{digest}", params(Part, ("digest" = String, Path)),
    responses((status = 200, body = Records<serde_json::Value>), (status = 400, body = ApiError)))]
pub(crate) async fn notarised(
    State(api): State<Api>,
    Path(digest): Path<Digest>,
    Query(part): Query<Part>,
) -> Result<Json<Records<record::Notarisation>>, ApiError> {
    let prefix = state_key::notarisations_of(digest);
    let after = after_id(&prefix, part.after)?;
    list(api, prefix, after, part.limit, |id| hex::encode(id)).await
}

/// What appraisers last found of a host, by their accounts.
#[utoipa::path(get, path = "/v1/hosts/{host}", params(Part, ("host" = String, Path)),
    responses((status = 200, body = Records<serde_json::Value>), (status = 400, body = ApiError)))]
pub(crate) async fn appraisals(
    State(api): State<Api>,
    Path(host): Path<Digest>,
    Query(part): Query<Part>,
) -> Result<Json<Records<record::HostAppraisal>>, ApiError> {
    let prefix = state_key::appraisals_of(host);
    let after = after_id(&prefix, part.after)?;
    list(api, prefix, after, part.limit, |id| hex::encode(id)).await
}

/// Offers, open ones and others.
#[utoipa::path(get, path = "/v1/market/offers", params(Part),
    responses((status = 200, body = Records<serde_json::Value>), (status = 400, body = ApiError)))]
pub(crate) async fn offers(
    State(api): State<Api>,
    Query(part): Query<Part>,
) -> Result<Json<Records<record::Offer>>, ApiError> {
    let after = part.after.map(|id| id.parse::<OfferId>()).transpose();
    let after = after.map_err(|error| {
        ApiError::bad_request(error.to_string(), "give what `next` said before")
    })?;
    list(
        api,
        state_key::OFFERS.to_vec(),
        after.map(state_key::offer),
        part.limit,
        |id| hex::encode(id),
    )
    .await
}
