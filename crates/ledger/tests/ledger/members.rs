//! Members: proposals, votes and what they change; epochs and resharings.

use ledger::{BlockContext, Ceremony, Concluded, ReshareTask};
use wire::record::{Epoch, Member, Proposal, ProposalStatus, ResharingOutcome, Rules};
use wire::*;

use crate::world::*;

const FOUNDERS: [u8; 4] = [10, 11, 12, 13];
/// An applicant's account key and validator key.
pub(super) const JOINER: u8 = 30;
pub(super) const JOINER_SEAT: u8 = 31;

/// The table of every action of this module.
pub const CASES: &[Case] = &[
    ("a stranger cannot propose", Err(Reject::NoVote), |world| {
        world.send(STRANGER, propose(Change::AddAuthority(account(USER))))
    }),
    ("a stranger cannot vote", Err(Reject::NoVote), |world| {
        let proposal = open(world, Change::AddAuthority(account(USER)));
        world.send(STRANGER, vote(proposal, true))
    }),
    ("an observer has no vote", Err(Reject::NoVote), |world| {
        fund(world);
        let proposal = open(
            world,
            join(world, |terms| terms.role = MemberRole::Observer),
        );
        for founder in [11, 12] {
            world.send(founder, vote(proposal, true)).unwrap();
        }
        give(world, JOINER);
        world.send(JOINER, propose(Change::AddAuthority(account(USER))))
    }),
    (
        "an unknown proposal",
        Err(Reject::ProposalNotFound),
        |world| {
            fund(world);
            world.send(10, vote(ProposalId([9; 32]), true))
        },
    ),
    ("a decided proposal", Err(Reject::ProposalClosed), |world| {
        let proposal = enact(world, Change::AddAuthority(account(USER)));
        world.send(13, vote(proposal, true))
    }),
    ("one vote of each", Err(Reject::AlreadyVoted), |world| {
        let proposal = open(world, Change::AddAuthority(account(USER)));
        world.send(10, vote(proposal, true))
    }),
    (
        "a ninth open proposal",
        Err(Reject::TooManyProposals),
        |world| {
            fund(world);
            for actor in 0..8 {
                let change = Change::AddAuthority(account(100 + actor));
                world.send(10, propose(change)).unwrap();
            }
            world.send(10, propose(Change::AddAuthority(account(99))))
        },
    ),
    ("a member joins once", Err(Reject::MemberExists), |world| {
        fund(world);
        let change = join(world, |_| ());
        enact(world, change.clone());
        world.send(10, propose(change))
    }),
    ("an unknown member", Err(Reject::MemberNotFound), |world| {
        fund(world);
        world.send(10, propose(Change::RemoveMember(account(STRANGER))))
    }),
    (
        "a validator without an address",
        Err(Reject::MemberMalformed),
        |world| {
            fund(world);
            let change = join(world, |terms| {
                terms.seat.as_mut().unwrap().address = "no-port".to_owned();
            });
            world.send(10, propose(change))
        },
    ),
    (
        "a validator without a seat",
        Err(Reject::MemberMalformed),
        |world| {
            fund(world);
            let change = join(world, |terms| terms.seat = None);
            world.send(10, propose(change))
        },
    ),
    (
        "terms that nobody signed",
        Err(Reject::NotSigned),
        |world| {
            fund(world);
            let Change::AddMember(mut request) = join(world, |_| ()) else {
                unreachable!()
            };
            request.terms.level = 200;
            world.send(10, propose(Change::AddMember(request)))
        },
    ),
    ("a seat's key signs too", Err(Reject::NotSigned), |world| {
        fund(world);
        let Change::AddMember(mut request) = join(world, |_| ()) else {
            unreachable!()
        };
        request.seat_signature = Some(request.signature);
        world.send(10, propose(Change::AddMember(request)))
    }),
    (
        "the last validator stays",
        Err(Reject::LastValidator),
        |world| {
            fund(world);
            for (leaver, voters) in [(13, &[11u8, 12][..]), (12, &[11][..]), (11, &[11][..])] {
                let proposal = open(world, Change::RemoveMember(account(leaver)));
                for voter in voters {
                    world.send(*voter, vote(proposal, true)).unwrap();
                }
            }
            world.send(10, propose(Change::RemoveMember(account(10))))
        },
    ),
    (
        "what runs cannot change",
        Err(Reject::ParameterFixed),
        |world| {
            fund(world);
            let parameters = Parameters {
                epoch_length: 1000,
                ..Parameters::default()
            };
            world.send(10, propose(Change::SetParameters(Box::new(parameters))))
        },
    ),
    (
        "a parameter out of range",
        Err(Reject::ParameterFixed),
        |world| {
            fund(world);
            let parameters = Parameters {
                rent_period: 0,
                ..Parameters::default()
            };
            world.send(10, propose(Change::SetParameters(Box::new(parameters))))
        },
    ),
    (
        "a change that changes nothing",
        Err(Reject::NothingChanges),
        |world| {
            fund(world);
            world.send(10, propose(Change::AddAuthority(account(AUTHORITY))))
        },
    ),
    (
        "no draw without randomness",
        Err(Reject::RandomnessUnavailable),
        |world| {
            fund(world);
            let policy = Policy::RandomOfLevel { level: 1 };
            let subject = Subject::Code;
            world.send(10, propose(Change::SetPolicy { subject, policy }))
        },
    ),
    (
        "an upgrade to the past",
        Err(Reject::UpgradePast),
        |world| {
            fund(world);
            let (version, height) = (2, world.height);
            world.send(10, propose(Change::Upgrade { version, height }))
        },
    ),
    (
        "only validators deal",
        Err(Reject::NotInCommittee),
        |world| world.send(USER, deal(1)),
    ),
    (
        "no dealing without a resharing",
        Err(Reject::NoResharing),
        |world| {
            fund(world);
            world.send(10, deal(1))
        },
    ),
    ("one dealing of each", Err(Reject::AlreadyDealt), |world| {
        enact(world, join(world, |_| ()));
        world.send(10, deal(1)).unwrap();
        world.send(10, deal(1))
    }),
];

