//! Reads the sections of an update (RFC 2136 §2).
//!
//! A subset, read strictly: one zone that is a name's parent, every record at
//! or beneath that one name, types that RFC 2136 and records of owners know,
//! and a SIG(0) as the last record. What else a message can hold is refused, so
//! that no two readers could make different things of it.

use domain::{
    base::{
        Message, ParsedName, ParsedRecord, RecordSection, Rtype, ToName,
        iana::{Class, Opcode},
        name::Label,
        rdata::ComposeRecordData as _,
    },
    rdata::ZoneRecordData,
};
use wire::{DomainName, RelativeName};

use crate::{
    MAX_UPDATE_BYTES,
    signature::{SignatureError, Signed},
};

/// A message that could be read; whose it is, [`Update::verify`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The message's zone.
    pub zone: DomainName,
    /// The one name, a label beneath the zone, at or beneath which all of it is.
    pub name: DomainName,
    /// What must hold, in order.
    pub prerequisites: Vec<Prerequisite>,
    /// What is to change, in order.
    pub changes: Vec<Change>,
    /// The SIG(0) and what it covers.
    pub signed: Signed,
}

/// A place relative to [`Update::name`]; none for the name itself.
pub type Owner = Option<RelativeName>;

/// RFC 2136 §2.4, on the records that the owner set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prerequisite {
    /// There is some record at the place.
    NameExists(Owner),
    /// There is none.
    NameMissing(Owner),
    /// There is a set of this type.
    SetExists(Owner, u16),
    /// There is none.
    SetMissing(Owner, u16),
    /// The set of this type has this record, and no other than those that
    /// prerequisites name; TTLs do not count.
    SetHolds(Owner, u16, Vec<u8>),
}

/// RFC 2136 §2.5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds a record; its set takes the TTL, in seconds.
    Add {
        /// Where.
        owner: Owner,
        /// The type's number.
        rtype: u16,
        /// Seconds.
        ttl: u32,
        /// RDATA, uncompressed.
        data: Vec<u8>,
    },
    /// Removes one record.
    RemoveRecord {
        /// Where.
        owner: Owner,
        /// The type's number.
        rtype: u16,
        /// RDATA, uncompressed.
        data: Vec<u8>,
    },
    /// Removes a set.
    RemoveSet(Owner, u16),
    /// Removes all sets at a place.
    RemoveName(Owner),
}

/// Why octets are no update that could be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// Over [`MAX_UPDATE_BYTES`].
    #[error("an update has at most {MAX_UPDATE_BYTES} octets: send it in parts")]
    TooLong,
    /// RFC 2136 §3.1, or the wire format itself.
    #[error("the message is malformed: {0}")]
    Malformed(&'static str),
    /// Records of more than one name, or outside the zone.
    #[error("all records of an update are at or beneath one registered name of its zone")]
    NotOneName,
    /// The last record is no SIG(0) that could hold.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl Update {
    /// Reads a message of the wire.
    ///
    /// Errors: [`UpdateError`]; the signature is not checked.
    pub fn read(octets: &[u8]) -> Result<Self, UpdateError> {
        if octets.len() > MAX_UPDATE_BYTES {
            return Err(UpdateError::TooLong);
        }
        let message = Message::from_octets(octets).map_err(|_| malformed("it is short"))?;
        let header = message.header();
        if header.qr() || header.opcode() != Opcode::UPDATE {
            return Err(malformed("it is no request for an update"));
        }
        let zone = read_zone(&message)?;
        let section = message.question().answer();
        let mut prerequisites = section.map_err(|_| malformed("a section"))?;
        let wanted = records(&mut prerequisites)?;
        let mut updates = next(prerequisites)?;
        let asked = records(&mut updates)?;
        let mut additional = next(updates)?;
        let signed = Signed::read(octets, &mut additional)?;

        let mut reader = Reader {
            zone: &zone,
            name: None,
        };
        let prerequisites: Result<Vec<_>, _> = wanted
            .iter()
            .map(|record| reader.prerequisite(record))
            .collect();
        let changes: Result<Vec<_>, _> = asked.iter().map(|record| reader.change(record)).collect();
        let (prerequisites, changes) = (prerequisites?, changes?);
        let name = reader.name.ok_or(UpdateError::NotOneName)?;
        let signer = absolute(&signed.signer)?;
        if signer != name.as_str() && !signer.ends_with(&format!(".{name}")) {
            return Err(SignatureError::Signer.into());
        }
        Ok(Self {
            zone,
            name,
            prerequisites,
            changes,
            signed,
        })
    }
}

fn malformed(what: &'static str) -> UpdateError {
    UpdateError::Malformed(what)
}

/// RFC 2136 §2.3: one zone, class IN, type SOA.
fn read_zone(message: &Message<&[u8]>) -> Result<DomainName, UpdateError> {
    let zone = message
        .sole_question()
        .map_err(|_| malformed("an update has one zone"))?;
    if zone.qtype() != Rtype::SOA || zone.qclass() != Class::IN {
        return Err(malformed("the zone is told by class IN and type SOA"));
    }
    absolute(zone.qname())?
        .parse()
        .map_err(|_| UpdateError::NotOneName)
}

