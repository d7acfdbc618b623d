//! Seeing who wants a certificate, and giving it to those who may have one.
//!
//! Events and listings only say where to look. Whether a certificate is due,
//! for which name and which key, follows from proven records alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _};
use tracing::{info, warn};
use wire::{
    Action, ContractId, DomainName, Event, Height, IssueCertificate, PublishIntermediate,
    RequestId,
    record::{self, ContractStatus},
    state_key,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::{
    authority::{Authority, AuthorityError},
    intermediates::{self, IntermediateError},
    request::{CheckedRequest, RequestError},
};
use crate::ledger::{self, BlockEvents, Ledger, LedgerError, Post, chain, decode};

/// How often waiting contracts are listed again, in case a node kept quiet
/// about one, and renewals are looked for.
const REVIEW_INTERVAL: Duration = Duration::from_secs(5);

/// How long to wait after nodes that all failed.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// Certificates in one transaction: what fits its limit of 32 KiB with room,
/// so that a request with many replicas does not wait a block for each.
const MAX_BATCH: usize = 8;

/// What has been done since the start.
#[derive(Debug, Default)]
pub struct Progress {
    issued: AtomicU64,
    renewed: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    height: AtomicU64,
    time_ms: AtomicU64,
}

/// [`Progress`] at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ProgressReport {
    /// Newest height that was read with a proof.
    pub height: Height,
    /// That height's time, Unix milliseconds.
    pub time_ms: u64,
    /// First certificates put on the ledger.
    pub issued: u64,
    /// Renewals put on the ledger.
    pub renewed: u64,
    /// Requests that may not be granted.
    pub refused: u64,
    /// Failures of nodes, or of this authority; each is tried again.
    pub failed: u64,
}

