//! A zone as a master file (RFC 1035 §5): what stock programs load and verify.

use std::fmt::Write as _;

use domain::base::{
    Record,
    iana::Class,
    zonefile_fmt::{DisplayKind, ZonefileFmt as _},
};

use super::Apex;

impl Apex {
    /// The zone with its signatures, one record a line, in canonical order:
    /// the same zone gives the same text.
    pub fn zone_file(&self) -> String {
        let mut text = String::new();
        for (owner, set) in self.records() {
            let mut lines: Vec<String> = set
                .data
                .iter()
                .chain(&set.signatures)
                .map(|data| {
                    let record = Record::new(&owner, Class::IN, set.ttl, data);
                    record.display_zonefile(DisplayKind::Simple).to_string()
                })
                .collect();
            // Data come in the order in which they were learnt.
            lines[..set.data.len()].sort_unstable();
            for line in lines {
                // Writing into a string does not fail.
                let _ = writeln!(text, "{line}");
            }
        }
        text
    }
}
