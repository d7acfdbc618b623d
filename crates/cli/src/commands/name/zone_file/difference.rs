//! What a zone file says otherwise than the ledger, and what must be sent so
//! that the ledger says it too.
//!
//! A file holds what name servers serve: a name's own records and those that
//! follow from its replicas. What follows is never made the owner's, so that
//! an exported file has no difference.

use std::collections::{BTreeMap, BTreeSet};

use client::{Client, MAX_PROVEN_KEYS};
use domain::base::{Rtype, rdata::ComposeRecordData as _};
use naming::presentation::zone_form;
use serde::Serialize;
use wire::{
    DomainName, NAME_SERVER_LABEL, NameSet, PublicKey, RecordSet, RelativeName, limits, record,
    state_key,
};

use super::{
    image::Image,
    parse::{FileSet, Records},
};

/// Octets of record sets in one transaction: below its limit with room for
/// names and the envelope.
const MAX_BYTES: usize = limits::MAX_TRANSACTION_BYTES - 4 * 1024;

/// Where an RRset stands beneath a registered name.
type Place = (Option<RelativeName>, u16);

/// One RRset of a registered name that is to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The registered name.
    pub name: DomainName,
    /// Who owns it.
    pub owner: PublicKey,
    /// The set on the ledger.
    pub from: Option<RecordSet>,
    /// The set that the file calls for.
    pub to: Option<RecordSet>,
}

/// Everything that differs.
#[derive(Debug, Default)]
pub struct Difference {
    /// Sets to change: of one name after the other, removals first.
    pub changes: Vec<Change>,
    /// What of the file is the zone's own and differs from it.
    pub passed_over: Vec<String>,
    /// Why nothing can be sent.
    pub problems: Vec<String>,
}

impl Change {
    /// The change as a difference of lines.
    pub fn lines(&self) -> Vec<String> {
        let form = |sign: char, set: &RecordSet| {
            let owner = match &set.owner {
                Some(owner) => format!("{owner}.{}", self.name),
                None => self.name.to_string(),
            };
            let rtype = Rtype::from_int(set.rtype);
            set.data
                .iter()
                .map(|data| {
                    let data = zone_form(rtype, data);
                    format!("{sign} {owner}. {} IN {rtype} {data}", set.ttl)
                })
                .collect::<Vec<_>>()
        };
        let from = self.from.iter().flat_map(|set| form('-', set));
        from.chain(self.to.iter().flat_map(|set| form('+', set)))
            .collect()
    }

    /// The set that brings it about; one without data removes.
    fn set(&self) -> Option<RecordSet> {
        match (&self.to, &self.from) {
            (Some(to), _) => Some(to.clone()),
            (None, Some(from)) => Some(RecordSet {
                data: Vec::new(),
                ..from.clone()
            }),
            (None, None) => None,
        }
    }
}

impl Difference {
    /// Compares `records` with what the ledger proves.
    pub async fn find(client: &Client, records: &Records) -> anyhow::Result<Self> {
        let zones = Zones::read(client).await?;
        let mut difference = Self::default();
        let mut by_name: BTreeMap<DomainName, (usize, BTreeMap<Place, FileSet>)> = BTreeMap::new();
        for ((owner, rtype), set) in records {
            match zones.place(owner) {
                Placed::Zone => {
                    let rtype = Rtype::from_int(*rtype);
                    let line = format!("{owner}. {rtype} is the zone's own");
                    difference.passed_over.push(line);
                }
                Placed::Outside(why) => difference.problems.push(format!("{owner}: {why}")),
                Placed::Name(apex, name, relative) => {
                    let (_, sets) = by_name.entry(name).or_insert((apex, BTreeMap::new()));
                    sets.insert((relative, *rtype), set.clone());
                }
            }
        }
        let names: Vec<DomainName> = by_name.keys().cloned().collect();
        for names in names.chunks(MAX_PROVEN_KEYS) {
            let keys = names.iter().map(state_key::name).collect();
            let proven = client.proven_many(keys).await?;
            for (name, proven) in names.iter().zip(proven) {
                let Some(record) = client::decode::<record::Name>(&proven)? else {
                    difference
                        .problems
                        .push(format!("{name} is not registered"));
                    continue;
                };
                let (at, sets) = &by_name[name];
                let (apex, zone) = &zones.0[*at];
                let served = served(apex, zone.clone(), &record)?;
                let (changes, problems) = compare(&record, &served, sets);
                difference.changes.extend(changes);
                difference.problems.extend(problems);
            }
        }
        Ok(difference)
    }

