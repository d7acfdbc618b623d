//! What appraisers record of hosts.

use wire::{record::HostAppraisal, *};

use crate::world::*;

const HOST: Digest = Digest([6; 32]);

fn result(findings: u32) -> HostResult {
    HostResult {
        report: Digest([1; 32]),
        index: Digest([2; 32]),
        entries: 1_000,
        known: 990,
        boot_events: 70,
        findings,
    }
}

fn record(world: &mut World, actor: u8, result: HostResult) -> Verdict {
    world.send(
        actor,
        Action::RecordAppraisal(RecordAppraisal { host: HOST, result }),
    )
}

fn recorded(world: &World, actor: u8) -> HostAppraisal {
    let key = state_key::host_appraisal(HOST, account(actor));
    world.get(&key).unwrap()
}

pub const CASES: &[Case] = &[
    ("records an appraisal", Ok(()), |world| {
        record(world, USER, result(0))
    }),
    (
        "rejects more known files than there are entries",
        Err(Reject::AppraisalInconsistent),
        |world| {
            let known = 1_001;
            record(world, USER, HostResult { known, ..result(0) })
        },
    ),
    ("each appraiser has a record of its own", Ok(()), |world| {
        record(world, USER, result(0))?;
        record(world, STRANGER, result(3))
    }),
];

#[test]
fn table() {
    run(CASES);
}

#[test]
fn the_last_result_stands_with_since_when_it_was_clean() {
    let mut world = World::new();
    record(&mut world, USER, result(0)).unwrap();
    let first = world.height;
    world.idle(3);
    record(&mut world, USER, result(0)).unwrap();
    assert_eq!(
        recorded(&world, USER),
        HostAppraisal {
            appraiser: key(USER).public(),
            result: result(0),
            appraised_at: world.height,
            time_ms: World::time_ms(world.height),
            clean_since: Some(first),
        }
    );
    record(&mut world, USER, result(2)).unwrap();
    assert_eq!(recorded(&world, USER).clean_since, None);
    record(&mut world, USER, result(0)).unwrap();
    let again = world.height;
    assert_eq!(recorded(&world, USER).clean_since, Some(again));
    // What another says of the same host is its own.
    record(&mut world, STRANGER, result(2)).unwrap();
    assert_eq!(recorded(&world, USER).clean_since, Some(again));
}
