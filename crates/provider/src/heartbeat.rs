//! Signs of life: every running enclave signs a recent block, and the provider
//! posts the signatures together, several times within the circle's limit.

use std::{sync::Arc, time::Duration};

use client::account::AccountError;
use tokio::{sync::mpsc, time::Instant};
use wire::{Action, Beat, Heartbeat, Height, Reject, channel::HostMessage, limits::MAX_HEARTBEATS};

use crate::host::{Host, Phase};

/// Heartbeats within the circle's limit: four may be lost before a contract
/// counts as silent.
const BEATS_PER_LIMIT: u64 = 5;

/// How long a round waits for its slowest enclave; a beat that is later goes
/// with the next round.
const ROUND: Duration = Duration::from_millis(250);

/// Blocks between two rounds.
pub(crate) fn interval(heartbeat_limit: u64) -> u64 {
    (heartbeat_limit / BEATS_PER_LIMIT).max(1)
}

/// Collects beats for as long as the provider runs. `rounds` calls for one.
pub(crate) async fn collect(
    host: Arc<Host>,
    mut rounds: mpsc::Receiver<Height>,
    mut beats: mpsc::UnboundedReceiver<Beat>,
) {
    while let Some(height) = rounds.recv().await {
        let asked = match ask(&host, height).await {
            Ok(asked) => asked,
            Err(error) => {
                host.note("heartbeat", Some(error.to_string()));
                continue;
            }
        };
        if asked == 0 {
            while beats.try_recv().is_ok() {}
            continue;
        }
        let gathered = gather(&mut beats, asked).await;
        for batch in gathered.chunks(MAX_HEARTBEATS) {
            let heartbeat = Heartbeat {
                beats: batch.to_vec(),
            };
            let sent = host.account.send(vec![Action::Heartbeat(heartbeat)]).await;
            let trouble = sent.err().filter(|error| !is_in_passing(error));
            host.note("heartbeat", trouble.map(|error| error.to_string()));
        }
    }
}

/// Whether a refusal only says that a contract began, ended or was paid in the
/// blocks between the beat and its transaction.
fn is_in_passing(error: &AccountError) -> bool {
    matches!(
        error.reject(),
        Some(Reject::HeartbeatStale | Reject::NotRunning | Reject::ContractEnded)
    )
}

/// Has every running enclave sign the newest proven block; how many were asked.
async fn ask(host: &Host, height: Height) -> Result<usize, client::ClientError> {
    let running: Vec<_> = host
        .all_contracts()
        .into_iter()
        .filter(|state| state.phase() == Phase::Running)
        .filter_map(|state| state.outbox())
        .collect();
    if running.is_empty() {
        return Ok(0);
    }
    // The digest is taken from a proof: a node that lies about blocks could
    // otherwise make every enclave here look silent.
    let key = wire::state_key::account(host.account.id());
    let proven = host.client.proven_many_since(vec![key], height).await?;
    let Some(proven) = proven.first() else {
        return Ok(0);
    };
    let tick = HostMessage::Tick {
        height: proven.height(),
        block: proven.header_digest(),
    };
    Ok(running
        .iter()
        .filter(|outbox| outbox.send(&tick).is_ok())
        .count())
}

/// Beats until `asked` have come or the round is over; the newest of each contract.
async fn gather(beats: &mut mpsc::UnboundedReceiver<Beat>, asked: usize) -> Vec<Beat> {
    let deadline = Instant::now() + ROUND;
    let mut gathered: Vec<Beat> = Vec::with_capacity(asked);
    while gathered.len() < asked {
        let Ok(Some(beat)) = tokio::time::timeout_at(deadline, beats.recv()).await else {
            break;
        };
        match gathered.iter_mut().find(|b| b.contract == beat.contract) {
            Some(older) if older.height < beat.height => *older = beat,
            Some(_) => {}
            None => gathered.push(beat),
        }
    }
    gathered
}

#[cfg(test)]
mod tests {
    use wire::{ContractId, Digest, Signature};

    use super::*;

    fn beat(contract: u8, height: u64) -> Beat {
        Beat {
            contract: ContractId([contract; 32]),
            height: Height(height),
            block: Digest::default(),
            signature: Signature([0; 64]),
        }
    }

    #[test]
    fn rounds_come_five_times_within_the_limit() {
        assert_eq!(interval(40), 8);
        assert_eq!(interval(3), 1);
    }

    #[tokio::test]
    async fn a_round_keeps_the_newest_beat_of_each_contract_and_ends_in_time() {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        for beat in [beat(1, 5), beat(1, 7), beat(2, 7), beat(1, 6)] {
            sender.send(beat).unwrap();
        }
        let started = Instant::now();
        // The third enclave never answers.
        let gathered = gather(&mut receiver, 3).await;
        assert_eq!(gathered, [beat(1, 7), beat(2, 7)]);
        assert!(started.elapsed() >= ROUND);
    }
}
