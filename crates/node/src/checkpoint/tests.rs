//! Checkpoints: what is written comes back, and nothing else is taken.

use std::{fs, path::Path, sync::Arc};

use blst::min_sig::SecretKey;
use ledger::Changes;
use proof::{Certificate, DOMAIN_SEPARATION_TAG};
use proptest::prelude::*;
use wire::{Block, CircleId, CircleKey, Digest, Header, Height};

use super::{format::*, shelf::Policy, *};
use crate::store::{Commit, MemoryDisk, Persist, Snapshot, Store, tree};

const CIRCLE: CircleId = CircleId([0xc1; 32]);

fn secret() -> SecretKey {
    SecretKey::key_gen(&[5; 32], &[]).unwrap()
}

fn key() -> CircleKey {
    CircleKey(secret().sk_to_pk().compress())
}

fn certify(header: &Header) -> Certificate {
    let mut certificate = Certificate {
        epoch: 0,
        view: header.height.0 + 1,
        parent_view: header.height.0,
        signature: [0; 48],
    };
    let message = certificate.message(header.circle, header.digest());
    certificate.signature = secret()
        .sign(&message, DOMAIN_SEPARATION_TAG, &[])
        .compress();
    certificate
}

/// Commits a block of such changes.
fn commit(store: &Store, changes: &Changes, certified: bool) -> Header {
    let snapshot = store.snapshot().unwrap();
    let height = snapshot.as_ref().map_or(Height(0), |s| s.height().plus(1));
    let update = match &snapshot {
        Some(snapshot) => tree::update(snapshot, height, changes).unwrap(),
        None => tree::update(&tree::Nothing, height, changes).unwrap(),
    };
    let transactions = [vec![height.0 as u8; 3]];
    let header = Header {
        version: Header::VERSION,
        circle: CIRCLE,
        height,
        time_ms: 1000 * height.0,
        parent: snapshot.map(|s| s.digest()).unwrap_or_default(),
        state_root: update.root,
        transactions: Block::transactions_digest(&transactions),
    };
    let certificate = certify(&header);
    let commit = Commit {
        header: &header,
        transactions: &transactions,
        changes,
        tree: &update,
        receipts: &[],
        events: &[Vec::new()],
        certificate: certified.then_some(&certificate),
    };
    store.commit(&commit, Persist::Now).unwrap();
    header
}

fn entry(number: u64, length: usize) -> (Vec<u8>, Option<Vec<u8>>) {
    let digest = Digest::tagged("test", &[&number.to_le_bytes()]);
    let value = digest.0.iter().copied().cycle().take(length).collect();
    (format!("k/{number}").into_bytes(), Some(value))
}

/// A store of three blocks with so many entries, some of which were changed and
/// deleted on the way.
fn store(entries: u64) -> Store {
    let store = Store::in_memory(&MemoryDisk::default()).unwrap();
    commit(&store, &(0..entries).map(|n| entry(n, 40)).collect(), true);
    let mut changes: Changes = (0..entries).step_by(3).map(|n| entry(n, 77)).collect();
    commit(&store, &changes, true);
    changes = (1..entries)
        .step_by(7)
        .map(|n| (entry(n, 0).0, None))
        .collect();
    commit(&store, &changes, true);
    store
}

fn tip(store: &Store) -> Snapshot {
    store.snapshot().unwrap().unwrap()
}

/// The checkpoint of a store's tip.
fn made(store: &Store, folder: &Path, chunk_bytes: u32) -> CheckpointFile {
    let path = folder.join("state.checkpoint");
    let mut out = fs::File::create(&path).unwrap();
    let snapshot = tip(store);
    let certificate = certify(snapshot.header());
    writer::write(&snapshot, &certificate, chunk_bytes, &mut out).unwrap();
    CheckpointFile::open(&path).unwrap()
}

fn checked(file: &CheckpointFile) -> CheckedManifest {
    let manifest = Manifest::decode(file.manifest_bytes()).unwrap();
    manifest.check(CIRCLE, &key()).unwrap()
}

fn chunks(file: &CheckpointFile) -> Vec<Vec<u8>> {
    let numbers = 0..file.manifest().chunks;
    numbers.map(|n| file.chunk(n).unwrap().unwrap()).collect()
}

