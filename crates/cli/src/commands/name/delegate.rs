//! `ringfort name delegate`: hands a subdomain to a name server of its own, and
//! keeps its DS records to the keys of its zone.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use anyhow::Context as _;
use domain::base::Rtype;
use naming::{
    delegation::{ChildZone, DsData, ds_of_dnskey},
    presentation::{rdata, record_set, zone_form},
};
use wire::{
    Action, DomainName, NameSecure, NameSet, PublicKey, RecordSet, RelativeName, record::Name,
    state_key,
};

use super::records::address_sets;
use crate::{
    commands::sent::SentReport,
    failure::{Advice, Status},
    session::Session,
    typed_name, user,
};

/// The port of name servers.
const DNS_PORT: u16 = 53;

/// A name server, and its addresses if the parent has to give them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NameServer {
    host: DomainName,
    glue: Vec<IpAddr>,
}

impl FromStr for NameServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, glue) = text.split_once('=').unwrap_or((text, ""));
        let glue = glue
            .split(',')
            .filter(|address| !address.is_empty())
            .map(|address| {
                let parsed = address.parse();
                parsed.map_err(|_| format!("{address:?} is no address"))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            host: typed_name::parse(host)?,
            glue,
        })
    }
}

/// Arguments of `ringfort name delegate`.
#[derive(clap::Args)]
pub struct Delegate {
    /// The registered name.
    #[arg(value_parser = typed_name::parse)]
    name: DomainName,
    /// The subdomain, such as dept.
    subdomain: RelativeName,
    /// A name server: HOST, or HOST=ADDRESS,… for one beneath the subdomain; may be given often.
    #[arg(
        long,
        value_name = "HOST[=ADDRESS]",
        required_unless_present_any = ["remove", "refresh"]
    )]
    ns: Vec<NameServer>,
    /// A DS record of the subdomain's zone, as `TAG ALGORITHM TYPE DIGEST`; may be given often.
    #[arg(long, value_name = "DS")]
    ds: Vec<String>,
    /// A DNSKEY record of its zone, as `FLAGS 3 ALGORITHM KEY`, of which the DS
    /// record follows; may be given often.
    #[arg(long, value_name = "DNSKEY")]
    dnskey: Vec<String>,
    /// Take the DS records from what the zone announces (CDS, CDNSKEY, or its
    /// key-signing keys) at this server: look at what is printed.
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = server)]
    from: Option<SocketAddr>,
    /// Take the DS records that the zone announces now, signed by a key that
    /// the present ones vouch for (RFC 7344, RFC 8078); asks --from, or the
    /// addresses that the ledger holds for its servers.
    #[arg(long, conflicts_with_all = ["ns", "ds", "dnskey", "server_key", "remove"])]
    refresh: bool,
    /// The public key of the node that serves it: by it the node connects, and
    /// obtains certificates beneath the subdomain.
    #[arg(long, value_name = "KEY")]
    server_key: Option<PublicKey>,
    /// Time to live of the records, in seconds.
    #[arg(long, default_value_t = 3600)]
    ttl: u32,
    /// Take the delegation back instead; glue is named with --ns as it was.
    #[arg(long, conflicts_with_all = ["ds", "server_key"])]
    remove: bool,
}

impl Delegate {
    /// Records the delegation, whole or not at all.
    pub fn execute(self, session: &Session) -> anyhow::Result<Status> {
        if self.refresh {
            return self.refresh(session);
        }
        let done = if self.remove {
            "taken back"
        } else {
            "delegated"
        };
        let found = match self.from {
            Some(server) => {
                let zone = self.zone()?;
                let child = super::super::runtime()?.block_on(ChildZone::read(server, &zone))?;
                child.first(now()?)?
            }
            None => Vec::new(),
        };
        if !session.quiet {
            for ds in &found {
                eprintln!("{} DS {}", self.zone()?, zone_form(Rtype::DS, ds));
            }
        }
        SentReport::send_all(session, self.actions(found)?, done)
    }

    fn zone(&self) -> anyhow::Result<DomainName> {
        let zone = self.subdomain.beneath(&self.name);
        zone.context("the subdomain is too long for a name")
    }

