//! How is the node, and why?

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use serde::Serialize;
use utoipa::ToSchema;
use wire::{
    CircleId, CircleKind, Height, PublicKey,
    record::{Epoch, ResharingOutcome},
};

use super::{Api, error::ApiError};
use crate::{attesting, chain, store::Snapshot};

/// Blocks by which a node may lag behind its circle and still be healthy: at
/// the least time between blocks, two seconds.
const MAX_LAG_BLOCKS: u64 = 50;

/// The age of the last block at which something is wrong: many times the
/// longest time between two blocks of a circle that is well.
const MAX_BLOCK_AGE_MS: u64 = 10_000;

/// How a node is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    /// The circle's id.
    #[schema(value_type = String)]
    circle: CircleId,
    /// The circle's name.
    name: String,
    /// `development` or `production`.
    #[schema(value_type = String)]
    kind: CircleKind,
    /// The last block that is stored here.
    #[schema(value_type = u64)]
    height: Height,
    /// The last block that is known to be final.
    #[schema(value_type = u64)]
    tip_height: Height,
    /// The time of the last stored block, Unix milliseconds.
    time_ms: u64,
    /// Final blocks that are not stored here yet.
    lag_blocks: u64,
    /// The engine's view.
    view: u64,
    /// The engine's epoch.
    epoch: u64,
    /// How many validators are in office.
    validators: usize,
    /// Whether this node votes: it is in office and has its share.
    in_office: bool,
    /// The resharing under way, if there is one.
    resharing: Option<ResharingStatus>,
    /// How the last resharing ended: `adopted`, `too_few_dealings`,
    /// `shares_revealed`.
    #[schema(value_type = Option<String>)]
    last_resharing: Option<ResharingOutcome>,
    /// Validators that did not answer a resharing and are left out for a while.
    #[schema(value_type = Vec<String>)]
    resting: Vec<PublicKey>,
    /// Other validators that were heard from within the last seconds.
    #[schema(value_type = Vec<String>)]
    connected: Vec<PublicKey>,
    /// The evidence of this validator's code, where members ask for it.
    evidence: Option<EvidenceStatus>,
    /// What an operator should see to, though the node answers.
    alarms: Vec<String>,
    /// Transactions that wait for a block.
    mempool: usize,
    /// The node's version.
    version: &'static str,
    /// Whether the node answers for the present and the circle goes on.
    healthy: bool,
    /// Everything that is wrong.
    why: Vec<String>,
}

/// The evidence that a validator must show.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EvidenceStatus {
    /// The last height at which what it has shown counts, or at which nobody is left out.
    #[schema(value_type = u64)]
    counts_until: Height,
    /// Whether it should be shown now.
    due: bool,
    /// How often this node has shown it since its start.
    shown: u64,
    /// How often it could not, since then.
    failures: u64,
    /// Why not, until it is shown again.
    last_failure: Option<String>,
}

/// A resharing under way.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResharingStatus {
    /// Its number.
    round: u64,
    /// How many validators are to hold shares.
    target: usize,
    /// How many dealings are on the ledger.
    dealt: usize,
    /// Whether this node deals or is dealt to.
    takes_part: bool,
}

/// A resharing's end as a figure: 0 before the first.
fn outcome_figure(outcome: Option<ResharingOutcome>) -> u64 {
    match outcome {
        None => 0,
        Some(ResharingOutcome::Adopted) => 1,
        Some(ResharingOutcome::TooFewDealings) => 2,
        Some(ResharingOutcome::SharesRevealed) => 3,
    }
}

impl Api {
    pub(super) fn status(&self) -> Status {
        let snapshot = self.tip.snapshot();
        let engine = self.engine.status();
        let header = snapshot.header();
        let office = chain::epoch(&*snapshot);
        let tip_height = engine.tip_height.max(engine.peer_height).max(header.height);
        let lag_blocks = tip_height.since(header.height);
        let now_ms = now_ms();
        let mut why = Vec::new();
        if !self.engine.is_running() {
            why.push("the engine has stopped".to_owned());
        }
        let connected = engine.connected.len();
        let quorum = engine.validators - engine.validators.saturating_sub(1) / 3;
        if connected + 1 < quorum {
            why.push(format!(
                "{connected} other validators are connected; {} are needed",
                quorum - 1
            ));
        }
        if engine.share_missing {
            why.push("the node is in office and has no share: it cannot vote".to_owned());
        }
        if lag_blocks > MAX_LAG_BLOCKS {
            why.push(format!("the node is {lag_blocks} blocks behind"));
        }
        let age_ms = now_ms.saturating_sub(header.time_ms);
        if age_ms > MAX_BLOCK_AGE_MS {
            why.push(format!("the last block is {} s old", age_ms / 1000));
        }
        let evidence = self.evidence(&snapshot);
        Status {
            alarms: alarms(evidence.as_ref(), header.height, &office),
            evidence,
            circle: self.circle,
            name: self.genesis.name.clone(),
            kind: self.genesis.kind,
            height: header.height,
            tip_height,
            time_ms: header.time_ms,
            lag_blocks,
            view: engine.view,
            epoch: engine.epoch,
            validators: engine.validators,
            in_office: engine.in_office,
            resharing: engine.handover.map(|handover| ResharingStatus {
                round: handover.round,
                target: handover.target,
                dealt: handover.dealt,
                takes_part: handover.takes_part,
            }),
            last_resharing: office.last_outcome,
            resting: office.resting.iter().map(|(key, _)| *key).collect(),
            connected: engine
                .connected
                .into_iter()
                .map(PublicKey::Ed25519)
                .collect(),
            mempool: self.mempool.len(),
            version: env!("CARGO_PKG_VERSION"),
            healthy: why.is_empty(),
            why,
        }
    }
}

