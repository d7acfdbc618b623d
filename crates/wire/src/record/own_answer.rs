//! What do the records that a name's owner set answer, by themselves?
//!
//! For whoever may rest on an owner's word alone: the ledger, which looks at
//! challenges and CAA records, and the authority that fetches a challenge's
//! answer. What follows from replicas is left out, since their hosts are nobody
//! whom the owner trusts with a key; aliases are for the caller to follow.

use crate::{DomainName, PublicKey, RecordSet, RelativeName, record::Name};

const NS: u16 = 2;
const CNAME: u16 = 5;

/// Aliases that are followed from one name: as many as resolvers commonly take.
pub const MAX_ALIASES: usize = 8;

/// What an owner's own records say of one name and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnAnswer<'a> {
    /// The RRset; of a wildcard's, as it stands there.
    Set(&'a RecordSet),
    /// An alias leads there.
    Alias(DomainName),
    /// Nothing: no such records, an alias that leads to no name, or a
    /// delegation, beneath which another server speaks.
    Nothing,
}

impl Name {
    /// What the owner's own records say of `rtype` at `name`, which is at or
    /// beneath this one; by a wildcard where nothing exists at or beneath
    /// `name` (RFC 4592 §3.3.1).
    pub fn own_answer(&self, name: &DomainName, rtype: u16) -> OwnAnswer<'_> {
        let owner = name.prefix_under(&self.name);
        if (owner.is_none() && *name != self.name) || self.cut_above(name).is_some() {
            return OwnAnswer::Nothing;
        }
        match self.set_at(owner, rtype) {
            Some(set) if set.rtype == rtype => OwnAnswer::Set(set),
            Some(alias) => alias
                .data
                .first()
                .and_then(|data| target(data))
                .map_or(OwnAnswer::Nothing, OwnAnswer::Alias),
            None => OwnAnswer::Nothing,
        }
    }

    /// The key of the node that serves the delegated subdomain at or beneath
    /// which `name` lies; none if it lies in none, or no key is recorded.
    pub fn delegate_of(&self, name: &DomainName) -> Option<PublicKey> {
        let cut = self.cut_above(name)?;
        let server = self
            .keys
            .iter()
            .find(|server| server.owner.as_ref() == Some(cut))?;
        Some(server.key)
    }

    /// The delegation at or above `name`. There is at most one: beneath it
    /// only glue may stand (docs/spec/names.md §4).
    fn cut_above(&self, name: &DomainName) -> Option<&RelativeName> {
        let owner = name.prefix_under(&self.name)?;
        self.records
            .iter()
            .filter(|set| set.rtype == NS)
            .filter_map(|set| set.owner.as_ref())
            .find(|cut| is_at_or_beneath(owner, cut.as_str()))
    }

    fn set_at(&self, owner: Option<&str>, rtype: u16) -> Option<&RecordSet> {
        let sought = |node: Option<&str>| {
            self.records.iter().find(|set| {
                set.owner.as_ref().map(RelativeName::as_str) == node
                    && (set.rtype == rtype || set.rtype == CNAME)
            })
        };
        let exists = |node: &str| {
            self.records
                .iter()
                .filter_map(|set| set.owner.as_ref())
                .any(|owner| is_at_or_beneath(owner.as_str(), node))
        };
        let Some(mut node) = owner.filter(|owner| !exists(owner)) else {
            return sought(owner);
        };
        // The closest encloser: the longest name above that exists.
        loop {
            match node.split_once('.') {
                Some((_, above)) if exists(above) => {
                    return sought(Some(&format!("*.{above}")));
                }
                Some((_, above)) => node = above,
                None => return sought(Some("*")),
            }
        }
    }
}

