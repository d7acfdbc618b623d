//! Properties over arbitrary sequences of valid and invalid actions of every kind.
//!
//! Every block is audited: sums, indexes, room, and relations between records.

use std::collections::{BTreeMap, BTreeSet};

use ledger::{Applied, Changes, StateRead};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use wire::*;

use crate::{
    golden::digest,
    steps::{Judged, Kind, Step, action, advance, block, context, deep_world, sign_all, steps},
    world::*,
};

/// What some sequence must reach.
const WANTED: &[&str] = &[
    "Transferred",
    "Locked",
    "Unlocked",
    "NameChanged",
    "NameReleased",
    "NameExpiring",
    "NameSuspended",
    "NameSaleChanged",
    "NameSold",
    "BidPlaced",
    "BidReturned",
    "RecoveryVoted",
    "RecoveryEnded",
    "NameRecovered",
    "Notarised",
    "HostAppraised",
    "OfferChanged",
    "RequestPosted",
    "Matched",
    "EnclaveRegistered",
    "OperationOpened",
    "MessagePosted",
    "OutcomePosted",
    "Settled",
    "CertificateIssued",
    "JobCompleted",
    "ContractEnded",
    "RequestClosed",
    "ResharingBegan",
    "ResharingEnded",
    "CommitteeChanged",
    "MemberChanged",
    "KeyRoundChanged",
    "KeyAnswered",
    "CertificateRevoked",
    "PoolPaid",
    "DurationServed",
    "EscrowEmpty",
    "ProviderSilent",
    "HandshakeTimeout",
    "ResponseRejected",
    "PayloadFailed",
    "ProviderWithdrew",
    "Completed",
];

/// Sequences that are tried for it: ids decide what meets what, so that a change of
/// the genesis makes some things rare.
const MOST_SEQUENCES: usize = 4096;

/// Transactions of each kind that must have been applied, and refused: without this a
/// change of the steps could leave the properties true and empty.
const LEAST_OF_A_KIND: u64 = 5;

/// What the sequences were seen to do.
#[derive(Default)]
struct Seen {
    events: BTreeSet<String>,
    /// By kind: applied, refused.
    verdicts: BTreeMap<Kind, (u64, u64)>,
}

impl Seen {
    fn take(&mut self, transactions: &[CheckedTransaction], applied: Applied) {
        for event in applied.events.into_iter().flatten() {
            let name = format!("{event:?}");
            let name = name.split([' ', '{']).next().unwrap_or_default();
            self.events.insert(name.to_owned());
            if let Event::ContractEnded { reason, .. } = event {
                self.events.insert(format!("{reason:?}"));
            }
        }
        for (transaction, receipt) in transactions.iter().zip(applied.receipts) {
            let kind = Kind::of(&transaction.transaction().actions[0]);
            let (taken, refused) = self.verdicts.entry(kind).or_default();
            match receipt.result {
                TransactionResult::Applied => *taken += 1,
                TransactionResult::Rejected { .. } => *refused += 1,
            }
        }
    }

    /// What has not been seen often enough.
    fn lacks(&self) -> Vec<String> {
        let events = WANTED.iter().filter(|name| !self.events.contains(**name));
        let kinds = Kind::ALL.iter().filter(|kind| {
            let (taken, refused) = self.verdicts.get(kind).copied().unwrap_or_default();
            taken.min(refused) < LEAST_OF_A_KIND
        });
        let kinds = kinds.map(|kind| format!("{kind:?}"));
        events.map(ToString::to_string).chain(kinds).collect()
    }
}

/// What sequences of the properties' kind are known to reach: every kind of action is
/// applied and refused, and every event of note happens.
#[test]
fn the_sequences_apply_and_refuse_every_kind_of_action() {
    let mut runner = TestRunner::deterministic();
    let mut seen = Seen::default();
    let mut sequences = 0;
    while !seen.lacks().is_empty() && sequences < MOST_SEQUENCES {
        sequences += 1;
        let mut world = deep_world();
        for steps in steps().new_tree(&mut runner).unwrap().current() {
            let transactions = sign_all(&world, &steps);
            let applied = advance(&mut world, &transactions);
            seen.take(&transactions, applied);
        }
    }
    println!("after {sequences} sequences: applied, refused");
    for (kind, (taken, refused)) in &seen.verdicts {
        println!("{taken:7} {refused:7} {kind:?}");
    }
    let lacks = seen.lacks();
    assert!(lacks.is_empty(), "not reached: {lacks:?}");
}

