//! Sales of names at a price and by bids: atomic, and nothing is ever lost.

use wire::*;

use crate::world::*;

const HELLO: &str = "hello.internal";

fn hello(world: &mut World) -> Verdict {
    world.register_name(USER, HELLO)
}

fn sell_on(world: &mut World, actor: u8, sale: Option<Sale>) -> Verdict {
    let name = name(HELLO);
    world.send(actor, Action::NameSell(NameSell { name, sale }))
}

fn sell(world: &mut World, price: u64) -> Verdict {
    let sale = Sale {
        price: Amount(price),
        buyer: None,
        expires_at: world.height.plus(10),
    };
    sell_on(world, USER, Some(sale))
}

fn buy(world: &mut World, actor: u8, price: u64) -> Verdict {
    let action = NameBuy {
        name: name(HELLO),
        price: Amount(price),
    };
    world.send(actor, Action::NameBuy(action))
}

fn bid_until(world: &mut World, actor: u8, amount: u64, expires_at: Height) -> Verdict {
    let action = NameBid {
        name: name(HELLO),
        amount: Amount(amount),
        expires_at,
    };
    world.send(actor, Action::NameBid(action))
}

fn bid(world: &mut World, actor: u8, amount: u64) -> Verdict {
    let until = world.height.plus(10);
    bid_until(world, actor, amount, until)
}

fn accept(world: &mut World, actor: u8, bidder: u8, amount: u64) -> Verdict {
    let action = NameAcceptBid {
        name: name(HELLO),
        bidder: account(bidder),
        amount: Amount(amount),
    };
    world.send(actor, Action::NameAcceptBid(action))
}

fn withdraw(world: &mut World, actor: u8) -> Verdict {
    let name = name(HELLO);
    world.send(actor, Action::NameWithdrawBid(NameWithdrawBid { name }))
}

/// A name for sale at 500, whose rent then runs out.
fn suspended_for_sale() -> World {
    let mut world = World::with(|parameters| {
        parameters.rent_period = 2;
        parameters.rent_per_period = Amount(500);
        parameters.min_rent_periods = 2;
    });
    hello(&mut world).unwrap();
    let sale = Sale {
        price: Amount(500),
        buyer: None,
        expires_at: Height(1000),
    };
    sell_on(&mut world, USER, Some(sale)).unwrap();
    world.idle(6);
    world
}

pub const CASES: &[Case] = &[
    ("sells at a price", Ok(()), |world| {
        hello(world)?;
        sell(world, 500)?;
        buy(world, STRANGER, 500)
    }),
    (
        "rejects a sale by a stranger",
        Err(Reject::NotOwner),
        |world| {
            hello(world)?;
            sell_on(world, STRANGER, None)
        },
    ),
    (
        "rejects a price of nothing",
        Err(Reject::AmountOutOfRange),
        |world| {
            hello(world)?;
            sell(world, 0)
        },
    ),
    (
        "rejects a sale that is over before it begins",
        Err(Reject::TermsOutOfRange),
        |world| {
            hello(world)?;
            let sale = Sale {
                price: Amount(5),
                buyer: None,
                expires_at: world.height,
            };
            sell_on(world, USER, Some(sale))
        },
    ),
    (
        "rejects a purchase of what is not for sale",
        Err(Reject::NameNotForSale),
        |world| {
            hello(world)?;
            buy(world, STRANGER, 500)
        },
    ),
    (
        "rejects a purchase after the sale was taken back",
        Err(Reject::NameNotForSale),
        |world| {
            hello(world)?;
            sell(world, 500)?;
            sell_on(world, USER, None)?;
            buy(world, STRANGER, 500)
        },
    ),
    (
        "rejects a purchase after the sale's last height",
        Err(Reject::NameNotForSale),
        |world| {
            hello(world)?;
            sell(world, 500)?;
            world.idle(10);
            buy(world, STRANGER, 500)
        },
    ),
    (
        "rejects a purchase by another than the named buyer",
        Err(Reject::NameNotForSale),
        |world| {
            hello(world)?;
            let sale = Sale {
                price: Amount(5),
                buyer: Some(account(PROVIDER)),
                expires_at: Height(100),
            };
            sell_on(world, USER, Some(sale))?;
            buy(world, STRANGER, 5)
        },
    ),
    (
        "rejects a purchase of one's own name",
        Err(Reject::NameNotForSale),
        |world| {
            hello(world)?;
            sell(world, 500)?;
            buy(world, USER, 500)
        },
    ),
    (
        "rejects another price than the buyer saw",
        Err(Reject::PriceChanged),
        |world| {
            hello(world)?;
            sell(world, 501)?;
            buy(world, STRANGER, 500)
        },
    ),
    (
        "rejects a price above the balance",
        Err(Reject::InsufficientBalance),
        |world| {
            hello(world)?;
            sell(world, BALANCE.0)?;
            buy(world, STRANGER, BALANCE.0)
        },
    ),
    (
        "rejects a purchase of a suspended name",
        Err(Reject::NameSuspended),
        |world| {
            *world = suspended_for_sale();
            buy(world, STRANGER, 500)
        },
    ),
    (
        "rejects a sale of a name whose like the seller keeps",
        Err(Reject::NameConfusable),
        |world| {
            hello(world)?;
            world.register_name(USER, "he11o.internal")?;
            sell(world, 500)?;
            buy(world, STRANGER, 500)
        },
    ),
    ("accepts a bid", Ok(()), |world| {
        hello(world)?;
        bid(world, STRANGER, 700)?;
        accept(world, USER, STRANGER, 700)
    }),
    (
        "rejects a bid for no name",
        Err(Reject::NameNotFound),
        |world| bid(world, STRANGER, 700),
    ),
    (
        "rejects a bid of nothing",
        Err(Reject::AmountOutOfRange),
        |world| {
            hello(world)?;
            bid(world, STRANGER, 0)
        },
    ),
    (
        "rejects a bid for one's own name",
        Err(Reject::TermsOutOfRange),
        |world| {
            hello(world)?;
            bid(world, USER, 5)
        },
    ),
    (
        "rejects a bid that would stand too long",
        Err(Reject::TermsOutOfRange),
        |world| {
            hello(world)?;
            bid_until(world, STRANGER, 5, Height(u64::MAX))
        },
    ),
    (
        "rejects a bid above the balance, counting what comes back",
        Err(Reject::InsufficientBalance),
        |world| {
            hello(world)?;
            bid(world, STRANGER, BALANCE.0 / 2)?;
            bid(world, STRANGER, BALANCE.0)
        },
    ),
    (
        "a new bid uses what comes back of the former",
        Ok(()),
        |world| {
            hello(world)?;
            bid(world, STRANGER, BALANCE.0 / 2)?;
            bid(world, STRANGER, BALANCE.0 - 10_000)
        },
    ),
    (
        "rejects a bid that was not made",
        Err(Reject::BidNotFound),
        |world| {
            hello(world)?;
            accept(world, USER, STRANGER, 5)
        },
    ),
    (
        "rejects a withdrawal of a bid that was accepted",
        Err(Reject::BidNotFound),
        |world| {
            hello(world)?;
            bid(world, STRANGER, 5)?;
            accept(world, USER, STRANGER, 5)?;
            withdraw(world, STRANGER)
        },
    ),
    (
        "rejects an acceptance after the bid was lowered",
        Err(Reject::PriceChanged),
        |world| {
            hello(world)?;
            bid(world, STRANGER, 700)?;
            bid(world, STRANGER, 1)?;
            accept(world, USER, STRANGER, 700)
        },
    ),
    (
        "rejects an acceptance by another than the owner",
        Err(Reject::NotOwner),
        |world| {
            hello(world)?;
            bid(world, STRANGER, 700)?;
            accept(world, PROVIDER, STRANGER, 700)
        },
    ),
    (
        "rejects an acceptance of one's own bid",
        Err(Reject::BidNotFound),
        |world| {
            hello(world)?;
            bid(world, STRANGER, 700)?;
            sell(world, 5)?;
            buy(world, STRANGER, 5)?;
            accept(world, STRANGER, STRANGER, 700)
        },
    ),
];

