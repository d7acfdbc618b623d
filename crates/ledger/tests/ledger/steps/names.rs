//! Steps of names: their registration, records, sales, keys, recovery, and notarised data.

use super::{HELLO, Step, seed_of};
use crate::{updates, world::*};
use wire::*;

const NONCE: [u8; 32] = [7; 32];

/// Mostly the name that a sequence begins with, sometimes one that looks like it, and one
/// that nobody else has.
fn subject(step: Step) -> DomainName {
    let text = match step.b {
        0..200 => HELLO,
        200..216 => "he11o.internal",
        _ => "other.internal",
    };
    name(text)
}

fn record(world: &World, name: &DomainName) -> Option<record::Name> {
    world.get(&state_key::name(name))
}

/// The name's owner, or someone if it has none.
fn owner(world: &World, step: Step, name: &DomainName) -> u8 {
    let owner = record(world, name).and_then(|record| seed_of(&record.owner));
    step.sender(owner.unwrap_or(step.trader()))
}

pub fn commit(world: &World, step: Step) -> (u8, Action) {
    let actor = step.trader();
    let commitment = name_commitment(world.circle, account(actor), &subject(step), &NONCE);
    (actor, Action::NameCommit(NameCommit { commitment }))
}

pub fn reveal(world: &World, step: Step) -> (u8, Action) {
    let names = [HELLO, "other.internal", "he11o.internal"].map(name);
    let committed = names.iter().find_map(|name| {
        (1..5).find_map(|actor| {
            let commitment = name_commitment(world.circle, account(actor), name, &NONCE);
            let there = world.state.contains_key(&state_key::commitment(commitment));
            (there && record(world, name).is_none()).then(|| (actor, name.clone()))
        })
    });
    let (actor, name) = committed.unwrap_or((step.trader(), subject(step)));
    let deposit = match step.is_wild() {
        true => Amount(u64::from(step.amount)),
        false => Amount(1000 + u64::from(step.amount % 4000)),
    };
    let nonce = NONCE;
    let action = NameReveal {
        name,
        nonce,
        deposit,
    };
    (step.sender(actor), Action::NameReveal(action))
}

pub fn set(world: &World, step: Step) -> (u8, Action) {
    let name = subject(step);
    let owners = [None, Some("www"), Some("*"), Some("a.b")];
    let owner_name = owners[usize::from(step.amount % 4)];
    let count = step.amount / 4 % 3;
    // Garbage beside addresses: any type, and data that may be none of it.
    let (rtype, data) = match step.a % 8 {
        7 => (step.amount, vec![step.amount.to_be_bytes().to_vec()]),
        _ => (1, Vec::new()),
    };
    let addresses = (0..count).map(|last| vec![10, 0, 0, (last + step.amount / 16 % 2) as u8]);
    let data = if rtype == 1 {
        addresses.collect()
    } else {
        data
    };
    let records = vec![RecordSet {
        owner: owner_name.map(|owner| owner.parse().unwrap()),
        rtype,
        ttl: 60,
        data,
    }];
    let actor = owner(world, step, &name);
    (actor, Action::NameSet(NameSet { name, records }))
}

pub fn renew(_: &World, step: Step) -> (u8, Action) {
    let amount = Amount(u64::from(step.amount % 4000));
    let name = subject(step);
    (step.trader(), Action::NameRenew(NameRenew { name, amount }))
}

pub fn cancel(world: &World, step: Step) -> (u8, Action) {
    let name = subject(step);
    let actor = owner(world, step, &name);
    (actor, Action::NameCancel(NameCancel { name }))
}

pub fn transfer(world: &World, step: Step) -> (u8, Action) {
    let name = subject(step);
    let to = key(1 + step.b % 4).public();
    let actor = owner(world, step, &name);
    (actor, Action::NameTransfer(NameTransfer { name, to }))
}

pub fn secure(world: &World, step: Step) -> (u8, Action) {
    let name = subject(step);
    let actor = owner(world, step, &name);
    let beneath = step.amount.is_multiple_of(2);
    let action = NameSecure {
        name,
        owner: beneath.then(|| "www".parse().unwrap()),
        server: (!step.amount.is_multiple_of(3)).then(|| (key(9).public(), None)),
    };
    (actor, Action::NameSecure(action))
}

