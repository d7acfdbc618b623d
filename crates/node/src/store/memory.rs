//! What is left of a file after the machine has failed?
//!
//! [`MemoryDisk`] is a disk for simulations: writes reach it at once, but
//! until they are synced a crash may lose any of them. A store that survives
//! it survives a power cut.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use redb::StorageBackend;

/// A disk in memory that outlives the store on it. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<Image>>);

#[derive(Default)]
struct Image {
    /// What was synced.
    safe: Vec<u8>,
    /// What a reader sees.
    seen: Vec<u8>,
    /// Writes and changes of length since the last sync, in order.
    unsynced: Vec<Write>,
    /// Crashes so far: a backend from before the last one is cut off.
    crashes: u64,
    /// Counts a write or a sync; false if it no longer reaches the disk.
    power: Option<Box<dyn Fn() -> bool + Send>>,
    /// The power has gone, and the process does not know yet.
    is_cut: bool,
}

impl Image {
    fn reaches(&mut self) -> bool {
        self.is_cut |= self.power.as_ref().is_some_and(|step| !step());
        !self.is_cut
    }
}

enum Write {
    Length(usize),
    Bytes(usize, Vec<u8>),
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.seen.len())
    }
}

impl MemoryDisk {
    fn image(&self) -> MutexGuard<'_, Image> {
        self.0.lock().expect("no holder of the disk panics")
    }

    /// Access for one process.
    pub(super) fn backend(&self) -> MemoryBackend {
        MemoryBackend {
            crashes: self.image().crashes,
            disk: self.clone(),
        }
    }

    /// Asks `step` before each write and sync, until the next crash, whether it
    /// still reaches the disk. The first that does not is torn, and from then on
    /// the process sees writes that are nowhere.
    pub fn powered_by(&self, step: impl Fn() -> bool + Send + 'static) {
        self.image().power = Some(Box::new(step));
    }

    /// Cuts the present process off and keeps those unsynced writes for which
    /// `keep` says so (given each write's place in their order).
    pub fn crash(&self, mut keep: impl FnMut(usize) -> bool) {
        let mut image = self.image();
        let mut safe = std::mem::take(&mut image.safe);
        for (index, write) in image.unsynced.drain(..).enumerate() {
            if keep(index) {
                apply(&mut safe, &write);
            }
        }
        image.seen = safe.clone();
        image.safe = safe;
        image.crashes += 1;
        (image.power, image.is_cut) = (None, false);
    }
}

fn apply(bytes: &mut Vec<u8>, write: &Write) {
    match write {
        Write::Length(length) => bytes.resize(*length, 0),
        Write::Bytes(offset, data) => {
            let end = offset + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*offset..end].copy_from_slice(data);
        }
    }
}

/// One process's access to a [`MemoryDisk`].
#[derive(Debug)]
pub(super) struct MemoryBackend {
    disk: MemoryDisk,
    crashes: u64,
}

impl MemoryBackend {
    fn image(&self) -> io::Result<MutexGuard<'_, Image>> {
        let image = self.disk.image();
        if image.crashes == self.crashes {
            Ok(image)
        } else {
            Err(io::Error::other("this process is over"))
        }
    }

    fn write(&self, write: Write) -> io::Result<()> {
        let mut image = self.image()?;
        apply(&mut image.seen, &write);
        let was_cut = image.is_cut;
        if image.reaches() {
            image.unsynced.push(write);
        } else if !was_cut && let Write::Bytes(offset, mut bytes) = write {
            bytes.truncate(bytes.len() / 2);
            image.unsynced.push(Write::Bytes(offset, bytes));
        }
        Ok(())
    }
}

impl StorageBackend for MemoryBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.image()?.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let image = self.image()?;
        let start = offset as usize;
        let bytes = image.seen.get(start..start + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.write(Write::Length(length as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut image = self.image()?;
        if !image.reaches() {
            return Ok(());
        }
        let Image { safe, unsynced, .. } = &mut *image;
        for write in unsynced.drain(..) {
            apply(safe, &write);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write(Write::Bytes(offset as usize, data.to_vec()))
    }
}
