//! Reading a zone file (RFC 1035 §5) within bounds.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    path::Path,
};

use anyhow::{Context as _, bail};
use domain::{
    base::{iana::Class, rdata::ComposeRecordData as _},
    zonefile::inplace::{Entry, Zonefile},
};

/// The longest file that is read: a hundred thousand names with some records.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// The longest time to live (RFC 2181 §8).
const MAX_TTL: u32 = i32::MAX as u32;

/// RRsets by owner (lower case, no dot at the end) and type.
pub type Records = BTreeMap<(String, u16), FileSet>;

/// An RRset of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSet {
    /// Its time to live, seconds.
    pub ttl: u32,
    /// Its data, uncompressed.
    pub data: BTreeSet<Vec<u8>>,
}

/// Reads the file at `path`.
///
/// Errors: it is too long, does not parse, includes other files, has another
/// class than IN, or an RRset with several times to live (RFC 2181 §5.2).
pub fn read(path: &Path) -> anyhow::Result<Records> {
    let mut text = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text))
        .with_context(|| format!("read {}", path.display()))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        bail!("{} is over {MAX_FILE_BYTES} octets", path.display());
    }
    parse(&text).with_context(|| format!("{} is no zone file for this", path.display()))
}

/// Parses the text of a zone file.
pub fn parse(text: &[u8]) -> anyhow::Result<Records> {
    let mut file = Zonefile::with_capacity(text.len() + 1);
    file.extend_from_slice(text);
    // The last line counts without its end too.
    file.extend_from_slice(b"\n");
    file.set_default_class(Class::IN);
    let mut records = Records::new();
    while let Some(entry) = file
        .next_entry()
        .map_err(|error| anyhow::anyhow!("{error}"))?
    {
        let Entry::Record(record) = entry else {
            bail!("$INCLUDE is not followed: put the files together");
        };
        let owner = record.owner().to_string().to_ascii_lowercase();
        let owner = owner.trim_end_matches('.').to_owned();
        let rtype = record.rtype();
        if record.class() != Class::IN {
            bail!("{owner} {rtype} is of another class than IN");
        }
        let ttl = record.ttl().as_secs();
        if ttl > MAX_TTL {
            bail!("{owner} {rtype} has a time to live of {ttl} s");
        }
        let mut data = Vec::new();
        record
            .data()
            .compose_rdata(&mut data)
            .map_err(|_| anyhow::anyhow!("{owner} {rtype} is too long"))?;
        let set = records
            .entry((owner.clone(), rtype.to_int()))
            .or_insert_with(|| FileSet {
                ttl,
                data: BTreeSet::new(),
            });
        if set.ttl != ttl {
            bail!("{owner} {rtype} has several times to live");
        }
        set.data.insert(data);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rrsets_are_read_with_their_owners_and_times() {
        let text = "$ORIGIN Hello.internal.\n$TTL 60\n@ IN A 192.0.2.1\n  A 192.0.2.2\n\
                    www 300 CNAME @\n* TXT \"a b\" c";
        let records = parse(text.as_bytes()).unwrap();
        let keys: Vec<_> = records.keys().cloned().collect();
        assert_eq!(
            keys,
            [
                ("*.hello.internal".to_owned(), 16),
                ("hello.internal".to_owned(), 1),
                ("www.hello.internal".to_owned(), 5),
            ]
        );
        assert_eq!(records[&keys[1]].data.len(), 2);
        assert_eq!(records[&keys[1]].ttl, 60);
        assert_eq!(records[&keys[2]].ttl, 300);
        assert!(records[&keys[0]].data.contains(&b"\x03a b\x01c"[..]));
    }

    #[test]
    fn refuses_what_it_would_get_wrong() {
        for (bad, why) in [
            ("$INCLUDE other\n", "$INCLUDE"),
            ("a.internal. 1 CH TXT x\n", "class"),
            (
                "a.internal. 1 IN A 192.0.2.1\na.internal. 2 IN A 192.0.2.2\n",
                "several times",
            ),
            ("a.internal. 1 IN A 192.0.2\n", ""),
            ("relative 1 IN A 192.0.2.1\n", ""),
            ("a.internal. 1 IN MX 10 (\n", ""),
        ] {
            let error = parse(bad.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{bad:?}: {error}");
        }
    }
}
