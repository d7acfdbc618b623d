//! Sends one action and prints what became of it: what the small commands share.

use anyhow::Context as _;
use client::account::{Account, Sent};
use serde::Serialize;
use wire::{Action, Amount, Height, TransactionId};

use crate::{failure::Status, session::Session, user};

/// A transaction that was applied, as it is printed.
#[derive(Serialize)]
pub struct SentReport {
    what: &'static str,
    transaction: TransactionId,
    height: Height,
    fee: Amount,
    /// What the action made, if it made something.
    #[serde(skip_serializing_if = "Option::is_none")]
    made: Option<String>,
}

impl SentReport {
    /// Sends `action` and prints that it `what`.
    ///
    /// Errors: the ledger refused it; the circle cannot be reached.
    pub fn send(session: &Session, action: Action, what: &'static str) -> anyhow::Result<Status> {
        Self::send_making(session, action, what, |_| None)
    }

    /// As [`SentReport::send`], of several actions: all of them or none.
    ///
    /// Errors: as there.
    pub fn send_all(
        session: &Session,
        actions: Vec<Action>,
        what: &'static str,
    ) -> anyhow::Result<Status> {
        Self::send_list(session, &user::account(session)?, actions, what, |_| None)
    }

    /// As [`SentReport::send`]; `made` names what the transaction made.
    ///
    /// Errors: as there.
    pub fn send_making(
        session: &Session,
        action: Action,
        what: &'static str,
        made: impl FnOnce(TransactionId) -> Option<String>,
    ) -> anyhow::Result<Status> {
        Self::send_list(session, &user::account(session)?, vec![action], what, made)
    }

    /// As [`SentReport::send_making`], from an account of the caller's choice.
    ///
    /// Errors: as there.
    pub fn send_from(
        session: &Session,
        account: &Account,
        action: Action,
        what: &'static str,
        made: impl FnOnce(TransactionId) -> Option<String>,
    ) -> anyhow::Result<Status> {
        Self::send_list(session, account, vec![action], what, made)
    }

    fn send_list(
        session: &Session,
        account: &Account,
        actions: Vec<Action>,
        what: &'static str,
        made: impl FnOnce(TransactionId) -> Option<String>,
    ) -> anyhow::Result<Status> {
        let names: Vec<_> = actions.iter().map(Action::name).collect();
        let sent: Sent = super::runtime()?
            .block_on(account.send(actions))
            .with_context(|| format!("send {}", names.join("+")))?;
        let report = Self {
            what,
            transaction: sent.transaction,
            height: sent.receipt.height,
            fee: sent.receipt.fee,
            made: made(sent.transaction),
        };
        session.print(&report, |report| {
            let made = report
                .made
                .as_ref()
                .map_or_else(String::new, |made| format!("{made}\n"));
            format!(
                "{made}{} (tx {}, height {}, fee {})\n",
                report.what,
                report.transaction.short(),
                report.height,
                report.fee
            )
        })?;
        Ok(Status::Done)
    }
}
