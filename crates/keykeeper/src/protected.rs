//! The keykeeper inside its protected process: one channel, no socket, no file.
//!
//! The state rests in the secret page and is decoded for the time of one call.
//! Whatever decides something (rules, labels, requests, rounds) is read out of
//! proofs that are checked here, under the circle's key, and never older than
//! what was seen before in this life of the process.

mod holding;

use std::{
    future::Future,
    io::{Read, Write},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use sandbox::SecretPage;
use threshold::Keeper;
use wire::{
    Action, CircleId, CircleKey, Evidence, Height, KeyRequestId, PublicKey, RegisterKeykeeper,
    SigningKey, Transaction, TransactionId,
    channel::{FrameError, decode_frame, encode_frame, frame_length},
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    Circle, CircleError, Keykeeper, Reading,
    channel::{FromCore, SendFailure, ToCore},
    fresh,
    keykeeper::KeykeeperError,
    proven::prove,
    recovery::{self, RecoveryError},
    sealing::{self, Kind},
    store::{Store, StoreError},
};

/// A keeper's stored form, at most: three seeds, numbers and a share.
const MAX_STATE_BYTES: usize = 512;

/// What rests in the secret page.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Resting {
    sealing_key: [u8; 32],
    state: [u8; MAX_STATE_BYTES],
    length: usize,
}

impl Resting {
    /// Nothing yet.
    pub fn empty() -> Self {
        Self {
            sealing_key: [0; 32],
            state: [0; MAX_STATE_BYTES],
            length: 0,
        }
    }

    fn put(&mut self, state: &[u8]) -> bool {
        let Some(place) = self.state.get_mut(..state.len()) else {
            return false;
        };
        place.copy_from_slice(state);
        self.length = state.len();
        true
    }
}

