//! Whole zones for stock secondaries: AXFR (RFC 5936), IXFR (RFC 1995), NOTIFY
//! (RFC 1996) and a catalog of the zones (RFC 9432), under shared secrets
//! (TSIG, RFC 8945).
//!
//! Whoever asks without a key of ours gets no zone. A secondary is trusted to
//! answer for the circle without proofs; what it gets is one committed height,
//! as every answer is.

mod catalog;
mod journal;
mod notify;
mod reply;

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use base64::Engine as _;
use domain::{
    base::{
        Message, Rtype, Serial, ToName as _,
        iana::{Class, Opcode, Rcode},
        message_builder::MessageBuilder,
        name::Name,
    },
    rdata::{Soa, tsig::Time48},
    tsig::{Algorithm, Key, KeyName, ServerSequence},
};
use serde::{Deserialize, Serialize};
use wire::DomainName;
use zeroize::Zeroizing;

pub(super) use self::notify::notify;
pub(super) use self::reply::{Replies, sign};
use self::{catalog::Catalog, journal::Journal, reply::Source};
use super::{
    published::Published,
    zone::{OwnerName, absolute},
};

/// The longest secret file.
const MAX_SECRET_FILE: usize = 4096;

/// Type and class of a TSIG record on the wire: what a message without these
/// octets has none of.
const TSIG_MARK: [u8; 4] = [0, 250, 0, 255];

/// A key of ours, shared with secondaries.
pub(super) type SharedKey = Arc<Key>;

/// Who gets whole zones.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransferSettings {
    /// Keys that open zones to whoever has them.
    pub keys: Vec<KeySettings>,
    /// Secondaries that are told of changes.
    pub secondaries: Vec<SecondarySettings>,
    /// The name of a zone that lists the others, so that a secondary takes
    /// new ones up by itself.
    pub catalog: Option<DomainName>,
}

/// A secret shared with secondaries.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySettings {
    /// Its name, the same on both sides.
    pub name: String,
    /// `hmac-sha256`, `hmac-sha384` or `hmac-sha512`.
    pub algorithm: String,
    /// A file with the secret in base64 on its first line.
    pub secret_file: PathBuf,
}

/// A secondary that is told of changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecondarySettings {
    /// Where it hears.
    pub address: SocketAddr,
    /// The name of the key to sign with.
    pub key: String,
}

/// Why transfers cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// A secret could not be read.
    #[error("cannot read the secret {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A secret that is not base64, or shorter than RFC 8945 §8 asks for.
    #[error("{path} holds no secret of at least 16 octets in base64")]
    Secret {
        /// Which.
        path: PathBuf,
    },
    /// A key's name or algorithm.
    #[error(
        "the transfer key {0} has no domain name, or an algorithm that is not hmac-sha256 to -sha512"
    )]
    Key(String),
    /// A secondary's key that is not listed.
    #[error("no transfer key is called {0}")]
    UnknownKey(String),
    /// A catalog whose name is too long.
    #[error("the catalog's name is too long")]
    Catalog,
}

/// What a name server needs to hand out zones.
#[derive(Debug)]
pub(super) struct Transfers {
    keys: HashMap<(KeyName, Algorithm), SharedKey>,
    secondaries: Vec<(SocketAddr, SharedKey)>,
    catalog: Option<Catalog>,
    journal: Mutex<Journal>,
}

/// What a message is, to whom zones are handed out.
pub(super) enum Heard {
    /// Nothing of ours: it is not signed.
    Plain,
    /// To be turned away with this message.
    Refused(Vec<u8>),
    /// A question to answer with these messages.
    Replies(Box<Replies>),
    /// Any other signed question: what is left without the signature, and
    /// what signs the answer.
    Signed(Vec<u8>, Box<ServerSequence<SharedKey>>),
}

impl Transfers {
    /// Reads the keys; none if there are none.
    ///
    /// Errors: [`TransferError`].
    pub fn open(settings: &TransferSettings, now_s: u32) -> Result<Option<Self>, TransferError> {
        if settings.keys.is_empty() {
            return match settings.secondaries.first() {
                Some(secondary) => Err(TransferError::UnknownKey(secondary.key.clone())),
                None => Ok(None),
            };
        }
        let mut keys = HashMap::new();
        let mut by_name = HashMap::new();
        for key in &settings.keys {
            let opened = Arc::new(open_key(key)?);
            by_name.insert(key.name.clone(), Arc::clone(&opened));
            keys.insert((opened.name().clone(), opened.algorithm()), opened);
        }
        let secondaries = settings.secondaries.iter().map(|secondary| {
            let key = by_name
                .get(&secondary.key)
                .ok_or_else(|| TransferError::UnknownKey(secondary.key.clone()))?;
            Ok((secondary.address, Arc::clone(key)))
        });
        let catalog = match &settings.catalog {
            Some(name) => {
                let name = absolute(name.as_str()).ok_or(TransferError::Catalog)?;
                Some(Catalog::new(name, Serial(now_s)))
            }
            None => None,
        };
        Ok(Some(Self {
            keys,
            secondaries: secondaries.collect::<Result<_, _>>()?,
            catalog,
            journal: Mutex::default(),
        }))
    }

    /// Looks at a query that arrived; `streams` says whether over a
    /// connection, for a zone does not fit a datagram.
    pub fn hear(&self, query: &[u8], streams: bool, published: &Published) -> Heard {
        if !query.windows(TSIG_MARK.len()).any(|four| four == TSIG_MARK) {
            return Heard::Plain;
        }
        let Ok(mut message) = Message::from_octets(query.to_vec()) else {
            return Heard::Plain;
        };
        if message.header().qr() || message.header().opcode() != Opcode::QUERY {
            return Heard::Plain;
        }
        match ServerSequence::request(&self.keys, &mut message, Time48::now()) {
            Ok(None) => Heard::Plain,
            Ok(Some(sequence)) => self.answer(message, sequence, streams, published),
            Err(error) => {
                let message = error.build_message(&message, MessageBuilder::new_vec());
                message.map_or(Heard::Plain, |message| Heard::Refused(message.finish()))
            }
        }
    }

