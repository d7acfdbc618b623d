//! Which DS records shall the parent hold of a subdomain that is delegated?
//!
//! They follow from the keys of the subdomain's own zone: those that its owner
//! names, or those that its server announces (CDS and CDNSKEY, RFC 7344, RFC
//! 8078). What a server says over the network is believed for the keys that
//! the ledger's DS records already vouch for; the first time, its owner looks
//! at what was found and decides.

use std::{net::SocketAddr, time::Duration};

use aws_lc_rs::signature;
use bytes::Bytes;
use domain::{
    base::{
        Message, MessageBuilder, ParsedName, RecordData as _, ToName as _,
        iana::{DigestAlgorithm, Rcode, Rtype, SecurityAlgorithm},
        name::FlattenInto as _,
        rdata::ComposeRecordData,
    },
    rdata::{
        Dnskey, Rrsig, ZoneRecordData,
        dnssec::{ProtoRrsig, Timestamp},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use wire::DomainName;

use crate::names::{Data, OwnerName, absolute, canonical_octets, ds_of};

type Signature = Rrsig<Bytes, OwnerName>;

/// How long the subdomain's server has for one answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What is asked for.
const ASKED: [Rtype; 3] = [Rtype::DNSKEY, Rtype::CDS, Rtype::CDNSKEY];

/// Keys and DS records that a zone may have: far more than a roll-over needs.
const MAX_KEYS: usize = 16;

/// Why there are no DS records to be had from a zone.
#[derive(Debug, thiserror::Error)]
pub enum DelegationError {
    /// The server was not reached, or does not answer.
    #[error("the name server at {server} does not answer")]
    Unreachable {
        /// Which.
        server: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// What it answered is no answer.
    #[error("the name server at {server} gives no answer about {zone}: {reason}")]
    Malformed {
        /// Which.
        server: SocketAddr,
        /// The zone.
        zone: DomainName,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no DNSKEY set, or more keys than can be looked at.
    #[error("{0} is not signed: it has no usable DNSKEY records")]
    Unsigned(DomainName),
    /// No key that the parent vouches for signed this set.
    #[error("the {rtype} records of {zone} are not signed by a key that its DS records vouch for")]
    Untrusted {
        /// The zone.
        zone: DomainName,
        /// Which set.
        rtype: Rtype,
    },
    /// CDS and CDNSKEY announce different keys (RFC 7344 §4).
    #[error("the CDS and CDNSKEY records of {0} announce different keys")]
    Contradiction(DomainName),
    /// The announced records would leave the zone without a key that signs it.
    #[error("with the DS records that {0} announces, no key of it would be trusted")]
    WouldBreak(DomainName),
    /// The first time, there is nothing to be taken away.
    #[error("{0} announces that it wants no DS records (RFC 8078 §4)")]
    WantsNone(DomainName),
}

/// A set of records with the signatures over it.
#[derive(Clone, Debug, Default)]
struct SignedSet {
    records: Vec<Data>,
    signatures: Vec<Signature>,
}

/// What a subdomain's server says of its zone's keys.
#[derive(Clone, Debug)]
pub struct ChildZone {
    zone: DomainName,
    name: OwnerName,
    dnskeys: SignedSet,
    cds: SignedSet,
    cdnskeys: SignedSet,
}

/// One DS record's data in wire form (RFC 4034 §5.1).
pub type DsData = Vec<u8>;

impl ChildZone {
    /// Asks the server at `server`, over TCP.
    ///
    /// Errors: [`DelegationError::Unreachable`], [`DelegationError::Malformed`].
    pub async fn read(server: SocketAddr, zone: &DomainName) -> Result<Self, DelegationError> {
        let malformed = |reason: String| DelegationError::Malformed {
            server,
            zone: zone.clone(),
            reason,
        };
        let name =
            absolute(zone.as_str()).ok_or_else(|| malformed("it is no name of DNS".to_owned()))?;
        let mut answers = [const { Vec::new() }; 3];
        for (answer, rtype) in answers.iter_mut().zip(ASKED) {
            let asked = tokio::time::timeout(TIMEOUT, ask(server, &name, rtype)).await;
            *answer = asked
                .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))
                .flatten()
                .map_err(|source| DelegationError::Unreachable { server, source })?;
        }
        Self::of(zone, answers).map_err(malformed)
    }

    /// What a server's answers say: to questions for DNSKEY, CDS and CDNSKEY.
    ///
    /// Errors: what is wrong with the first that is none.
    pub fn of(zone: &DomainName, answers: [Vec<u8>; 3]) -> Result<Self, String> {
        let name = absolute(zone.as_str()).ok_or("it is no name of DNS")?;
        let [dnskeys, cds, cdnskeys] = answers;
        let [of_keys, of_cds, of_cdnskeys] = ASKED;
        Ok(Self {
            dnskeys: read_set(dnskeys, &name, of_keys)?,
            cds: read_set(cds, &name, of_cds)?,
            cdnskeys: read_set(cdnskeys, &name, of_cdnskeys)?,
            zone: zone.clone(),
            name,
        })
    }

    /// The DS records for a zone that has none yet: those that it announces,
    /// or of each of its key-signing keys. Its keys have signed each other;
    /// that they are the zone's, somebody has to look.
    ///
    /// Units: `now` is Unix seconds modulo 2^32.
    /// Errors: the zone is not signed, or not by what it announces.
    pub fn first(&self, now: u32) -> Result<Vec<DsData>, DelegationError> {
        let keys = self.keys()?;
        let all: Vec<DsData> = keys
            .iter()
            .filter(|key| key.is_secure_entry_point() && !key.is_revoked())
            .filter_map(|key| ds(&self.name, key, DigestAlgorithm::SHA256))
            .collect();
        let announced = match self.announced(&keys, now)? {
            Some(none) if none.is_empty() => {
                return Err(DelegationError::WantsNone(self.zone.clone()));
            }
            Some(announced) => announced,
            None => all,
        };
        self.check_continuity(&keys, &announced, now)?;
        Ok(announced)
    }

    /// The DS records that are to take the place of `current`; none if the zone
    /// announces nothing; empty if it asks to be unsigned (RFC 8078 §4).
    ///
    /// Errors: what is announced is not signed by a key that `current` vouches
    ///         for, or would break the zone: nothing is to be changed then.
    pub fn next(
        &self,
        current: &[DsData],
        now: u32,
    ) -> Result<Option<Vec<DsData>>, DelegationError> {
        let keys = self.keys()?;
        let vouched: Vec<_> = keys
            .iter()
            .filter(|key| current.iter().any(|held| matches(&self.name, key, held)))
            .cloned()
            .collect();
        self.check_signed(&self.dnskeys, Rtype::DNSKEY, &vouched, now)?;
        let Some(announced) = self.announced(&vouched, now)? else {
            return Ok(None);
        };
        if !announced.is_empty() {
            self.check_continuity(&keys, &announced, now)?;
        }
        Ok(Some(announced))
    }

    fn keys(&self) -> Result<Vec<Dnskey<Bytes>>, DelegationError> {
        let keys: Vec<_> = self
            .dnskeys
            .records
            .iter()
            .filter_map(|data| match data {
                ZoneRecordData::Dnskey(key) if key.is_zone_key() => Some(key.clone()),
                _ => None,
            })
            .collect();
        if keys.is_empty() || keys.len() > MAX_KEYS {
            return Err(DelegationError::Unsigned(self.zone.clone()));
        }
        Ok(keys)
    }

    /// What CDS and CDNSKEY announce, signed by one of `by` (RFC 7344 §4.1).
    fn announced(
        &self,
        by: &[Dnskey<Bytes>],
        now: u32,
    ) -> Result<Option<Vec<DsData>>, DelegationError> {
        for (set, rtype) in [(&self.cds, Rtype::CDS), (&self.cdnskeys, Rtype::CDNSKEY)] {
            if !set.records.is_empty() {
                self.check_signed(set, rtype, by, now)?;
            }
        }
        let from_cds: Vec<DsData> = (self.cds.records.iter())
            .filter_map(|data| match data {
                ZoneRecordData::Cds(cds) => Some(compose(cds)),
                _ => None,
            })
            .collect();
        let from_keys: Vec<DsData> = (self.cdnskeys.records.iter())
            .filter_map(|data| match data {
                ZoneRecordData::Cdnskey(key) => {
                    let (flags, protocol) = (key.flags(), key.protocol());
                    let public = key.public_key().clone();
                    let key = Dnskey::new(flags, protocol, key.algorithm(), public).ok()?;
                    ds(&self.name, &key, DigestAlgorithm::SHA256)
                }
                _ => None,
            })
            .collect();
        // RFC 8078 §4: algorithm 0 asks for the DS records to be deleted.
        let deletes = |data: &DsData| data.get(2) == Some(&0);
        let zero_key = self.cdnskeys.records.iter().any(
            |data| matches!(data, ZoneRecordData::Cdnskey(key) if key.algorithm().to_int() == 0),
        );
        if from_cds.iter().any(deletes) || (from_cds.is_empty() && zero_key) {
            return Ok(Some(Vec::new()));
        }
        let digest_type = |data: &DsData| data.get(3).copied();
        let usable: Vec<DsData> = (from_cds.iter())
            .filter(|data| matches!(digest_type(data), Some(2 | 4)))
            .cloned()
            .collect();
        let contradicts = !from_cds.is_empty()
            && !from_keys.is_empty()
            && usable
                .iter()
                .any(|held| digest_type(held) == Some(2) && !from_keys.contains(held));
        if contradicts || usable.len() > MAX_KEYS || from_keys.len() > MAX_KEYS {
            return Err(DelegationError::Contradiction(self.zone.clone()));
        }
        Ok(match (usable.is_empty(), from_keys.is_empty()) {
            (false, _) => Some(usable),
            (true, false) => Some(from_keys),
            (true, true) => None,
        })
    }

    /// A key for which there would be a DS record signs the keys (RFC 7344 §4.1).
    fn check_continuity(
        &self,
        keys: &[Dnskey<Bytes>],
        wanted: &[DsData],
        now: u32,
    ) -> Result<(), DelegationError> {
        let trusted: Vec<_> = keys
            .iter()
            .filter(|key| wanted.iter().any(|held| matches(&self.name, key, held)))
            .cloned()
            .collect();
        self.check_signed(&self.dnskeys, Rtype::DNSKEY, &trusted, now)
            .map_err(|_| DelegationError::WouldBreak(self.zone.clone()))
    }

    fn check_signed(
        &self,
        set: &SignedSet,
        rtype: Rtype,
        by: &[Dnskey<Bytes>],
        now: u32,
    ) -> Result<(), DelegationError> {
        let holds = set.signatures.iter().any(|signature| {
            by.iter()
                .any(|key| verify(&self.name, rtype, set, signature, key, now))
        });
        if holds {
            Ok(())
        } else {
            Err(DelegationError::Untrusted {
                zone: self.zone.clone(),
                rtype,
            })
        }
    }
}

/// The DS record, SHA-256, of a DNSKEY record's data in wire form; none if it is
/// no key of a zone.
pub fn ds_of_dnskey(zone: &DomainName, dnskey: &[u8]) -> Option<DsData> {
    let (flags, rest) = dnskey.split_first_chunk::<2>()?;
    let (protocol_and_algorithm, public) = rest.split_first_chunk::<2>()?;
    let [protocol, algorithm] = *protocol_and_algorithm;
    let key = Dnskey::new(
        u16::from_be_bytes(*flags),
        protocol,
        SecurityAlgorithm::from_int(algorithm),
        Bytes::copy_from_slice(public),
    )
    .ok()?;
    (key.is_zone_key() && protocol == 3)
        .then(|| ds(&absolute(zone.as_str())?, &key, DigestAlgorithm::SHA256))
        .flatten()
}

fn compose(data: &impl ComposeRecordData) -> Vec<u8> {
    let mut octets = Vec::new();
    // Composing into a vector does not fail.
    let _ = data.compose_rdata(&mut octets);
    octets
}

fn ds(name: &OwnerName, key: &Dnskey<Bytes>, kind: DigestAlgorithm) -> Option<DsData> {
    Some(compose(&ds_of(name, key, kind)?))
}

/// Whether `held`, a DS record's data, is of `key`.
fn matches(name: &OwnerName, key: &Dnskey<Bytes>, held: &DsData) -> bool {
    let kind = held.get(3).copied().map(DigestAlgorithm::from_int);
    kind.and_then(|kind| ds(name, key, kind))
        .is_some_and(|own| own == *held)
}

/// RFC 4035 §5.3.
fn verify(
    name: &OwnerName,
    rtype: Rtype,
    set: &SignedSet,
    signature: &Signature,
    key: &Dnskey<Bytes>,
    now: u32,
) -> bool {
    let timely = Timestamp::from(now) >= signature.inception()
        && Timestamp::from(now) <= signature.expiration();
    let of_key = signature.algorithm() == key.algorithm()
        && signature.key_tag() == key.key_tag()
        && !key.is_revoked();
    let of_set = signature.type_covered() == rtype
        && signature.signer_name() == name
        && signature.labels() == name.rrsig_label_count();
    if !(timely && of_key && of_set) {
        return false;
    }
    let ttl = signature.original_ttl();
    let proto = ProtoRrsig::new(
        rtype,
        signature.algorithm(),
        signature.labels(),
        ttl,
        signature.expiration(),
        signature.inception(),
        signature.key_tag(),
        name.clone(),
    );
    let octets = canonical_octets(&proto, name, ttl, &set.records);
    signed(key, &octets, signature.signature())
}

fn signed(key: &Dnskey<Bytes>, octets: &[u8], signed: &[u8]) -> bool {
    let public: &[u8] = key.public_key();
    // SEC 1 §2.3.3: DNSKEY leaves out the octet of an uncompressed point.
    let point = || [&[4], public].concat();
    let with = |algorithm: &'static dyn signature::VerificationAlgorithm, key: Vec<u8>| {
        signature::UnparsedPublicKey::new(algorithm, key)
            .verify(octets, signed)
            .is_ok()
    };
    match key.algorithm() {
        SecurityAlgorithm::ECDSAP256SHA256 => with(&signature::ECDSA_P256_SHA256_FIXED, point()),
        SecurityAlgorithm::ECDSAP384SHA384 => with(&signature::ECDSA_P384_SHA384_FIXED, point()),
        SecurityAlgorithm::ED25519 => with(&signature::ED25519, public.to_vec()),
        SecurityAlgorithm::RSASHA256 => rsa(public).is_some_and(|components| {
            components
                .verify(&signature::RSA_PKCS1_2048_8192_SHA256, octets, signed)
                .is_ok()
        }),
        _ => false,
    }
}

/// RFC 3110 §2, with an exponent of fewer than 256 octets.
fn rsa(public: &[u8]) -> Option<signature::RsaPublicKeyComponents<&[u8]>> {
    let (length, rest) = public.split_first()?;
    let (e, n) = rest.split_at_checked(usize::from(*length))?;
    (!e.is_empty() && !n.is_empty()).then_some(signature::RsaPublicKeyComponents { n, e })
}

/// Asks over TCP, so that nothing is cut off and the sender is not made up.
async fn ask(server: SocketAddr, name: &OwnerName, rtype: Rtype) -> std::io::Result<Vec<u8>> {
    let other = || std::io::Error::from(std::io::ErrorKind::Other);
    let mut id = [0; 2];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| other())?;
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(u16::from_be_bytes(id));
    let mut question = builder.question();
    question.push((name, rtype)).map_err(|_| other())?;
    let mut additional = question.additional();
    additional
        .opt(|opt| {
            opt.set_dnssec_ok(true);
            opt.set_udp_payload_size(1232);
            Ok(())
        })
        .map_err(|_| other())?;
    let query = additional.finish();
    let length = u16::try_from(query.len()).map_err(|_| other())?;
    let mut stream = TcpStream::connect(server).await?;
    stream
        .write_all(&[&length.to_be_bytes(), query.as_slice()].concat())
        .await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    if answer.get(..2) != Some(&id) {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    Ok(answer)
}

/// The set of `rtype` at `name` in an answer, with its signatures.
fn read_set(answer: Vec<u8>, name: &OwnerName, rtype: Rtype) -> Result<SignedSet, String> {
    let message = Message::from_octets(Bytes::from(answer)).map_err(|error| error.to_string())?;
    let header = message.header();
    if header.rcode() != Rcode::NOERROR {
        return Err(format!("{}", header.rcode()));
    }
    if !header.aa() || header.tc() {
        return Err("the answer is not authoritative and whole".to_owned());
    }
    let section = message.answer().map_err(|error| error.to_string())?;
    let mut set = SignedSet::default();
    for record in section.limit_to_in::<ZoneRecordData<Bytes, ParsedName<Bytes>>>() {
        let record = record.map_err(|error| error.to_string())?;
        if record.owner() != name {
            continue;
        }
        let data: Data = record.into_data().flatten_into();
        match data {
            ZoneRecordData::Rrsig(signature) if signature.type_covered() == rtype => {
                set.signatures.push(signature);
            }
            ZoneRecordData::Rrsig(_) => {}
            data if data.rtype() == rtype => set.records.push(data),
            _ => {}
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presentation::{rdata, zone_form};

    #[test]
    fn rfc_6605_6_1_the_ds_record_follows_from_the_key() {
        let key = "257 3 13 GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==";
        let zone: DomainName = "example.net".parse().unwrap();
        let ds = ds_of_dnskey(&zone, &rdata(Rtype::DNSKEY, key).unwrap()).unwrap();
        let said = zone_form(Rtype::DS, &ds).to_lowercase().replace(' ', "");
        let digest = "b4c8c1fe2e7477127b27115656ad6256f424625bf5c1e2770ce6d6e37df61d17";
        assert_eq!(said, format!("55648132{digest}"));
        for other in ["0 3 13 GojI", "257 2 13 GojI"] {
            let other = rdata(Rtype::DNSKEY, other).unwrap();
            assert_eq!(ds_of_dnskey(&zone, &other), None, "no key of a zone");
        }
        assert_eq!(ds_of_dnskey(&zone, &[1, 1, 3]), None);
    }
}