fn entries(snapshot: &Snapshot) -> Vec<(Vec<u8>, Vec<u8>)> {
    snapshot.entries(b"", None, usize::MAX).unwrap()
}

/// Whether the chunks, checked one by one, are the whole state.
fn verify(manifest: &CheckedManifest, chunks: &[Vec<u8>]) -> Result<(), RestoreError> {
    let mut verification = Verification::begin(manifest)?;
    for chunk in chunks {
        verification.add(chunk)?;
    }
    verification.finish()
}

#[test]
fn a_restored_store_is_the_one_that_was_written_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    for (count, chunk_bytes) in [
        (1, 1024),
        (2, 1024),
        (40, 1024),
        (900, 4096),
        (900, 1 << 20),
    ] {
        let original = store(count);
        let file = made(&original, folder.path(), chunk_bytes);
        let manifest = checked(&file);
        verify(&manifest, &chunks(&file)).unwrap();
        let target = Store::in_memory(&MemoryDisk::default()).unwrap();
        let mut restoration = Restoration::open(target, manifest.clone()).unwrap();
        while let Some(index) = restoration.next_chunk() {
            let chunk = file.chunk(index).unwrap().unwrap();
            restoration.add(&chunk).unwrap();
        }
        let restored = restoration.finish().unwrap();
        let (one, other) = (tip(&original), tip(&restored));
        assert_eq!(one.header(), other.header());
        assert_eq!(entries(&one), entries(&other));
        assert_eq!(manifest.entries, entries(&one).len() as u64);
        assert_eq!(restored.anchor().unwrap().unwrap(), *manifest);
        // It proves what it has, and what it has not, and takes the next block.
        for key in [b"k/0".to_vec(), b"k/none".to_vec()] {
            let proof = other.prove(&key).unwrap().unwrap();
            let proven = proof.verify(&super::tests::key()).unwrap();
            assert_eq!(proven.height(), other.height());
        }
        drop((one, other));
        let next: Changes = (0..count + 5).map(|n| entry(n, 9)).collect();
        let (one, other) = (
            commit(&original, &next, true),
            commit(&restored, &next, true),
        );
        assert_eq!(one.state_root, other.state_root);
        assert!(count < 900 || chunk_bytes > 4096 || manifest.chunks > 10);
    }
}

#[test]
fn a_file_that_is_cut_off_anywhere_or_is_another_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = made(&store(60), folder.path(), 1024);
    let whole = fs::read(file.path()).unwrap();
    let path = folder.path().join("part");
    for length in (0..whole.len()).step_by(37).chain([whole.len() - 1]) {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(CheckpointFile::open(&path).is_err(), "{length}");
    }
    let mut longer = whole.clone();
    longer.extend_from_slice(&[1, 0, 0, 0, 7]);
    fs::write(&path, longer).unwrap();
    assert!(CheckpointFile::open(&path).is_err());
    let mut other = whole;
    other[0] ^= 1;
    fs::write(&path, other).unwrap();
    assert!(CheckpointFile::open(&path).is_err());
}

#[test]
fn a_manifest_is_bound_to_circle_key_block_and_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let file = made(&store(10), folder.path(), 1024);
    let good = file.manifest().clone();
    let altered = |alter: &dyn Fn(&mut Manifest)| {
        let mut manifest = good.clone();
        alter(&mut manifest);
        manifest.check(CIRCLE, &key())
    };
    assert!(altered(&|_| ()).is_ok());
    let other = CircleId([1; 32]);
    assert!(matches!(
        good.clone().check(other, &key()),
        Err(FormatError::OtherCircle { .. })
    ));
    let stranger = SecretKey::key_gen(&[6; 32], &[]).unwrap().sk_to_pk();
    let stranger = CircleKey(stranger.compress());
    assert!(matches!(
        good.clone().check(CIRCLE, &stranger),
        Err(FormatError::Certificate(_))
    ));
    let root = altered(&|manifest| manifest.header.state_root.0[0] ^= 1);
    assert!(matches!(root, Err(FormatError::Certificate(_))));
    let view = altered(&|manifest| manifest.certificate.view += 1);
    assert!(matches!(view, Err(FormatError::Certificate(_))));
    let block = altered(&|manifest| manifest.transactions.clear());
    assert!(matches!(block, Err(FormatError::Transactions)));
    for cut in [0, MAX_CHUNK_TARGET + 1] {
        let cut = altered(&|manifest| manifest.chunk_bytes = cut);
        assert!(matches!(cut, Err(FormatError::Cut { .. })));
    }
    for count in [0, MAX_CHUNKS + 1] {
        let cut = altered(&|manifest| manifest.chunks = count);
        assert!(matches!(cut, Err(FormatError::Cut { .. })));
    }
    let mut unknown = good;
    unknown.version = 2;
    assert!(matches!(
        Manifest::decode(&unknown.encode()),
        Err(FormatError::Version(2))
    ));
}