#[test]
fn every_case_earns_its_verdict() {
    run(CASES);
}

fn propose(change: Change) -> Action {
    Action::Propose(Propose { change })
}

fn vote(proposal: ProposalId, approve: bool) -> Action {
    Action::Vote(Vote { proposal, approve })
}

fn deal(round: u64) -> Action {
    Action::Deal(Deal {
        round,
        dealing: vec![7; 100],
    })
}

fn give(world: &mut World, actor: u8) {
    let transfer = Transfer {
        to: account(actor),
        amount: Amount(200_000),
    };
    world.send(USER, Action::Transfer(transfer)).unwrap();
}

/// Gives the founders something to pay fees with.
fn fund(world: &mut World) {
    for founder in FOUNDERS {
        if world.balance(founder) < Amount(100_000) {
            give(world, founder);
        }
    }
}

/// A request that both of its keys have signed.
fn join(world: &World, change: impl FnOnce(&mut MemberTerms)) -> Change {
    join_as(world, JOINER, JOINER_SEAT, change)
}

pub(super) fn join_as(
    world: &World,
    actor: u8,
    seat: u8,
    change: impl FnOnce(&mut MemberTerms),
) -> Change {
    let mut terms = MemberTerms {
        name: "newcomer".to_owned(),
        role: MemberRole::Validator,
        level: 1,
        facts: vec![Fact {
            name: "sensor".to_owned(),
            value: "fingerprint".to_owned(),
        }],
        seat: Some(ValidatorSeat {
            key: key(seat).public(),
            address: "newcomer.example:4000".to_owned(),
        }),
        evidence: None,
    };
    change(&mut terms);
    let message = JoinRequest::message(world.circle, &key(actor).public(), &terms);
    Change::AddMember(Box::new(JoinRequest {
        key: key(actor).public(),
        signature: key(actor).sign(JoinRequest::PURPOSE, &message),
        seat_signature: terms
            .seat
            .as_ref()
            .map(|_| key(seat).sign(JoinRequest::PURPOSE, &message)),
        terms,
    }))
}

/// A proposal of the first founder's that waits for more votes.
fn open(world: &mut World, change: Change) -> ProposalId {
    fund(world);
    let id = world.send_for_id(10, propose(change)).unwrap();
    ProposalId::made_by(id, 0)
}

/// A proposal that a majority of the four founders decided for.
fn enact(world: &mut World, change: Change) -> ProposalId {
    let proposal = open(world, change);
    for founder in [11, 12] {
        world.send(founder, vote(proposal, true)).unwrap();
    }
    proposal
}

