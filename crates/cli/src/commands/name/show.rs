//! `ringfort name show` and `list`.

use anyhow::Context as _;
use domain::base::Rtype;
use naming::presentation::zone_form;
use serde::Serialize;
use wire::{Amount, DomainName, Height, Parameters, PublicKey, record, state_key};

use crate::{failure::Status, session::Session, terminal::table, typed_name, user};

/// Names that are listed at most.
const MAX_LISTED: usize = 10_000;

/// What `show` prints: the record, and what follows from it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    record: record::Name,
    /// The height until which rent is paid; none for ever.
    paid_until: Option<Height>,
    /// The name in its own script, where that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    shown: Option<String>,
    /// A recovery that the members vote on or have decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery: Option<record::Recovery>,
}

/// Shows a registered name.
pub fn show(session: &Session, name: &DomainName) -> anyhow::Result<Status> {
    let client = user::client(session)?;
    let (record, recovery, parameters) = crate::commands::runtime()?
        .block_on(async {
            let what = || format!("name {name}");
            let record: record::Name = client.require(state_key::name(name), what).await?;
            let (recovery, _) = client
                .proven::<record::Recovery>(state_key::recovery(name))
                .await?;
            let parameters = client.rules().await?.parameters.clone();
            Ok::<_, client::ClientError>((record, recovery, parameters))
        })
        .context("read the name")?;
    let shown = Shown {
        paid_until: record.paid_until(&parameters),
        shown: typed_name::shown(name),
        recovery,
        record,
    };
    session.print(&shown, |shown| {
        let mut text = describe(&shown.record, Some(&parameters));
        if let Some(recovery) = &shown.recovery {
            let state = match &recovery.decided {
                Some(to) => format!("decided for {to}, takes effect"),
                None => format!("{} votes, void", recovery.votes.len()),
            };
            text.push_str(&format!("recovery    {state} at height {}\n", recovery.due));
        }
        text
    })?;
    Ok(Status::Done)
}

/// A name's record in words; `parameters` are the circle's, if they are known.
pub fn describe(record: &record::Name, parameters: Option<&Parameters>) -> String {
    let mut text = format!("name        {}", record.name);
    if let Some(shown) = typed_name::shown(&record.name) {
        text.push_str(&format!(" ({shown})"));
    }
    text.push_str(&format!(
        "\nowner       {}\ndeposit     {}\nstatus      {}\n",
        record.owner,
        record.deposit,
        status(record, parameters)
    ));
    if let Some(sale) = &record.sale {
        let buyer = sale.buyer.map(|buyer| format!(" to {buyer}"));
        text.push_str(&format!(
            "for sale    at {}{} until height {}\n",
            sale.price,
            buyer.unwrap_or_default(),
            sale.expires_at
        ));
    }
    for endpoint in &record.endpoints {
        let addresses: Vec<_> = endpoint
            .endpoint
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect();
        text.push_str(&format!(
            "replica     {} port {} (contract {})\n",
            addresses.join(" "),
            endpoint.endpoint.port,
            endpoint.contract.short()
        ));
    }
    for server in &record.keys {
        let owner = server.owner.as_ref().map_or("@", |owner| owner.as_str());
        text.push_str(&format!("server key  {owner} {}\n", server.key));
        if let Some(certificate) = server.certificate {
            text.push_str(&format!("            certificate SHA-256 {certificate}\n"));
        }
    }
    for set in &record.records {
        let owner = set.owner.as_ref().map_or("@", |owner| owner.as_str());
        let rtype = Rtype::from_int(set.rtype);
        for data in &set.data {
            let data = zone_form(rtype, data);
            text.push_str(&format!("record      {owner} {} {rtype} {data}\n", set.ttl));
        }
    }
    text
}

fn status(record: &record::Name, parameters: Option<&Parameters>) -> String {
    match record.status {
        record::NameStatus::Suspended { since } => format!(
            "suspended since height {since}, released at height {}",
            record.rent_due
        ),
        record::NameStatus::Active => match parameters.map(|known| record.paid_until(known)) {
            None => format!("active, rent is drawn at height {}", record.rent_due),
            Some(None) => "active, without end".to_owned(),
            Some(Some(until)) => format!("active, paid until height {until}"),
        },
    }
}

#[derive(Serialize)]
struct Row {
    name: DomainName,
    owner: PublicKey,
    deposit: Amount,
    paid_until: Option<Height>,
    replicas: usize,
}

/// Lists registered names, each proven.
pub fn list(session: &Session) -> anyhow::Result<Status> {
    let client = user::client(session)?;
    let rows = crate::commands::runtime()?.block_on(async {
        let keys = client.list_keys(state_key::NAMES, MAX_LISTED).await?;
        let rules = client.rules().await?;
        let parameters = &rules.parameters;
        let mut rows = Vec::new();
        for keys in keys.chunks(client::MAX_PROVEN_KEYS) {
            for proven in client.proven_many(keys.to_vec()).await? {
                if let Some(name) = client::decode::<record::Name>(&proven)? {
                    rows.push(Row {
                        paid_until: name.paid_until(parameters),
                        name: name.name,
                        owner: name.owner,
                        deposit: name.deposit,
                        replicas: name.endpoints.len(),
                    });
                }
            }
        }
        anyhow::Ok(rows)
    })?;
    session.print(&rows, |rows| {
        let cells: Vec<Vec<String>> = rows
            .iter()
            .map(|row| {
                vec![
                    row.name.to_string(),
                    row.owner.to_string(),
                    row.deposit.to_string(),
                    row.paid_until
                        .map_or_else(|| "–".to_owned(), |until| until.to_string()),
                    row.replicas.to_string(),
                ]
            })
            .collect();
        table(
            &["NAME", "OWNER", "DEPOSIT", "PAID UNTIL HEIGHT", "REPLICAS"],
            &cells,
        )
    })?;
    Ok(Status::Done)
}
