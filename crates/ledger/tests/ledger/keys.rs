//! Keys nobody holds alone: keykeepers, rounds on the ledger, labels, requests.

use std::collections::BTreeMap;

use rand::{SeedableRng as _, rngs::StdRng};
use threshold::{
    Answer, Asker, Board, Committee, Dealing, Join, Keeper, LabelKey, OneTimeKey, Phase, Post, Task,
};
use wire::record::{
    KeyAnswer, KeyCommittee, KeyMessage, KeyOutcome, KeyRequest, KeyRound, Keykeeper, Label,
};
use wire::*;

use crate::{golden::digest, world::*};

/// Keykeepers, by the seed of their keys.
pub(super) const KEEPERS: [u8; 7] = [40, 41, 42, 43, 44, 45, 46];
const NEWCOMERS: [u8; 2] = [47, 48];
pub(super) const WINDOW: u32 = 10;
const SERVICE: &str = "disk.example";

fn give(world: &mut World, actor: u8) {
    let transfer = Transfer {
        to: account(actor),
        amount: Amount(500_000),
    };
    world.send(PROVIDER, Action::Transfer(transfer)).unwrap();
}

fn register(world: &mut World, actor: u8) -> Verdict {
    let report_data = RegisterKeykeeper::report_data(world.circle, &key(actor).public());
    let evidence = quoting_key().quote(CODE, report_data, [9; 32]);
    world.send(
        actor,
        Action::RegisterKeykeeper(RegisterKeykeeper { evidence }),
    )
}

pub(super) fn set_keykeepers(actors: &[u8], window: u32) -> Change {
    let mut keepers: Vec<PublicKey> = actors.iter().map(|actor| key(*actor).public()).collect();
    keepers.sort_unstable();
    Change::SetKeykeepers { keepers, window }
}

/// Three of four members vote for it.
pub(super) fn enact(world: &mut World, change: Change) -> Verdict {
    let id = world.send_for_id(VALIDATORS[0], Action::Propose(Propose { change }))?;
    let proposal = ProposalId::made_by(id, 0);
    for voter in &VALIDATORS[1..3] {
        let vote = Vote {
            proposal,
            approve: true,
        };
        world.send(*voter, Action::Vote(vote))?;
    }
    Ok(())
}

fn round(world: &World) -> KeyRound {
    world.get(&state_key::key_round()).unwrap()
}

pub(super) fn committee(world: &World) -> KeyCommittee {
    world.get(&state_key::key_committee()).unwrap()
}

/// Registered and funded keykeepers, and a round that waits for them to join.
fn prepared(world: &mut World, actors: &[u8]) {
    world.fund_members();
    for actor in actors {
        give(world, *actor);
        register(world, *actor).unwrap();
    }
    enact(world, set_keykeepers(actors, WINDOW)).unwrap();
}

/// What a keykeeper's own process reads out of the state.
fn board(world: &World) -> Board {
    let round = round(world);
    let keys = |keys: &[PublicKey]| -> Vec<[u8; 32]> {
        keys.iter()
            .map(|key| key.bytes().try_into().unwrap())
            .collect()
    };
    let task = Task {
        circle: world.circle,
        round: round.round,
        previous: (!round.previous.is_empty()).then(|| Committee::decode(&round.previous).unwrap()),
        invited: keys(&round.invited),
        least: usize::from(round.least),
    };
    let phase = match (round.outcome, round.phase) {
        (Some(_), _) => Phase::Closed,
        (None, KeyPhase::Join) => Phase::Joining,
        (None, KeyPhase::Deal) => Phase::Dealing,
        (None, KeyPhase::Answer) => Phase::Answering,
    };
    fn read<T>(
        world: &World,
        phase: KeyPhase,
        decode: impl Fn(&[u8]) -> Option<T>,
    ) -> BTreeMap<[u8; 32], T> {
        let prefix = state_key::key_messages(phase);
        let entries = world.state.range(prefix.clone()..);
        entries
            .take_while(|(key, _)| key.starts_with(&prefix))
            .map(|(key, value)| {
                let message: KeyMessage = record::decode(value).unwrap();
                let sender = key[prefix.len()..].try_into().unwrap();
                (sender, decode(&message.message).unwrap())
            })
            .collect()
    }
    Board::restore(
        task,
        phase,
        read(world, KeyPhase::Join, Join::decode),
        read(world, KeyPhase::Deal, Dealing::decode),
        read(world, KeyPhase::Answer, Answer::decode),
    )
}

