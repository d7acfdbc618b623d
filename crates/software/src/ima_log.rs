//! The kernel's measurement list (IMA, `binary_runtime_measurements`): which
//! files were executed, mapped or loaded, in order, and the register that
//! commits to it.
//!
//! A list is read while the kernel goes on appending, so it need not end where
//! the quote does: what follows the quoted state waits for the next quote.

use aws_lc_rs::digest;

use crate::reader::{Reader, Short};

/// The register that IMA extends.
pub const REGISTER: u8 = 10;

/// A template's name; the kernel's longest is `evm-sig`.
const MAX_TEMPLATE_NAME: usize = 32;

/// A template's data: digest, path and signature; a path has at most 4096
/// octets and a signature far fewer.
const MAX_TEMPLATE_DATA: usize = 16 * 1024;

/// Octets of the SHA-1 digest before each entry.
const TEMPLATE_DIGEST: usize = 20;

/// What the list says of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The file's SHA-256; none under another algorithm, or for a violation
    /// (the file was open for writing, so that no digest means anything).
    pub sha256: Option<&'a [u8; 32]>,
    /// Its path, as the process that used it knew it; not always UTF-8.
    pub path: &'a [u8],
    /// Whether it was open for writing while it was measured.
    pub violation: bool,
}

/// Why a list is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the measurement list is malformed at byte {at}")]
pub struct MalformedList {
    /// Where the entry begins that does not decode.
    pub at: usize,
}

/// Why a list does not fit a quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Not a list.
    #[error(transparent)]
    Malformed(#[from] MalformedList),
    /// No prefix of the list leads to the quoted register: it was changed, or
    /// it was read before the quote was made.
    #[error("the measurement list does not lead to the quoted register, after {entries} entries")]
    Mismatch {
        /// Entries that were replayed.
        entries: u64,
    },
}

/// How far a list was replayed: what the next quote goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, borsh::BorshSerialize, borsh::BorshDeserialize)]
pub struct Position {
    /// Bytes of the list that the quoted register commits to.
    pub bytes: u64,
    /// Entries in them.
    pub entries: u64,
    /// The register there.
    pub register: [u8; 32],
}

impl Position {
    /// Before the first entry: a register after reset.
    pub const START: Self = Self {
        bytes: 0,
        entries: 0,
        register: [0; 32],
    };
}

fn entry<'a>(reader: &mut Reader<'a>) -> Result<(Entry<'a>, &'a [u8]), Short> {
    if reader.u32()? != u32::from(REGISTER) {
        return Err(Short);
    }
    let violation = reader.take(TEMPLATE_DIGEST)? == [0; TEMPLATE_DIGEST];
    let name = reader.sized(MAX_TEMPLATE_NAME)?;
    // The oldest template has no length before its data and hashes its path
    // padded; kernels have not used it by default since 3.13.
    if name == b"ima" {
        return Err(Short);
    }
    let data = reader.sized(MAX_TEMPLATE_DATA)?;
    let mut fields = Reader(data);
    let digest = fields.sized(MAX_TEMPLATE_DATA)?;
    let path = fields.sized(MAX_TEMPLATE_DATA)?;
    let path = path.strip_suffix(&[0]).unwrap_or(path);
    let sha256 = digest
        .strip_prefix(b"sha256:\0")
        .and_then(|digest| digest.try_into().ok())
        .filter(|_| !violation);
    let entry = Entry {
        sha256,
        path,
        violation,
    };
    Ok((entry, data))
}

/// Replays `list` from `from` until the register is `quoted`, and gives each
/// entry up to there to `each`.
///
/// `list` is the whole list; what `from` covers is skipped unread.
///
/// Errors: [`ReplayError`]; then nothing that `each` was given is attested.
pub fn replay<'a>(
    list: &'a [u8],
    from: &Position,
    quoted: &[u8; 32],
    mut each: impl FnMut(Entry<'a>),
) -> Result<Position, ReplayError> {
    let start = usize::try_from(from.bytes)
        .ok()
        .filter(|start| *start <= list.len())
        .ok_or(ReplayError::Mismatch {
            entries: from.entries,
        })?;
    let mut position = *from;
    let mut reader = Reader(&list[start..]);
    while position.register != *quoted {
        let at = list.len() - reader.0.len();
        if reader.is_empty() {
            return Err(ReplayError::Mismatch {
                entries: position.entries,
            });
        }
        let (entry, data) = entry(&mut reader).map_err(|Short| MalformedList { at })?;
        // TPM 2.0 Library, part 1, §11.4.6; a violation extends by ones.
        let mut extended = [0xFF; 64];
        extended[..32].copy_from_slice(&position.register);
        if !entry.violation {
            let hash = digest::digest(&digest::SHA256, data);
            extended[32..].copy_from_slice(hash.as_ref());
        }
        let hash = digest::digest(&digest::SHA256, &extended);
        position.register.copy_from_slice(hash.as_ref());
        position.entries += 1;
        position.bytes = (list.len() - reader.0.len()) as u64;
        each(entry);
    }
    Ok(position)
}