impl Api {
    /// None of a node that is no validator's, or in a circle that asks for none.
    fn evidence(&self, snapshot: &Snapshot) -> Option<EvidenceStatus> {
        let standing = attesting::standing(snapshot, self.attesting.seat())?;
        let shown = self.attesting.shown();
        Some(EvidenceStatus {
            counts_until: standing.until?,
            due: standing.due,
            shown: shown.times,
            failures: shown.failures,
            last_failure: shown.last_failure,
        })
    }
}

/// What an operator should see to before it does harm.
fn alarms(evidence: Option<&EvidenceStatus>, height: Height, office: &Epoch) -> Vec<String> {
    let mut alarms = Vec::new();
    if let Some(evidence) = evidence {
        let until = evidence.counts_until;
        if height >= until {
            alarms.push(format!(
                "this validator's evidence counted until block {until}: it is left out of the next committee"
            ));
        }
        if let Some(failure) = &evidence.last_failure {
            alarms.push(format!(
                "cannot show evidence, which counts until block {until}: {failure}"
            ));
        }
    }
    if office.last_outcome == Some(ResharingOutcome::SharesRevealed) {
        alarms.push(format!(
            "the last resharing would have made shares public and was not adopted; {} validators rest",
            office.resting.len()
        ));
    }
    alarms
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // A clock before 1970 makes every block look new; the engine refuses to
    // follow such a clock anyway.
    now.map_or(0, |now| now.as_millis() as u64)
}

/// How the node is.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = Status)))]
pub(crate) async fn status(State(api): State<Api>) -> Json<Status> {
    Json(api.status())
}

/// Whether the node should get requests: 200 or 503, with its status.
#[utoipa::path(get, path = "/readyz", responses(
    (status = 200, body = Status), (status = 503, body = Status)))]
pub(crate) async fn ready(State(api): State<Api>) -> impl IntoResponse {
    let status = api.status();
    let code = if status.healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, Json(status))
}

/// What a node says of itself that waits for its operator: `healthy` and `why`
/// as in a status, and an error for those who read that.
pub(super) fn waiting(why: String) -> axum::response::Response {
    let error = ApiError::waiting(&why);
    let body = serde_json::json!({ "healthy": false, "why": [why], "error": error.error });
    let mut response = error.into_response();
    *response.body_mut() = body.to_string().into();
    response
        .headers_mut()
        .remove(axum::http::header::CONTENT_LENGTH);
    response
}

/// Whether the process is well enough not to be started again.
#[utoipa::path(get, path = "/healthz", responses((status = 200), (status = 503, body = ApiError)))]
pub(crate) async fn alive(State(api): State<Api>) -> Result<&'static str, ApiError> {
    if api.engine.is_running() {
        Ok("ok\n")
    } else {
        Err(ApiError::busy("ends"))
    }
}

/// Figures for Prometheus, in its text form.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String),
    (status = 401, description = "for operators only", body = ApiError)))]
pub(crate) async fn metrics(State(api): State<Api>) -> String {
    let status = api.status();
    let figures = [
        ("height", status.height.0),
        ("tip_height", status.tip_height.0),
        ("block_time_ms", status.time_ms),
        ("view", status.view),
        ("epoch", status.epoch),
        ("validators", status.validators as u64),
        ("in_office", u64::from(status.in_office)),
        (
            "resharing_round",
            status.resharing.as_ref().map_or(0, |round| round.round),
        ),
        ("last_resharing", outcome_figure(status.last_resharing)),
        ("resting_validators", status.resting.len() as u64),
        ("connected", status.connected.len() as u64),
        ("alarms", status.alarms.len() as u64),
        ("mempool_transactions", status.mempool as u64),
        ("healthy", u64::from(status.healthy)),
    ];
    let evidence = status.evidence.map(|evidence| {
        let left = evidence.counts_until.since(status.height);
        [
            ("evidence_blocks_left", left),
            ("evidence_due", u64::from(evidence.due)),
            (
                "evidence_failing",
                u64::from(evidence.last_failure.is_some()),
            ),
            ("evidence_failures", evidence.failures),
        ]
    });
    figures
        .iter()
        .chain(evidence.iter().flatten())
        .map(|(name, value)| format!("# TYPE ringfort_{name} gauge\nringfort_{name} {value}\n"))
        .collect()
}

/// Figures of the engine's parts and its network, in the same form.
#[utoipa::path(get, path = "/v1/engine/metrics", responses((status = 200, body = String),
    (status = 401, description = "for operators only", body = ApiError)))]
pub(crate) async fn engine_metrics(State(api): State<Api>) -> String {
    api.engine.metrics()
}