fn post_of(world: &World, keeper: &mut Keeper, actor: u8) -> Option<PostKeyRound> {
    let round = round(world);
    let entropy = Digest::tagged("test/seed", &[&[actor], &round.round.to_le_bytes()]);
    let (phase, message) = match keeper.act(&board(world), entropy.0).unwrap()? {
        Post::Join(join) => (KeyPhase::Join, join.encode()),
        Post::Deal(dealing) => (KeyPhase::Deal, dealing.encode()),
        Post::Answer(answer) => (KeyPhase::Answer, answer.encode()),
    };
    Some(PostKeyRound {
        round: round.round,
        phase,
        message,
    })
}

/// Lets `keepers` act until the round and those that follow it are over.
pub(super) fn run_rounds(world: &mut World, keepers: &mut BTreeMap<u8, Keeper>) -> KeyOutcome {
    for _ in 0..300 {
        if let Some(outcome) = round(world).outcome {
            let board = board(world);
            for keeper in keepers.values_mut() {
                keeper.settle(&board).unwrap();
            }
            return outcome;
        }
        let mut posted = false;
        for (actor, keeper) in keepers.iter_mut() {
            if let Some(post) = post_of(world, keeper, *actor) {
                posted = true;
                world.send(*actor, Action::PostKeyRound(post)).unwrap();
            }
        }
        if !posted {
            world.idle(1);
        }
    }
    panic!("a round without an end");
}

fn keepers(actors: &[u8]) -> BTreeMap<u8, Keeper> {
    let keeper = |actor: &u8| (*actor, Keeper::new([*actor; 32]));
    actors.iter().map(keeper).collect()
}

/// A world with a key among `actors`.
pub(super) fn founded(actors: &[u8]) -> (World, BTreeMap<u8, Keeper>) {
    let mut world = World::new();
    let keepers = found(&mut world, actors);
    (world, keepers)
}

/// Makes a key among `actors`.
pub(super) fn found(world: &mut World, actors: &[u8]) -> BTreeMap<u8, Keeper> {
    prepared(world, actors);
    let mut keepers = keepers(actors);
    assert_eq!(run_rounds(world, &mut keepers), KeyOutcome::Done);
    keepers
}

pub(super) fn policy() -> HolderPolicy {
    HolderPolicy {
        codes: vec![ReferenceValue {
            measurement: CODE,
            kind: EvidenceKind::Development,
        }],
        ..HolderPolicy::default()
    }
}

fn label() -> LabelName {
    LabelName {
        owner: account(USER),
        service: SERVICE.to_owned(),
        version: 1,
    }
}

pub(super) fn grant(world: &mut World, change: impl FnOnce(&mut GrantLabel)) -> Verdict {
    let mut action = GrantLabel {
        service: SERVICE.to_owned(),
        version: 1,
        policy: policy(),
    };
    change(&mut action);
    world.send(USER, Action::GrantLabel(action))
}

fn rotate(world: &mut World, policy: HolderPolicy) -> Verdict {
    let action = RotateLabel {
        service: SERVICE.to_owned(),
        version: 1,
        policy,
    };
    world.send(USER, Action::RotateLabel(action))
}

fn request(world: &World, epoch: u64, one_time_key: [u8; 32], code: Measurement) -> RequestKey {
    let height = Height(world.height.0 - 1);
    let block = World::header(height);
    let report_data =
        RequestKey::report_data(world.circle, &label(), epoch, &one_time_key, block, None);
    RequestKey {
        label: label(),
        epoch,
        one_time_key,
        contract: None,
        height,
        block,
        evidence: quoting_key().quote(code, report_data, [9; 32]),
    }
}

