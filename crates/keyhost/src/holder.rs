//! A label's key in a protected process, for a daemon that signs with what comes
//! of it and never has it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use client::account::Account;
use keykeeper::channel::{EcdsaSignature, FromCore, Point, ToCore};
use tokio::sync::Notify;
use wire::{Digest, Evidence, LabelName};
use zeroize::Zeroizing;

use crate::{
    HostError, Program,
    host::{proofs, send},
    link::{BlockingLink, LinkError},
};

/// The pause between two looks for keykeepers' answers: below a block's time.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How often it is looked whether the process is still there, for who asks it
/// seldom.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// A protected process that holds a label's key.
///
/// Calls wait for each other, and for the process: tens of microseconds. Contexts
/// are the caller's own, and tell apart what comes of one key (docs/spec/keys.md §4).
pub struct Holder {
    link: Mutex<BlockingLink>,
    epoch: u64,
    ended: Notify,
}

impl std::fmt::Debug for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Holder")
            .field("epoch", &self.epoch)
            .finish()
    }
}

impl Holder {
    /// Starts `program` and has it come to the key of `label`: the host asks as
    /// `account`, with evidence that `evidence` makes for the program. To be
    /// called on a thread that lives as long as the holder.
    ///
    /// Shape:  `epoch` is the label's present one if none is given.
    /// Errors: [`HostError`]; [`LinkError::Fault`] says why there is no key.
    pub async fn start(
        account: &Account,
        program: &Program,
        label: LabelName,
        epoch: Option<u64>,
        evidence: impl Fn(Digest) -> Result<Evidence, String>,
    ) -> Result<Self, HostError> {
        let client = account.client();
        let mut link = BlockingLink::start(program)?;
        let mut next = ToCore::Hold {
            circle: client.circle(),
            circle_key: *client.circle_key(),
            label,
            epoch,
        };
        loop {
            next = match link.ask(&next)? {
                FromCore::Held { epoch, warnings } => {
                    for warning in warnings {
                        tracing::warn!(warning, "protected process");
                    }
                    return Ok(Self {
                        link: Mutex::new(link),
                        epoch,
                        ended: Notify::new(),
                    });
                }
                FromCore::Read(keys) => proofs(client, keys).await,
                FromCore::Evidence(report_data) => {
                    ToCore::Evidence(evidence(report_data).map_err(HostError::Evidence)?)
                }
                FromCore::Send(action) => ToCore::Sent(send(account, *action).await),
                FromCore::Wait => {
                    tokio::time::sleep(LOOK_EVERY).await;
                    ToCore::Waited
                }
                _ => return Err(LinkError::Order.into()),
            };
        }
    }

    /// The label's epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The public half of the P-256 key of `context`.
    ///
    /// Errors: [`LinkError`].
    pub fn point(&self, context: &[u8]) -> Result<Point, LinkError> {
        match self.ask(&ToCore::Point(context.to_vec()))? {
            FromCore::Point(point) => Ok(point),
            _ => Err(LinkError::Order),
        }
    }

    /// An ECDSA signature by the P-256 key of `context` over SHA-256 of `message`.
    ///
    /// Errors: [`LinkError`].
    pub fn sign(&self, context: &[u8], message: &[u8]) -> Result<EcdsaSignature, LinkError> {
        let ask = ToCore::SignAs {
            context: context.to_vec(),
            message: message.to_vec(),
        };
        match self.ask(&ask)? {
            FromCore::SignedAs(signature) => Ok(signature),
            _ => Err(LinkError::Order),
        }
    }

    /// The symmetric key of `context`, which leaves the process.
    ///
    /// Errors: [`LinkError`].
    pub fn secret(&self, context: &[u8]) -> Result<Zeroizing<[u8; 32]>, LinkError> {
        match self.ask(&ToCore::Secret(context.to_vec()))? {
            FromCore::Secret(secret) => Ok(Zeroizing::new(secret)),
            _ => Err(LinkError::Order),
        }
    }

    /// Ends when the process is of no use any more: the daemon is then to be
    /// started anew.
    pub async fn ended(&self) {
        loop {
            let failed = tokio::time::timeout(LOOK_AFTER, self.ended.notified()).await;
            if failed.is_ok() || self.link().has_ended() {
                return;
            }
        }
    }

    fn link(&self) -> MutexGuard<'_, BlockingLink> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, message: &ToCore) -> Result<FromCore, LinkError> {
        let answer = self.link().ask(message);
        // A message that is too long was never sent.
        if !matches!(answer, Ok(_) | Err(LinkError::Frame(_))) {
            self.ended.notify_one();
        }
        answer
    }
}
