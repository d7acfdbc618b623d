//! What should users' accounts be after each block?
//!
//! A model of transfers that knows nothing of the ledger: it takes final
//! blocks and the rule that a transfer moves its amount and costs its fee, and
//! adds up. It trusts receipts for the amount of a fee only.

use node::{
    sample::{BALANCE, USERS, account},
    store::Snapshot,
};
use wire::{
    AccountId, Action, Amount, Height, Receipt, SignedTransaction, TransactionResult,
    record::Account,
};

use crate::{Checker, Violation};

/// Users' accounts after each height from genesis on.
pub(crate) struct Model {
    after: Vec<Vec<Account>>,
}

impl Model {
    /// Reads a store that has all blocks since genesis.
    ///
    /// Errors: [`Violation`] of [`Checker::Model`] where a transaction was
    ///         carried that could not be, or refused that could.
    pub(crate) fn of(snapshot: &Snapshot) -> Result<Self, Violation> {
        let ids: Vec<AccountId> = (0..USERS).map(account).collect();
        let first = Account {
            balance: BALANCE,
            sequence: 0,
        };
        let mut after = vec![vec![first; ids.len()]];
        for height in 1..=snapshot.height().0 {
            let mut accounts = after.last().cloned().unwrap_or_default();
            let (transactions, receipts) = block(snapshot, Height(height))?;
            for (bytes, receipt) in transactions.iter().zip(&receipts) {
                let signed: SignedTransaction = borsh::from_slice(bytes)
                    .map_err(|error| wrong(format!("height {height}: {error}")))?;
                take(&ids, &mut accounts, &signed, receipt)
                    .map_err(|what| wrong(format!("height {height}: {what}")))?;
            }
            after.push(accounts);
        }
        Ok(Self { after })
    }

    /// A user's account after a height, if the model has come to it.
    pub(crate) fn at(&self, height: Height, user: u8) -> Option<Account> {
        let accounts = self.after.get(usize::try_from(height.0).ok()?)?;
        accounts.get(usize::from(user)).copied()
    }
}

fn wrong(what: String) -> Violation {
    Violation {
        checker: Checker::Model,
        what,
    }
}

/// A block's transactions and receipts.
fn block(snapshot: &Snapshot, height: Height) -> Result<(Vec<Vec<u8>>, Vec<Receipt>), Violation> {
    let unreadable = |what: &str| wrong(format!("no {what} at height {height}"));
    let transactions = snapshot.transactions(height).ok().flatten();
    let transactions = transactions.ok_or_else(|| unreadable("transactions"))?;
    let receipts = snapshot.receipts(height).ok().flatten();
    let receipts = receipts.ok_or_else(|| unreadable("receipts"))?;
    if transactions.len() != receipts.len() {
        return Err(unreadable("receipt for each transaction"));
    }
    Ok((transactions, receipts))
}

fn take(
    ids: &[AccountId],
    accounts: &mut [Account],
    signed: &SignedTransaction,
    receipt: &Receipt,
) -> Result<(), String> {
    let sender = signed.transaction.sender.account();
    let Some(from) = ids.iter().position(|id| *id == sender) else {
        return Ok(()); // A member's: it moves no user's funds.
    };
    if receipt.transaction != signed.id() || receipt.sender != sender {
        return Err("a receipt is of another transaction".into());
    }
    let [Action::Transfer(transfer)] = &signed.transaction.actions[..] else {
        return Err("a user sent something else than a transfer".into());
    };
    if signed.transaction.sequence != accounts[from].sequence {
        return Err("a transaction was carried out of its order".into());
    }
    let costs = receipt.fee.0 + transfer.amount.0;
    let can = accounts[from].balance.0 >= costs;
    if can != (receipt.result == TransactionResult::Applied) {
        return Err(format!("a transfer came to {:?}", receipt.result));
    }
    accounts[from].sequence += 1;
    let leaves = if can { costs } else { receipt.fee.0 };
    accounts[from].balance = Amount(accounts[from].balance.0 - leaves);
    if can && let Some(to) = ids.iter().position(|id| *id == transfer.to) {
        accounts[to].balance = Amount(accounts[to].balance.0 + transfer.amount.0);
    }
    Ok(())
}

/// Whether a transaction may be the first of a circle, with this receipt.
#[cfg(test)]
pub(crate) fn accepts(signed: &SignedTransaction, receipt: &Receipt) -> Result<(), String> {
    let ids: Vec<AccountId> = (0..USERS).map(account).collect();
    let first = Account {
        balance: BALANCE,
        sequence: 0,
    };
    take(&ids, &mut vec![first; ids.len()], signed, receipt)
}
