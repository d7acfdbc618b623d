//! When does a validator show evidence of its code again, and who hears if it cannot?
//!
//! Where members ask for it (docs/spec/members.md §9), evidence is made by the source
//! that the node was given, bound to the newest block, and sent as a transaction of the
//! seat's key, which is free while it is due. It is due from half of its time on, so that
//! a source may fail for that long before the validator is left out. Every failure is
//! named in the log, in the status and in the figures.
//!
//! [`prepare`] takes no clock and no I/O but the source's, so that simulations run it.
//! What the evidence says is the ledger's to judge.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use ledger::{BlockContext, Standing, validator_standing};
use tokio::time::Instant;
use wire::{
    Action, AttestValidator, CheckedTransaction, CircleId, Digest, Evidence, Height, PublicKey,
    Reject, SigningKey, TransactionResult,
};

use crate::{
    chain::free_of_charge,
    mempool::{Intake, next_sequence},
    store::Snapshot,
    tip::Tip,
};

/// Why a source gave no evidence, in its own words.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// What makes this machine's evidence: a TEE, a TPM, a development key.
pub trait EvidenceSource: Send + Sync + 'static {
    /// Evidence of the code that this node runs, which binds `report_data`. It may block
    /// for seconds.
    ///
    /// Errors: the source's.
    fn evidence(&self, report_data: Digest) -> Result<Evidence, SourceError>;
}

/// Blocks in which a transaction with evidence may be taken: the leaders of a small
/// circle in turn, some of them away.
const TAKEN_WITHIN: u64 = 64;

/// The wait after a failure: many tries in the least time that evidence counts for.
const RETRY: Duration = Duration::from_secs(5);

/// How long a source may take: a TPM needs a second.
const SOURCE_PATIENCE: Duration = Duration::from_secs(60);

/// Why evidence was not shown.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The node was given none.
    #[error("the configuration names no source of evidence (section `evidence`)")]
    NoSource,
    /// The source failed.
    #[error("the source gave no evidence: {}", chain(.0.as_ref()))]
    Source(SourceError),
    /// The source is at work for too long.
    #[error("the source has not answered for {} s", SOURCE_PATIENCE.as_secs())]
    Late,
    /// The ledger would refuse what was made.
    #[error("the ledger refuses the evidence: {0} ({number})", number = .0.number())]
    Refused(Reject),
    /// This node's mempool does not take it.
    #[error("the node does not take the evidence: {0}")]
    NotTaken(String),
    /// Nobody put it into a block in time.
    #[error("no block has taken the evidence for {TAKEN_WITHIN} blocks")]
    NotFinal,
}

/// An error with its causes, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A transaction that shows evidence.
#[derive(Debug)]
pub struct Prepared {
    /// Encoded and signed.
    pub encoded: Vec<u8>,
    /// The last height at which a block can take it.
    pub expires_at: Height,
}

/// How the validator with the key `seat` stands in the next block; none of a node that is
/// to validate nothing.
pub fn standing(state: &Snapshot, seat: &PublicKey) -> Option<Standing> {
    validator_standing(state, state.height().plus(1), seat)
}

/// Makes evidence for the block that `state` is of, and the transaction that shows it.
///
/// Errors: [`Failure::Source`]; [`Failure::Refused`] where the ledger would refuse it now.
pub fn prepare(
    circle: CircleId,
    key: &SigningKey,
    state: &Snapshot,
    source: &dyn EvidenceSource,
) -> Result<Prepared, Failure> {
    let block = state.height();
    let sender = key.public();
    let report_data = AttestValidator::report_data(circle, &sender, state.digest());
    let evidence = source.evidence(report_data).map_err(Failure::Source)?;
    let expires_at = block.plus(TAKEN_WITHIN);
    let action = Action::AttestValidator(AttestValidator { block, evidence });
    let sequence = next_sequence(state, sender.account());
    let encoded = free_of_charge(circle, key, sequence, expires_at, action);
    try_out(circle, state, &encoded)?;
    Ok(Prepared {
        encoded,
        expires_at,
    })
}

/// Applies the transaction to the state, to hear what is wrong with it: a leader leaves
/// out what would be refused, and says nothing.
fn try_out(circle: CircleId, state: &Snapshot, encoded: &[u8]) -> Result<(), Failure> {
    let checked = CheckedTransaction::check_form(encoded, circle)
        .map_err(|error| Failure::NotTaken(error.to_string()))?;
    let context = BlockContext {
        height: state.height().plus(1),
        time_ms: state.header().time_ms,
        parent: state.digest(),
    };
    let applied = ledger::apply(state, &context, &[checked]);
    match applied.receipts.first().map(|receipt| receipt.result) {
        Some(TransactionResult::Rejected { reject, .. }) => Err(Failure::Refused(reject)),
        _ => Ok(()),
    }
}

