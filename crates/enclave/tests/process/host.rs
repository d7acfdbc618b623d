//! A host that launches the enclave, and a user whose messages it passes on.

use std::{
    collections::{HashMap, VecDeque},
    io::{Read, Write},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use handshake::{
    AgreementSecret, Bundle, BundleFile, Context, DataKey, DerivedKeys, Entropy, LogRecord,
    OutcomeMessage, Purpose, UserSession, encrypt_to_vec, open_log,
};
use wire::{
    CircleId, ContractId, Digest, DomainName, EnclaveKeys, Evidence, EvidenceKind,
    HandshakeMessage, HandshakeStep, Operation, Outcome, PayloadKind, PostOutcome, Resources,
    channel::{
        EnclaveMessage, HostMessage, Launch, MAX_DATA_BYTES, decode_frame, encode_frame,
        frame_length,
    },
};

/// Time for anything to happen; a component of the tests compiles in seconds.
const PATIENCE: Duration = Duration::from_secs(120);

pub const NAME: &str = "hello.internal";

/// A component of the examples that is kept in the repository.
pub fn example(name: &str) -> Vec<u8> {
    let path = format!(
        "{}/../../examples/prebuilt/{name}.wasm",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read(path).expect("the examples' components are in the repository")
}

pub fn service_bundle() -> Bundle {
    Bundle {
        kind: PayloadKind::Service,
        args: Vec::new(),
        env: vec![("GREETING".to_owned(), "from the bundle".to_owned())],
        label_keys: Vec::new(),
        component: example("hello"),
        inputs: Vec::new(),
    }
}

pub fn job_bundle() -> Bundle {
    let file = |path: &str, text: &str| BundleFile {
        path: path.to_owned(),
        bytes: text.as_bytes().to_vec(),
    };
    Bundle {
        kind: PayloadKind::Job,
        args: vec!["2".to_owned()],
        env: Vec::new(),
        label_keys: Vec::new(),
        component: example("wordcount"),
        inputs: vec![
            file("one.txt", "to be or not to be"),
            file("two.txt", "to do"),
        ],
    }
}

/// What the enclave sent on a stream.
#[derive(Default)]
pub struct Received {
    pub bytes: VecDeque<u8>,
    pub finished: bool,
    pub reset: bool,
}

/// The user's secrets and encrypted payload.
pub struct User {
    pub secret: AgreementSecret,
    pub data_key: DataKey,
    pub payload: Vec<u8>,
}

impl User {
    pub fn with(bundle: &Bundle) -> Self {
        Self::with_plaintext(&bundle.encode().unwrap())
    }

    pub fn with_plaintext(plaintext: &[u8]) -> Self {
        let data_key = DataKey::generate(&mut Entropy);
        let key = data_key.as_bytes();
        Self {
            secret: AgreementSecret::generate(&mut Entropy),
            payload: encrypt_to_vec(key, Purpose::Payload, plaintext, &mut Entropy),
            data_key,
        }
    }

    pub fn launch(&self, kind: PayloadKind) -> Launch {
        Launch {
            circle: CircleId([1; 32]),
            contract: ContractId([2; 32]),
            user_agreement: self.secret.public(),
            payload_kind: kind,
            payload_sha256: Digest::of(&[&self.payload]),
            payload_bytes: self.payload.len() as u64,
            resources: Resources {
                cpu_milli: 1000,
                memory_mib: 64,
                storage_mib: 16,
            },
            name: Some(NAME.parse::<DomainName>().unwrap()),
        }
    }
}

/// A launched enclave, from the host's side.
pub struct Host {
    child: Child,
    input: Option<Box<dyn Write>>,
    frames: Receiver<EnclaveMessage>,
    aside: VecDeque<EnclaveMessage>,
    pub streams: HashMap<u32, Received>,
    /// What the enclave sent of a job's output.
    pub output: Vec<u8>,
    pub warnings: Vec<String>,
    pub launch: Launch,
    pub keys: EnclaveKeys,
    pub context: Context,
}

/// What was not spoken to yet: its process, the way to it, and what it says.
pub type Spawned = (Child, Box<dyn Write>, Receiver<EnclaveMessage>);

/// A process that was not spoken to yet.
pub fn spawn() -> Spawned {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringfort-enclave"))
        .env("RINGFORT_TEST", "of the host")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = child.stdin.take().unwrap();
    let output = child.stdout.take().unwrap();
    (child, Box::new(input), frames(output))
}

/// Frames, decoded on a thread of their own.
pub fn frames(mut output: impl Read + Send + 'static) -> Receiver<EnclaveMessage> {
    let (sender, frames) = channel();
    std::thread::spawn(move || {
        let mut header = [0; 4];
        while output.read_exact(&mut header).is_ok() {
            let mut body = vec![0; frame_length(header).unwrap()];
            output.read_exact(&mut body).unwrap();
            if sender.send(decode_frame(&body).unwrap()).is_err() {
                return;
            }
        }
    });
    frames
}

impl Host {
    /// Launches an enclave and gives it evidence.
    pub fn launch(user: &User, kind: PayloadKind) -> Self {
        Self::with(spawn(), user, kind)
    }

    /// The same with an enclave that was spawned already.
    pub fn with(spawned: Spawned, user: &User, kind: PayloadKind) -> Self {
        let mut host = Self::with_launch(spawned, user.launch(kind));
        let evidence = Evidence {
            kind: EvidenceKind::Development,
            bytes: b"evidence".to_vec(),
        };
        assert_eq!(host.context.evidence, evidence.digest());
        host.send(&HostMessage::Evidence(evidence));
        host
    }

    pub fn launch_without_evidence(launch: Launch) -> Self {
        Self::with_launch(spawn(), launch)
    }

    fn with_launch((child, input, frames): Spawned, launch: Launch) -> Self {
        let evidence = Evidence {
            kind: EvidenceKind::Development,
            bytes: b"evidence".to_vec(),
        };
        let mut host = Self {
            child,
            input: Some(input),
            frames,
            aside: VecDeque::new(),
            streams: HashMap::new(),
            output: Vec::new(),
            warnings: Vec::new(),
            keys: EnclaveKeys {
                signing: wire::SigningKey::ed25519([0; 32]).public(),
                agreement: [0; 32],
                certificate_request: Vec::new(),
                tls_key: Digest([0; 32]),
            },
            context: Context {
                circle: launch.circle,
                contract: launch.contract,
                evidence: evidence.digest(),
                payload_sha256: launch.payload_sha256,
                user_agreement: launch.user_agreement,
                enclave_agreement: [0; 32],
            },
            launch,
        };
        host.send(&HostMessage::Launch(host.launch.clone()));
        let (keys, report_data, warnings) = host.expect("keys", |message| match message {
            EnclaveMessage::Keys {
                keys,
                report_data,
                warnings,
            } => Some((keys.clone(), *report_data, warnings.clone())),
            _ => None,
        });
        let Launch {
            circle,
            contract,
            user_agreement,
            ..
        } = host.launch;
        assert_eq!(
            report_data,
            keys.report_data(circle, contract, &user_agreement)
        );
        host.context.enclave_agreement = keys.agreement;
        host.keys = keys;
        host.warnings = warnings;
        host
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn send(&mut self, message: &HostMessage) {
        let mut frame = Vec::new();
        encode_frame(message, &mut frame).unwrap();
        self.send_bytes(&frame);
    }

    /// Sends bytes that need be no frame; a channel that has closed is no error.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        if let Some(input) = &mut self.input {
            let _ = input.write_all(bytes);
        }
    }

    /// The next message that `wanted` takes; others are kept for later.
    pub fn expect<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&EnclaveMessage) -> Option<T>,
    ) -> T {
        for _ in 0..self.aside.len() {
            let message = self.aside.pop_front().unwrap();
            match wanted(&message) {
                Some(found) => return found,
                None => self.aside.push_back(message),
            }
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = match self.frames.recv_timeout(left) {
                Ok(message) => message,
                Err(error) => panic!(
                    "no {what}: {error}; status {:?}; kept {:?}",
                    self.child.try_wait(),
                    self.aside
                ),
            };
            match wanted(&message) {
                Some(found) => return found,
                None => self.keep(message),
            }
        }
    }

    fn keep(&mut self, message: EnclaveMessage) {
        match message {
            EnclaveMessage::Data { stream, bytes } => {
                self.streams.entry(stream).or_default().bytes.extend(bytes);
            }
            EnclaveMessage::Finish { stream } => {
                self.streams.entry(stream).or_default().finished = true;
            }
            EnclaveMessage::Reset { stream } => {
                self.streams.entry(stream).or_default().reset = true;
            }
            EnclaveMessage::Output { bytes } => self.output.extend(bytes),
            EnclaveMessage::Credit { .. } => {}
            other => self.aside.push_back(other),
        }
    }

    /// Whether a message that `wanted` names comes within a short time.
    pub fn comes(&mut self, wanted: impl Fn(&EnclaveMessage) -> bool, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            if self.aside.iter().any(&wanted) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.frames.recv_timeout(left) {
                Ok(message) => self.keep(message),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Takes messages until `stream` has bytes or has ended.
    pub fn wait_stream(&mut self, stream: u32) {
        let ready = |host: &Self| {
            host.streams
                .get(&stream)
                .is_some_and(|got| !got.bytes.is_empty() || got.finished || got.reset)
        };
        let deadline = Instant::now() + PATIENCE;
        while !ready(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = self.frames.recv_timeout(left).expect("the stream goes on");
            self.keep(message);
        }
    }

    /// Passes the client challenge on and gives the user's session and the
    /// enclave's answer.
    pub fn challenge(
        &mut self,
        user: &User,
        operation: u32,
        kind: Operation,
    ) -> (UserSession, Vec<u8>) {
        let mut session =
            UserSession::new(self.context.clone(), operation, kind, &user.secret).unwrap();
        let sealed = session.client_challenge(&mut Entropy).unwrap();
        self.send(&HostMessage::Handshake {
            operation,
            kind,
            step: HandshakeStep::ClientChallenge,
            sealed,
        });
        let sealed = self.expect("server response", |message| match message {
            EnclaveMessage::Handshake {
                operation: of,
                step: HandshakeStep::ServerResponse,
                sealed,
                signature,
            } if *of == operation => Some((sealed.clone(), *signature)),
            _ => None,
        });
        let (sealed, signature) = sealed;
        let step = HandshakeStep::ServerResponse;
        let signed = HandshakeMessage::signed_bytes(self.launch.contract, operation, step, &sealed);
        self.keys
            .signing
            .verify(HandshakeMessage::PURPOSE, &signed, &signature)
            .unwrap();
        (session, sealed)
    }

    pub fn respond(&mut self, operation: u32, kind: Operation, sealed: Vec<u8>) {
        self.send(&HostMessage::Handshake {
            operation,
            kind,
            step: HandshakeStep::ClientResponse,
            sealed,
        });
    }

    /// The whole handshake, and the payload where the enclave asks for it.
    pub fn operate(&mut self, user: &User, operation: u32, kind: Operation) -> OutcomeMessage {
        let (mut session, server) = self.challenge(user, operation, kind);
        let response = session
            .client_response(&server, &user.data_key, &mut Entropy)
            .unwrap();
        self.respond(operation, kind, response);
        if kind == Operation::Start {
            self.send_payload(&user.payload);
        }
        self.outcome(&mut session, operation)
    }

    pub fn send_payload(&mut self, payload: &[u8]) {
        self.expect("fetch", |message| match message {
            EnclaveMessage::FetchPayload => Some(()),
            _ => None,
        });
        for bytes in payload.chunks(100_000) {
            self.send(&HostMessage::Payload {
                bytes: bytes.to_vec(),
            });
        }
    }

    pub fn outcome(&mut self, session: &mut UserSession, operation: u32) -> OutcomeMessage {
        let (outcome, sealed, signature) = self.expect("outcome", |message| match message {
            EnclaveMessage::Outcome {
                operation: of,
                outcome,
                sealed,
                signature,
            } if *of == operation => Some((*outcome, sealed.clone(), *signature)),
            _ => None,
        });
        let signed = PostOutcome::signed_bytes(self.launch.contract, operation, outcome, &sealed);
        self.keys
            .signing
            .verify(PostOutcome::PURPOSE, &signed, &signature)
            .unwrap();
        session.outcome(outcome, &sealed).unwrap()
    }

    pub fn start(&mut self, user: &User, operation: u32) {
        let message = self.operate(user, operation, Operation::Start);
        assert_eq!(message.outcome, Outcome::Confirmed, "{}", message.message);
    }

    pub fn log(&mut self, user: &User, number: u64) -> LogRecord {
        let keys = DerivedKeys::for_user(&self.context, &user.secret).unwrap();
        let sealed = self.expect("log", |message| match message {
            EnclaveMessage::Log { sequence, sealed } if *sequence == number => Some(sealed.clone()),
            _ => None,
        });
        open_log(&keys, self.launch.contract, number, &sealed).unwrap()
    }

    /// The words with which the enclave ends, and its status.
    pub fn fault(mut self) -> (String, ExitStatus) {
        let message = self.expect("fault", |message| match message {
            EnclaveMessage::Fault { message } => Some(message.clone()),
            _ => None,
        });
        let status = self.wait();
        (message, status)
    }

    /// Waits for the process to end.
    pub fn wait(mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status,
                None if Instant::now() > deadline => panic!("the enclave does not end"),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Closes the channel, as a host that died.
    pub fn hang_up(mut self) -> ExitStatus {
        self.input = None;
        self.wait()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client's connection by way of the host.
pub struct ClientSide<'a> {
    pub host: &'a mut Host,
    pub stream: u32,
}

impl<'a> ClientSide<'a> {
    pub fn open(host: &'a mut Host, stream: u32) -> Self {
        host.send(&HostMessage::Open { stream });
        Self { host, stream }
    }
}

impl Read for ClientSide<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.host.wait_stream(self.stream);
        let received = self.host.streams.get_mut(&self.stream).unwrap();
        if received.bytes.is_empty() && received.reset {
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        let count = received.bytes.read(buffer)?;
        if count > 0 && !received.finished {
            let (stream, bytes) = (self.stream, count as u32);
            self.host.send(&HostMessage::Credit { stream, bytes });
        }
        Ok(count)
    }
}

impl Write for ClientSide<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = bytes.len().min(MAX_DATA_BYTES);
        self.host.send(&HostMessage::Data {
            stream: self.stream,
            bytes: bytes[..count].to_vec(),
        });
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