    /// The transactions that bring the changes about, each within its limits.
    pub fn transactions(&self) -> Vec<Vec<NameSet>> {
        let mut all: Vec<Vec<NameSet>> = Vec::new();
        let mut bytes = 0;
        for change in &self.changes {
            let Some(set) = change.set() else { continue };
            let size =
                borsh::to_vec(&set).map_or(MAX_BYTES, |set| set.len()) + change.name.as_str().len();
            let joins = |actions: &Vec<NameSet>| {
                actions.last().is_some_and(|last| {
                    last.name == change.name && last.records.len() < limits::MAX_RECORD_SETS
                })
            };
            let takes = |actions: &Vec<NameSet>| {
                bytes + size <= MAX_BYTES && (joins(actions) || actions.len() < limits::MAX_ACTIONS)
            };
            if !all.last().is_some_and(takes) {
                all.push(Vec::new());
                bytes = 0;
            }
            bytes += size;
            let Some(actions) = all.last_mut() else {
                continue;
            };
            if joins(actions)
                && let Some(last) = actions.last_mut()
            {
                last.records.push(set);
            } else {
                actions.push(NameSet {
                    name: change.name.clone(),
                    records: vec![set],
                });
            }
        }
        all
    }
}

/// Whose record it is.
#[derive(Debug, PartialEq, Eq)]
enum Placed {
    /// The apex', or a name server's.
    Zone,
    /// Of which apex, by its place, of which registered name, and the owner
    /// beneath it.
    Name(usize, DomainName, Option<RelativeName>),
    /// Nobody's here.
    Outside(&'static str),
}

/// The zones of the circle, with what their signers say of them.
struct Zones(Vec<(DomainName, Option<record::Zone>)>);

impl Zones {
    async fn read(client: &Client) -> anyhow::Result<Self> {
        let mut zones = Vec::new();
        for apex in &client.genesis().await?.apexes {
            let (zone, _) = client.proven(state_key::zone(apex)).await?;
            zones.push((apex.clone(), zone));
        }
        Ok(Self(zones))
    }