fn ask(world: &mut World, change: impl FnOnce(&mut RequestKey)) -> Verdict {
    let mut action = request(world, 1, [3; 32], CODE);
    change(&mut action);
    world.send(STRANGER, Action::RequestKey(action))
}

/// A state in which requests can be made, without the cost of a round.
fn office(world: &mut World) {
    let record = KeyCommittee {
        round: 1,
        master_key: vec![1; 96],
        sharing: Vec::new(),
        keepers: vec![key(KEEPERS[0]).public(), key(KEEPERS[1]).public()],
        quorum: 2,
        since: Height(1),
    };
    world
        .state
        .insert(state_key::key_committee(), record::encode(&record));
    grant(world, |_| ()).unwrap();
}

fn open_request(world: &mut World) -> KeyRequestId {
    office(world);
    let action = Action::RequestKey(request(world, 1, [3; 32], CODE));
    KeyRequestId::made_by(world.send_for_id(STRANGER, action).unwrap(), 0)
}

fn answer(world: &mut World, actor: u8, request: KeyRequestId) -> Verdict {
    let sealed = vec![1; 101];
    world.send(actor, Action::AnswerKey(AnswerKey { request, sealed }))
}

/// Answers of `actors` to a real request for the label's key.
fn derive(world: &mut World, keepers: &BTreeMap<u8, Keeper>, epoch: u64) -> LabelKey {
    let mut rng = StdRng::from_seed([epoch as u8; 32]);
    let one_time = OneTimeKey::generate(&mut rng);
    let action = request(world, epoch, one_time.public(), CODE);
    let id = world
        .send_for_id(STRANGER, Action::RequestKey(action))
        .unwrap();
    let id = KeyRequestId::made_by(id, 0);
    let committee = Committee::decode(&committee(world).sharing).unwrap();
    let stored: KeyRequest = world.get(&state_key::key_request(id)).unwrap();
    let bytes = stored.label.bytes(world.circle, stored.epoch);
    for (actor, keeper) in keepers {
        let sealed = threshold::answer(
            keeper,
            &committee,
            &bytes,
            &Digest(id.0),
            &stored.one_time_key,
            &mut rng,
        );
        let Ok(sealed) = sealed else { continue };
        let balance = world.balance(*actor);
        let action = Action::AnswerKey(AnswerKey {
            request: id,
            sealed,
        });
        world.send(*actor, action).unwrap();
        assert_eq!(world.balance(*actor), balance, "an answer is free");
    }
    let mut asker = Asker::new(&committee, &bytes, Digest(id.0), one_time);
    for keeper in committee.keepers() {
        let key = state_key::key_answer(id, &PublicKey::Ed25519(keeper));
        if let Some(answer) = world.get::<KeyAnswer>(&key) {
            asker.take(keeper, &answer.sealed).unwrap();
        }
    }
    asker.combine().unwrap()
}