/// What one who lies might send in the place of the chunks.
fn lies(good: &[Vec<u8>]) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let with = |alter: &dyn Fn(&mut Vec<Chunk>)| {
        let mut chunks: Vec<Chunk> = good.iter().map(|b| Chunk::decode(b).unwrap()).collect();
        alter(&mut chunks);
        chunks.iter().map(Chunk::encode).collect::<Vec<_>>()
    };
    vec![
        ("value", with(&|c| c[1].entries[0].1[0] ^= 1)),
        ("key", with(&|c| c[1].entries[0].0.push(b'x'))),
        ("dropped", with(&|c| drop(c[1].entries.remove(1)))),
        ("dropped last", with(&|c| drop(c[1].entries.pop()))),
        ("dropped first", with(&|c| drop(c[0].entries.remove(0)))),
        (
            "twice",
            with(&|c| {
                let twice = c[1].entries[0].clone();
                c[1].entries.insert(0, twice);
            }),
        ),
        ("order", with(&|c| c[1].entries.swap(0, 1))),
        (
            "moved",
            with(&|c| {
                let moved = c[2].entries.remove(0);
                c[1].entries.push(moved);
            }),
        ),
        ("empty", with(&|c| c[1].entries.clear())),
        ("exchanged", with(&|c| c.swap(1, 2))),
        ("left out", with(&|c| drop(c.remove(1)))),
        ("ends early", with(&|c| drop(c.pop()))),
        (
            "more",
            with(&|c| {
                let again = c[0].entries[0].clone();
                c.last_mut().unwrap().entries.push(again);
            }),
        ),
        (
            "proof of another",
            with(&|c| {
                let proof = c[0].proof.clone();
                c[1].proof = proof;
            }),
        ),
        ("garbage", vec![vec![0xff; 100]; good.len()]),
        ("nothing", vec![Vec::new(); good.len()]),
    ]
}

#[test]
fn every_lie_is_refused_and_a_good_chunk_after_it_taken() {
    let folder = tempfile::tempdir().unwrap();
    let original = store(200);
    let file = made(&original, folder.path(), 1024);
    let (manifest, good) = (checked(&file), chunks(&file));
    assert!(good.len() > 4);
    for (lie, chunks) in lies(&good) {
        assert!(verify(&manifest, &chunks).is_err(), "{lie}");
        let target = Store::in_memory(&MemoryDisk::default()).unwrap();
        let mut restoration = Restoration::open(target, manifest.clone()).unwrap();
        let mut refused = 0;
        while let Some(index) = restoration.next_chunk() {
            let given = chunks.get(index as usize).unwrap_or(&good[0]);
            if let Err(error) = restoration.add(given) {
                assert!(error.blames_giver(), "{lie}: {error}");
                refused += 1;
                // One chunk back at the most.
                let next = restoration.next_chunk().unwrap();
                assert!(next + 1 >= index, "{lie}");
                for wanted in next..=index {
                    assert_eq!(restoration.next_chunk(), Some(wanted));
                    restoration.add(&good[wanted as usize]).unwrap();
                }
            }
        }
        let restored = restoration.finish().unwrap();
        assert_eq!(entries(&tip(&restored)), entries(&tip(&original)), "{lie}");
        assert!(refused > 0, "{lie}");
    }
}

