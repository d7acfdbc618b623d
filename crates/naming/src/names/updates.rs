//! Dynamic updates that owners signed, on their way to the ledger (RFC 2136,
//! RFC 2931).
//!
//! The server is not trusted with anything: it reads what consensus will read,
//! so that it pays for no message that would be rejected, posts the message as
//! it came, and answers when that is final. Owners pay it nothing, so it takes
//! no more than [`UPDATES_PER_NAME`] of one name in [`WINDOW`].
//!
//! Source: docs/spec/update.md.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use domain::base::{
    Message, MessageBuilder,
    iana::{Opcode, Rcode},
};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};
use update::{Unmet, Update};
use wire::{Action, DomainName, Height, NameUpdate, Reject, record::Name, state_key};

use crate::ledger::{self, Ledger, LedgerError, Post, chain};

/// Messages that wait for their turn; the next is answered SERVFAIL, and its
/// sender tries again.
const QUEUE: usize = 64;

/// Updates of one name in [`WINDOW`]: a person's, and a dozen renewals of
/// certificates with two updates each.
const UPDATES_PER_NAME: u32 = 60;

/// See [`UPDATES_PER_NAME`].
const WINDOW: Duration = Duration::from_secs(600);

/// Names whose updates are counted; when there are more, counting begins anew.
const COUNTED_NAMES: usize = 10_000;

/// How far a signer's clock may be ahead of the ledger's: its second is waited
/// for.
const AHEAD: Duration = Duration::from_secs(3);

/// How often a message is posted again that came too early.
const EARLY_PAUSE: Duration = Duration::from_millis(300);

/// A response that is to come; it does not if the server ends.
pub(super) type Pending = oneshot::Receiver<Vec<u8>>;

/// A message, and where its response goes.
pub(super) struct Waiting {
    message: Vec<u8>,
    reply: oneshot::Sender<Vec<u8>>,
}

/// The fronts' end.
#[derive(Clone, Debug)]
pub(super) struct Updates {
    queue: mpsc::Sender<Waiting>,
}

/// Both ends: for fronts, and for [`relay`].
pub(super) fn channel() -> (Updates, mpsc::Receiver<Waiting>) {
    let (queue, waiting) = mpsc::channel(QUEUE);
    (Updates { queue }, waiting)
}

impl Updates {
    /// Takes `query` if it is an update; none for anything else.
    pub fn hear(&self, query: &[u8]) -> Option<Pending> {
        let asked = Message::from_octets(query).ok()?;
        let header = asked.header();
        if header.qr() || header.opcode() != Opcode::UPDATE {
            return None;
        }
        let (reply, pending) = oneshot::channel();
        let waiting = Waiting {
            message: query.to_vec(),
            reply,
        };
        if let Err(full) = self.queue.try_send(waiting) {
            let Waiting { message, reply } = full.into_inner();
            // Whoever waited for it is gone otherwise.
            let _ = reply.send(respond(&message, Rcode::SERVFAIL));
        }
        Some(pending)
    }
}

/// The response: RFC 2136 §3.8.
fn respond(message: &[u8], rcode: Rcode) -> Vec<u8> {
    let Ok(asked) = Message::from_octets(message) else {
        return Vec::new();
    };
    MessageBuilder::new_vec()
        .start_error(&asked, rcode)
        .finish()
}

/// Puts what arrives on the ledger, one after the other, until the future is
/// dropped or the fronts are.
pub(super) async fn relay(ledger: &(impl Ledger + Post), mut arriving: mpsc::Receiver<Waiting>) {
    let mut counts = Counts::default();
    while let Some(Waiting { message, reply }) = arriving.recv().await {
        let rcode = match apply(ledger, &message, &mut counts).await {
            Ok(()) => Rcode::NOERROR,
            Err(refusal) => {
                debug!(error = %chain(&refusal), "an update is refused");
                refusal.rcode()
            }
        };
        let _ = reply.send(respond(&message, rcode));
    }
}

/// Why an update is not applied.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Message(#[from] update::UpdateError),
    #[error(transparent)]
    Signature(#[from] update::SignatureError),
    #[error(transparent)]
    Prerequisite(#[from] Unmet),
    #[error("{0} is not registered here")]
    Unknown(DomainName),
    #[error("{0} is updated too often")]
    TooMany(DomainName),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Refusal {
    fn rcode(&self) -> Rcode {
        use update::UpdateError::{Malformed, NotOneName, Signature, TooLong};
        match self {
            Self::Message(TooLong | Malformed(_)) => Rcode::FORMERR,
            Self::Message(NotOneName) | Self::Unknown(_) => Rcode::NOTZONE,
            Self::Message(Signature(_)) | Self::Signature(_) | Self::TooMany(_) => Rcode::REFUSED,
            Self::Prerequisite(Unmet::NameMissing) => Rcode::NXDOMAIN,
            Self::Prerequisite(Unmet::NameExists) => Rcode::YXDOMAIN,
            Self::Prerequisite(Unmet::SetMissing) => Rcode::NXRRSET,
            Self::Prerequisite(Unmet::SetExists) => Rcode::YXRRSET,
            // The records changed since they were read.
            Self::Ledger(LedgerError::Rejected(Reject::UpdatePrerequisite)) => Rcode::NXRRSET,
            Self::Ledger(LedgerError::Rejected(Reject::UpdateMalformed)) => Rcode::NOTZONE,
            Self::Ledger(LedgerError::Rejected(_)) => Rcode::REFUSED,
            Self::Ledger(error) => {
                warn!(error = %chain(error), "an update could not be put on the ledger");
                Rcode::SERVFAIL
            }
        }
    }
}

async fn apply(
    ledger: &(impl Ledger + Post),
    message: &[u8],
    counts: &mut Counts,
) -> Result<(), Refusal> {
    let update = Update::read(message)?;
    let key = state_key::name(&update.name);
    let (record, reading) = ledger::read_one::<Name>(ledger, key, Height(0)).await?;
    let record = record.ok_or_else(|| Refusal::Unknown(update.name.clone()))?;
    update.verify(&record.owner)?;
    update.replacements(&record.records)?;
    if !counts.take(&update.name) {
        return Err(Refusal::TooMany(update.name));
    }
    let early = u64::from(update.signed.inception) * 1000;
    let ahead = Duration::from_millis(early.saturating_sub(reading.time_ms));
    let deadline = Instant::now() + AHEAD;
    loop {
        let action = Action::NameUpdate(NameUpdate {
            message: message.to_vec(),
        });
        match ledger.post(vec![action]).await {
            // The signer's second has not come on the ledger.
            Err(LedgerError::Rejected(Reject::UpdateTime))
                if !ahead.is_zero() && ahead < AHEAD && Instant::now() < deadline =>
            {
                tokio::time::sleep(EARLY_PAUSE).await;
            }
            done => return Ok(done?),
        }
    }
}

/// How often each name was updated lately.
#[derive(Default)]
struct Counts {
    since: Option<Instant>,
    of: HashMap<DomainName, u32>,
}

impl Counts {
    /// Counts one of `name`, unless that is one too many.
    fn take(&mut self, name: &DomainName) -> bool {
        let now = Instant::now();
        let over = self.since.is_none_or(|since| now - since > WINDOW);
        if over || self.of.len() > COUNTED_NAMES {
            self.of.clear();
            self.since = Some(now);
        }
        let count = self.of.entry(name.clone()).or_default();
        *count += 1;
        *count <= UPDATES_PER_NAME
    }
}
