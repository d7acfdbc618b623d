//! The store: roots, proofs, crashes and what a reader sees meanwhile.

use std::collections::BTreeMap;

use proptest::prelude::*;
use redb::ReadableTableMetadata as _;
use wire::{CircleId, Digest, Header, Height, Receipt};

use super::*;

const CIRCLE: CircleId = CircleId([0xc1; 32]);

type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// A store with a chain of blocks whose changes the test chooses, and a model
/// of what it should hold.
struct Chain {
    store: Store,
    /// The state after each height.
    states: Vec<State>,
}

fn header(height: u64, state_root: Digest) -> Header {
    Header {
        version: Header::VERSION,
        circle: CIRCLE,
        height: Height(height),
        time_ms: 1000 * height,
        parent: Digest([height as u8; 32]),
        state_root,
        transactions: Digest([2; 32]),
    }
}

const CERTIFICATE: Certificate = Certificate {
    epoch: 0,
    view: 7,
    parent_view: 6,
    signature: [3; 48],
};

impl Chain {
    fn new(disk: &MemoryDisk) -> Self {
        let store = Store::in_memory(disk).unwrap();
        Self {
            store,
            states: Vec::new(),
        }
    }

    fn append(&mut self, changes: &Changes, persist: Persist, certified: bool) {
        let height = self.states.len() as u64;
        let update = match self.store.snapshot().unwrap() {
            Some(snapshot) => tree::update(&snapshot, Height(height), changes).unwrap(),
            None => tree::update(&tree::Nothing, Height(height), changes).unwrap(),
        };
        let header = header(height, update.root);
        let receipts: [Receipt; 0] = [];
        self.store
            .commit(
                &Commit {
                    header: &header,
                    transactions: &[vec![height as u8]],
                    changes,
                    tree: &update,
                    receipts: &receipts,
                    events: &[Vec::new()],
                    certificate: certified.then_some(&CERTIFICATE),
                },
                persist,
            )
            .unwrap();
        let mut state = self.states.last().cloned().unwrap_or_default();
        ledger::write(&mut state, changes.clone());
        self.states.push(state);
    }

    fn snapshot(&self) -> Snapshot {
        self.store.snapshot().unwrap().unwrap()
    }

    /// Rows of the table of tree nodes.
    fn nodes(&self) -> u64 {
        let read = self.store.database.begin_read().unwrap();
        read.open_table(NODES).unwrap().len().unwrap()
    }
}

fn changes(entries: &[(&str, Option<&str>)]) -> Changes {
    entries
        .iter()
        .map(|(key, value)| {
            (
                key.as_bytes().to_vec(),
                value.map(|v| v.as_bytes().to_vec()),
            )
        })
        .collect()
}

