//! Did the circle keep its promises in this run?
//!
//! Judges look at what is left: the validators' disks, what each was told to
//! be final, and what clients saw. They trust no answer of the code under test
//! about itself; where the ledger's own audit is asked too, it is asked beside
//! a sum and a model of this crate.

use std::collections::BTreeMap;

use engine::simulation::{Outcome, Plan};
use node::{
    sample::{Circle, Parts},
    store::{MemoryDisk, Snapshot, Store},
};
use proof::Certificate;
use wire::{
    AccountId, Amount, Digest, Height, TransactionResult,
    record::{self, Account, Pool},
    state_key,
};

use crate::{Checker, Report, Violation, life::Seen, model::Model};

/// What a run left behind.
pub struct Evidence<'a> {
    /// The circle that ran.
    pub circle: &'a Circle,
    /// What was planned.
    pub plan: &'a Plan,
    /// What the engine's simulation saw.
    pub outcome: &'a Outcome,
    /// The nodes' disks, by their numbers.
    pub disks: &'a [MemoryDisk],
    /// What clients saw.
    pub seen: &'a Seen,
}

fn violated<T>(checker: Checker, what: impl Into<String>) -> Result<T, Violation> {
    let what = what.into();
    Err(Violation { checker, what })
}

/// Looks at everything.
///
/// Errors: the first [`Violation`].
pub fn judge(evidence: &Evidence<'_>) -> Result<Report, Violation> {
    agreement(&evidence.outcome.finalized)?;
    certificates(evidence)?;
    let mut applied = 0;
    let mut longest: Option<(Store, Snapshot)> = None;
    for node in evidence.outcome.finalized.keys() {
        let (store, snapshot) = store(evidence, *node)?;
        one_chain(*node, &snapshot, &evidence.outcome.finalized[node])?;
        conservation(evidence.circle, *node, &snapshot)?;
        applied = applied.max(acknowledged(evidence, &snapshot)?);
        let is_whole = snapshot.first_height().is_ok_and(|first| first.0 == 0);
        let is_longer = longest
            .as_ref()
            .is_none_or(|(_, longest)| snapshot.height() > longest.height());
        if is_whole && is_longer {
            longest = Some((store, snapshot));
        }
    }
    let reads = match &longest {
        Some((_, snapshot)) => reads(evidence.seen, &Model::of(snapshot)?, snapshot)?,
        None => return violated(Checker::Prefix, "no node has all blocks"),
    };
    let heights = evidence.outcome.finalized.values();
    let height = heights.filter_map(|own| own.keys().next_back()).max();
    Ok(Report {
        height: height.copied().unwrap_or_default(),
        applied,
        reads: (reads, evidence.seen.stale),
        power_losses: evidence.outcome.power_losses,
        simulated_ms: evidence.outcome.simulated_ms,
        audit: evidence.outcome.audit.clone(),
    })
}

/// The store on a node's disk, whose tree is what its header says. A snapshot
/// is of use as long as its store is open.
fn store(evidence: &Evidence<'_>, node: usize) -> Result<(Store, Snapshot), Violation> {
    let broken = |what: String| Violation {
        checker: Checker::Prefix,
        what: format!("the store of node {node}: {what}"),
    };
    let store = Parts::inspect(&evidence.disks[node]).map_err(|e| broken(e.to_string()))?;
    let circle = evidence.circle.genesis.circle();
    store.check(circle).map_err(|e| broken(e.to_string()))?;
    let snapshot = store.snapshot().map_err(|e| broken(e.to_string()))?;
    let snapshot = snapshot.ok_or_else(|| broken("it is empty".into()))?;
    Ok((store, snapshot))
}

fn agreement(finalized: &BTreeMap<usize, BTreeMap<u64, Digest>>) -> Result<(), Violation> {
    let mut agreed: BTreeMap<u64, (usize, Digest)> = BTreeMap::new();
    for (&node, blocks) in finalized {
        for (&height, digest) in blocks {
            let (other, first) = *agreed.entry(height).or_insert((node, *digest));
            if first != *digest {
                let what = format!("nodes {other} and {node} differ at height {height}");
                return violated(Checker::Agreement, what);
            }
        }
    }
    Ok(())
}

/// Blocks of which one certificate is verified here. The engine's simulation
/// verifies them all, with the code that made them; this is other code, the one
/// that clients trust, and the same key from the first epoch to the last.
const CERTIFICATE_OF: u64 = 8;

/// Certificates verify under the key of the genesis, with the verifier of
/// clients: one of [`CERTIFICATE_OF`], and each epoch's first and last.
fn certificates(evidence: &Evidence<'_>) -> Result<(), Violation> {
    let all = &evidence.outcome.certificates;
    let epoch_of = |height: u64| all.get(&height).map(|certificate| certificate.epoch);
    for (&height, certificate) in all {
        let is_bound = [height.wrapping_sub(1), height + 1]
            .iter()
            .any(|beside| epoch_of(*beside) != Some(certificate.epoch));
        if !is_bound && !height.is_multiple_of(CERTIFICATE_OF) {
            continue;
        }
        let mut told = evidence.outcome.finalized.values();
        let header = told.find_map(|own| own.get(&height));
        let certificate = Certificate {
            epoch: certificate.epoch,
            view: certificate.view,
            parent_view: certificate.parent_view,
            signature: certificate.signature,
        };
        let genesis = &evidence.circle.genesis;
        let verified =
            header.map(|header| certificate.verify(genesis.circle(), *header, &genesis.circle_key));
        if !matches!(verified, Some(Ok(()))) {
            let what = format!("that of height {height} comes to {verified:?}");
            return violated(Checker::Certificates, what);
        }
    }
    Ok(())
}

