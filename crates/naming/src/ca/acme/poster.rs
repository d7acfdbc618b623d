//! Posts what many clients bring at once in few transactions: an authority has
//! one account, whose transactions follow one another.

use tokio::sync::{mpsc, oneshot};
use wire::{Action, limits::MAX_ACTIONS};

use crate::ledger::{LedgerError, Post};

/// Lists of actions that wait: beyond, clients are told to come again.
const MAX_WAITING: usize = 1024;

/// Octets of the actions of one transaction: below its limit with room for the
/// envelope.
const MAX_BYTES: usize = 28 * 1024;

struct Waiting {
    actions: Vec<Action>,
    bytes: usize,
    done: oneshot::Sender<Result<(), LedgerError>>,
}

/// A place to post actions.
#[derive(Clone)]
pub(super) struct Poster {
    queue: mpsc::Sender<Waiting>,
}

impl Poster {
    /// A poster, and what must run for it to post.
    pub(super) fn new<L: Post>(
        ledger: std::sync::Arc<L>,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        (Self { queue }, run(ledger, waiting))
    }

    /// Posts `actions`, all or none, and waits until they are final.
    ///
    /// Errors: those of [`Post::post`]; unavailable while too many wait.
    pub(super) async fn post(&self, actions: Vec<Action>) -> Result<(), LedgerError> {
        let (done, outcome) = oneshot::channel();
        let bytes = borsh::to_vec(&actions).map_or(MAX_BYTES, |bytes| bytes.len());
        let waiting = Waiting {
            actions,
            bytes,
            done,
        };
        let busy = |what: &str| LedgerError::Unavailable(what.to_owned().into());
        self.queue
            .try_send(waiting)
            .map_err(|_| busy("too many requests wait"))?;
        outcome
            .await
            .unwrap_or_else(|_| Err(busy("the authority stops")))
    }
}

async fn run<L: Post>(ledger: std::sync::Arc<L>, mut waiting: mpsc::Receiver<Waiting>) {
    let mut held: Option<Waiting> = None;
    loop {
        let first = match held.take() {
            Some(first) => first,
            None => match waiting.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let (mut count, mut bytes) = (first.actions.len(), first.bytes);
        let mut batch = vec![first];
        while let Ok(next) = waiting.try_recv() {
            count += next.actions.len();
            bytes += next.bytes;
            if count > MAX_ACTIONS || bytes > MAX_BYTES {
                held = Some(next);
                break;
            }
            batch.push(next);
        }
        post(&*ledger, batch).await;
    }
}

/// Posts a batch; if it is rejected, one by one, so that one client's mistake
/// costs no other anything.
async fn post<L: Post>(ledger: &L, mut batch: Vec<Waiting>) {
    if batch.len() > 1 {
        let actions = batch
            .iter()
            .flat_map(|waiting| waiting.actions.clone())
            .collect();
        match ledger.post(actions).await {
            Ok(()) => {
                for waiting in batch {
                    let _ = waiting.done.send(Ok(()));
                }
                return;
            }
            Err(LedgerError::Rejected(_)) => {}
            Err(error) => {
                let text = crate::ledger::chain(&error);
                for waiting in batch {
                    let error = LedgerError::Unavailable(text.clone().into());
                    let _ = waiting.done.send(Err(error));
                }
                return;
            }
        }
    }
    for waiting in batch.drain(..) {
        let outcome = ledger.post(waiting.actions).await;
        let _ = waiting.done.send(outcome);
    }
}