    /// Where `owner`, in lower case, has its place.
    fn place(&self, owner: &str) -> Placed {
        // A wildcard is no domain name, and what it stands beneath is.
        let above = owner.strip_prefix("*.").unwrap_or(owner);
        let holds = |apex: &DomainName| {
            let rest = above.strip_suffix(apex.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let mut longest: Vec<usize> = (0..self.0.len())
            .filter(|at| holds(&self.0[*at].0))
            .collect();
        longest.sort_by_key(|at| self.0[*at].0.as_str().len());
        let Some(at) = longest.pop() else {
            return Placed::Outside("beneath no apex of the circle");
        };
        let (apex, zone) = &self.0[at];
        let labels: Vec<&str> = above.split('.').collect();
        let depth = labels.len() - apex.labels().count();
        let Some(label) = depth.checked_sub(1).map(|at| labels[at]) else {
            return if above == owner {
                Placed::Zone
            } else {
                Placed::Outside("only a registered name has records")
            };
        };
        let mut servers = zone.iter().flat_map(|zone| &zone.zone.servers);
        let is_server = servers.any(|server| server.label.as_str() == label);
        if is_server || label == NAME_SERVER_LABEL || label == "ns" {
            return Placed::Zone;
        }
        let Ok(name) = labels[depth - 1..].join(".").parse::<DomainName>() else {
            return Placed::Outside("no name that can be registered");
        };
        let rest = owner.strip_suffix(name.as_str()).unwrap_or_default();
        match rest.trim_end_matches('.') {
            "" => Placed::Name(at, name, None),
            rest => match rest.parse() {
                Ok(relative) => Placed::Name(at, name, Some(relative)),
                Err(_) => Placed::Outside("no owner that the ledger takes"),
            },
        }
    }
}

/// Types of which an owner's own set takes the place of what would follow.
const REPLACING: [Rtype; 2] = [Rtype::CAA, Rtype::HTTPS];

/// What of `sets` differs from what is served of `record`: changes, and what
/// cannot be changed.
fn compare(
    record: &record::Name,
    served: &BTreeMap<Place, FileSet>,
    sets: &BTreeMap<Place, FileSet>,
) -> (Vec<Change>, Vec<String>) {
    let own: BTreeMap<Place, &RecordSet> = record
        .records
        .iter()
        .map(|set| ((set.owner.clone(), set.rtype), set))
        .collect();
    let change = |from: Option<&RecordSet>, to: Option<RecordSet>| Change {
        name: record.name.clone(),
        owner: record.owner,
        from: from.cloned(),
        to,
    };
    let mut problems = Vec::new();
    let mut removed = Vec::new();
    let mut put = Vec::new();
    for (place, set) in sets {
        let present = served.get(place);
        if present == Some(set) {
            continue;
        }
        let mine = own.get(place).copied();
        let replaces = REPLACING.contains(&Rtype::from_int(place.1));
        let follows: BTreeSet<&Vec<u8>> = present
            .iter()
            .flat_map(|present| &present.data)
            .filter(|data| !replaces && mine.is_none_or(|mine| !mine.data.contains(data)))
            .collect();
        let data: Vec<Vec<u8>> = set
            .data
            .iter()
            .filter(|data| !follows.contains(data))
            .cloned()
            .collect();
        if data.is_empty() {
            removed.extend(mine.map(|mine| change(Some(mine), None)));
            continue;
        }
        if data.len() > limits::MAX_RECORDS_PER_SET {
            let rtype = Rtype::from_int(place.1);
            problems.push(format!("{} {rtype} has too many records", record.name));
            continue;
        }
        let to = RecordSet {
            owner: place.0.clone(),
            rtype: place.1,
            ttl: set.ttl,
            data,
        };
        let same = mine.is_some_and(|mine| {
            let mine_data: BTreeSet<&Vec<u8>> = mine.data.iter().collect();
            mine.ttl == to.ttl && mine_data == to.data.iter().collect()
        });
        if !same {
            put.push(change(mine, Some(to)));
        }
    }
    // What is served and the file does not hold is to go, if it is the owner's.
    for (place, mine) in &own {
        if !sets.contains_key(place) && served.contains_key(place) {
            removed.push(change(Some(mine), None));
        }
    }
    removed.extend(put);
    (removed, problems)
}

/// Every RRset that name servers make of `record`.
fn served(
    apex: &DomainName,
    zone: Option<record::Zone>,
    record: &record::Name,
) -> anyhow::Result<BTreeMap<Place, FileSet>> {
    let image = Image::build(apex, zone, &[], std::slice::from_ref(record))?;
    let label = record.name.prefix_under(apex).unwrap_or_default();
    let mut served = BTreeMap::new();
    let Some(domain) = image.apex()?.domain(label.as_bytes()) else {
        return Ok(served);
    };
    for (owner, node) in domain.nodes() {
        let Some(relative) = relative(owner) else {
            continue;
        };
        for set in node.sets() {
            let mut all = BTreeSet::new();
            for data in &set.data {
                let mut octets = Vec::new();
                data.compose_rdata(&mut octets)
                    .map_err(|_| anyhow::anyhow!("a record is too long"))?;
                all.insert(octets);
            }
            let ttl = set.ttl.as_secs();
            served.insert(
                (relative.clone(), set.rtype.to_int()),
                FileSet { ttl, data: all },
            );
        }
    }
    Ok(served)
}

/// An owner in wire form; none if it is none that the ledger could hold.
fn relative(owner: &[u8]) -> Option<Option<RelativeName>> {
    let mut labels = Vec::new();
    let mut rest = owner;
    while let Some((&length, more)) = rest.split_first() {
        let (label, more) = more.split_at_checked(usize::from(length))?;
        labels.push(std::str::from_utf8(label).ok()?);
        rest = more;
    }
    if labels.is_empty() {
        return Some(None);
    }
    Some(Some(labels.join(".").parse().ok()?))
}

#[cfg(test)]
mod tests {
    use wire::{Amount, Height, ServiceEndpoint, SigningKey};

    use super::{super::parse::parse, *};

    fn zones() -> Zones {
        Zones(vec![("internal".parse().unwrap(), None)])
    }

    fn text(owner: Option<&str>, words: &str) -> RecordSet {
        let mut data = vec![words.len() as u8];
        data.extend_from_slice(words.as_bytes());
        RecordSet {
            owner: owner.map(|owner| owner.parse().unwrap()),
            rtype: 16,
            ttl: 60,
            data: vec![data],
        }
    }

    /// `hello.internal` with a replica and records of its owner's.
    fn hello(records: Vec<RecordSet>) -> record::Name {
        record::Name {
            name: "hello.internal".parse().unwrap(),
            owner: SigningKey::ed25519([1; 32]).public(),
            deposit: Amount(1),
            status: record::NameStatus::Active,
            registered_at: Height(1),
            rent_due: Height(99),
            changed_at: Height(7),
            notice_due: None,
            sale: None,
            records,
            keys: Vec::new(),
            endpoints: vec![record::NameEndpoint {
                contract: wire::ContractId([1; 32]),
                endpoint: ServiceEndpoint {
                    addresses: vec!["192.0.2.1".parse().unwrap()],
                    port: 8443,
                    control: "http://192.0.2.1".to_owned(),
                },
                tls_key: wire::Digest([2; 32]),
            }],
        }
    }

    fn exported(record: &record::Name) -> String {
        let apex = "internal".parse().unwrap();
        let image = Image::build(&apex, None, &[], std::slice::from_ref(record)).unwrap();
        image.zone_file(&record.name).unwrap()
    }

    fn compared(record: &record::Name, file: &str) -> Vec<Change> {
        let mut sets = BTreeMap::new();
        for ((owner, rtype), set) in parse(file.as_bytes()).unwrap() {
            let Placed::Name(_, name, relative) = zones().place(&owner) else {
                panic!("{owner} has no place");
            };
            assert_eq!(name, record.name);
            sets.insert((relative, rtype), set);
        }
        let apex = "internal".parse().unwrap();
        let served = served(&apex, None, record).unwrap();
        let (changes, problems) = compare(record, &served, &sets);
        assert!(problems.is_empty(), "{problems:?}");
        changes
    }

    #[test]
    fn an_exported_name_has_no_difference() {
        let mut own = text(None, "own");
        own.data.push(b"\x05again".to_vec());
        let address = RecordSet {
            owner: None,
            rtype: 1,
            ttl: 300,
            data: vec![vec![192, 0, 2, 9]],
        };
        let unknown = RecordSet {
            owner: Some("*.wild".parse().unwrap()),
            rtype: 65_280,
            ttl: 1,
            data: vec![vec![1, 2, 3]],
        };
        let record = hello(vec![address, own, text(Some("www"), "a"), unknown]);
        let file = exported(&record);
        let changes = compared(&record, &file);
        assert!(changes.is_empty(), "{changes:?} of {file}");
    }

    #[test]
    fn what_follows_from_replicas_is_never_made_the_owners() {
        let record = hello(vec![text(None, "own")]);
        let file = exported(&record) + "hello.internal. 5 IN A 192.0.2.7\n";
        let changes = compared(&record, &file);
        let [change] = changes.as_slice() else {
            panic!("{changes:?}");
        };
        assert_eq!(change.from, None);
        assert_eq!(change.to.as_ref().unwrap().data, [vec![192, 0, 2, 7]]);
    }

    #[test]
    fn what_the_file_lacks_goes_and_what_differs_is_replaced() {
        let record = hello(vec![text(None, "own"), text(Some("www"), "a")]);
        let file = "hello.internal. 60 IN TXT other\n";
        let changes = compared(&record, file);
        let lines: Vec<String> = changes.iter().flat_map(Change::lines).collect();
        assert_eq!(
            lines,
            [
                "- www.hello.internal. 60 IN TXT \"a\"",
                "- hello.internal. 60 IN TXT \"own\"",
                "+ hello.internal. 60 IN TXT \"other\"",
            ]
        );
        let difference = Difference {
            changes,
            ..Difference::default()
        };
        let sent = difference.transactions();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].len(), 1, "one action for one name");
        assert!(sent[0][0].records[0].data.is_empty(), "removals come first");
    }

