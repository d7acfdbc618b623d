//! Names that look alike: one owner may have several, two owners may not come
//! to have one each.
//!
//! What a name looks like is the skeleton of its label (UTS 39 §4) beneath its
//! apex. The index `i/confusable/` holds every registered name under it.

use unicode_security::skeleton;
use wire::{
    AccountId, Digest, DomainName, Reject, limits::MAX_CONFUSABLE_NAMES, record::Name, state_key,
};

use crate::{execution::Execution, names::label};

/// What `name`, whose first label was checked, looks like.
pub(crate) fn looks(name: &DomainName) -> Digest {
    let (first, apex) = name.as_str().split_once('.').unwrap_or((name.as_str(), ""));
    let shown = label::shown(first).unwrap_or_else(|_| first.to_owned());
    let skeleton: String = skeleton(&shown).collect();
    Digest::tagged(
        "ringfort/name-skeleton/1",
        &[skeleton.as_bytes(), apex.as_bytes()],
    )
}

/// Registered names that look like `name`, itself too; at most one more than
/// the limit.
fn alike(execution: &Execution<'_>, name: &DomainName) -> Vec<Name> {
    let prefix = state_key::confusables(looks(name));
    execution
        .state
        .scan(&prefix, None, MAX_CONFUSABLE_NAMES + 1)
        .iter()
        .filter_map(|(key, _)| {
            let name = std::str::from_utf8(&key[prefix.len()..])
                .ok()?
                .parse()
                .ok()?;
            execution.state.get(&state_key::name(&name))
        })
        .collect()
}

/// Checks that `owner` may register `name`.
///
/// Errors: [`Reject::NameConfusable`] with a name of another owner's,
///         [`Reject::LimitExceeded`] with too many of one's own.
pub(super) fn check_new(
    execution: &Execution<'_>,
    name: &DomainName,
    owner: AccountId,
) -> Result<(), Reject> {
    let alike = alike(execution, name);
    if alike.iter().any(|other| other.owner.account() != owner) {
        return Err(Reject::NameConfusable);
    }
    if alike.len() >= MAX_CONFUSABLE_NAMES {
        return Err(Reject::LimitExceeded);
    }
    Ok(())
}

/// Checks that `name` may go to another owner: no other name looks like it,
/// which the former owner would keep.
///
/// Errors: [`Reject::NameConfusable`].
pub(super) fn check_alone(execution: &Execution<'_>, name: &DomainName) -> Result<(), Reject> {
    if alike(execution, name)
        .iter()
        .all(|other| other.name == *name)
    {
        Ok(())
    } else {
        Err(Reject::NameConfusable)
    }
}

/// Enters a name that is registered.
pub(super) fn enter(execution: &mut Execution<'_>, name: &DomainName) {
    execution
        .state
        .mark(state_key::confusable(looks(name), name));
}

/// Strikes a name that is released.
pub(super) fn strike(execution: &mut Execution<'_>, name: &DomainName) {
    execution
        .state
        .delete(state_key::confusable(looks(name), name));
}
