//! Names: commit, reveal, records, rent, suspension and release.

use wire::{record::NameStatus, *};

use crate::world::*;

const NONCE: [u8; 32] = [7; 32];

fn commit(world: &mut World, by: u8, owner: u8, text: &str) -> Verdict {
    let commitment = name_commitment(world.circle, account(owner), &name(text), &NONCE);
    world.send(by, Action::NameCommit(NameCommit { commitment }))
}

fn reveal(world: &mut World, actor: u8, text: &str, deposit: u64) -> Verdict {
    let action = NameReveal {
        name: name(text),
        nonce: NONCE,
        deposit: Amount(deposit),
    };
    world.send(actor, Action::NameReveal(action))
}

fn committed_and_revealed(world: &mut World, text: &str) -> Verdict {
    commit(world, USER, USER, text)?;
    reveal(world, USER, text, 1000)
}

fn address_set(last: u8) -> RecordSet {
    RecordSet {
        owner: None,
        rtype: 1,
        ttl: 60,
        data: vec![vec![10, 0, 0, last]],
    }
}

fn set(world: &mut World, actor: u8, records: Vec<RecordSet>) -> Verdict {
    let action = NameSet {
        name: name("hello.internal"),
        records,
    };
    world.send(actor, Action::NameSet(action))
}

fn hello(world: &mut World) -> Verdict {
    world.register_name(USER, "hello.internal")
}

fn renew(world: &mut World, actor: u8, amount: u64) -> Verdict {
    let action = NameRenew {
        name: name("hello.internal"),
        amount: Amount(amount),
    };
    world.send(actor, Action::NameRenew(action))
}

fn cancel(world: &mut World, actor: u8) -> Verdict {
    let action = NameCancel {
        name: name("hello.internal"),
    };
    world.send(actor, Action::NameCancel(action))
}

fn transfer(world: &mut World, actor: u8, to: u8) -> Verdict {
    let action = NameTransfer {
        name: name("hello.internal"),
        to: key(to).public(),
    };
    world.send(actor, Action::NameTransfer(action))
}

/// A world whose name `hello.internal` was suspended a block ago.
fn suspended() -> World {
    let mut world = World::with(|parameters| {
        parameters.rent_period = 5;
        parameters.min_rent_periods = 1;
        parameters.name_grace = 20;
    });
    commit(&mut world, USER, USER, "hello.internal").unwrap();
    reveal(&mut world, USER, "hello.internal", 150).unwrap();
    world.idle(10);
    assert!(matches!(
        world.name("hello.internal").status,
        NameStatus::Suspended { .. }
    ));
    world
}

/// Runs `act` in a world with a suspended name, in place of the table's own.
fn when_suspended(world: &mut World, act: fn(&mut World) -> Verdict) -> Verdict {
    *world = suspended();
    act(world)
}