/// The table of every action of this module.
pub const CASES: &[Case] = &[
    ("registers a keykeeper", Ok(()), |world| {
        give(world, 40);
        register(world, 40)?;
        let keykeeper: Keykeeper = world.get(&state_key::keykeeper(&key(40).public())).unwrap();
        assert_eq!(keykeeper.result.measurement, CODE);
        register(world, 40)
    }),
    (
        "rejects evidence for another key",
        Err(Reject::ReportDataMismatch),
        |world| {
            let report_data = RegisterKeykeeper::report_data(world.circle, &key(41).public());
            let evidence = quoting_key().quote(CODE, report_data, [9; 32]);
            let action = RegisterKeykeeper { evidence };
            world.send(STRANGER, Action::RegisterKeykeeper(action))
        },
    ),
    (
        "rejects code that the circle does not admit",
        Err(Reject::EvidenceNotAdmitted),
        |world| {
            let report_data = RegisterKeykeeper::report_data(world.circle, &key(4).public());
            let evidence = quoting_key().quote(Measurement([1; 32]), report_data, [9; 32]);
            let action = RegisterKeykeeper { evidence };
            world.send(STRANGER, Action::RegisterKeykeeper(action))
        },
    ),
    (
        "rejects keykeepers that are not registered",
        Err(Reject::NotKeykeeper),
        |world| {
            world.fund_members();
            enact(world, set_keykeepers(&KEEPERS, WINDOW))
        },
    ),
    (
        "rejects a single keykeeper",
        Err(Reject::LimitExceeded),
        |world| {
            world.fund_members();
            enact(world, set_keykeepers(&KEEPERS[..1], WINDOW))
        },
    ),
    (
        "rejects a window that is too short",
        Err(Reject::LimitExceeded),
        |world| {
            world.fund_members();
            enact(world, set_keykeepers(&KEEPERS, 7))
        },
    ),
    (
        "rejects another change while a round is under way",
        Err(Reject::KeyRoundUnderWay),
        |world| {
            prepared(world, &KEEPERS[..3]);
            enact(world, set_keykeepers(&KEEPERS[..2], WINDOW))
        },
    ),
    (
        "rejects a message when no round is under way",
        Err(Reject::KeyRoundClosed),
        |world| world.send(USER, Action::PostKeyRound(joined(1, 3))),
    ),
    (
        "rejects a message of another phase",
        Err(Reject::KeyRoundClosed),
        |world| {
            prepared(world, &KEEPERS[..3]);
            let mut post = joined(1, 3);
            post.phase = KeyPhase::Deal;
            world.send(KEEPERS[0], Action::PostKeyRound(post))
        },
    ),
    (
        "rejects a message of who is not asked",
        Err(Reject::NotKeykeeper),
        |world| {
            prepared(world, &KEEPERS[..3]);
            world.send(USER, Action::PostKeyRound(joined(1, 3)))
        },
    ),
    (
        "rejects a second message",
        Err(Reject::KeyMessageAgain),
        |world| {
            prepared(world, &KEEPERS[..3]);
            world.send(KEEPERS[0], Action::PostKeyRound(joined(1, 3)))?;
            world.send(KEEPERS[0], Action::PostKeyRound(joined(1, 3)))
        },
    ),
    (
        "rejects a message that is not what the round asks for",
        Err(Reject::KeyMessageRefused),
        |world| {
            prepared(world, &KEEPERS[..3]);
            world.send(KEEPERS[0], Action::PostKeyRound(joined(1, 2)))
        },
    ),
    ("grants a label", Ok(()), |world| grant(world, |_| ())),
    (
        "rejects a second grant",
        Err(Reject::LabelExists),
        |world| {
            grant(world, |_| ())?;
            grant(world, |_| ())
        },
    ),
    ("another version is another label", Ok(()), |world| {
        grant(world, |_| ())?;
        grant(world, |action| action.version = 2)
    }),
    (
        "rejects a service with other letters",
        Err(Reject::LabelMalformed),
        |world| grant(world, |action| action.service = "Disk".to_owned()),
    ),
    (
        "rejects a policy that admits no code",
        Err(Reject::LabelMalformed),
        |world| grant(world, |action| action.policy.codes.clear()),
    ),
    (
        "rejects the rotation of a label that is not there",
        Err(Reject::LabelNotFound),
        |world| rotate(world, policy()),
    ),
    (
        "rejects a request without keykeepers",
        Err(Reject::NoMasterKey),
        |world| {
            grant(world, |_| ())?;
            ask(world, |_| ())
        },
    ),
    ("takes a request", Ok(()), |world| {
        office(world);
        ask(world, |_| ())
    }),
    (
        "rejects a request for a label that is not there",
        Err(Reject::LabelNotFound),
        |world| {
            office(world);
            ask(world, |action| action.label.version = 9)
        },
    ),
    (
        "rejects a request for an epoch to come",
        Err(Reject::KeyEpochPast),
        |world| {
            office(world);
            ask(world, |action| action.epoch = 2)
        },
    ),
    (
        "rejects a request for an epoch before the last",
        Err(Reject::KeyEpochPast),
        |world| {
            office(world);
            rotate(world, policy())?;
            ask(world, |_| ())?;
            rotate(world, policy())?;
            ask(world, |_| ())
        },
    ),
    (
        "rejects an asker that the policy does not name",
        Err(Reject::HolderNotAdmitted),
        |world| {
            office(world);
            let mut named = policy();
            named.askers = vec![account(USER)];
            rotate(world, named)?;
            ask(world, |_| ())
        },
    ),
    (
        "rejects code that the circle admits and the label does not",
        Err(Reject::HolderNotAdmitted),
        |world| {
            office(world);
            let mut other = policy();
            other.codes[0].measurement = Measurement([1; 32]);
            rotate(world, other)?;
            ask(world, |_| ())
        },
    ),
    (
        "rejects code that the label admits and the circle does not",
        Err(Reject::EvidenceNotAdmitted),
        |world| {
            office(world);
            let mut other = policy();
            other.codes[0].measurement = Measurement([1; 32]);
            rotate(world, other)?;
            let action = request(world, 2, [3; 32], Measurement([1; 32]));
            world.send(STRANGER, Action::RequestKey(action))
        },
    ),
    (
        "rejects evidence for another one-time key",
        Err(Reject::ReportDataMismatch),
        |world| {
            office(world);
            ask(world, |action| action.one_time_key = [4; 32])
        },
    ),
    (
        "rejects evidence that is not fresh",
        Err(Reject::KeyRequestStale),
        |world| {
            office(world);
            let action = request(world, 1, [3; 32], CODE);
            world.idle(300);
            world.send(STRANGER, Action::RequestKey(action))
        },
    ),
    (
        "rejects a block of another chain",
        Err(Reject::KeyRequestStale),
        |world| {
            office(world);
            ask(world, |action| action.block = Digest([1; 32]))
        },
    ),
    (
        "rejects an answer to nobody",
        Err(Reject::KeyRequestNotFound),
        |world| {
            office(world);
            answer(world, USER, KeyRequestId([1; 32]))
        },
    ),
    (
        "rejects an answer of a stranger",
        Err(Reject::NotKeykeeper),
        |world| {
            let request = open_request(world);
            answer(world, USER, request)
        },
    ),
    (
        "rejects a second answer",
        Err(Reject::KeyMessageAgain),
        |world| {
            let request = open_request(world);
            give(world, KEEPERS[0]);
            answer(world, KEEPERS[0], request)?;
            answer(world, KEEPERS[0], request)
        },
    ),
    (
        "rejects an answer that is late",
        Err(Reject::KeyRequestNotFound),
        |world| {
            let request = open_request(world);
            give(world, KEEPERS[0]);
            give(world, KEEPERS[1]);
            answer(world, KEEPERS[0], request)?;
            world.idle(limits::KEY_REQUEST_BLOCKS);
            let left = world.state.keys().filter(|key| {
                key.starts_with(b"g/answer/") || key.starts_with(state_key::KEY_REQUESTS_DUE)
            });
            assert_eq!(left.count(), 0);
            answer(world, KEEPERS[1], request)
        },
    ),
];

