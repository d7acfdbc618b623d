//! Keys of names: rotation, recovery by vote with a veto, keys of servers, and
//! owners whose keys are in a TPM or a passkey.

use wire::*;

use crate::world::*;

const HELLO: &str = "hello.internal";

fn hello(world: &mut World) -> Verdict {
    world.register_name(USER, HELLO)
}

/// The consent of `to` to follow the present owner.
fn consent(world: &World, to: u8) -> AnySignature {
    let record = world.name(HELLO);
    let message = NameRotate::message(
        world.circle,
        &record.name,
        record.registered_at,
        &record.owner,
    );
    key(to).sign(NameRotate::PURPOSE, &message).into()
}

fn rotate_with(world: &mut World, actor: u8, to: u8, consent: AnySignature) -> Verdict {
    let action = NameRotate {
        name: name(HELLO),
        to: key(to).public(),
        consent,
    };
    world.send(actor, Action::NameRotate(action))
}

fn rotate(world: &mut World, actor: u8, to: u8) -> Verdict {
    let consent = consent(world, to);
    rotate_with(world, actor, to, consent)
}

fn vote(world: &mut World, member: u8, to: u8) -> Verdict {
    let action = NameRecover {
        name: name(HELLO),
        to: key(to).public(),
    };
    world.send(member, Action::NameRecover(action))
}

fn veto(world: &mut World, actor: u8) -> Verdict {
    let name = name(HELLO);
    world.send(actor, Action::NameVeto(NameVeto { name }))
}

fn secure(world: &mut World, actor: u8, owner: Option<&str>, server: Option<u8>) -> Verdict {
    let action = NameSecure {
        name: name(HELLO),
        owner: owner.map(|owner| owner.parse().unwrap()),
        server: server.map(|seed| (key(seed).public(), Some(Digest([seed; 32])))),
    };
    world.send(actor, Action::NameSecure(action))
}

/// A name, and members that can pay their fees.
fn with_members() -> World {
    let mut world = World::with(|parameters| parameters.recovery_delay = 20);
    world.fund_members();
    hello(&mut world).unwrap();
    world
}

/// As [`with_members`], with a decision for the stranger's key.
fn decided() -> World {
    let mut world = with_members();
    for member in &VALIDATORS[..3] {
        vote(&mut world, *member, STRANGER).unwrap();
    }
    world
}

pub const CASES: &[Case] = &[
    ("rotates the key", Ok(()), |world| {
        hello(world)?;
        rotate(world, USER, STRANGER)?;
        secure(world, STRANGER, None, Some(9))
    }),
    (
        "rejects the former key after a rotation",
        Err(Reject::NotOwner),
        |world| {
            hello(world)?;
            rotate(world, USER, STRANGER)?;
            secure(world, USER, None, Some(9))
        },
    ),
    (
        "rejects a rotation to a key that did not consent",
        Err(Reject::ConsentInvalid),
        |world| {
            hello(world)?;
            let consent = consent(world, PROVIDER);
            rotate_with(world, USER, STRANGER, consent)
        },
    ),
    (
        "rejects a consent to follow another key",
        Err(Reject::ConsentInvalid),
        |world| {
            hello(world)?;
            let old = consent(world, STRANGER);
            rotate(world, USER, PROVIDER)?;
            rotate_with(world, PROVIDER, STRANGER, old)
        },
    ),
    (
        "rejects a rotation to the same key",
        Err(Reject::ConsentInvalid),
        |world| {
            hello(world)?;
            rotate(world, USER, USER)
        },
    ),
    (
        "rejects a rotation by a stranger",
        Err(Reject::NotOwner),
        |world| {
            hello(world)?;
            rotate(world, STRANGER, STRANGER)
        },
    ),
    (
        "rejects a vote of no member",
        Err(Reject::NotMember),
        |world| {
            hello(world)?;
            vote(world, STRANGER, STRANGER)
        },
    ),
    (
        "rejects a vote on no name",
        Err(Reject::NameNotFound),
        |world| {
            world.fund_members();
            vote(world, VALIDATORS[0], STRANGER)
        },
    ),
    (
        "rejects a vote for the key that owns the name",
        Err(Reject::ConsentInvalid),
        |world| {
            *world = with_members();
            vote(world, VALIDATORS[0], USER)
        },
    ),
    ("the owner vetoes a decision", Ok(()), |world| {
        *world = decided();
        veto(world, USER)
    }),
    (
        "rejects a veto of a stranger",
        Err(Reject::NotOwner),
        |world| {
            *world = decided();
            veto(world, STRANGER)
        },
    ),
    (
        "rejects a veto of nothing",
        Err(Reject::RecoveryNotFound),
        |world| {
            hello(world)?;
            veto(world, USER)
        },
    ),
    ("secures a server beneath the name", Ok(()), |world| {
        hello(world)?;
        secure(world, USER, Some("www"), Some(9))
    }),
    (
        "rejects a server key by a stranger",
        Err(Reject::NotOwner),
        |world| {
            hello(world)?;
            secure(world, STRANGER, None, Some(9))
        },
    ),
    (
        "rejects the key of a wildcard",
        Err(Reject::RecordMalformed),
        |world| {
            hello(world)?;
            secure(world, USER, Some("*"), Some(9))
        },
    ),
    (
        "rejects too many server keys",
        Err(Reject::LimitExceeded),
        |world| {
            hello(world)?;
            for number in 0..limits::MAX_NAME_KEYS {
                secure(world, USER, Some(&format!("a{number}")), Some(9))?;
            }
            secure(world, USER, None, Some(9))
        },
    ),
];

