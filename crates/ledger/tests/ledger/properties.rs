//! Properties over arbitrary sequences of valid and invalid actions.
//!
//! Every block is audited: sums, indexes, room, and relations between records.

use ledger::BlockContext;
use proptest::prelude::*;
use wire::*;

use crate::{golden::digest, world::*};

/// One step of a sequence: a kind of action and the choices that it makes.
#[derive(Clone, Copy, Debug)]
struct Step {
    kind: u8,
    a: u8,
    b: u8,
    amount: u16,
}

/// Kinds above the last named one take a contract's next step, so that about
/// half of all steps bring some contract forward.
const KINDS: u8 = 52;

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = (0..KINDS, any::<u8>(), any::<u8>(), any::<u16>())
        .prop_map(|(kind, a, b, amount)| Step { kind, a, b, amount });
    proptest::collection::vec(proptest::collection::vec(step, 0..6), 1..60)
}

/// Ids that the state holds under `prefix`.
fn ids(world: &World, prefix: &[u8]) -> Vec<[u8; 32]> {
    world
        .state
        .range(prefix.to_vec()..)
        .take_while(|(key, _)| key.starts_with(prefix))
        .filter_map(|(key, _)| key[prefix.len()..].try_into().ok())
        .collect()
}

fn pick(ids: &[[u8; 32]], choice: u8) -> [u8; 32] {
    match ids.len() {
        0 => [choice; 32],
        length => ids[usize::from(choice) % length],
    }
}

fn offer_of(step: Step) -> OfferTerms {
    let mut terms = offer_terms();
    terms.min_price = Amount(u64::from(step.amount % 12));
    terms.concurrency = u16::from(step.a % 4);
    terms.capacity.cpu_milli = 1000 << (step.b % 4);
    terms.replica_limit.cpu_milli = 1000;
    terms.expires_at = Height(u64::from(step.amount % 100));
    terms
}

fn request_of(step: Step) -> RequestTerms {
    let mut terms = request_terms();
    terms.replicas = 1 + u16::from(step.a % 3);
    terms.duration = 1 + u64::from(step.b % 40);
    terms.escrow = Amount(u64::from(step.amount % 700));
    terms.require_spread = step.amount.is_multiple_of(3);
    terms.match_until = Height(u64::from(step.b));
    terms.name = (step.a & 1 == 0).then(|| name("hello.internal"));
    if step.amount.is_multiple_of(5) && terms.name.is_none() {
        terms.payload_kind = PayloadKind::Job;
    }
    terms
}

/// A step of the contract's handshake, start to end, whichever is due.
fn next_step(world: &World, contract: ContractId, step: Step) -> (u8, Action) {
    let record = world.contract(contract);
    let provider = world.provider_of(contract);
    let send = |step| Action::HandshakeMessage(message(contract, record.operation, step));
    match record.stage {
        record::Stage::AwaitingEnclave => {
            let registration = world.registration(contract);
            (provider, Action::RegisterEnclave(registration))
        }
        record::Stage::AwaitingChallenge => (USER, send(HandshakeStep::ClientChallenge)),
        record::Stage::AwaitingServerResponse => (provider, send(HandshakeStep::ServerResponse)),
        record::Stage::AwaitingClientResponse => (USER, send(HandshakeStep::ClientResponse)),
        record::Stage::Done => (provider, heartbeat(vec![beat(contract, world.height)])),
        record::Stage::AwaitingOutcome => {
            let outcome = match step.b % 8 {
                0 => Outcome::Rejected,
                1 => Outcome::Error,
                _ => Outcome::Confirmed,
            };
            let action = outcome_message(contract, record.operation, outcome);
            (provider, Action::PostOutcome(action))
        }
    }
}