fn joined(round: u64, keys: usize) -> PostKeyRound {
    let join = Join {
        keys: vec![[9; 32]; keys],
    };
    PostKeyRound {
        round,
        phase: KeyPhase::Join,
        message: join.encode(),
    }
}

#[test]
fn every_case_of_the_table() {
    run(CASES);
}

#[test]
fn a_key_is_made_derived_and_handed_on_over_the_ledger() {
    let (mut world, mut keepers) = founded(&KEEPERS);
    let first = committee(&world);
    assert_eq!((first.keepers.len(), first.quorum), (7, 4));
    grant(&mut world, |_| ()).unwrap();
    let key = derive(&mut world, &keepers, 1);
    let master: [u8; 96] = first.master_key.clone().try_into().unwrap();
    let mut rng = StdRng::from_seed([1; 32]);
    let bytes = label().bytes(world.circle, 1);
    let message = threshold::encrypt(&master, &bytes, b"disk key", &mut rng).unwrap();
    assert_eq!(&**key.decrypt(&message).unwrap(), b"disk key");

    // Nine hold shares of the same key; one of the seven has crashed.
    for actor in NEWCOMERS {
        give(&mut world, actor);
        register(&mut world, actor).unwrap();
        keepers.insert(actor, Keeper::new([actor; 32]));
    }
    let crashed = keepers.remove(&KEEPERS[6]).unwrap();
    let nine: Vec<u8> = KEEPERS.into_iter().chain(NEWCOMERS).collect();
    enact(&mut world, set_keykeepers(&nine, WINDOW)).unwrap();
    assert_eq!(run_rounds(&mut world, &mut keepers), KeyOutcome::Done);
    let second = committee(&world);
    assert_eq!(second.master_key, first.master_key);
    assert_eq!(second.keepers.len(), 8, "who is not there gets no share");
    assert!(key.is_same(&derive(&mut world, &keepers, 1)));
    // What the crashed one still holds is no share of the committee in office.
    let sharing = Committee::decode(&second.sharing).unwrap();
    let request = Digest([1; 32]);
    let answered = threshold::answer(&crashed, &sharing, &bytes, &request, &[3; 32], &mut rng);
    assert!(answered.is_err());

    // Five.
    let five = [40, 41, 42, 47, 48];
    enact(&mut world, set_keykeepers(&five, WINDOW)).unwrap();
    assert_eq!(run_rounds(&mut world, &mut keepers), KeyOutcome::Done);
    let third = committee(&world);
    assert_eq!((third.keepers.len(), third.quorum), (5, 3));
    assert_eq!(third.master_key, first.master_key);
    assert!(key.is_same(&derive(&mut world, &keepers, 1)));
    assert_eq!(keepers[&43].holds(), None);
}