fn status(world: &World, proposal: ProposalId) -> ProposalStatus {
    let record: Proposal = world.get(&state_key::proposal(proposal)).unwrap();
    record.status
}

fn rules(world: &World) -> Rules {
    world.get(&state_key::rules()).unwrap()
}

fn epoch(world: &World) -> Epoch {
    world.get(&state_key::epoch()).unwrap()
}

fn seats(world: &World) -> Vec<PublicKey> {
    epoch(world).committee.iter().map(|seat| seat.key).collect()
}

/// Judges that enough dealings make a sharing named after the round; two
/// dealings that begin with 1 expose the joiner's share.
struct Counting;

impl Ceremony for Counting {
    fn conclude(&self, task: &ReshareTask<'_>) -> Option<Concluded> {
        let exposed = task
            .dealings
            .iter()
            .filter(|(_, bytes)| bytes[0] == 1)
            .count();
        (task.dealings.len() >= 3).then(|| Concluded {
            sharing: task.round.to_le_bytes().to_vec(),
            revealed: (exposed >= 2)
                .then(|| key(JOINER_SEAT).public())
                .into_iter()
                .collect(),
        })
    }
}

/// As [`World::block`], with resharings that can succeed.
fn block(world: &mut World, transactions: &[CheckedTransaction]) -> Vec<Event> {
    let height = world.height.plus(1);
    let context = BlockContext {
        height,
        time_ms: World::time_ms(height),
        parent: World::header(world.height),
    };
    let applied = ledger::apply_with(&world.state, &context, transactions, &Counting);
    world.advance(applied.changes);
    ledger::audit(&world.state).unwrap();
    applied.events.into_iter().flatten().collect()
}

/// Blocks until the epoch's end; gives the events of its last block.
fn end_epoch(world: &mut World) -> Vec<Event> {
    let number = epoch(world).number;
    loop {
        let events = block(world, &[]);
        if epoch(world).number > number {
            return events;
        }
    }
}

fn short_epochs() -> World {
    World::with(|parameters| parameters.epoch_length = 40)
}

fn send_dealings(world: &mut World, dealers: &[u8], first_byte: u8) {
    let round = epoch(world).resharing.unwrap().round;
    let dealings: Vec<_> = dealers
        .iter()
        .map(|dealer| {
            let dealing = vec![first_byte; 50];
            world.sign(*dealer, Action::Deal(Deal { round, dealing }))
        })
        .collect();
    block(world, &dealings);
}

#[test]
fn a_majority_decides_and_the_deciding_vote_enacts() {
    let mut world = World::new();
    let proposal = open(&mut world, Change::AddAuthority(account(USER)));
    world.send(11, vote(proposal, true)).unwrap();
    assert_eq!(status(&world, proposal), ProposalStatus::Open);
    assert!(
        !rules(&world)
            .certificate_authorities
            .contains(&account(USER))
    );
    world.send(12, vote(proposal, true)).unwrap();
    let at = world.height;
    assert_eq!(status(&world, proposal), ProposalStatus::Enacted { at });
    assert!(
        rules(&world)
            .certificate_authorities
            .contains(&account(USER))
    );
}

#[test]
fn a_proposal_that_cannot_win_any_more_is_refused() {
    let mut world = World::new();
    let proposal = open(&mut world, Change::AddAuthority(account(USER)));
    world.send(11, vote(proposal, false)).unwrap();
    world.send(12, vote(proposal, false)).unwrap();
    let at = world.height;
    assert_eq!(status(&world, proposal), ProposalStatus::Refused { at });
}

#[test]
fn an_undecided_proposal_expires_and_is_forgotten() {
    let mut world = World::with(|parameters| parameters.proposal_period = 10);
    let proposal = open(&mut world, Change::AddAuthority(account(USER)));
    let until = world.height.plus(10);
    world.idle_until(Height(until.0 - 1));
    assert_eq!(status(&world, proposal), ProposalStatus::Open);
    let events = world.idle(1);
    let wanted = Event::ProposalDecided {
        proposal,
        enacted: false,
    };
    assert!(events.contains(&wanted));
    assert!(!world.state.contains_key(&state_key::proposal(proposal)));
}

