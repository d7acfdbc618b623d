//! How does a command end, and what does it say when it fails?
//!
//! A failure prints its causes, outermost first, and then a hint: what the
//! reader can do. The exit statuses are part of the interface and never
//! change their meaning.

use std::{fmt, process::ExitCode};

use client::{ClientError, account::AccountError, run::RunError};

use crate::{session::Format, terminal::Terminal};

/// The exit statuses of `ringfort`, as `ringfort --help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// What was asked for was done.
    Done = 0,
    /// The command failed; the message says why. Usage errors are 2, by clap.
    Failed = 1,
    /// A part of the circle is not well, or nothing runs.
    NotWell = 3,
    /// The ledger refused the transaction.
    Refused = 4,
    /// A proof does not verify.
    NotProven = 5,
    /// The request ended without what it asked for.
    Ended = 6,
    /// The job ran, and its own exit status is not zero.
    JobFailed = 7,
    /// A host runs something that its distribution did not publish.
    NotAsPublished = 10,
    /// Ctrl-C, as shells number it.
    Interrupted = 130,
}

/// The table that `--help` prints.
pub const EXIT_STATUSES: &str = "Exit status:
  0  done
  1  failed; the message says why
  2  the command line is wrong
  3  a part of the circle is not well, or nothing runs
  4  the ledger refused the transaction
  5  a proof does not verify
  6  the request ended without what it asked for
  7  the job ran, and its own exit status is not zero
 10  a host runs something that its distribution did not publish
130  interrupted";

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// An error, or the context of one, that says what its reader can do.
#[derive(Debug)]
pub struct Advice {
    message: String,
    hint: String,
    status: Status,
}

impl Advice {
    /// What went wrong, and what to do about it.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
            status: Status::Failed,
        }
    }

    /// The same, with another exit status.
    #[must_use]
    pub fn with_status(mut self, status: Status) -> Self {
        self.status = status;
        self
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Advice {}

/// The hint for `error`: its own advice first, then what its causes suggest.
fn hint(error: &anyhow::Error) -> Option<String> {
    if let Some(advice) = error.downcast_ref::<Advice>() {
        return Some(advice.hint.clone());
    }
    let refused = error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    });
    if refused {
        return Some("is the circle up? `ringfort status` tells, `ringfort up` starts it".into());
    }
    None
}

/// The exit status for `error`.
fn status(error: &anyhow::Error) -> Status {
    if let Some(advice) = error.downcast_ref::<Advice>() {
        return advice.status;
    }
    if error.chain().any(is_refusal) {
        return Status::Refused;
    }
    Status::Failed
}

/// Whether `cause` says that the ledger refused. The SDK's errors hold the
/// reject as a part of theirs, not as their source.
fn is_refusal(cause: &(dyn std::error::Error + 'static)) -> bool {
    let of_account = |error: &AccountError| error.reject().is_some();
    let of_run = |error: &RunError| match error {
        RunError::Account(error) => error.reject().is_some(),
        RunError::Client(error) => error.reject().is_some(),
        _ => false,
    };
    cause.is::<wire::Reject>()
        || cause.downcast_ref().is_some_and(of_account)
        || cause.downcast_ref().is_some_and(of_run)
        || cause
            .downcast_ref()
            .is_some_and(|error: &ClientError| error.reject().is_some())
}

/// Prints `error` with its causes and a hint, and gives the exit status.
pub fn report(terminal: &Terminal, format: Format, error: &anyhow::Error) -> Status {
    let status = status(error);
    if format == Format::Json {
        let report = serde_json::json!({"error": {
            "message": error.to_string(),
            "causes": error.chain().skip(1).map(ToString::to_string).collect::<Vec<_>>(),
            "hint": hint(error),
            "status": status as u8,
        }});
        eprintln!("{report}");
        return status;
    }
    eprintln!("{} {error}", terminal.red("error:"));
    let mut said = error.to_string();
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        // Some libraries repeat their source's text in their own.
        if !said.contains(&text) {
            eprintln!("  because: {text}");
        }
        said = text;
    }
    if let Some(hint) = hint(error) {
        eprintln!("{} {hint}", terminal.bold("hint:"));
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn advice_is_found_under_later_context() {
        let error = Err::<(), _>(Advice::new("no", "do this").with_status(Status::NotWell))
            .context("outer")
            .unwrap_err();
        assert_eq!(hint(&error).as_deref(), Some("do this"));
        assert_eq!(status(&error), Status::NotWell);
    }

    #[test]
    fn a_reject_anywhere_in_the_chain_exits_with_its_own_status() {
        let error = Err::<(), _>(wire::Reject::NameTaken)
            .context("register hello.internal")
            .unwrap_err();
        assert_eq!(status(&error), Status::Refused);
        let refused = || AccountError::Rejected {
            what: "name_reveal".to_owned(),
            reject: wire::Reject::NameTaken,
            action: Some(0),
            transaction: None,
        };
        let error = anyhow::Error::new(refused()).context("send name_reveal");
        assert_eq!(status(&error), Status::Refused);
        let error = anyhow::Error::new(RunError::Account(refused()));
        assert_eq!(status(&error), Status::Refused);
        assert_eq!(status(&anyhow::anyhow!("other")), Status::Failed);
    }
}