/// A store's headers link, and are those that the node was told to be final.
fn one_chain(
    node: usize,
    snapshot: &Snapshot,
    told: &BTreeMap<u64, Digest>,
) -> Result<(), Violation> {
    let first = snapshot.first_height().unwrap_or_default();
    let mut parent: Option<Digest> = None;
    for height in first.0..=snapshot.height().0 {
        let Ok(Some(header)) = snapshot.header_at(Height(height)) else {
            return violated(
                Checker::Prefix,
                format!("node {node} lacks height {height}"),
            );
        };
        if parent.is_some_and(|parent| parent != header.parent) {
            let what = format!("node {node}: height {height} has another parent");
            return violated(Checker::Prefix, what);
        }
        let digest = header.digest();
        if told.get(&height).is_some_and(|told| *told != digest) {
            let what = format!("node {node} stored another block {height} than was final");
            return violated(Checker::Prefix, what);
        }
        parent = Some(digest);
    }
    Ok(())
}

/// Adds up accounts and pool: nothing else holds funds in these runs. The
/// ledger's audit is asked too, since it looks at every relation of records.
fn conservation(circle: &Circle, node: usize, snapshot: &Snapshot) -> Result<(), Violation> {
    let unsound = |what: String| Violation {
        checker: Checker::Conservation,
        what: format!("node {node}: {what}"),
    };
    let key = state_key::account(AccountId([0; 32]));
    let prefix = &key[..key.len() - 32];
    let entries = snapshot.entries(prefix, None, usize::MAX);
    let mut sum: u64 = 0;
    for (_, value) in entries.map_err(|e| unsound(e.to_string()))? {
        let account: Account = record::decode(&value).map_err(|e| unsound(e.to_string()))?;
        sum = sum.saturating_add(account.balance.0);
    }
    if let Ok(Some(value)) = snapshot.entry(&state_key::pool()) {
        let pool: Pool = record::decode(&value).map_err(|e| unsound(e.to_string()))?;
        sum = sum.saturating_add(pool.balance.0);
    }
    let supply = circle.genesis.supply();
    if Amount(sum) != supply {
        return Err(unsound(format!(
            "accounts and pool hold {sum} of {supply:?}"
        )));
    }
    let audit = ledger::audit(snapshot).map_err(|e| unsound(e.to_string()))?;
    if audit.supply != supply {
        return Err(unsound(format!("the audit finds {:?}", audit.supply)));
    }
    Ok(())
}

/// Every acknowledged transaction is where it was said to be; how many applied.
fn acknowledged(evidence: &Evidence<'_>, snapshot: &Snapshot) -> Result<usize, Violation> {
    let first = snapshot.first_whole().unwrap_or_default();
    let kept = first..=snapshot.height();
    let mut applied = 0;
    for ((node, id), receipt) in &evidence.seen.acknowledged {
        let is_honest = evidence.outcome.finalized.contains_key(node);
        if !is_honest || !kept.contains(&receipt.height) {
            continue;
        }
        if snapshot.receipt(id).ok().flatten().as_ref() != Some(receipt) {
            let what = format!("a transaction that node {node} acknowledged is not there");
            return violated(Checker::Acknowledged, what);
        }
        let is_applied = receipt.result == TransactionResult::Applied;
        // A validator's dealing is free, once it is due.
        if receipt.fee == Amount::ZERO && !is_applied {
            return violated(Checker::Model, "a block carries something for nothing");
        }
        applied += usize::from(is_applied);
    }
    Ok(applied)
}

/// Each proven read shows what the model has at its height; how many were
/// checked. Clients tell each other the highest height they know and refuse
/// what is older, so a read that agrees with the model at its height shows all
/// that was acknowledged to anybody before it began.
fn reads(seen: &Seen, model: &Model, snapshot: &Snapshot) -> Result<usize, Violation> {
    if let Some(what) = seen.false_proofs.first() {
        return violated(Checker::Reads, what.clone());
    }
    let mut checked = 0;
    for read in &seen.reads {
        if read.height > snapshot.height() {
            continue; // The disks had no time to sync it.
        }
        let wanted = match read.user {
            Some(user) => model.at(read.height, user),
            None => None,
        };
        if read.account != wanted {
            let what = format!(
                "user {:?} at height {}: proven {:?}, the model has {wanted:?}",
                read.user, read.height, read.account
            );
            return violated(Checker::Reads, what);
        }
        checked += 1;
    }
    Ok(checked)
}

#[cfg(test)]
mod tests;
