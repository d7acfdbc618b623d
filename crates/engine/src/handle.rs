//! How does the rest of a process talk to the engine that it runs?
//!
//! The engine lives on threads of its own; [`EngineHandle`] is the only way
//! in. It trusts nothing of its caller but the sizes that it checks.

use std::{collections::BTreeMap, sync::Arc, thread::JoinHandle};

use commonware_utils::{
    channel::mpsc,
    sync::{Mutex, Notify},
};
use wire::Height;

use crate::{
    config::MAX_GOSSIP_BYTES,
    keys::{KeyError, PeerKey},
};

/// Gossip messages that wait to be sent: two seconds' worth.
pub(crate) const GOSSIP_BACKLOG: usize = 256;

/// A peer counts as connected for this long after it was last heard from;
/// every validator says something each second.
pub(crate) const PEER_SILENCE_MS: u64 = 4_000;

/// Why the engine could not start, go on or do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The caller's configuration contradicts itself.
    #[error("the engine's configuration is wrong: {0}")]
    Config(String),
    /// The caller's key material does not fit.
    #[error("the validator's keys do not fit")]
    Key(#[from] KeyError),
    /// The system refused the engine's directory.
    #[error("cannot use the engine's directory {path}")]
    Directory {
        /// The directory.
        path: std::path::PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The system refused a thread.
    #[error("the engine's thread did not start")]
    Thread(#[source] std::io::Error),
    /// The caller's gossip message is above [`MAX_GOSSIP_BYTES`].
    #[error("a gossip message of {0} bytes is above the limit of {MAX_GOSSIP_BYTES}")]
    GossipTooLarge(usize),
    /// More gossip is waiting than can be sent; try again later.
    #[error("too many gossip messages are waiting to be sent")]
    GossipBacklog,
    /// The engine has stopped.
    #[error("the engine has stopped: {0}")]
    Stopped(String),
}

/// What the engine is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The current epoch.
    pub epoch: u64,
    /// The latest view of which this validator knows the outcome.
    pub view: u64,
    /// The highest height that was delivered to the chain.
    pub finalized_height: Height,
    /// The highest height known to be final, delivered or not.
    pub tip_height: Height,
    /// The highest height that a connected peer claims to have; not proven.
    pub peer_height: Height,
    /// How many validators are in office.
    pub validators: usize,
    /// Whether this validator votes: it is in office and has its share.
    pub in_office: bool,
    /// Whether it is in the committee and has no share, so that it cannot vote.
    pub share_missing: bool,
    /// The resharing under way, if there is one.
    pub handover: Option<HandoverStatus>,
    /// The validators that were heard from within the last seconds.
    pub connected: Vec<PeerKey>,
}

/// A resharing under way, as this validator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandoverStatus {
    /// Its number.
    pub round: u64,
    /// How many validators are to hold shares.
    pub target: usize,
    /// How many dealings are in the state.
    pub dealt: usize,
    /// Whether this validator deals or is dealt to.
    pub takes_part: bool,
}

/// What a peer last said of itself.
#[derive(Clone, Copy)]
pub(crate) struct PeerReport {
    pub heard_ms: u64,
    pub height: Height,
}

#[derive(Default)]
pub(crate) struct Progress {
    pub epoch: u64,
    pub view: u64,
    pub delivered: Height,
    pub tip: Height,
    pub validators: usize,
    pub in_office: bool,
    pub share_missing: bool,
    pub handover: Option<HandoverStatus>,
    pub peers: BTreeMap<PeerKey, PeerReport>,
    /// The engine's clock at the last heartbeat.
    pub now_ms: u64,
}

/// What the engine's tasks and its handle share.
#[derive(Default)]
pub(crate) struct Shared {
    pub progress: Mutex<Progress>,
    /// There may be work to propose.
    pub wake: Notify,
    /// The engine is asked to stop.
    pub stop: Notify,
    /// Renders the runtime's metrics, while there is a runtime.
    pub metrics: Mutex<Option<Box<dyn Fn() -> String + Send>>>,
}

