//! Is what a node stored still what it wrote, and what if not?
//!
//! Before a node starts, its ledger's file and its engine's archives are read
//! from end to end and compared with their checksums. What is damaged is moved
//! into a folder of its own beside them, named in the log and never deleted; the
//! node then begins as a new one does: from a proven state or from the first
//! block, by what peers have; so it does where its engine's directory is gone.
//! Its shares and its memory of votes stay: neither can be had from anybody.

use std::{
    fs, io,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use engine::inspection;
use wire::{CircleId, Height};

use crate::{
    checkpoint::sync::LEDGER,
    store::{Store, StoreError},
};

/// What a folder begins with to which damaged files are moved; its time follows.
const ASIDE: &str = "damaged-";

/// Looks at everything that a node in `data_dir` has stored; nothing is changed
/// where all is well.
///
/// Errors: the system's, where what is damaged cannot be moved.
pub(crate) fn set_damaged_aside(data_dir: &Path, circle: CircleId) -> io::Result<()> {
    let started = Instant::now();
    let (ledger, engine) = (data_dir.join(LEDGER), data_dir.join("engine"));
    let ledger_damage = damage_of_ledger(&ledger, circle);
    let engine_damage = inspection::inspect(&engine).err();
    if ledger_damage.is_none() && !engine.exists() && is_beyond_anchor(&ledger) {
        let aside = aside_in(data_dir)?;
        tracing::error!(aside = %aside.display(), "the engine's directory is gone, so the ledger's file is set aside and built anew");
        return fs::rename(&ledger, aside.join(LEDGER));
    }
    let took_ms = started.elapsed().as_millis() as u64;
    if ledger_damage.is_none() && engine_damage.is_none() {
        tracing::info!(took_ms, "what was stored is undamaged");
        return Ok(());
    }
    let aside = aside_in(data_dir)?;
    let aside_shown = aside.display();
    if let Some(damage) = ledger_damage {
        tracing::error!(file = %ledger.display(), damage, %aside_shown, "the ledger's file is damaged and set aside");
    }
    if let Some(damage) = &engine_damage {
        tracing::error!(%damage, %aside_shown, "the engine's archives are damaged and set aside");
        inspection::set_aside(&engine, &aside.join("engine"))?;
    }
    // Consensus goes on from a block that the archives have, so without them the
    // ledger, damaged or not, is built anew too.
    if ledger.exists() {
        fs::rename(&ledger, aside.join(LEDGER))?;
    }
    Ok(())
}

/// A new folder for what is set aside.
fn aside_in(data_dir: &Path) -> io::Result<PathBuf> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let time = since.map_or(0, |since| since.as_millis());
    let aside = data_dir.join(format!("{ASIDE}{time}"));
    fs::create_dir_all(&aside)?;
    Ok(aside)
}

/// Whether the ledger has blocks that an engine must have had: one that begins anew
/// begins with the ledger's anchor, or with block 0, and cannot go on from later ones.
fn is_beyond_anchor(path: &Path) -> bool {
    let heights = || -> Result<Option<(Height, Height)>, StoreError> {
        let store = Store::open(path)?;
        let tip = store.snapshot()?.map(|snapshot| snapshot.height());
        let anchor = store.anchor()?.map(|anchor| anchor.header.height);
        Ok(tip.map(|tip| (tip, anchor.unwrap_or_default())))
    };
    if !path.exists() {
        return false;
    }
    // What keeps it from opening is met again when the node starts.
    matches!(heights(), Ok(Some((tip, anchor))) if tip > anchor)
}

/// What is wrong with the ledger's file; what another reason keeps from opening
/// is met again when the node starts.
fn damage_of_ledger(path: &Path, circle: CircleId) -> Option<String> {
    if !path.exists() {
        return None;
    }
    // The database may take a damaged page for a bug of its own.
    let checked = panic::catch_unwind(AssertUnwindSafe(|| Store::verify(path, circle)));
    match checked {
        Ok(Ok(())) => None,
        Ok(Err(error)) if error.is_damage() => Some(error.to_string()),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the ledger's file was not checked");
            None
        }
        Err(_) => Some(StoreError::Damaged("it cannot be read".to_owned()).to_string()),
    }
}
