//! What a launched enclave is at, and how a payload becomes something that runs.

use std::sync::Arc;

use aws_lc_rs::digest;
use handshake::{BundleView, Purpose, Receiver, StreamError};
use tokio::task::AbortHandle;
use wire::{Digest, PayloadKind};
use zeroize::Zeroizing;

use super::launched::{Variable, Waiting};
use crate::{
    job::Job,
    logs::Logs,
    runtime::{Limits, compile},
    service::Service,
};

/// What the enclave is at; the number is that of the operation that began it.
pub(super) enum State {
    /// Nothing is there: before the first start, after a stop, after a failure
    /// or the end of a job.
    Idle,
    /// The payload is on its way.
    Fetching(u32, Box<Fetch>),
    /// The payload is whole and waits for keys of labels.
    Deriving(u32, Box<Waiting>),
    /// The payload is being compiled.
    Preparing(u32, AbortHandle),
    /// A service runs.
    Serving,
    /// A job runs.
    Working(u32, AbortHandle),
}

/// A payload that runs, or is about to.
pub(super) enum Prepared {
    /// A service.
    Service(Service),
    /// A job.
    Job(Box<Job>),
}

/// The encrypted payload, as far as it has come.
pub(super) struct Fetch {
    receiver: Receiver,
    hash: digest::Context,
    expected: Digest,
}

impl Fetch {
    /// Awaits `bytes` bytes that hash to `expected`.
    pub fn new(bytes: u64, expected: Digest) -> Self {
        Self {
            receiver: Receiver::new(Purpose::Payload, bytes),
            hash: digest::Context::new(&digest::SHA256),
            expected,
        }
    }

    /// Takes the next bytes; whether they were the last.
    ///
    /// Errors: [`StreamError`].
    pub fn push(&mut self, data_key: &[u8; 32], bytes: &[u8]) -> Result<bool, StreamError> {
        self.receiver.push(data_key, bytes)?;
        self.hash.update(bytes);
        Ok(self.receiver.missing() == 0)
    }

    /// The decrypted bundle.
    ///
    /// Errors: a sentence for the user.
    pub fn finish(self: Box<Self>) -> Result<Zeroizing<Vec<u8>>, String> {
        // Procedure 400, once more inside the enclave (seed 000 [0063]).
        if self.hash.finish().as_ref() != self.expected.0 {
            return Err("the payload does not have the hash that the request gives".to_owned());
        }
        self.receiver
            .finish()
            .map_err(|error| format!("the payload does not open: {error}"))
    }
}

/// Makes a bundle ready to run; its plaintext is wiped before this returns,
/// except for what became code, memory and files of the guest.
///
/// Errors: a sentence for the user.
pub(super) async fn prepare(
    kind: PayloadKind,
    bundle: Zeroizing<Vec<u8>>,
    keys: Vec<Variable>,
    limits: Arc<Limits>,
    logs: Arc<Logs>,
) -> Result<Prepared, String> {
    // Compiling takes seconds: it must not hold up the channel.
    let compiled = tokio::task::spawn_blocking(move || {
        let mut view = BundleView::parse(&bundle).map_err(|error| error.to_string())?;
        for (name, value) in &keys {
            view.env.push((name.clone(), value.to_string()));
        }
        if view.kind != kind {
            return Err("the payload is of another kind than the request says".to_owned());
        }
        let compiled = compile(kind, view.component).map_err(|error| error.to_string())?;
        match kind {
            PayloadKind::Service => Ok((Some(compiled), None, view.env)),
            PayloadKind::Job => {
                let (args, env) = (&view.args, &view.env);
                let job = Job::new(compiled, args, env, &view.inputs, &limits, &logs)
                    .map_err(|error| error.to_string())?;
                Ok((None, Some(job), Vec::new()))
            }
        }
        .map(|prepared| (prepared, limits, logs))
    })
    .await
    .map_err(|_| "the compiler failed".to_owned())?;
    match compiled? {
        ((Some(compiled), _, env), limits, logs) => Service::new(compiled, env, &limits, logs)
            .await
            .map(Prepared::Service)
            .map_err(|error| error.to_string()),
        ((None, Some(job), _), ..) => Ok(Prepared::Job(Box::new(job))),
        ((None, None, _), ..) => Err("nothing was compiled".to_owned()),
    }
}
