//! `ringfort account`: what an account holds, and transfers.

use anyhow::Context as _;
use serde::Serialize;
use wire::{AccountId, Action, Amount, PublicKey, Transfer, record, state_key};

use super::sent::SentReport;
use crate::{failure::Status, session::Session, user};

/// Commands on accounts.
#[derive(clap::Subcommand)]
pub enum Account {
    /// Show what an account holds; your own if none is named.
    Show {
        /// The account's id, or the public key that controls it.
        #[arg(value_parser = account_id)]
        account: Option<AccountId>,
    },
    /// Move funds to another account.
    Transfer {
        /// The receiver: an account's id, or the public key that controls it.
        #[arg(value_parser = account_id)]
        to: AccountId,
        /// How much.
        amount: u64,
    },
}

#[derive(Serialize)]
struct Shown {
    account: AccountId,
    #[serde(flatten)]
    record: record::Account,
    height: wire::Height,
}

/// An account, by its id or by the key that controls it.
pub fn account_id(text: &str) -> Result<AccountId, String> {
    let by_key = text.parse::<PublicKey>().map(|key| key.account());
    by_key.or_else(|_| text.parse::<AccountId>()).map_err(|_| {
        "give an account's 64 hex digits or its public key (ed25519:… or p256:…)".to_owned()
    })
}

/// Carries out a command on accounts.
pub fn execute(session: &Session, command: Account) -> anyhow::Result<Status> {
    match command {
        Account::Show { account } => show(session, account),
        Account::Transfer { to, amount } => {
            let transfer = Transfer {
                to,
                amount: Amount(amount),
            };
            SentReport::send(session, Action::Transfer(transfer), "transferred")
        }
    }
}

fn show(session: &Session, account: Option<AccountId>) -> anyhow::Result<Status> {
    let client = user::client(session)?;
    let account = match account {
        Some(account) => account,
        None => user::own_id(session)?,
    };
    let (record, proven) = super::runtime()?
        .block_on(client.proven::<record::Account>(state_key::account(account)))
        .context("read the account")?;
    let shown = Shown {
        account,
        record: record.unwrap_or_default(),
        height: proven.height(),
    };
    session.print(&shown, |shown| {
        format!(
            "account   {}\nbalance   {}\nsequence  {}\n(proven at height {})\n",
            shown.account, shown.record.balance, shown.record.sequence, shown.height
        )
    })?;
    Ok(Status::Done)
}
