//! What all contracts of this provider share, and what is known of each.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use client::{Client, account::Account, storage::ObjectStorage};
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use wire::{
    Action, Beat, ContractId, DomainName, EndReason, Height, Measurement, OfferId, RequestId,
    Resources, record::Offer,
};

use crate::{
    channel::Outbox, config::ProviderConfig, contract_files::ContractFiles,
    evidence::EvidenceMaker, launcher::Launcher, offers::LiveContract, process::EnclaveProcess,
    router::Router, sealed_log::SealedLog, streams::Streams,
};

/// Shared by every task of the provider.
pub struct Host {
    pub(crate) config: ProviderConfig,
    pub(crate) client: Client,
    pub(crate) account: Account,
    pub(crate) storage: ObjectStorage,
    pub(crate) launcher: Launcher,
    pub(crate) evidence: Option<EvidenceMaker>,
    pub(crate) router: Arc<Router>,
    pub(crate) beats: mpsc::UnboundedSender<Beat>,
    contracts: Mutex<BTreeMap<ContractId, Arc<ContractState>>>,
    standing_offer: Mutex<Option<(OfferId, Offer)>>,
    /// The last trouble of each part, by its name, until it goes well again.
    trouble: Mutex<BTreeMap<&'static str, String>>,
}

/// What is known of one contract.
pub struct ContractState {
    pub(crate) id: ContractId,
    pub(crate) files: Arc<ContractFiles>,
    pub(crate) log: Arc<SealedLog>,
    /// Tells the contract's task to look at the ledger.
    pub(crate) poke: watch::Sender<Poke>,
    known: Mutex<Known>,
}

/// What a contract's task is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Poke {
    /// Look at the ledger as it is at this height or later.
    pub height: Height,
    /// A certificate was recorded.
    pub certificate: bool,
    /// The provider is stopping: end the contract.
    pub stop: bool,
}

#[derive(Clone, Default)]
struct Known {
    phase: Phase,
    why: Option<String>,
    request: Option<RequestId>,
    name: Option<DomainName>,
    live: Option<LiveContract>,
    streams: Option<Arc<Streams>>,
    outbox: Option<Arc<Outbox>>,
}

/// Where a contract's enclave stands, by this provider's own knowledge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The enclave is being launched.
    #[default]
    Launching,
    /// It is registered; the user's side is awaited.
    Handshake,
    /// The payload runs.
    Running,
    /// It was stopped.
    Stopped,
    /// The job ran to its end.
    Completed,
    /// The contract is over; logs and results are still served.
    Ended,
}

