//! One contract from its match to its end: the provider's side of procedures
//! 200 and 400 (seed 000).
//!
//! It sees ciphertext and signatures only. What it does next follows from
//! proven records and from what the enclave says; events merely say when to
//! look. A provider that is killed forgets all of this and ends its contracts
//! when it comes back, so that they are replaced at once.

use std::{sync::Arc, time::Duration};

use client::{
    ClientError,
    account::AccountError,
    decode,
    storage::{DOWNLOAD_ROUNDS, StorageError},
};
use tokio::{io::AsyncReadExt as _, sync::watch, task::JoinHandle};
use wire::{
    Action, CipherSuite, CompleteJob, ContractId, Digest, EnclaveKeys, EndReason, Evidence,
    HandshakeMessage, HandshakeStep, Height, Operation, Outcome, PayloadReference, PostOutcome,
    RegisterEnclave, Signature,
    channel::{GuestReport, HostMessage, Launch},
    record, state_key,
};

use crate::{
    channel::Outbox,
    host::{ContractState, Host, Phase, Poke},
    label_keys::Wishes,
    process::{EnclaveProcess, FromEnclave, Sinks},
};

/// How long an enclave may take to its keys once it runs: it makes four keys and
/// locks itself in.
const KEYS_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of one payload frame, below the frame limit.
const PAYLOAD_FRAME_BYTES: usize = 512 * 1024;

/// How long a contract's record is waited for after its match was heard of.
const RECORD_TRIES: u32 = 5;

/// Why a contract came to its end here.
enum Ending {
    /// The ledger says so.
    OnLedger(EndReason),
    /// This provider says so.
    Ours(EndReason, String),
}

struct Contract {
    host: Arc<Host>,
    state: Arc<ContractState>,
    record: record::Contract,
    request: record::Request,
    enclave: EnclaveProcess,
    download: Download,
    /// The last step that was passed to the enclave, and of which operation.
    relayed: (u32, Option<HandshakeStep>),
    registered: bool,
    running: bool,
    /// The certificate that the enclave has.
    certificate: Option<Vec<u8>>,
    completed: bool,
    wishes: Wishes,
}

/// The encrypted payload.
enum Download {
    UnderWay(JoinHandle<Result<(), StorageError>>),
    Ready,
}

