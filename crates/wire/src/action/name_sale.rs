//! Actions that sell names: at a fixed price, and by bids whose amount is in
//! escrow. Name and payment change hands in one action.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{AccountId, Amount, DomainName, Height};

/// A name's price, and for whom.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Sale {
    /// What the buyer pays to the owner; not zero.
    pub price: Amount,
    /// The only account that may buy; none for anyone.
    pub buyer: Option<AccountId>,
    /// The last height at which it may be bought.
    pub expires_at: Height,
}

/// Puts a name up for sale at a price, or takes it back.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NameSell {
    /// The registered name; the sender's key owns it.
    pub name: DomainName,
    /// The terms; none takes it back.
    pub sale: Option<Sale>,
}

/// Buys a name that is for sale; the sender's key owns it from then on.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NameBuy {
    /// The registered name.
    pub name: DomainName,
    /// The price that the buyer saw: another one is not paid.
    pub price: Amount,
}

/// Bids for a name; the amount waits in escrow. A new bid takes the place of
/// the sender's former one, which comes back.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NameBid {
    /// The registered name; another's.
    pub name: DomainName,
    /// What the sender pays; not zero.
    pub amount: Amount,
    /// The last height at which it may be accepted; then it comes back.
    pub expires_at: Height,
}

/// Takes the sender's bid back, and its amount.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NameWithdrawBid {
    /// The name that was bid for.
    pub name: DomainName,
}

/// Accepts a bid: the amount is the sender's, the name the bidder's.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NameAcceptBid {
    /// The registered name; the sender's key owns it.
    pub name: DomainName,
    /// Who bid.
    pub bidder: AccountId,
    /// The amount that the owner saw: another one is not accepted.
    pub amount: Amount,
}
