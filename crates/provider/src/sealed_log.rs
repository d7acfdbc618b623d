//! An enclave's log as ciphertext: the newest records, within a bound, on disk.
//!
//! Two segment files take turns; when one is full the older one is deleted.
//! Records are opaque; their numbers are the enclave's. A log survives a
//! restart of the provider up to the last whole record.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
};

use tokio::sync::Notify;

/// Bytes before each record in a segment: number and length.
const HEAD_BYTES: usize = 12;

/// A sealed record; the seal adds a few bytes to 16 KiB of text.
const MAX_RECORD_BYTES: usize = 32 * 1024;

/// One page of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The oldest record that is held.
    pub first: u64,
    /// The number after the newest record that is held.
    pub next: u64,
    /// Records with their numbers, ascending.
    pub records: Vec<(u64, Vec<u8>)>,
}

/// A bounded log.
pub struct SealedLog {
    state: Mutex<State>,
    appended: Notify,
}

struct State {
    directory: PathBuf,
    segment_bytes: u64,
    /// The older segment, if there is one, and the current one.
    segments: VecDeque<Segment>,
    index: VecDeque<Place>,
    next: u64,
}

struct Segment {
    generation: u64,
    file: File,
    bytes: u64,
}

#[derive(Clone, Copy)]
struct Place {
    sequence: u64,
    generation: u64,
    offset: u64,
    length: u32,
}

impl SealedLog {
    /// Opens the log in `directory`, which holds at most `limit` bytes of it.
    ///
    /// Errors: the file system's. A record cut short by a crash is dropped.
    pub fn open(directory: &Path, limit: u64) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let mut state = State {
            directory: directory.to_owned(),
            segment_bytes: (limit / 2).max(MAX_RECORD_BYTES as u64 * 2),
            segments: VecDeque::new(),
            index: VecDeque::new(),
            next: 0,
        };
        for generation in generations(directory)? {
            state.load(generation)?;
        }
        if state.segments.is_empty() {
            state.rotate(0)?;
        }
        Ok(Self {
            state: Mutex::new(state),
            appended: Notify::new(),
        })
    }

    /// Appends a record.
    ///
    /// Errors: the file system's; a number that does not ascend or a record
    ///         that is too large is invalid data.
    pub fn append(&self, sequence: u64, sealed: &[u8]) -> io::Result<()> {
        self.lock().append(sequence, sealed)?;
        self.appended.notify_waiters();
        Ok(())
    }

    /// Records from number `from` on, up to `max_bytes` of them and at least one.
    ///
    /// Errors: the file system's.
    pub fn page(&self, from: u64, max_bytes: usize) -> io::Result<Page> {
        self.lock().page(from, max_bytes)
    }

    /// Waits until a record numbered `from` or later is held.
    pub async fn reaches(&self, from: u64) {
        loop {
            let appended = self.appended.notified();
            tokio::pin!(appended);
            appended.as_mut().enable();
            if self.lock().next > from {
                return;
            }
            appended.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn path(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("log.{generation}"))
}

/// Generations that are on disk, ascending.
fn generations(directory: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let generation = name
            .to_str()
            .and_then(|name| name.strip_prefix("log."))
            .and_then(|number| number.parse::<u64>().ok());
        found.extend(generation);
    }
    found.sort_unstable();
    Ok(found)
}

impl State {
    /// Reads a segment's heads and cuts what a crash left unfinished.
    fn load(&mut self, generation: u64) -> io::Result<()> {
        let file = open(&path(&self.directory, generation))?;
        let mut bytes = Vec::new();
        (&file)
            .take(self.segment_bytes * 2)
            .read_to_end(&mut bytes)?;
        let mut offset = 0;
        while let Some(head) = bytes.get(offset..offset + HEAD_BYTES) {
            let (sequence, length) = head.split_at(8);
            let sequence = u64::from_le_bytes(sequence.try_into().unwrap_or_default());
            let length = u32::from_le_bytes(length.try_into().unwrap_or_default());
            let start = offset + HEAD_BYTES;
            let whole = bytes.get(start..start + length as usize).is_some();
            if !whole || sequence < self.next {
                break;
            }
            self.index.push_back(Place {
                sequence,
                generation,
                offset: start as u64,
                length,
            });
            self.next = sequence + 1;
            offset = start + length as usize;
        }
        file.set_len(offset as u64)?;
        self.segments.push_back(Segment {
            generation,
            file,
            bytes: offset as u64,
        });
        self.forget_old()
    }

