//! How do validators tell one another of transactions?
//!
//! Each transaction is sent once, by the node that received it from its
//! sender, to all others at once; nobody passes it on. What is lost waits
//! until its own node leads. Many travel in one message.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use borsh::BorshDeserialize;
use engine::{EngineError, EngineHandle, MAX_GOSSIP_BYTES};

/// The first byte of a message: a list of transactions.
const TRANSACTIONS: u8 = 1;

/// Bytes of a message beside its transactions: the kind and the list's length.
const FRAME_BYTES: usize = 5;

/// A message is sent once it holds so many bytes, whatever the time.
const TARGET_BYTES: usize = MAX_GOSSIP_BYTES / 2;

/// The least time between messages: the engine takes 128 a second, and a
/// transaction alone is sent at once.
const INTERVAL: Duration = Duration::from_millis(10);

/// How long to wait where the engine cannot send yet.
const BACKLOG_PAUSE: Duration = Duration::from_millis(20);

/// A message that no node of this build sends. The peer is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Another kind of message.
    #[error("a gossip message of an unknown kind")]
    Kind,
    /// Not a list of byte strings.
    #[error("a gossip message does not decode: {0}")]
    Malformed(String),
}

/// One message with these transactions.
pub fn encode_message(transactions: &[Vec<u8>]) -> Vec<u8> {
    let mut message = vec![TRANSACTIONS];
    borsh::to_writer(&mut message, transactions).expect("a list of bytes always encodes");
    message
}

/// The transactions of a message.
///
/// Errors: [`MessageError`]; lengths are checked before anything is allocated.
pub fn decode_message(message: &[u8]) -> Result<Vec<Vec<u8>>, MessageError> {
    match message.split_first() {
        Some((&TRANSACTIONS, list)) => Vec::<Vec<u8>>::try_from_slice(list)
            .map_err(|error| MessageError::Malformed(error.to_string())),
        _ => Err(MessageError::Kind),
    }
}

/// Sends what arrives on `transactions` until all its senders are gone.
pub(super) fn send_all(transactions: &Receiver<Vec<u8>>, engine: &EngineHandle) {
    let mut sent_at = Instant::now() - INTERVAL;
    let mut held: Option<Vec<u8>> = None;
    loop {
        let first = match held.take().map_or_else(|| transactions.recv(), Ok) {
            Ok(first) => first,
            Err(_) => return,
        };
        let mut bytes = FRAME_BYTES + first.len() + 4;
        let mut batch = vec![first];
        while bytes < TARGET_BYTES {
            let wait = INTERVAL.saturating_sub(sent_at.elapsed());
            match transactions.recv_timeout(wait) {
                Ok(next) if bytes + next.len() + 4 > MAX_GOSSIP_BYTES => {
                    held = Some(next);
                    break;
                }
                Ok(next) => {
                    bytes += next.len() + 4;
                    batch.push(next);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        sent_at = Instant::now();
        broadcast(encode_message(&batch), engine);
    }
}

fn broadcast(message: Vec<u8>, engine: &EngineHandle) {
    while let Err(error) = engine.broadcast(message.clone()) {
        match error {
            EngineError::GossipBacklog => std::thread::sleep(BACKLOG_PAUSE),
            error => {
                tracing::warn!(%error, "cannot tell the other validators of transactions");
                return;
            }
        }
    }
}
