//! Domain names in the one form the ledger knows: A-labels, lower case, no
//! trailing dot.
//!
//! Which names may be registered is for the `names` module of the ledger;
//! this file checks form alone.

use std::{fmt, io, str::FromStr};

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// Octets of a name in text form: 255 in wire form (RFC 1035 §2.3.4) less the
/// root label and the first length octet.
pub const MAX_NAME_BYTES: usize = 253;

/// Octets of one label (RFC 1035 §2.3.4).
pub const MAX_LABEL_BYTES: usize = 63;

/// A domain name: labels of lower-case letters, digits, hyphens and, as the
/// first character, an underscore, joined by dots.
///
/// Errors: decoding and parsing refuse every other form, so that equal names
///         are equal bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainName(String);

/// Why a text is no domain name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseNameError {
    /// Empty, or with an empty label.
    #[error("a name has no empty labels and no trailing dot")]
    EmptyLabel,
    /// Over 253 octets.
    #[error("a name has at most {MAX_NAME_BYTES} octets")]
    TooLong,
    /// A label of over 63 octets.
    #[error("the label {0:?} has over {MAX_LABEL_BYTES} octets")]
    LabelTooLong(String),
    /// A character that is not allowed where it stands.
    #[error(
        "the label {0:?} holds a character other than a-z, 0-9 and inner hyphens \
         (write international names as A-labels, xn--…)"
    )]
    Character(String),
}

impl DomainName {
    /// The text form, without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels, leftmost first.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }

    /// The labels of `self` to the left of `suffix`; none if `self` does not
    /// lie strictly beneath it.
    pub fn prefix_under(&self, suffix: &Self) -> Option<&str> {
        self.0.strip_suffix(&suffix.0)?.strip_suffix('.')
    }

    /// The name one label beneath an apex at or above which this one lies: the
    /// one that would be registered. Of several apexes, the longest counts.
    pub fn registered_under(&self, apexes: &[Self]) -> Option<Self> {
        let (apex, prefix) = apexes
            .iter()
            .filter_map(|apex| Some((apex, self.prefix_under(apex)?)))
            .max_by_key(|(apex, _)| apex.0.len())?;
        let label = prefix.rsplit('.').next()?;
        Some(Self(format!("{label}.{apex}")))
    }

    /// The name one label up; none for a single label.
    pub fn parent(&self) -> Option<Self> {
        self.0
            .split_once('.')
            .map(|(_, rest)| Self(rest.to_owned()))
    }
}

fn check_label(label: &str) -> Result<(), ParseNameError> {
    if label.is_empty() {
        return Err(ParseNameError::EmptyLabel);
    }
    if label.len() > MAX_LABEL_BYTES {
        return Err(ParseNameError::LabelTooLong(label.to_owned()));
    }
    let bytes = label.strip_prefix('_').unwrap_or(label).as_bytes();
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    let ends_well = bytes.first() != Some(&b'-') && bytes.last() != Some(&b'-');
    if bytes.is_empty() || !ends_well || !bytes.iter().all(inner) {
        return Err(ParseNameError::Character(label.to_owned()));
    }
    Ok(())
}

impl FromStr for DomainName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, ParseNameError> {
        if text.len() > MAX_NAME_BYTES {
            return Err(ParseNameError::TooLong);
        }
        text.split('.').try_for_each(check_label)?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for DomainName {
    type Error = ParseNameError;

    fn try_from(text: String) -> Result<Self, ParseNameError> {
        text.parse()
    }
}

impl From<DomainName> for String {
    fn from(name: DomainName) -> Self {
        name.0
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DomainName({})", self.0)
    }
}

impl BorshDeserialize for DomainName {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let text = String::deserialize_reader(reader)?;
        text.parse()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_canonical_form_and_nothing_else() {
        for good in [
            "internal",
            "hello.internal",
            "xn--bcher-kva.internal",
            "_443._tcp.a.b",
            "0",
        ] {
            assert_eq!(good.parse::<DomainName>().unwrap().as_str(), good);
        }
        let long_label = "a".repeat(64);
        let long_name = ["abcdefghi"; 26].join(".");
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "A",
            "-a",
            "a-",
            "a b",
            "ü",
            "_",
            "a_b",
            &long_label,
            &long_name,
        ] {
            assert!(bad.parse::<DomainName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn prefix_under_wants_whole_labels() {
        let apex: DomainName = "internal".parse().unwrap();
        let under = |text: &str| {
            let name: DomainName = text.parse().unwrap();
            name.prefix_under(&apex).map(str::to_owned)
        };
        assert_eq!(under("hello.internal").as_deref(), Some("hello"));
        assert_eq!(under("a.b.internal").as_deref(), Some("a.b"));
        assert_eq!(under("internal"), None);
        assert_eq!(under("ainternal"), None);
    }
}