/// Why the core ends; the words hold no secret.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The host is gone.
    #[error("the channel failed")]
    Channel(#[from] std::io::Error),
    /// A frame breaks the format.
    #[error("a frame is malformed: {0}")]
    Frame(#[from] FrameError),
    /// A message came where it does not belong.
    #[error("a message came out of order")]
    Order,
    /// The sealed state does not open under the sealing key.
    #[error("the sealed state does not open")]
    Sealed,
    /// The keykeeper cannot go on.
    #[error(transparent)]
    Keykeeper(#[from] KeykeeperError),
    /// A lost keykeeper cannot be restored.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// It did not come to the label's key.
    #[error("no key of the label: {0}")]
    NoKey(String),
    /// The library does not sign with a key that came of the label's.
    #[error("a derived key does not sign")]
    Signature,
}

/// Both ends of the channel.
struct Pipes<R, W> {
    input: R,
    output: W,
}

impl<R: Read, W: Write> Pipes<R, W> {
    fn send(&mut self, message: &FromCore) -> Result<(), CoreError> {
        let mut frame = Vec::new();
        encode_frame(message, &mut frame)?;
        self.output.write_all(&frame)?;
        Ok(self.output.flush()?)
    }

    /// The next message; none once the host has closed the channel.
    fn next(&mut self) -> Result<Option<ToCore>, CoreError> {
        let mut header = [0; 4];
        match self.input.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let mut body = Zeroizing::new(vec![0; frame_length(header)?]);
        self.input.read_exact(&mut body)?;
        Ok(Some(decode_frame(&body)?))
    }

    fn ask(&mut self, message: &FromCore) -> Result<ToCore, CoreError> {
        self.send(message)?;
        self.next()?.ok_or_else(|| {
            CoreError::Channel(std::io::Error::from(std::io::ErrorKind::UnexpectedEof))
        })
    }
}

/// What the core shares between its circle and its store.
struct Core<R, W> {
    pipes: Mutex<Pipes<R, W>>,
    page: SecretPage<Resting>,
}

impl<R, W> Core<R, W> {
    fn pipes(&self) -> MutexGuard<'_, Pipes<R, W>> {
        self.pipes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keeper(&self) -> Option<Keeper> {
        let state = self
            .page
            .read(|page| Zeroizing::new(page.state[..page.length].to_vec()));
        Keeper::decode(&state).ok()
    }
}

/// The secret page, and the host's disk behind it.
struct Sealed<R, W>(Arc<Core<R, W>>);

impl<R: Read + Send + 'static, W: Write + Send + 'static> Store for Sealed<R, W> {
    fn load(&self) -> Option<Zeroizing<Vec<u8>>> {
        self.0.page.read(|page| {
            let state = page.state.get(..page.length)?;
            (!state.is_empty()).then(|| Zeroizing::new(state.to_vec()))
        })
    }

    fn put(&self, secret: &[u8]) -> Result<(), StoreError> {
        let sealed = self.0.page.write(|page| {
            page.put(secret)
                .then(|| sealing::seal(Kind::State, &page.sealing_key, secret))
        });
        let sealed = sealed.ok_or_else(|| StoreError("it is too long".to_owned()))?;
        match self.0.pipes().ask(&FromCore::Store(sealed)) {
            Ok(ToCore::Stored) => Ok(()),
            Ok(_) => Err(StoreError(CoreError::Order.to_string())),
            Err(error) => Err(StoreError(error.to_string())),
        }
    }
}

/// The circle by way of the host.
struct ByHost<R, W> {
    core: Arc<Core<R, W>>,
    circle: CircleId,
    circle_key: CircleKey,
    /// The newest height that was proven.
    seen: Mutex<Height>,
}

fn unavailable(why: impl std::fmt::Display) -> CircleError {
    CircleError::Unavailable(why.to_string())
}

impl<R: Read, W: Write> ByHost<R, W> {
    fn new(core: &Arc<Core<R, W>>, circle: CircleId, circle_key: CircleKey) -> Arc<Self> {
        Arc::new(Self {
            core: Arc::clone(core),
            circle,
            circle_key,
            seen: Mutex::new(Height(0)),
        })
    }

    fn ask(&self, message: &FromCore) -> Result<ToCore, CircleError> {
        self.core.pipes().ask(message).map_err(unavailable)
    }

    /// As [`prove`], and no older than what was seen.
    fn check(&self, keys: &[Vec<u8>], proofs: &[Vec<u8>]) -> Result<Reading, CircleError> {
        let reading = prove(self.circle, &self.circle_key, keys, proofs).map_err(unavailable)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if reading.height < *seen {
            return Err(unavailable("proofs older than what was seen"));
        }
        *seen = reading.height;
        Ok(reading)
    }

    /// Signs `transaction` if it is `action` alone, by this identity, for this circle.
    fn sign(&self, action: &Action, transaction: &Transaction) -> Option<FromCore> {
        let keeper = self.core.keeper()?;
        let own = transaction.circle == self.circle
            && transaction.sender == PublicKey::Ed25519(keeper.key())
            && transaction.actions.as_slice() == std::slice::from_ref(action);
        let key = SigningKey::ed25519(*keeper.identity());
        let bytes = borsh::to_vec(transaction).ok()?;
        own.then(|| FromCore::Signed(key.sign(Transaction::PURPOSE, &bytes)))
    }
}

impl<R: Read + Send + 'static, W: Write + Send + 'static> Circle for ByHost<R, W> {
    fn id(&self) -> CircleId {
        self.circle
    }

    async fn read(&self, keys: Vec<Vec<u8>>) -> Result<Reading, CircleError> {
        match self.ask(&FromCore::Read(keys.clone()))? {
            ToCore::Proofs(proofs) => self.check(&keys, &proofs),
            ToCore::Unavailable(why) => Err(CircleError::Unavailable(why)),
            _ => Err(unavailable(CoreError::Order)),
        }
    }

    async fn requests(&self) -> Result<Vec<KeyRequestId>, CircleError> {
        match self.ask(&FromCore::ListRequests)? {
            ToCore::Requests(ids) => Ok(ids),
            ToCore::Unavailable(why) => Err(CircleError::Unavailable(why)),
            _ => Err(unavailable(CoreError::Order)),
        }
    }

    async fn send(&self, action: Action) -> Result<TransactionId, CircleError> {
        let mut answer = self.ask(&FromCore::Send(Box::new(action.clone())))?;
        loop {
            answer = match answer {
                ToCore::Sign(transaction) => {
                    let refused = || unavailable("a transaction that was not asked for");
                    let signed = self.sign(&action, &transaction).ok_or_else(refused)?;
                    self.ask(&signed)?
                }
                ToCore::Sent(Ok(id)) => return Ok(id),
                ToCore::Sent(Err(SendFailure::Rejected(reject))) => {
                    return Err(CircleError::Rejected(reject));
                }
                ToCore::Sent(Err(SendFailure::Unavailable(why))) | ToCore::Unavailable(why) => {
                    return Err(CircleError::Unavailable(why));
                }
                _ => return Err(unavailable(CoreError::Order)),
            };
        }
    }

    /// A keykeeper's host calls when there is something to look at; a holder's
    /// is asked to.
    async fn changed(&self) {
        // A host that is gone is noticed by the next reading.
        let _ = self.ask(&FromCore::Wait);
    }
}

/// A future that never waits, as everything here does its work when it is polled.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the core's futures block in place"),
    }
}

