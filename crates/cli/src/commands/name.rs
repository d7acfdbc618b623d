//! `ringfort name`: names of the circle and their records.

use anyhow::Context as _;
use client::run::Observer;
use domain::{
    base::{Name as DnsName, Rtype, rdata::ComposeRecordData as _, scan::IterScanner},
    rdata::ZoneRecordData,
};
use serde::Serialize;
use wire::{
    Action, Amount, DomainName, NameCancel, NameRenew, NameSet, NameTransfer, PublicKey, RecordSet,
    RelativeName, record, state_key,
};

use super::{run::StepPrinter, sent::SentReport};
use crate::{failure::Status, session::Session, terminal::table, user};

/// Names that are listed at most.
const MAX_LISTED: usize = 10_000;

/// Commands on names.
#[derive(clap::Subcommand)]
pub enum Name {
    /// Register a free name to your key: commit, wait, reveal.
    Register {
        /// The name.
        name: DomainName,
        /// What rent is drawn from.
        #[arg(long, default_value_t = 10_000)]
        deposit: u64,
    },
    /// List registered names.
    List,
    /// Show a name: owner, deposit, records, endpoints.
    Show {
        /// The name.
        name: DomainName,
    },
    /// Replace an RRset of a name of yours; without data, remove it.
    Set {
        /// The registered name.
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
    },
    /// Add to a name's deposit.
    Renew {
        /// The name.
        name: DomainName,
        /// How much to add.
        amount: u64,
    },
    /// Give a name up; what is left of its deposit comes back.
    Cancel {
        /// The name.
        name: DomainName,
    },
    /// Hand a name to another key.
    Transfer {
        /// The name.
        name: DomainName,
        /// The new owner's public key.
        to: PublicKey,
    },
}

fn record_type(text: &str) -> Result<Rtype, String> {
    text.to_ascii_uppercase()
        .parse()
        .map_err(|_| "give a record type such as TXT, MX or TYPE65280".to_owned())
}

/// Carries out a command on names.
pub fn execute(session: &Session, command: Name) -> anyhow::Result<Status> {
    match command {
        Name::Register { name, deposit } => register(session, &name, Amount(deposit)),
        Name::List => list(session),
        Name::Show { name } => show(session, &name),
        Name::Set {
            name,
            rtype,
            data,
            owner,
            ttl,
        } => {
            let data = data
                .iter()
                .map(|text| rdata(rtype, text))
                .collect::<Result<_, _>>()?;
            let records = vec![RecordSet {
                owner,
                rtype: rtype.to_int(),
                ttl,
                data,
            }];
            SentReport::send(session, Action::NameSet(NameSet { name, records }), "set")
        }
        Name::Renew { name, amount } => {
            let amount = Amount(amount);
            SentReport::send(
                session,
                Action::NameRenew(NameRenew { name, amount }),
                "renewed",
            )
        }
        Name::Cancel { name } => SentReport::send(
            session,
            Action::NameCancel(NameCancel { name }),
            "cancelled",
        ),
        Name::Transfer { name, to } => {
            let action = Action::NameTransfer(NameTransfer { name, to });
            SentReport::send(session, action, "transferred")
        }
    }
}

/// The wire form of one record's data, from the form of a zone file (RFC 1035 §5.1).
fn rdata(rtype: Rtype, text: &str) -> anyhow::Result<Vec<u8>> {
    let words = split_words(text);
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

fn register(session: &Session, name: &DomainName, deposit: Amount) -> anyhow::Result<Status> {
    let user = user::user(session)?;
    let observer: Observer = StepPrinter::new(session).observer();
    super::runtime()?.block_on(user.register_name(name, Some(deposit), &observer))?;
    Ok(Status::Done)
}

fn show(session: &Session, name: &DomainName) -> anyhow::Result<Status> {
    let client = user::client(session)?;
    let record: record::Name = super::runtime()?
        .block_on(client.require(state_key::name(name), || format!("name {name}")))
        .context("read the name")?;
    session.print(&record, |record| {
        let mut text = format!(
            "name        {}\nowner       {}\ndeposit     {}\nstatus      {:?}\nrent due    at height {}\n",
            record.name, record.owner, record.deposit, record.status, record.rent_due
        );
        for endpoint in &record.endpoints {
            let addresses: Vec<_> =
                endpoint.endpoint.addresses.iter().map(ToString::to_string).collect();
            text.push_str(&format!(
                "replica     {} port {} (contract {})\n",
                addresses.join(" "),
                endpoint.endpoint.port,
                endpoint.contract.short()
            ));
        }
        for set in &record.records {
            let owner = set.owner.as_ref().map_or("@", |owner| owner.as_str());
            let rtype = Rtype::from_int(set.rtype);
            text.push_str(&format!("records     {owner} {rtype} {} of TTL {}\n", set.data.len(), set.ttl));
        }
        text
    })?;
    Ok(Status::Done)
}

#[derive(Serialize)]
struct Row {
    name: DomainName,
    owner: PublicKey,
    deposit: Amount,
    replicas: usize,
}

fn list(session: &Session) -> anyhow::Result<Status> {
    let client = user::client(session)?;
    let rows = super::runtime()?.block_on(async {
        let keys = client.list_keys(state_key::NAMES, MAX_LISTED).await?;
        let mut rows = Vec::new();
        for keys in keys.chunks(client::MAX_PROVEN_KEYS) {
            for proven in client.proven_many(keys.to_vec()).await? {
                if let Some(name) = client::decode::<record::Name>(&proven)? {
                    rows.push(Row {
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
                    row.replicas.to_string(),
                ]
            })
            .collect();
        table(&["NAME", "OWNER", "DEPOSIT", "REPLICAS"], &cells)
    })?;
    Ok(Status::Done)
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
        for (rtype, bad) in [
            (Rtype::A, "1.2.3"),
            (Rtype::A, "192.0.2.1 more"),
            (Rtype::MX, "ten a."),
        ] {
            assert!(rdata(rtype, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(split_words(r#" a "b c"  """#), ["a", "b c", ""]);
    }
}
