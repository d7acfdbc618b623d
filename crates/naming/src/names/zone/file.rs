//! A zone as a master file (RFC 1035 §5): what stock programs load and verify.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use domain::{
    base::{
        Record,
        iana::{Class, Rtype},
        zonefile_fmt::{DisplayKind, ZonefileFmt as _},
    },
    rdata::{ZoneRecordData, dnssec::Timestamp},
};
use time::OffsetDateTime;

use super::{Apex, Data, OwnerName, RrSet};

impl Apex {
    /// The zone with its signatures, one record a line, in canonical order:
    /// the same zone gives the same text.
    pub fn zone_file(&self) -> String {
        self.file_within(&self.name)
    }

    /// The part of [`Apex::zone_file`] at and beneath `name`.
    pub fn file_within(&self, name: &OwnerName) -> String {
        let mut text = String::new();
        for (owner, set) in self.records().filter(|(owner, _)| owner.ends_with(name)) {
            let mut lines: Vec<String> = set
                .data
                .iter()
                .map(|data| line(&owner, &set, data))
                .collect();
            // Data come in the order in which they were learnt.
            lines.sort_unstable();
            lines.extend(set.signatures.iter().map(|data| line(&owner, &set, data)));
            for line in lines {
                // Writing into a string does not fail.
                let _ = writeln!(text, "{line}");
            }
        }
        text
    }
}

fn line(owner: &OwnerName, set: &RrSet, data: &Data) -> String {
    let ZoneRecordData::Rrsig(rrsig) = data else {
        let record = Record::new(owner, Class::IN, set.ttl, data);
        let text = record.display_zonefile(DisplayKind::Simple).to_string();
        // RFC 9460 §2.1 lets every key be written by its number, and not every
        // server knows this one by its name (RFC 9461 §5).
        return match set.rtype {
            Rtype::SVCB => text.replacen(" dohpath=", " key7=", 1),
            _ => text,
        };
    };
    // The library writes times as seconds, which RFC 4034 §3.2 allows and
    // not every server reads.
    format!(
        "{}. {} IN RRSIG {} {} {} {} {} {} {} {}. {}",
        owner,
        set.ttl.as_secs(),
        rrsig.type_covered(),
        rrsig.algorithm().to_int(),
        rrsig.labels(),
        rrsig.original_ttl().as_secs(),
        date(rrsig.expiration()),
        date(rrsig.inception()),
        rrsig.key_tag(),
        rrsig.signer_name(),
        BASE64_STANDARD.encode(rrsig.signature()),
    )
}

/// A time as YYYYMMDDHHMMSS in UTC (RFC 4034 §3.2).
fn date(timestamp: Timestamp) -> String {
    let time = OffsetDateTime::from_unix_timestamp(timestamp.into_int().into())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}
