//! How does a payload's enclave come to ask the keykeepers, and to hear them?
//!
//! The host reads the ledger, has evidence made over what the enclave says,
//! sends the request under its own account and passes answers on. It sees
//! sealed shares and no key; what it could get wrong costs the payload its
//! start, nothing else.

use std::{sync::Arc, time::Duration};

use client::{ClientError, decode};
use tokio::{sync::oneshot, task::AbortHandle};
use wire::{
    Action, ContractId, Digest, Height, KeyRequestId, LabelName, PublicKey, RequestKey,
    channel::{GuestReport, HostMessage, MAX_REASON_BYTES},
    record::{KeyAnswer, KeyCommittee, KeyRequest, Label},
    state_key,
};

use crate::{channel::Outbox, host::Host};

/// The pause between two looks for answers: below a block's time.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What an enclave asks for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The label's epoch.
    pub epoch: u64,
    /// Its one-time key.
    pub one_time_key: [u8; 32],
    /// What evidence must bind.
    pub report_data: Digest,
    /// What the enclave's own TEE reports over it.
    pub report: Option<GuestReport>,
}

/// The one wish that an enclave has at a time.
#[derive(Default)]
pub(crate) struct Wishes(Option<Wish>);

struct Wish {
    number: u32,
    ask: Option<oneshot::Sender<Ask>>,
    task: AbortHandle,
}

impl Drop for Wish {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Wishes {
    /// Begins to serve a wish, in the place of an earlier one.
    pub(crate) fn begin(
        &mut self,
        host: &Arc<Host>,
        contract: ContractId,
        outbox: Arc<Outbox>,
        number: u32,
        label: LabelName,
    ) {
        let (ask, asked) = oneshot::channel();
        let host = host.clone();
        let task = tokio::spawn(async move {
            let served = serve(&host, contract, &outbox, number, &label, asked).await;
            if let Err(mut reason) = served {
                tracing::warn!(%contract, service = label.service, reason, "no key of a label");
                while reason.len() > MAX_REASON_BYTES {
                    reason.pop();
                }
                let wish = number;
                // A closed channel means that nobody waits for it any more.
                let _ = outbox.send(&HostMessage::KeyRefused { wish, reason });
            }
        });
        self.0 = Some(Wish {
            number,
            ask: Some(ask),
            task: task.abort_handle(),
        });
    }

    /// Passes on what the enclave asks for.
    pub(crate) fn ask(&mut self, number: u32, ask: Ask) {
        let wish = self.0.as_mut().filter(|wish| wish.number == number);
        if let Some(sender) = wish.and_then(|wish| wish.ask.take()) {
            let _ = sender.send(ask);
        }
    }

    /// The enclave has what it wished for.
    pub(crate) fn end(&mut self, number: u32) {
        self.0.take_if(|wish| wish.number == number);
    }
}

/// How the label and its keykeepers stand at one height.
struct Standing {
    committee: KeyCommittee,
    epoch: u64,
    height: Height,
    block: Digest,
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

async fn standing(host: &Host, label: &LabelName) -> Result<Standing, String> {
    let keys = vec![state_key::key_committee(), state_key::label(label)];
    let proven = host.client.proven_many(keys).await.map_err(words)?;
    let [committee, granted] = proven.as_slice() else {
        return Err("the circle's nodes answer with less than was asked".to_owned());
    };
    let record = |error| words(ClientError::Record(error));
    let committee_record: Option<KeyCommittee> = decode(committee).map_err(record)?;
    let granted_record: Option<Label> = decode(granted).map_err(record)?;
    Ok(Standing {
        committee: committee_record.ok_or("the circle has no keykeepers in office")?,
        epoch: granted_record.ok_or("there is no such label")?.epoch,
        height: committee.height(),
        block: committee.header_digest(),
    })
}

/// Serves one wish until the enclave has its key, which ends this task.
///
/// Errors: in words, for the user.
async fn serve(
    host: &Host,
    contract: ContractId,
    outbox: &Outbox,
    wish: u32,
    label: &LabelName,
    asked: oneshot::Receiver<Ask>,
) -> Result<(), String> {
    let standing = standing(host, label).await?;
    let state = HostMessage::LabelState {
        wish,
        epoch: standing.epoch,
        block: standing.block,
        sharing: standing.committee.sharing.clone(),
    };
    outbox.send(&state).map_err(words)?;
    let Ok(ask) = asked.await else {
        return Ok(());
    };
    let maker = host.evidence.as_ref();
    let maker = maker.ok_or("this host is given no means of evidence")?;
    let request = RequestKey {
        label: label.clone(),
        epoch: ask.epoch,
        one_time_key: ask.one_time_key,
        contract: Some(contract),
        height: standing.height,
        block: standing.block,
        evidence: maker.make(ask.report_data, ask.report).await?,
    };
    let sent = host.account.send(vec![Action::RequestKey(request)]).await;
    let sent = sent.map_err(|error| match error.reject() {
        Some(reject) => format!("the circle refused: {reject}"),
        None => words(error),
    })?;
    let id = KeyRequestId::made_by(sent.transaction, 0);
    relay(host, outbox, wish, id, &standing.committee).await
}

/// Passes on answers as they come, while the request stands.
async fn relay(
    host: &Host,
    outbox: &Outbox,
    wish: u32,
    request: KeyRequestId,
    committee: &KeyCommittee,
) -> Result<(), String> {
    let mut waiting = committee.keepers.clone();
    let total = waiting.len();
    loop {
        // The request first: while it stands, answers may still come.
        let mut keys = vec![state_key::key_request(request)];
        let page = client::MAX_PROVEN_KEYS - 1;
        let answer = |keeper: &PublicKey| state_key::key_answer(request, keeper);
        keys.extend(waiting.iter().take(page).map(answer));
        let proven = host.client.proven_many(keys).await.map_err(words)?;
        let record = |error| words(ClientError::Record(error));
        let mut answered = Vec::new();
        for (keeper, proven) in waiting.iter().zip(proven.iter().skip(1)) {
            let (Some(answer), PublicKey::Ed25519(key)) =
                (decode::<KeyAnswer>(proven).map_err(record)?, keeper)
            else {
                continue;
            };
            answered.push(*keeper);
            let answer = HostMessage::KeyAnswer {
                wish,
                request,
                keeper: *key,
                sealed: answer.sealed,
            };
            outbox.send(&answer).map_err(words)?;
        }
        waiting.retain(|keeper| !answered.contains(keeper));
        let open = match proven.first() {
            Some(proven) => decode::<KeyRequest>(proven).map_err(record)?,
            None => None,
        };
        if open.is_none() {
            return Err(format!(
                "{} of {total} keykeepers answered in time; it takes {} good answers",
                total - waiting.len(),
                committee.quorum
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
