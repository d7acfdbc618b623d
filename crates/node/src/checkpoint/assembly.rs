//! On which thread is a state put together?
//!
//! The tree's library stays on the thread on which it was begun, and its work
//! blocks; fetching does neither. An [`Assembly`] is the async side's hold on a
//! thread that owns one [`Restoration`].

use std::{io, path::PathBuf, sync::mpsc, thread};

use tokio::sync::oneshot;

use super::{
    format::CheckedManifest,
    restore::{Restoration, RestoreError},
};
use crate::store::Store;

/// What came of a piece of work, and the chunk that is wanted next.
type Answer = (Result<(), RestoreError>, Option<u32>);

enum Work {
    Add(Vec<u8>, oneshot::Sender<Answer>),
    Finish(oneshot::Sender<Answer>),
    Close(oneshot::Sender<Answer>),
}

/// A restoration on a thread of its own; the thread ends with this.
pub(super) struct Assembly {
    work: mpsc::Sender<Work>,
    next: Option<u32>,
}

impl Assembly {
    /// Begins or goes on with the staged store at `path`.
    ///
    /// Errors: those of [`Restoration::open`]; the system gives no thread.
    pub(super) async fn open(
        path: PathBuf,
        manifest: CheckedManifest,
    ) -> io::Result<Result<Self, RestoreError>> {
        let (work, inbox) = mpsc::channel();
        let (opened, answer) = oneshot::channel();
        let builder = thread::Builder::new().name("assembly".to_owned());
        builder.spawn(move || run(path, manifest, opened, inbox))?;
        let (opened, next) = answer.await.map_err(io::Error::other)?;
        Ok(opened.map(|()| Self { work, next }))
    }

    /// The number of the chunk to give next; none after the last.
    pub(super) fn next_chunk(&self) -> Option<u32> {
        self.next
    }

    /// As [`Restoration::add`].
    ///
    /// Errors: the thread has ended, which it does only by a panic.
    pub(super) async fn add(&mut self, chunk: Vec<u8>) -> io::Result<Result<(), RestoreError>> {
        self.ask(|reply| Work::Add(chunk, reply)).await
    }

    /// As [`Restoration::finish`]; the store is closed then.
    ///
    /// Errors: as [`Assembly::add`].
    pub(super) async fn finish(mut self) -> io::Result<Result<(), RestoreError>> {
        self.ask(Work::Finish).await
    }

    /// Closes the store, with what it has.
    ///
    /// Errors: as [`Assembly::add`].
    pub(super) async fn close(mut self) -> io::Result<()> {
        self.ask(Work::Close).await.map(drop)
    }

    async fn ask(
        &mut self,
        work: impl FnOnce(oneshot::Sender<Answer>) -> Work,
    ) -> io::Result<Result<(), RestoreError>> {
        let (reply, answer) = oneshot::channel();
        self.work.send(work(reply)).map_err(io::Error::other)?;
        let (done, next) = answer.await.map_err(io::Error::other)?;
        self.next = next;
        Ok(done)
    }
}

/// Who no longer waits for an answer needs none.
fn run(
    path: PathBuf,
    manifest: CheckedManifest,
    opened: oneshot::Sender<Answer>,
    inbox: mpsc::Receiver<Work>,
) {
    let store = Store::open(&path).map_err(RestoreError::from);
    let mut restoration = match store.and_then(|store| Restoration::open(store, manifest)) {
        Ok(restoration) => restoration,
        Err(error) => {
            let _ = opened.send((Err(error), None));
            return;
        }
    };
    let _ = opened.send((Ok(()), restoration.next_chunk()));
    while let Ok(work) = inbox.recv() {
        match work {
            Work::Add(chunk, reply) => {
                let done = restoration.add(&chunk);
                let _ = reply.send((done, restoration.next_chunk()));
            }
            Work::Finish(reply) => {
                let _ = reply.send((restoration.finish().map(drop), None));
                return;
            }
            Work::Close(reply) => {
                drop(restoration);
                let _ = reply.send((Ok(()), None));
                return;
            }
        }
    }
}
