//! How keys follow one another: pre-publication for zone-signing keys
//! (RFC 6781 §4.1.1.1), double DS for key-signing keys (§4.1.2, with CDS of
//! RFC 7344 in the place of a letter to the parent).
//!
//! Pure: it is told the time, what the ledger holds, and which keys still
//! have signatures in the zone, and moves phases. A step is taken only once
//! every cache that could contradict it has run out.

use std::collections::BTreeSet;

use wire::{DomainName, record};

use super::keys::{FileKeys, KeyFileError, Phase, Role};

/// How long a change takes from the ledger to every name server, generously.
pub const PROPAGATION_SECONDS: u64 = 60;

/// How long a parent's DS may be cached: two days, as registries have it.
pub const PARENT_TTL_SECONDS: u64 = 2 * 86_400;

/// The longest time to live of a record in a zone, and so of its signature.
pub const LONGEST_TTL_SECONDS: u64 = wire::limits::MAX_ZONE_TTL as u64;

/// What a roll-over is told.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Unix seconds.
    pub now: u64,
    /// What the ledger holds of the zone, proven.
    pub on_ledger: Option<&'a record::Zone>,
    /// Tags of the keys whose signatures the zone still holds.
    pub in_use: &'a BTreeSet<u16>,
}

/// Why a roll-over was not begun.
#[derive(Debug, thiserror::Error)]
pub enum RollError {
    /// One is under way.
    #[error(
        "a roll-over of this kind is under way in {0}: it ends by itself, see `ringfort signer keys`"
    )]
    UnderWay(DomainName),
    /// No key waits for the operator's word.
    #[error("no key-signing key of {0} waits for its DS to be confirmed")]
    NothingToConfirm(DomainName),
    /// No key could be made.
    #[error(transparent)]
    Key(#[from] KeyFileError),
}

/// Makes the first keys of `apex` unless it has some. Gives whether it did.
///
/// Errors: [`KeyFileError::Entropy`].
pub fn begin(keys: &mut FileKeys, apex: &DomainName, now: u64) -> Result<bool, KeyFileError> {
    if keys.of(apex).next().is_some() {
        return Ok(false);
    }
    keys.add(apex, Role::KeySigning, Phase::Active, now)?;
    keys.add(apex, Role::ZoneSigning, Phase::Active, now)?;
    Ok(true)
}

/// Begins to roll the zone-signing key of `apex`; gives the new one's tag.
///
/// Errors: [`RollError::UnderWay`].
pub fn roll_zone_signing(
    keys: &mut FileKeys,
    apex: &DomainName,
    now: u64,
) -> Result<u16, RollError> {
    refuse_second(keys, apex, Role::ZoneSigning)?;
    Ok(keys.add(apex, Role::ZoneSigning, Phase::Published, now)?)
}

/// Begins to roll the key-signing key of `apex`; gives the new one's tag.
///
/// Errors: [`RollError::UnderWay`].
pub fn roll_key_signing(
    keys: &mut FileKeys,
    apex: &DomainName,
    now: u64,
) -> Result<u16, RollError> {
    refuse_second(keys, apex, Role::KeySigning)?;
    Ok(keys.add(apex, Role::KeySigning, Phase::Announced, now)?)
}

/// Takes the operator's word that the announced key's DS stands at the parent,
/// or that whoever trusts the zone directly trusts it; gives its tag.
///
/// Errors: [`RollError::NothingToConfirm`].
pub fn confirm_parent(keys: &mut FileKeys, apex: &DomainName, now: u64) -> Result<u16, RollError> {
    let waiting = find(keys, apex, Role::KeySigning, Phase::Announced)
        .ok_or_else(|| RollError::NothingToConfirm(apex.clone()))?;
    enter(keys, apex, waiting.0, Phase::Confirmed, now);
    Ok(waiting.0)
}

fn refuse_second(keys: &FileKeys, apex: &DomainName, role: Role) -> Result<(), RollError> {
    let busy = keys
        .of(apex)
        .any(|(_, key)| key.role == role && key.phase != Phase::Active);
    if busy {
        return Err(RollError::UnderWay(apex.clone()));
    }
    Ok(())
}

/// The first key of a kind with its tag and when its phase began.
fn find(keys: &FileKeys, apex: &DomainName, role: Role, phase: Phase) -> Option<(u16, u64)> {
    keys.of(apex)
        .find(|(_, key)| key.role == role && key.phase == phase)
        .map(|(tag, key)| (tag, key.since))
}

fn enter(keys: &mut FileKeys, apex: &DomainName, tag: u16, phase: Phase, now: u64) {
    if let Some(key) = keys.get_mut(apex, tag) {
        key.phase = phase;
        key.since = now;
    }
}

/// Takes the steps of `apex` that are due. Gives whether any was taken, so
/// that the keys are to be saved.
pub fn advance(keys: &mut FileKeys, apex: &DomainName, around: Surroundings<'_>) -> bool {
    let Some(apex_ttl) = shown_ttl(keys, apex, around) else {
        return false;
    };
    let elapsed = |since: u64| around.now.saturating_sub(since);
    let mut stepped = false;
    if let Some((tag, since)) = find(keys, apex, Role::ZoneSigning, Phase::Published)
        && elapsed(since) >= apex_ttl + PROPAGATION_SECONDS
    {
        if let Some((former, _)) = find(keys, apex, Role::ZoneSigning, Phase::Active) {
            enter(keys, apex, former, Phase::Retired, around.now);
        }
        enter(keys, apex, tag, Phase::Active, around.now);
        stepped = true;
    }
    if let Some((tag, since)) = find(keys, apex, Role::ZoneSigning, Phase::Retired) {
        if around.in_use.contains(&tag) {
            // Its last signature begins the wait.
            enter(keys, apex, tag, Phase::Retired, around.now);
        } else if elapsed(since) >= LONGEST_TTL_SECONDS + PROPAGATION_SECONDS {
            keys.remove(apex, tag);
            stepped = true;
        }
    }
    if let Some((tag, since)) = find(keys, apex, Role::KeySigning, Phase::Confirmed)
        && elapsed(since) >= PARENT_TTL_SECONDS
    {
        if let Some((former, _)) = find(keys, apex, Role::KeySigning, Phase::Active) {
            enter(keys, apex, former, Phase::Withdrawn, around.now);
        }
        enter(keys, apex, tag, Phase::Active, around.now);
        stepped = true;
    }
    if let Some((tag, since)) = find(keys, apex, Role::KeySigning, Phase::Withdrawn)
        && elapsed(since) >= apex_ttl + PROPAGATION_SECONDS
    {
        keys.remove(apex, tag);
        stepped = true;
    }
    stepped
}

/// The time to live of the zone's keys, as the ledger has it; none while the
/// ledger does not yet hold what the keys' phases call for. Then every wait
/// begins anew: a phase lasts from when the ledger showed it.
fn shown_ttl(keys: &mut FileKeys, apex: &DomainName, around: Surroundings<'_>) -> Option<u64> {
    let zone = &around.on_ledger?.zone;
    if zone.keys == keys.public(apex) {
        return Some(u64::from(zone.apex_ttl));
    }
    let waiting: Vec<u16> = keys
        .of(apex)
        .filter(|(_, key)| key.phase != Phase::Active)
        .map(|(tag, _)| tag)
        .collect();
    for tag in waiting {
        if let Some(key) = keys.get_mut(apex, tag) {
            key.since = around.now;
        }
    }
    None
}
