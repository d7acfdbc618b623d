//! `ringfort name sell`, `buy`, `bid`, `bids`, `withdraw-bid` and `accept-bid`.

use anyhow::Context as _;
use wire::{
    AccountId, Action, Amount, DomainName, NameAcceptBid, NameBid, NameBuy, NameSell,
    NameWithdrawBid, Sale, record, state_key,
};

use crate::{
    commands::sent::SentReport,
    failure::{Advice, Status},
    session::Session,
    terminal::table,
    typed_name, user,
};

/// Arguments of `ringfort name sell`.
#[derive(clap::Args)]
pub struct Sell {
    /// The name.
    #[arg(value_parser = typed_name::parse)]
    name: DomainName,
    /// The price.
    #[arg(required_unless_present = "withdraw")]
    price: Option<u64>,
    /// The only account that may buy.
    #[arg(long, value_name = "ACCOUNT")]
    to: Option<AccountId>,
    /// For how many blocks it is for sale.
    #[arg(long = "for", value_name = "BLOCKS", default_value_t = 100_000)]
    blocks: u64,
    /// Take it back instead.
    #[arg(long, conflicts_with_all = ["price", "to"])]
    withdraw: bool,
}

impl Sell {
    /// Puts the name up for sale, or takes it back.
    pub fn execute(self, session: &Session) -> anyhow::Result<Status> {
        let sale = match self.price {
            Some(price) => Some(Sale {
                price: Amount(price),
                buyer: self.to,
                expires_at: ahead(session, self.blocks)?,
            }),
            None => None,
        };
        let done = match &sale {
            Some(_) => "for sale",
            None => "taken back",
        };
        let action = NameSell {
            name: self.name,
            sale,
        };
        SentReport::send(session, Action::NameSell(action), done)
    }
}

/// The height `blocks` from now.
fn ahead(session: &Session, blocks: u64) -> anyhow::Result<wire::Height> {
    let client = user::client(session)?;
    let now = crate::commands::runtime()?
        .block_on(client.recent_height())
        .context("ask for the height")?;
    Ok(now.plus(blocks))
}

/// Arguments of `ringfort name buy`.
#[derive(clap::Args)]
pub struct Buy {
    /// The name.
    #[arg(value_parser = typed_name::parse)]
    name: DomainName,
    /// The most that you pay.
    #[arg(long, value_name = "AMOUNT")]
    up_to: u64,
}

impl Buy {
    /// Buys at the price that is proven now, if it is not above the limit.
    pub fn execute(self, session: &Session) -> anyhow::Result<Status> {
        let client = user::client(session)?;
        let record: record::Name = crate::commands::runtime()?
            .block_on(client.require(state_key::name(&self.name), || {
                format!("name {}", self.name)
            }))
            .context("read the name")?;
        let not_for_sale = || {
            Advice::new(
                format!("{} is not for sale", self.name),
                "`ringfort name bid` makes its owner a bid",
            )
        };
        let price = record.sale.ok_or_else(not_for_sale)?.price;
        if price.0 > self.up_to {
            let message = format!("{} costs {price}, more than {}", self.name, self.up_to);
            return Err(Advice::new(message, "raise --up-to, or bid").into());
        }
        let action = NameBuy {
            name: self.name,
            price,
        };
        SentReport::send(session, Action::NameBuy(action), "bought")
    }
}

/// Arguments of `ringfort name bid`.
#[derive(clap::Args)]
pub struct Bid {
    /// The name.
    #[arg(value_parser = typed_name::parse)]
    name: DomainName,
    /// What you pay for it.
    amount: u64,
    /// For how many blocks the bid stands.
    #[arg(long = "for", value_name = "BLOCKS", default_value_t = 100_000)]
    blocks: u64,
}

impl Bid {
    /// Puts the amount in escrow.
    pub fn execute(self, session: &Session) -> anyhow::Result<Status> {
        let action = NameBid {
            name: self.name,
            amount: Amount(self.amount),
            expires_at: ahead(session, self.blocks)?,
        };
        SentReport::send(session, Action::NameBid(action), "bid")
    }
}

/// Takes the sender's bid back.
pub fn withdraw(session: &Session, name: DomainName) -> anyhow::Result<Status> {
    let action = Action::NameWithdrawBid(NameWithdrawBid { name });
    SentReport::send(session, action, "withdrawn")
}

/// Lists the bids for a name.
pub fn bids(session: &Session, name: &DomainName) -> anyhow::Result<Status> {
    let client = user::client(session)?;
    let bids = crate::commands::runtime()?
        .block_on(client.bids_for(name))
        .context("list the bids")?;
    session.print(&bids, |bids| {
        let rows: Vec<Vec<String>> = bids
            .iter()
            .map(|one| {
                vec![
                    one.bidder.to_string(),
                    one.bid.amount.to_string(),
                    one.bid.expires_at.to_string(),
                ]
            })
            .collect();
        table(&["BIDDER", "AMOUNT", "UNTIL HEIGHT"], &rows)
    })?;
    Ok(Status::Done)
}

/// Arguments of `ringfort name accept-bid`.
#[derive(clap::Args)]
pub struct AcceptBid {
    /// The name.
    #[arg(value_parser = typed_name::parse)]
    name: DomainName,
    /// The bidder's account.
    bidder: AccountId,
    /// The amount of the bid: another one is not accepted.
    amount: u64,
}

impl AcceptBid {
    /// Exchanges the name for the amount.
    pub fn execute(self, session: &Session) -> anyhow::Result<Status> {
        let action = NameAcceptBid {
            name: self.name,
            bidder: self.bidder,
            amount: Amount(self.amount),
        };
        SentReport::send(session, Action::NameAcceptBid(action), "sold")
    }
}
