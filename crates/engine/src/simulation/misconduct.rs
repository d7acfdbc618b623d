//! What does a byzantine validator do to the others?
//!
//! It runs the same engine and chain as everybody, with its real keys; what
//! leaves it passes a [`Mischief`], which drops, alters, repeats and invents
//! messages. What it proposes and deals is altered at its chain
//! ([`super::record`]). One that equivocates is two validators under one key
//! ([`super::cluster`]).

use std::{sync::Arc, time::SystemTime};

use commonware_actor::{Feedback, Unreliable};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{CheckedSender, LimitedSender, Recipients, Sender};
use commonware_runtime::IoBufs;
use commonware_utils::sync::Mutex;

use super::Conduct;

/// Channels of [`crate::stack::Channels`], by number.
const VOTES: u64 = 0;
const CERTIFICATES: u64 = 1;
const BACKFILL: u64 = 3;
const BLOCKS: u64 = 4;
const DEALINGS: u64 = 6;

/// Messages of a channel that a replaying validator remembers.
const REMEMBERED: usize = 256;

/// The largest message that a spamming validator invents.
const GARBAGE_BYTES: u64 = 4_096;

/// What is done to the messages of one channel.
pub(super) struct Mischief {
    conduct: Conduct,
    channel: u64,
    draws: u64,
    sent: Vec<Vec<u8>>,
}

impl Mischief {
    pub(super) fn new(conduct: Conduct, channel: u64, seed: u64) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            conduct,
            channel,
            draws: (seed ^ (channel << 40)).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            sent: Vec::new(),
        }))
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.draws ^= self.draws << 13;
        self.draws ^= self.draws >> 7;
        self.draws ^= self.draws << 17;
        self.draws % below
    }

    /// What is sent in the place of `message`.
    fn turn(&mut self, message: Vec<u8>) -> Vec<Vec<u8>> {
        match (self.conduct, self.channel) {
            (Conduct::Withhold, BLOCKS | BACKFILL) | (Conduct::Stall, VOTES | CERTIFICATES) => {
                Vec::new()
            }
            (Conduct::BadShare, DEALINGS) => vec![self.spoil(message)],
            (Conduct::Spam, _) => {
                let mut all = vec![message];
                for _ in 0..3 {
                    let length = self.draw(GARBAGE_BYTES);
                    let garbage = (0..length).map(|_| self.draw(256) as u8);
                    all.push(garbage.collect());
                }
                all
            }
            (Conduct::Replay, _) => {
                let mut all = vec![message.clone()];
                for _ in 0..2 {
                    if !self.sent.is_empty() {
                        let old = self.draw(self.sent.len() as u64) as usize;
                        all.push(self.sent[old].clone());
                    }
                }
                if self.sent.len() < REMEMBERED {
                    self.sent.push(message);
                }
                all
            }
            _ => vec![message],
        }
    }

    /// A secret share with one bit of it turned; acknowledgements too.
    fn spoil(&mut self, mut message: Vec<u8>) -> Vec<u8> {
        let last = message.len().min(32) as u64;
        if last > 0 {
            let place = message.len() - 1 - self.draw(last) as usize;
            message[place] ^= 1;
        }
        message
    }
}

/// A sender of which everything passes a mischief, if there is one.
#[derive(Clone)]
pub(super) struct Bent<S> {
    pub sender: S,
    pub mischief: Option<Arc<Mutex<Mischief>>>,
}

impl<S: Sender<PublicKey = PublicKey>> LimitedSender for Bent<S> {
    type PublicKey = PublicKey;
    type Checked<'a>
        = BentChecked<'a, S>
    where
        Self: 'a;

    fn check(
        &mut self,
        recipients: Recipients<PublicKey>,
    ) -> Result<BentChecked<'_, S>, SystemTime> {
        match &self.mischief {
            None => Ok(BentChecked::Straight(self.sender.check(recipients)?)),
            Some(mischief) => Ok(BentChecked::Bent {
                sender: &mut self.sender,
                recipients: Box::new(recipients),
                mischief: mischief.clone(),
            }),
        }
    }
}

/// See [`Bent`].
pub(super) enum BentChecked<'a, S: Sender<PublicKey = PublicKey> + 'a> {
    /// As it is.
    Straight(S::Checked<'a>),
    /// Through a mischief; each message asks for its own permission.
    Bent {
        sender: &'a mut S,
        recipients: Box<Recipients<PublicKey>>,
        mischief: Arc<Mutex<Mischief>>,
    },
}

impl<'a, S: Sender<PublicKey = PublicKey>> CheckedSender for BentChecked<'a, S> {
    type PublicKey = PublicKey;

    fn recipients(&self) -> Vec<PublicKey> {
        match self {
            Self::Straight(checked) => checked.recipients(),
            Self::Bent { recipients, .. } => match &**recipients {
                Recipients::All => Vec::new(),
                Recipients::Some(keys) => keys.clone(),
                Recipients::One(key) => vec![key.clone()],
            },
        }
    }

    fn send(self, message: impl Into<IoBufs> + Send, priority: bool) -> Unreliable<Feedback> {
        match self {
            Self::Straight(checked) => checked.send(message, priority),
            Self::Bent {
                sender,
                recipients,
                mischief,
            } => {
                let message = message.into().coalesce();
                let all = mischief.lock().turn(message.as_ref().to_vec());
                for message in all {
                    if let Ok(checked) = sender.check((*recipients).clone()) {
                        let _ = checked.send(message, priority);
                    }
                }
                Unreliable::new(Feedback::Ok)
            }
        }
    }
}
