//! `ringfort name`: names of the circle, one file for each of their concerns.

mod api;
mod delegate;
mod keys;
mod proof;
mod records;
mod register;
mod reverse;
mod sale;
mod secure;
mod show;
mod update_key;
mod zone_file;

use wire::{Action, Amount, DomainName, NameCancel, NameRenew, NameTransfer, PublicKey};

use super::sent::SentReport;
use crate::{failure::Status, session::Session, typed_name};

/// Commands on names.
#[derive(clap::Subcommand)]
pub enum Name {
    /// Register a free name to your key: commit, wait, reveal; goes on where it was broken off.
    Register(register::Register),
    /// List registered names.
    List,
    /// Show a name: owner, deposit, until when it is paid, records, endpoints.
    Show {
        /// The name.
        #[arg(value_parser = typed_name::parse)]
        name: DomainName,
    },
    /// List the names that have an address.
    Reverse(reverse::Reverse),
    /// Replace an RRset of a name of yours; without data, remove it.
    Set(records::Set),
    /// Print an apex, or a registered name, as a zone file without signatures.
    Export(zone_file::Export),
    /// Show how a zone file differs from the ledger, and make the ledger hold
    /// the records of every name in it.
    Import(zone_file::Import),
    /// Set the key, certificate and addresses of a server of yours.
    Secure(secure::Secure),
    /// Hand a subdomain to a name server: NS, DS, glue and the server's key.
    Delegate(delegate::Delegate),
    /// Add to a name's deposit.
    Renew {
        /// The name.
        #[arg(value_parser = typed_name::parse)]
        name: DomainName,
        /// How much to add.
        amount: u64,
    },
    /// Give a name up; what is left of its deposit comes back.
    Cancel {
        /// The name.
        #[arg(value_parser = typed_name::parse)]
        name: DomainName,
    },
    /// Hand a name to another owner.
    Transfer {
        /// The name.
        #[arg(value_parser = typed_name::parse)]
        name: DomainName,
        /// The new owner's public key.
        to: PublicKey,
    },
    /// Put a name up for sale at a price, or take it back.
    Sell(sale::Sell),
    /// Buy a name that is for sale.
    Buy(sale::Buy),
    /// Bid for a name; the amount waits in escrow.
    Bid(sale::Bid),
    /// List the bids for a name.
    Bids {
        /// The name.
        #[arg(value_parser = typed_name::parse)]
        name: DomainName,
    },
    /// Take your bid back.
    WithdrawBid {
        /// The name.
        #[arg(value_parser = typed_name::parse)]
        name: DomainName,
    },
    /// Accept a bid for a name of yours.
    AcceptBid(sale::AcceptBid),
    /// Change the key of a name of yours, and nothing else.
    Rotate(keys::Rotate),
    /// Vote, as a member, to hand a name whose key is lost to another key.
    Recover(keys::Recover),
    /// End a recovery of a name of yours.
    Veto {
        /// The name.
        #[arg(value_parser = typed_name::parse)]
        name: DomainName,
    },
    /// Serve your names over the HTTP interface of PowerDNS, for octoDNS, lexicon, lego and the like.
    Api(api::Api),
    /// Write the key of a name to files for `nsupdate`.
    UpdateKey(update_key::UpdateKey),
    /// Fetch the proof of a name into a file.
    Proof(proof::Fetch),
    /// Verify the proof of a name, with the circle's key and nothing else.
    Verify(proof::Verify),
}

/// Carries out a command on names.
pub fn execute(session: &Session, command: Name) -> anyhow::Result<Status> {
    match command {
        Name::Register(register) => register.execute(session),
        Name::List => show::list(session),
        Name::Show { name } => show::show(session, &name),
        Name::Reverse(reverse) => reverse.execute(session),
        Name::Set(set) => set.execute(session),
        Name::Export(export) => export.execute(session),
        Name::Import(import) => import.execute(session),
        Name::Secure(secure) => secure.execute(session),
        Name::Delegate(delegate) => delegate.execute(session),
        Name::Renew { name, amount } => {
            let amount = Amount(amount);
            let action = Action::NameRenew(NameRenew { name, amount });
            SentReport::send(session, action, "renewed")
        }
        Name::Cancel { name } => {
            let action = Action::NameCancel(NameCancel { name });
            SentReport::send(session, action, "cancelled")
        }
        Name::Transfer { name, to } => {
            let action = Action::NameTransfer(NameTransfer { name, to });
            SentReport::send(session, action, "transferred")
        }
        Name::Sell(sell) => sell.execute(session),
        Name::Buy(buy) => buy.execute(session),
        Name::Bid(bid) => bid.execute(session),
        Name::Bids { name } => sale::bids(session, &name),
        Name::WithdrawBid { name } => sale::withdraw(session, name),
        Name::AcceptBid(accept) => accept.execute(session),
        Name::Rotate(rotate) => rotate.execute(session),
        Name::Recover(recover) => recover.execute(session),
        Name::Veto { name } => keys::veto(session, name),
        Name::Api(api) => api.execute(session),
        Name::UpdateKey(key) => key.execute(session),
        Name::Proof(fetch) => fetch.execute(session),
        Name::Verify(verify) => verify.execute(session),
    }
}
