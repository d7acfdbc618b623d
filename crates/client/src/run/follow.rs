//! Following a request: every contract's handshake is answered as soon as the
//! ledger shows that it is the user's turn.
//!
//! Events of an untrusted node say when to look; proofs say what is there.
//! Should a node keep events back, a periodic look at the records finds what
//! they hid.

use std::collections::BTreeMap;

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use wire::{
    Action, CloseRequest, ContractId, EndReason, Event, Height, Operate, Operation, Reject,
    RequestId,
    record::{self, RequestStatus},
    state_key,
};

use super::{
    Observer, Progress, RequestLock, RunError, Step, StepKind, Tracked, User, exchange::Served,
};
use crate::{account::AccountError, events::BlockEvents};

/// Blocks between two looks that no event called for: a minute at most in a
/// quiet circle.
const LOOK_EVERY: u64 = 200;

/// Looks at one contract in a row that may fail for want of an answer; each has
/// asked every node several times.
const MAX_FAILURES: u32 = 5;

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Every replica runs, and has its name's certificate if it has a name.
    Running,
    /// Every live replica is stopped.
    Stopped,
    /// The request has ended: its job completed, or it was closed.
    Ended,
}

/// How a request was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// Every replica runs.
    Running,
    /// Every live replica is stopped.
    Stopped,
    /// It ended, and why.
    Ended(EndReason),
}

/// One contract between two looks.
struct Seat {
    /// Absent while a look is under way.
    tracked: Option<Tracked>,
    progress: Progress,
    /// Look again, at this height or later.
    due: Option<Height>,
    /// Looks in a row that failed.
    failures: u32,
}

impl User {
    /// Answers for `request` until `until` holds. `from` is the height of the
    /// first block to hear of ([`super::Submitted::height`]); none to begin
    /// with what the ledger holds now.
    ///
    /// The caller holds the request's [`RequestLock`].
    ///
    /// Errors: [`RunError::Ended`] if the request ends while waiting for
    ///         anything else than its end.
    pub async fn follow(
        &self,
        request: RequestId,
        from: Option<Height>,
        until: Until,
        observer: &Observer,
    ) -> Result<Followed, RunError> {
        let key = state_key::request(request);
        let since = from.unwrap_or(self.client().seen());
        let (record, proven) = self
            .client()
            .proven_since::<record::Request>(key, since)
            .await?;
        let record = record.ok_or(RunError::NoRequest(request))?;
        if record.user != self.account.id() {
            return Err(RunError::NotOwn(request));
        }
        let secrets = self.secrets(request, &record)?;
        let served = Served::new(request, &record, &secrets);
        let mut follower = Follower {
            user: self,
            served: &served,
            observer,
            seats: BTreeMap::new(),
            status: record.status,
            finished: 0,
        };
        follower.take(&record, proven.height());
        let first = from.unwrap_or(proven.height().plus(1));
        follower.run(first, until).await
    }

    /// Asks for `operation` on every live replica and answers its handshakes.
    ///
    /// Errors: [`RunError::Locked`] if another process on this machine works
    ///         on the request; [`AccountError`] with
    ///         `NothingToDo` if it is in that state.
    pub async fn operate(
        &self,
        request: RequestId,
        operation: Operation,
        observer: &Observer,
    ) -> Result<Followed, RunError> {
        let _lock = RequestLock::take(&self.wallet, request)
            .await?
            .ok_or(RunError::Locked(request))?;
        // The wallet must be able to answer before the question is put.
        let record = self.request(request).await?;
        self.secrets(request, &record)?;
        let action = Action::Operate(Operate { request, operation });
        let sent = self.account.send(vec![action]).await?;
        observer(Step {
            kind: StepKind::Operated { kind: operation },
            request: Some(request),
            contract: None,
            replica: None,
            transaction: Some(sent.transaction),
            height: Some(sent.receipt.height),
        });
        let until = match operation {
            Operation::Start => Until::Running,
            Operation::Stop => Until::Stopped,
        };
        self.follow(request, Some(sent.receipt.height), until, observer)
            .await
    }

