//! An account that sends: sequence numbers, fees, signatures and receipts.
//!
//! Several processes may hold the same key file (a command and the agent, for
//! instance). They take turns by a lock file beside it, which also carries the
//! next sequence from one to the next. Within a process any number of sends
//! may be under way; each has its sequence before the one before it is final.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;
use wire::{
    AccountId, Action, Amount, CircleId, PublicKey, Receipt, Reject, SignedTransaction,
    Transaction, TransactionId, TransactionResult,
};

use crate::{error::ClientError, keyfile::UnlockedKey, ledger::Client};

/// What a plain signature adds to a transaction: its kind and two numbers.
const SIGNATURE_BYTES: u64 = 1 + 64;

/// Blocks for which a transaction may wait to be applied: seconds at full
/// speed, a few minutes in a quiet circle.
pub(crate) const EXPIRY_BLOCKS: u64 = 600;

/// Sends of one transaction with another sequence: each try means that another
/// machine with the same key was faster.
const MAX_ATTEMPTS: usize = 8;

/// The pause after another holder's transaction was found to be first: about
/// a block.
const RACE_PAUSE: Duration = Duration::from_millis(50);

/// How long a process waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause between two looks at another process's lock.
const TURN_PAUSE: Duration = Duration::from_millis(5);

/// What holds an account's key did not sign.
#[derive(Debug, thiserror::Error)]
#[error("the transaction was not signed: {0}")]
pub struct SignerError(pub String);

/// What holds an account's key: this process, a TPM, a protected process.
pub trait Signer: Send + Sync {
    /// The public key.
    fn public(&self) -> PublicKey;

    /// Signs, which may take as long as a chip takes.
    ///
    /// Errors: [`SignerError`].
    fn sign(
        &self,
        transaction: Transaction,
    ) -> Pin<Box<dyn Future<Output = Result<SignedTransaction, SignerError>> + Send + '_>>;
}

impl Signer for UnlockedKey {
    fn public(&self) -> PublicKey {
        self.public()
    }

    fn sign(
        &self,
        transaction: Transaction,
    ) -> Pin<Box<dyn Future<Output = Result<SignedTransaction, SignerError>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(transaction.sign(&self.signer()))))
    }
}

/// Why a transaction was not applied.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The circle refused it.
    #[error("{what} was refused: {reject}")]
    Rejected {
        /// The actions' names.
        what: String,
        /// Why.
        reject: Reject,
        /// The action at fault, from 0; none if the envelope was.
        action: Option<u8>,
        /// The transaction, if it got as far as a block.
        transaction: Option<TransactionId>,
    },
    /// What holds the key did not sign.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The circle could not be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The lock file beside the key cannot be used.
    #[error("the lock file {path} cannot be used")]
    LockFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process holds the key for too long.
    #[error("another process has been sending with this key for {TURN_TIMEOUT:?}: {path}")]
    Busy {
        /// The lock file.
        path: PathBuf,
    },
}

impl AccountError {
    /// The circle's reject, if it refused.
    pub fn reject(&self) -> Option<Reject> {
        match self {
            Self::Rejected { reject, .. } => Some(*reject),
            Self::Client(error) => error.reject(),
            _ => None,
        }
    }
}

/// A transaction that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its id: what its actions made is named after it.
    pub transaction: TransactionId,
    /// Its receipt.
    pub receipt: Receipt,
}

/// An unlocked account of one circle. Clones share the sequence.
#[derive(Clone)]
pub struct Account {
    client: Client,
    signer: Arc<dyn Signer>,
    turns: Arc<Mutex<Turns>>,
}

/// Who may draw sequences, and the next one.
struct Turns {
    path: Option<PathBuf>,
    /// The lock, while sends of this process are under way.
    held: Option<File>,
    under_way: usize,
    next: Option<u64>,
}

impl Account {
    /// An account over `client`. `lock` is the file by which processes with
    /// the same key take turns ([`lock_path`] of the key file); none if no
    /// other process can hold the key.
    pub fn new(client: Client, key: Arc<UnlockedKey>, lock: Option<PathBuf>) -> Self {
        Self::with_signer(client, key, lock)
    }