#[test]
fn the_next_epoch_is_another_key_that_the_revoked_never_get() {
    let (mut world, keepers) = founded(&KEEPERS[..4]);
    grant(&mut world, |_| ()).unwrap();
    let first = derive(&mut world, &keepers, 1);
    // The code is revoked for this label: another one takes its place.
    let other = Measurement([0xc1; 32]);
    let admitted = ReferenceValue {
        measurement: other,
        kind: EvidenceKind::Development,
    };
    enact(&mut world, Change::AdmitCode(admitted)).unwrap();
    let mut policy = policy();
    policy.codes = vec![admitted];
    rotate(&mut world, policy).unwrap();
    let stored: Label = world.get(&state_key::label(&label())).unwrap();
    assert_eq!(stored.epoch, 2);
    for epoch in [1, 2] {
        let action = request(&world, epoch, [3; 32], CODE);
        let refused = world.send(STRANGER, Action::RequestKey(action));
        assert_eq!(refused, Err(Reject::HolderNotAdmitted));
        let action = request(&world, epoch, [3; 32], other);
        world.send(STRANGER, Action::RequestKey(action)).unwrap();
    }
    // What is encrypted to the next epoch does not open with the first's key.
    let master: [u8; 96] = committee(&world).master_key.try_into().unwrap();
    let bytes = label().bytes(world.circle, 2);
    let mut rng = StdRng::from_seed([1; 32]);
    let message = threshold::encrypt(&master, &bytes, b"next", &mut rng).unwrap();
    assert!(first.decrypt(&message).is_err());
}

/// A request for `contract`'s payload, sent by `actor`, with evidence that binds
/// `holder`.
fn ask_for(
    world: &mut World,
    actor: u8,
    contract: ContractId,
    holder: Option<PayloadHolder>,
) -> Verdict {
    let height = Height(world.height.0 - 1);
    let block = World::header(height);
    let report_data =
        RequestKey::report_data(world.circle, &label(), 1, &[3; 32], block, holder.as_ref());
    let action = RequestKey {
        contract: Some(contract),
        evidence: quoting_key().quote(CODE, report_data, [9; 32]),
        ..request(world, 1, [3; 32], CODE)
    };
    world.send(actor, Action::RequestKey(action))
}