type Record<'a> = ParsedRecord<'a, &'a [u8]>;

fn records<'a>(section: &mut RecordSection<'a, &'a [u8]>) -> Result<Vec<Record<'a>>, UpdateError> {
    section
        .collect::<Result<_, _>>()
        .map_err(|_| malformed("a record"))
}

fn next<'a>(
    section: RecordSection<'a, &'a [u8]>,
) -> Result<RecordSection<'a, &'a [u8]>, UpdateError> {
    let next = section.next_section().ok().flatten();
    next.ok_or_else(|| malformed("a section"))
}

/// A name as text, lower case, without the trailing dot.
///
/// Errors: it has labels that no name of the ledger could have.
fn absolute(name: &impl ToName) -> Result<String, UpdateError> {
    let plain = |label: &Label| {
        let octets = label.as_slice();
        octets
            .iter()
            .all(|octet| octet.is_ascii_graphic() && !matches!(octet, b'.' | b'\\'))
            .then(|| String::from_utf8_lossy(octets).to_ascii_lowercase())
    };
    let labels: Option<Vec<String>> = name
        .iter_labels()
        .filter(|label| !label.is_root())
        .map(plain)
        .collect();
    labels
        .map(|labels| labels.join("."))
        .ok_or(UpdateError::NotOneName)
}

/// Reads records, and holds them to one name.
struct Reader<'a> {
    zone: &'a DomainName,
    name: Option<DomainName>,
}

impl Reader<'_> {
    fn owner(&mut self, record: &Record<'_>) -> Result<Owner, UpdateError> {
        let owner = absolute(&record.owner())?;
        let beneath = owner
            .strip_suffix(self.zone.as_str())
            .and_then(|rest| rest.strip_suffix('.'))
            .ok_or(UpdateError::NotOneName)?;
        let (relative, label) = match beneath.rsplit_once('.') {
            Some((relative, label)) => (Some(relative), label),
            None => (None, beneath),
        };
        let name: DomainName = format!("{label}.{}", self.zone)
            .parse()
            .map_err(|_| UpdateError::NotOneName)?;
        if *self.name.get_or_insert_with(|| name.clone()) != name {
            return Err(UpdateError::NotOneName);
        }
        relative
            .map(|relative| relative.parse().map_err(|_| UpdateError::NotOneName))
            .transpose()
    }

    /// RFC 2136 §3.2.
    fn prerequisite(&mut self, record: &Record<'_>) -> Result<Prerequisite, UpdateError> {
        let owner = self.owner(record)?;
        let rtype = record.rtype();
        if record.ttl().as_secs() != 0 {
            return Err(malformed("a prerequisite has no TTL"));
        }
        let empty = record.rdlen() == 0;
        match (record.class(), rtype) {
            (Class::ANY, Rtype::ANY) if empty => Ok(Prerequisite::NameExists(owner)),
            (Class::NONE, Rtype::ANY) if empty => Ok(Prerequisite::NameMissing(owner)),
            (Class::ANY, _) if empty => Ok(Prerequisite::SetExists(owner, data_type(rtype)?)),
            (Class::NONE, _) if empty => Ok(Prerequisite::SetMissing(owner, data_type(rtype)?)),
            (Class::IN, _) => Ok(Prerequisite::SetHolds(
                owner,
                data_type(rtype)?,
                data(record)?,
            )),
            _ => Err(malformed("a prerequisite")),
        }
    }

    /// RFC 2136 §3.4.1.
    fn change(&mut self, record: &Record<'_>) -> Result<Change, UpdateError> {
        let owner = self.owner(record)?;
        let rtype = record.rtype();
        let ttl = record.ttl().as_secs();
        let removes = ttl == 0 && record.rdlen() == 0;
        match (record.class(), rtype) {
            (Class::ANY, Rtype::ANY) if removes => Ok(Change::RemoveName(owner)),
            (Class::ANY, _) if removes => Ok(Change::RemoveSet(owner, data_type(rtype)?)),
            (Class::NONE, _) if ttl == 0 => Ok(Change::RemoveRecord {
                owner,
                rtype: data_type(rtype)?,
                data: data(record)?,
            }),
            (Class::IN, _) => Ok(Change::Add {
                owner,
                rtype: data_type(rtype)?,
                ttl,
                data: data(record)?,
            }),
            _ => Err(malformed("a change")),
        }
    }
}

/// Refuses types that are questions, not data (RFC 6895 §3.1).
fn data_type(rtype: Rtype) -> Result<u16, UpdateError> {
    match rtype.to_int() {
        0 | 128..=255 => Err(malformed("a type that no record has")),
        rtype => Ok(rtype),
    }
}

/// RDATA without compression, whatever the message had.
fn data(record: &Record<'_>) -> Result<Vec<u8>, UpdateError> {
    let parsed = record
        .to_record::<ZoneRecordData<&[u8], ParsedName<&[u8]>>>()
        .ok()
        .flatten()
        .ok_or_else(|| malformed("a record's data"))?;
    let mut data = Vec::new();
    // A vector takes whatever is written.
    parsed
        .data()
        .compose_rdata(&mut data)
        .map_err(|_| malformed("a record's data"))?;
    Ok(data)
}