    fn append(&mut self, sequence: u64, sealed: &[u8]) -> io::Result<()> {
        if sequence < self.next || sealed.len() > MAX_RECORD_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let full = self
            .segments
            .back()
            .map(|s| (s.bytes >= self.segment_bytes, s.generation));
        if let Some((true, generation)) = full {
            self.rotate(generation + 1)?;
        }
        let segment = self.segments.back_mut().ok_or(io::ErrorKind::NotFound)?;
        let mut record = Vec::with_capacity(HEAD_BYTES + sealed.len());
        record.extend_from_slice(&sequence.to_le_bytes());
        record.extend_from_slice(&(sealed.len() as u32).to_le_bytes());
        record.extend_from_slice(sealed);
        segment.file.write_all(&record)?;
        self.index.push_back(Place {
            sequence,
            generation: segment.generation,
            offset: segment.bytes + HEAD_BYTES as u64,
            length: sealed.len() as u32,
        });
        segment.bytes += record.len() as u64;
        self.next = sequence + 1;
        Ok(())
    }

    fn rotate(&mut self, generation: u64) -> io::Result<()> {
        let file = open(&path(&self.directory, generation))?;
        self.segments.push_back(Segment {
            generation,
            file,
            bytes: 0,
        });
        self.forget_old()
    }

    fn forget_old(&mut self) -> io::Result<()> {
        while self.segments.len() > 2 {
            if let Some(old) = self.segments.pop_front() {
                fs::remove_file(path(&self.directory, old.generation))?;
                self.index
                    .retain(|place| place.generation != old.generation);
            }
        }
        Ok(())
    }

    fn page(&self, from: u64, max_bytes: usize) -> io::Result<Page> {
        let mut page = Page {
            first: self.index.front().map_or(self.next, |place| place.sequence),
            next: self.next,
            records: Vec::new(),
        };
        let start = self.index.partition_point(|place| place.sequence < from);
        let mut bytes = 0;
        for place in self.index.range(start..) {
            bytes += place.length as usize;
            if bytes > max_bytes && !page.records.is_empty() {
                break;
            }
            let segment = self
                .segments
                .iter()
                .find(|segment| segment.generation == place.generation)
                .ok_or(io::ErrorKind::NotFound)?;
            let mut record = vec![0; place.length as usize];
            segment.file.read_exact_at(&mut record, place.offset)?;
            page.records.push((place.sequence, record));
        }
        Ok(page)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sequence: u64) -> Vec<u8> {
        vec![sequence as u8; 1000]
    }

    #[test]
    fn keeps_the_newest_records_within_its_bound() {
        let directory = tempfile::tempdir().unwrap();
        let log = SealedLog::open(directory.path(), 200_000).unwrap();
        for sequence in 0..1000 {
            log.append(sequence, &record(sequence)).unwrap();
        }
        let on_disk: u64 = generations(directory.path())
            .unwrap()
            .iter()
            .map(|g| path(directory.path(), *g).metadata().unwrap().len())
            .sum();
        assert!(on_disk <= 205_000, "{on_disk}");
        let page = log.page(0, 5000).unwrap();
        assert!(page.first > 700 && page.next == 1000, "{}", page.first);
        assert_eq!(page.records.len(), 5);
        assert_eq!(page.records[0], (page.first, record(page.first)));
        let tail = log.page(999, 1).unwrap();
        assert_eq!(tail.records, [(999, record(999))]);
        assert!(log.page(1000, 1).unwrap().records.is_empty());
    }

    #[test]
    fn a_restart_keeps_whole_records_and_drops_a_torn_one() {
        let directory = tempfile::tempdir().unwrap();
        let log = SealedLog::open(directory.path(), 1 << 20).unwrap();
        for sequence in 0..3 {
            log.append(sequence, &record(sequence)).unwrap();
        }
        drop(log);
        let segment = path(directory.path(), 0);
        let bytes = segment.metadata().unwrap().len();
        OpenOptions::new()
            .write(true)
            .open(&segment)
            .unwrap()
            .set_len(bytes - 7)
            .unwrap();
        let log = SealedLog::open(directory.path(), 1 << 20).unwrap();
        let page = log.page(0, 1 << 20).unwrap();
        assert_eq!((page.first, page.next, page.records.len()), (0, 2, 2));
        log.append(2, b"again").unwrap();
        assert_eq!(log.page(2, 100).unwrap().records, [(2, b"again".to_vec())]);
    }

    #[test]
    fn refuses_numbers_that_do_not_ascend_and_records_that_are_too_large() {
        let directory = tempfile::tempdir().unwrap();
        let log = SealedLog::open(directory.path(), 1 << 20).unwrap();
        log.append(5, b"x").unwrap();
        assert!(log.append(5, b"x").is_err());
        assert!(log.append(6, &vec![0; MAX_RECORD_BYTES + 1]).is_err());
        // A gap is the enclave's to explain.
        log.append(9, b"y").unwrap();
        assert_eq!(log.page(6, 100).unwrap().records, [(9, b"y".to_vec())]);
    }
}