    #[test]
    fn many_changes_are_parted_within_the_limits() {
        let long = "x".repeat(250);
        let names: Vec<record::Name> = (0..40)
            .map(|number| record::Name {
                name: format!("n{number}.internal").parse().unwrap(),
                ..hello(Vec::new())
            })
            .collect();
        let changes = names
            .iter()
            .flat_map(|name| (0..10).map(move |owner| (name, format!("o{owner}"))))
            .map(|(name, owner)| Change {
                name: name.name.clone(),
                owner: name.owner,
                from: None,
                to: Some(text(Some(&owner), &long)),
            })
            .collect();
        let difference = Difference {
            changes,
            ..Difference::default()
        };
        let sent = difference.transactions();
        let total: usize = sent.iter().flatten().map(|set| set.records.len()).sum();
        assert_eq!(total, 400);
        for actions in &sent {
            assert!(actions.len() <= limits::MAX_ACTIONS);
            assert!(borsh::to_vec(actions).unwrap().len() <= limits::MAX_TRANSACTION_BYTES);
        }
    }

    #[test]
    fn every_record_has_its_place() {
        let zones = zones();
        assert_eq!(zones.place("internal"), Placed::Zone);
        assert_eq!(zones.place("_dns.dns.internal"), Placed::Zone);
        for outside in ["example.com", "xinternal", "*.internal", "a\\.b.c.internal"] {
            let placed = zones.place(outside);
            assert!(
                matches!(placed, Placed::Outside(_)),
                "{outside}: {placed:?}"
            );
        }
        for (owner, relative) in [
            ("hello.internal", None),
            ("*.hello.internal", Some("*")),
            ("a.b.hello.internal", Some("a.b")),
        ] {
            let relative = relative.map(|relative| relative.parse().unwrap());
            let name = "hello.internal".parse().unwrap();
            assert_eq!(zones.place(owner), Placed::Name(0, name, relative));
        }
    }
}