    /// Puts the DS records that the zone announces in the place of the present
    /// ones, if they are others.
    fn refresh(&self, session: &Session) -> anyhow::Result<Status> {
        let zone = self.zone()?;
        let client = user::client(session)?;
        let runtime = super::super::runtime()?;
        let (record, _) = runtime.block_on(client.proven::<Name>(state_key::name(&self.name)))?;
        let record = record.with_context(|| format!("{} is not registered", self.name))?;
        let held = |rtype: Rtype| {
            let of_cut = |set: &&RecordSet| {
                set.owner.as_ref() == Some(&self.subdomain) && set.rtype == rtype.to_int()
            };
            record.records.iter().find(of_cut)
        };
        let Some(current) = held(Rtype::DS) else {
            return Err(Advice::new(
                format!("the ledger holds no DS records of {zone}, by which to know its keys"),
                "`ringfort name delegate --ns … --from ADDRESS` takes the first ones",
            )
            .into());
        };
        let servers = match self.from {
            Some(server) => vec![server],
            None => glue(&record, held(Rtype::NS)),
        };
        if servers.is_empty() {
            return Err(Advice::new(
                format!("the ledger holds no address of a name server of {zone}"),
                "give one with --from ADDRESS",
            )
            .into());
        }
        let child = runtime.block_on(first_answer(&servers, &zone))?;
        let Some(mut wanted) = child.next(&current.data, now()?)? else {
            eprintln!("{zone} announces nothing; its DS records stay");
            return Ok(Status::Done);
        };
        wanted.sort_unstable();
        wanted.dedup();
        let mut present = current.data.clone();
        present.sort_unstable();
        if wanted == present {
            eprintln!("the DS records of {zone} are those that it announces");
            return Ok(Status::Done);
        }
        for (sign, list) in [("-", &present), ("+", &wanted)] {
            for ds in list.iter().filter(|_| !session.quiet) {
                eprintln!("{sign} {zone} DS {}", zone_form(Rtype::DS, ds));
            }
        }
        let action = Action::NameSet(NameSet {
            name: self.name.clone(),
            records: vec![RecordSet {
                data: wanted,
                ..current.clone()
            }],
        });
        SentReport::send(session, action, "refreshed")
    }

    fn actions(&self, found: Vec<DsData>) -> anyhow::Result<Vec<Action>> {
        let cut = Some(self.subdomain.clone());
        let mut ds = record_set(cut.clone(), Rtype::DS, self.ttl, &self.ds)?;
        for dnskey in &self.dnskey {
            let key = rdata(Rtype::DNSKEY, dnskey)?;
            let own = ds_of_dnskey(&self.zone()?, &key);
            ds.data
                .push(own.context("the DNSKEY record is of no zone's key")?);
        }
        ds.data.extend(found);
        ds.data.sort_unstable();
        ds.data.dedup();
        let servers: Vec<String> = self.ns.iter().map(|ns| format!("{}.", ns.host)).collect();
        let mut records = vec![record_set(cut.clone(), Rtype::NS, self.ttl, &servers)?, ds];
        for ns in &self.ns {
            records.extend(self.glue(ns)?);
        }
        if self.remove {
            for set in &mut records {
                set.data.clear();
            }
        }
        let mut actions = vec![Action::NameSet(NameSet {
            name: self.name.clone(),
            records,
        })];
        if self.remove || self.server_key.is_some() {
            actions.push(Action::NameSecure(NameSecure {
                name: self.name.clone(),
                owner: cut,
                server: self.server_key.map(|key| (key, None)),
            }));
        }
        Ok(actions)
    }

    /// Addresses of a server that lies beneath the name: nobody else can give
    /// them (RFC 9471).
    fn glue(&self, ns: &NameServer) -> anyhow::Result<Vec<RecordSet>> {
        if ns.glue.is_empty() {
            return Ok(Vec::new());
        }
        let owner: RelativeName = ns
            .host
            .prefix_under(&self.name)
            .with_context(|| format!("{} is not beneath {}: it takes no glue", ns.host, self.name))?
            .parse()
            .context("name the glue")?;
        Ok(address_sets(Some(&owner), self.ttl, &ns.glue))
    }
}