pub const CASES: &[Case] = &[
    ("registers a name", Ok(()), hello),
    ("registers beneath the deeper apex", Ok(()), |world| {
        committed_and_revealed(world, "hello.corp.internal")
    }),
    (
        "rejects a repeated commitment",
        Err(Reject::CommitmentExists),
        |world| {
            commit(world, USER, USER, "hello.internal")?;
            commit(world, USER, USER, "hello.internal")
        },
    ),
    (
        "a stranger's copy of a commitment takes nothing",
        Ok(()),
        |world| {
            commit(world, STRANGER, USER, "hello.internal")?;
            assert_eq!(
                commit(world, USER, USER, "hello.internal"),
                Err(Reject::CommitmentExists)
            );
            reveal(world, USER, "hello.internal", 1000)
        },
    ),
    (
        "rejects a reveal of another's commitment",
        Err(Reject::CommitmentNotFound),
        |world| {
            commit(world, USER, USER, "hello.internal")?;
            reveal(world, STRANGER, "hello.internal", 1000)
        },
    ),
    (
        "rejects a reveal without a commitment",
        Err(Reject::CommitmentNotFound),
        |world| reveal(world, USER, "hello.internal", 1000),
    ),
    (
        "rejects a reveal in the commitment's block",
        Err(Reject::CommitmentTooYoung),
        |world| {
            let commitment =
                name_commitment(world.circle, account(USER), &name("hello.internal"), &NONCE);
            let actions = vec![
                Action::NameCommit(NameCommit { commitment }),
                Action::NameReveal(NameReveal {
                    name: name("hello.internal"),
                    nonce: NONCE,
                    deposit: Amount(1000),
                }),
            ];
            let transaction = world.sign_ahead(USER, 0, actions);
            verdict(&world.block(&[transaction]).receipts[0])
        },
    ),
    (
        "rejects a name outside the apexes",
        Err(Reject::NameOutsideApex),
        |world| committed_and_revealed(world, "hello.example"),
    ),
    (
        "rejects two labels beneath an apex",
        Err(Reject::NameOutsideApex),
        |world| committed_and_revealed(world, "a.b.internal"),
    ),
    (
        "rejects an apex that lies beneath another",
        Err(Reject::NameReserved),
        |world| committed_and_revealed(world, "corp.internal"),
    ),
    (
        "rejects a reserved label",
        Err(Reject::NameReserved),
        |world| committed_and_revealed(world, "wpad.internal"),
    ),
    (
        "rejects an underscored label",
        Err(Reject::NameReserved),
        |world| committed_and_revealed(world, "_dmarc.internal"),
    ),
    (
        "rejects a name that is taken",
        Err(Reject::NameTaken),
        |world| {
            hello(world)?;
            commit(world, STRANGER, STRANGER, "hello.internal")?;
            reveal(world, STRANGER, "hello.internal", 1000)
        },
    ),
    (
        "rejects a deposit below the least",
        Err(Reject::DepositTooSmall),
        |world| {
            commit(world, USER, USER, "hello.internal")?;
            reveal(world, USER, "hello.internal", 999)
        },
    ),
    (
        "rejects a deposit above the balance",
        Err(Reject::InsufficientBalance),
        |world| {
            commit(world, USER, USER, "hello.internal")?;
            reveal(world, USER, "hello.internal", BALANCE.0)
        },
    ),
    ("sets records", Ok(()), |world| {
        hello(world)?;
        set(world, USER, vec![address_set(1)])
    }),
    (
        "rejects records of an unregistered name",
        Err(Reject::NameNotFound),
        |world| set(world, USER, vec![address_set(1)]),
    ),
    (
        "rejects records by a stranger",
        Err(Reject::NotOwner),
        |world| {
            hello(world)?;
            set(world, STRANGER, vec![address_set(1)])
        },
    ),
    (
        "rejects malformed records",
        Err(Reject::RecordMalformed),
        |world| {
            hello(world)?;
            let mut bad = address_set(1);
            bad.data[0].pop();
            set(world, USER, vec![bad])
        },
    ),
    (
        "rejects one set twice",
        Err(Reject::RecordMalformed),
        |world| {
            hello(world)?;
            set(world, USER, vec![address_set(1), address_set(2)])
        },
    ),
    ("rejects no sets", Err(Reject::LimitExceeded), |world| {
        hello(world)?;
        set(world, USER, Vec::new())
    }),
    (
        "rejects too many records in a set",
        Err(Reject::LimitExceeded),
        |world| {
            hello(world)?;
            let mut many = address_set(0);
            many.data = (0..=limits::MAX_RECORDS_PER_SET as u8)
                .map(|last| vec![10, 0, 0, last])
                .collect();
            set(world, USER, vec![many])
        },
    ),
    (
        "rejects too many sets over several actions",
        Err(Reject::LimitExceeded),
        |world| {
            hello(world)?;
            let at = |number: usize| RecordSet {
                owner: Some(name(&format!("a{number}")).into()),
                ..address_set(1)
            };
            set(world, USER, (0..limits::MAX_RECORD_SETS).map(at).collect())?;
            set(world, USER, vec![at(limits::MAX_RECORD_SETS)])
        },
    ),
    ("anyone may renew", Ok(()), |world| {
        hello(world)?;
        renew(world, STRANGER, 10)
    }),
    (
        "rejects a renewal by nothing",
        Err(Reject::AmountOutOfRange),
        |world| {
            hello(world)?;
            renew(world, USER, 0)
        },
    ),
    (
        "rejects a renewal of no name",
        Err(Reject::NameNotFound),
        |world| renew(world, USER, 1),
    ),
    (
        "rejects a renewal above the balance",
        Err(Reject::InsufficientBalance),
        |world| {
            hello(world)?;
            renew(world, USER, BALANCE.0)
        },
    ),
    (
        "rejects a stranger's cancellation",
        Err(Reject::NotOwner),
        |world| {
            hello(world)?;
            cancel(world, STRANGER)
        },
    ),
    ("a name is free once it is cancelled", Ok(()), |world| {
        hello(world)?;
        cancel(world, USER)?;
        world.register_name(STRANGER, "hello.internal")
    }),
    (
        "rejects the former owner after a transfer",
        Err(Reject::NotOwner),
        |world| {
            hello(world)?;
            transfer(world, USER, STRANGER)?;
            set(world, USER, vec![address_set(1)])
        },
    ),
    ("the new owner sets records", Ok(()), |world| {
        hello(world)?;
        transfer(world, USER, STRANGER)?;
        set(world, STRANGER, vec![address_set(1)])
    }),
    (
        "rejects records of a suspended name",
        Err(Reject::NameSuspended),
        |world| when_suspended(world, |world| set(world, USER, vec![address_set(1)])),
    ),
    (
        "rejects a transfer of a suspended name",
        Err(Reject::NameSuspended),
        |world| when_suspended(world, |world| transfer(world, USER, STRANGER)),
    ),
    ("a suspended name may be cancelled", Ok(()), |world| {
        when_suspended(world, |world| cancel(world, USER))
    }),
    (
        "a suspended name is still taken",
        Err(Reject::NameTaken),
        |world| {
            when_suspended(world, |world| {
                commit(world, STRANGER, STRANGER, "hello.internal")?;
                reveal(world, STRANGER, "hello.internal", 150)
            })
        },
    ),
    (
        "rejects a reveal after the window",
        Err(Reject::CommitmentExpired),
        |world| {
            // More commitments expire at once than one block forgets, so that one
            // is still there, and void, when its reveal comes.
            *world = World::with(|parameters| parameters.reveal_within = 3);
            let all: Vec<_> = (0..17)
                .map(|ahead| {
                    let actions = (0..16u8)
                        .map(|index| {
                            let commitment = match (ahead, index) {
                                (0, 0) => name_commitment(
                                    world.circle,
                                    account(USER),
                                    &name("hello.internal"),
                                    &NONCE,
                                ),
                                // Sorts before the one above, whatever that is.
                                _ => Digest(
                                    [[0; 30].as_slice(), &[ahead as u8, index]]
                                        .concat()
                                        .try_into()
                                        .unwrap(),
                                ),
                            };
                            Action::NameCommit(NameCommit { commitment })
                        })
                        .collect();
                    world.sign_ahead(USER, ahead, actions)
                })
                .collect();
            let applied = world.block(&all);
            assert!(
                applied
                    .receipts
                    .iter()
                    .all(|receipt| verdict(receipt).is_ok())
            );
            world.idle(3);
            reveal(world, USER, "hello.internal", 1000)
        },
    ),
];