/// Serves a host over its channel until it closes it.
///
/// Errors: [`CoreError`], told to the host before it is returned.
pub fn serve<R, W>(
    page: SecretPage<Resting>,
    warnings: Vec<String>,
    input: R,
    output: W,
) -> Result<(), CoreError>
where
    R: Read + Send + 'static,
    W: Write + Send + 'static,
{
    let core = Arc::new(Core {
        pipes: Mutex::new(Pipes { input, output }),
        page,
    });
    let ended = run(&core, warnings);
    if let Err(error) = &ended {
        // A host that is gone hears nothing.
        let _ = core.pipes().send(&FromCore::Fault(error.to_string()));
    }
    core.page.wipe();
    ended
}

fn run<R, W>(core: &Arc<Core<R, W>>, warnings: Vec<String>) -> Result<(), CoreError>
where
    R: Read + Send + 'static,
    W: Write + Send + 'static,
{
    let first = core.pipes().next()?;
    let (circle, circle_key) = match first {
        None => return Ok(()),
        Some(ToCore::Hold {
            circle,
            circle_key,
            label,
            epoch,
        }) => {
            let by_host = ByHost::new(core, circle, circle_key);
            return holding::hold(core, &by_host, &label, epoch, warnings);
        }
        Some(ToCore::Make { sealing_key }) => {
            let made = made(&Keeper::new(*fresh()), &sealing_key);
            return core.pipes().send(&made);
        }
        Some(ToCore::Recover {
            circle,
            keeper,
            sealing_key,
        }) => {
            let recovering = recovery::begin(circle, keeper, &sealing_key);
            return core.pipes().send(&recovering);
        }
        Some(ToCore::Restore {
            circle_key,
            sealing_key,
            sealed,
            proofs,
            pieces,
        }) => {
            let keeper = recovery::restore(&circle_key, &sealing_key, &sealed, &proofs, &pieces)?;
            return core.pipes().send(&made(&keeper, &sealing_key));
        }
        Some(ToCore::Begin {
            circle,
            circle_key,
            sealing_key,
            sealed,
        }) => {
            let state =
                sealing::open(Kind::State, &sealing_key, &sealed).ok_or(CoreError::Sealed)?;
            let fits = core.page.write(|page| {
                page.sealing_key = sealing_key;
                page.put(&state)
            });
            if !fits {
                return Err(CoreError::Sealed);
            }
            (circle, circle_key)
        }
        Some(_) => return Err(CoreError::Order),
    };
    let key = PublicKey::Ed25519(core.keeper().ok_or(CoreError::Sealed)?.key());
    let by_host = ByHost::new(core, circle, circle_key);
    let mut keykeeper = Keykeeper::open(Arc::clone(&by_host), Sealed(Arc::clone(core)))?;
    core.pipes().send(&FromCore::Begun {
        key,
        report_data: RegisterKeykeeper::report_data(circle, &key),
        warnings,
    })?;
    loop {
        let next = core.pipes().next()?;
        let (steps, trouble) = match next {
            None => return Ok(()),
            Some(ToCore::Register(evidence)) => register(&by_host, evidence),
            Some(ToCore::Act) => act(&mut keykeeper)?,
            Some(_) => return Err(CoreError::Order),
        };
        let holds = keykeeper.holds();
        core.pipes().send(&FromCore::Done {
            steps,
            trouble,
            holds,
        })?;
    }
}

/// A keykeeper's public key, and its state as the host keeps it.
fn made(keeper: &Keeper, sealing_key: &[u8; 32]) -> FromCore {
    FromCore::Made {
        key: PublicKey::Ed25519(keeper.key()),
        sealed: sealing::seal(Kind::State, sealing_key, &keeper.encode()),
    }
}

type Doings = (Vec<String>, Option<String>);

fn register(circle: &impl Circle, evidence: Evidence) -> Doings {
    let action = Action::RegisterKeykeeper(RegisterKeykeeper { evidence });
    match now(circle.send(action)) {
        Ok(_) => (vec!["registered".to_owned()], None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    }
}

fn act<C: Circle, S: Store>(keykeeper: &mut Keykeeper<C, S>) -> Result<Doings, CoreError> {
    match now(keykeeper.act()) {
        Ok(steps) => {
            let steps = steps.iter().map(|step| format!("{step:?}"));
            Ok((steps.collect(), None))
        }
        Err(error @ (KeykeeperError::Circle(_) | KeykeeperError::Round)) => {
            Ok((Vec::new(), Some(error.to_string())))
        }
        Err(error) => Err(error.into()),
    }
}
