//! Attested validators: who stays in the set, by which evidence, and until when.

use ledger::{BlockContext, Ceremony, Concluded, ReshareTask};
use wire::record::{Epoch, ValidatorEvidence};
use wire::*;

use crate::world::*;

const EPOCH: u64 = 40;

/// Other code that the circle admits and validators must not run.
const OTHER_CODE: Measurement = Measurement([0xc1; 32]);

/// Blocks for which evidence counts.
const RENEW_WITHIN: u64 = 4 * EPOCH;

fn value(measurement: Measurement) -> ReferenceValue {
    ReferenceValue {
        measurement,
        kind: EvidenceKind::Development,
    }
}

/// A circle whose epochs are short and that admits two kinds of code.
fn world() -> World {
    let mut world = World::founded_on(&genesis(|genesis| {
        genesis.parameters.epoch_length = EPOCH;
        genesis.reference_values.push(value(OTHER_CODE));
    }));
    world.fund_members();
    world.idle(1);
    world
}

fn policy() -> ValidatorPolicy {
    ValidatorPolicy {
        codes: vec![value(CODE)],
        renew_within: RENEW_WITHIN,
    }
}

/// Founder 10 proposes, 11 and 12 vote for it.
fn enact(world: &mut World, change: Change) -> Verdict {
    let id = world.send_for_id(10, Action::Propose(Propose { change }))?;
    for member in [11, 12] {
        let proposal = ProposalId::made_by(id, 0);
        let approve = true;
        world.send(member, Action::Vote(Vote { proposal, approve }))?;
    }
    Ok(())
}

/// What a validator's node would send now.
fn evidence(world: &World, seat: u8, code: Measurement) -> AttestValidator {
    let block = Height(world.height.0 - 1);
    let digest = World::header(block);
    let report_data = AttestValidator::report_data(world.circle, &key(seat).public(), digest);
    AttestValidator {
        block,
        evidence: quoting_key().quote(code, report_data, [9; 32]),
    }
}

fn attest(world: &mut World, actor: u8) -> Verdict {
    let action = evidence(world, actor, CODE);
    world.send(actor, Action::AttestValidator(action))
}

/// Adopts every resharing that has any dealing.
struct Willing;

impl Ceremony for Willing {
    fn conclude(&self, task: &ReshareTask<'_>) -> Option<Concluded> {
        (!task.dealings.is_empty()).then(|| Concluded {
            sharing: task.round.to_le_bytes().to_vec(),
            revealed: Vec::new(),
        })
    }
}

fn epoch(world: &World) -> Epoch {
    world.get(&state_key::epoch()).unwrap()
}

fn committee(world: &World) -> Vec<PublicKey> {
    let seats = epoch(world).committee;
    seats.iter().map(|seat| seat.key).collect()
}

fn keys(seeds: &[u8]) -> Vec<PublicKey> {
    let mut keys: Vec<_> = seeds.iter().map(|seed| key(*seed).public()).collect();
    keys.sort_unstable();
    keys
}

fn block(world: &mut World, transactions: &[CheckedTransaction]) {
    let height = world.height.plus(1);
    let context = BlockContext {
        height,
        time_ms: World::time_ms(height),
        parent: World::header(world.height),
    };
    let applied = ledger::apply_with(&world.state, &context, transactions, &Willing);
    world.advance(applied.changes);
    ledger::audit(&world.state).unwrap();
}

/// Blocks to the epoch's end, with a dealing where one is wanted; `each` may
/// add transactions.
fn end_epoch(world: &mut World, mut each: impl FnMut(&World) -> Vec<CheckedTransaction>) {
    let number = epoch(world).number;
    while epoch(world).number == number {
        let mut transactions = each(world);
        if let Some(resharing) = epoch(world).resharing {
            let dealer = VALIDATORS
                .into_iter()
                .find(|seed| committee(world).contains(&key(*seed).public()))
                .unwrap();
            let dealing = vec![7; 50];
            let round = resharing.round;
            transactions.push(world.sign(dealer, Action::Deal(Deal { round, dealing })));
        }
        block(world, &transactions);
    }
}

fn nothing(_: &World) -> Vec<CheckedTransaction> {
    Vec::new()
}