/// Serves `state`'s contract until it is over.
pub(crate) async fn serve(host: Arc<Host>, state: Arc<ContractState>) {
    let id = state.id;
    let mut pokes = state.poke.subscribe();
    let ending = match Contract::begin(&host, &state).await {
        Ok(mut contract) => {
            let ending = contract.run(&mut pokes).await;
            contract.close();
            ending
        }
        Err(ending) => ending,
    };
    state.files.forget_payload();
    match ending {
        Ending::OnLedger(reason) => {
            state.set_phase(Phase::Ended, Some(reason.describe().to_owned()));
        }
        Ending::Ours(reason, why) => {
            tracing::warn!(contract = %id, ?reason, why, "ends a contract");
            host.end(id, reason).await;
            state.set_phase(Phase::Ended, Some(why));
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Ending {
    Ending::Ours(EndReason::LaunchFailed, error.to_string())
}

impl Contract {
    /// Reads the contract, launches its enclave and begins to fetch its payload.
    async fn begin(host: &Arc<Host>, state: &Arc<ContractState>) -> Result<Self, Ending> {
        let height = state.poke.borrow().height;
        let (record, request) = read_terms(host, state.id, height).await?;
        if let record::ContractStatus::Ended(reason) = record.status {
            return Err(Ending::OnLedger(reason));
        }
        let terms = &request.terms;
        state.set_terms(
            record.request,
            terms.name.clone(),
            record.offer,
            record.resources,
        );
        state.set_phase(Phase::Launching, None);
        let sinks = Sinks {
            contract: state.id,
            log: state.log.clone(),
            files: state.files.clone(),
            beats: host.beats.clone(),
        };
        let enclave = EnclaveProcess::launch(&host.launcher, sinks)
            .await
            .map_err(failed)?;
        state.set_enclave(&enclave);
        let launch = Launch {
            circle: host.client.circle(),
            contract: state.id,
            user_agreement: terms.agreement_key,
            payload_kind: terms.payload_kind,
            payload_sha256: terms.payload.sha256,
            payload_bytes: terms.payload.bytes,
            resources: record.resources,
            name: terms.name.clone(),
        };
        enclave
            .outbox
            .send(&HostMessage::Launch(launch))
            .map_err(failed)?;
        let download = tokio::spawn({
            let (host, state, payload) = (host.clone(), state.clone(), terms.payload.clone());
            async move {
                let target = state.files.payload();
                host.storage
                    .download(&payload, &target, DOWNLOAD_ROUNDS)
                    .await
            }
        });
        Ok(Self {
            host: host.clone(),
            state: state.clone(),
            record,
            request,
            enclave,
            download: Download::UnderWay(download),
            relayed: (0, None),
            registered: false,
            running: false,
            certificate: None,
            completed: false,
            wishes: Wishes::default(),
        })
    }

    async fn run(&mut self, pokes: &mut watch::Receiver<Poke>) -> Ending {
        let limit = self.host.launcher.boot_time() + KEYS_TIMEOUT;
        let keys_due = tokio::time::sleep(limit);
        tokio::pin!(keys_due);
        loop {
            let step = tokio::select! {
                message = self.enclave.messages.recv() => match message {
                    Some(message) => self.hear(message).await,
                    None => Err(self.gone("its task ended")),
                },
                changed = pokes.changed() => match changed {
                    Ok(()) => {
                        let poke = *pokes.borrow_and_update();
                        self.look(poke).await
                    }
                    Err(_) => Err(self.withdrawn("the provider is stopping")),
                },
                downloaded = finished(&mut self.download) => self.downloaded(downloaded),
                () = &mut keys_due, if !self.registered => {
                    Err(failed(format!("the enclave made no keys within {limit:?}")))
                }
            };
            if let Err(ending) = step {
                return ending;
            }
        }
    }

    fn withdrawn(&self, why: &str) -> Ending {
        Ending::Ours(EndReason::ProviderWithdrew, why.to_owned())
    }

    fn gone(&self, why: &str) -> Ending {
        if self.registered {
            self.withdrawn(&format!("the enclave ended: {why}"))
        } else {
            failed(format!("the enclave ended: {why}"))
        }
    }

    fn close(&mut self) {
        self.host.router.remove(self.state.id);
        self.enclave.shut_down();
        if let Download::UnderWay(task) = &self.download {
            task.abort();
        }
    }

    async fn hear(&mut self, message: FromEnclave) -> Result<(), Ending> {
        match message {
            FromEnclave::Keys {
                keys,
                report_data,
                report,
            } => self.register(keys, report_data, report).await,
            FromEnclave::Handshake {
                operation,
                step,
                sealed,
                signature,
            } => {
                let message = HandshakeMessage {
                    contract: self.state.id,
                    operation,
                    step,
                    sealed,
                    signature: Some(signature),
                };
                self.post(Action::HandshakeMessage(message)).await
            }
            FromEnclave::FetchPayload => self.feed().await,
            FromEnclave::LabelWanted { wish, label } => {
                let outbox = self.enclave.outbox.clone();
                self.wishes
                    .begin(&self.host, self.state.id, outbox, wish, label);
                Ok(())
            }
            FromEnclave::KeyRequest { wish, ask } => {
                self.wishes.ask(wish, ask);
                Ok(())
            }
            FromEnclave::KeyCombined { wish } => {
                self.wishes.end(wish);
                Ok(())
            }
            FromEnclave::Outcome {
                operation,
                outcome,
                sealed,
                signature,
            } => self.outcome(operation, outcome, sealed, signature).await,
            FromEnclave::Completed {
                sealed,
                output_sha256,
                output_bytes,
                signature,
            } => {
                self.complete(sealed, output_sha256, output_bytes, signature)
                    .await
            }
            // The ledger will say that the job is over.
            FromEnclave::Gone(_) if self.completed => Ok(()),
            FromEnclave::Gone(why) => Err(self.gone(&why)),
        }
    }

    /// Has the enclave's keys quoted and registers it (seed 000 \[0051\]).
    async fn register(
        &mut self,
        keys: EnclaveKeys,
        report_data: Digest,
        report: Option<GuestReport>,
    ) -> Result<(), Ending> {
        let evidence = self.evidence(report_data, report).await?;
        self.enclave
            .outbox
            .send(&HostMessage::Evidence(evidence.clone()))
            .map_err(failed)?;
        self.registered = true;
        self.post(Action::RegisterEnclave(RegisterEnclave {
            contract: self.state.id,
            keys,
            evidence,
        }))
        .await?;
        self.state.set_phase(Phase::Handshake, None);
        Ok(())
    }

    async fn evidence(
        &self,
        report_data: Digest,
        report: Option<GuestReport>,
    ) -> Result<Evidence, Ending> {
        let maker = self.host.evidence.as_ref();
        let maker = maker.ok_or_else(|| failed("this host is given no means of evidence"))?;
        maker.make(report_data, report).await.map_err(failed)
    }

    /// Sends the encrypted payload, once it is here.
    async fn feed(&mut self) -> Result<(), Ending> {
        if let Download::UnderWay(_) = self.download {
            let downloaded = finished(&mut self.download).await;
            self.downloaded(downloaded)?;
        }
        let path = self.state.files.payload();
        let outbox = self.enclave.outbox.clone();
        let contract = self.state.id;
        // Beside the state machine, which goes on hearing from the enclave.
        tokio::spawn(async move {
            if let Err(error) = stream_payload(&path, &outbox).await {
                tracing::warn!(%contract, %error, "the payload could not be read");
                outbox.close();
            }
        });
        Ok(())
    }

    /// Takes the end of procedure 400 (\[0068\]).
    fn downloaded(&mut self, downloaded: Result<(), StorageError>) -> Result<(), Ending> {
        self.download = Download::Ready;
        downloaded.map_err(|error| {
            let reason = if error.is_corrupt() {
                EndReason::PayloadCorrupt
            } else {
                EndReason::PayloadUnavailable
            };
            Ending::Ours(reason, error.to_string())
        })
    }

    async fn outcome(
        &mut self,
        operation: u32,
        outcome: Outcome,
        sealed: Vec<u8>,
        signature: Signature,
    ) -> Result<(), Ending> {
        if outcome == Outcome::Confirmed {
            match self.record.operation_kind {
                Operation::Start => {
                    self.running = true;
                    self.state.set_phase(Phase::Running, None);
                }
                Operation::Stop => {
                    self.running = false;
                    self.state.set_phase(Phase::Stopped, None);
                }
            }
            self.route();
        }
        self.post(Action::PostOutcome(PostOutcome {
            contract: self.state.id,
            operation,
            outcome,
            sealed,
            signature,
        }))
        .await
    }

    /// Routes the service's name here while it runs and has its certificate.
    fn route(&self) {
        let name = self.request.terms.name.as_ref();
        match name.filter(|_| self.running && self.certificate.is_some()) {
            Some(name) => {
                let streams = self.enclave.streams.clone();
                self.host.router.add(name, self.state.id, streams);
            }
            None => self.host.router.remove(self.state.id),
        }
    }

    async fn complete(
        &mut self,
        sealed: Vec<u8>,
        output_sha256: Digest,
        output_bytes: u64,
        signature: Signature,
    ) -> Result<(), Ending> {
        self.state
            .files
            .finish_output()
            .map_err(|error| self.withdrawn(&format!("the output could not be kept: {error}")))?;
        self.completed = true;
        self.running = false;
        let id = self.state.id;
        self.post(Action::CompleteJob(CompleteJob {
            contract: id,
            sealed,
            output: PayloadReference {
                locations: vec![format!(
                    "{}/v1/outputs/{id}",
                    self.host.config.control_url()
                )],
                sha256: output_sha256,
                bytes: output_bytes,
                cipher: CipherSuite::Aes256GcmStream,
            },
            signature,
        }))
        .await?;
        self.state.set_phase(Phase::Completed, None);
        Ok(())
    }

    /// Sends one action. A refusal means that the contract has moved on, which
    /// the next look will show; only a circle that cannot be reached is trouble.
    async fn post(&self, action: Action) -> Result<(), Ending> {
        let what = action.name();
        match self.host.account.send(vec![action]).await {
            Ok(_) => Ok(()),
            Err(error @ AccountError::Rejected { .. }) => {
                tracing::warn!(contract = %self.state.id, %error, "a step was refused");
                if what == "register_enclave" {
                    return Err(failed(error));
                }
                Ok(())
            }
            Err(error) => Err(self.withdrawn(&format!("{what} could not be sent: {error}"))),
        }
    }

    /// Looks at the ledger: has the contract ended, is there a step of the
    /// user's to pass on, is there a certificate?
    async fn look(&mut self, poke: Poke) -> Result<(), Ending> {
        if poke.stop {
            // The provider has told the ledger already.
            return Err(Ending::OnLedger(EndReason::ProviderWithdrew));
        }
        loop {
            let (operation, step) = self.awaited();
            let id = self.state.id;
            let keys = vec![
                state_key::contract(id),
                state_key::message(id, operation, step),
            ];
            let proven = match self.host.client.proven_many_since(keys, poke.height).await {
                Ok(proven) => proven,
                Err(error) => {
                    // The next block calls again.
                    self.host.note("ledger", Some(error.to_string()));
                    return Ok(());
                }
            };
            self.host.note("ledger", None);
            let Some(record) = decoded::<record::Contract>(&proven[0])? else {
                return Ok(());
            };
            self.record = record;
            if let record::ContractStatus::Ended(reason) = self.record.status {
                return Err(Ending::OnLedger(reason));
            }
            if self.record.operation != operation {
                self.relayed = (self.record.operation, None);
                continue;
            }
            if let Some(message) = decoded::<record::Message>(&proven[1])? {
                self.relay(operation, step, message)?;
            }
            break;
        }
        if poke.certificate && self.request.terms.name.is_some() {
            self.pass_certificate(poke.height).await?;
        }
        Ok(())
    }

    /// The user's step that the enclave waits for.
    fn awaited(&self) -> (u32, HandshakeStep) {
        let (operation, last) = self.relayed;
        let step = match last {
            None => HandshakeStep::ClientChallenge,
            Some(_) => HandshakeStep::ClientResponse,
        };
        (operation.max(1), step)
    }

    fn relay(
        &mut self,
        operation: u32,
        step: HandshakeStep,
        message: record::Message,
    ) -> Result<(), Ending> {
        if self.relayed == (operation, Some(step)) {
            return Ok(());
        }
        self.relayed = (operation, Some(step));
        let frame = HostMessage::Handshake {
            operation,
            kind: self.record.operation_kind,
            step,
            sealed: message.sealed,
        };
        self.enclave
            .outbox
            .send(&frame)
            .map_err(|closed| self.gone(&closed.to_string()))
    }

    async fn pass_certificate(&mut self, since: Height) -> Result<(), Ending> {
        let key = state_key::certificate(self.state.id);
        let read = self
            .host
            .client
            .proven_since::<record::Certificate>(key, since)
            .await;
        let Ok((Some(certificate), _)) = read else {
            return Ok(());
        };
        // A renewed one is passed on as the first one was.
        if self.certificate.as_ref() == Some(&certificate.certificate) {
            return Ok(());
        }
        // Clients have the root alone: the chain goes along. It was published
        // before the certificate.
        let key = state_key::intermediate(certificate.authority, &certificate.name);
        let read = self
            .host
            .client
            .proven_since::<record::Intermediate>(key, since)
            .await;
        let Ok((Some(intermediate), _)) = read else {
            return Ok(());
        };
        self.enclave
            .outbox
            .send(&HostMessage::Certificate {
                chain: vec![certificate.certificate.clone(), intermediate.certificate],
            })
            .map_err(|closed| self.gone(&closed.to_string()))?;
        self.certificate = Some(certificate.certificate);
        self.route();
        Ok(())
    }
}

fn decoded<T: borsh::BorshDeserialize>(proven: &client::Proven) -> Result<Option<T>, Ending> {
    decode(proven).map_err(|error| Ending::Ours(EndReason::ProviderWithdrew, error.to_string()))
}

/// The contract and its request.
async fn read_terms(
    host: &Host,
    id: ContractId,
    since: Height,
) -> Result<(record::Contract, record::Request), Ending> {
    let mut tries = 0;
    loop {
        tries += 1;
        match try_read_terms(host, id, since).await {
            Ok(terms) => return Ok(terms),
            Err(error) if tries < RECORD_TRIES => {
                tracing::info!(contract = %id, %error, "reads the contract again");
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

async fn try_read_terms(
    host: &Host,
    id: ContractId,
    since: Height,
) -> Result<(record::Contract, record::Request), ClientError> {
    let (contract, _) = host
        .client
        .proven_since::<record::Contract>(state_key::contract(id), since)
        .await?;
    let contract = contract.ok_or_else(|| ClientError::Absent(format!("contract {id}")))?;
    let request = host
        .client
        .require(state_key::request(contract.request), || {
            format!("request {}", contract.request)
        })
        .await?;
    Ok((contract, request))
}

/// Waits for the download; for ever once it is ready.
async fn finished(download: &mut Download) -> Result<(), StorageError> {
    match download {
        Download::UnderWay(task) => task.await.unwrap_or_else(|error| {
            Err(StorageError::Exhausted {
                rounds: 0,
                failures: vec![StorageError::Location {
                    location: "payload".to_owned(),
                    reason: error.to_string(),
                }],
            })
        }),
        Download::Ready => std::future::pending().await,
    }
}

async fn stream_payload(path: &std::path::Path, outbox: &Outbox) -> std::io::Result<()> {
    let mut file = tokio::fs::File::open(path).await?;
    loop {
        let mut bytes = Vec::with_capacity(PAYLOAD_FRAME_BYTES);
        let read = (&mut file)
            .take(PAYLOAD_FRAME_BYTES as u64)
            .read_to_end(&mut bytes)
            .await?;
        if read == 0 {
            return Ok(());
        }
        let sent = match outbox.room().await {
            Ok(()) => outbox.send(&HostMessage::Payload { bytes }),
            closed => closed,
        };
        if sent.is_err() {
            // The enclave is gone, which its own task reports.
            return Ok(());
        }
    }
}