#[test]
fn votes_of_members_that_left_count_no_more() {
    let mut world = World::new();
    let proposal = open(&mut world, Change::AddAuthority(account(USER)));
    world.send(13, vote(proposal, true)).unwrap();
    enact(&mut world, Change::RemoveMember(account(13)));
    // Three voters are left; one of the two approvals was the leaver's.
    assert_eq!(status(&world, proposal), ProposalStatus::Open);
    world.send(11, vote(proposal, false)).unwrap();
    assert_eq!(status(&world, proposal), ProposalStatus::Open);
    world.send(12, vote(proposal, true)).unwrap();
    let at = world.height;
    assert_eq!(status(&world, proposal), ProposalStatus::Enacted { at });
}

#[test]
fn a_threshold_and_a_level_decide_where_the_policy_says_so() {
    let mut world = World::new();
    let member = account(11);
    let update = MemberUpdate {
        level: Some(3),
        ..MemberUpdate::default()
    };
    enact(&mut world, Change::UpdateMember { member, update });
    let subject = Subject::Authorities;
    let policy = Policy::AnyOfLevel { level: 3 };
    enact(&mut world, Change::SetPolicy { subject, policy });
    // Seed 002: if a high-security member asks, it is done at once.
    world
        .send(11, propose(Change::AddAuthority(account(USER))))
        .unwrap();
    assert!(
        rules(&world)
            .certificate_authorities
            .contains(&account(USER))
    );
    let waits = open(&mut world, Change::RemoveAuthority(account(USER)));
    assert_eq!(status(&world, waits), ProposalStatus::Open);

    let policy = Policy::Threshold { need: 4 };
    enact(&mut world, Change::SetPolicy { subject, policy });
    let proposal = enact(&mut world, Change::AddAuthority(account(STRANGER)));
    assert_eq!(status(&world, proposal), ProposalStatus::Open);
    world.send(13, vote(proposal, true)).unwrap();
    assert!(
        rules(&world)
            .certificate_authorities
            .contains(&account(STRANGER))
    );
}

#[test]
fn a_change_that_fails_late_in_a_transaction_leaves_the_rules_alone() {
    let mut world = World::new();
    let member = account(10);
    let update = MemberUpdate {
        level: Some(9),
        ..MemberUpdate::default()
    };
    enact(&mut world, Change::UpdateMember { member, update });
    let subject = Subject::Parameters;
    let policy = Policy::AnyOfLevel { level: 9 };
    enact(&mut world, Change::SetPolicy { subject, policy });
    let parameters = Parameters {
        fee_per_byte: Amount(5),
        ..Parameters::default()
    };
    let change = Change::SetParameters(Box::new(parameters));
    let nothing = Action::Transfer(Transfer {
        to: account(USER),
        amount: Amount::ZERO,
    });
    let failing = world.sign_ahead(10, 0, vec![propose(change.clone()), nothing]);
    let next = world.sign_ahead(11, 0, vec![vote(ProposalId([1; 32]), true)]);
    let applied = world.block(&[failing, next]);
    assert_eq!(verdict(&applied.receipts[0]), Err(Reject::AmountOutOfRange));
    // The second transaction of the same block still pays by the old rules.
    let bytes = applied.receipts[1].fee.0 - 10;
    assert!(bytes < 400, "{bytes}");
    assert_eq!(rules(&world).parameters.fee_per_byte, Amount(1));
    world.send(10, propose(change)).unwrap();
    assert_eq!(rules(&world).parameters.fee_per_byte, Amount(5));
}

#[test]
fn expelled_code_is_no_longer_matched_and_readmitted_code_is() {
    let mut world = World::new();
    world.post_offer(PROVIDER, offer_terms());
    let value = ReferenceValue {
        measurement: CODE,
        kind: EvidenceKind::Development,
    };
    enact(&mut world, Change::ExpelCode(value));
    let request = world.post_request(request_terms());
    assert_eq!(world.request(request).replicas, [None]);
    enact(&mut world, Change::AdmitCode(value));
    world.idle(2);
    assert!(world.request(request).replicas[0].is_some());
}

#[test]
fn a_production_circle_votes_no_development_code_in() {
    let production = genesis(|genesis| {
        genesis.kind = CircleKind::Production;
        genesis.development_roots.clear();
        genesis.reference_values.clear();
    });
    let mut world = World::founded_on(&production);
    fund(&mut world);
    let value = ReferenceValue {
        measurement: CODE,
        kind: EvidenceKind::Development,
    };
    let verdict = world.send(10, propose(Change::AdmitCode(value)));
    assert_eq!(verdict, Err(Reject::EvidenceNotAdmitted));
}

