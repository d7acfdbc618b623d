//! A launched enclave: keys are made, and events move its state.

mod label_keys;

use std::{sync::Arc, time::Duration};

use handshake::{
    Context, EnclaveSession, EnclaveSessionError, Entropy, LogSource, Verdict, label_variables,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use wire::{
    Beat, CompleteJob, Digest, EnclaveKeys, HandshakeMessage, HandshakeStep, Height, Operation,
    Outcome, PayloadKind, PostOutcome,
    channel::{EnclaveMessage, HostMessage, Launch},
    limits::{MAX_CERTIFICATE_BYTES, MAX_EVIDENCE_BYTES, MAX_PAYLOAD_BYTES, MAX_SEALED_BYTES},
};
use zeroize::{Zeroize as _, Zeroizing};

pub(super) use label_keys::{Variable, Waiting};

use super::{
    Event, Fault,
    state::{Fetch, Prepared, State, prepare},
};
use crate::{
    identity::{self, TlsKey},
    job::JobEnd,
    logs::Logs,
    outbox::Outbox,
    runtime::{CpuBudget, Limits, MemoryBudget},
    service::{Service, tls_acceptor},
    streams::ClientStream,
    vault::Vault,
};

/// Time that a client waits for a service that is not ready: its certificate
/// may be a block away.
const READY_PATIENCE: Duration = Duration::from_secs(10);

/// Time that one request may take: longer than a client that is alive waits.
const REQUEST_TIME: Duration = Duration::from_secs(30);

/// Certificates in a chain, at most.
const MAX_CHAIN: usize = 8;

/// Bytes of one message of a job's output.
const OUTPUT_BYTES: usize = 256 * 1024;

/// A launched enclave.
pub(super) struct Launched {
    launch: Launch,
    keys: EnclaveKeys,
    tls_key: Option<TlsKey>,
    vault: Arc<Vault>,
    outbox: Arc<Outbox>,
    events: mpsc::Sender<Event>,
    limits: Arc<Limits>,
    /// There is one once the evidence is known.
    session: Option<Session>,
    state: State,
    /// Keys of labels that were wished for so far.
    wishes: u32,
    acceptor: watch::Sender<Option<TlsAcceptor>>,
    service: watch::Sender<Option<Arc<Service>>>,
    connections: JoinSet<()>,
}

struct Session {
    handshake: EnclaveSession,
    logs: Arc<Logs>,
}

impl Launched {
    /// Makes the keys of a launch.
    ///
    /// Errors: [`Fault::Limit`] and [`Fault::Keys`].
    pub fn new(
        launch: Launch,
        vault: &Arc<Vault>,
        outbox: &Arc<Outbox>,
        events: &mpsc::Sender<Event>,
    ) -> Result<Self, Fault> {
        if launch.payload_bytes > MAX_PAYLOAD_BYTES {
            return Err(Fault::Limit("the payload"));
        }
        // A job has no clients and needs no certificate.
        let name = match launch.payload_kind {
            PayloadKind::Service => launch.name.as_ref(),
            PayloadKind::Job => None,
        };
        let (keys, tls_key) =
            identity::make_keys(vault, name).map_err(|error| Fault::Keys(error.to_string()))?;
        let mebibytes = |count: u32| u64::from(count) << 20;
        let memory = usize::try_from(mebibytes(launch.resources.memory_mib));
        let limits = Limits {
            memory: MemoryBudget::new(memory.unwrap_or(usize::MAX)),
            cpu: CpuBudget::new(launch.resources.cpu_milli),
            output_bytes: mebibytes(launch.resources.storage_mib).min(MAX_PAYLOAD_BYTES),
            request_time: REQUEST_TIME,
        };
        Ok(Self {
            launch,
            keys,
            tls_key,
            vault: Arc::clone(vault),
            outbox: Arc::clone(outbox),
            events: events.clone(),
            limits: Arc::new(limits),
            session: None,
            state: State::Idle,
            wishes: 0,
            acceptor: watch::Sender::new(None),
            service: watch::Sender::new(None),
            connections: JoinSet::new(),
        })
    }

    /// The message with the keys.
    pub fn announce(&self, warnings: Vec<String>) -> EnclaveMessage {
        let Launch {
            circle,
            contract,
            user_agreement,
            ..
        } = self.launch;
        EnclaveMessage::Keys {
            keys: self.keys.clone(),
            report_data: self.keys.report_data(circle, contract, &user_agreement),
            warnings,
        }
    }

    /// Takes an event.
    ///
    /// Errors: [`Fault`], upon which the enclave ends.
    pub async fn take(&mut self, event: Event) -> Result<(), Fault> {
        while self.connections.try_join_next().is_some() {}
        match event {
            Event::Host(message) => self.host(message).await?,
            Event::Connected(stream) => self.connected(stream),
            Event::Prepared(operation, result) => self.prepared(operation, result),
            Event::JobEnded(operation, end) => self.job_ended(operation, &end),
            Event::Fault(fault) => return Err(fault),
            Event::Closed => {}
        }
        Ok(())
    }

    async fn host(&mut self, message: HostMessage) -> Result<(), Fault> {
        match message {
            HostMessage::Evidence(evidence) => {
                if evidence.bytes.len() > MAX_EVIDENCE_BYTES {
                    return Err(Fault::Limit("the evidence"));
                }
                self.begin_session(evidence.digest())
            }
            HostMessage::Handshake {
                operation,
                kind,
                step,
                sealed,
            } => {
                if sealed.len() > MAX_SEALED_BYTES {
                    return Err(Fault::Limit("a sealed message"));
                }
                if self.session.is_none() {
                    return Err(Fault::Order("a handshake before the evidence"));
                }
                match step {
                    HandshakeStep::ClientChallenge => self.challenged(operation, kind, &sealed),
                    HandshakeStep::ClientResponse => {
                        self.responded(operation, kind, &sealed).await;
                    }
                    HandshakeStep::ServerResponse => {
                        return Err(Fault::Order("a step that is the enclave's own"));
                    }
                }
                Ok(())
            }
            HostMessage::Payload { bytes } => self.payload(&bytes),
            HostMessage::LabelState { .. }
            | HostMessage::KeyAnswer { .. }
            | HostMessage::KeyRefused { .. } => self.label_key(message),
            HostMessage::Certificate { chain } => self.certified(chain),
            HostMessage::Tick { height, block } => {
                self.beat(height, block);
                Ok(())
            }
            _ => Err(Fault::Order("a message of the channel")),
        }
    }

    /// The evidence is known: derives the keys shared with the user.
    fn begin_session(&mut self, evidence: Digest) -> Result<(), Fault> {
        if self.session.is_some() {
            return Err(Fault::Order("a second evidence"));
        }
        let context = Context {
            circle: self.launch.circle,
            contract: self.launch.contract,
            evidence,
            payload_sha256: self.launch.payload_sha256,
            user_agreement: self.launch.user_agreement,
            enclave_agreement: self.keys.agreement,
        };
        self.vault
            .write(|secrets| {
                secrets
                    .derived
                    .derive_for_enclave(&context, &secrets.agreement)
            })
            .map_err(|error| Fault::Keys(error.to_string()))?;
        let (vault, outbox) = (Arc::clone(&self.vault), Arc::clone(&self.outbox));
        self.session = Some(Session {
            logs: Logs::new(context.contract, vault, outbox),
            handshake: EnclaveSession::new(context),
        });
        Ok(())
    }

    /// Seed 000 [0052] to [0054].
    fn challenged(&mut self, operation: u32, kind: Operation, sealed: &[u8]) {
        let Some(session) = &mut self.session else {
            return;
        };
        let answer = self.vault.read(|secrets| {
            session.handshake.client_challenge(
                operation,
                kind,
                sealed,
                &secrets.agreement,
                &secrets.derived,
                &mut Entropy,
            )
        });
        match answer {
            Ok(sealed) => {
                let step = HandshakeStep::ServerResponse;
                let contract = self.launch.contract;
                let bytes = HandshakeMessage::signed_bytes(contract, operation, step, &sealed);
                let signature = identity::sign(&self.vault, HandshakeMessage::PURPOSE, &bytes);
                self.send(&EnclaveMessage::Handshake {
                    operation,
                    step,
                    sealed,
                    signature,
                });
            }
            Err(error @ EnclaveSessionError::BadChallenge(_)) => {
                self.outcome(operation, Outcome::Rejected, error.to_string());
            }
            // The host may pass on a message twice, as the ledger's events are
            // read again after a lost connection.
            Err(error) => self.note(&error.to_string()),
        }
    }

    /// Seed 000 [0055] to [0058].
    async fn responded(&mut self, operation: u32, kind: Operation, sealed: &[u8]) {
        let Some(session) = &mut self.session else {
            return;
        };
        // A start's key goes to its slot; a stop must not touch that of a
        // payload which is on its way.
        let verdict = self.vault.write(|secrets| {
            session.handshake.client_response(
                operation,
                kind,
                sealed,
                &secrets.agreement,
                &secrets.derived,
                &mut secrets.data_key,
            )
        });
        match (verdict, kind) {
            (Ok(Verdict::Accepted), Operation::Start) => self.start(operation),
            (Ok(Verdict::Accepted), Operation::Stop) => {
                self.stop().await;
                let message = "stopped; the payload and its key are wiped".to_owned();
                self.outcome(operation, Outcome::Confirmed, message);
            }
            (Ok(Verdict::Rejected(reason)), _) => {
                self.outcome(operation, Outcome::Rejected, reason.to_string());
            }
            (Err(error), _) => self.note(&error.to_string()),
        }
    }

    fn start(&mut self, operation: u32) {
        if !matches!(self.state, State::Idle) {
            self.wipe_data_key();
            let message = "the payload was started already; stop it first".to_owned();
            return self.outcome(operation, Outcome::Error, message);
        }
        let (bytes, sha256) = (self.launch.payload_bytes, self.launch.payload_sha256);
        self.state = State::Fetching(operation, Box::new(Fetch::new(bytes, sha256)));
        self.send(&EnclaveMessage::FetchPayload);
    }

    /// Seed 000 [0059].
    fn payload(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let State::Fetching(operation, fetch) = &mut self.state else {
            // What was on its way when the operation ended.
            return Ok(());
        };
        let operation = *operation;
        let pushed = self
            .vault
            .read(|secrets| fetch.push(secrets.data_key.as_bytes(), bytes));
        match pushed {
            Ok(false) => {}
            Ok(true) => {
                let State::Fetching(_, fetch) = std::mem::replace(&mut self.state, State::Idle)
                else {
                    return Ok(());
                };
                let bundle = fetch.finish();
                // The key has done its work: it need not wait for the stop.
                self.wipe_data_key();
                let opened = bundle.and_then(|bundle| match label_variables(&bundle) {
                    Ok(wanted) => Ok((bundle, wanted)),
                    Err(error) => Err(error.to_string()),
                });
                match opened {
                    Ok((bundle, wanted)) => self.derive(operation, bundle, wanted),
                    Err(problem) => self.outcome(operation, Outcome::Error, problem),
                }
            }
            Err(error) => {
                self.state = State::Idle;
                self.wipe_data_key();
                let message = format!("the payload does not open: {error}");
                self.outcome(operation, Outcome::Error, message);
            }
        }
        Ok(())
    }

    /// Compiles and instantiates a payload that has all its keys.
    fn prepare(&mut self, operation: u32, bundle: Zeroizing<Vec<u8>>, keys: Vec<Variable>) {
        let Some(session) = &self.session else {
            return;
        };
        let kind = self.launch.payload_kind;
        let (limits, logs) = (Arc::clone(&self.limits), Arc::clone(&session.logs));
        let events = self.events.clone();
        let task = tokio::spawn(async move {
            let result = prepare(kind, bundle, keys, limits, logs).await;
            let _ = events.send(Event::Prepared(operation, result)).await;
        });
        self.state = State::Preparing(operation, task.abort_handle());
    }

    /// Seed 000 [0060] and [0061].
    fn prepared(&mut self, operation: u32, result: Result<Prepared, String>) {
        if !matches!(self.state, State::Preparing(current, _) if current == operation) {
            return;
        }
        self.state = State::Idle;
        match result {
            Ok(Prepared::Service(service)) => {
                self.state = State::Serving;
                self.service.send_replace(Some(Arc::new(service)));
                self.outcome(operation, Outcome::Confirmed, "serving".to_owned());
            }
            Ok(Prepared::Job(job)) => {
                self.outcome(operation, Outcome::Confirmed, "running".to_owned());
                let (vault, outbox) = (Arc::clone(&self.vault), Arc::clone(&self.outbox));
                let events = self.events.clone();
                let task = tokio::spawn(async move {
                    let mut end = job.run(&vault).await;
                    for bytes in std::mem::take(&mut end.output).chunks(OUTPUT_BYTES) {
                        outbox.room().await;
                        let bytes = bytes.to_vec();
                        let sent = outbox.send(&EnclaveMessage::Output { bytes });
                        sent.expect("a piece of output fits a frame");
                    }
                    let _ = events.send(Event::JobEnded(operation, end)).await;
                });
                self.state = State::Working(operation, task.abort_handle());
            }
            Err(problem) => self.outcome(operation, Outcome::Error, problem),
        }
    }

    fn job_ended(&mut self, operation: u32, end: &JobEnd) {
        if !matches!(self.state, State::Working(current, _) if current == operation) {
            return;
        }
        self.state = State::Idle;
        let Some(session) = &self.session else {
            return;
        };
        if let Some(error) = &end.error {
            session.logs.line(LogSource::Enclave, error.as_bytes());
        }
        let completion = end.completion(session.logs.count());
        let sealed = session
            .handshake
            .seal_completion(operation, &completion, &mut Entropy);
        let Ok(sealed) = sealed else {
            return self.note("the completion could not be sealed");
        };
        let (sha256, bytes) = (end.output_sha256, end.output_bytes);
        let signed = CompleteJob::signed_bytes(self.launch.contract, &sealed, sha256, bytes);
        self.send(&EnclaveMessage::Completed {
            sealed,
            output_sha256: sha256,
            output_bytes: bytes,
            signature: identity::sign(&self.vault, CompleteJob::PURPOSE, &signed),
        });
    }

    fn certified(&mut self, chain: Vec<Vec<u8>>) -> Result<(), Fault> {
        let long = |certificate: &Vec<u8>| certificate.len() > MAX_CERTIFICATE_BYTES;
        if chain.len() > MAX_CHAIN || chain.iter().any(long) {
            return Err(Fault::Limit("the certificate chain"));
        }
        let certificate = match &self.tls_key {
            Some(tls_key) => tls_key.certify(chain).map_err(|error| error.to_string()),
            None => Err("this enclave asked for no certificate".to_owned()),
        };
        let acceptor = certificate
            .and_then(|certificate| tls_acceptor(certificate).map_err(|error| error.to_string()));
        match acceptor {
            Ok(acceptor) => {
                self.acceptor.send_replace(Some(acceptor));
            }
            Err(problem) => self.note(&format!("a certificate was refused: {problem}")),
        }
        Ok(())
    }

    fn beat(&self, height: Height, block: Digest) {
        if !matches!(self.state, State::Serving | State::Working(..)) {
            return;
        }
        let signed = Beat::signed_bytes(self.launch.contract, height, block);
        self.send(&EnclaveMessage::Beat {
            height,
            block,
            signature: identity::sign(&self.vault, Beat::PURPOSE, &signed),
        });
    }

    /// Serves a client as soon as there is a certificate and a service; drops
    /// the connection if that takes too long.
    fn connected(&mut self, stream: ClientStream) {
        let mut acceptor = self.acceptor.subscribe();
        let mut service = self.service.subscribe();
        self.connections.spawn(async move {
            let ready = async {
                let acceptor = acceptor.wait_for(Option::is_some).await.ok()?.clone()?;
                let service = service.wait_for(Option::is_some).await.ok()?.clone()?;
                Some((acceptor, service))
            };
            if let Ok(Some((acceptor, service))) = tokio::time::timeout(READY_PATIENCE, ready).await
            {
                service.serve(stream, &acceptor).await;
            }
        });
    }

    /// Ends whatever runs, and wipes the payload's key.
    pub async fn stop(&mut self) {
        let service = self.service.send_replace(None);
        self.connections.shutdown().await;
        if let Some(service) = service {
            service.stop().await;
        }
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Preparing(_, task) | State::Working(_, task) => task.abort(),
            State::Idle | State::Fetching(..) | State::Deriving(..) | State::Serving => {}
        }
        self.wipe_data_key();
    }

    fn wipe_data_key(&self) {
        self.vault.write(|secrets| secrets.data_key.zeroize());
    }

    fn outcome(&self, operation: u32, outcome: Outcome, message: String) {
        let Some(session) = &self.session else {
            return;
        };
        let sealed = session
            .handshake
            .seal_outcome(operation, outcome, message, &mut Entropy);
        let Ok(sealed) = sealed else {
            return self.note("an outcome could not be sealed");
        };
        let contract = self.launch.contract;
        let signed = PostOutcome::signed_bytes(contract, operation, outcome, &sealed);
        self.send(&EnclaveMessage::Outcome {
            operation,
            outcome,
            sealed,
            signature: identity::sign(&self.vault, PostOutcome::PURPOSE, &signed),
        });
    }

    /// Tells the user, in the log.
    fn note(&self, text: &str) {
        if let Some(session) = &self.session {
            session.logs.line(LogSource::Enclave, text.as_bytes());
        }
    }

    fn send(&self, message: &EnclaveMessage) {
        self.outbox
            .send(message)
            .expect("sealed messages are bounded far below a frame");
    }
}