#[test]
fn evidence_is_taken_from_seats_and_members_for_voted_code_and_a_recent_block() {
    let mut world = world();
    enact(&mut world, Change::SetValidatorPolicy(policy())).unwrap();
    attest(&mut world, 10).unwrap();
    let shown: ValidatorEvidence = world
        .get(&state_key::validator_evidence(account(10)))
        .unwrap();
    assert_eq!(shown.seat, key(10).public());
    assert_eq!(shown.result.measurement, CODE);
    assert_eq!(shown.accepted_at, world.height);

    let mut refuse = |actor: u8, action: AttestValidator, reject: Reject| {
        let verdict = world.send(actor, Action::AttestValidator(action));
        assert_eq!(verdict, Err(reject));
    };
    let world_now = self::world();
    let good = |seat| evidence(&world_now, seat, CODE);
    refuse(USER, good(10), Reject::MemberNotFound);
    refuse(11, good(10), Reject::ReportDataMismatch);
    let mut moved = good(11);
    moved.evidence = good(12).evidence;
    refuse(11, moved, Reject::ReportDataMismatch);
    let mut old = good(11);
    old.block = Height(1_000_000);
    refuse(11, old, Reject::ReportDataMismatch);
    refuse(
        11,
        evidence(&world_now, 11, OTHER_CODE),
        Reject::HolderNotAdmitted,
    );
    let unknown = Measurement([0xc9; 32]);
    refuse(
        11,
        evidence(&world_now, 11, unknown),
        Reject::EvidenceNotAdmitted,
    );
    let mut broken = good(11);
    broken.evidence.bytes.truncate(9);
    refuse(11, broken, Reject::EvidenceMalformed);
}

#[test]
fn a_policy_asks_for_admitted_code_and_leaves_time_to_show_it_again() {
    let mut world = world();
    let mut refuse = |change: &dyn Fn(&mut ValidatorPolicy), reject: Reject| {
        let mut policy = policy();
        change(&mut policy);
        let change = Change::SetValidatorPolicy(policy);
        assert_eq!(enact(&mut world, change), Err(reject));
    };
    refuse(&|p| *p = ValidatorPolicy::default(), Reject::NothingChanges);
    let unknown = value(Measurement([0xc9; 32]));
    refuse(&|p| p.codes.push(unknown), Reject::EvidenceNotAdmitted);
    refuse(&|p| p.codes.push(value(CODE)), Reject::LimitExceeded);
    refuse(&|p| p.renew_within = 2 * EPOCH - 1, Reject::LimitExceeded);
}

/// Sends evidence that costs nothing; the receipt's fee with the verdict.
fn attest_for_free(world: &mut World, actor: u8, action: AttestValidator) -> (Verdict, Amount) {
    world.fee_limit = Amount::ZERO;
    let transaction = world.sign(actor, Action::AttestValidator(action));
    world.fee_limit = Amount(100_000);
    let applied = world.block(std::slice::from_ref(&transaction));
    (verdict(&applied.receipts[0]), applied.receipts[0].fee)
}

#[test]
fn evidence_that_is_due_is_free_and_leaves_nothing_if_it_is_refused() {
    let mut world = world();
    let now = |world: &World| evidence(world, 10, CODE);
    let standing = |world: &World| {
        let next = world.height.plus(1);
        ledger::validator_standing(&world.state, next, &key(10).public()).unwrap()
    };
    // Nothing is asked for: it pays as any transaction does.
    assert_eq!(
        (standing(&world).until, standing(&world).due),
        (None, false)
    );
    let action = now(&world);
    let (refused, _) = attest_for_free(&mut world, 10, action);
    assert_eq!(refused, Err(Reject::FeeLimitTooLow));
    enact(&mut world, Change::SetValidatorPolicy(policy())).unwrap();
    let spared = world.height.plus(EPOCH - 1);
    assert_eq!(
        (standing(&world).until, standing(&world).due),
        (Some(spared), true)
    );
    assert_eq!(
        ledger::validator_standing(&world.state, world.height, &key(USER).public()),
        None
    );

    // Refused evidence is as if it had not been sent: nobody fills blocks with it.
    let before: record::Account = world.get(&state_key::account(account(10))).unwrap();
    let mut broken = now(&world);
    broken.evidence.bytes.truncate(9);
    let (refused, fee) = attest_for_free(&mut world, 10, broken);
    assert_eq!(
        (refused, fee),
        (Err(Reject::EvidenceMalformed), Amount::ZERO)
    );
    let after: record::Account = world.get(&state_key::account(account(10))).unwrap();
    assert_eq!(before, after);

    let action = now(&world);
    let balance = world.balance(10);
    let (taken, _) = attest_for_free(&mut world, 10, action);
    assert_eq!((taken, world.balance(10)), (Ok(()), balance));
    let until = world.height.plus(RENEW_WITHIN);
    assert_eq!(
        (standing(&world).until, standing(&world).due),
        (Some(until), false)
    );
    // What is not due is not free; past half of its time it is.
    let action = now(&world);
    let (refused, _) = attest_for_free(&mut world, 10, action);
    assert_eq!(refused, Err(Reject::FeeLimitTooLow));
    world.idle(RENEW_WITHIN / 2);
    assert!(standing(&world).due && standing(&world).counts(world.height));
    let action = now(&world);
    let (taken, _) = attest_for_free(&mut world, 10, action);
    assert_eq!(taken, Ok(()));
    // Beside anything else it pays.
    world.idle(RENEW_WITHIN / 2 + 1);
    let actions = vec![
        Action::AttestValidator(now(&world)),
        Action::AttestValidator(now(&world)),
    ];
    world.fee_limit = Amount::ZERO;
    let transaction = world.sign_ahead(10, 0, actions);
    let applied = world.block(std::slice::from_ref(&transaction));
    assert_eq!(verdict(&applied.receipts[0]), Err(Reject::FeeLimitTooLow));
}