    /// As [`Account::new`], with a key that may be elsewhere.
    pub fn with_signer(client: Client, signer: Arc<dyn Signer>, lock: Option<PathBuf>) -> Self {
        Self {
            client,
            signer,
            turns: Arc::new(Mutex::new(Turns {
                path: lock,
                held: None,
                under_way: 0,
                next: None,
            })),
        }
    }

    /// The client it sends through.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        self.signer.public()
    }

    /// The account's id.
    pub fn id(&self) -> AccountId {
        self.public().account()
    }

    /// Sends `actions` as one transaction (all or nothing) and waits until it
    /// is final.
    ///
    /// Errors: [`AccountError::Rejected`] if the circle refuses it; a sequence
    ///         that another holder of the key used first is tried again.
    pub async fn send(&self, actions: Vec<Action>) -> Result<Sent, AccountError> {
        self.send_prepared(actions, |_| Ok(())).await
    }

    /// As [`Account::send`]; `prepare` is called with the transaction's id
    /// before it is shown to anyone, and again with another id should the
    /// sequence have been used. What must be on disk first is written there.
    ///
    /// Errors: as [`Account::send`], and those of `prepare`.
    pub async fn send_prepared<E: From<AccountError>>(
        &self,
        actions: Vec<Action>,
        mut prepare: impl FnMut(TransactionId) -> Result<(), E>,
    ) -> Result<Sent, E> {
        let what = actions
            .iter()
            .map(Action::name)
            .collect::<Vec<_>>()
            .join("+");
        let mut attempt = 0;
        loop {
            attempt += 1;
            let sequence = self.draw().await?;
            let outcome = self.send_once(&actions, sequence, &mut prepare).await;
            self.finish(sequence, matches!(outcome, Ok(Ok(_)))).await;
            let receipt = match outcome? {
                Ok(receipt) => receipt,
                Err(error) => {
                    if error.reject() == Some(Reject::FeeLimitTooLow) && attempt == 1 {
                        // The members have raised the fees since they were read.
                        self.client.forget_rules();
                        continue;
                    }
                    if error.lost_its_sequence() && attempt < MAX_ATTEMPTS {
                        // The other one becomes final first.
                        tokio::time::sleep(RACE_PAUSE).await;
                        continue;
                    }
                    return Err(refused(error, &what).into());
                }
            };
            match receipt.result {
                TransactionResult::Applied => {
                    return Ok(Sent {
                        transaction: receipt.transaction,
                        receipt,
                    });
                }
                TransactionResult::Rejected {
                    reject: Reject::SequenceMismatch | Reject::Expired,
                    ..
                } if attempt < MAX_ATTEMPTS => self.forget().await,
                TransactionResult::Rejected { reject, action } => {
                    if action.is_none() {
                        // Refused as a whole, it has not used its sequence up.
                        self.forget().await;
                    }
                    return Err(AccountError::Rejected {
                        what,
                        reject,
                        action,
                        transaction: Some(receipt.transaction),
                    }
                    .into());
                }
            }
        }
    }

    /// Signs and submits under one sequence.
    async fn send_once<E: From<AccountError>>(
        &self,
        actions: &[Action],
        sequence: u64,
        prepare: &mut impl FnMut(TransactionId) -> Result<(), E>,
    ) -> Result<Result<Receipt, ClientError>, E> {
        let transaction = match self.unsigned(actions, sequence).await {
            Ok(transaction) => transaction,
            Err(error) => return Ok(Err(error)),
        };
        let signed = self.signer.sign(transaction).await;
        let signed = signed.map_err(AccountError::Signer)?;
        prepare(signed.id())?;
        Ok(self.client.submit(&signed).await)
    }

    async fn unsigned(
        &self,
        actions: &[Action],
        sequence: u64,
    ) -> Result<Transaction, ClientError> {
        let transaction = Transaction {
            version: Transaction::VERSION,
            circle: self.client.circle(),
            sender: self.public(),
            sequence,
            expires_at: self.client.recent_height().await?.plus(EXPIRY_BLOCKS),
            fee_limit: Amount(u64::MAX),
            actions: actions.to_vec(),
        };
        // The fee depends on the length alone, and the limit's length is fixed.
        let body = borsh::to_vec(&transaction).map_or(0, |bytes| bytes.len() as u64);
        Ok(Transaction {
            fee_limit: self.client.fee(body + SIGNATURE_BYTES).await?,
            ..transaction
        })
    }

    /// Takes the process's turn if need be, and the next sequence.
    async fn draw(&self) -> Result<u64, AccountError> {
        let mut turns = self.turns.lock().await;
        if turns.held.is_none()
            && let Some(path) = turns.path.clone()
        {
            let (file, next) = take_turn(path, self.client.circle()).await?;
            // Another process may have sent since this one last did.
            if turns.next != next {
                turns.next = next;
            }
            turns.held = Some(file);
        }
        let sequence = match turns.next {
            Some(next) => next,
            None => match self.client.account(&self.public()).await {
                Ok(account) => account.sequence,
                Err(error) => {
                    turns.release(self.client.circle());
                    return Err(error.into());
                }
            },
        };
        turns.next = Some(sequence + 1);
        turns.under_way += 1;
        Ok(sequence)
    }

    /// Ends a send; a failed one leaves the sequence to be read again.
    async fn finish(&self, sequence: u64, submitted: bool) {
        let mut turns = self.turns.lock().await;
        if !submitted {
            // Sequences drawn after this one wait for it in vain, unless it was
            // refused because it had been used; either way the ledger knows.
            tracing::debug!(sequence, "sequence is read again");
            turns.next = None;
        }
        turns.under_way = turns.under_way.saturating_sub(1);
        turns.release(self.client.circle());
    }

    async fn forget(&self) {
        self.turns.lock().await.next = None;
    }
}

