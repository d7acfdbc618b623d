//! Whole blocks, for people and explorers.

use axum::{Json, extract::State};
use borsh::BorshDeserialize as _;
use serde::Serialize;
use utoipa::ToSchema;
use wire::{
    AccountId, Digest, Header, Height, Receipt, SignedTransaction, Transaction, TransactionId,
};

use super::{Api, error::ApiError, request::Path};
use crate::store::{Snapshot, StoreError};

/// A transaction in a block.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BlockTransaction {
    /// Its id.
    #[schema(value_type = String)]
    id: TransactionId,
    /// The account that sent it.
    #[schema(value_type = String)]
    account: AccountId,
    /// What was signed.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    transaction: Transaction,
}

/// A block with its receipts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BlockView {
    /// The header.
    #[schema(value_type = Object)]
    header: Header,
    /// The header's digest.
    #[schema(value_type = String)]
    digest: Digest,
    /// In the order in which they were applied.
    transactions: Vec<BlockTransaction>,
    /// One for each transaction.
    #[schema(value_type = Vec<Object>)]
    receipts: Vec<Receipt>,
}

/// The block at a height.
#[utoipa::path(get, path = "/v1/blocks/{height}",
    params(("height" = u64, Path, description = "the block's height")),
    responses((status = 200, body = BlockView), (status = 404, body = ApiError)))]
pub(crate) async fn block(
    State(api): State<Api>,
    Path(height): Path<u64>,
) -> Result<Json<BlockView>, ApiError> {
    api.read(move |snapshot| {
        let found = view(snapshot, Height(height))?;
        found.map(Json).ok_or_else(|| ApiError::no_block(snapshot))
    })
    .await
}

fn view(snapshot: &Snapshot, height: Height) -> Result<Option<BlockView>, StoreError> {
    let Some(header) = snapshot.header_at(height)? else {
        return Ok(None);
    };
    let encoded = snapshot.transactions(height)?.unwrap_or_default();
    let transactions = encoded.iter().map(|bytes| {
        let SignedTransaction { transaction, .. } = SignedTransaction::try_from_slice(bytes)
            .map_err(|error| StoreError::Damaged(format!("block {height}: {error}")))?;
        Ok(BlockTransaction {
            id: TransactionId::of_encoded(bytes),
            account: transaction.sender.account(),
            transaction,
        })
    });
    Ok(Some(BlockView {
        transactions: transactions.collect::<Result<_, StoreError>>()?,
        receipts: snapshot.receipts(height)?.unwrap_or_default(),
        digest: header.digest(),
        header,
    }))
}
