//! How does a holder come to a label's key?

use rand::{SeedableRng as _, rngs::StdRng};
use threshold::{Asker, Committee, LabelKey, OneTimeKey};
use wire::{
    Action, Digest, Evidence, Height, KeyRequestId, LabelName, PublicKey, RequestKey,
    limits::KEY_REQUEST_BLOCKS,
    record::{KeyAnswer, KeyCommittee, KeyRequest, Label},
    state_key,
};

use crate::{
    circle::{Circle, CircleError, decode},
    fresh,
};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum HolderError {
    /// The circle, or its refusal.
    #[error(transparent)]
    Circle(#[from] CircleError),
    /// The circle has no keykeepers in office.
    #[error("the circle has no keykeepers in office")]
    NoKeepers,
    /// The label is not granted.
    #[error("there is no such label")]
    NoLabel,
    /// Evidence could not be made.
    #[error("no evidence: {0}")]
    Evidence(String),
    /// The request's time passed before a quorum answered well.
    #[error("{good} keykeepers answered well; it takes {need}")]
    TooFew {
        /// How many.
        good: usize,
        /// How many it takes.
        need: usize,
    },
}

/// Asks for the key of `label` in `epoch`, the present one if none is given, and
/// waits for a quorum of good answers.
///
/// Shape:  `evidence` makes evidence for report data; it is the enclave's part.
/// Errors: [`HolderError`].
/// Source: docs/spec/keys.md §9.
pub async fn derive<C: Circle>(
    circle: &C,
    label: &LabelName,
    epoch: Option<u64>,
    evidence: impl FnOnce(Digest) -> Result<Evidence, String>,
) -> Result<LabelKey, HolderError> {
    let keys = vec![state_key::key_committee(), state_key::label(label)];
    let reading = circle.read(keys).await?;
    let committee: KeyCommittee = decode(&reading, 0)?.ok_or(HolderError::NoKeepers)?;
    let granted: Label = decode(&reading, 1)?.ok_or(HolderError::NoLabel)?;
    let epoch = epoch.unwrap_or(granted.epoch);
    let key = OneTimeKey::generate(&mut StdRng::from_seed(*fresh()));
    let report_data = RequestKey::report_data(
        circle.id(),
        label,
        epoch,
        &key.public(),
        reading.header,
        None,
    );
    let request = RequestKey {
        label: label.clone(),
        epoch,
        one_time_key: key.public(),
        contract: None,
        height: reading.height,
        block: reading.header,
        evidence: evidence(report_data).map_err(HolderError::Evidence)?,
    };
    let sent = circle.send(Action::RequestKey(request)).await?;
    let asked = Asked {
        id: KeyRequestId::made_by(sent, 0),
        over: reading.height.plus(2 * KEY_REQUEST_BLOCKS),
    };
    gather(circle, &committee, label, epoch, asked, key).await
}

/// A request that was sent.
struct Asked {
    id: KeyRequestId,
    /// By then it is gone: it is applied at most so many blocks after the one that its
    /// evidence names, and kept for as many.
    over: Height,
}

async fn gather<C: Circle>(
    circle: &C,
    record: &KeyCommittee,
    label: &LabelName,
    epoch: u64,
    Asked { id, over }: Asked,
    key: OneTimeKey,
) -> Result<LabelKey, HolderError> {
    let committee = Committee::decode(&record.sharing).map_err(|_| HolderError::NoKeepers)?;
    let bytes = label.bytes(circle.id(), epoch);
    let mut asker = Asker::new(&committee, &bytes, Digest(id.0), key);
    let mut waiting = committee.keepers();
    let (mut good, mut stood) = (0, false);
    loop {
        // The request first: while it stands, answers may still come.
        let mut keys = vec![state_key::key_request(id)];
        let answer = |keeper: &[u8; 32]| state_key::key_answer(id, &PublicKey::Ed25519(*keeper));
        keys.extend(waiting.iter().take(63).map(answer));
        let reading = circle.read(keys).await?;
        let mut answered = Vec::new();
        for (at, keeper) in waiting.iter().take(63).enumerate() {
            let Some(answer) = decode::<KeyAnswer>(&reading, at + 1)? else {
                continue;
            };
            answered.push(*keeper);
            if answer.round != record.round {
                continue;
            }
            match asker.take(*keeper, &answer.sealed) {
                Ok(_) => good += 1,
                Err(error) => tracing::warn!(%error, "a keykeeper answered badly"),
            }
        }
        waiting.retain(|keeper| !answered.contains(keeper));
        if let Ok(key) = asker.combine() {
            return Ok(key);
        }
        // A node may prove a block before the one that the request is in.
        let open = decode::<KeyRequest>(&reading, 0)?.is_some();
        stood |= open;
        let passed = !open && (stood || reading.height > over);
        if passed || waiting.is_empty() {
            let need = usize::from(record.quorum);
            return Err(HolderError::TooFew { good, need });
        }
        circle.changed().await;
    }
}
