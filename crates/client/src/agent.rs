//! The user's standing agent: it answers for every request of the user's whose
//! command has gone, so that a replica that fails at night is replaced at night.
//!
//! It holds the unlocked key and gives the data key to nobody but enclaves
//! that [`crate::run`] accepts. A request that a running command has locked is
//! left to that command.

use std::{collections::BTreeMap, time::Duration};

use wire::{
    ContractId, Event, Height, RequestId,
    record::{self, RequestStatus},
    state_key,
};

use crate::{
    run::{Observer, Progress, RequestLock, RunError, Tracked, User},
    wallet::RequestSecrets,
};

/// Blocks between two looks at every open request: nothing depends on it while
/// nodes tell of all events.
const LOOK_EVERY: u64 = 400;

/// The pause after a failure of the circle or of the way to it.
const PAUSE: Duration = Duration::from_secs(1);

/// Blocks for which a failed contract is left alone before it is tried again.
const RETRY_BLOCKS: u64 = 20;

/// What the agent holds of one open request.
struct Held {
    request: record::Request,
    secrets: RequestSecrets,
}

struct Duty {
    request: RequestId,
    tracked: Tracked,
    /// Look at it once this height is reached; none when nothing is due.
    due: Option<Height>,
}

struct Agent {
    user: User,
    observer: Observer,
    requests: BTreeMap<RequestId, Held>,
    duties: BTreeMap<ContractId, Duty>,
}

/// Answers for `user`'s requests until the future is dropped.
///
/// Errors: none that a later try could mend; it waits those out. It returns
///         when the circle's genesis is not the one the client was given.
pub async fn run(user: User, observer: Observer) -> Result<(), RunError> {
    let mut agent = Agent {
        user,
        observer,
        requests: BTreeMap::new(),
        duties: BTreeMap::new(),
    };
    loop {
        match agent.serve().await {
            Err(RunError::Client(error @ crate::error::ClientError::Genesis)) => {
                return Err(error.into());
            }
            Err(error) => {
                tracing::warn!(%error, "the agent starts over");
                tokio::time::sleep(PAUSE).await;
            }
            Ok(never) => match never {},
        }
    }
}

impl Agent {
    async fn serve(&mut self) -> Result<std::convert::Infallible, RunError> {
        self.user.client().genesis().await?;
        let height = self.look_at_all().await?;
        let mut events = self.user.client().events(height.plus(1));
        let mut looked_at = height;
        let mut now = height;
        loop {
            self.work(now).await?;
            let block = events.next().await?;
            now = block.height;
            for one in &block.events {
                self.hear(&one.event, block.height).await?;
                if let Some(duty) = contract_of(&one.event).and_then(|id| self.duties.get_mut(&id))
                {
                    duty.tracked.cause = (one.transaction, Some(block.height));
                }
            }
            if block.height.since(looked_at) >= LOOK_EVERY {
                looked_at = self.look_at_all().await?;
            }
        }
    }

    /// Reads every request of the user's; the height at which that began.
    async fn look_at_all(&mut self) -> Result<Height, RunError> {
        let ids = self.user.requests().await?;
        let key = state_key::account(self.user.account().id());
        let (_, proven) = self.user.client().proven::<record::Account>(key).await?;
        for id in ids {
            self.look_at(id, proven.height()).await?;
        }
        Ok(proven.height())
    }

    async fn look_at(&mut self, id: RequestId, since: Height) -> Result<(), RunError> {
        let key = state_key::request(id);
        let (request, proven) = self
            .user
            .client()
            .proven_since::<record::Request>(key, since)
            .await?;
        let Some(request) = request.filter(|r| r.user == self.user.account().id()) else {
            return Ok(());
        };
        if matches!(request.status, RequestStatus::Closed(_)) {
            self.requests.remove(&id);
            self.duties.retain(|_, duty| duty.request != id);
            return Ok(());
        }
        let secrets = match self.requests.remove(&id) {
            Some(held) => held.secrets,
            None => match self.user.wallet().request(&request.terms.agreement_key)? {
                Some(secrets) => secrets,
                // Posted from another machine, which answers for it.
                None => return Ok(()),
            },
        };
        for contract in request.replicas.iter().flatten() {
            self.due(id, *contract, proven.height());
        }
        self.requests.insert(id, Held { request, secrets });
        Ok(())
    }

    fn due(&mut self, request: RequestId, contract: ContractId, height: Height) {
        self.duties
            .entry(contract)
            .or_insert_with(|| Duty {
                request,
                tracked: Tracked::new(contract),
                due: None,
            })
            .due = Some(height);
    }

