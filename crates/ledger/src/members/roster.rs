//! Members' records, and what their terms must satisfy.

use std::net::SocketAddr;

use wire::{
    AccountId, Height, MemberRole, MemberTerms, PublicKey, Reject, Validator, ValidatorSeat,
    limits::{MAX_EVIDENCE_BYTES, MAX_LIST, MAX_MEMBERS, MAX_TEXT_BYTES},
    record::Member,
    state_key,
};

use crate::{
    execution::Execution,
    overlay::{Overlay, decode},
};

/// The longest DNS name in text (RFC 1035 §2.3.4).
const MAX_HOST_BYTES: usize = 253;

/// Every member, ascending by account.
pub(crate) fn all(execution: &Execution<'_>) -> Vec<(AccountId, Member)> {
    read(&execution.state)
}

/// As [`all`], of a state that no block is applied to.
pub(super) fn read(state: &Overlay<'_>) -> Vec<(AccountId, Member)> {
    state
        .scan(state_key::MEMBERS, None, MAX_MEMBERS)
        .into_iter()
        .filter_map(|(key, value)| {
            let id = key[state_key::MEMBERS.len()..].try_into().ok()?;
            Some((AccountId(id), decode(&key, &value)))
        })
        .collect()
}

/// Errors: [`Reject::MemberNotFound`].
pub(super) fn find(execution: &Execution<'_>, id: AccountId) -> Result<Member, Reject> {
    execution
        .state
        .get(&state_key::member(id))
        .ok_or(Reject::MemberNotFound)
}

/// The member that a founding validator is: its account is its validator's key's.
pub(crate) fn founder(validator: &Validator) -> Member {
    Member {
        key: validator.key,
        terms: MemberTerms {
            name: validator.name.clone(),
            role: MemberRole::Validator,
            level: 0,
            facts: Vec::new(),
            seat: Some(ValidatorSeat {
                key: validator.key,
                address: String::new(),
            }),
            evidence: None,
        },
        since: Height(0),
    }
}

/// Whether terms fit their limits and each other.
pub(crate) fn terms_are_sound(terms: &MemberTerms) -> bool {
    let text = |text: &str| text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control);
    let named = !terms.name.is_empty() && text(&terms.name);
    let facts = terms.facts.len() <= MAX_LIST
        && terms
            .facts
            .windows(2)
            .all(|pair| pair[0].name < pair[1].name)
        && terms
            .facts
            .iter()
            .all(|fact| !fact.name.is_empty() && text(&fact.name) && text(&fact.value));
    let seat = match &terms.seat {
        Some(seat) => {
            matches!(seat.key, PublicKey::Ed25519(_))
                && (seat.address.is_empty() || is_address(&seat.address))
        }
        None => terms.role != MemberRole::Validator,
    };
    let evidence = terms
        .evidence
        .as_ref()
        .is_none_or(|evidence| evidence.bytes.len() <= MAX_EVIDENCE_BYTES);
    named && facts && seat && evidence
}

/// Whether `text` is `host:port` with an IP address or a DNS name, which is
/// what validators can dial.
pub(super) fn is_address(text: &str) -> bool {
    if text
        .parse::<SocketAddr>()
        .is_ok_and(|address| address.port() != 0)
    {
        return true;
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    // A host of digits and dots is a mistyped IP address, not a name.
    let named = host.bytes().any(|byte| byte.is_ascii_alphabetic());
    named
        && host.len() <= MAX_HOST_BYTES
        && host.split('.').all(label)
        && port.parse::<u16>().is_ok_and(|port| port != 0)
}