/// The sender and action that a step stands for in this world.
fn action(world: &World, step: Step) -> (u8, Action) {
    let actor = [USER, PROVIDER, OTHER_PROVIDER, STRANGER][usize::from(step.a % 4)];
    let amount = Amount(u64::from(step.amount));
    let offers = ids(world, state_key::OFFERS);
    let requests = ids(world, state_key::REQUESTS);
    let contracts = ids(world, state_key::CONTRACTS);
    let request = RequestId(pick(&requests, step.b));
    // Mostly a live contract; now and then one that may have ended.
    let live: Vec<_> = contracts
        .iter()
        .copied()
        .filter(|id| {
            let status = world.contract(ContractId(*id)).status;
            !matches!(status, record::ContractStatus::Ended(_))
        })
        .collect();
    let among = if live.is_empty() || step.a.is_multiple_of(8) {
        &contracts
    } else {
        &live
    };
    let contract = ContractId(pick(among, step.b));
    let provider = if contracts.is_empty() {
        PROVIDER
    } else {
        world.provider_of(contract)
    };
    let hello = name("hello.internal");
    match step.kind {
        0 => (
            actor,
            Action::Transfer(Transfer {
                to: account(STRANGER),
                amount,
            }),
        ),
        1 => (actor, lock_of(step)),
        2 => (actor, unlock_of(world, step)),
        3 => {
            let commitment = name_commitment(world.circle, account(actor), &hello, &[7; 32]);
            (actor, Action::NameCommit(NameCommit { commitment }))
        }
        4 => (
            actor,
            Action::NameReveal(NameReveal {
                name: hello,
                nonce: [7; 32],
                deposit: amount,
            }),
        ),
        5 => (
            actor,
            Action::NameRenew(NameRenew {
                name: hello,
                amount,
            }),
        ),
        6 if step.b < 64 => (actor, Action::NameCancel(NameCancel { name: hello })),
        6 => {
            let to = key(1 + step.b % 4).public();
            (
                actor,
                Action::NameTransfer(NameTransfer { name: hello, to }),
            )
        }
        7 | 8 => (
            actor,
            Action::PostOffer(PostOffer {
                terms: offer_of(step),
            }),
        ),
        9 => {
            let offer = OfferId(pick(&offers, step.b));
            (actor, Action::WithdrawOffer(WithdrawOffer { offer }))
        }
        10 | 11 => (
            USER,
            Action::PostRequest(PostRequest {
                terms: request_of(step),
            }),
        ),
        12 => (actor, Action::FundRequest(FundRequest { request, amount })),
        13 => {
            let operation = if step.a < 128 {
                Operation::Start
            } else {
                Operation::Stop
            };
            (USER, Action::Operate(Operate { request, operation }))
        }
        14 if step.a < 64 => (USER, Action::CloseRequest(CloseRequest { request })),
        15 => {
            let back = u64::from(step.a % 4);
            let height = Height(world.height.0.saturating_sub(back));
            let beats = ids(world, state_key::CONTRACTS)
                .into_iter()
                .take(limits::MAX_HEARTBEATS)
                .map(|id| beat(ContractId(id), height))
                .collect();
            (
                if step.b < 128 {
                    PROVIDER
                } else {
                    OTHER_PROVIDER
                },
                heartbeat(beats),
            )
        }
        16 => {
            let output = payload_reference();
            let bytes = CompleteJob::signed_bytes(contract, &[1], output.sha256, output.bytes);
            let signature = enclave_key().sign(CompleteJob::PURPOSE, &bytes);
            (
                provider,
                Action::CompleteJob(CompleteJob {
                    contract,
                    sealed: vec![1],
                    output,
                    signature,
                }),
            )
        }
        17 => {
            let reasons = [
                EndReason::PayloadCorrupt,
                EndReason::PayloadFailed,
                EndReason::ProviderWithdrew,
                EndReason::UserClosed,
            ];
            let reason = reasons[usize::from(step.a % 4)];
            (
                provider,
                Action::EndContract(EndContract { contract, reason }),
            )
        }
        18 => {
            let certificate = vec![1; 10];
            let not_after_ms = World::time_ms(world.height) + 100_000;
            let serial = CertificateSerial([step.b; 16]);
            (
                AUTHORITY,
                Action::IssueCertificate(IssueCertificate {
                    contract,
                    serial,
                    certificate,
                    not_after_ms,
                }),
            )
        }
        19..=22 => name_step(world, step),
        23 | 24 => recovery_vote(world, step),
        _ if !contracts.is_empty() => next_step(world, contract, step),
        _ => (
            actor,
            Action::Transfer(Transfer {
                to: account(USER),
                amount,
            }),
        ),
    }
}

