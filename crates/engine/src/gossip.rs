//! How do validators carry messages that are no part of consensus?
//!
//! One channel carries the chain's messages (transactions, as the chain packs
//! them) and a heartbeat that tells peers who is up and how far. Both are
//! best effort. What a peer says of its height is a claim, used for nothing
//! but the status.

use std::{sync::Arc, time::Duration};

use commonware_cryptography::ed25519;
use commonware_macros::select;
use commonware_p2p::{CheckedSender as _, LimitedSender, Receiver, Recipients};
use commonware_runtime::{Clock, IoBuf};
use commonware_utils::channel::mpsc;
use tracing::debug;
use wire::Height;

use crate::{
    application::now_ms,
    config::MAX_GOSSIP_BYTES,
    handle::{PeerReport, Shared},
    keys::{PeerKey, peer_key},
};

/// How often a validator says that it is up.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// First byte of a heartbeat; the height follows, eight bytes little-endian.
const TAG_HEARTBEAT: u8 = 0;
/// First byte of a message of the chain; the message follows.
const TAG_MESSAGE: u8 = 1;

/// The largest payload on the gossip channel.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 1 + MAX_GOSSIP_BYTES;

/// A payload of the gossip channel.
#[derive(Debug, PartialEq, Eq)]
enum Payload<'a> {
    Heartbeat(Height),
    Message(&'a [u8]),
}

impl<'a> Payload<'a> {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Heartbeat(height) => {
                let mut bytes = vec![TAG_HEARTBEAT];
                bytes.extend_from_slice(&height.0.to_le_bytes());
                bytes
            }
            Self::Message(message) => {
                let mut bytes = Vec::with_capacity(1 + message.len());
                bytes.push(TAG_MESSAGE);
                bytes.extend_from_slice(message);
                bytes
            }
        }
    }

    fn decode(bytes: &'a [u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&TAG_HEARTBEAT, height) => {
                let height = u64::from_le_bytes(height.try_into().ok()?);
                Some(Self::Heartbeat(Height(height)))
            }
            (&TAG_MESSAGE, message) if message.len() <= MAX_GOSSIP_BYTES => {
                Some(Self::Message(message))
            }
            _ => None,
        }
    }
}

/// Sends what the process hands over, and a heartbeat each second.
pub(crate) async fn send<E, S>(
    context: E,
    mut sender: S,
    shared: Arc<Shared>,
    mut outbox: mpsc::Receiver<Vec<u8>>,
) where
    E: Clock,
    S: LimitedSender<PublicKey = ed25519::PublicKey>,
{
    let mut next_heartbeat = context.current();
    let mut open = true;
    loop {
        let handed_over = async {
            match open {
                true => outbox.recv().await,
                // The process dropped its handle; heartbeats go on.
                false => futures::future::pending().await,
            }
        };
        let message = select! {
            _ = context.sleep_until(next_heartbeat) => None,
            message = handed_over => {
                if message.is_none() {
                    open = false;
                    continue;
                }
                message
            },
        };
        let payload = match &message {
            Some(message) => Payload::Message(message).encode(),
            None => {
                next_heartbeat = context.current() + HEARTBEAT;
                let mut progress = shared.progress.lock();
                progress.now_ms = now_ms(&context);
                Payload::Heartbeat(progress.delivered).encode()
            }
        };
        // A full quota is waited for, so that the backlog tells the caller.
        loop {
            match sender.check(Recipients::All) {
                Ok(checked) => {
                    let _ = checked.send(payload, false);
                    break;
                }
                Err(retry_at) => context.sleep_until(retry_at).await,
            }
        }
    }
}

/// Receives peers' payloads until the network stops.
pub(crate) async fn receive<E, R>(
    context: E,
    mut receiver: R,
    shared: Arc<Shared>,
    inbox: mpsc::Sender<(PeerKey, Vec<u8>)>,
) where
    E: Clock,
    R: Receiver<PublicKey = ed25519::PublicKey>,
{
    while let Ok((peer, bytes)) = receiver.recv().await {
        let peer = peer_key(&peer);
        let Some(payload) = Payload::decode(as_slice(&bytes)) else {
            debug!(peer = ?&peer[..4], "a peer sent malformed gossip");
            continue;
        };
        let heard_ms = now_ms(&context);
        let mut progress = shared.progress.lock();
        let report = progress.peers.entry(peer).or_insert(PeerReport {
            heard_ms,
            height: Height(0),
        });
        report.heard_ms = heard_ms;
        match payload {
            Payload::Heartbeat(height) => report.height = height,
            // A full inbox drops the message: gossip is best effort.
            Payload::Message(message) => drop(inbox.try_send((peer, message.to_vec()))),
        }
    }
}

fn as_slice(bytes: &IoBuf) -> &[u8] {
    bytes.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_survives_its_encoding() {
        for payload in [
            Payload::Heartbeat(Height(7)),
            Payload::Message(b""),
            Payload::Message(b"x"),
        ] {
            assert_eq!(Payload::decode(&payload.encode()), Some(payload));
        }
    }

    #[test]
    fn refuses_empty_unknown_truncated_and_oversized_payloads() {
        assert_eq!(Payload::decode(&[]), None);
        assert_eq!(Payload::decode(&[9, 1]), None);
        assert_eq!(Payload::decode(&[TAG_HEARTBEAT, 1, 2]), None);
        let mut huge = vec![0; MAX_PAYLOAD_BYTES + 1];
        huge[0] = TAG_MESSAGE;
        assert_eq!(Payload::decode(&huge), None);
    }

    proptest::proptest! {
        #[test]
        fn decoding_arbitrary_bytes_never_panics_and_is_canonical(bytes: Vec<u8>) {
            if let Some(payload) = Payload::decode(&bytes) {
                proptest::prop_assert_eq!(payload.encode(), bytes);
            }
        }
    }
}
