//! The ledger as the daemons see it: proven values, events and a place to
//! post what they made.
//!
//! The daemons know the ledger through these two traits alone. The one real
//! implementation asks nodes through the client library and believes nothing
//! without a proof; tests put a ledger in memory in its place.

use std::future::Future;

use futures_util::Stream;
use wire::{AccountId, Action, DomainName, Event, Height, Reject, record};

/// Keys that one call of [`Ledger::read`] takes: what the nodes' interface
/// proves at one height.
pub const MAX_KEYS: usize = 64;

/// Why the ledger could not be asked, or what it refused.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// No node answered with a proof; asking again may help.
    #[error("no node gave a proven answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The ledger took the transaction and rejected it.
    #[error("the ledger rejected the transaction: {0}")]
    Rejected(Reject),
    /// A proven record is not what its key says: a newer ledger, or damage.
    #[error(transparent)]
    Record(#[from] record::RecordError),
    /// The ledger holds no such record.
    #[error("the ledger holds no {0}")]
    Missing(&'static str),
}

/// Values of one height, each proven to be the ledger's.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The height at which they were proven.
    pub height: Height,
    /// The time in that height's header, Unix milliseconds.
    pub time_ms: u64,
    /// One value for each key, in the order asked; none where the key is
    /// proven absent.
    pub values: Vec<Option<Vec<u8>>>,
    /// One proof for each key, encoded: what [`Ledger::check`] takes.
    pub proofs: Vec<Vec<u8>>,
}

/// One entry out of a proof that someone passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The entry's key.
    pub key: Vec<u8>,
    /// Its value; none where it is proven absent.
    pub value: Option<Vec<u8>>,
    /// The height at which it was proven.
    pub height: Height,
}

/// Keys as a node lists them: unproven, hints of what to read.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The height that the node says it listed.
    pub height: Height,
    /// Keys, ascending.
    pub keys: Vec<Vec<u8>>,
    /// Whether there are more after the last of them.
    pub more: bool,
}

/// What a block did, as a node tells it: hints of what to read.
#[derive(Clone, Debug)]
pub struct BlockEvents {
    /// The block's height.
    pub height: Height,
    /// Its events, in order.
    pub events: Vec<Event>,
}

/// Reading the ledger.
pub trait Ledger: Send + Sync + 'static {
    /// Proven values of at most [`MAX_KEYS`] keys, all at one height, which
    /// is not below `since`: what an event of that height changed is seen.
    fn read(
        &self,
        keys: Vec<Vec<u8>>,
        since: Height,
    ) -> impl Future<Output = Result<Reading, LedgerError>> + Send;

    /// Verifies a proof that someone passed on, of any age.
    ///
    /// Errors: [`LedgerError::Unavailable`], if it is none of this ledger.
    fn check(&self, proof: &[u8]) -> Result<Checked, LedgerError>;

    /// Keys with `prefix`, ascending, strictly after `after`; a page of them.
    fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> impl Future<Output = Result<Listing, LedgerError>> + Send;

    /// The encoded proof of the entry under `key`, at or after `since`: for
    /// whoever passes it on. None where there is no proof to be had, as of a
    /// ledger in memory.
    fn prove(
        &self,
        key: Vec<u8>,
        since: Height,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, LedgerError>> + Send {
        let _ = (key, since);
        std::future::ready(Ok(None))
    }

    /// Every block from `from` on, in order and without gaps, until the first
    /// error: that a node has pruned `from`, for instance. Broken connections
    /// are the implementation's to mend.
    fn events(&self, from: Height) -> impl Stream<Item = Result<BlockEvents, LedgerError>> + Send;
}

/// Posting to the ledger from one account.
pub trait Post: Send + Sync + 'static {
    /// The account that posts.
    fn account(&self) -> AccountId;

    /// Posts all `actions` in one transaction and waits until it is final.
    ///
    /// Errors: [`LedgerError::Rejected`] when nothing of it was applied.
    fn post(&self, actions: Vec<Action>) -> impl Future<Output = Result<(), LedgerError>> + Send;
}

/// Decodes value `at` of a reading as a record.
///
/// Errors: [`LedgerError::Record`].
pub fn decode<T: borsh::BorshDeserialize>(
    reading: &Reading,
    at: usize,
) -> Result<Option<T>, LedgerError> {
    let value = reading.values.get(at).and_then(Option::as_deref);
    Ok(value.map(record::decode).transpose()?)
}

/// An error with its sources, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Reads one record, proven.
///
/// Errors: those of [`Ledger::read`], and [`LedgerError::Record`].
pub async fn read_one<T: borsh::BorshDeserialize>(
    ledger: &impl Ledger,
    key: Vec<u8>,
    since: Height,
) -> Result<(Option<T>, Reading), LedgerError> {
    let reading = ledger.read(vec![key], since).await?;
    Ok((decode(&reading, 0)?, reading))
}

/// The apexes that the circle's genesis names, proven.
///
/// Errors: those of [`read_one`], and [`LedgerError::Missing`].
pub async fn apexes(ledger: &impl Ledger) -> Result<(Vec<DomainName>, Reading), LedgerError> {
    let (circle, reading) =
        read_one::<record::CircleRecord>(ledger, wire::state_key::circle(), Height(0)).await?;
    let circle = circle.ok_or(LedgerError::Missing("circle record"))?;
    Ok((circle.genesis.apexes, reading))
}