pub fn sell(world: &World, step: Step) -> (u8, Action) {
    let name = subject(step);
    let actor = owner(world, step, &name);
    let sale = (!step.amount.is_multiple_of(5)).then_some(Sale {
        price: Amount(u64::from(step.amount % 900)),
        buyer: step.amount.is_multiple_of(7).then(|| account(STRANGER)),
        expires_at: world.height.plus(9),
    });
    (actor, Action::NameSell(NameSell { name, sale }))
}

pub fn buy(world: &World, step: Step) -> (u8, Action) {
    let name = subject(step);
    let sale = record(world, &name).and_then(|record| record.sale);
    let price = sale.map_or(Amount(u64::from(step.amount)), |sale| sale.price);
    (step.trader(), Action::NameBuy(NameBuy { name, price }))
}

pub fn bid(world: &World, step: Step) -> (u8, Action) {
    let bid = NameBid {
        name: subject(step),
        amount: Amount(u64::from(step.amount % 900)),
        expires_at: world.height.plus(u64::from(step.amount % 25)),
    };
    (step.trader(), Action::NameBid(bid))
}

/// One whose bid for the name stands, if there is any.
fn bidder(world: &World, step: Step, name: &DomainName) -> (u8, Option<record::Bid>) {
    let bid_of =
        |actor: u8| -> Option<record::Bid> { world.get(&state_key::bid(name, account(actor))) };
    let first = step.trader();
    let all = [first, USER, PROVIDER, OTHER_PROVIDER, STRANGER];
    let found = all.into_iter().find(|actor| bid_of(*actor).is_some());
    let actor = found.unwrap_or(first);
    (actor, bid_of(actor))
}

pub fn withdraw_bid(world: &World, step: Step) -> (u8, Action) {
    let name = subject(step);
    let (actor, _) = bidder(world, step, &name);
    (
        step.sender(actor),
        Action::NameWithdrawBid(NameWithdrawBid { name }),
    )
}

pub fn accept_bid(world: &World, step: Step) -> (u8, Action) {
    let name = subject(step);
    let actor = owner(world, step, &name);
    let (bidder, bid) = bidder(world, step, &name);
    let action = NameAcceptBid {
        name,
        bidder: account(bidder),
        amount: bid.map_or(Amount(u64::from(step.amount)), |bid| bid.amount),
    };
    (actor, Action::NameAcceptBid(action))
}

pub fn rotate(world: &World, step: Step) -> (u8, Action) {
    let name = subject(step);
    let none = key(9).public();
    let record = record(world, &name);
    let (from, registered_at) = record.map_or((none, Height(0)), |record| {
        (record.owner, record.registered_at)
    });
    let to = step.trader();
    let message = NameRotate::message(world.circle, &name, registered_at, &from);
    let consent = key(to).sign(NameRotate::PURPOSE, &message).into();
    let actor = owner(world, step, &name);
    let to = key(to).public();
    (actor, Action::NameRotate(NameRotate { name, to, consent }))
}

/// A vote of a member, mostly one that has none yet, mostly for one key.
pub fn recover(world: &World, step: Step) -> (u8, Action) {
    let name = name(HELLO);
    let recovery: Option<record::Recovery> = world.get(&state_key::recovery(&name));
    let votes = recovery.map_or(0, |recovery| recovery.votes.len());
    let member = VALIDATORS[(votes + usize::from(step.a / 200)) % VALIDATORS.len()];
    let to = if step.b < 240 { STRANGER } else { PROVIDER };
    let to = key(to).public();
    (
        step.sender(member),
        Action::NameRecover(NameRecover { name, to }),
    )
}

pub fn veto(world: &World, step: Step) -> (u8, Action) {
    let name = name(HELLO);
    let actor = owner(world, step, &name);
    (actor, Action::NameVeto(NameVeto { name }))
}

/// What the owner signed as a DNS message, through anybody.
pub fn update(world: &World, step: Step) -> (u8, Action) {
    let name = name(HELLO);
    let signer = owner(world, step, &name);
    let inception = (World::time_ms(world.height) / 1000) as u32;
    let mut message = updates::address_signed_by(signer, inception, step.b);
    if step.is_wild() {
        message.truncate(usize::from(step.amount) % message.len());
    }
    (STRANGER, Action::NameUpdate(NameUpdate { message }))
}

pub fn notarise(_: &World, step: Step) -> (u8, Action) {
    let action = Notarise {
        digest: Digest([(step.amount % 16) as u8; 32]),
        size: 1,
        encrypted: false,
        media: String::new(),
        note: String::new(),
    };
    (step.trader(), Action::Notarise(action))
}