#[test]
fn table() {
    run(CASES);
}

#[test]
fn a_rotation_keeps_records_server_keys_deposit_and_what_the_name_serves() {
    let mut world = World::new();
    hello(&mut world).unwrap();
    secure(&mut world, USER, None, Some(9)).unwrap();
    let mut terms = request_terms();
    terms.name = Some(name(HELLO));
    world.running(terms);
    let before = world.name(HELLO);
    assert_eq!(before.endpoints.len(), 1);
    rotate(&mut world, USER, STRANGER).unwrap();
    let after = world.name(HELLO);
    assert_eq!(after.owner, key(STRANGER).public());
    assert_eq!(
        (after.endpoints, after.keys, after.deposit, after.records),
        (
            before.endpoints,
            before.keys,
            before.deposit,
            before.records
        )
    );
    assert!(world.state.contains_key(&state_key::serves(&name(HELLO))));
}

#[test]
fn a_recovery_takes_effect_after_the_delay_and_not_before() {
    let mut world = decided();
    let recovery: record::Recovery = world.get(&state_key::recovery(&name(HELLO))).unwrap();
    assert_eq!(recovery.decided, Some(key(STRANGER).public()));
    assert_eq!(recovery.due, world.height.plus(20));
    world.idle(19);
    assert_eq!(world.name(HELLO).owner, key(USER).public());
    let events = world.idle(1);
    let recovered = Event::NameRecovered {
        name: name(HELLO),
        from: account(USER),
        to: account(STRANGER),
    };
    assert!(events.contains(&recovered), "{events:?}");
    assert_eq!(world.name(HELLO).owner, key(STRANGER).public());
    assert!(!world.state.contains_key(&state_key::recovery(&name(HELLO))));
}

#[test]
fn half_of_the_members_decide_nothing() {
    let mut world = with_members();
    for member in &VALIDATORS[..2] {
        vote(&mut world, *member, STRANGER).unwrap();
    }
    vote(&mut world, VALIDATORS[2], PROVIDER).unwrap();
    let recovery: record::Recovery = world.get(&state_key::recovery(&name(HELLO))).unwrap();
    assert_eq!(recovery.decided, None);
    assert_eq!(recovery.due, recovery.opened_at.plus(20));
    world.idle_until(Height(recovery.due.0 - 1));
    let events = world.idle(1);
    let ended = Event::RecoveryEnded {
        name: name(HELLO),
        vetoed: false,
    };
    assert!(events.contains(&ended), "{events:?}");
    assert_eq!(world.name(HELLO).owner, key(USER).public());
}

#[test]
fn a_vote_that_moves_away_undoes_the_decision_and_its_delay() {
    let mut world = decided();
    world.idle(10);
    vote(&mut world, VALIDATORS[0], PROVIDER).unwrap();
    let recovery: record::Recovery = world.get(&state_key::recovery(&name(HELLO))).unwrap();
    assert_eq!((recovery.decided, recovery.votes.len()), (None, 3));
    world.idle(5);
    vote(&mut world, VALIDATORS[3], STRANGER).unwrap();
    let recovery: record::Recovery = world.get(&state_key::recovery(&name(HELLO))).unwrap();
    assert_eq!(recovery.decided, Some(key(STRANGER).public()));
    assert_eq!(recovery.due, world.height.plus(20), "the delay begins anew");
}

