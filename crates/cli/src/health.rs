//! How is each part of a circle, really?
//!
//! Every part is asked itself, over the interface it serves others by; what
//! the supervisor says of its process comes on top. A part that cannot be
//! asked is not well, whatever its process looks like.

mod probe;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use wire::{CircleId, Height};

use crate::{
    parts::{self, Kind, Part},
    ports::Ports,
    state_directory::{CircleFile, StateDirectory},
    supervisor::{
        PartReport, PartState,
        control::{self, Request},
    },
};

/// A node this many blocks behind the highest is not well: a second or more at
/// the pace of a busy circle.
const LAG_TOLERATED: u64 = 20;

/// How long a read of the ledger may take.
const LEDGER_WITHIN: Duration = Duration::from_secs(2);

/// How the circle is.
#[derive(Debug, Serialize)]
pub struct Health {
    /// The circle's name.
    pub name: String,
    /// The circle's id.
    pub circle: CircleId,
    /// The height that the foremost node has applied; none if no node answers.
    pub height: Option<Height>,
    /// The supervisor's pid; none if none runs.
    pub supervisor: Option<u32>,
    /// Every part, in the order in which they are started.
    pub parts: Vec<PartHealth>,
}

/// How one part is.
#[derive(Debug, Default, Serialize)]
pub struct PartHealth {
    /// The part's name.
    pub name: String,
    /// Whether it does what it is there for.
    pub well: bool,
    /// Why it is not well; empty if it is.
    pub why: Vec<String>,
    /// What an operator should see to, though it is well.
    pub alarms: Vec<String>,
    /// Its pid.
    pub pid: Option<u32>,
    /// How long it has run.
    #[serde(serialize_with = "seconds")]
    pub uptime: Option<Duration>,
    /// How often it died under this supervisor.
    pub restarts: u32,
    /// The height it has reached.
    pub height: Option<Height>,
    /// How many blocks that is behind the foremost node.
    pub lag_blocks: Option<u64>,
    /// Peers it hears.
    pub peers: Option<usize>,
    /// Contracts it serves.
    pub contracts: Option<usize>,
    /// Its log.
    pub log: std::path::PathBuf,
}

fn seconds<S: serde::Serializer>(
    uptime: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    uptime.map(|uptime| uptime.as_secs()).serialize(serializer)
}

impl Health {
    /// Whether every part is well.
    pub fn is_well(&self) -> bool {
        !self.parts.is_empty() && self.parts.iter().all(|part| part.well)
    }

    /// What is still waited for, in one line.
    pub fn waiting_for(&self) -> String {
        let mut well = Vec::new();
        let mut waiting = Vec::new();
        for part in &self.parts {
            if part.well {
                well.push(part.name.as_str());
            } else {
                let why = part.why.first().map_or("not well", String::as_str);
                waiting.push(format!("{} ({why})", part.name));
            }
        }
        format!(
            "{} of {} parts are well; waiting for {}",
            well.len(),
            self.parts.len(),
            waiting.join(", ")
        )
    }
}

/// Looks at every part of the circle at once.
///
/// Errors: the supervisor answers with what this build does not understand.
pub async fn look(state: &StateDirectory, file: &CircleFile) -> anyhow::Result<Health> {
    let answer = control::ask(state, Request::Status)?;
    let supervisor = answer.as_ref().map(|answer| answer.pid);
    let reports: BTreeMap<String, PartReport> = answer
        .into_iter()
        .flat_map(|answer| answer.parts)
        .map(|report| (report.name.clone(), report))
        .collect();
    let mut health = Health {
        name: file.name.clone(),
        circle: file.circle,
        height: None,
        supervisor,
        parts: Vec::new(),
    };
    let Some(embedded) = &file.embedded else {
        return remote(health, file).await;
    };
    let Some(ports) = Ports::above(embedded.base_port) else {
        anyhow::bail!(
            "circle.toml gives a base port that leaves no room: {}",
            embedded.base_port
        );
    };
    let asker = probe::Asker::new()?;
    let parts = parts::of(state, embedded, ports);
    let apis: Vec<SocketAddr> = (0..embedded.validators)
        .map(|index| ports.api(index))
        .collect();
    let statuses = asker.node_statuses(&apis).await;
    health.height = probe::foremost(&statuses);
    let first_key = match embedded.keykeepers {
        0 => Ok(()),
        _ => first_key(file).await,
    };
    for part in parts {
        let mut found = match reports.get(&part.name) {
            Some(report) => of_process(report),
            None => stopped(&part, state, supervisor.is_some()),
        };
        match part.kind {
            Kind::Node(index) => {
                let status = &statuses[usize::from(index)];
                of_node(
                    &mut found,
                    status,
                    health.height,
                    file.circle,
                    embedded.validators,
                );
            }
            Kind::Provider(index) => {
                of_provider(
                    &mut found,
                    asker.provider_status(ports.control(index)).await,
                );
            }
            Kind::Names => {
                of_names(&mut found, asker.names_status(ports.names_http()).await);
                note(&mut found, asker.zone(file.names, file.apex.as_str()).await);
            }
            Kind::CertificateAuthority => {
                note(
                    &mut found,
                    asker.authority(ports.certificate_authority()).await,
                );
            }
            Kind::Keykeeper(_) => note(&mut found, first_key.clone()),
            // A signer that fails shows in the name node, which ages.
            Kind::Signer | Kind::Agent => {}
        }
        found.well = found.why.is_empty();
        health.parts.push(found);
    }
    Ok(health)
}