#[test]
fn table() {
    run(CASES);
}

#[test]
fn sets_are_kept_in_order_and_an_empty_one_removes() {
    let mut world = World::new();
    hello(&mut world).unwrap();
    let text = RecordSet {
        owner: Some(name("a").into()),
        rtype: 16,
        ttl: 60,
        data: vec![b"\x01x".to_vec()],
    };
    set(&mut world, USER, vec![text.clone(), address_set(1)]).unwrap();
    assert_eq!(
        world.name("hello.internal").records,
        [address_set(1), text.clone()]
    );
    let empty = RecordSet {
        data: Vec::new(),
        ..address_set(0)
    };
    set(&mut world, USER, vec![empty]).unwrap();
    let record = world.name("hello.internal");
    assert_eq!(record.records, [text]);
    assert_eq!(record.changed_at, world.height);
}

#[test]
fn rent_is_drawn_every_period_and_a_name_without_it_is_suspended_then_released() {
    let mut world = World::with(|parameters| {
        parameters.rent_period = 5;
        parameters.min_rent_periods = 1;
        parameters.name_grace = 4;
    });
    commit(&mut world, USER, USER, "hello.internal").unwrap();
    reveal(&mut world, USER, "hello.internal", 250).unwrap();
    let registered = world.height;
    let changed = world.name("hello.internal").changed_at;
    world.idle_until(registered.plus(10));
    let record = world.name("hello.internal");
    assert_eq!(record.deposit, Amount(50));
    assert_eq!(record.status, NameStatus::Active);
    assert_eq!(
        record.changed_at, changed,
        "rent does not change what resolves"
    );
    world.idle(5);
    let since = world.height;
    let record = world.name("hello.internal");
    assert_eq!(record.status, NameStatus::Suspended { since });
    assert_eq!(record.changed_at, since);
    let before = world.balance(USER);
    let events = world.idle(4);
    let released = Event::NameReleased {
        name: name("hello.internal"),
        refund: Amount(50),
    };
    assert!(events.contains(&released), "{events:?}");
    assert_eq!(world.balance(USER).0, before.0 + 50);
    assert!(
        !world
            .state
            .contains_key(&state_key::name(&name("hello.internal")))
    );
}

#[test]
fn a_renewal_brings_a_suspended_name_back_once_it_covers_a_period() {
    let mut world = suspended();
    let left = world.name("hello.internal").deposit;
    renew(&mut world, STRANGER, 99 - left.0).unwrap();
    let record = world.name("hello.internal");
    assert!(matches!(record.status, NameStatus::Suspended { .. }));
    renew(&mut world, STRANGER, 21).unwrap();
    let record = world.name("hello.internal");
    assert_eq!(record.status, NameStatus::Active);
    assert_eq!(record.deposit, Amount(20));
    assert_eq!(record.rent_due, world.height.plus(5));
}

#[test]
fn commitments_that_can_no_longer_be_revealed_are_forgotten() {
    let mut world = World::with(|parameters| parameters.reveal_within = 3);
    commit(&mut world, USER, USER, "hello.internal").unwrap();
    let key = state_key::commitment(name_commitment(
        world.circle,
        account(USER),
        &name("hello.internal"),
        &NONCE,
    ));
    world.idle(2);
    assert!(world.state.contains_key(&key));
    assert_eq!(
        reveal(&mut world, STRANGER, "hello.internal", 1),
        Err(Reject::CommitmentNotFound)
    );
    world.idle(1);
    assert!(!world.state.contains_key(&key));
}
