//! Runs of seven keykeepers, two of them byzantine and one crashed: a first key, a
//! label's key, shares for nine and then for five. Recorded ones are played again from
//! `seeds.txt`; arbitrary ones look for more, and print the line to record.

use proptest::prelude::*;

use super::*;

const LABEL: &[u8] = b"a label";

/// Runs that were recorded.
const RECORDED: &str = include_str!("seeds.txt");

const BYZANTINE: [(&str, Conduct); 7] = [
    ("deals_bad_shares", Conduct::DealsBadShares),
    ("equivocates", Conduct::Equivocates),
    ("silent_after_joining", Conduct::QuietAfter(Phase::Joining)),
    ("silent_after_dealing", Conduct::QuietAfter(Phase::Dealing)),
    ("complains_falsely", Conduct::ComplainsFalsely),
    ("forges_acknowledgements", Conduct::ForgesAcknowledgements),
    ("commits_wrongly", Conduct::CommitsWrongly),
];

fn conduct(name: &str) -> Conduct {
    let found = BYZANTINE.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no conduct {name}")).1
}

/// Seven, then nine, then five: at each the same key of the label, and with the answers
/// of one honest keykeeper fewer than a quorum, none.
fn run(seed: u64, byzantine: [Conduct; 2]) {
    let mut conducts = vec![Conduct::Honest; 4];
    conducts.extend(byzantine);
    conducts.push(Conduct::Crashed);
    let mut world = World::new(seed, &conducts);
    let seven = world.order.clone();
    world.change(&seven);
    let first = world.committee.clone().unwrap();
    let key = world.derive(LABEL, &seven).unwrap();
    nothing_below_the_quorum(&mut world);

    world.add(Conduct::Honest);
    world.add(Conduct::Honest);
    let nine = world.order.clone();
    world.change(&nine);
    assert!(key.is_same(&world.derive(LABEL, &nine).unwrap()), "of nine");
    nothing_below_the_quorum(&mut world);

    // Three honest ones, among them a newcomer, and both byzantine.
    let five = [nine[0], nine[1], nine[7], nine[4], nine[5]];
    world.change(&five);
    let last = world.committee.clone().unwrap();
    assert_eq!(last.master_key(), first.master_key());
    assert!(key.is_same(&world.derive(LABEL, &five).unwrap()), "of five");
    nothing_below_the_quorum(&mut world);
}

/// All byzantine ones, and honest ones up to one fewer than a quorum, derive nothing.
fn nothing_below_the_quorum(world: &mut World) {
    let committee = world.committee.clone().unwrap();
    let quorum = committee.quorum();
    let honest = world.keepers(Conduct::Honest);
    let mut from: Vec<KeeperKey> = honest
        .iter()
        .filter(|key| committee.keepers().contains(key))
        .take(quorum - 1)
        .copied()
        .collect();
    let have = from.len();
    assert_eq!(have, quorum - 1, "enough honest ones are in office");
    let others = world.order.iter().filter(|key| !honest.contains(key));
    from.extend(others.filter(|key| committee.keepers().contains(key)));
    let refused = world.derive(LABEL, &from).err();
    let too_few = crate::AnswerError::TooFew { have, need: quorum };
    assert_eq!(refused, Some(too_few));
}

#[test]
fn recorded_runs_complete() {
    let lines = RECORDED.lines().filter(|line| !line.starts_with('#'));
    let mut played = 0;
    for line in lines {
        println!("{line}");
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [seed, first, second] = fields[..] else {
            panic!("a seed and two conducts: {line}");
        };
        run(seed.parse().unwrap(), [conduct(first), conduct(second)]);
        played += 1;
    }
    assert!(played >= 5);
}

proptest! {
    // A run takes about a second in a debug build.
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_runs_complete(
        seed in any::<u64>(),
        first in 0..BYZANTINE.len(),
        second in 0..BYZANTINE.len(),
    ) {
        // Printed by the test only if it fails: the line for seeds.txt.
        println!("{seed} {} {}", BYZANTINE[first].0, BYZANTINE[second].0);
        run(seed, [BYZANTINE[first].1, BYZANTINE[second].1]);
    }
}