/// An address, with a port or without.
fn server(text: &str) -> Result<SocketAddr, String> {
    let address = || text.parse::<IpAddr>();
    text.parse::<SocketAddr>()
        .or_else(|_| address().map(|address| SocketAddr::new(address, DNS_PORT)))
        .map_err(|_| format!("{text:?} is no address, with or without a port"))
}

/// Unix seconds modulo 2^32, as signatures of DNSSEC count.
fn now() -> anyhow::Result<u32> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(since.as_secs() as u32)
}

/// The addresses that the ledger holds for the name servers of `cut`.
fn glue(record: &Name, cut: Option<&RecordSet>) -> Vec<SocketAddr> {
    let hosts: Vec<String> = cut
        .iter()
        .flat_map(|set| &set.data)
        .map(|data| zone_form(Rtype::NS, data).to_ascii_lowercase())
        .collect();
    let of_host = |set: &&RecordSet| {
        let owner = set
            .owner
            .as_ref()
            .and_then(|owner| owner.beneath(&record.name));
        owner.is_some_and(|owner| {
            hosts
                .iter()
                .any(|host| host.trim_end_matches('.') == owner.as_str())
        })
    };
    record
        .records
        .iter()
        .filter(of_host)
        .flat_map(|set| &set.data)
        .filter_map(|data| match data.len() {
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(data.as_slice()).ok()?)),
            16 => Some(IpAddr::from(<[u8; 16]>::try_from(data.as_slice()).ok()?)),
            _ => None,
        })
        .map(|address| SocketAddr::new(address, DNS_PORT))
        .collect()
}

/// What the first of `servers` says that answers.
async fn first_answer(servers: &[SocketAddr], zone: &DomainName) -> anyhow::Result<ChildZone> {
    let mut failure = None;
    for server in servers {
        match ChildZone::read(*server, zone).await {
            Ok(child) => return Ok(child),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.context("there is no server to ask")?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delegate(ns: &[&str]) -> Delegate {
        Delegate {
            name: "hello.internal".parse().unwrap(),
            subdomain: "dept".parse().unwrap(),
            ns: ns.iter().map(|ns| ns.parse().unwrap()).collect(),
            ds: vec![format!("1 13 2 {}", "07".repeat(32))],
            dnskey: Vec::new(),
            from: None,
            refresh: false,
            server_key: None,
            ttl: 60,
            remove: false,
        }
    }

    fn shape(actions: &[Action]) -> Vec<(Option<String>, u16, usize)> {
        let Action::NameSet(set) = &actions[0] else {
            panic!("the first action sets records");
        };
        set.records
            .iter()
            .map(|set| {
                let owner = set.owner.clone().map(String::from);
                (owner, set.rtype, set.data.len())
            })
            .collect()
    }

    #[test]
    fn a_delegation_is_ns_ds_and_glue_in_one_action() {
        let delegate = delegate(&[
            "ns.dept.hello.internal=192.0.2.1,2001:db8::1",
            "ns.example.com",
        ]);
        let dept = Some("dept".to_owned());
        let ns = Some("ns.dept".to_owned());
        assert_eq!(
            shape(&delegate.actions(Vec::new()).unwrap()),
            [
                (dept.clone(), 2, 2),
                (dept, 43, 1),
                (ns.clone(), 1, 1),
                (ns, 28, 1)
            ]
        );
    }

    #[test]
    fn taking_it_back_empties_every_set_and_removes_the_key() {
        let mut delegate = delegate(&["ns.dept.hello.internal=192.0.2.1"]);
        delegate.remove = true;
        let actions = delegate.actions(Vec::new()).unwrap();
        assert!(shape(&actions).iter().all(|(_, _, records)| *records == 0));
        assert!(matches!(
            &actions[1],
            Action::NameSecure(NameSecure { server: None, .. })
        ));
    }

    #[test]
    fn glue_is_for_servers_beneath_the_name_alone() {
        let outside = delegate(&["ns.example.com=192.0.2.1"]);
        assert!(outside.actions(Vec::new()).is_err());
        assert!("ns.a=1.2.3".parse::<NameServer>().is_err());
    }
}