fn is_at_or_beneath(owner: &str, node: &str) -> bool {
    owner
        .strip_suffix(node)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The name in a CNAME's data: labels, without compression; none for a name
/// that nobody could register.
fn target(mut data: &[u8]) -> Option<DomainName> {
    let mut labels = Vec::new();
    while let Some((&length, rest)) = data.split_first() {
        let (label, rest) = rest.split_at_checked(usize::from(length))?;
        if !label.is_empty() {
            labels.push(std::str::from_utf8(label).ok()?.to_ascii_lowercase());
        }
        data = rest;
    }
    labels.join(".").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Amount, Height, ServerKey, SigningKey, record::NameStatus};

    const A: u16 = 1;

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    fn hello(sets: &[(&str, u16, &[u8])], keys: &[(&str, u8)]) -> Name {
        let owner = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        Name {
            name: name("hello.internal"),
            owner: SigningKey::ed25519([1; 32]).public(),
            deposit: Amount(1),
            status: NameStatus::Active,
            registered_at: Height(1),
            rent_due: Height(1),
            changed_at: Height(1),
            notice_due: None,
            sale: None,
            records: sets
                .iter()
                .map(|(at, rtype, data)| RecordSet {
                    owner: owner(at),
                    rtype: *rtype,
                    ttl: 60,
                    data: vec![data.to_vec()],
                })
                .collect(),
            keys: keys
                .iter()
                .map(|(at, seed)| ServerKey {
                    owner: owner(at),
                    key: SigningKey::ed25519([*seed; 32]).public(),
                    certificate: None,
                })
                .collect(),
            endpoints: Vec::new(),
        }
    }

    fn data(record: &Name, at: &str) -> Option<Vec<u8>> {
        match record.own_answer(&name(at), A) {
            OwnAnswer::Set(set) => set.data.first().cloned(),
            _ => None,
        }
    }

    #[test]
    fn rfc4592_a_wildcard_answers_only_where_nothing_exists() {
        let record = hello(&[("", A, &[1]), ("*", A, &[2]), ("a.b", 16, &[0])], &[]);
        assert_eq!(data(&record, "hello.internal"), Some(vec![1]));
        assert_eq!(data(&record, "x.hello.internal"), Some(vec![2]));
        // `b` exists, without records: neither it nor what is beneath it is the
        // wildcard's.
        assert_eq!(data(&record, "b.hello.internal"), None);
        assert_eq!(data(&record, "c.b.hello.internal"), None);
        assert_eq!(data(&record, "other.internal"), None);
    }

    #[test]
    fn an_alias_is_told_and_one_that_leads_nowhere_is_nothing() {
        let to = b"\x03WWW\x05other\x08internal\x00";
        let record = hello(&[("www", CNAME, to), ("bad", CNAME, b"\x09x")], &[]);
        assert_eq!(
            record.own_answer(&name("www.hello.internal"), A),
            OwnAnswer::Alias(name("www.other.internal"))
        );
        assert_eq!(
            record.own_answer(&name("bad.hello.internal"), A),
            OwnAnswer::Nothing
        );
    }

    #[test]
    fn nothing_is_said_of_what_is_delegated() {
        let server = b"\x02ns\x03sub\x05hello\x08internal\x00";
        let record = hello(
            &[("sub", NS, server), ("ns.sub", A, &[3]), ("xsub", A, &[4])],
            &[("sub", 9)],
        );
        assert_eq!(data(&record, "ns.sub.hello.internal"), None, "glue");
        assert_eq!(data(&record, "xsub.hello.internal"), Some(vec![4]));
        let child = Some(SigningKey::ed25519([9; 32]).public());
        let delegate = |at: &str| record.delegate_of(&name(at));
        assert_eq!(delegate("sub.hello.internal"), child);
        assert_eq!(delegate("a.b.sub.hello.internal"), child);
        assert_eq!(delegate("hello.internal"), None);
        assert_eq!(delegate("xsub.hello.internal"), None);
        assert_eq!(delegate("sub.other.internal"), None);
    }

    #[test]
    fn a_server_key_without_a_delegation_is_no_delegates() {
        let record = hello(&[("sub", A, &[1])], &[("sub", 9)]);
        assert_eq!(record.delegate_of(&name("sub.hello.internal")), None);
    }
}