#[test]
fn table() {
    run(CASES);
}

#[test]
fn a_sale_moves_the_price_and_the_name_in_one_block_and_leaves_no_records() {
    let mut world = World::new();
    hello(&mut world).unwrap();
    let records = vec![RecordSet {
        owner: None,
        rtype: 16,
        ttl: 60,
        data: vec![b"\x01x".to_vec()],
    }];
    let set = NameSet {
        name: name(HELLO),
        records,
    };
    world.send(USER, Action::NameSet(set)).unwrap();
    sell(&mut world, 500).unwrap();
    let (seller, buyer) = (world.balance(USER), world.balance(STRANGER));
    let transaction = world.sign(
        STRANGER,
        Action::NameBuy(NameBuy {
            name: name(HELLO),
            price: Amount(500),
        }),
    );
    let applied = world.block(&[transaction]);
    assert!(applied.events[0].contains(&Event::NameSold {
        name: name(HELLO),
        seller: account(USER),
        buyer: account(STRANGER),
        price: Amount(500),
    }));
    let fee = applied.receipts[0].fee;
    assert_eq!(world.balance(USER).0, seller.0 + 500);
    assert_eq!(world.balance(STRANGER).0, buyer.0 - 500 - fee.0);
    let record = world.name(HELLO);
    assert_eq!(record.owner, key(STRANGER).public());
    assert_eq!(record.deposit, Amount(1000), "the deposit goes along");
    assert!(record.records.is_empty() && record.sale.is_none());
}

#[test]
fn a_bid_comes_back_when_it_expires_or_is_withdrawn() {
    let mut world = World::new();
    hello(&mut world).unwrap();
    let before = world.balance(STRANGER);
    let last = world.height.plus(3);
    bid_until(&mut world, STRANGER, 700, last).unwrap();
    let paid = before.0 - world.balance(STRANGER).0;
    assert!(paid > 700, "the bid and a fee");
    world.idle_until(Height(last.0 - 1));
    assert_eq!(world.balance(STRANGER).0, before.0 - paid);
    let events = world.idle(1);
    let returned = Event::BidReturned {
        name: name(HELLO),
        bidder: account(STRANGER),
        amount: Amount(700),
    };
    assert!(events.contains(&returned), "{events:?}");
    assert_eq!(world.balance(STRANGER).0, before.0 - paid + 700);
    bid(&mut world, STRANGER, 50).unwrap();
    withdraw(&mut world, STRANGER).unwrap();
    let bids = state_key::bids_for(&name(HELLO));
    assert!(!world.state.keys().any(|key| key.starts_with(&bids)));
}

#[test]
fn a_bid_outlives_the_registration_that_it_was_made_under_and_still_comes_back() {
    let mut world = World::new();
    hello(&mut world).unwrap();
    bid(&mut world, STRANGER, 700).unwrap();
    let name = name(HELLO);
    world
        .send(USER, Action::NameCancel(NameCancel { name }))
        .unwrap();
    let before = world.balance(STRANGER);
    world.idle(10);
    assert_eq!(world.balance(STRANGER).0, before.0 + 700);
}
