//! What a change of a zone's RRsets is on the ledger: one action for each
//! registered name, all in one transaction, so that none is half made.

use std::collections::BTreeMap;

use domain::base::Rtype;
use serde::Deserialize;
use wire::{Action, DomainName, NameSet, RecordSet, RelativeName, limits::MAX_ACTIONS};

use super::{
    ApiError,
    zones::{OwnName, Zone},
};
use crate::presentation;

/// The body of a change.
#[derive(Debug, Deserialize)]
pub(super) struct Patch {
    rrsets: Vec<Change>,
}

#[derive(Debug, Deserialize)]
struct Change {
    name: String,
    #[serde(rename = "type")]
    rtype: String,
    #[serde(default)]
    ttl: Option<u32>,
    changetype: ChangeType,
    #[serde(default)]
    records: Vec<Record>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum ChangeType {
    Replace,
    Delete,
    Extend,
    Prune,
}

#[derive(Debug, Deserialize)]
struct Record {
    content: String,
    #[serde(default)]
    disabled: bool,
}

/// The actions that make `patch` of `zone`; none if nothing changes.
///
/// Errors: [`ApiError::Refused`], naming the RRset at fault.
pub(super) fn actions(zone: &Zone, patch: &Patch) -> Result<Vec<Action>, ApiError> {
    let mut sets: BTreeMap<&DomainName, Vec<RecordSet>> = BTreeMap::new();
    for change in &patch.rrsets {
        let (name, set) = change
            .set(zone)
            .map_err(|why| ApiError::Refused(format!("{} {}: {why}", change.name, change.rtype)))?;
        let of_name = sets.entry(name).or_default();
        if of_name
            .iter()
            .any(|other| (&other.owner, other.rtype) == (&set.owner, set.rtype))
        {
            let text = format!("{} {} is changed twice", change.name, change.rtype);
            return Err(ApiError::Refused(text));
        }
        of_name.push(set);
    }
    if sets.len() > MAX_ACTIONS {
        let text = format!("at most {MAX_ACTIONS} registered names can be changed at once");
        return Err(ApiError::Refused(text));
    }
    let actions = sets.into_iter().map(|(name, records)| {
        Action::NameSet(NameSet {
            name: name.clone(),
            records,
        })
    });
    Ok(actions.collect())
}

impl Change {
    /// The registered name and its set after the change.
    fn set<'z>(&self, zone: &'z Zone) -> Result<(&'z DomainName, RecordSet), String> {
        let (own, owner) = place(zone, &self.name)?;
        let rtype: Rtype = self
            .rtype
            .to_ascii_uppercase()
            .parse()
            .map_err(|_| "it is no type of records".to_owned())?;
        if self.records.iter().any(|record| record.disabled) {
            return Err("the ledger holds no disabled records: leave them out".to_owned());
        }
        let known = own
            .records
            .iter()
            .find(|set| set.owner == owner && set.rtype == rtype.to_int());
        let contents: Vec<String> = match self.changetype {
            ChangeType::Delete => Vec::new(),
            _ => self
                .records
                .iter()
                .map(|record| record.content.clone())
                .collect(),
        };
        let ttl = self.ttl.or(known.map(|set| set.ttl));
        if ttl.is_none() && !contents.is_empty() {
            return Err("its ttl is missing".to_owned());
        }
        let mut set = presentation::record_set(owner, rtype, ttl.unwrap_or_default(), &contents)
            .map_err(|error| error.to_string())?;
        let before = || known.map(|set| set.data.clone()).unwrap_or_default();
        match self.changetype {
            ChangeType::Replace | ChangeType::Delete => {}
            ChangeType::Extend => {
                let mut all = before();
                for data in set.data {
                    if !all.contains(&data) {
                        all.push(data);
                    }
                }
                set.data = all;
            }
            ChangeType::Prune => {
                let gone = std::mem::replace(&mut set.data, before());
                set.data.retain(|data| !gone.contains(data));
            }
        }
        Ok((&own.name, set))
    }
}

/// The registered name that `text` is or lies beneath, and where beneath it.
fn place<'z>(zone: &'z Zone, text: &str) -> Result<(&'z OwnName, Option<RelativeName>), String> {
    let lower = text.to_ascii_lowercase();
    let text = lower.strip_suffix('.').unwrap_or(&lower);
    for own in &zone.names {
        if text == own.name.as_str() {
            return Ok((own, None));
        }
        let beneath = text
            .strip_suffix(own.name.as_str())
            .and_then(|rest| rest.strip_suffix('.'));
        if let Some(beneath) = beneath {
            let owner = beneath
                .parse()
                .map_err(|error| format!("{beneath:?}: {error}"))?;
            return Ok((own, Some(owner)));
        }
    }
    Err(format!(
        "it lies beneath no name that this key has in {}",
        zone.origin
    ))
}