/// One contract in the status.
#[derive(Clone, Debug, Serialize)]
pub struct ContractStatus {
    /// The contract.
    pub contract: ContractId,
    /// The request it serves.
    pub request: Option<RequestId>,
    /// The service's name.
    pub name: Option<DomainName>,
    /// Where it stands.
    pub phase: Phase,
    /// If not well, why.
    pub why: Option<String>,
    /// Clients' connections now.
    pub connections: usize,
    /// Bytes carried to and from clients.
    pub carried_bytes: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Host {
    #[expect(clippy::too_many_arguments, reason = "one call, at the start")]
    pub(crate) fn new(
        config: ProviderConfig,
        client: Client,
        account: Account,
        storage: ObjectStorage,
        launcher: Launcher,
        evidence: Option<EvidenceMaker>,
        router: Arc<Router>,
        beats: mpsc::UnboundedSender<Beat>,
    ) -> Self {
        Self {
            config,
            client,
            account,
            storage,
            launcher,
            evidence,
            router,
            beats,
            contracts: Mutex::default(),
            standing_offer: Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    /// The code that this host's evidence names, and its offers too.
    pub(crate) fn measurement(&self) -> Measurement {
        match &self.evidence {
            Some(evidence) => evidence.measurement(),
            None => self.launcher.measurement(),
        }
    }

    /// Notes that `part` has trouble, or none any more.
    pub(crate) fn note(&self, part: &'static str, trouble: Option<String>) {
        let mut all = lock(&self.trouble);
        match trouble {
            Some(trouble) => {
                tracing::warn!(part, trouble, "the provider has trouble");
                all.insert(part, trouble);
            }
            None => {
                all.remove(part);
            }
        }
    }

    /// What is not well, by part.
    pub fn troubles(&self) -> Vec<String> {
        lock(&self.trouble)
            .iter()
            .map(|(part, trouble)| format!("{part}: {trouble}"))
            .collect()
    }

    pub(crate) fn contract(&self, id: ContractId) -> Option<Arc<ContractState>> {
        lock(&self.contracts).get(&id).cloned()
    }

    pub(crate) fn all_contracts(&self) -> Vec<Arc<ContractState>> {
        lock(&self.contracts).values().cloned().collect()
    }

    /// Opens the files of a contract and puts it on the list; none if it is
    /// there already.
    pub(crate) fn take_on(&self, id: ContractId) -> io::Result<Option<Arc<ContractState>>> {
        let mut contracts = lock(&self.contracts);
        if contracts.contains_key(&id) {
            return Ok(None);
        }
        let state = Arc::new(ContractState::open(&self.config, id)?);
        contracts.insert(id, state.clone());
        Ok(Some(state))
    }

    /// The standing offer, as it was last seen.
    pub(crate) fn offer(&self) -> Option<(OfferId, Offer)> {
        lock(&self.standing_offer).clone()
    }

    pub(crate) fn set_offer(&self, offer: Option<(OfferId, Offer)>) {
        *lock(&self.standing_offer) = offer;
    }

    /// Takes contracts whose files are gone off the list.
    pub(crate) fn forget(&self, contracts: &[ContractId]) {
        let mut all = lock(&self.contracts);
        for id in contracts {
            all.remove(id);
        }
    }

    /// Contracts that have not ended, for the offer.
    pub(crate) fn live(&self) -> Vec<LiveContract> {
        self.all_contracts()
            .iter()
            .filter_map(|state| lock(&state.known).live)
            .collect()
    }

    /// Every contract's status.
    pub fn statuses(&self) -> Vec<ContractStatus> {
        self.all_contracts()
            .iter()
            .map(|state| state.status())
            .collect()
    }

    /// Ends a contract on the ledger; a contract that is over already is well.
    pub(crate) async fn end(&self, contract: ContractId, reason: EndReason) {
        let action = Action::EndContract(wire::EndContract { contract, reason });
        match self.account.send(vec![action]).await {
            Ok(_) => {}
            Err(error) => tracing::info!(%contract, %error, "could not end a contract"),
        }
    }
}

impl ContractState {
    /// Opens what is on disk of a contract.
    pub(crate) fn open(config: &ProviderConfig, id: ContractId) -> io::Result<Self> {
        let files = ContractFiles::open(&config.data_dir, id)?;
        let log = SealedLog::open(files.directory(), config.limits.log_bytes)?;
        Ok(Self {
            id,
            files: Arc::new(files),
            log: Arc::new(log),
            poke: watch::Sender::new(Poke::default()),
            known: Mutex::default(),
        })
    }

    pub(crate) fn set_phase(&self, phase: Phase, why: Option<String>) {
        let mut known = lock(&self.known);
        tracing::info!(contract = %self.id, ?phase, ?why, "contract");
        known.phase = phase;
        known.why = why;
        if phase == Phase::Ended {
            known.live = None;
            known.streams = None;
            known.outbox = None;
        }
    }

    pub(crate) fn set_terms(
        &self,
        request: RequestId,
        name: Option<DomainName>,
        offer: OfferId,
        resources: Resources,
    ) {
        let mut known = lock(&self.known);
        known.request = Some(request);
        known.name = name;
        known.live = Some(LiveContract { offer, resources });
    }

    pub(crate) fn set_enclave(&self, enclave: &EnclaveProcess) {
        let mut known = lock(&self.known);
        known.streams = Some(enclave.streams.clone());
        known.outbox = Some(enclave.outbox.clone());
    }

    pub(crate) fn outbox(&self) -> Option<Arc<Outbox>> {
        lock(&self.known).outbox.clone()
    }

    pub(crate) fn phase(&self) -> Phase {
        lock(&self.known).phase
    }

    /// Calls for a look at the ledger.
    pub(crate) fn poke_at(&self, height: Height, certificate: bool) {
        self.poke.send_modify(|poke| {
            poke.height = poke.height.max(height);
            poke.certificate |= certificate;
        });
    }

    fn status(&self) -> ContractStatus {
        let known = lock(&self.known).clone();
        let streams = known.streams.as_ref();
        ContractStatus {
            contract: self.id,
            request: known.request,
            name: known.name,
            phase: known.phase,
            why: known.why,
            connections: streams.map_or(0, |streams| streams.count()),
            carried_bytes: streams.map_or(0, |streams| streams.carried()),
        }
    }
}
