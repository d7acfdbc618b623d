//! `ringfort name delegate`: hands a subdomain to a name server of its own.

use std::{net::IpAddr, str::FromStr};

use anyhow::Context as _;
use domain::base::Rtype;
use naming::presentation::record_set;
use wire::{Action, DomainName, NameSecure, NameSet, PublicKey, RecordSet, RelativeName};

use super::records::address_sets;
use crate::{commands::sent::SentReport, failure::Status, session::Session, typed_name};

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
        required_unless_present = "remove"
    )]
    ns: Vec<NameServer>,
    /// A DS record of the subdomain's zone, as `TAG ALGORITHM TYPE DIGEST`; may be given often.
    #[arg(long, value_name = "DS")]
    ds: Vec<String>,
    /// The public key of the node that serves it.
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
        let done = if self.remove {
            "taken back"
        } else {
            "delegated"
        };
        SentReport::send_all(session, self.actions()?, done)
    }

    fn actions(&self) -> anyhow::Result<Vec<Action>> {
        let cut = Some(self.subdomain.clone());
        let servers: Vec<String> = self.ns.iter().map(|ns| format!("{}.", ns.host)).collect();
        let mut records = vec![
            record_set(cut.clone(), Rtype::NS, self.ttl, &servers)?,
            record_set(cut.clone(), Rtype::DS, self.ttl, &self.ds)?,
        ];
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

#[cfg(test)]
mod tests {
    use super::*;

    fn delegate(ns: &[&str]) -> Delegate {
        Delegate {
            name: "hello.internal".parse().unwrap(),
            subdomain: "dept".parse().unwrap(),
            ns: ns.iter().map(|ns| ns.parse().unwrap()).collect(),
            ds: vec![format!("1 13 2 {}", "07".repeat(32))],
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
            shape(&delegate.actions().unwrap()),
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
        let actions = delegate.actions().unwrap();
        assert!(shape(&actions).iter().all(|(_, _, records)| *records == 0));
        assert!(matches!(
            &actions[1],
            Action::NameSecure(NameSecure { server: None, .. })
        ));
    }

    #[test]
    fn glue_is_for_servers_beneath_the_name_alone() {
        assert!(delegate(&["ns.example.com=192.0.2.1"]).actions().is_err());
        assert!("ns.a=1.2.3".parse::<NameServer>().is_err());
    }
}
