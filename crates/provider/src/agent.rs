//! The provider's main loop: which contracts are there, when is an offer or a
//! round of heartbeats due, and how does all of it start and stop.

use std::{path::Path, sync::Arc, time::Duration};

use attest::development::{QuotingCertificate, QuotingKey};
use client::{
    BlockEvents, Client, ClientError, SealedFileError, SecretString,
    account::{Account, AccountError, lock_path},
    decode, keyfile,
    storage::{ObjectStorage, StorageError},
};
use platform::{MeasuredFile, evidence::Hardware};
use tokio::{net::TcpListener, sync::mpsc};
use wire::{
    Action, ContractId, EndReason, Event, Height, OfferId, PostOffer, WithdrawOffer,
    record::{self, Stage},
    state_key,
};
use zeroize::Zeroizing;

use crate::{
    config::{DevelopmentConfig, HardwareConfig, ProgramConfig, ProviderConfig},
    contract, contract_files, control,
    evidence::EvidenceMaker,
    guest::{GuestError, GuestImage},
    heartbeat,
    host::{Host, Phase},
    launcher::{Launcher, Program},
    offers::{self, Plan},
    router::Router,
};

/// Blocks between two looks at the offer.
const OFFER_EVERY: u64 = 20;

/// Blocks between two looks at everything, for what nodes kept back.
const LOOK_EVERY: u64 = 100;

/// Blocks between two looks for directories to delete.
const PRUNE_EVERY: u64 = 10_000;

/// Contracts of one provider that are listed at once.
const MAX_LISTED: usize = 4096;

/// The pause after a failure of the circle or of the way to it.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the ledger may take to hear that this provider stops.
const FAREWELL: Duration = Duration::from_secs(10);

/// Why a provider cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// A file of the configuration cannot be used.
    #[error("{what} {path} cannot be used: {reason}")]
    File {
        /// What it is.
        what: &'static str,
        /// Which file.
        path: std::path::PathBuf,
        /// Why.
        reason: String,
    },
    /// Parts of the configuration do not go together.
    #[error("the configuration cannot be used: {reason}")]
    Configuration {
        /// Why.
        reason: String,
    },
    /// Guests cannot be launched.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// The key file does not open.
    #[error(transparent)]
    Key(#[from] SealedFileError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The circle cannot be used.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Object storage cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A transaction failed.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The launcher cannot be started.
    #[error("enclaves cannot be launched")]
    Launcher {
        /// Why.
        source: std::io::Error,
    },
}

fn unusable<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(String) -> ProviderError + 'a {
    move |reason| ProviderError::File {
        what,
        path: path.to_owned(),
        reason,
    }
}

/// Serves as a provider until `stop` resolves, then takes its offer back, ends
/// its contracts so that they are replaced, and lets connections run out.
///
/// Errors: [`ProviderError`], at the start only; later trouble is in the
///         status and is tried again.
pub async fn run(
    config: ProviderConfig,
    stop: impl Future<Output = ()>,
) -> Result<(), ProviderError> {
    let limits = config.limits.clone();
    let services = listen(config.service_listen).await?;
    let control = listen(config.control_listen).await?;
    let (beat_sender, beats) = mpsc::unbounded_channel();
    let host = Arc::new(open(config, beat_sender).await?);
    let (rounds, due_rounds) = mpsc::channel(1);
    let idle = Duration::from_secs(limits.idle_seconds.max(1));
    let door = host
        .router
        .clone()
        .serve(services, limits.connections, idle);
    let tasks = [
        tokio::spawn(door),
        tokio::spawn(heartbeat::collect(host.clone(), due_rounds, beats)),
    ];
    let interface = tokio::spawn(control::serve(host.clone(), control));
    let mut provider = Provider {
        host: host.clone(),
        rounds,
        beat_every: 1,
    };
    tokio::select! {
        () = provider.serve() => {}
        () = stop => {}
    }
    tasks[0].abort();
    provider
        .farewell(Duration::from_secs(limits.drain_seconds))
        .await;
    tasks[1].abort();
    interface.abort();
    Ok(())
}

async fn listen(address: std::net::SocketAddr) -> Result<TcpListener, ProviderError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ProviderError::Listen { address, source })
}

