//! A zone that lists the others (RFC 9432), for secondaries to take them up.

use bytes::Bytes;
use domain::{
    base::{Name, Record, Serial, Ttl, iana::Class},
    rdata::{Ns, Ptr, Soa, Txt},
};

use super::journal::ZoneRecord;
use crate::names::zone::{Data, OwnerName, Zone, absolute};

/// Times of the catalog's SOA, seconds; members change once in years.
const REFRESH: Ttl = Ttl::from_secs(3600);
const RETRY: Ttl = Ttl::from_secs(60);
const EXPIRE: Ttl = Ttl::from_secs(7 * 86_400);

/// Nobody resolves a catalog.
const TTL: Ttl = Ttl::from_secs(0);

/// A catalog's name and serial.
#[derive(Clone, Debug)]
pub(super) struct Catalog {
    name: OwnerName,
    serial: Serial,
}

impl Catalog {
    /// A catalog; its serial is when the server started, for that is when the
    /// zones it serves can change.
    pub fn new(name: OwnerName, serial: Serial) -> Self {
        Self { name, serial }
    }

    pub fn name(&self) -> &OwnerName {
        &self.name
    }

    /// The catalog of the zones of `zone`, with the SOA first and last, as a
    /// transfer has it.
    pub fn records(&self, zone: &Zone) -> Vec<ZoneRecord> {
        // RFC 9432 §4.1: a name that is none.
        let nobody = absolute("invalid").unwrap_or_else(Name::root_bytes);
        let soa: Data = Soa::new(
            nobody.clone(),
            nobody.clone(),
            self.serial,
            REFRESH,
            RETRY,
            EXPIRE,
            TTL,
        )
        .into();
        let soa = self.record(self.name.clone(), soa);
        let mut records = vec![
            soa.clone(),
            self.record(self.name.clone(), Ns::new(nobody).into()),
        ];
        let version: Option<Txt<Bytes>> = Txt::build_from_slice(b"2").ok();
        if let (Some(owner), Some(version)) = (self.beneath("version"), version) {
            records.push(self.record(owner, version.into()));
        }
        for apex in zone.apexes() {
            // The label is the member's for good: a digest of its name.
            let digest = wire::Digest::of(&[apex.name().as_slice()]).short();
            if let Some(owner) = self.beneath(&format!("{digest}.zones")) {
                records.push(self.record(owner, Ptr::new(apex.name().clone()).into()));
            }
        }
        records.push(soa);
        records
    }

    fn beneath(&self, labels: &str) -> Option<OwnerName> {
        absolute(&format!("{labels}.{}", self.name))
    }

    fn record(&self, owner: OwnerName, data: Data) -> ZoneRecord {
        Record::new(owner, Class::IN, TTL, data)
    }
}