/// What a node says of the evidence that it shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// How often evidence was shown since the node began.
    pub times: u64,
    /// How often it could not be, since then.
    pub failures: u64,
    /// Why not, until it is shown again.
    pub last_failure: Option<String>,
}

/// What the task and the API share.
#[derive(Debug)]
pub(crate) struct Attesting {
    seat: PublicKey,
    shown: Mutex<Shown>,
}

impl Attesting {
    pub fn new(seat: PublicKey) -> Self {
        Self {
            seat,
            shown: Mutex::default(),
        }
    }

    /// The key of this node's seat.
    pub fn seat(&self) -> &PublicKey {
        &self.seat
    }

    pub fn shown(&self) -> Shown {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().expect("no holder of the lock panics")
    }

    fn failed(&self, failure: &Failure, standing: &Standing) {
        let until = standing.until.unwrap_or_default();
        tracing::error!(%failure, counts_until = %until, "cannot show evidence of this validator's code");
        let mut shown = self.lock();
        shown.failures += 1;
        shown.last_failure = Some(failure.to_string());
    }

    fn succeeded(&self, standing: &Standing) {
        let until = standing.until.unwrap_or_default();
        tracing::info!(counts_until = %until, "has shown evidence of this validator's code");
        let mut shown = self.lock();
        shown.times += 1;
        shown.last_failure = None;
    }
}

/// What the task needs.
pub(crate) struct Task {
    pub circle: CircleId,
    pub key: Arc<SigningKey>,
    pub tip: Arc<Tip>,
    pub intake: Intake,
    pub source: Option<Arc<dyn EvidenceSource>>,
    pub attesting: Arc<Attesting>,
}

impl Task {
    /// Shows evidence whenever it is due; ends with the tip alone.
    pub async fn run(self) {
        let mut tips = self.tip.watch();
        loop {
            let state = tips.borrow_and_update().clone();
            let due = standing(&state, self.attesting.seat()).filter(|standing| standing.due);
            if let Some(due) = due {
                match self.show(&state).await {
                    Ok(standing) => self.attesting.succeeded(&standing),
                    Err(failure) => {
                        self.attesting.failed(&failure, &due);
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
            if tips.changed().await.is_err() {
                return;
            }
        }
    }

    /// Shows evidence once, and waits until the ledger has it.
    async fn show(&self, state: &Arc<Snapshot>) -> Result<Standing, Failure> {
        let prepared = self.prepare(state.clone()).await?;
        let answer = self
            .intake
            .submit(prepared.encoded)
            .map_err(|busy| Failure::NotTaken(busy.to_string()))?;
        match answer.await {
            Ok(Ok(_)) => {}
            Ok(Err(refusal)) => return Err(Failure::NotTaken(refusal.to_string())),
            Err(_) => return Err(Failure::NotTaken("the intake has ended".to_owned())),
        }
        let mut tips = self.tip.watch();
        loop {
            let state = tips.borrow_and_update().clone();
            match standing(&state, self.attesting.seat()) {
                Some(standing) if !standing.due => return Ok(standing),
                _ if state.height() >= prepared.expires_at => return Err(Failure::NotFinal),
                _ if tips.changed().await.is_err() => return Err(Failure::NotFinal),
                _ => {}
            }
        }
    }

    /// Has the source work on a thread of its own. One that is late is waited for all the
    /// same: two at a time would not be quicker.
    async fn prepare(&self, state: Arc<Snapshot>) -> Result<Prepared, Failure> {
        let source = self.source.clone().ok_or(Failure::NoSource)?;
        let (circle, key) = (self.circle, self.key.clone());
        let mut working =
            tokio::task::spawn_blocking(move || prepare(circle, &key, &state, &*source));
        let began = Instant::now();
        loop {
            match tokio::time::timeout(SOURCE_PATIENCE, &mut working).await {
                Ok(made) => {
                    let panicked = |error: tokio::task::JoinError| Failure::Source(error.into());
                    let made = made.map_err(panicked)?;
                    tracing::debug!(took = ?began.elapsed(), "the source has answered");
                    return made;
                }
                Err(_) => {
                    let spared = Standing {
                        until: None,
                        due: true,
                    };
                    self.attesting.failed(&Failure::Late, &spared);
                }
            }
        }
    }
}