#[test]
fn a_lie_about_entries_that_were_taken_before_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let original = store(200);
    let file = made(&original, folder.path(), 1024);
    let (manifest, good) = (checked(&file), chunks(&file));
    let disk = MemoryDisk::default();
    let open = || Restoration::open(Store::in_memory(&disk).unwrap(), manifest.clone()).unwrap();
    let mut restoration = open();
    for chunk in &good[..2] {
        restoration.add(chunk).unwrap();
    }
    drop(restoration);
    let mut restoration = open();
    assert_eq!(restoration.next_chunk(), Some(1), "the last one again");
    let mut lie = Chunk::decode(&good[1]).unwrap();
    lie.entries[0].1[0] ^= 1;
    restoration.add(&lie.encode()).unwrap();
    for chunk in &good[2..] {
        restoration.add(chunk).unwrap();
    }
    let restored = restoration.finish().unwrap();
    assert_eq!(entries(&tip(&restored)), entries(&tip(&original)));
}

#[test]
fn a_manifest_of_fewer_chunks_than_the_state_has_makes_no_store() {
    let folder = tempfile::tempdir().unwrap();
    let file = made(&store(200), folder.path(), 1024);
    let mut manifest = file.manifest().clone();
    manifest.chunks -= 1;
    let manifest = manifest.check(CIRCLE, &key()).unwrap();
    let disk = MemoryDisk::default();
    let target = Store::in_memory(&disk).unwrap();
    let mut restoration = Restoration::open(target, manifest).unwrap();
    while let Some(index) = restoration.next_chunk() {
        let chunk = file.chunk(index).unwrap().unwrap();
        restoration.add(&chunk).unwrap();
    }
    assert!(matches!(
        restoration.finish(),
        Err(RestoreError::Incomplete)
    ));
    let store = Store::in_memory(&disk).unwrap();
    assert!(store.snapshot().unwrap().is_none(), "it is no chain");
}

#[test]
fn a_store_that_holds_a_chain_or_another_checkpoint_is_not_staged_on() {
    let folder = tempfile::tempdir().unwrap();
    let original = store(50);
    let older = checked(&made(&original, folder.path(), 1024));
    commit(&original, &Changes::new(), true);
    let newer = checked(&made(&original, folder.path(), 1024));
    let other = Restoration::open(original, newer.clone());
    assert!(matches!(other, Err(RestoreError::Other(Height(3)))));
    let disk = MemoryDisk::default();
    let staged = Restoration::open(Store::in_memory(&disk).unwrap(), older).unwrap();
    drop(staged);
    let other = Restoration::open(Store::in_memory(&disk).unwrap(), newer);
    assert!(matches!(other, Err(RestoreError::Other(Height(2)))));
}

fn policy(every_blocks: u64) -> Policy {
    Policy {
        every_blocks,
        keep: 2,
        chunk_bytes: 1024,
    }
}

#[test]
fn a_shelf_makes_checkpoints_on_schedule_keeps_the_newest_and_drops_what_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Arc::new(
        Shelf::open(folder.path(), policy(2))
            .unwrap()
            .without_threads(),
    );
    let store = Store::in_memory(&MemoryDisk::default()).unwrap();
    for number in 0..9 {
        commit(&store, &Changes::from([entry(number, 9)]), number != 4);
        shelf.observe(&Arc::new(tip(&store)));
    }
    let heights = |shelf: &Shelf| -> Vec<u64> {
        let files = shelf.list();
        let heights = files.iter().map(|file| file.manifest().header.height.0);
        heights.collect()
    };
    assert_eq!(heights(&shelf), [8, 6], "4 has no certificate of its own");
    assert_eq!(shelf.oldest(), Some(Height(6)));
    assert!(shelf.at(Height(2)).is_none());
    let file = shelf.at(Height(6)).unwrap();
    verify(&checked(&file), &chunks(&file)).unwrap();
    // A file that is removed while it is read can be read to its end.
    fs::write(folder.path().join("10.checkpoint.part"), b"half").unwrap();
    fs::write(folder.path().join("12.checkpoint"), b"no checkpoint").unwrap();
    let again = Shelf::open(folder.path(), policy(2)).unwrap();
    assert_eq!(heights(&again), [8, 6]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    assert_eq!(chunks(&file).len(), file.manifest().chunks as usize);
}

