//! The agent beside the protected process: takes clients on a Unix socket,
//! measures each in its memory, and passes on what they ask.

use std::{
    io,
    os::unix::{net::UnixListener, net::UnixStream, process::CommandExt as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use vault_guard::{CallerId, FromVault, MEASURED_WITHIN, ToVault};
use wire::PublicKey;

use crate::{
    channel::{FromClient, ToClient, read, write},
    measure::Caller,
};

/// How often an idle caller is measured again.
const MEASURE_EVERY: Duration = Duration::from_millis(MEASURED_WITHIN.as_millis() as u64 / 2);

/// A vault, from the agent's side: it takes a message and answers it.
pub trait Vault: Send {
    /// Asks.
    ///
    /// Errors: what lies between agent and vault failed, or the vault did.
    fn ask(&mut self, message: &ToVault) -> io::Result<FromVault>;
}

/// A vault that is a protected process, asked over its pipes.
struct Process {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Vault for Process {
    fn ask(&mut self, message: &ToVault) -> io::Result<FromVault> {
        write(&mut self.input, message)?;
        read(&mut self.output)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An agent that serves one application's clients.
#[derive(Clone)]
pub struct Agent {
    vault: Arc<Mutex<dyn Vault>>,
    next: Arc<AtomicU64>,
}

impl Agent {
    /// Starts `program`, a protected process, for clients of `application` under
    /// `root`. To be called on a thread that lives as long as the agent: the
    /// process ends with it.
    ///
    /// Errors: it does not start, or not in its sandbox.
    pub fn start(program: &Path, root: PublicKey, application: &str) -> io::Result<Self> {
        let mut child = Command::new(program)
            .arg0("ringfort-vault")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let missing = || io::Error::other("a pipe is missing");
        let process = Process {
            input: child.stdin.take().ok_or_else(missing)?,
            output: child.stdout.take().ok_or_else(missing)?,
            child,
        };
        Self::begin(process, root, application)
    }

    /// Has `vault` begin for clients of `application` under `root`.
    ///
    /// Errors: it does not answer, or refuses.
    pub fn begin(
        mut vault: impl Vault + 'static,
        root: PublicKey,
        application: &str,
    ) -> io::Result<Self> {
        let application = application.to_owned();
        match vault.ask(&ToVault::Begin { root, application })? {
            FromVault::Begun(_) => Ok(Self {
                vault: Arc::new(Mutex::new(vault)),
                next: Arc::default(),
            }),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }

    /// Serves clients for ever, each on a thread of its own.
    ///
    /// Errors: the listener's.
    pub fn run(&self, listener: &UnixListener) -> io::Result<std::convert::Infallible> {
        loop {
            let (stream, _) = listener.accept()?;
            let agent = self.clone();
            std::thread::Builder::new()
                .name("client".to_owned())
                .spawn(move || {
                    let caller = agent.next.fetch_add(1, Ordering::Relaxed);
                    // What ends a connection is the client's own, or told to it.
                    let _ = agent.serve(caller, &stream);
                    let _ = agent.ask(&ToVault::Forget { caller });
                })?;
        }
    }

    fn ask(&self, message: &ToVault) -> io::Result<FromVault> {
        let mut vault = self.vault.lock().unwrap_or_else(PoisonError::into_inner);
        vault.ask(message)
    }

    fn serve(&self, id: CallerId, stream: &UnixStream) -> io::Result<()> {
        let caller = match Caller::of_peer(stream) {
            Ok(caller) => caller,
            Err(error) => return write(stream, &ToClient::Refused(error.to_string())),
        };
        let mut credential = None;
        loop {
            // Ready to read, or time to measure again.
            if !readable(stream, MEASURE_EVERY)? {
                if let Err(why) = self.measure(id, &caller, None) {
                    return write(stream, &ToClient::Refused(why));
                }
                continue;
            }
            let Some(message) = read::<FromClient>(stream)? else {
                return Ok(());
            };
            let given = match &message {
                FromClient::Present(bytes) => Some(bytes.clone()),
                FromClient::Authenticate(_) => None,
            };
            if given.is_some() && credential.is_some() {
                return write(stream, &ToClient::Refused("a second credential".to_owned()));
            }
            // At every use, with a challenge of its own.
            if let Err(why) = self.measure(id, &caller, given.clone()) {
                return write(stream, &ToClient::Refused(why));
            }
            let answer = match message {
                FromClient::Present(_) => {
                    credential = given;
                    ToClient::Admitted
                }
                FromClient::Authenticate(message) => {
                    let caller = id;
                    match self.ask(&ToVault::Authenticate { caller, message })? {
                        FromVault::Code(code) => ToClient::Code(code),
                        FromVault::Refused(why) => ToClient::Refused(why),
                        _ => return Err(io::Error::other("the vault answers something else")),
                    }
                }
            };
            write(stream, &answer)?;
        }
    }

    /// Has the caller measured and judged.
    ///
    /// Errors: why it is not answered, in words.
    fn measure(
        &self,
        id: CallerId,
        caller: &Caller,
        credential: Option<Vec<u8>>,
    ) -> Result<(), String> {
        let words = |error: io::Error| error.to_string();
        let challenge = match self
            .ask(&ToVault::Challenge { caller: id })
            .map_err(words)?
        {
            FromVault::Challenge(challenge) => challenge,
            FromVault::Refused(why) => return Err(why),
            _ => return Err("the vault answers something else".to_owned()),
        };
        let measured = caller.measure().map_err(|error| error.to_string())?;
        let message = ToVault::Measured {
            caller: id,
            challenge,
            measured,
            credential,
        };
        match self.ask(&message).map_err(words)? {
            FromVault::Done => Ok(()),
            FromVault::Refused(why) => Err(why),
            _ => Err("the vault answers something else".to_owned()),
        }
    }
}

/// Whether there is something to read within `time`.
fn readable(stream: &UnixStream, time: Duration) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(stream, PollFlags::IN)];
    let time = Timespec::try_from(time).map_err(io::Error::other)?;
    Ok(poll(&mut fds, Some(&time))? > 0)
}

/// A client's side, for applications.
pub struct Client(UnixStream);

impl Client {
    /// Connects and shows `credential`.
    ///
    /// Errors: the socket's; a refusal, in words.
    pub fn connect(socket: &Path, credential: &[u8]) -> io::Result<Self> {
        let client = Self(UnixStream::connect(socket)?);
        match client.ask(&FromClient::Present(credential.to_vec()))? {
            ToClient::Admitted => Ok(client),
            ToClient::Refused(why) => Err(io::Error::other(why)),
            ToClient::Code(_) => Err(io::Error::other("the agent answers something else")),
        }
    }

    /// HMAC-SHA256 over `message` under the vault's key.
    ///
    /// Errors: the socket's; a refusal, in words.
    pub fn authenticate(&self, message: &[u8]) -> io::Result<[u8; 32]> {
        match self.ask(&FromClient::Authenticate(message.to_vec()))? {
            ToClient::Code(code) => Ok(code),
            ToClient::Refused(why) => Err(io::Error::other(why)),
            ToClient::Admitted => Err(io::Error::other("the agent answers something else")),
        }
    }

    fn ask(&self, message: &FromClient) -> io::Result<ToClient> {
        // An agent that has dropped this caller said why before it closed.
        let written = write(&self.0, message);
        match read(&self.0) {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => written.and(Err(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => written.and(Err(error)),
        }
    }
}
