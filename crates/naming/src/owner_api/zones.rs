//! Which zones an owner has, and what is in them: proven.

use client::{Client, ClientError, account::Account, decode};
use domain::base::Rtype;
use serde_json::{Value, json};
use wire::{DomainName, Height, RecordSet, RelativeName, record, state_key};

use super::{ApiError, SERVER};
use crate::presentation::zone_form;

/// Names that are looked through for an owner's.
const MAX_NAMES: usize = 10_000;

/// A registered name of the owner's, with its records.
pub(super) struct OwnName {
    pub(super) name: DomainName,
    pub(super) records: Vec<RecordSet>,
}

/// A zone of the owner's: one registered name, or an apex with all of them.
pub(super) struct Zone {
    pub(super) origin: DomainName,
    pub(super) names: Vec<OwnName>,
    height: Height,
}

/// `text` as a zone's name, with or without its trailing dot.
pub(super) fn parse(text: &str) -> Result<DomainName, ApiError> {
    let lower = text.to_ascii_lowercase();
    let text = lower.strip_suffix('.').unwrap_or(&lower);
    text.parse()
        .map_err(|error| ApiError::Refused(format!("{text:?} is no domain name: {error}")))
}

/// The absolute form of a name beneath a registered one.
pub(super) fn absolute(owner: Option<&RelativeName>, name: &DomainName) -> String {
    match owner {
        Some(owner) => format!("{owner}.{name}."),
        None => format!("{name}."),
    }
}

/// Every registered name of the owner's, as a zone of its own.
pub(super) async fn all(account: &Account) -> Result<Vec<Zone>, ApiError> {
    let (names, height) = own_names(account, state_key::NAMES.to_vec()).await?;
    let zones = names.into_iter().map(|name| Zone {
        origin: name.name.clone(),
        names: vec![name],
        height,
    });
    Ok(zones.collect())
}

/// The zone that `text` names.
///
/// Errors: [`ApiError::NotFound`] if this owner has nothing there.
pub(super) async fn find(account: &Account, text: &str) -> Result<Zone, ApiError> {
    let origin = parse(text)?;
    let client = account.client();
    let (found, proven) = client
        .proven::<record::Name>(state_key::name(&origin))
        .await?;
    if let Some(found) = found {
        if found.owner != account.public() {
            return Err(ApiError::NotFound(format!(
                "{origin} belongs to another key"
            )));
        }
        return Ok(Zone {
            names: vec![OwnName {
                name: origin.clone(),
                records: found.records,
            }],
            origin,
            height: proven.height(),
        });
    }
    let rules = client.rules().await?;
    if !rules.apexes.contains(&origin) {
        return Err(ApiError::NotFound(format!("{origin} is not registered")));
    }
    let (mut names, height) = own_names(account, state_key::NAMES.to_vec()).await?;
    names.retain(|name| name.name.prefix_under(&origin).is_some());
    Ok(Zone {
        origin,
        names,
        height,
    })
}

/// The names that belong to the account's key. Which there are is the nodes'
/// word; what they hold is proven.
async fn own_names(account: &Account, prefix: Vec<u8>) -> Result<(Vec<OwnName>, Height), ApiError> {
    let client: &Client = account.client();
    let mut keys = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    let mut seen = 0;
    while seen < MAX_NAMES {
        let page = client
            .list(&prefix, after.as_deref(), MAX_NAMES - seen)
            .await?;
        seen += page.entries.len();
        let own = page.entries.into_iter().filter(|(_, value)| {
            record::decode::<record::Name>(value.as_slice())
                .is_ok_and(|name| name.owner == account.public())
        });
        keys.extend(own.map(|(key, _)| key));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut names = Vec::new();
    let mut height = client.recent_height().await?;
    for keys in keys.chunks(client::MAX_PROVEN_KEYS) {
        for proven in client.proven_many(keys.to_vec()).await? {
            height = height.max(proven.height());
            let found: Option<record::Name> = decode(&proven).map_err(ClientError::from)?;
            if let Some(found) = found.filter(|found| found.owner == account.public()) {
                names.push(OwnName {
                    name: found.name,
                    records: found.records,
                });
            }
        }
    }
    Ok((names, height))
}

impl Zone {
    /// As the interface shows it, with its records if wanted.
    pub(super) fn json(&self, with_records: bool) -> Value {
        let id = format!("{}.", self.origin);
        let mut zone = json!({
            "id": id,
            "name": id,
            "type": "Zone",
            "kind": "Native",
            "url": format!("/api/v1/servers/{SERVER}/zones/{id}"),
            "serial": self.height.0,
            "edited_serial": self.height.0,
            "notified_serial": 0,
            "masters": [],
            "dnssec": true,
            "account": "",
            "catalog": "",
            "last_check": 0,
        });
        if with_records {
            zone["rrsets"] = self.rrsets();
        }
        zone
    }

    fn rrsets(&self) -> Value {
        let sets = self.names.iter().flat_map(|own| {
            own.records.iter().map(|set| {
                let rtype = Rtype::from_int(set.rtype);
                let records = set
                    .data
                    .iter()
                    .map(|data| json!({ "content": zone_form(rtype, data), "disabled": false }));
                json!({
                    "name": absolute(set.owner.as_ref(), &own.name),
                    "type": rtype.to_string(),
                    "ttl": set.ttl,
                    "records": records.collect::<Vec<_>>(),
                    "comments": [],
                })
            })
        });
        sets.collect()
    }
}
