//! `ringfort run`: the confidential run (seed 000, procedures 100 to 400) from
//! a file to an answer, each step told as it happens.

mod report;
mod specification;

use anyhow::Context as _;
use client::{
    User,
    run::{Followed, Observer, RequestLock, Until},
};
use wire::{EndReason, PayloadKind, RequestId, record::RequestStatus};

pub use report::{Reach, StepPrinter};
pub use specification::Run;

use super::result;
use crate::{
    failure::{Advice, Status},
    session::{Format, Session},
    user,
};

/// Runs a payload, or takes up the watch over one that was posted before.
pub fn execute(session: &Session, run: &Run) -> anyhow::Result<Status> {
    super::runtime()?.block_on(async {
        tokio::select! {
            ended = carry_out(session, run) => ended,
            _ = tokio::signal::ctrl_c() => Ok(interrupted(session)),
        }
    })
}

/// What to do after Ctrl-C: nothing is lost that was posted.
fn interrupted(session: &Session) -> Status {
    let ringfort = session.invocation();
    eprintln!();
    session.terminal.note(&format!(
        "interrupted; a request that was posted goes on. `{ringfort} ps` lists it, \
         `{ringfort} run --resume ID` watches it again, `{ringfort} rm ID` ends it. \
         If none was posted, the same command begins anew"
    ));
    Status::Interrupted
}

async fn carry_out(session: &Session, run: &Run) -> anyhow::Result<Status> {
    let user = user::user(session)?;
    let printer = StepPrinter::new(session);
    let observer: Observer = printer.observer();
    if let Some(text) = &run.resume {
        return resume(session, &user, text, run, &observer).await;
    }
    let block_interval_ms = user
        .account()
        .client()
        .rules()
        .await
        .context("read the circle's rules")?
        .parameters
        .idle_block_interval_ms;
    let spec = run.specification(session, user.account().id(), block_interval_ms)?;
    if run.dry_run {
        let report = user.dry_run(spec).await.context("ask the market")?;
        return specification::print_dry_run(session, &report);
    }
    let submitted = user
        .submit(spec, &observer)
        .await
        .context("post the request")?;
    let until = until(submitted.terms.payload_kind);
    // The lock says that this process answers for the request, so the agent does not.
    let _lock = submitted.lock;
    let from = Some(submitted.height);
    let followed = user.follow(submitted.request, from, until, &observer).await;
    conclude(session, &user, submitted.request, followed, run).await
}

/// What a run of this kind waits for.
fn until(kind: PayloadKind) -> Until {
    match kind {
        PayloadKind::Service => Until::Running,
        PayloadKind::Job => Until::Ended,
    }
}

async fn resume(
    session: &Session,
    user: &User,
    text: &str,
    run: &Run,
    observer: &Observer,
) -> anyhow::Result<Status> {
    let request = user::find(user, text).await?;
    if let RequestStatus::Closed(reason) = request.record.status {
        return conclude(session, user, request.id, Ok(Followed::Ended(reason)), run).await;
    }
    let _lock = RequestLock::take(user.wallet(), request.id)
        .await?
        .context("another process watches this request")?;
    let until = until(request.record.terms.payload_kind);
    let followed = user.follow(request.id, None, until, observer).await;
    conclude(session, user, request.id, followed, run).await
}

async fn conclude(
    session: &Session,
    user: &User,
    request: RequestId,
    followed: Result<Followed, client::run::RunError>,
    run: &Run,
) -> anyhow::Result<Status> {
    match followed {
        Ok(Followed::Running) => {
            let reach = Reach::find(session, user, request).await?;
            session.print(&reach, |reach| reach.human(session))?;
            Ok(Status::Done)
        }
        Ok(Followed::Ended(EndReason::Completed)) => {
            let directory = run.output_directory.as_deref();
            result::fetch(session, user, request, 0, directory).await
        }
        Ok(Followed::Stopped) => {
            session.terminal.progress("it is stopped");
            Ok(Status::Done)
        }
        Ok(Followed::Ended(reason)) => Err(ended(reason)),
        Err(client::run::RunError::Ended { reason, .. }) => Err(ended(reason)),
        Err(error) => Err(error).context("follow the request"),
    }
}

/// The failure of a request that ended without what it asked for, with what can be done.
fn ended(reason: EndReason) -> anyhow::Error {
    let hint = match reason {
        EndReason::NoOffer => {
            "the escrow came back; `--dry-run` says for every offer why it does not fit"
        }
        EndReason::EscrowEmpty => "give it more with --escrow, or a lower --max-price",
        EndReason::PayloadCorrupt | EndReason::PayloadUnavailable => {
            "upload it again with `ringfort run`; --mirror names other stores"
        }
        EndReason::PayloadFailed => "`ringfort logs` shows what it printed, if it came that far",
        EndReason::ResponseRejected => {
            "the enclave did not accept this user's response: was the wallet restored from an \
             older copy? run it again"
        }
        EndReason::HandshakeTimeout | EndReason::ProviderSilent | EndReason::TooManyFailures => {
            "the providers failed it; `ringfort offer list` shows who else there is"
        }
        _ => "`ringfort ps --all` shows how it went",
    };
    Advice::new(format!("the request ended: {}", reason.describe()), hint)
        .with_status(Status::Ended)
        .into()
}

/// Whether steps are printed as JSON, one to a line.
fn as_json(session: &Session) -> bool {
    session.format == Format::Json
}