impl Progress {
    /// The counts now.
    pub fn report(&self) -> ProgressReport {
        ProgressReport {
            height: Height(self.height.load(Ordering::Relaxed)),
            time_ms: self.time_ms.load(Ordering::Relaxed),
            issued: self.issued.load(Ordering::Relaxed),
            renewed: self.renewed.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    fn read(&self, reading: &ledger::Reading) {
        self.height.fetch_max(reading.height.0, Ordering::Relaxed);
        self.time_ms.fetch_max(reading.time_ms, Ordering::Relaxed);
    }
}

/// Why a contract gets no certificate now.
#[derive(Debug, thiserror::Error)]
enum Withheld {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The contract asks for something that it may not have.
    #[error("{0} is not certified: its owner did not ask for it")]
    NotOwned(DomainName),
    #[error("{0} lies outside the apexes of this authority")]
    Outside(DomainName),
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// A certificate to post: with its intermediate, if that is new.
struct Batched {
    action: IssueCertificate,
    intermediate: Option<PublishIntermediate>,
    renewal: bool,
}

impl Batched {
    fn actions(&self) -> Vec<Action> {
        let publish = self.intermediate.clone().map(Action::PublishIntermediate);
        let issue = Action::IssueCertificate(self.action.clone());
        publish.into_iter().chain([issue]).collect()
    }
}

impl From<IntermediateError> for Withheld {
    fn from(error: IntermediateError) -> Self {
        match error {
            IntermediateError::Ledger(error) => Self::Ledger(error),
            IntermediateError::Authority(error) => Self::Authority(error),
        }
    }
}

/// What is to be done for a contract.
enum Due {
    /// This, now.
    Now {
        /// Boxed: the other variants are small.
        action: Box<IssueCertificate>,
        /// What must stand on the ledger before it.
        intermediate: Option<PublishIntermediate>,
        renewal: bool,
    },
    /// A renewal, later.
    At(u64),
    /// Nothing: it has ended, or wants none.
    Never,
}

/// Issues and renews until the future is dropped.
///
/// Units: `validity_ms` is how long a leaf holds, milliseconds; `now_ms` gives
///        the wall clock, which only says when to look.
pub async fn certify(
    ledger: &(impl Ledger + Post),
    authority: &Authority,
    validity_ms: u64,
    progress: &Progress,
    now_ms: impl Fn() -> u64,
) -> std::convert::Infallible {
    let mut worker = Worker {
        ledger,
        authority,
        validity_ms,
        progress,
        since: Height(0),
        waiting: BTreeSet::new(),
        renewals: BTreeMap::new(),
    };
    loop {
        let Err(error) = worker.watch(&now_ms).await;
        worker.fail("following the ledger", &error).await;
    }
}

struct Worker<'a, L> {
    ledger: &'a L,
    authority: &'a Authority,
    validity_ms: u64,
    progress: &'a Progress,
    /// Reads are not to be older than the events that caused them.
    since: Height,
    /// Contracts to look at.
    waiting: BTreeSet<ContractId>,
    /// When to look at a contract again, Unix milliseconds.
    renewals: BTreeMap<ContractId, u64>,
}

impl<L: Ledger + Post> Worker<'_, L> {
    /// Looks at everything once, then at what events and reviews bring.
    ///
    /// Errors: the first of the ledger's; what waits is kept.
    async fn watch(
        &mut self,
        now_ms: &impl Fn() -> u64,
    ) -> Result<std::convert::Infallible, LedgerError> {
        let start = self.start().await?;
        let mut events = pin!(self.ledger.events(start.plus(1)));
        let mut review = tokio::time::interval(REVIEW_INTERVAL);
        review.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                block = events.next() => {
                    let mut next = Some(block);
                    while let Some(block) = next {
                        self.hear(&block.ok_or(LedgerError::Missing("further events"))??);
                        next = events.next().now_or_never();
                    }
                }
                _ = review.tick() => self.review(now_ms()).await?,
            }
            self.work().await;
        }
    }

    /// Everything that has or wants a certificate is looked at once.
    async fn start(&mut self) -> Result<Height, LedgerError> {
        let reading = self
            .ledger
            .read(vec![state_key::circle()], Height(0))
            .await?;
        self.progress.read(&reading);
        self.since = reading.height;
        self.list(state_key::CERTIFICATES_WANTED).await?;
        self.list(state_key::CERTIFICATES).await?;
        Ok(reading.height)
    }

    async fn review(&mut self, now_ms: u64) -> Result<(), LedgerError> {
        // A proof, though nothing is to be done: only a proof shows that the
        // ledger is followed.
        let reading = self.ledger.read(vec![state_key::pool()], Height(0)).await?;
        self.progress.read(&reading);
        let due = self
            .renewals
            .iter()
            .filter(|(_, at)| **at <= now_ms)
            .map(|(contract, _)| *contract);
        self.waiting.extend(due);
        self.list(state_key::CERTIFICATES_WANTED).await
    }

    async fn list(&mut self, prefix: &[u8]) -> Result<(), LedgerError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.ledger.list(prefix, after.as_deref()).await?;
            let contracts = page
                .keys
                .iter()
                .filter_map(|key| key.strip_prefix(prefix)?.try_into().ok())
                .map(ContractId);
            self.waiting.extend(contracts);
            match page.keys.last() {
                Some(last) if page.more && Some(last) > after.as_ref() => {
                    after = Some(last.clone());
                }
                _ => return Ok(()),
            }
        }
    }

    fn hear(&mut self, block: &BlockEvents) {
        self.since = self.since.max(block.height);
        for event in &block.events {
            match event {
                // The second schedules the renewal of what others issued.
                Event::EnclaveRegistered { contract, .. }
                | Event::CertificateIssued { contract, .. } => {
                    self.waiting.insert(*contract);
                }
                Event::ContractEnded { contract, .. } => {
                    self.renewals.remove(contract);
                }
                _ => {}
            }
        }
    }

    /// Looks at every waiting contract and posts what is due, in batches.
    async fn work(&mut self) {
        let mut batch = Vec::new();
        while let Some(contract) = self.waiting.pop_first() {
            match self.examine(contract).await {
                Ok(Due::Now {
                    action,
                    intermediate,
                    renewal,
                }) => batch.push(Batched {
                    action: *action,
                    intermediate,
                    renewal,
                }),
                Ok(Due::At(at)) => {
                    self.renewals.insert(contract, at);
                }
                Ok(Due::Never) => {
                    self.renewals.remove(&contract);
                }
                Err(
                    error
                    @ (Withheld::Ledger(LedgerError::Unavailable(_)) | Withheld::Authority(_)),
                ) => {
                    self.fail("looking at a contract", &error).await;
                    // It comes again with the next event or review, as do the rest.
                    self.waiting.insert(contract);
                    break;
                }
                Err(error) => {
                    self.progress.refused.fetch_add(1, Ordering::Relaxed);
                    self.renewals.remove(&contract);
                    warn!(%contract, error = %chain(&error), "no certificate is issued");
                }
            }
            if batch.len() >= MAX_BATCH {
                self.post(std::mem::take(&mut batch)).await;
            }
        }
        if !batch.is_empty() {
            self.post(batch).await;
        }
    }

    /// Posts a batch; if the ledger rejects it, one by one, so that one
    /// contract that has just ended does not cost the others a block.
    async fn post(&mut self, batch: Vec<Batched>) {
        let actions = batch.iter().flat_map(Batched::actions).collect();
        match self.ledger.post(actions).await {
            Ok(()) => batch.iter().for_each(|issued| self.posted(issued)),
            Err(LedgerError::Rejected(_)) if batch.len() > 1 => {
                for issued in batch {
                    match self.ledger.post(issued.actions()).await {
                        Ok(()) => self.posted(&issued),
                        Err(error) => self.not_posted(issued.action.contract, &error).await,
                    }
                }
            }
            Err(error) => {
                for issued in batch {
                    self.not_posted(issued.action.contract, &error).await;
                }
            }
        }
    }

    fn posted(&mut self, issued: &Batched) {
        let count = if issued.renewal {
            &self.progress.renewed
        } else {
            &self.progress.issued
        };
        count.fetch_add(1, Ordering::Relaxed);
        let (contract, renewal) = (issued.action.contract, issued.renewal);
        info!(%contract, renewal, "a certificate is on the ledger");
        // Its event brings the contract back, to be scheduled for renewal.
    }

    async fn not_posted(&mut self, contract: ContractId, error: &LedgerError) {
        if let LedgerError::Rejected(reject) = error {
            // The contract ended meanwhile, or this is no authority of the circle.
            self.progress.refused.fetch_add(1, Ordering::Relaxed);
            self.renewals.remove(&contract);
            warn!(%contract, %reject, "the ledger rejected a certificate");
        } else {
            self.fail("posting a certificate", error).await;
            self.waiting.insert(contract);
        }
    }

    async fn fail(&self, doing: &str, error: &(dyn std::error::Error + Send + Sync)) {
        self.progress.failed.fetch_add(1, Ordering::Relaxed);
        warn!(error = %chain(error), "{doing} failed");
        tokio::time::sleep(RETRY_INTERVAL).await;
    }

    /// Reads what decides about a contract's certificate, all proven.
    async fn examine(&self, id: ContractId) -> Result<Due, Withheld> {
        let keys = vec![
            state_key::contract(id),
            state_key::enclave(id),
            state_key::certificate(id),
        ];
        let reading = self.read(keys).await?;
        let contract: Option<record::Contract> = decode(&reading, 0)?;
        let enclave: Option<record::Enclave> = decode(&reading, 1)?;
        let former: Option<record::Certificate> = decode(&reading, 2)?;
        let (Some(contract), Some(enclave)) = (contract, enclave) else {
            return Ok(Due::Never);
        };
        if matches!(contract.status, ContractStatus::Ended(_)) {
            return Ok(Due::Never);
        }
        let own = self.ledger.account();
        let renewal = former
            .as_ref()
            .map(|former| renewal_at(former, former.authority == own));
        if let Some(at) = renewal
            && reading.time_ms < at
        {
            return Ok(Due::At(at));
        }
        let reading = self
            .read(vec![state_key::request(contract.request)])
            .await?;
        let request: Option<record::Request> = decode(&reading, 0)?;
        let Some(name) = request.and_then(|request| request.terms.name) else {
            return Ok(Due::Never);
        };
        if !self.serves(contract.request, &name).await? {
            return Err(Withheld::NotOwned(name));
        }
        if !self.authority.covers(&name) {
            return Err(Withheld::Outside(name));
        }
        let keys = &enclave.keys;
        let checked = CheckedRequest::check(&keys.certificate_request, &name, keys.tls_key)?;
        let account = self.ledger.account();
        let intermediate =
            intermediates::missing(self.ledger, self.authority, account, &name, self.since).await?;
        // Where the ledger has no grant, its proof shows that, and is of no use.
        let key = state_key::grant(&id.0);
        let granted = self.read(vec![key.clone()]).await?.values[0].is_some();
        let proof = match granted {
            true => self.ledger.prove(key, self.since).await?,
            false => None,
        };
        let issued = self.authority.issue(
            &name,
            &checked,
            reading.time_ms,
            self.validity_ms,
            proof.as_deref(),
        )?;
        Ok(Due::Now {
            action: Box::new(IssueCertificate {
                contract: id,
                serial: issued.serial,
                certificate: issued.der,
                not_after_ms: issued.not_after_ms,
            }),
            intermediate,
            renewal: renewal.is_some(),
        })
    }

    /// Whether `name` is at this request's service. Only its owner can put it
    /// there, and it leaves with the owner; a rotation of the owner's key, after
    /// which the request's key is another one, does not matter.
    async fn serves(&self, id: RequestId, name: &DomainName) -> Result<bool, LedgerError> {
        let reading = self.read(vec![state_key::serves(name)]).await?;
        let served: Option<RequestId> = decode(&reading, 0)?;
        Ok(served == Some(id))
    }

    async fn read(&self, keys: Vec<Vec<u8>>) -> Result<ledger::Reading, LedgerError> {
        let reading = self.ledger.read(keys, self.since).await?;
        self.progress.read(&reading);
        Ok(reading)
    }
}

/// When a certificate is to be renewed, Unix milliseconds: after two thirds of
/// its life by who issued it, after five sixths by any other authority, should
/// the first be gone. One that does not parse serves nobody: now.
fn renewal_at(certificate: &record::Certificate, own: bool) -> u64 {
    renewal_time(&certificate.certificate, own)
}

/// The same for a certificate in DER.
pub(super) fn renewal_time(certificate: &[u8], own: bool) -> u64 {
    let Ok((_, leaf)) = X509Certificate::from_der(certificate) else {
        return 0;
    };
    let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
    let begins = seconds(leaf.validity().not_before);
    let ends = seconds(leaf.validity().not_after);
    let remains = if own { 3 } else { 6 };
    let at = ends.saturating_sub(ends.saturating_sub(begins) / remains);
    at.saturating_mul(1000)
}
