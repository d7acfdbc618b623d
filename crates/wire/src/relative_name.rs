//! Owners of RRsets beneath a registered name: labels relative to it, of which
//! the leftmost may be the wildcard `*` (RFC 4592).

use std::{fmt, io, str::FromStr};

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{DomainName, ParseNameError};

/// The label that stands for every name that does not exist (RFC 4592 §2.1.1).
const WILDCARD: &str = "*";

/// A name relative to a registered name: a [`DomainName`] of which the leftmost
/// label may be `*`.
///
/// Errors: decoding and parsing refuse an asterisk anywhere else, so that no
///         name here looks like a wildcard and is none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelativeName(String);

impl RelativeName {
    /// The text form, without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels, leftmost first.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }

    /// Whether the leftmost label is `*`.
    pub fn is_wildcard(&self) -> bool {
        self.labels().next() == Some(WILDCARD)
    }

    /// Whether `self` lies strictly beneath `ancestor`.
    pub fn is_under(&self, ancestor: &Self) -> bool {
        self.0
            .strip_suffix(&ancestor.0)
            .is_some_and(|rest| rest.ends_with('.'))
    }

    /// The whole name, with `name` to its right; none if it is a wildcard or
    /// the two together are too long.
    pub fn beneath(&self, name: &DomainName) -> Option<DomainName> {
        format!("{}.{name}", self.0).parse().ok()
    }

    /// Whether the two together are within a name's length.
    pub fn fits_beneath(&self, name: &DomainName) -> bool {
        self.0.len() + 1 + name.as_str().len() <= crate::MAX_NAME_BYTES
    }
}

impl FromStr for RelativeName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, ParseNameError> {
        let rest = match text.strip_prefix(WILDCARD) {
            Some("") => return Ok(Self(text.to_owned())),
            Some(rest) => rest
                .strip_prefix('.')
                .ok_or_else(|| ParseNameError::Character(text.to_owned()))?,
            None => text,
        };
        if text.len() > crate::MAX_NAME_BYTES {
            return Err(ParseNameError::TooLong);
        }
        rest.parse::<DomainName>()?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for RelativeName {
    type Error = ParseNameError;

    fn try_from(text: String) -> Result<Self, ParseNameError> {
        text.parse()
    }
}

impl From<RelativeName> for String {
    fn from(name: RelativeName) -> Self {
        name.0
    }
}

impl From<DomainName> for RelativeName {
    fn from(name: DomainName) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for RelativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RelativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelativeName({})", self.0)
    }
}

impl BorshDeserialize for RelativeName {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let text = String::deserialize_reader(reader)?;
        text.parse()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RelativeName {
        text.parse().unwrap()
    }

    #[test]
    fn takes_a_wildcard_as_the_leftmost_label_alone() {
        for good in ["*", "*.a", "*._tcp.a", "www", "_443._tcp"] {
            assert_eq!(name(good).as_str(), good);
            assert_eq!(name(good).is_wildcard(), good.starts_with('*'));
        }
        let long = format!("*.{}", ["abcdefghi"; 26].join("."));
        for bad in ["", "*.", "**", "*a", "a*", "a.*", "*.*", ".*", "A", &long] {
            assert!(bad.parse::<RelativeName>().is_err(), "{bad:?}");
            let bytes = borsh::to_vec(bad).unwrap();
            assert!(
                borsh::from_slice::<RelativeName>(&bytes).is_err(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn lies_under_whole_labels_and_joins_to_a_whole_name() {
        assert!(name("a.b").is_under(&name("b")));
        assert!(name("*.b").is_under(&name("b")));
        assert!(!name("ab").is_under(&name("b")));
        assert!(!name("b").is_under(&name("b")));
        let hello: DomainName = "hello.internal".parse().unwrap();
        assert_eq!(
            name("www").beneath(&hello).unwrap().as_str(),
            "www.hello.internal"
        );
        assert_eq!(name("*").beneath(&hello), None);
    }
}