/// A state on which the changes of some blocks lie that are not written yet, as in a node
/// whose store is behind its engine.
struct Layered<'a> {
    written: &'a Entries,
    pending: &'a [Changes],
}

impl StateRead for Layered<'_> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let newest = self.pending.iter().rev().find_map(|layer| layer.get(key));
        newest.map_or_else(|| self.written.get(key).cloned(), Clone::clone)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let range = |key: &&Vec<u8>| key.starts_with(prefix);
        let later = |key: &&Vec<u8>| after.is_none_or(|after| key.as_slice() > after);
        let written = self.written.range(prefix.to_vec()..).map(|(key, _)| key);
        let mut keys: BTreeSet<&Vec<u8>> = written.take_while(range).filter(later).collect();
        for layer in self.pending {
            let layered = layer.range(prefix.to_vec()..).map(|(key, _)| key);
            keys.extend(layered.take_while(range).filter(later));
        }
        let live = |key: &Vec<u8>| Some((key.clone(), self.get(key)?));
        keys.into_iter().filter_map(live).take(limit).collect()
    }
}

type Chain = Vec<Vec<CheckedTransaction>>;

/// Makes the blocks of a sequence, each audited.
fn chain_of(blocks: &[Vec<Step>]) -> (World, Chain, Vec<Applied>) {
    let mut world = deep_world();
    let (mut chain, mut done) = (Vec::new(), Vec::new());
    for steps in blocks {
        let transactions = sign_all(&world, steps);
        done.push(block(&mut world, &transactions));
        chain.push(transactions);
    }
    (world, chain, done)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_state_is_sound_and_a_replay_gives_the_same(blocks in steps()) {
        let (world, chain, done) = chain_of(&blocks);
        let mut replay = deep_world();
        for (transactions, first) in chain.iter().zip(&done) {
            prop_assert_eq!(&advance(&mut replay, transactions), first);
        }
        prop_assert_eq!(&replay.state, &world.state);
        prop_assert_eq!(digest(&replay.state), digest(&world.state));
    }

    #[test]
    fn blocks_written_in_any_batches_give_the_same_state(
        blocks in steps(),
        writes in proptest::collection::vec(any::<bool>(), 60),
    ) {
        let (world, chain, done) = chain_of(&blocks);
        let mut behind = deep_world();
        let mut pending: Vec<Changes> = Vec::new();
        for ((transactions, first), write) in chain.iter().zip(&done).zip(writes) {
            let state = Layered { written: &behind.state, pending: &pending };
            let applied = ledger::apply_with(&state, &context(&behind), transactions, &Judged);
            prop_assert_eq!(&applied, first);
            pending.push(applied.changes);
            behind.height = behind.height.plus(1);
            if write {
                // One batch: the last write of a key is what the store gets.
                let mut batch = Changes::new();
                pending.drain(..).for_each(|layer| batch.extend(layer));
                ledger::write(&mut behind.state, batch);
            }
        }
        for layer in pending {
            ledger::write(&mut behind.state, layer);
        }
        prop_assert_eq!(&behind.state, &world.state);
    }

    #[test]
    fn the_same_transactions_in_other_blocks_leave_a_sound_state(
        blocks in steps(),
        lengths in proptest::collection::vec(1usize..9, 1..400),
    ) {
        let (_, chain, _) = chain_of(&blocks);
        let all: Vec<CheckedTransaction> = chain.into_iter().flatten().collect();
        let mut lengths = lengths.into_iter().cycle();
        let mut rest = all.as_slice();
        let mut worlds = [deep_world(), deep_world()];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(lengths.next().unwrap_or(1).min(rest.len()));
            // Heights differ from the first chain's, and so may what is applied: the sum
            // of all amounts does not, and two nodes agree.
            let [first, second] = &mut worlds;
            prop_assert_eq!(block(first, now), advance(second, now));
            rest = later;
        }
        let [first, second] = &worlds;
        prop_assert_eq!(digest(&first.state), digest(&second.state));
    }

    #[test]
    fn the_order_of_senders_within_a_block_makes_no_difference(
        before in steps(),
        block in proptest::collection::vec((any::<u8>(), any::<u8>(), any::<u16>()), 1..12),
    ) {
        let (world, ..) = chain_of(&before[..before.len().min(10)]);
        // Offers and requests: what one sender does leaves the others' alone.
        let steps: Vec<_> = block
            .into_iter()
            .map(|(a, b, amount)| {
                let kind = Some(if a < 128 { Kind::PostOffer } else { Kind::PostRequest });
                Step { kind, a, b: b | 64, amount, garbled: None }
            })
            .collect();
        let transactions = sign_all(&world, &steps);
        let mut by_sender = transactions.clone();
        by_sender.sort_by_key(|checked| checked.transaction().sender);
        prop_assert_eq!(world.apply(&transactions).changes, world.apply(&by_sender).changes);
    }

    #[test]
    fn transfers_come_to_the_same_in_one_block_or_in_many(
        transfers in proptest::collection::vec((1u8..5, 1u8..5, 0u64..4_000_000), 1..30),
    ) {
        let sign = |world: &World, ahead: u64, (from, to, amount): (u8, u8, u64)| {
            let action = Action::Transfer(Transfer { to: account(to), amount: Amount(amount) });
            world.sign_ahead(from, ahead, vec![action])
        };
        let mut together = World::new();
        let mut ahead = [0; 8];
        let all: Vec<_> = transfers
            .iter()
            .map(|transfer| {
                let from = usize::from(transfer.0);
                ahead[from] += 1;
                sign(&together, ahead[from] - 1, *transfer)
            })
            .collect();
        together.block(&all);
        let mut apart = World::new();
        for transaction in &all {
            apart.block(std::slice::from_ref(transaction));
        }
        let accounts = |world: &World| -> Vec<_> {
            world.state.iter().filter(|(key, _)| key.starts_with(b"a/")).map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        prop_assert_eq!(accounts(&together), accounts(&apart));
    }

    #[test]
    fn no_change_of_a_signed_transactions_bytes_panics(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        kind in prop::sample::select(Kind::ALL),
        (a, b, amount) in any::<(u8, u8, u16)>(),
    ) {
        let mut world = deep_world();
        let step = Step { kind: Some(kind), a, b, amount, garbled: None };
        let (actor, action) = action(&world, step);
        let mut bytes = world.signed_bytes(actor, vec![action], |_| ());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        // The signature is not looked at, so that the change reaches the ledger.
        if let Ok(checked) = CheckedTransaction::check_form(&bytes, world.circle) {
            block(&mut world, &[checked]);
        }
    }

    #[test]
    fn garbage_is_no_transaction(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let world = deep_world();
        prop_assert!(CheckedTransaction::check(&bytes, world.circle).is_err());
        if let Ok(checked) = CheckedTransaction::check_form(&bytes, world.circle) {
            let _ = ledger::admit(&world.state, world.height, &checked);
        }
    }

    #[test]
    fn records_of_garbage_leave_a_sound_state(
        sets in proptest::collection::vec(
            (
                prop::sample::select(vec![None, Some("www"), Some("*"), Some("_tls.a.b")]),
                prop_oneof![any::<u16>(), prop::sample::select(vec![1u16, 2, 5, 15, 16, 28, 33, 43, 52, 65, 257])],
                any::<u32>(),
                proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..4),
            ),
            0..5,
        ),
    ) {
        let mut world = deep_world();
        let records = sets.into_iter().map(|(owner, rtype, ttl, data)| RecordSet {
            owner: owner.map(|owner| owner.parse().unwrap()),
            rtype,
            ttl,
            data,
        });
        let action = NameSet { name: name("hello.internal"), records: records.collect() };
        let transaction = world.sign(USER, Action::NameSet(action));
        block(&mut world, &[transaction]);
    }
}
