//! `ringfort ps`: what runs, for whom it is paid, and how it is reached.

use anyhow::Context as _;
use client::{User, run::RequestView};
use serde::Serialize;
use wire::{
    Amount, ContractId, DomainName, RequestId,
    record::{ContractStatus, RequestStatus},
};

use super::run::Reach;
use crate::{
    failure::Status,
    session::Session,
    terminal::table,
    user::{self, OwnRequest},
};

/// Arguments of `ringfort ps`.
#[derive(clap::Args)]
pub struct Ps {
    /// Also what has ended.
    #[arg(short, long)]
    all: bool,
    /// Only what is reached at this name.
    #[arg(long)]
    name: Option<DomainName>,
}

/// One request, as it is listed.
#[derive(Serialize)]
struct Row {
    request: RequestId,
    label: Option<String>,
    name: Option<DomainName>,
    /// `starting`, `running`, `degraded`, `stopped` or `ended`.
    status: &'static str,
    /// Why it ended.
    reason: Option<wire::EndReason>,
    running: usize,
    replicas: usize,
    escrow: Amount,
    paid: Amount,
    replacements: u16,
    contracts: Vec<ContractRow>,
    curl: Option<String>,
}

#[derive(Serialize)]
struct ContractRow {
    contract: ContractId,
    replica: u16,
    provider: wire::AccountId,
    status: ContractStatus,
    served: u64,
    paid: Amount,
}

/// Lists the user's requests.
pub fn execute(session: &Session, ps: &Ps) -> anyhow::Result<Status> {
    let user = user::user(session)?;
    let rows = super::runtime()?.block_on(rows(session, &user, ps))?;
    session.print(&rows, |rows| human(rows))?;
    Ok(Status::Done)
}

async fn rows(session: &Session, user: &User, ps: &Ps) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for request in user::requests(user).await? {
        let named = ps.name.is_none() || request.record.terms.name == ps.name;
        if named && (ps.all || request.is_open()) {
            let view = user.view(request.id).await.context("read a request")?;
            rows.push(row(session, user, &request, &view).await?);
        }
    }
    Ok(rows)
}

async fn row(
    session: &Session,
    user: &User,
    request: &OwnRequest,
    view: &RequestView,
) -> anyhow::Result<Row> {
    let record = &view.request;
    let running = view
        .live()
        .filter(|replica| replica.contract.status == ContractStatus::Running)
        .count();
    let (status, reason) = match record.status {
        RequestStatus::Closed(reason) => ("ended", Some(reason)),
        RequestStatus::Stopped => ("stopped", None),
        RequestStatus::Started if running == record.replicas.len() => ("running", None),
        RequestStatus::Started if running == 0 => ("starting", None),
        RequestStatus::Started => ("degraded", None),
    };
    let curl = if running > 0 {
        Reach::find(session, user, request.id).await?.curl
    } else {
        None
    };
    let contract = |replica: &client::run::ReplicaView| ContractRow {
        contract: replica.id,
        replica: replica.contract.replica,
        provider: replica.contract.provider,
        status: replica.contract.status,
        served: replica.contract.served,
        paid: replica.contract.paid,
    };
    Ok(Row {
        request: request.id,
        label: request.label.clone(),
        name: record.terms.name.clone(),
        status,
        reason,
        running,
        replicas: record.replicas.len(),
        escrow: record.escrow,
        paid: record.paid,
        replacements: record.replacements,
        contracts: view.replicas.iter().map(contract).collect(),
        curl,
    })
}

fn human(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "nothing runs; `ringfort ps --all` also lists what has ended\n".into();
    }
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let status = match row.reason {
                Some(reason) => format!("ended, {}", reason.describe()),
                None => row.status.to_owned(),
            };
            vec![
                row.request.short(),
                or_dash(row.label.clone()),
                or_dash(row.name.as_ref().map(ToString::to_string)),
                format!("{}/{}", row.running, row.replicas),
                row.paid.to_string(),
                row.escrow.to_string(),
                status,
            ]
        })
        .collect();
    table(
        &[
            "REQUEST", "LABEL", "NAME", "RUNNING", "PAID", "ESCROW", "STATUS",
        ],
        &cells,
    )
}