#[test]
fn a_payload_has_a_key_only_if_it_is_one_that_the_policy_names() {
    let mut world = World::new();
    office(&mut world);
    let (request, contract) = world.matched(request_terms());
    let terms = world.request(request).terms;
    let holder = PayloadHolder {
        contract,
        user_agreement: terms.agreement_key,
        payload_sha256: terms.payload.sha256,
    };
    let label_policy = |tenants: Vec<AccountId>, payloads: Vec<Digest>| HolderPolicy {
        tenants,
        payloads,
        ..policy()
    };
    let own = || vec![account(USER)];
    let ask = |world: &mut World| ask_for(world, PROVIDER, contract, Some(holder));

    // Admitted code alone is not enough: anybody's payload runs on it.
    assert_eq!(ask(&mut world), Err(Reject::HolderNotAdmitted));
    let put = |world: &mut World, policy: HolderPolicy| {
        let key = state_key::label(&label());
        let stored: Label = world.get(&key).unwrap();
        let value = record::encode(&Label { policy, ..stored });
        world.state.insert(key, value);
    };
    put(&mut world, label_policy(vec![account(STRANGER)], vec![]));
    assert_eq!(ask(&mut world), Err(Reject::HolderNotAdmitted));
    put(&mut world, label_policy(own(), vec![Digest([1; 32])]));
    assert_eq!(ask(&mut world), Err(Reject::HolderNotAdmitted));
    put(&mut world, label_policy(own(), vec![terms.payload.sha256]));
    ask(&mut world).unwrap();
    put(&mut world, label_policy(own(), vec![]));
    ask(&mut world).unwrap();

    // Nobody asks for another's contract, nor with evidence for another payload.
    let refused = ask_for(&mut world, STRANGER, contract, Some(holder));
    assert_eq!(refused, Err(Reject::NotParty));
    let none = ContractId([1; 32]);
    let refused = ask_for(&mut world, PROVIDER, none, Some(holder));
    assert_eq!(refused, Err(Reject::ContractNotFound));
    // A host's own payload in a genuine enclave, passed off as the tenant's.
    let theirs = PayloadHolder {
        user_agreement: [0x66; 32],
        ..holder
    };
    for other in [None, Some(theirs)] {
        let refused = ask_for(&mut world, PROVIDER, contract, other);
        assert_eq!(refused, Err(Reject::ReportDataMismatch));
    }
    let end = EndContract {
        contract,
        reason: EndReason::ProviderWithdrew,
    };
    world.send(PROVIDER, Action::EndContract(end)).unwrap();
    assert_eq!(ask(&mut world), Err(Reject::ContractEnded));
}

#[test]
fn a_round_whose_keykeepers_stay_away_fails_and_another_can_begin() {
    let mut world = World::new();
    prepared(&mut world, &KEEPERS);
    // Three of seven are fewer than a quorum.
    let mut present = keepers(&KEEPERS[..3]);
    assert_eq!(run_rounds(&mut world, &mut present), KeyOutcome::Failed);
    assert!(!world.state.contains_key(&state_key::key_committee()));
    enact(&mut world, set_keykeepers(&KEEPERS[..3], WINDOW)).unwrap();
    assert_eq!(round(&world).round, 2);
    assert_eq!(run_rounds(&mut world, &mut present), KeyOutcome::Done);
}

#[test]
fn who_joins_and_falls_silent_is_left_out_of_the_next_round() {
    let mut world = World::new();
    prepared(&mut world, &KEEPERS[..5]);
    let silent = KEEPERS[4];
    let mut quiet = keepers(&[silent]);
    let post = post_of(&world, quiet.get_mut(&silent).unwrap(), silent).unwrap();
    world.send(silent, Action::PostKeyRound(post)).unwrap();
    let mut present = keepers(&KEEPERS[..4]);
    assert_eq!(run_rounds(&mut world, &mut present), KeyOutcome::Done);
    assert_eq!(round(&world).round, 2);
    let keepers = committee(&world).keepers;
    assert_eq!(keepers.len(), 4);
    assert!(!keepers.contains(&key(silent).public()));
}

#[test]
fn the_state_of_a_first_key_is_what_it_was() {
    let (mut world, keepers) = founded(&KEEPERS[..3]);
    grant(&mut world, |_| ()).unwrap();
    derive(&mut world, &keepers, 1);
    assert_eq!(
        digest(&world.state).to_string(),
        "945864612ec3f5e1c94616d0227789469e8379cf3ccd16ce2ecd9172247e4a2c"
    );
}