/// A policy, as if the members had voted it.
fn set_policy(world: &mut World, policy: Policy) {
    let mut rules: record::Rules = world.get(&state_key::rules()).unwrap();
    rules.policies = vec![(Subject::Names, policy)];
    world
        .state
        .insert(state_key::rules(), record::encode(&rules));
}

/// A member of that role, as if it had been voted in. The validators stay.
fn enrol(world: &mut World, actor: u8, role: MemberRole) {
    let member = record::Member {
        key: key(actor).public(),
        terms: MemberTerms {
            name: format!("member {actor}"),
            role,
            level: 0,
            facts: Vec::new(),
            seat: None,
            evidence: None,
        },
        since: world.height,
    };
    world
        .state
        .insert(state_key::member(account(actor)), record::encode(&member));
}

#[test]
fn a_member_that_does_not_validate_has_a_vote_in_a_recovery() {
    let mut world = with_members();
    // Of five that vote, three decide; one of the three is no validator.
    enrol(&mut world, PROVIDER, MemberRole::Voter);
    for member in [VALIDATORS[0], VALIDATORS[1]] {
        vote(&mut world, member, STRANGER).unwrap();
    }
    assert_eq!(pending(&world).decided, None);
    vote(&mut world, PROVIDER, STRANGER).unwrap();
    assert_eq!(pending(&world).decided, Some(key(STRANGER).public()));
    world.idle(20);
    assert_eq!(world.name(HELLO).owner, key(STRANGER).public());
}

#[test]
fn an_observer_has_no_vote_in_a_recovery() {
    let mut world = with_members();
    enrol(&mut world, PROVIDER, MemberRole::Observer);
    assert_eq!(vote(&mut world, PROVIDER, STRANGER), Err(Reject::NoVote));
}

#[test]
fn the_vote_of_a_member_that_left_decides_nothing() {
    let mut world = with_members();
    enrol(&mut world, PROVIDER, MemberRole::Voter);
    for member in [VALIDATORS[0], VALIDATORS[1], PROVIDER] {
        vote(&mut world, member, STRANGER).unwrap();
    }
    assert!(pending(&world).decided.is_some());
    // Two of the four that are left wanted it when the delay is over.
    world.state.remove(&state_key::member(account(PROVIDER)));
    world.idle(20);
    assert_eq!(world.name(HELLO).owner, key(USER).public());
    assert_eq!(vote(&mut world, PROVIDER, STRANGER), Err(Reject::NotMember));
}

#[test]
fn a_vote_of_a_member_that_left_is_dropped_with_the_next_vote() {
    let mut world = with_members();
    enrol(&mut world, PROVIDER, MemberRole::Voter);
    for member in [VALIDATORS[0], VALIDATORS[1], PROVIDER] {
        vote(&mut world, member, STRANGER).unwrap();
    }
    enrol(&mut world, PROVIDER, MemberRole::Observer);
    vote(&mut world, VALIDATORS[0], STRANGER).unwrap();
    assert_eq!(
        (pending(&world).decided, pending(&world).votes.len()),
        (None, 2)
    );
    vote(&mut world, VALIDATORS[2], STRANGER).unwrap();
    assert!(pending(&world).decided.is_some());
}

#[test]
fn the_circles_policy_says_how_many_decide_a_recovery() {
    let mut world = with_members();
    set_policy(&mut world, Policy::Threshold { need: 4 });
    for member in &VALIDATORS[..3] {
        vote(&mut world, *member, STRANGER).unwrap();
    }
    assert_eq!(pending(&world).decided, None);
    vote(&mut world, VALIDATORS[3], STRANGER).unwrap();
    assert!(pending(&world).decided.is_some());
    // It asks for more, or for others, before the delay is over.
    set_policy(&mut world, Policy::Majority);
    vote(&mut world, VALIDATORS[3], PROVIDER).unwrap();
    vote(&mut world, VALIDATORS[2], PROVIDER).unwrap();
    assert_eq!(pending(&world).decided, None);
}

#[test]
fn two_keys_with_enough_votes_are_no_decision() {
    let mut world = with_members();
    set_policy(&mut world, Policy::Threshold { need: 1 });
    vote(&mut world, VALIDATORS[0], STRANGER).unwrap();
    assert!(pending(&world).decided.is_some());
    vote(&mut world, VALIDATORS[1], PROVIDER).unwrap();
    assert_eq!(pending(&world).decided, None);
    world.idle(25);
    assert_eq!(world.name(HELLO).owner, key(USER).public());
}