#[test]
fn a_joiner_takes_office_with_the_next_epoch_after_enough_dealings() {
    let mut world = short_epochs();
    let change = join(&world, |_| ());
    enact(&mut world, change);
    let resharing = epoch(&world).resharing.expect("a resharing is under way");
    assert_eq!(resharing.target.len(), 5);
    assert_eq!(seats(&world).len(), 4, "not before the epoch's end");
    send_dealings(&mut world, &[10, 11, 12], 0);
    let events = end_epoch(&mut world);
    assert!(events.contains(&Event::CommitteeChanged { epoch: 1 }));
    let epoch = epoch(&world);
    assert_eq!((epoch.number, epoch.sharing_since), (1, 1));
    assert_eq!(epoch.sharing, 1u64.to_le_bytes());
    assert!(seats(&world).contains(&key(JOINER_SEAT).public()));
    assert!(rules(&world).validators.contains(&account(JOINER)));
    assert_eq!(world.height.plus(1).0 % 40, 0);
}

#[test]
fn a_dealing_is_free_once_and_only_for_validators_in_office() {
    let mut world = short_epochs();
    let change = join(&world, |_| ());
    enact(&mut world, change);
    // The last founder has spent all it has.
    let all = world.balance(13);
    let fee = {
        let probe = world.sign(13, transfer_of(Amount(1)));
        world.apply(&[probe]).receipts[0].fee
    };
    world.send(13, transfer_of(Amount(all.0 - fee.0))).unwrap();
    assert_eq!(world.balance(13), Amount::ZERO);
    let transaction = world.sign(13, deal(1));
    let receipt = world.block(&[transaction]).receipts.remove(0);
    assert_eq!((verdict(&receipt), receipt.fee), (Ok(()), Amount::ZERO));
    let again = world.sign(13, deal(1));
    let receipt = world.block(&[again]).receipts.remove(0);
    assert_eq!(verdict(&receipt), Err(Reject::InsufficientBalance));
}

fn transfer_of(amount: Amount) -> Action {
    Action::Transfer(Transfer {
        to: account(USER),
        amount,
    })
}

#[test]
fn too_few_dealings_leave_the_committee_in_office_and_are_tried_again() {
    let mut world = short_epochs();
    let change = join(&world, |_| ());
    enact(&mut world, change);
    let before = epoch(&world);
    send_dealings(&mut world, &[10, 11], 0);
    end_epoch(&mut world);
    let after = epoch(&world);
    assert_eq!(after.last_outcome, Some(ResharingOutcome::TooFewDealings));
    assert_eq!(
        (after.committee, after.sharing),
        (before.committee, before.sharing)
    );
    let again = after.resharing.expect("it is tried again");
    assert_eq!(again.round, 2, "a round's number is never used twice");
    let kept = state_key::dealing(1, &key(10).public());
    assert!(
        !world.state.contains_key(&kept),
        "the next round forgets it"
    );
}

#[test]
fn a_revealed_share_is_not_adopted_and_its_holder_rests() {
    let mut world = short_epochs();
    let change = join(&world, |_| ());
    enact(&mut world, change);
    let sharing = epoch(&world).sharing;
    send_dealings(&mut world, &[10, 11, 12], 1);
    end_epoch(&mut world);
    let after = epoch(&world);
    assert_eq!(after.last_outcome, Some(ResharingOutcome::SharesRevealed));
    assert_eq!(after.sharing, sharing);
    assert_eq!(after.resting, [(key(JOINER_SEAT).public(), 9)]);
    assert_eq!(after.resharing, None, "who rests is not asked");
    while epoch(&world).number < 9 {
        end_epoch(&mut world);
    }
    assert!(epoch(&world).resharing.is_some(), "it is asked again");
}