#[test]
fn a_certificate_that_comes_late_still_makes_the_checkpoint_of_its_block() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Arc::new(
        Shelf::open(folder.path(), policy(2))
            .unwrap()
            .without_threads(),
    );
    let store = Store::in_memory(&MemoryDisk::default()).unwrap();
    for number in 0..3 {
        commit(&store, &Changes::from([entry(number, 9)]), number != 2);
        shelf.observe(&Arc::new(tip(&store)));
    }
    let header = *tip(&store).header();
    let wanted = entries(&tip(&store));
    commit(&store, &Changes::from([entry(77, 9)]), true);
    shelf.observe(&Arc::new(tip(&store)));
    assert!(shelf.list().is_empty());
    store.certify(Height(2), &certify(&header)).unwrap();
    shelf.observe(&Arc::new(tip(&store)));
    let file = shelf.at(Height(2)).unwrap();
    assert_eq!(file.manifest().entries, wanted.len() as u64);
    verify(&checked(&file), &chunks(&file)).unwrap();
}

#[test]
fn a_policy_outside_of_its_bounds_is_named() {
    assert_eq!(Policy::default().problem(), None);
    let small = Policy {
        chunk_bytes: 1,
        ..Policy::default()
    };
    assert!(small.problem().unwrap().contains("chunk_bytes"));
    let few = Policy {
        keep: 1,
        ..Policy::default()
    };
    assert!(few.problem().unwrap().contains("keep"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_restoration_survives_any_crashes_and_lies(
        count in 1u64..160,
        chunk_bytes in 1024u32..3000,
        crashes in prop::collection::vec((0usize..12, any::<u64>()), 0..5),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let original = store(count);
        let file = made(&original, folder.path(), chunk_bytes);
        let manifest = checked(&file);
        let disk = MemoryDisk::default();
        for (chunks, kept) in crashes {
            let target = Store::in_memory(&disk).unwrap();
            let mut restoration = Restoration::open(target, manifest.clone()).unwrap();
            for number in 0..chunks {
                let Some(index) = restoration.next_chunk() else { break };
                let chunk = file.chunk(index).unwrap().unwrap();
                if number % 3 == 0 {
                    let mut lie = chunk;
                    let place = kept.rotate_left(number as u32) as usize % lie.len();
                    lie[place] ^= 1 << (kept % 8);
                    // It may lie of what was taken before: that changes nothing.
                    let _ = restoration.add(&lie);
                } else {
                    restoration.add(&chunk).unwrap();
                }
            }
            // The disk keeps any part of what was not synced.
            disk.crash(|write| kept.rotate_right(write as u32) & 1 == 1);
        }
        let target = Store::in_memory(&disk).unwrap();
        let mut restoration = Restoration::open(target, manifest).unwrap();
        while let Some(index) = restoration.next_chunk() {
            restoration.add(&file.chunk(index).unwrap().unwrap()).unwrap();
        }
        let restored = restoration.finish().unwrap();
        prop_assert_eq!(entries(&tip(&restored)), entries(&tip(&original)));
        let next = Changes::from([entry(1_000, 9), entry(0, 9)]);
        prop_assert_eq!(
            commit(&restored, &next, true).state_root,
            commit(&original, &next, true).state_root
        );
    }

    #[test]
    fn no_altered_byte_is_taken_and_none_makes_it_panic(
        chunk in 0usize..6,
        place in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let file = made(&store(90), folder.path(), 1024);
        let mut chunks = chunks(&file);
        let number = chunk % chunks.len();
        let place = place.index(chunks[number].len());
        chunks[number][place] ^= 1 << bit;
        prop_assert!(verify(&checked(&file), &chunks).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes: Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let file = made(&store(3), folder.path(), 1024);
        let mut verification = Verification::begin(&checked(&file)).unwrap();
        prop_assert!(verification.add(&bytes).is_err());
        prop_assert!(Manifest::decode(&bytes).is_err());
    }
}
