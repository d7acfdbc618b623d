//! How does a payload come to the keys of labels that its bundle names?
//!
//! One key after the other: the host says how the label stands, the enclave
//! makes a one-time key and says what evidence must bind, the host passes on
//! what keykeepers answer. The host is believed in nothing that matters: the
//! master key and the oldest epoch are in the encrypted bundle, each share must
//! fit a polynomial whose constant is that master key, and the whole is checked
//! under it. A host that lies gets a refusal, never another key.

use std::collections::VecDeque;

use handshake::{Entropy, LabelVariable};
use threshold::{Asker, Committee, OneTimeKey};
use wire::{
    CircleId, Digest, LabelName, Outcome, PayloadHolder, RequestKey,
    channel::{EnclaveMessage, HostMessage, MAX_REASON_BYTES},
};
use zeroize::Zeroizing;

use super::{Fault, Launched, State};

/// A variable and its value.
pub(in crate::lifecycle) type Variable = (String, Zeroizing<String>);

/// A payload that waits for keys.
pub(in crate::lifecycle) struct Waiting {
    bundle: Zeroizing<Vec<u8>>,
    wanted: VecDeque<LabelVariable>,
    got: Vec<Variable>,
    wish: u32,
    asking: Option<Asking>,
}

/// A key that was asked for.
struct Asking {
    committee: Committee,
    label: Vec<u8>,
    /// It becomes the asker's once the request has its id.
    one_time: Option<OneTimeKey>,
    asker: Option<(Digest, Asker)>,
}

impl Asking {
    /// Checks how the label stands and makes a one-time key; gives what to ask for.
    ///
    /// Errors: a sentence for the user.
    fn begin(
        wanted: &LabelVariable,
        circle: CircleId,
        holder: &PayloadHolder,
        (epoch, block): (u64, Digest),
        sharing: &[u8],
    ) -> Result<(Self, [u8; 32], Digest), String> {
        if epoch < wanted.least_epoch {
            return Err(format!(
                "the host offers epoch {epoch}; the payload was made in epoch {}",
                wanted.least_epoch
            ));
        }
        let committee = Committee::decode(sharing).map_err(|error| error.to_string())?;
        if committee.master_key() != wanted.master_key {
            return Err("the host names keykeepers of another master key".to_owned());
        }
        let one_time = OneTimeKey::generate(&mut Entropy);
        let public = one_time.public();
        let label = &wanted.label;
        let report_data =
            RequestKey::report_data(circle, label, epoch, &public, block, Some(holder));
        let asking = Self {
            committee,
            label: label.bytes(circle, epoch),
            one_time: Some(one_time),
            asker: None,
        };
        Ok((asking, public, report_data))
    }

    /// Takes an answer; the key in hex, once there are enough.
    fn take(
        &mut self,
        request: Digest,
        keeper: [u8; 32],
        sealed: &[u8],
    ) -> Option<Zeroizing<String>> {
        if let Some(key) = self.one_time.take() {
            let asker = Asker::new(&self.committee, &self.label, request, key);
            self.asker = Some((request, asker));
        }
        let (asked, asker) = self.asker.as_mut()?;
        // One keykeeper's bad answer, or a host's, is no reason to give up.
        if *asked != request || asker.take(keeper, sealed) != Ok(true) {
            return None;
        }
        let key = asker.combine().ok()?.symmetric(&[]);
        Some(Zeroizing::new(hex(key.as_bytes())))
    }
}

fn hex(bytes: &[u8; 32]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    let mut text = String::with_capacity(64);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

impl Launched {
    /// Asks for the keys of a payload that has come whole, or prepares it if it
    /// names none.
    pub(super) fn derive(
        &mut self,
        operation: u32,
        bundle: Zeroizing<Vec<u8>>,
        wanted: Vec<LabelVariable>,
    ) {
        let waiting = Box::new(Waiting {
            bundle,
            wanted: wanted.into(),
            got: Vec::new(),
            wish: 0,
            asking: None,
        });
        self.want_next(operation, waiting);
    }

    fn want_next(&mut self, operation: u32, mut waiting: Box<Waiting>) {
        let Some(first) = waiting.wanted.front() else {
            return self.prepare(operation, waiting.bundle, waiting.got);
        };
        self.wishes += 1;
        let label = first.label.clone();
        (waiting.wish, waiting.asking) = (self.wishes, None);
        self.send(&EnclaveMessage::LabelWanted {
            wish: self.wishes,
            label,
        });
        self.state = State::Deriving(operation, waiting);
    }

    /// Takes what the host says of the key that is wanted now; what it says of
    /// an earlier one moves nothing.
    ///
    /// Errors: [`Fault::Limit`].
    pub(super) fn label_key(&mut self, message: HostMessage) -> Result<(), Fault> {
        let (circle, holder) = (self.launch.circle, self.holder());
        let State::Deriving(operation, waiting) = &mut self.state else {
            return Ok(());
        };
        let operation = *operation;
        let Some(wanted) = waiting.wanted.front() else {
            return Ok(());
        };
        match message {
            HostMessage::LabelState {
                wish,
                epoch,
                block,
                sharing,
            } if wish == waiting.wish && waiting.asking.is_none() => {
                match Asking::begin(wanted, circle, &holder, (epoch, block), &sharing) {
                    Ok((asking, one_time_key, report_data)) => {
                        waiting.asking = Some(asking);
                        self.send(&EnclaveMessage::KeyRequest {
                            wish,
                            epoch,
                            one_time_key,
                            report_data,
                        });
                    }
                    Err(reason) => self.without_key(operation, &reason),
                }
            }
            HostMessage::KeyAnswer {
                wish,
                request,
                keeper,
                sealed,
            } if wish == waiting.wish => {
                let asking = waiting.asking.as_mut();
                let key = asking.and_then(|asking| asking.take(Digest(request.0), keeper, &sealed));
                if let Some(key) = key {
                    self.combined(operation, wish, key);
                }
            }
            HostMessage::KeyRefused { wish, reason } if wish == waiting.wish => {
                if reason.len() > MAX_REASON_BYTES {
                    return Err(Fault::Limit("a reason"));
                }
                self.without_key(operation, &reason);
            }
            _ => {}
        }
        Ok(())
    }

    fn combined(&mut self, operation: u32, wish: u32, key: Zeroizing<String>) {
        self.send(&EnclaveMessage::KeyCombined { wish });
        let State::Deriving(_, mut waiting) = std::mem::replace(&mut self.state, State::Idle)
        else {
            return;
        };
        if let Some(wanted) = waiting.wanted.pop_front() {
            waiting.got.push((wanted.variable, key));
        }
        self.want_next(operation, waiting);
    }

    fn without_key(&mut self, operation: u32, reason: &str) {
        let State::Deriving(_, waiting) = std::mem::replace(&mut self.state, State::Idle) else {
            return;
        };
        let name = waiting.wanted.front().map(|wanted| describe(&wanted.label));
        let name = name.unwrap_or_default();
        self.outcome(
            operation,
            Outcome::Error,
            format!("the payload was not given the key of {name}: {reason}"),
        );
    }

    fn holder(&self) -> PayloadHolder {
        PayloadHolder {
            contract: self.launch.contract,
            user_agreement: self.launch.user_agreement,
            payload_sha256: self.launch.payload_sha256,
        }
    }
}

fn describe(label: &LabelName) -> String {
    format!("the label {} (version {})", label.service, label.version)
}
