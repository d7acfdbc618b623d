//! Which RRsets may an owner set?
//!
//! The rules are written out here and not taken from a DNS library: they are
//! part of consensus, and a library's parser changes with its version. They
//! check form only as far as resolvers and name servers would otherwise be
//! handed nonsense; types that are not named here are opaque (RFC 3597).
//!
//! Source: docs/spec/names.md §4.

use wire::{DomainName, RecordSet, Reject, RelativeName};

use super::label;

/// RFC 2181 §8: a TTL has 31 bits.
const MAX_TTL: u32 = i32::MAX as u32;

pub(super) const A: u16 = 1;
const NS: u16 = 2;
const CNAME: u16 = 5;
const PTR: u16 = 12;
const MX: u16 = 15;
const TXT: u16 = 16;
pub(super) const AAAA: u16 = 28;
const SRV: u16 = 33;
const DS: u16 = 43;
const TLSA: u16 = 52;
const SVCB: u16 = 64;
const HTTPS: u16 = 65;
const SPF: u16 = 99;
const CAA: u16 = 257;

/// Types that only the zone's signer or the protocol itself may produce, and
/// those that would redirect a whole subtree.
fn is_forbidden(rtype: u16) -> bool {
    matches!(
        rtype,
        0                   // reserved (RFC 6895 §3.1)
        | 3 | 4             // MD, MF: obsolete (RFC 1035)
        | 6                 // SOA: the zone's own
        | 10                // NULL: never in a zone (RFC 1035 §3.3.10)
        | 24 | 30           // SIG, NXT: the forerunners of RRSIG and NSEC
        | 39                // DNAME: takes the place of every name beneath
        | 41                // OPT: of messages only (RFC 6891)
        | 46..=48           // RRSIG, NSEC, DNSKEY: the zone's signer's
        | 50 | 51           // NSEC3, NSEC3PARAM: likewise
        | 59 | 60 | 62      // CDS, CDNSKEY, CSYNC: a child zone's apex only
        | 128..=255         // meta and query types (RFC 6895 §3.1)
        | u16::MAX // reserved
    )
}

/// Checks one set that is to be stored beneath `name`; its data is not empty.
///
/// Errors: [`Reject::RecordMalformed`].
pub(super) fn check(name: &DomainName, set: &RecordSet) -> Result<(), Reject> {
    check_owner(name, set.owner.as_ref())?;
    let misplaced = match &set.owner {
        // At the name itself a delegation or an alias would hide the addresses
        // that the market puts there.
        None => matches!(set.rtype, NS | DS | CNAME),
        // RFC 4592 §4.2 leaves NS and DS at a wildcard undefined, and beneath
        // `_tcp` the market puts the keys of live replicas.
        Some(owner) => {
            let market = owner.labels().next_back() == Some("_tcp");
            matches!(set.rtype, NS | DS) && (owner.is_wildcard() || market)
        }
    };
    let repeats = set
        .data
        .iter()
        .enumerate()
        .any(|(index, data)| set.data[..index].contains(data));
    let single = set.rtype != CNAME || set.data.len() == 1;
    let form = set.data.iter().all(|data| is_well_formed(set.rtype, data));
    let good =
        !is_forbidden(set.rtype) && !misplaced && !repeats && single && form && set.ttl <= MAX_TTL;
    if good {
        Ok(())
    } else {
        Err(Reject::RecordMalformed)
    }
}

/// Checks an owner beneath `name`: that the two together make a name, and that
/// its labels are no false A-labels. Whom they look like is for the owner of
/// `name` to see to.
///
/// Errors: [`Reject::RecordMalformed`].
pub(super) fn check_owner(name: &DomainName, owner: Option<&RelativeName>) -> Result<(), Reject> {
    let good = owner.is_none_or(|owner| {
        owner.fits_beneath(name) && owner.labels().all(|label| label::shown(label).is_ok())
    });
    if good {
        Ok(())
    } else {
        Err(Reject::RecordMalformed)
    }
}