#[test]
fn who_shows_nothing_leaves_at_the_next_epoch_and_comes_back_with_evidence() {
    let mut world = world();
    enact(&mut world, Change::SetValidatorPolicy(policy())).unwrap();
    for actor in [10, 11, 12] {
        attest(&mut world, actor).unwrap();
    }
    assert_eq!(epoch(&world).resharing, None, "there is time to show it");
    end_epoch(&mut world, nothing);
    assert_eq!(committee(&world), keys(&VALIDATORS));
    end_epoch(&mut world, nothing);
    assert_eq!(committee(&world), keys(&[10, 11, 12]));
    attest(&mut world, 13).unwrap();
    end_epoch(&mut world, nothing);
    assert_eq!(committee(&world), keys(&VALIDATORS));
}

#[test]
fn who_does_not_renew_lapses_and_leaves_while_the_others_stay() {
    let mut world = world();
    enact(&mut world, Change::SetValidatorPolicy(policy())).unwrap();
    for actor in VALIDATORS {
        attest(&mut world, actor).unwrap();
    }
    let accepted = world.height;
    // All but 13 renew in time.
    let mut renewed = false;
    while world.height.0 < accepted.0 + RENEW_WITHIN + 2 * EPOCH {
        end_epoch(&mut world, |world| {
            let due = world.height.0 >= accepted.0 + RENEW_WITHIN - EPOCH;
            if !due || std::mem::replace(&mut renewed, due) {
                return Vec::new();
            }
            let renewals = [10, 11, 12].map(|actor| {
                let action = evidence(world, actor, CODE);
                world.sign(actor, Action::AttestValidator(action))
            });
            renewals.into()
        });
        if world.height.0 < accepted.0 + RENEW_WITHIN {
            assert_eq!(committee(&world), keys(&VALIDATORS), "not before it lapses");
        }
        if !committee(&world).contains(&key(13).public()) {
            break;
        }
    }
    assert_eq!(committee(&world), keys(&[10, 11, 12]));
}

#[test]
fn code_that_is_voted_out_takes_its_validators_out_unless_that_is_most_of_them() {
    let mut world = world();
    let mut both = policy();
    both.codes.push(value(OTHER_CODE));
    enact(&mut world, Change::SetValidatorPolicy(both)).unwrap();
    for (actor, code) in [(10, CODE), (11, CODE), (12, CODE), (13, OTHER_CODE)] {
        let action = evidence(&world, actor, code);
        world.send(actor, Action::AttestValidator(action)).unwrap();
    }
    end_epoch(&mut world, nothing);
    assert_eq!(committee(&world), keys(&VALIDATORS));
    enact(&mut world, Change::ExpelCode(value(OTHER_CODE))).unwrap();
    end_epoch(&mut world, nothing);
    assert_eq!(committee(&world), keys(&[10, 11, 12]));
    // With the rest voted out too, nobody could validate: they stay.
    enact(&mut world, Change::ExpelCode(value(CODE))).unwrap();
    end_epoch(&mut world, nothing);
    end_epoch(&mut world, nothing);
    assert_eq!(committee(&world), keys(&[10, 11, 12]));
    assert_eq!(epoch(&world).resharing, None);
}

#[test]
fn more_lapses_than_faults_are_borne_hand_the_key_to_nobody() {
    let mut world = world();
    enact(&mut world, Change::SetValidatorPolicy(policy())).unwrap();
    // Two of four never show anything: one fault is all that four bear.
    for actor in [10, 11] {
        attest(&mut world, actor).unwrap();
    }
    for _ in 0..3 {
        end_epoch(&mut world, nothing);
    }
    assert_eq!(committee(&world), keys(&VALIDATORS));
    assert_eq!(epoch(&world).resharing, None);
    // With a third it is one, who leaves; when another lapses, nobody does: the
    // bound does not shrink with the committee.
    attest(&mut world, 12).unwrap();
    end_epoch(&mut world, nothing);
    assert_eq!(committee(&world), keys(&[10, 11, 12]));
    enact(&mut world, Change::ExpelCode(value(CODE))).unwrap();
    for _ in 0..3 {
        end_epoch(&mut world, nothing);
    }
    assert_eq!(committee(&world), keys(&[10, 11, 12]));
}

#[test]
fn without_a_policy_nobody_has_to_show_anything() {
    let mut world = world();
    end_epoch(&mut world, nothing);
    end_epoch(&mut world, nothing);
    assert_eq!(committee(&world), keys(&VALIDATORS));
    attest(&mut world, 10).unwrap();
}