    async fn hear(&mut self, event: &Event, height: Height) -> Result<(), RunError> {
        match event {
            Event::RequestPosted { request, user } if *user == self.user.account().id() => {
                self.look_at(*request, height).await?;
            }
            Event::Matched {
                contract,
                request,
                user,
                ..
            } if *user == self.user.account().id() => {
                if !self.requests.contains_key(request) {
                    self.look_at(*request, height).await?;
                }
                if self.requests.contains_key(request) {
                    self.due(*request, *contract, height);
                }
            }
            Event::NameExpiring {
                name,
                owner,
                paid_until,
            } if *owner == self.user.account().id() => {
                tracing::warn!(%name, %paid_until, "the name will be suspended: renew it");
            }
            Event::NameSuspended {
                name,
                owner,
                released_at,
            } if *owner == self.user.account().id() => {
                tracing::warn!(%name, %released_at, "the name is suspended: renew it");
            }
            Event::RecoveryVoted {
                name, owner, due, ..
            } if *owner == self.user.account().id() => {
                tracing::warn!(%name, %due, "members vote to hand the name to another key");
            }
            Event::RequestClosed { request, .. } if self.requests.contains_key(request) => {
                self.look_at(*request, height).await?;
            }
            event => {
                if let Some(duty) = contract_of(event).and_then(|id| self.duties.get_mut(&id)) {
                    duty.due = Some(height);
                }
            }
        }
        Ok(())
    }

    /// Takes every step that is due, of all requests that nobody else answers
    /// for, side by side.
    async fn work(&mut self, now: Height) -> Result<(), RunError> {
        let is_due = |duty: &Duty| duty.due.is_some_and(|height| height <= now);
        let ids: Vec<ContractId> = self
            .duties
            .iter()
            .filter(|(_, duty)| is_due(duty))
            .map(|(id, _)| *id)
            .collect();
        let mut groups: BTreeMap<RequestId, Vec<Duty>> = BTreeMap::new();
        for duty in ids.iter().filter_map(|id| self.duties.remove(id)) {
            groups.entry(duty.request).or_default().push(duty);
        }
        let this = &*self;
        let groups = groups
            .into_iter()
            .map(|(request, duties)| this.answer(request, duties, now));
        let kept = futures_util::future::join_all(groups).await;
        let kept = kept.into_iter().flatten();
        self.duties.extend(kept.map(|duty| (duty.tracked.id, duty)));
        Ok(())
    }

    /// Takes the steps of one request's contracts; those still of interest.
    async fn answer(&self, request: RequestId, duties: Vec<Duty>, now: Height) -> Vec<Duty> {
        let Some(held) = self.requests.get(&request) else {
            return Vec::new();
        };
        let _lock = match RequestLock::try_take(self.user.wallet(), request) {
            Ok(Some(lock)) => lock,
            // A command answers for it; it stays due, and every block asks again.
            Ok(None) => return duties,
            Err(error) => {
                tracing::warn!(%request, %error, "its lock cannot be taken");
                return duties;
            }
        };
        let steps = duties.into_iter().map(|duty| self.step(held, duty, now));
        let kept = futures_util::future::join_all(steps).await;
        kept.into_iter().flatten().collect()
    }

    /// Takes one contract's step; none if the contract is of no more interest.
    async fn step(&self, held: &Held, mut duty: Duty, now: Height) -> Option<Duty> {
        let since = duty.due.take().unwrap_or_default();
        let progress = self
            .user
            .advance_for(
                duty.request,
                &held.request,
                &held.secrets,
                &mut duty.tracked,
                since,
                &self.observer,
            )
            .await;
        match progress {
            Ok(Progress::Ended(_)) => return None,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(
                    contract = %duty.tracked.id, %error,
                    "a step failed and will be tried again"
                );
                duty.due = Some(now.plus(RETRY_BLOCKS));
            }
        }
        Some(duty)
    }
}

/// The contract that an event concerns, where the agent may have to act.
fn contract_of(event: &Event) -> Option<ContractId> {
    match event {
        Event::EnclaveRegistered { contract, .. }
        | Event::OperationOpened { contract, .. }
        | Event::MessagePosted { contract, .. }
        | Event::OutcomePosted { contract, .. }
        | Event::Matched { contract, .. }
        | Event::ContractEnded { contract, .. } => Some(*contract),
        _ => None,
    }
}