/// Checks what sets of one name must satisfy together; they are ascending by
/// owner and type.
///
/// Errors: [`Reject::RecordMalformed`].
pub(super) fn check_together(sets: &[RecordSet]) -> Result<(), Reject> {
    let cuts: Vec<&RelativeName> = sets
        .iter()
        .filter(|set| set.rtype == NS)
        .filter_map(|set| set.owner.as_ref())
        .collect();
    for group in sets.chunk_by(|left, right| left.owner == right.owner) {
        let has = |rtype| group.iter().any(|set| set.rtype == rtype);
        // RFC 2181 §6.1: at and beneath a zone cut the parent holds the
        // delegation and glue, and nothing else: it would never be seen.
        let beneath = group[0]
            .owner
            .as_ref()
            .is_some_and(|owner| cuts.iter().any(|cut| owner.is_under(cut)));
        let hidden = group.iter().any(|set| match set.rtype {
            A | AAAA => false,
            NS | DS => beneath,
            _ => beneath || has(NS),
        });
        let wild = group[0]
            .owner
            .as_ref()
            .is_some_and(|owner| owner.is_wildcard());
        if hidden || (beneath && wild) {
            return Err(Reject::RecordMalformed);
        }
        // RFC 1034 §3.6.2: an alias has no other data.
        let alias_with_more = has(CNAME) && group.len() > 1;
        // RFC 4035 §2.4: a DS set stands beside the delegation that it secures.
        let stray_ds = has(DS) && !has(NS);
        if alias_with_more || stray_ds {
            return Err(Reject::RecordMalformed);
        }
    }
    Ok(())
}

/// Whether RDATA of `rtype` has its type's form.
fn is_well_formed(rtype: u16, data: &[u8]) -> bool {
    match rtype {
        A => data.len() == 4,
        AAAA => data.len() == 16,
        NS | CNAME | PTR => is_name(data),
        MX => data
            .split_at_checked(2)
            .is_some_and(|(_, name)| is_name(name)),
        SRV => data
            .split_at_checked(6)
            .is_some_and(|(_, name)| is_name(name)),
        TXT | SPF => is_texts(data),
        DS => is_ds(data),
        TLSA => is_tlsa(data),
        SVCB | HTTPS => is_service_binding(data),
        CAA => is_caa(data),
        _ => !data.is_empty(),
    }
}

/// The octets of the uncompressed name at the start of `data`.
fn name_length(data: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let label = usize::from(*data.get(at)?);
        at += 1 + label;
        // RFC 1035 §2.3.4; a compression pointer has its top bits set.
        if label > 63 || at > 255 || at > data.len() {
            return None;
        }
        if label == 0 {
            return Some(at);
        }
    }
}

fn is_name(data: &[u8]) -> bool {
    name_length(data) == Some(data.len())
}

/// One or more character-strings (RFC 1035 §3.3.14).
fn is_texts(mut data: &[u8]) -> bool {
    if data.is_empty() {
        return false;
    }
    while let Some((&length, rest)) = data.split_first() {
        match rest.split_at_checked(usize::from(length)) {
            Some((_, rest)) => data = rest,
            None => return false,
        }
    }
    true
}

/// RFC 6698 §2.1: usage, selector, matching type, association data.
fn is_tlsa(data: &[u8]) -> bool {
    match data {
        [_, _, 1, digest @ ..] => digest.len() == 32,
        [_, _, 2, digest @ ..] => digest.len() == 64,
        [_, _, _, rest @ ..] => !rest.is_empty(),
        _ => false,
    }
}