/// A step in a name's life that its deposit does not take: records, server
/// keys, sales, bids, rotation, a like name, a data item.
fn name_step(world: &World, step: Step) -> (u8, Action) {
    let actors = [USER, PROVIDER, OTHER_PROVIDER, STRANGER];
    let actor = actors[usize::from(step.a % 4)];
    let text = if step.a < 200 {
        "hello.internal"
    } else {
        "he11o.internal"
    };
    let name = name(text);
    let record: Option<record::Name> = world.get(&state_key::name(&name));
    let owner = record.as_ref().map_or(actor, |record| {
        let owns = |actor: &&u8| key(**actor).public() == record.owner;
        actors.iter().find(owns).copied().unwrap_or(actor)
    });
    let amount = Amount(u64::from(step.amount % 900));
    match step.b % 16 {
        0 => {
            let sale = (!step.amount.is_multiple_of(5)).then_some(Sale {
                price: amount,
                buyer: step.amount.is_multiple_of(7).then(|| account(STRANGER)),
                expires_at: world.height.plus(9),
            });
            (owner, Action::NameSell(NameSell { name, sale }))
        }
        1 | 2 => {
            let sale = record.and_then(|record| record.sale);
            let price = sale.map_or(amount, |sale| sale.price);
            (actor, Action::NameBuy(NameBuy { name, price }))
        }
        3 | 4 => {
            let expires_at = world.height.plus(u64::from(step.amount % 25));
            let bid = NameBid {
                name,
                amount,
                expires_at,
            };
            (actor, Action::NameBid(bid))
        }
        5 => (actor, Action::NameWithdrawBid(NameWithdrawBid { name })),
        6 | 7 => {
            let bid: Option<record::Bid> = world.get(&state_key::bid(&name, account(actor)));
            let action = NameAcceptBid {
                name,
                bidder: account(actor),
                amount: bid.map_or(amount, |bid| bid.amount),
            };
            (owner, Action::NameAcceptBid(action))
        }
        8 => (owner, rotation(world, name, record.as_ref(), actor)),
        9 => (owner, Action::NameVeto(NameVeto { name })),
        10 | 11 => (owner, addresses_of(step, name)),
        12 => {
            let owner_of = step
                .amount
                .is_multiple_of(2)
                .then(|| "www".parse().unwrap());
            let server = (!step.amount.is_multiple_of(3)).then(|| (key(9).public(), None));
            let action = NameSecure {
                name,
                owner: owner_of,
                server,
            };
            (owner, Action::NameSecure(action))
        }
        13 => {
            let nonce = [7; 32];
            let commitment = name_commitment(world.circle, account(actor), &name, &nonce);
            let deposit = Amount(1000);
            let recorded = world.state.contains_key(&state_key::commitment(commitment));
            let action = if recorded {
                Action::NameReveal(NameReveal {
                    name,
                    nonce,
                    deposit,
                })
            } else {
                Action::NameCommit(NameCommit { commitment })
            };
            (actor, action)
        }
        14 => {
            let action = Notarise {
                digest: Digest([(step.amount % 16) as u8; 32]),
                size: 1,
                encrypted: false,
                media: String::new(),
                note: String::new(),
            };
            (actor, Action::Notarise(action))
        }
        _ => {
            let amount = Amount(2000);
            (actor, Action::NameRenew(NameRenew { name, amount }))
        }
    }
}

fn rotation(world: &World, name: DomainName, record: Option<&record::Name>, to: u8) -> Action {
    let none = key(9).public();
    let (from, registered_at) = record.map_or((none, Height(0)), |record| {
        (record.owner, record.registered_at)
    });
    let message = NameRotate::message(world.circle, &name, registered_at, &from);
    Action::NameRotate(NameRotate {
        name,
        to: key(to).public(),
        consent: key(to).sign(NameRotate::PURPOSE, &message).into(),
    })
}

fn addresses_of(step: Step, name: DomainName) -> Action {
    let owners = [None, Some("www"), Some("*"), Some("a.b")];
    let owner = owners[usize::from(step.amount % 4)];
    let count = step.amount / 4 % 3;
    let data = (0..count)
        .map(|last| vec![10, 0, 0, (last + step.amount / 16 % 2) as u8])
        .collect();
    let records = vec![RecordSet {
        owner: owner.map(|owner| owner.parse().unwrap()),
        rtype: 1,
        ttl: 60,
        data,
    }];
    Action::NameSet(NameSet { name, records })
}

/// A vote of a member, mostly one that has none yet, mostly for one key.
fn recovery_vote(world: &World, step: Step) -> (u8, Action) {
    let name = name("hello.internal");
    let recovery: Option<record::Recovery> = world.get(&state_key::recovery(&name));
    let votes = recovery.map_or(0, |recovery| recovery.votes.len());
    let member = VALIDATORS[(votes + usize::from(step.a / 200)) % VALIDATORS.len()];
    let to = if step.b < 240 { STRANGER } else { PROVIDER };
    let to = key(to).public();
    (member, Action::NameRecover(NameRecover { name, to }))
}

fn lock_of(step: Step) -> Action {
    Action::LockFunds(LockFunds {
        amount: Amount(u64::from(step.amount)),
        condition: Condition::AfterHeight(Height(u64::from(step.b % 16))),
    })
}