/// Writes an entry as the kernel does under the template `ima-ng`; for tests
/// and benchmarks that need a list.
pub fn encode_entry(sha256: &[u8; 32], path: &str) -> Vec<u8> {
    fn sized(out: &mut Vec<u8>, field: &[u8]) {
        let length = u32::try_from(field.len()).expect("a field of a list is short");
        out.extend(length.to_le_bytes());
        out.extend(field);
    }
    let mut data = Vec::new();
    sized(&mut data, &[b"sha256:\0", sha256.as_slice()].concat());
    sized(&mut data, &[path.as_bytes(), &[0]].concat());
    let mut out = u32::from(REGISTER).to_le_bytes().to_vec();
    out.extend(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &data).as_ref());
    sized(&mut out, b"ima-ng");
    sized(&mut out, &data);
    out
}

/// The register after `list`, replayed whole; none if it is malformed.
pub fn register_after(list: &[u8]) -> Option<[u8; 32]> {
    // No list leads to this value in practice, so the replay runs to the end
    // and says how far it came.
    let mut reader = Reader(list);
    let mut register = [0; 32];
    while !reader.is_empty() {
        let (entry, data) = entry(&mut reader).ok()?;
        let mut extended = [0xFF; 64];
        extended[..32].copy_from_slice(&register);
        if !entry.violation {
            extended[32..].copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
        }
        register.copy_from_slice(digest::digest(&digest::SHA256, &extended).as_ref());
    }
    Some(register)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(count: u8) -> Vec<u8> {
        (0..count)
            .flat_map(|number| encode_entry(&[number; 32], &format!("/usr/bin/{number}")))
            .collect()
    }

    fn entries(list: &[u8], from: &Position, quoted: &[u8; 32]) -> Vec<String> {
        let mut paths = Vec::new();
        replay(list, from, quoted, |entry| {
            paths.push(String::from_utf8_lossy(entry.path).into_owned());
        })
        .unwrap();
        paths
    }

    #[test]
    fn a_list_may_go_on_after_the_quote() {
        let (all, part) = (list(9), list(4));
        let quoted = register_after(&part).unwrap();
        let mut seen = Vec::new();
        let end = replay(&all, &Position::START, &quoted, |entry| seen.push(entry)).unwrap();
        assert_eq!(seen.len(), 4);
        assert_eq!(end.bytes, part.len() as u64);
        assert_eq!(seen[3].sha256, Some(&[3; 32]));
        assert_eq!(seen[3].path, b"/usr/bin/3");
    }

    #[test]
    fn the_next_quote_goes_on_where_the_last_one_ended() {
        let all = list(9);
        let first = register_after(&list(4)).unwrap();
        let last = register_after(&all).unwrap();
        let middle = replay(&all, &Position::START, &first, |_| ()).unwrap();
        assert_eq!(entries(&all, &middle, &last).len(), 5);
        let end = replay(&all, &middle, &last, |_| ()).unwrap();
        assert_eq!(end.entries, 9);
        assert!(entries(&all, &end, &last).is_empty());
    }

    #[test]
    fn a_list_that_was_read_before_the_quote_does_not_fit() {
        let quoted = register_after(&list(5)).unwrap();
        assert_eq!(
            replay(&list(4), &Position::START, &quoted, |_| ()),
            Err(ReplayError::Mismatch { entries: 4 })
        );
    }

    #[test]
    fn no_changed_byte_that_the_register_covers_is_accepted() {
        let good = list(3);
        let quoted = register_after(&good).unwrap();
        let length = good.len() / 3;
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 1;
            // The SHA-1 of an entry and its template's name are not part of
            // what the SHA-256 bank commits to.
            let within = at % length;
            let uncovered = (4..24).contains(&within) || (28..34).contains(&within);
            let verdict = replay(&changed, &Position::START, &quoted, |_| ());
            assert_eq!(verdict.is_ok(), uncovered, "byte {at}");
        }
    }

    #[test]
    fn a_violation_has_no_digest() {
        let mut violated = encode_entry(&[1; 32], "/usr/bin/x");
        violated[4..24].fill(0);
        let quoted = register_after(&violated).unwrap();
        let mut seen = Vec::new();
        replay(&violated, &Position::START, &quoted, |entry| {
            seen.push(entry)
        })
        .unwrap();
        assert!(seen[0].violation);
        assert_eq!(seen[0].sha256, None);
        assert_ne!(
            quoted,
            register_after(&encode_entry(&[1; 32], "/usr/bin/x")).unwrap()
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = replay(&bytes, &Position::START, &[7; 32], |_| ());
            let mut mixed = list(2);
            mixed.extend(bytes);
            let _ = replay(&mixed, &Position::START, &[7; 32], |_| ());
        }
    }
}