/// RFC 4034 §5.1: key tag, algorithm, digest type, digest.
fn is_ds(data: &[u8]) -> bool {
    match data {
        // RFC 4509; RFC 6605.
        [_, _, _, 2, digest @ ..] => digest.len() == 32,
        [_, _, _, 4, digest @ ..] => digest.len() == 48,
        // RFC 8624 §3.3: SHA-1 must not be used for delegations.
        [_, _, _, 0 | 1, ..] => false,
        [_, _, _, _, digest @ ..] => !digest.is_empty(),
        _ => false,
    }
}

/// RFC 9460 §2.2: priority, target, parameters with ascending keys.
fn is_service_binding(data: &[u8]) -> bool {
    let Some((_, rest)) = data.split_at_checked(2) else {
        return false;
    };
    let Some(target) = name_length(rest) else {
        return false;
    };
    let mut parameters = &rest[target..];
    let mut last = None;
    while let Some((head, rest)) = parameters.split_first_chunk::<4>() {
        let key = u16::from_be_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if last.is_some_and(|last| key <= last) || rest.len() < length {
            return false;
        }
        last = Some(key);
        parameters = &rest[length..];
    }
    parameters.is_empty()
}

/// RFC 8659 §4.1: flags, a tag of letters and digits, a value.
fn is_caa(data: &[u8]) -> bool {
    let [_, length, rest @ ..] = data else {
        return false;
    };
    rest.split_at_checked(usize::from(*length))
        .is_some_and(|(tag, _)| !tag.is_empty() && tag.iter().all(u8::is_ascii_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(owner: Option<&str>, rtype: u16, data: &[&[u8]]) -> RecordSet {
        RecordSet {
            owner: owner.map(|owner| owner.parse().unwrap()),
            rtype,
            ttl: 60,
            data: data.iter().map(|data| data.to_vec()).collect(),
        }
    }

    fn sha256_ds() -> Vec<u8> {
        [[0, 1, 13, 2].as_slice(), &[7; 32]].concat()
    }

    fn verdict(set: &RecordSet) -> bool {
        let name = "hello.internal".parse().unwrap();
        check(&name, set).is_ok()
    }

    #[test]
    fn accepts_well_formed_sets() {
        let good = [
            set(None, A, &[&[10, 0, 0, 1], &[10, 0, 0, 2]]),
            set(None, AAAA, &[&[0; 16]]),
            set(None, TXT, &[b"\x03abc\x00"]),
            set(None, MX, &[b"\x00\x0a\x04mail\x07example\x00"]),
            set(None, CAA, &[b"\x00\x05issueca.example"]),
            set(None, HTTPS, &[b"\x00\x01\x00\x00\x01\x00\x03\x02h2"]),
            set(None, 65_280, &[b"opaque"]),
            set(Some("www"), CNAME, &[b"\x05hello\x08internal\x00"]),
            set(Some("sub"), NS, &[b"\x02ns\x07example\x00"]),
            set(Some("*"), A, &[&[10, 0, 0, 1]]),
            set(Some("*.sub"), CNAME, &[b"\x05hello\x08internal\x00"]),
            set(Some("xn--bcher-kva"), A, &[&[10, 0, 0, 1]]),
            set(
                Some("_443._tcp"),
                TLSA,
                &[&[&[3, 1, 1][..], &[7; 32]].concat()],
            ),
            set(Some("_sip._udp"), SRV, &[b"\0\0\0\0\x13\xc4\x01a\x00"]),
        ];
        for set in good {
            assert!(verdict(&set), "{set:?}");
        }
    }

    #[test]
    fn refuses_forbidden_types_and_wrong_data() {
        let long_owner = ["a"; 122].join(".");
        let bad = [
            set(None, A, &[&[10, 0, 0]]),
            set(None, A, &[&[10, 0, 0, 1], &[10, 0, 0, 1]]),
            set(None, AAAA, &[&[0; 4]]),
            set(None, TXT, &[b""]),
            set(None, TXT, &[b"\x04abc"]),
            set(None, CNAME, &[b"\x05hello\x00"]),
            set(None, NS, &[b"\x05hello\x00"]),
            set(Some("www"), CNAME, &[b"\x01a\x00", b"\x01b\x00"]),
            set(Some("www"), CNAME, &[b"\xc0\x0c"]),
            set(Some("www"), PTR, &[b"\x05hello\x00\x00"]),
            set(None, TLSA, &[&[3, 1, 1, 7]]),
            set(
                None,
                HTTPS,
                &[b"\x00\x01\x00\x00\x03\x00\x00\x00\x01\x00\x00"],
            ),
            set(None, HTTPS, &[b"\x00\x01\x00\x00\x03\x00"]),
            set(None, CAA, &[b"\x00\x00value"]),
            set(Some(&long_owner), TXT, &[b"\x01a"]),
            set(None, 65_280, &[b""]),
            set(Some("*"), NS, &[b"\x02ns\x07example\x00"]),
            set(Some("*.a"), DS, &[&sha256_ds()]),
            set(Some("_tcp"), NS, &[b"\x02ns\x07example\x00"]),
            set(Some("_443._tcp"), NS, &[b"\x02ns\x07example\x00"]),
            set(Some("a"), DS, &[&sha256_ds()[..35]]),
            set(
                Some("a"),
                DS,
                &[&[[0, 1, 13, 1].as_slice(), &[7; 20]].concat()],
            ),
            set(Some("xn--a"), A, &[&[10, 0, 0, 1]]),
            set(Some("ab--c"), A, &[&[10, 0, 0, 1]]),
        ];
        for set in bad {
            assert!(!verdict(&set), "{set:?}");
        }
        for rtype in [
            0,
            3,
            6,
            10,
            24,
            39,
            41,
            46,
            47,
            48,
            50,
            51,
            59,
            252,
            255,
            u16::MAX,
        ] {
            assert!(!verdict(&set(None, rtype, &[b"data"])), "type {rtype}");
        }
        let mut slow = set(None, A, &[&[10, 0, 0, 1]]);
        slow.ttl = MAX_TTL + 1;
        assert!(!verdict(&slow));
    }

    #[test]
    fn refuses_an_alias_with_other_data_and_a_stray_ds() {
        let alias = set(Some("www"), CNAME, &[b"\x01a\x00"]);
        let text = set(Some("www"), TXT, &[b"\x01a"]);
        let ds = set(Some("www"), DS, &[&sha256_ds()]);
        let delegation = set(Some("www"), NS, &[b"\x01a\x00"]);
        assert!(check_together(std::slice::from_ref(&alias)).is_ok());
        assert!(check_together(&[alias, text]).is_err());
        assert!(check_together(std::slice::from_ref(&ds)).is_err());
        assert!(check_together(&[delegation, ds]).is_ok());
    }

    #[test]
    fn beneath_a_cut_the_parent_holds_glue_alone() {
        let cut = set(Some("sub"), NS, &[b"\x02ns\x03sub\x00"]);
        let with = |other: RecordSet| {
            let mut sets = vec![cut.clone(), other];
            sets.sort_by_key(|set| (set.owner.clone(), set.rtype));
            check_together(&sets).is_ok()
        };
        let address: &[&[u8]] = &[&[10, 0, 0, 1]];
        assert!(with(set(Some("ns.sub"), A, address)));
        assert!(
            with(set(Some("sub"), A, address)),
            "the server may be the child"
        );
        assert!(with(set(Some("sub2"), TXT, &[b"\x01a"])));
        for hidden in [
            set(Some("sub"), TXT, &[b"\x01a"]),
            set(Some("a.sub"), TXT, &[b"\x01a"]),
            set(Some("a.sub"), CNAME, &[b"\x01a\x00"]),
            set(Some("a.sub"), NS, &[b"\x01a\x00"]),
            set(Some("*.sub"), A, address),
        ] {
            assert!(!with(hidden.clone()), "{hidden:?}");
        }
    }
}