/// Whether the keykeepers have made the circle's master key, as the ledger proves.
async fn first_key(file: &CircleFile) -> Result<(), String> {
    let nodes = file.nodes.iter().map(|url| client::Url::parse(url));
    let nodes: Vec<_> = nodes
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    let client = client::Client::new(nodes, file.circle_key, file.circle)
        .map_err(|error| error.to_string())?;
    let read = client.proven::<wire::record::KeyCommittee>(wire::state_key::key_committee());
    match tokio::time::timeout(LEDGER_WITHIN, read).await {
        Ok(Ok((Some(_), _))) => Ok(()),
        Ok(Ok((None, _))) => Err("makes the first key with the others".to_owned()),
        Ok(Err(error)) => Err(format!("the ledger cannot be read: {error}")),
        Err(_) => Err("the ledger does not answer".to_owned()),
    }
}

/// A circle that runs elsewhere: its nodes are all that can be asked.
async fn remote(mut health: Health, file: &CircleFile) -> anyhow::Result<Health> {
    let asker = probe::Asker::new()?;
    let mut statuses = Vec::new();
    for url in &file.nodes {
        statuses.push(asker.node_status(url).await);
    }
    health.height = probe::foremost(&statuses);
    for (url, status) in file.nodes.iter().zip(&statuses) {
        let mut found = PartHealth {
            name: url.clone(),
            ..PartHealth::default()
        };
        let validators = status.as_ref().map_or(0, |status| status.validators);
        of_node(&mut found, status, health.height, file.circle, validators);
        found.well = found.why.is_empty();
        health.parts.push(found);
    }
    Ok(health)
}

fn of_process(report: &PartReport) -> PartHealth {
    let mut found = PartHealth {
        name: report.name.clone(),
        restarts: report.restarts,
        log: report.log.clone(),
        ..PartHealth::default()
    };
    let ended = report.last_end.as_deref().unwrap_or("no cause known");
    match report.state {
        PartState::Running { process, since_ms } if process.is_alive() => {
            let since = UNIX_EPOCH + Duration::from_millis(since_ms);
            found.pid = Some(process.pid);
            found.uptime = SystemTime::now().duration_since(since).ok();
        }
        PartState::Running { .. } => found.why.push("its process has just ended".into()),
        PartState::Waiting => found.why.push("waits for the ledger to answer".into()),
        PartState::Dead { .. } => {
            found.why.push(format!(
                "its process died ({ended}) and will be started again"
            ));
        }
        PartState::Stopped => found.why.push("was stopped".into()),
    }
    found
}

fn stopped(part: &Part, state: &StateDirectory, supervised: bool) -> PartHealth {
    let why = if supervised {
        "the supervisor does not know it: it was started by another version"
    } else {
        "does not run"
    };
    PartHealth {
        name: part.name.clone(),
        why: vec![why.to_owned()],
        log: state.log(&part.name),
        ..PartHealth::default()
    }
}

/// Adds a reason, unless the process itself is the reason already.
fn note(found: &mut PartHealth, asked: Result<(), String>) {
    if let (Err(why), true) = (asked, found.why.is_empty()) {
        found.why.push(why);
    }
}

fn of_node(
    found: &mut PartHealth,
    status: &Result<probe::NodeStatus, String>,
    foremost: Option<Height>,
    circle: CircleId,
    validators: u16,
) {
    let status = match status {
        Ok(status) => status,
        Err(why) => return note(found, Err(why.clone())),
    };
    let lag = foremost
        .map_or(0, |foremost| foremost.since(status.height))
        .max(status.lag_blocks);
    found.height = Some(status.height);
    found.lag_blocks = Some(lag);
    found.peers = Some(status.connected.len());
    if status.circle != circle {
        found
            .why
            .push(format!("it serves another circle, {}", status.circle));
    }
    if status.height == Height(0) {
        found.why.push("no block yet".into());
    }
    if lag > LAG_TOLERATED {
        found.why.push(format!("{lag} blocks behind"));
    }
    // Every other validator; a circle of one hears nobody.
    let others = usize::from(validators.saturating_sub(1));
    if status.connected.len() < others {
        found.why.push(format!(
            "hears {} of {others} other validators",
            status.connected.len()
        ));
    }
    found.alarms.clone_from(&status.alarms);
    for why in &status.why {
        if !found.why.contains(why) {
            found.why.push(why.clone());
        }
    }
}

fn of_provider(found: &mut PartHealth, status: Result<probe::ProviderStatus, String>) {
    let status = match status {
        Ok(status) => status,
        Err(why) => return note(found, Err(why)),
    };
    found.height = Some(status.height);
    let live = status
        .contracts
        .iter()
        .filter(|contract| contract.is_live());
    found.contracts = Some(live.count());
    if !status.offer.is_some_and(|offer| offer.open) {
        found.why.push("has no open offer on the ledger".into());
    }
    found.why.extend(status.why);
}

fn of_names(found: &mut PartHealth, status: Result<probe::NamesStatus, String>) {
    match status {
        Ok(status) => {
            found.height = status.height;
            if status.freshness != "fresh" {
                found
                    .why
                    .push(format!("its answers are {}", status.freshness));
            }
            if status.certified == Some(false) {
                found
                    .why
                    .push("has no certificate for its encrypted transports yet".into());
            }
        }
        Err(why) => note(found, Err(why)),
    }
}
