//! What does a keykeeper need of a circle? The seam between it and the network.

use std::sync::Arc;

use borsh::BorshDeserialize;
use wire::{Action, CircleId, Digest, Height, KeyRequestId, Reject, TransactionId, record};

/// Why the circle did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum CircleError {
    /// No node answered with a proof that holds.
    #[error("the circle does not answer: {0}")]
    Unavailable(String),
    /// The circle refused the transaction.
    #[error("the circle refused: {0}")]
    Rejected(Reject),
    /// A proven record that does not decode: another version's.
    #[error(transparent)]
    Record(#[from] record::RecordError),
}

/// Proven values of one height.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The height.
    pub height: Height,
    /// Its block's time, Unix milliseconds.
    pub time_ms: u64,
    /// The digest of its header.
    pub header: Digest,
    /// One for each key, in their order; none where there is proven to be none.
    pub values: Vec<Option<Vec<u8>>>,
}

/// The circle, as one account sees it.
pub trait Circle: Send + Sync + 'static {
    /// Its id.
    fn id(&self) -> CircleId;

    /// Proven values under `keys`, all of one height for up to 64 keys.
    ///
    /// Errors: [`CircleError::Unavailable`].
    fn read(&self, keys: Vec<Vec<u8>>)
    -> impl Future<Output = Result<Reading, CircleError>> + Send;

    /// Open requests for keys: a hint of what to read, proven by nobody.
    ///
    /// Errors: [`CircleError::Unavailable`].
    fn requests(&self) -> impl Future<Output = Result<Vec<KeyRequestId>, CircleError>> + Send;

    /// Sends one action and waits until it is final.
    ///
    /// Errors: [`CircleError::Rejected`], [`CircleError::Unavailable`].
    fn send(
        &self,
        action: Action,
    ) -> impl Future<Output = Result<TransactionId, CircleError>> + Send;

    /// Ends when there may be something new to read.
    fn changed(&self) -> impl Future<Output = ()> + Send;
}

impl<T: Circle> Circle for Arc<T> {
    fn id(&self) -> CircleId {
        (**self).id()
    }

    async fn read(&self, keys: Vec<Vec<u8>>) -> Result<Reading, CircleError> {
        (**self).read(keys).await
    }

    async fn requests(&self) -> Result<Vec<KeyRequestId>, CircleError> {
        (**self).requests().await
    }

    async fn send(&self, action: Action) -> Result<TransactionId, CircleError> {
        (**self).send(action).await
    }

    async fn changed(&self) {
        (**self).changed().await;
    }
}

/// Value `at` of a reading as a record.
///
/// Errors: [`CircleError::Record`].
pub fn decode<T: BorshDeserialize>(reading: &Reading, at: usize) -> Result<Option<T>, CircleError> {
    let value = reading.values.get(at).and_then(Option::as_ref);
    Ok(value.map(|bytes| record::decode(bytes)).transpose()?)
}