fn unlock_of(world: &World, step: Step) -> Action {
    Action::UnlockFunds(UnlockFunds {
        lock: LockId(pick(&ids(world, b"l/"), step.b)),
        to: account(STRANGER),
        witness: Witness::default(),
    })
}

fn small_world() -> World {
    World::with(|parameters| {
        parameters.rent_period = 7;
        parameters.rent_per_period = Amount(500);
        parameters.min_rent_periods = 2;
        parameters.name_grace = 9;
        parameters.name_notice = 3;
        parameters.recovery_delay = 9;
        parameters.max_bid_life = 20;
        parameters.reveal_within = 12;
        parameters.heartbeat_limit = 8;
        parameters.handshake_limit = 9;
        parameters.handshake_limit_ms = 0;
        parameters.closed_kept = 30;
        parameters.max_replacements = 1;
    })
}

/// A small world in which the user has a name, whose rent soon runs out.
fn named_world() -> World {
    let mut world = small_world();
    world.fund_members();
    world.register_name(USER, "hello.internal").unwrap();
    world
}

/// Signs the steps of one block: each sender's transactions follow one another.
fn sign_all(world: &World, steps: &[Step]) -> Vec<CheckedTransaction> {
    let mut ahead = [0; 256];
    steps
        .iter()
        .map(|step| {
            let (actor, action) = action(world, *step);
            let transaction = world.sign_ahead(actor, ahead[usize::from(actor)], vec![action]);
            ahead[usize::from(actor)] += 1;
            transaction
        })
        .collect()
}

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

/// What sequences of the property's kind are known to reach: without this a
/// change of the steps could leave the property true and empty.
#[test]
fn the_sequences_reach_every_kind_of_event() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut reached = std::collections::BTreeSet::new();
    for _ in 0..MOST_SEQUENCES {
        if WANTED.iter().all(|wanted| reached.contains(*wanted)) {
            break;
        }
        let blocks = steps().new_tree(&mut runner).unwrap().current();
        let mut world = named_world();
        for steps in blocks {
            let transactions = sign_all(&world, &steps);
            for event in world.block(&transactions).events.into_iter().flatten() {
                let name = format!("{event:?}");
                reached.insert(name.split([' ', '{']).next().unwrap_or_default().to_owned());
                if let Event::ContractEnded { reason, .. } = event {
                    reached.insert(format!("{reason:?}"));
                }
            }
        }
    }
    for wanted in WANTED {
        assert!(
            reached.contains(*wanted),
            "no sequence reaches {wanted}: {reached:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_state_is_sound_and_a_replay_gives_the_same(blocks in steps()) {
        let mut world = named_world();
        let mut chain = Vec::new();
        for steps in blocks {
            let transactions = sign_all(&world, &steps);
            world.block(&transactions);
            chain.push(transactions);
        }
        let mut replay = named_world();
        for transactions in chain {
            let changes = replay.apply(&transactions).changes;
            replay.advance(changes);
        }
        prop_assert_eq!(&replay.state, &world.state);
        prop_assert_eq!(digest(&replay.state), digest(&world.state));
    }

    #[test]
    fn the_order_of_senders_within_a_block_makes_no_difference(
        before in steps(),
        block in proptest::collection::vec((any::<u8>(), any::<u8>(), any::<u16>()), 1..12),
    ) {
        let mut world = named_world();
        for steps in before.into_iter().take(10) {
            let transactions = sign_all(&world, &steps);
            world.block(&transactions);
        }
        // Offers and requests: what one sender does leaves the others' alone.
        let steps: Vec<_> = block
            .into_iter()
            .map(|(a, b, amount)| Step { kind: if a < 128 { 7 } else { 10 }, a, b, amount })
            .map(|mut step| {
                step.b |= 64;
                step
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
        kind in 0..KINDS,
    ) {
        let world = small_world();
        let step = Step { kind, a: 1, b: 2, amount: 30 };
        let (actor, action) = action(&world, step);
        let key = key(actor);
        let transaction = Transaction {
            version: Transaction::VERSION,
            circle: world.circle,
            sender: key.public(),
            sequence: 0,
            expires_at: Height(9),
            fee_limit: Amount(100_000),
            actions: vec![action],
        };
        let mut bytes = transaction.sign(&key).encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        // The signature is not looked at, so that the change reaches the ledger.
        if let Ok(checked) = CheckedTransaction::check_form(&bytes, world.circle) {
            let block = BlockContext { height: Height(1), time_ms: 1, parent: Digest::default() };
            let applied = ledger::apply(&world.state, &block, &[checked]);
            prop_assert_eq!(applied.receipts.len(), 1);
        }
    }
}