    fn answer(
        &self,
        message: Message<Vec<u8>>,
        sequence: ServerSequence<SharedKey>,
        streams: bool,
        published: &Published,
    ) -> Heard {
        let asked = message.sole_question().ok().and_then(|question| {
            let name: OwnerName = question.qname().try_to_name().ok()?;
            let ours = question.qclass() == Class::IN;
            ours.then(|| (name, question.qtype()))
        });
        let source = match asked {
            Some((name, Rtype::AXFR)) if streams => self.source(&name, None, published),
            Some((name, Rtype::IXFR)) => {
                let Some(serial) = known_serial(&message) else {
                    return Heard::Replies(Box::new(Replies::refusing(
                        &message,
                        sequence,
                        Rcode::FORMERR,
                    )));
                };
                match self.source(&name, Some(serial), published) {
                    // RFC 1995 §2: over UDP, the SOA alone sends the client to TCP.
                    Some(source) if !streams => Some(source.soa_alone()),
                    other => other,
                }
            }
            Some((name, Rtype::SOA)) if self.is_catalog(&name) => {
                self.source(&name, None, published).map(Source::soa_alone)
            }
            _ => return Heard::Signed(without_signature(message), Box::new(sequence)),
        };
        Heard::Replies(Box::new(match source {
            Some(source) => Replies::new(&message, sequence, source),
            None => Replies::refusing(&message, sequence, Rcode::NOTAUTH),
        }))
    }

    fn is_catalog(&self, name: &OwnerName) -> bool {
        self.catalog
            .as_ref()
            .is_some_and(|catalog| catalog.name() == name)
    }

    /// The zone called `name`, or what it took since `serial`.
    fn source(
        &self,
        name: &OwnerName,
        serial: Option<Serial>,
        published: &Published,
    ) -> Option<Source> {
        let zone = published.zone()?;
        if let Some(catalog) = self
            .catalog
            .as_ref()
            .filter(|catalog| catalog.name() == name)
        {
            return Some(Source::list(catalog.records(&zone)));
        }
        let index = zone.apexes().iter().position(|apex| apex.name() == name)?;
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.catch_up(&zone);
        Some(match serial {
            Some(serial) => journal
                .since(&zone, index, serial)
                .map_or_else(|| Source::whole(Arc::clone(&zone), index), Source::list),
            None => Source::whole(zone, index),
        })
    }

    /// Takes the newest image into the journal; gives for each zone how often
    /// its records changed.
    fn versions(&self, published: &Published) -> Vec<u64> {
        let Some(zone) = published.zone() else {
            return Vec::new();
        };
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.catch_up(&zone);
        journal.versions().to_vec()
    }
}

/// The serial that a client of IXFR has: its SOA in the authority section.
fn known_serial(message: &Message<Vec<u8>>) -> Option<Serial> {
    let mut authority = message.authority().ok()?.limit_to::<Soa<_>>();
    let soa = authority.next()?.ok()?;
    Some(soa.data().serial())
}

/// The query without the TSIG record that was checked: the library takes it out
/// of the count alone and leaves its octets behind the message.
fn without_signature(message: Message<Vec<u8>>) -> Vec<u8> {
    let end = message.additional().ok().and_then(|mut records| {
        let all_parse = records.by_ref().all(|record| record.is_ok());
        all_parse.then(|| records.pos())
    });
    let mut octets = message.into_octets();
    if let Some(end) = end {
        octets.truncate(end);
    }
    octets
}

/// What transfers read of arbitrary octets, for fuzzing: a query that may be
/// signed, and an answer that is to be.
pub(super) fn fuzz(data: &[u8]) {
    if let Ok(mut message) = Message::from_octets(data.to_vec()) {
        let _ = known_serial(&message);
        let keys = HashMap::<(KeyName, Algorithm), SharedKey>::new();
        if let Err(error) = ServerSequence::request(&keys, &mut message, Time48::now()) {
            let _ = error.build_message(&message, MessageBuilder::new_vec());
        }
    }
    let _ = reply::copy(data);
}

fn open_key(settings: &KeySettings) -> Result<Key, TransferError> {
    let path = &settings.secret_file;
    let text = fs::read_to_string(path).map_err(|source| TransferError::File {
        path: path.clone(),
        source,
    })?;
    let text = Zeroizing::new(text);
    let secret = || -> Option<Zeroizing<Vec<u8>>> {
        let line = text
            .get(..text.len().min(MAX_SECRET_FILE))?
            .lines()
            .next()?;
        let secret = base64::prelude::BASE64_STANDARD.decode(line.trim()).ok()?;
        (secret.len() >= 16).then(|| Zeroizing::new(secret))
    };
    let secret = secret().ok_or_else(|| TransferError::Secret { path: path.clone() })?;
    let wrong = || TransferError::Key(settings.name.clone());
    let algorithm = match settings.algorithm.as_str() {
        "hmac-sha256" => Algorithm::Sha256,
        "hmac-sha384" => Algorithm::Sha384,
        "hmac-sha512" => Algorithm::Sha512,
        _ => return Err(wrong()),
    };
    let name: Name<Vec<u8>> = Name::vec_from_str(&settings.name).map_err(|_| wrong())?;
    let name = name.try_to_name().map_err(|_| wrong())?;
    Key::new(algorithm, &secret, name, None, None).map_err(|_| wrong())
}