impl Shared {
    pub(crate) fn status(&self) -> Status {
        let progress = self.progress.lock();
        let oldest = progress.now_ms.saturating_sub(PEER_SILENCE_MS);
        let connected = progress
            .peers
            .iter()
            .filter(|(_, peer)| peer.heard_ms >= oldest);
        let mut status = Status {
            epoch: progress.epoch,
            view: progress.view,
            finalized_height: progress.delivered,
            tip_height: progress.tip.max(progress.delivered),
            validators: progress.validators,
            in_office: progress.in_office,
            share_missing: progress.share_missing,
            handover: progress.handover,
            ..Status::default()
        };
        for (key, peer) in connected {
            status.connected.push(*key);
            status.peer_height = status.peer_height.max(peer.height);
        }
        status
    }
}

enum Running {
    Thread(JoinHandle<Result<(), String>>),
    Ended(Result<(), String>),
}

struct Inner {
    shared: Arc<Shared>,
    gossip: mpsc::Sender<Vec<u8>>,
    running: Mutex<Running>,
}

/// A running engine. Cheap to clone; dropping it does not stop the engine.
#[derive(Clone)]
pub struct EngineHandle(Arc<Inner>);

impl EngineHandle {
    pub(crate) fn new(
        shared: Arc<Shared>,
        gossip: mpsc::Sender<Vec<u8>>,
        thread: JoinHandle<Result<(), String>>,
    ) -> Self {
        Self(Arc::new(Inner {
            shared,
            gossip,
            running: Mutex::new(Running::Thread(thread)),
        }))
    }

    /// Sends `message` to every other validator that is connected, best effort.
    ///
    /// Errors: [`EngineError::GossipTooLarge`]; [`EngineError::GossipBacklog`]
    ///         if messages come faster than they can leave;
    ///         [`EngineError::Stopped`].
    pub fn broadcast(&self, message: Vec<u8>) -> Result<(), EngineError> {
        if message.len() > MAX_GOSSIP_BYTES {
            return Err(EngineError::GossipTooLarge(message.len()));
        }
        self.0
            .gossip
            .try_send(message)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => EngineError::GossipBacklog,
                mpsc::error::TrySendError::Closed(_) => {
                    EngineError::Stopped("no reason is known".into())
                }
            })
    }

    /// Says that there is work: a leader that waits proposes at once.
    pub fn wake(&self) {
        self.0.shared.wake.notify_one();
    }

    /// What the engine is doing now.
    pub fn status(&self) -> Status {
        self.0.shared.status()
    }

    /// The engine's metrics in Prometheus' text format; empty unless it is running.
    pub fn metrics(&self) -> String {
        let render = self.0.shared.metrics.lock();
        render.as_ref().map(|render| render()).unwrap_or_default()
    }

    /// Whether the engine's threads are up.
    pub fn is_running(&self) -> bool {
        match &*self.0.running.lock() {
            Running::Thread(thread) => !thread.is_finished(),
            Running::Ended(_) => false,
        }
    }

    /// Asks the engine to stop and returns at once; [`EngineHandle::join`] waits.
    pub fn shutdown(&self) {
        self.0.shared.stop.notify_one();
    }

    /// Waits until the engine has stopped and released its storage and address.
    ///
    /// Errors: [`EngineError::Stopped`] if it stopped without being asked.
    pub fn join(&self) -> Result<(), EngineError> {
        let mut running = self.0.running.lock();
        let ended = match std::mem::replace(&mut *running, Running::Ended(Ok(()))) {
            Running::Ended(result) => result,
            Running::Thread(thread) => thread.join().unwrap_or_else(|panic| Err(reason(&*panic))),
        };
        *running = Running::Ended(ended.clone());
        ended.map_err(EngineError::Stopped)
    }
}

pub(crate) fn reason(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_string()))
        .unwrap_or_else(|| "a task of the engine panicked".into())
}
