//! Who checks transactions while the chain and the API go on?
//!
//! A few threads take submissions and gossip from one bounded queue, as many
//! as there are at a time, and check them together. What is new and came from
//! a client is passed on to the other validators.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, OnceLock,
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread,
};

use engine::EngineHandle;
use tokio::sync::oneshot;

use super::{Admission, Admitted, Gate, Refusal, decode_message, gossip};

/// Submissions and messages that wait to be checked: with messages of the
/// largest size, 128 MiB.
const QUEUE: usize = 512;

/// Transactions that are checked together: enough for the batch verifier, few
/// enough that the first of them waits some milliseconds only.
const BATCH: usize = 128;

/// Transactions that wait to be sent to the other validators.
const OUTBOX: usize = 8 * 1024;

/// Threads that check: each checks batches on all processors, so that more
/// only help while one waits for the state.
const MAX_THREADS: usize = 2;

/// The queue is full: the submitter should come again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many transactions are waiting to be checked")]
pub struct Busy;

enum Job {
    Submission {
        encoded: Vec<u8>,
        reply: oneshot::Sender<Result<Admitted, Refusal>>,
    },
    Message(Vec<u8>),
}

/// The queue before the gate. Cheap to clone; its threads end when all
/// clones are gone.
#[derive(Clone)]
pub struct Intake {
    jobs: SyncSender<Job>,
    engine: Arc<OnceLock<EngineHandle>>,
    outbox: Arc<Mutex<Option<Receiver<Vec<u8>>>>>,
}

impl Intake {
    /// Starts the threads before `gate`.
    ///
    /// Errors: where the system refuses a thread.
    pub fn start(gate: Gate) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::sync_channel(QUEUE);
        let (sender, outbox) = mpsc::sync_channel(OUTBOX);
        let engine = Arc::new(OnceLock::new());
        let queue = Arc::new(Mutex::new(queue));
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        for number in 0..processors.min(MAX_THREADS) {
            let worker = Worker {
                gate: gate.clone(),
                queue: queue.clone(),
                engine: engine.clone(),
                outbox: sender.clone(),
            };
            thread::Builder::new()
                .name(format!("intake-{number}"))
                .spawn(move || worker.run())?;
        }
        Ok(Self {
            jobs,
            engine,
            outbox: Arc::new(Mutex::new(Some(outbox))),
        })
    }

    /// Connects to the engine, which is started after the chain that this
    /// intake serves: from now on others hear of submissions.
    ///
    /// Errors: where the system refuses a thread.
    pub fn connect(&self, engine: EngineHandle) -> std::io::Result<()> {
        let outbox = self.outbox.lock().expect("no holder panics").take();
        if let Some(outbox) = outbox {
            let _ = self.engine.set(engine.clone());
            thread::Builder::new()
                .name("gossip".to_owned())
                .spawn(move || gossip::send_all(&outbox, &engine))?;
        }
        Ok(())
    }

    /// Checks a client's transaction; the answer comes on the channel.
    ///
    /// Errors: [`Busy`].
    pub fn submit(
        &self,
        encoded: Vec<u8>,
    ) -> Result<oneshot::Receiver<Result<Admitted, Refusal>>, Busy> {
        let (reply, answer) = oneshot::channel();
        self.jobs
            .try_send(Job::Submission { encoded, reply })
            .map_err(|_| Busy)?;
        Ok(answer)
    }
}

impl Admission for Intake {
    fn gossip(&self, message: Vec<u8>) {
        if let Err(TrySendError::Full(_)) = self.jobs.try_send(Job::Message(message)) {
            tracing::debug!("dropped a gossip message: too many wait to be checked");
        }
    }
}

struct Worker {
    gate: Gate,
    queue: Arc<Mutex<Receiver<Job>>>,
    engine: Arc<OnceLock<EngineHandle>>,
    outbox: SyncSender<Vec<u8>>,
}

impl Worker {
    fn run(self) {
        while let Some(jobs) = self.next() {
            self.check(jobs);
        }
    }

    /// The jobs that wait, up to about a batch; none when the queue has ended.
    fn next(&self) -> Option<Vec<Job>> {
        let queue = self.queue.lock().expect("no holder of the queue panics");
        let mut jobs = vec![queue.recv().ok()?];
        while jobs.len() < BATCH {
            match queue.try_recv() {
                Ok(job) => jobs.push(job),
                Err(_) => break,
            }
        }
        Some(jobs)
    }

    fn check(&self, jobs: Vec<Job>) {
        let mut encoded = Vec::new();
        let mut replies = Vec::new();
        for job in jobs {
            match job {
                Job::Submission {
                    encoded: bytes,
                    reply,
                } => {
                    encoded.push(bytes);
                    replies.push(Some(reply));
                }
                Job::Message(message) => match decode_message(&message) {
                    Ok(transactions) => {
                        replies.extend(transactions.iter().map(|_| None));
                        encoded.extend(transactions);
                    }
                    Err(error) => tracing::debug!(%error, "dropped a gossip message"),
                },
            }
        }
        // Only what came from a client is passed on; a message was sent to all.
        let local: Vec<Option<Vec<u8>>> = encoded
            .iter()
            .zip(&replies)
            .map(|(bytes, reply)| reply.as_ref().map(|_| bytes.clone()))
            .collect();
        let results = self.gate.admit(encoded);
        let mut fresh = false;
        for ((result, reply), bytes) in results.into_iter().zip(replies).zip(local) {
            let is_fresh = matches!(&result, Ok(Admitted { fresh: true, .. }));
            fresh |= is_fresh;
            if let Some(bytes) = bytes.filter(|_| is_fresh)
                && self.outbox.try_send(bytes).is_err()
            {
                tracing::debug!("a transaction waits for this node to lead: others hear too much");
            }
            if let Some(reply) = reply {
                // Who no longer waits for the answer needs none.
                let _ = reply.send(result);
            }
        }
        if fresh && let Some(engine) = self.engine.get() {
            engine.wake();
        }
    }
}