#[test]
fn the_owner_ends_a_recovery_that_members_without_a_seat_decided() {
    let mut world = with_members();
    enrol(&mut world, PROVIDER, MemberRole::Voter);
    for member in [VALIDATORS[0], VALIDATORS[1], PROVIDER] {
        vote(&mut world, member, STRANGER).unwrap();
    }
    veto(&mut world, USER).unwrap();
    world.idle(25);
    assert_eq!(world.name(HELLO).owner, key(USER).public());
}

fn pending(world: &World) -> record::Recovery {
    world.get(&state_key::recovery(&name(HELLO))).unwrap()
}

#[test]
fn a_transfer_ends_a_recovery() {
    let mut world = decided();
    let action = NameTransfer {
        name: name(HELLO),
        to: key(PROVIDER).public(),
    };
    world.send(USER, Action::NameTransfer(action)).unwrap();
    world.idle(25);
    assert_eq!(world.name(HELLO).owner, key(PROVIDER).public());
}

#[test]
fn server_keys_are_kept_in_order_and_can_be_replaced_and_removed() {
    let mut world = World::new();
    hello(&mut world).unwrap();
    secure(&mut world, USER, Some("www"), Some(9)).unwrap();
    secure(&mut world, USER, None, Some(8)).unwrap();
    secure(&mut world, USER, Some("www"), Some(7)).unwrap();
    let keys: Vec<_> = world
        .name(HELLO)
        .keys
        .into_iter()
        .map(|server| (server.owner.map(String::from), server.key))
        .collect();
    assert_eq!(
        keys,
        [
            (None, key(8).public()),
            (Some("www".to_owned()), key(7).public())
        ]
    );
    secure(&mut world, USER, None, None).unwrap();
    assert_eq!(world.name(HELLO).keys.len(), 1);
}

/// A passkey as a browser lets it sign: over authenticator data and client data.
fn by_passkey(
    world: &World,
    secret: &p256::ecdsa::SigningKey,
    action: Action,
) -> CheckedTransaction {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    use p256::ecdsa::signature::Signer as _;
    let sender = passkey_public(secret);
    let account: record::Account = world
        .get(&state_key::account(sender.account()))
        .unwrap_or_default();
    let transaction = Transaction {
        version: Transaction::VERSION,
        circle: world.circle,
        sender,
        sequence: account.sequence,
        expires_at: Height(u64::MAX),
        fee_limit: world.fee_limit,
        actions: vec![action],
    };
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(transaction.challenge().0);
    let client_data = format!(
        r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"https://a.example","crossOrigin":false}}"#
    );
    let mut authenticator_data = vec![0; 37];
    authenticator_data[32] = 1;
    let mut message = authenticator_data.clone();
    message.extend_from_slice(&Digest::of(&[client_data.as_bytes()]).0);
    let signature: p256::ecdsa::Signature = secret.sign(&message);
    let signature = Signature::from_p256_der(signature.to_der().as_bytes()).unwrap();
    let signed = SignedTransaction {
        transaction,
        signature: AnySignature::WebAuthn(Assertion {
            authenticator_data,
            client_data,
            signature,
        }),
    };
    CheckedTransaction::check(&signed.encode(), world.circle).unwrap()
}

fn passkey_public(secret: &p256::ecdsa::SigningKey) -> PublicKey {
    let point = secret.verifying_key().to_sec1_point(false);
    PublicKey::from_p256_point(point.as_bytes()).unwrap()
}

#[test]
fn a_passkey_owns_a_name_and_sets_its_records() {
    let secret = p256::ecdsa::SigningKey::from_slice(&[9; 32]).unwrap();
    let public = passkey_public(&secret);
    let mut world = World::new();
    let transfer = Transfer {
        to: public.account(),
        amount: Amount(100_000),
    };
    world.send(USER, Action::Transfer(transfer)).unwrap();
    let nonce = [3; 32];
    let commitment = name_commitment(world.circle, public.account(), &name(HELLO), &nonce);
    let reveal = NameReveal {
        name: name(HELLO),
        nonce,
        deposit: Amount(1000),
    };
    let secure = NameSecure {
        name: name(HELLO),
        owner: None,
        server: Some((public, None)),
    };
    for action in [
        Action::NameCommit(NameCommit { commitment }),
        Action::NameReveal(reveal),
        Action::NameSecure(secure),
    ] {
        let transaction = by_passkey(&world, &secret, action);
        let applied = world.block(&[transaction]);
        assert_eq!(verdict(&applied.receipts[0]), Ok(()));
    }
    assert_eq!(world.name(HELLO).owner, public);
    assert_eq!(world.name(HELLO).keys.len(), 1);
}