fn any_changes() -> impl Strategy<Value = Changes> {
    let key = proptest::collection::vec(0u8..6, 1..3);
    let value = proptest::option::weighted(0.7, proptest::collection::vec(any::<u8>(), 0..20));
    proptest::collection::btree_map(key, value, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn holds_and_proves_what_a_map_would_hold(
        blocks in proptest::collection::vec(any_changes(), 1..12),
    ) {
        let mut chain = Chain::new(&MemoryDisk::default());
        for changes in &blocks {
            chain.append(changes, Persist::Later, true);
        }
        let snapshot = chain.snapshot();
        prop_assert_eq!(
            &snapshot.entries(b"", None, usize::MAX).unwrap().into_iter().collect::<State>(),
            chain.states.last().unwrap()
        );
        for (height, state) in chain.states.iter().enumerate() {
            let height = Height(height as u64);
            for key in (0..6u8).flat_map(|a| [vec![a], vec![a, 3]]) {
                let proof = snapshot.prove_at(&key, height).unwrap();
                prop_assert_eq!(proof.value.as_ref(), state.get(&key));
                let root = proof.path.root(&key, proof.value.as_deref()).unwrap();
                prop_assert_eq!(root, snapshot.header_at(height).unwrap().unwrap().state_root);
            }
        }
        chain.store.check(CIRCLE).unwrap();
    }

    #[test]
    fn equal_states_have_equal_roots_whatever_led_there(
        one in proptest::collection::vec(any_changes(), 1..8),
    ) {
        let mut long = Chain::new(&MemoryDisk::default());
        for changes in &one {
            long.append(changes, Persist::Later, false);
        }
        let at_once: Changes = long.states.last().unwrap().iter()
            .map(|(key, value)| (key.clone(), Some(value.clone())))
            .collect();
        let mut short = Chain::new(&MemoryDisk::default());
        short.append(&at_once, Persist::Later, false);
        prop_assert_eq!(long.snapshot().header().state_root, short.snapshot().header().state_root);
    }

    #[test]
    fn a_crash_leaves_a_whole_number_of_blocks(
        blocks in proptest::collection::vec((any_changes(), any::<bool>()), 1..10),
        kept in any::<u64>(),
    ) {
        let disk = MemoryDisk::default();
        let mut chain = Chain::new(&disk);
        let mut durable = None;
        for (height, (changes, now)) in blocks.iter().enumerate() {
            chain.append(changes, if *now { Persist::Now } else { Persist::Later }, false);
            if *now {
                durable = Some(height);
            }
        }
        disk.crash(|write| kept >> (write % 64) & 1 == 1);
        let states = chain.states;
        let store = Store::in_memory(&disk).unwrap();
        store.check(CIRCLE).unwrap();
        let tip = store.snapshot().unwrap();
        prop_assert!(tip.as_ref().map(|tip| tip.height().0 as usize) >= durable);
        if let Some(tip) = tip {
            let held: State = tip.entries(b"", None, usize::MAX).unwrap().into_iter().collect();
            prop_assert_eq!(&held, &states[tip.height().0 as usize]);
        }
    }
}

#[test]
fn keeps_no_node_that_nothing_needs() {
    let mut chain = Chain::new(&MemoryDisk::default());
    let filled: Changes = (0..200u32)
        .map(|number| (number.to_be_bytes().to_vec(), Some(vec![1])))
        .collect();
    chain.append(&filled, Persist::Later, false);
    let at_rest = chain.nodes();
    for height in 0..2 * PROVABLE_HEIGHTS {
        // Every other block changes nothing, which copies the root alone.
        let text = height.to_string();
        let change = changes(&[("\0\0\0\u{1}", Some(text.as_str()))]);
        let empty = Changes::new();
        chain.append(
            if height % 2 == 0 { &change } else { &empty },
            Persist::Later,
            false,
        );
    }
    let path = 5 * PROVABLE_HEIGHTS;
    assert!(
        chain.nodes() < at_rest + path,
        "{} nodes after {at_rest}",
        chain.nodes()
    );
    let once = chain.nodes();
    for _ in 0..PROVABLE_HEIGHTS {
        chain.append(&Changes::new(), Persist::Later, false);
    }
    assert!(chain.nodes() <= once);
}

#[test]
fn keeps_the_past_of_large_blocks_for_fewer_heights() {
    let mut chain = Chain::new(&MemoryDisk::default());
    chain.store.keep(Retention {
        past_bytes: 100_000,
        ..Retention::default()
    });
    let large = |height: u64| -> Changes {
        let value = vec![height as u8; 300];
        let keys = (0..30u8).map(|key| (vec![key], Some(value.clone())));
        keys.collect()
    };
    let mut most = 0;
    for height in 0..100 {
        chain.append(&large(height), Persist::Later, true);
        most = most.max(chain.nodes());
    }
    let snapshot = chain.snapshot();
    let from = snapshot.provable_from().unwrap();
    let heights = snapshot.height().since(from);
    // Each block replaces 30 values of 300 bytes, and their nodes.
    assert!((LEAST_PROVABLE_HEIGHTS..30).contains(&heights), "{heights}");
    assert!(most < 40 * 40, "{most} nodes");
    for height in from.0..100 {
        let proof = snapshot.prove_at(&[7], Height(height)).unwrap();
        assert_eq!(proof.value.unwrap(), vec![height as u8; 300]);
    }
    // What was certified before that has no proofs any more.
    for height in 100..100 + PROVABLE_HEIGHTS / 4 {
        chain.append(&large(height), Persist::Later, false);
    }
    assert_eq!(chain.snapshot().certified().unwrap(), None);
    // Small blocks can be proven further back again.
    for _ in 0..PROVABLE_HEIGHTS / 2 {
        chain.append(&Changes::new(), Persist::Later, true);
    }
    let snapshot = chain.snapshot();
    let heights = snapshot.height().since(snapshot.provable_from().unwrap());
    assert!(heights >= PROVABLE_HEIGHTS / 2, "{heights}");
}

#[test]
fn forgets_blocks_by_number_and_by_bytes() {
    for (retention, kept) in [
        (Retention::default(), 600),
        (
            Retention {
                blocks: 300,
                ..Retention::default()
            },
            300,
        ),
        (
            Retention {
                block_bytes: 0,
                ..Retention::default()
            },
            PROVABLE_HEIGHTS,
        ),
    ] {
        let mut chain = Chain::new(&MemoryDisk::default());
        chain.store.keep(retention);
        for _ in 0..600 {
            chain.append(&Changes::new(), Persist::Later, false);
        }
        let snapshot = chain.snapshot();
        assert_eq!(snapshot.first_height().unwrap(), Height(600 - kept));
        assert_eq!(snapshot.first_whole().unwrap(), Height(600 - kept));
    }
}

#[test]
fn a_snapshot_stays_what_it_was() {
    let mut chain = Chain::new(&MemoryDisk::default());
    chain.append(&changes(&[("a", Some("1"))]), Persist::Later, true);
    let before = chain.snapshot();
    chain.append(
        &changes(&[("a", None), ("b", Some("2"))]),
        Persist::Now,
        true,
    );
    assert_eq!(before.entry(b"a").unwrap().unwrap(), b"1");
    assert_eq!(before.entry(b"b").unwrap(), None);
    assert_eq!(before.height(), Height(0));
    let after = chain.snapshot();
    assert_eq!(after.entry(b"a").unwrap(), None);
    assert_eq!(
        after.entry_at(b"a", Height(0)).unwrap().value.unwrap(),
        b"1"
    );
    assert_eq!(after.entry_at(b"b", Height(0)).unwrap().value, None);
}

#[test]
fn lists_by_prefix_after_a_key_within_a_limit() {
    let mut chain = Chain::new(&MemoryDisk::default());
    let all = changes(&[
        ("a/1", Some("x")),
        ("a/2", Some("y")),
        ("a/3", Some("z")),
        ("b/1", Some("w")),
    ]);
    chain.append(&all, Persist::Later, false);
    let snapshot = chain.snapshot();
    let keys = |prefix: &str, after: Option<&str>, limit| -> Vec<String> {
        let after = after.map(str::as_bytes);
        let entries = snapshot.entries(prefix.as_bytes(), after, limit).unwrap();
        let text = |(key, _)| String::from_utf8(key).unwrap();
        entries.into_iter().map(text).collect()
    };
    assert_eq!(keys("a/", None, 9), ["a/1", "a/2", "a/3"]);
    assert_eq!(keys("a/", Some("a/1"), 1), ["a/2"]);
    assert_eq!(keys("a/", Some("a"), 9), ["a/1", "a/2", "a/3"]);
    assert_eq!(keys("a/", Some("a/3"), 9), [""; 0]);
    assert_eq!(keys("a/", None, 0), [""; 0]);
}

#[test]
fn refuses_a_block_out_of_order() {
    let mut chain = Chain::new(&MemoryDisk::default());
    chain.append(&changes(&[("a", Some("1"))]), Persist::Later, false);
    let update = tree::update(&chain.snapshot(), Height(1), &Changes::new()).unwrap();
    for height in [0, 2] {
        let header = header(height, update.root);
        let commit = Commit {
            header: &header,
            transactions: &[],
            changes: &Changes::new(),
            tree: &update,
            receipts: &[],
            events: &[],
            certificate: None,
        };
        let committed = chain.store.commit(&commit, Persist::Now);
        assert!(matches!(committed, Err(StoreError::Order { .. })));
    }
    assert_eq!(chain.snapshot().height(), Height(0));
}

#[test]
fn notices_a_root_that_is_not_the_headers() {
    let mut chain = Chain::new(&MemoryDisk::default());
    chain.append(&changes(&[("a", Some("1"))]), Persist::Now, true);
    let write = chain.store.database.begin_write().unwrap();
    put(&write, HEADERS, Height(0), &header(0, Digest([9; 32]))).unwrap();
    write.commit().unwrap();
    assert!(matches!(
        chain.store.check(CIRCLE),
        Err(StoreError::Damaged(_))
    ));
    let proved = chain.snapshot().prove(b"a");
    assert!(matches!(proved, Err(StoreError::Damaged(_))), "{proved:?}");
}

#[test]
fn refuses_a_file_of_another_form_or_of_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    {
        let store = Store::open(&path).unwrap();
        let write = store.database.begin_write().unwrap();
        write
            .open_table(META)
            .unwrap()
            .insert(META_FORMAT, FORMAT + 1)
            .unwrap();
        write.commit().unwrap();
        assert!(Store::open(&path).is_err(), "one process at a time");
    }
    assert!(matches!(
        Store::open(&path),
        Err(StoreError::Format { found }) if found == FORMAT + 1
    ));
    let noise = folder.path().join("noise");
    std::fs::write(&noise, [7; 9000]).unwrap();
    assert!(matches!(Store::open(&noise), Err(StoreError::Database(_))));
}