    /// Ends a request and all its contracts; the rest of the escrow comes back.
    ///
    /// Errors: [`RunError::Account`] if the circle refuses; nothing if it was
    ///         closed already.
    pub async fn close(&self, request: RequestId, observer: &Observer) -> Result<(), RunError> {
        let action = Action::CloseRequest(CloseRequest { request });
        match self.account.send(vec![action]).await {
            Ok(sent) => {
                observer(Step {
                    kind: StepKind::Closed {
                        reason: EndReason::UserClosed,
                    },
                    request: Some(request),
                    contract: None,
                    replica: None,
                    transaction: Some(sent.transaction),
                    height: Some(sent.receipt.height),
                });
                Ok(())
            }
            Err(error) if error.reject() == Some(Reject::RequestClosed) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

struct Follower<'a> {
    user: &'a User,
    served: &'a Served<'a>,
    observer: &'a Observer,
    seats: BTreeMap<ContractId, Seat>,
    status: RequestStatus,
    /// Replicas that were served for their whole duration or ran to their end.
    finished: usize,
}

type Look<'a> =
    std::pin::Pin<Box<dyn Future<Output = (Tracked, Result<Progress, RunError>)> + Send + 'a>>;

impl<'a> Follower<'a> {
    async fn run(&mut self, first: Height, until: Until) -> Result<Followed, RunError> {
        let mut events = self.user.client().events(first);
        let mut looks: FuturesUnordered<Look<'a>> = FuturesUnordered::new();
        let mut looked_at = first;
        loop {
            for look in self.due_looks() {
                looks.push(look);
            }
            if looks.is_empty()
                && let Some(followed) = self.settled(until)?
            {
                return Ok(followed);
            }
            tokio::select! {
                biased;
                Some((tracked, progress)) = looks.next() => self.put_back(tracked, progress)?,
                block = events.next() => {
                    let block = block?;
                    let height = block.height;
                    let ended = self.hear(&block);
                    if ended || height.since(looked_at) >= LOOK_EVERY {
                        looked_at = height;
                        self.look_at_request(height).await?;
                    }
                }
            }
        }
    }

    /// Starts a look at each contract that is due and not being looked at.
    fn due_looks(&mut self) -> Vec<Look<'a>> {
        let (user, served, observer) = (self.user, self.served, self.observer);
        self.seats
            .values_mut()
            .filter_map(|seat| {
                seat.due?;
                let mut tracked = seat.tracked.take()?;
                let since = seat.due.take()?;
                Some(
                    async move {
                        let progress = user.advance(served, &mut tracked, since, observer).await;
                        (tracked, progress)
                    }
                    .boxed(),
                )
            })
            .collect()
    }

    /// Takes a look's result.
    ///
    /// Errors: the look's, unless it was the circle's or the way's to it and
    ///         few in a row: those are looked at again.
    fn put_back(
        &mut self,
        tracked: Tracked,
        progress: Result<Progress, RunError>,
    ) -> Result<(), RunError> {
        let seen = self.user.client().seen();
        let seat = self.seat(tracked.id);
        seat.tracked = Some(tracked);
        match progress {
            Ok(progress) => {
                seat.progress = progress;
                seat.failures = 0;
            }
            Err(error @ (RunError::Client(_) | RunError::Account(AccountError::Client(_))))
                if seat.failures < MAX_FAILURES =>
            {
                tracing::warn!(%error, "looks again");
                seat.failures += 1;
                seat.due = Some(seen);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn seat(&mut self, contract: ContractId) -> &mut Seat {
        self.seats.entry(contract).or_insert_with(|| Seat {
            tracked: Some(Tracked::new(contract)),
            progress: Progress::Waiting,
            due: None,
            failures: 0,
        })
    }

    /// Marks what a block's events call for; whether the request may have ended.
    fn hear(&mut self, block: &BlockEvents) -> bool {
        let mut ended = false;
        for one in &block.events {
            let contract = match &one.event {
                Event::Matched {
                    contract, request, ..
                } if *request == self.served.id => {
                    self.seat(*contract);
                    *contract
                }
                Event::RequestClosed { request, .. } if *request == self.served.id => {
                    ended = true;
                    continue;
                }
                Event::ContractEnded { contract, .. } => {
                    ended |= self.seats.contains_key(contract);
                    *contract
                }
                Event::EnclaveRegistered { contract, .. }
                | Event::OperationOpened { contract, .. }
                | Event::MessagePosted { contract, .. }
                | Event::OutcomePosted { contract, .. }
                | Event::CertificateIssued { contract, .. }
                | Event::JobCompleted { contract } => *contract,
                _ => continue,
            };
            if let Some(seat) = self.seats.get_mut(&contract) {
                seat.due = Some(block.height);
                if let Some(tracked) = &mut seat.tracked {
                    tracked.cause = (one.transaction, Some(block.height));
                }
            }
        }
        ended
    }

    /// Takes in the request's record: its live contracts and its status.
    fn take(&mut self, record: &record::Request, height: Height) {
        self.status = record.status;
        self.finished = record.finished.iter().filter(|done| **done).count();
        for contract in record.replicas.iter().flatten() {
            self.seat(*contract).due = Some(height);
        }
    }

    async fn look_at_request(&mut self, since: Height) -> Result<(), RunError> {
        let key = state_key::request(self.served.id);
        let (record, proven) = self
            .user
            .client()
            .proven_since::<record::Request>(key, since)
            .await?;
        let record = record.ok_or(RunError::NoRequest(self.served.id))?;
        self.take(&record, proven.height());
        Ok(())
    }

    /// Whether what is waited for holds, by what the looks have proven.
    fn settled(&self, until: Until) -> Result<Option<Followed>, RunError> {
        if let RequestStatus::Closed(reason) = self.status {
            (self.observer)(Step {
                kind: StepKind::Closed { reason },
                request: Some(self.served.id),
                contract: None,
                replica: None,
                transaction: None,
                height: None,
            });
            let well = matches!(reason, EndReason::Completed | EndReason::DurationServed);
            return match until {
                Until::Ended => Ok(Some(Followed::Ended(reason))),
                Until::Running if well => Ok(Some(Followed::Ended(reason))),
                _ => Err(RunError::Ended {
                    request: self.served.id,
                    reason,
                }),
            };
        }
        let live = || {
            self.seats
                .values()
                .filter(|seat| !matches!(seat.progress, Progress::Ended(_)))
        };
        let running = |seat: &Seat| seat.progress == Progress::Running { certified: true };
        let wanted = usize::from(self.served.request.terms.replicas);
        let wanted = wanted.saturating_sub(self.finished);
        Ok(match until {
            Until::Running if live().count() == wanted && live().all(running) => {
                Some(Followed::Running)
            }
            Until::Stopped
                if live().count() > 0 && live().all(|seat| seat.progress == Progress::Stopped) =>
            {
                Some(Followed::Stopped)
            }
            _ => None,
        })
    }
}
