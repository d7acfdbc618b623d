//! `ringfort name set`, and the sets of addresses that other commands make.

use std::net::IpAddr;

use domain::base::Rtype;
use naming::presentation::record_set;
use wire::{Action, DomainName, NameSet, RecordSet, RelativeName};

use crate::{commands::sent::SentReport, failure::Status, session::Session, typed_name};

/// Arguments of `ringfort name set`.
#[derive(clap::Args)]
pub struct Set {
    /// The registered name.
    #[arg(value_parser = typed_name::parse)]
    name: DomainName,
    /// The type, such as TXT or MX.
    #[arg(value_parser = record_type)]
    rtype: Rtype,
    /// Each record's data, as a zone file writes it.
    data: Vec<String>,
    /// The owner beneath the name, such as www; '*' for what has no records of its own.
    #[arg(long)]
    owner: Option<RelativeName>,
    /// Time to live, in seconds.
    #[arg(long, default_value_t = 300)]
    ttl: u32,
}

fn record_type(text: &str) -> Result<Rtype, String> {
    text.to_ascii_uppercase()
        .parse()
        .map_err(|_| "give a record type such as TXT, MX or TYPE65280".to_owned())
}

impl Set {
    /// Replaces the set.
    pub fn execute(self, session: &Session) -> anyhow::Result<Status> {
        let set = record_set(self.owner, self.rtype, self.ttl, &self.data)?;
        let action = NameSet {
            name: self.name,
            records: vec![set],
        };
        SentReport::send(session, Action::NameSet(action), "set")
    }
}

/// The A and the AAAA set of `addresses`; a kind that none is of is left out.
pub fn address_sets(
    owner: Option<&RelativeName>,
    ttl: u32,
    addresses: &[IpAddr],
) -> Vec<RecordSet> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in addresses {
        match address {
            IpAddr::V4(address) => v4.push(address.octets().to_vec()),
            IpAddr::V6(address) => v6.push(address.octets().to_vec()),
        }
    }
    [(Rtype::A, v4), (Rtype::AAAA, v6)]
        .into_iter()
        .filter(|(_, data)| !data.is_empty())
        .map(|(rtype, data)| RecordSet {
            owner: owner.cloned(),
            rtype: rtype.to_int(),
            ttl,
            data,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_part_by_their_version() {
        let addresses = ["192.0.2.1", "2001:db8::1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let sets = address_sets(None, 60, &addresses);
        let shape: Vec<_> = sets.iter().map(|set| (set.rtype, set.data.len())).collect();
        assert_eq!(shape, [(1, 2), (28, 1)]);
    }
}