/// Opens everything that the configuration names.
async fn open(
    config: ProviderConfig,
    beats: mpsc::UnboundedSender<wire::Beat>,
) -> Result<Host, ProviderError> {
    let path = &config.passphrase_file;
    let passphrase = std::fs::read_to_string(path)
        .map(|text| SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned()))
        .map_err(|error| unusable("the passphrase file", path)(error.to_string()))?;
    let key = Arc::new(keyfile::open(&config.key_file, &passphrase)?);
    let client = Client::new(config.nodes.clone(), config.circle_key, config.circle)?;
    let account = Account::new(client.clone(), key, Some(lock_path(&config.key_file)));
    let storage = ObjectStorage::new(config.access(), None)?;
    let program = program(&config)?;
    let measurement = program.measurement();
    let diagnostics = config
        .development
        .as_ref()
        .is_some_and(|development| development.enclave_diagnostics);
    let launcher = Launcher::start(program, diagnostics)
        .map_err(|source| ProviderError::Launcher { source })?;
    let evidence = match (&config.hardware, &config.development) {
        (Some(hardware), _) => Some(hardware_evidence(hardware, &launcher).await?),
        (None, Some(development)) => Some(EvidenceMaker::Development(
            quoting_key(development)?,
            measurement,
        )),
        (None, None) => None,
    };
    Ok(Host::new(
        config,
        client,
        account,
        storage,
        launcher,
        evidence,
        Arc::new(Router::default()),
        beats,
    ))
}

/// Opens what is launched for each contract.
fn program(config: &ProviderConfig) -> Result<Program, ProviderError> {
    let program = config
        .program()
        .map_err(|reason| ProviderError::Configuration { reason })?;
    Ok(match program {
        ProgramConfig::Process(path) => {
            let binary = MeasuredFile::open(&path);
            let refuse = unusable("the enclave's program", &path);
            Program::Process(binary.map_err(|error| refuse(error.to_string()))?)
        }
        ProgramConfig::Guest(guest) => Program::Guest(GuestImage::open(guest)?),
    })
}

async fn hardware_evidence(
    config: &HardwareConfig,
    launcher: &Launcher,
) -> Result<EvidenceMaker, ProviderError> {
    let with_files = "the TEE with the vendor's files in";
    let (what, path, hardware) = match config {
        HardwareConfig::Guest { endorsements } => {
            let refuse = unusable(with_files, endorsements);
            let evidence = launcher
                .first_report()
                .await
                .and_then(|report| EvidenceMaker::of_guest(report, endorsements.clone()));
            return evidence.map_err(refuse);
        }
        HardwareConfig::Tee { endorsements } => (
            with_files,
            endorsements,
            Hardware::Tee {
                endorsements: endorsements.clone(),
            },
        ),
        HardwareConfig::Tpm { path, certificate } => (
            "the TPM with the certificate",
            certificate,
            Hardware::Tpm {
                path: path.clone(),
                certificate: certificate.clone(),
            },
        ),
    };
    EvidenceMaker::of_hardware(hardware).map_err(unusable(what, path))
}

fn quoting_key(config: &DevelopmentConfig) -> Result<QuotingKey, ProviderError> {
    let read = |what, path: &Path| {
        std::fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|error| unusable(what, path)(error.to_string()))
    };
    let path = &config.quoting_key;
    let text = read("the quoting key", path)?;
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), &mut seed[..])
        .map_err(|error| unusable("the quoting key", path)(error.to_string()))?;
    let path = &config.quoting_certificate;
    let refuse = |reason: String| unusable("the quoting certificate", path)(reason);
    let text = read("the quoting certificate", path)?;
    let bytes = hex::decode(text.trim()).map_err(|error| refuse(error.to_string()))?;
    let certificate =
        QuotingCertificate::decode(&bytes).map_err(|error| refuse(error.to_string()))?;
    QuotingKey::new(wire::SigningKey::ed25519(*seed), certificate)
        .map_err(|error| refuse(error.to_string()))
}

struct Provider {
    host: Arc<Host>,
    /// Calls for a round of heartbeats.
    rounds: mpsc::Sender<Height>,
    beat_every: u64,
}