impl Turns {
    /// Gives the turn to other processes once nothing is under way.
    fn release(&mut self, circle: CircleId) {
        if self.under_way > 0 {
            return;
        }
        if let Some(mut file) = self.held.take() {
            let next = self.next.map(|next| format!("{circle} {next}"));
            let next = next.unwrap_or_default();
            let written = file
                .set_len(0)
                .and_then(|()| file.seek(SeekFrom::Start(0)))
                .and_then(|_| file.write_all(next.as_bytes()));
            if written.is_err() {
                self.next = None;
            }
            // Closing the file releases the lock.
        }
    }
}

/// Locks the file and reads the next sequence that the last holder left.
async fn take_turn(path: PathBuf, circle: CircleId) -> Result<(File, Option<u64>), AccountError> {
    let error = |source| AccountError::LockFile {
        path: path.clone(),
        source,
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(error)?;
    let deadline = Instant::now() + TURN_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                tokio::time::sleep(TURN_PAUSE).await;
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(AccountError::Busy { path: path.clone() });
            }
            Err(std::fs::TryLockError::Error(source)) => return Err(error(source)),
        }
    }
    let mut text = String::new();
    // A damaged file only costs one read of the ledger.
    let next = match (&mut file).take(128).read_to_string(&mut text) {
        Ok(_) => text
            .split_once(' ')
            // A number of another circle's means nothing here.
            .filter(|(of, _)| *of == circle.to_string())
            .and_then(|(_, next)| next.trim().parse().ok()),
        Err(_) => None,
    };
    Ok((file, next))
}

/// The lock file that belongs to a key file.
pub fn lock_path(key_file: &Path) -> PathBuf {
    let mut name = key_file.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    key_file.with_file_name(name)
}

fn refused(error: ClientError, what: &str) -> AccountError {
    match error.reject() {
        Some(reject) => AccountError::Rejected {
            what: what.to_owned(),
            reject,
            action: None,
            transaction: None,
        },
        None => AccountError::Client(error),
    }
}
