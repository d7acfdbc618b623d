//! What the circle's name servers serve of a zone, made here of proven records
//! by their own rules.

use anyhow::Context as _;
use client::{Client, MAX_PROVEN_KEYS};
use naming::names::{Apex, Change, Zone, ZoneSettings, absolute};
use wire::{AccountId, DomainName, Height, record, state_key};

use crate::failure::Advice;

/// Names of a zone that are read at most.
const MAX_NAMES: usize = 1_000_000;

/// Name servers that are read at most: far more than a circle has.
const MAX_SERVERS: usize = 1_000;

/// A zone without what signs it.
pub struct Image {
    zone: Zone,
}

/// The apex that `name` is, or lies beneath.
pub async fn apex_of(client: &Client, name: &DomainName) -> anyhow::Result<DomainName> {
    let apexes = &client.genesis().await?.apexes;
    let mut above: Vec<&DomainName> = apexes
        .iter()
        .filter(|apex| *apex == name || name.prefix_under(apex).is_some())
        .collect();
    above.sort_by_key(|apex| apex.as_str().len());
    let apex = above.pop().cloned();
    apex.ok_or_else(|| {
        Advice::new(
            format!("{name} is beneath no apex of the circle"),
            "`ringfort circle show` lists them",
        )
        .into()
    })
}

impl Image {
    /// Reads all of an apex, or what belongs to one name beneath it.
    ///
    /// Every record is proven; they were true within the time that reading took.
    pub async fn read(client: &Client, name: &DomainName) -> anyhow::Result<Self> {
        let apex = apex_of(client, name).await?;
        let mut names = if apex == *name {
            let keys = client.list_keys(state_key::NAMES, MAX_NAMES).await?;
            keys.into_iter()
                .filter(|key| {
                    let text = key.strip_prefix(state_key::NAMES).unwrap_or_default();
                    let name = std::str::from_utf8(text).ok().map(str::parse::<DomainName>);
                    matches!(name, Some(Ok(name)) if name.prefix_under(&apex).is_some())
                })
                .collect()
        } else {
            vec![state_key::name(name)]
        };
        let mut records = Vec::new();
        while !names.is_empty() {
            let rest = names.split_off(names.len().min(MAX_PROVEN_KEYS));
            for proven in client.proven_many(names).await? {
                records.extend(client::decode::<record::Name>(&proven)?);
            }
            names = rest;
        }
        let (zone, _) = client
            .proven::<record::Zone>(state_key::zone(&apex))
            .await?;
        Self::build(&apex, zone, &servers(client).await?, &records)
    }

    /// The zone of `apex` by its records.
    pub fn build(
        apex: &DomainName,
        mut zone: Option<record::Zone>,
        servers: &[(AccountId, record::NameServer)],
        names: &[record::Name],
    ) -> anyhow::Result<Self> {
        // Without keys the zone is unsigned: whoever loads the file signs it.
        if let Some(zone) = &mut zone {
            zone.zone.keys.clear();
        }
        // The same records give the same serial, and later ones a later one.
        let height = zone
            .iter()
            .map(|zone| zone.changed_at)
            .chain(servers.iter().map(|(_, server)| server.changed_at))
            .chain(names.iter().map(|name| name.changed_at))
            .max()
            .unwrap_or(Height(0));
        let changes = [Change::Zone(apex, zone.as_ref())]
            .into_iter()
            .chain(
                servers
                    .iter()
                    .map(|(account, server)| Change::Server(*account, Some(&server.terms))),
            )
            .chain(
                names
                    .iter()
                    .map(|record| Change::Name(&record.name, Some(record))),
            );
        let empty = Zone::new(std::slice::from_ref(apex), ZoneSettings::default());
        let (zone, _) = empty.advance(height, 0, changes);
        Ok(Self { zone })
    }

    /// The one zone.
    pub fn apex(&self) -> anyhow::Result<&Apex> {
        self.zone.apexes().first().context("there is no zone")
    }

    /// Its records at or beneath `name`, as a zone file.
    pub fn zone_file(&self, name: &DomainName) -> anyhow::Result<String> {
        let within = absolute(name.as_str()).context("the name is too long")?;
        Ok(self.apex()?.file_within(&within))
    }
}

async fn servers(client: &Client) -> anyhow::Result<Vec<(AccountId, record::NameServer)>> {
    let mut keys = client
        .list_keys(state_key::NAME_SERVERS, MAX_SERVERS)
        .await?;
    let mut servers = Vec::new();
    while !keys.is_empty() {
        let rest = keys.split_off(keys.len().min(MAX_PROVEN_KEYS));
        for proven in client.proven_many(keys).await? {
            let account = proven.key().strip_prefix(state_key::NAME_SERVERS);
            let account = account.and_then(|account| account.try_into().ok());
            if let (Some(account), Some(server)) = (account, client::decode(&proven)?) {
                servers.push((AccountId(account), server));
            }
        }
        keys = rest;
    }
    Ok(servers)
}