impl Provider {
    /// Serves for ever; whatever fails is noted and begun anew.
    async fn serve(&mut self) {
        loop {
            let error = match self.follow().await {
                Err(error) => error,
                Ok(never) => match never {},
            };
            self.host.note("circle", Some(error.to_string()));
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, ProviderError> {
        let rules = self.host.client.rules().await?;
        self.beat_every = heartbeat::interval(rules.parameters.heartbeat_limit);
        let height = self.look_at_contracts().await?;
        self.look_at_offer(height).await;
        self.host.note("circle", None);
        let mut events = self.host.client.events(height.plus(1));
        loop {
            let block = events.next().await?;
            self.hear(&block);
            let at = block.height.0;
            if at.is_multiple_of(self.beat_every) {
                // A round that is still under way makes this one needless.
                let _ = self.rounds.try_send(block.height);
            }
            if at.is_multiple_of(LOOK_EVERY) {
                self.look_at_contracts().await?;
            }
            let ended = block
                .events
                .iter()
                .any(|one| matches!(one.event, Event::ContractEnded { .. }));
            if ended || at.is_multiple_of(OFFER_EVERY) {
                self.look_at_offer(block.height).await;
            }
            if at.is_multiple_of(PRUNE_EVERY) {
                self.prune();
            }
        }
    }

    /// Takes what a block's events call for.
    fn hear(&self, block: &BlockEvents) {
        for one in &block.events {
            let (contract, certificate) = match &one.event {
                Event::Matched {
                    contract, provider, ..
                } if *provider == self.host.account.id() => {
                    self.take_on(*contract, block.height);
                    continue;
                }
                Event::MessagePosted { contract, .. }
                | Event::OperationOpened { contract, .. }
                | Event::ContractEnded { contract, .. } => (*contract, false),
                Event::CertificateIssued { contract, .. } => (*contract, true),
                _ => continue,
            };
            if let Some(state) = self.host.contract(contract) {
                state.poke_at(block.height, certificate);
            }
        }
    }

    fn take_on(&self, contract: ContractId, height: Height) {
        match self.host.take_on(contract) {
            Ok(Some(state)) => {
                state.poke_at(height, false);
                tokio::spawn(contract::serve(self.host.clone(), state));
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%contract, %error, "a contract's directory cannot be used");
                let host = self.host.clone();
                tokio::spawn(async move { host.end(contract, EndReason::LaunchFailed).await });
            }
        }
    }

    /// Reads this provider's live contracts: serves those that wait for an
    /// enclave, and ends those whose enclave went with an earlier life.
    async fn look_at_contracts(&self) -> Result<Height, ProviderError> {
        let host = &self.host;
        let prefix = state_key::provider_contracts(host.account.id());
        let listed = host.client.list_keys(&prefix, MAX_LISTED).await?;
        let own = state_key::account(host.account.id());
        let mut height = host.client.seen();
        for keys in listed.chunks(client::MAX_PROVEN_KEYS - 1) {
            let ids: Vec<ContractId> = keys
                .iter()
                .filter_map(|key| key[prefix.len()..].try_into().ok().map(ContractId))
                .collect();
            let keys = ids.iter().map(|id| state_key::contract(*id)).collect();
            for (id, proven) in ids.iter().zip(host.client.proven_many(keys).await?) {
                let record = decode(&proven).map_err(ClientError::Record)?;
                if let Some(record) = record {
                    self.review(*id, &record, proven.height());
                }
                height = height.max(proven.height());
            }
        }
        let proven = host.client.proven_many(vec![own]).await?;
        Ok(proven.first().map_or(height, client::Proven::height))
    }

    fn review(&self, id: ContractId, record: &record::Contract, height: Height) {
        let over = matches!(record.status, record::ContractStatus::Ended(_));
        if let Some(state) = self.host.contract(id) {
            state.poke_at(height, true);
            return;
        }
        if over || record.provider != self.host.account.id() {
            return;
        }
        if record.stage == Stage::AwaitingEnclave {
            self.take_on(id, height);
        } else {
            tracing::warn!(contract = %id, "its enclave is gone with an earlier life of this provider");
            let host = self.host.clone();
            tokio::spawn(async move { host.end(id, EndReason::ProviderWithdrew).await });
        }
    }

    /// Posts, renews or withdraws the offer as need be.
    async fn look_at_offer(&self, height: Height) {
        let trouble = self.try_offer(height).await.err();
        self.host
            .note("offer", trouble.map(|error| error.to_string()));
    }

    async fn try_offer(&self, height: Height) -> Result<(), ProviderError> {
        let host = &self.host;
        let current = self.standing_offer().await?;
        let standing = host.config.offer.standing;
        let expires_at = height.plus(standing);
        let wanted = host.config.terms(host.measurement(), expires_at);
        let borrowed = current.as_ref().map(|(id, offer)| (*id, offer));
        let plan = offers::plan(&wanted, standing, height, borrowed, &host.live());
        let mut actions = Vec::new();
        let open = current.as_ref().filter(|(_, offer)| offer.open);
        if plan != Plan::Keep {
            actions.extend(open.map(|(offer, _)| withdraw(*offer)));
        }
        let Plan::Post(terms) = plan else {
            if !actions.is_empty() {
                host.account.send(actions).await?;
            }
            host.set_offer(current);
            return Ok(());
        };
        let index = actions.len();
        actions.push(Action::PostOffer(PostOffer { terms: *terms }));
        let sent = host.account.send(actions).await?;
        let id = OfferId::made_by(sent.transaction, index);
        self.remember_offer(id);
        tracing::info!(offer = %id, height = %sent.receipt.height, "posted an offer");
        let key = state_key::offer(id);
        let (offer, _) = host
            .client
            .proven_since::<record::Offer>(key, sent.receipt.height)
            .await?;
        host.set_offer(offer.map(|offer| (id, offer)));
        Ok(())
    }

    /// The offer that was last posted, as the ledger has it now.
    async fn standing_offer(&self) -> Result<Option<(OfferId, record::Offer)>, ProviderError> {
        let id = match self.host.offer() {
            Some((id, _)) => Some(id),
            None => std::fs::read_to_string(self.offer_file())
                .ok()
                .and_then(|text| text.trim().parse().ok()),
        };
        let Some(id) = id else { return Ok(None) };
        let key = state_key::offer(id);
        let (offer, _) = self.host.client.proven::<record::Offer>(key).await?;
        let own = self.host.account.id();
        Ok(offer
            .filter(|offer| offer.provider == own)
            .map(|offer| (id, offer)))
    }

    fn offer_file(&self) -> std::path::PathBuf {
        self.host.config.data_dir.join("offer")
    }

    /// Writes the offer's id down; without it a restart would post another
    /// while this one stands.
    fn remember_offer(&self, id: OfferId) {
        let file = self.offer_file();
        let written = std::fs::create_dir_all(&self.host.config.data_dir)
            .and_then(|()| std::fs::write(&file, id.to_string()));
        if let Err(error) = written {
            tracing::warn!(file = %file.display(), %error, "the offer's id was not kept");
        }
    }

    fn prune(&self) {
        let host = self.host.clone();
        let age = Duration::from_secs(host.config.limits.retention_hours.saturating_mul(3600));
        tokio::task::spawn_blocking(move || {
            let live = |id| {
                host.contract(id)
                    .is_some_and(|state| state.phase() != Phase::Ended)
            };
            match contract_files::prune(&host.config.data_dir, age, live) {
                Ok(pruned) => host.forget(&pruned),
                Err(error) => tracing::warn!(%error, "old contracts could not be deleted"),
            }
        });
    }

    /// Takes the offer back, ends every contract, and lets connections run out.
    async fn farewell(&self, drain: Duration) {
        let host = &self.host;
        let goodbye = async {
            if let Some((id, _)) = host.offer().filter(|(_, offer)| offer.open)
                && let Err(error) = host.account.send(vec![withdraw(id)]).await
            {
                tracing::warn!(%error, "the offer could not be taken back");
            }
            // First on the ledger, so that replacements begin while the
            // connections that are here run out.
            let live = host
                .all_contracts()
                .into_iter()
                .filter(|state| !matches!(state.phase(), Phase::Ended | Phase::Completed));
            let ends = live.map(|state| {
                let host = host.clone();
                async move { host.end(state.id, EndReason::ProviderWithdrew).await }
            });
            futures_util::future::join_all(ends).await;
        };
        if tokio::time::timeout(FAREWELL, goodbye).await.is_err() {
            tracing::warn!("the circle could not be told that this provider stops");
        }
        let drained = async {
            while host.statuses().iter().any(|status| status.connections > 0) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let _ = tokio::time::timeout(drain, drained).await;
        for state in host.all_contracts() {
            state.poke.send_modify(|poke| poke.stop = true);
        }
        let ended = async {
            let over = |status: &crate::host::ContractStatus| status.phase == Phase::Ended;
            while !host.statuses().iter().all(over) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, ended).await;
    }
}

fn withdraw(offer: OfferId) -> Action {
    Action::WithdrawOffer(WithdrawOffer { offer })
}
