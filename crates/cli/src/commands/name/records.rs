//! `ringfort name set`, and how RRsets are made of what people write.

use std::net::IpAddr;

use anyhow::Context as _;
use domain::{
    base::{Name as DnsName, Rtype, rdata::ComposeRecordData as _, scan::IterScanner},
    rdata::ZoneRecordData,
};
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

/// The RRset of records in the form of a zone file.
///
/// Errors: one of them is not of the type.
pub fn record_set(
    owner: Option<RelativeName>,
    rtype: Rtype,
    ttl: u32,
    data: &[String],
) -> anyhow::Result<RecordSet> {
    let data = data
        .iter()
        .map(|text| rdata(rtype, text))
        .collect::<Result<_, _>>()?;
    Ok(RecordSet {
        owner,
        rtype: rtype.to_int(),
        ttl,
        data,
    })
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

/// One record in the form of a zone file, if its type's form is known.
pub fn zone_form(rtype: Rtype, data: &[u8]) -> String {
    use domain::{base::ParseRecordData as _, dep::octseq::Parser};
    let mut parser = Parser::from_ref(data);
    let parsed = ZoneRecordData::<_, domain::base::ParsedName<_>>::parse_rdata(rtype, &mut parser);
    match parsed {
        Ok(Some(parsed)) => parsed.to_string(),
        _ => format!("\\# {} {}", data.len(), hex::encode(data)),
    }
}

/// The wire form of one record's data, from the form of a zone file (RFC 1035 §5.1).
fn rdata(rtype: Rtype, text: &str) -> anyhow::Result<Vec<u8>> {
    let words = split_words(text);
    // RFC 3597 §5, for types whose form is not known.
    if let [marker, length, digits @ ..] = words.as_slice()
        && marker == "\\#"
    {
        let bytes = hex::decode(digits.concat()).ok();
        return bytes
            .filter(|bytes| length.parse() == Ok(bytes.len()))
            .with_context(|| format!("{text:?} is not a length and as many octets in hex"));
    }
    let mut scanner = IterScanner::new(words.iter().map(String::as_str));
    let data = ZoneRecordData::<Vec<u8>, DnsName<Vec<u8>>>::scan(rtype, &mut scanner)
        .map_err(|error| anyhow::anyhow!("{text:?} is no {rtype} data: {error}"))?;
    if !scanner.is_exhausted() {
        anyhow::bail!("{text:?} has more than a {rtype} record takes");
    }
    let mut bytes = Vec::new();
    data.compose_rdata(&mut bytes)
        .context("encode the record")?;
    Ok(bytes)
}

/// Words of a line of a zone file: blanks part them, double quotes hold them together.
fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_a_zone_file_becomes_its_wire_form() {
        assert_eq!(rdata(Rtype::A, "192.0.2.1").unwrap(), [192, 0, 2, 1]);
        assert_eq!(
            rdata(Rtype::TXT, r#""two words" x"#).unwrap(),
            b"\x09two words\x01x"
        );
        assert_eq!(
            rdata(Rtype::MX, "10 a.b.").unwrap(),
            b"\x00\x0a\x01a\x01b\x00"
        );
        let unknown = Rtype::from_int(65_280);
        assert_eq!(rdata(unknown, r"\# 3 0102 03").unwrap(), [1, 2, 3]);
        for (rtype, bad) in [
            (unknown, r"\# 2 010203"),
            (unknown, r"\# 1 0"),
            (Rtype::A, "1.2.3"),
            (Rtype::A, "192.0.2.1 more"),
            (Rtype::MX, "ten a."),
        ] {
            assert!(rdata(rtype, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn data_comes_back_in_the_form_of_a_zone_file() {
        for (rtype, text) in [
            (Rtype::A, "192.0.2.1"),
            (Rtype::MX, "10 a.b."),
            (Rtype::NS, "ns.example."),
        ] {
            assert_eq!(zone_form(rtype, &rdata(rtype, text).unwrap()), text);
        }
        assert_eq!(zone_form(Rtype::A, &[1, 2]), "\\# 2 0102");
    }

    #[test]
    fn addresses_part_by_their_version() {
        let addresses = ["192.0.2.1", "2001:db8::1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let sets = address_sets(None, 60, &addresses);
        let shape: Vec<_> = sets.iter().map(|set| (set.rtype, set.data.len())).collect();
        assert_eq!(shape, [(1, 2), (28, 1)]);
    }

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(split_words(r#" a "b c"  """#), ["a", "b c", ""]);
    }
}