#[test]
fn a_removed_validator_and_a_replaced_key_leave_with_the_next_epoch() {
    let mut world = short_epochs();
    let member = account(13);
    let seat = ValidatorSeat {
        key: key(JOINER_SEAT).public(),
        address: "127.0.0.1:4000".to_owned(),
    };
    let message = SeatReplacement::message(world.circle, member, &seat);
    let signature = key(JOINER_SEAT).sign(SeatReplacement::PURPOSE, &message);
    enact(
        &mut world,
        Change::ReplaceSeat(SeatReplacement {
            member,
            seat,
            signature,
        }),
    );
    send_dealings(&mut world, &FOUNDERS, 0);
    end_epoch(&mut world);
    assert!(!seats(&world).contains(&key(13).public()));
    assert!(seats(&world).contains(&key(JOINER_SEAT).public()));
    assert!(
        rules(&world).validators.contains(&member),
        "the member is paid"
    );

    enact(&mut world, Change::RemoveMember(member));
    let made_this_office = state_key::dealing(1, &key(10).public());
    assert!(
        world.state.contains_key(&made_this_office),
        "who was down finds its share in it"
    );
    send_dealings(&mut world, &[10, 11, 12], 0);
    assert!(world.state.contains_key(&made_this_office));
    end_epoch(&mut world);
    assert_eq!(seats(&world).len(), 3);
    assert!(!rules(&world).validators.contains(&member));
    assert!(world.get::<Member>(&state_key::member(member)).is_none());
}

#[test]
fn an_upgrade_takes_effect_at_one_height_and_stops_nodes_that_lack_it() {
    let mut world = World::new();
    let height = world.height.plus(20);
    let version = 2;
    enact(&mut world, Change::Upgrade { version, height });
    world.idle_until(Height(height.0 - 1));
    assert_eq!(rules(&world).version, 1);
    let stopped = std::panic::catch_unwind(|| world.apply(&[]));
    let reason = *stopped.unwrap_err().downcast::<String>().unwrap();
    assert!(reason.contains("install a newer one"), "{reason}");
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    /// The change that two bytes stand for.
    fn change(world: &World, kind: u8, choice: u8) -> Change {
        let founder = account(FOUNDERS[usize::from(choice % 4)]);
        match kind {
            0 => join_as(world, 40 + choice % 3, 50 + choice % 3, |terms| {
                terms.level = choice % 3;
            }),
            1 => Change::RemoveMember(founder),
            2 => Change::RemoveMember(account(40 + choice % 3)),
            3 => Change::UpdateMember {
                member: founder,
                update: MemberUpdate {
                    level: Some(choice % 4),
                    role: Some([MemberRole::Validator, MemberRole::Voter][usize::from(choice % 2)]),
                    ..MemberUpdate::default()
                },
            },
            4 => Change::SetPolicy {
                subject: Subject::RemoveMember,
                policy: [
                    Policy::Majority,
                    Policy::Threshold {
                        need: u16::from(choice),
                    },
                    Policy::AnyOfLevel { level: choice % 4 },
                ][usize::from(choice % 3)],
            },
            5 => Change::AddAuthority(account(choice)),
            _ => Change::RemoveAuthority(account(choice)),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_sequence_of_votes_keeps_the_circle_sound_and_replays_alike(
            steps in proptest::collection::vec((0u8..12, any::<u8>(), any::<u8>()), 1..80),
        ) {
            let mut world = World::with(|parameters| {
                parameters.epoch_length = 16;
                parameters.proposal_period = 9;
            });
            fund(&mut world);
            let start = world.state.clone();
            let begin = world.height;
            let mut chain = Vec::new();
            for (kind, choice, who) in steps {
                let sender = FOUNDERS[usize::from(who % 4)];
                let proposals: Vec<ProposalId> = world
                    .state
                    .keys()
                    .filter_map(|key| key.strip_prefix(state_key::PROPOSALS))
                    .map(|id| ProposalId(id.try_into().unwrap()))
                    .collect();
                let action = match kind {
                    0..=6 => propose(change(&world, kind, choice)),
                    7..=9 if !proposals.is_empty() => {
                        vote(proposals[usize::from(choice) % proposals.len()], who < 200)
                    }
                    _ => {
                        let round = epoch(&world).resharing.map_or(0, |resharing| resharing.round);
                        deal(round)
                    }
                };
                let transactions = vec![world.sign(sender, action)];
                block(&mut world, &transactions);
                chain.push(transactions);
            }
            let mut replay = World::new();
            (replay.state, replay.height) = (start, begin);
            for transactions in chain {
                block(&mut replay, &transactions);
            }
            prop_assert_eq!(&replay.state, &world.state);
        }
    }
}
