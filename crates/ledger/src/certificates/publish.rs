//! An authority publishes its root and its intermediates.

use wire::{
    PublishAuthority, PublishIntermediate, Reject,
    limits::MAX_CERTIFICATE_BYTES,
    record::{Intermediate, Name, PublishedAuthority},
    state_key,
};

use super::authority;
use crate::execution::{Execution, Sender};

/// Errors: [`Reject::NotAuthority`], [`Reject::CertificateMalformed`].
pub(crate) fn publish_authority(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &PublishAuthority,
) -> Result<(), Reject> {
    authority(execution, sender)?;
    if !(1..=MAX_CERTIFICATE_BYTES).contains(&action.root.len()) {
        return Err(Reject::CertificateMalformed);
    }
    let record = PublishedAuthority {
        root: action.root.clone(),
        published_at: execution.height,
    };
    execution
        .state
        .put(state_key::authority(sender.account), &record);
    Ok(())
}

/// Errors: [`Reject::NotAuthority`], [`Reject::CertificateMalformed`],
///         [`Reject::NameNotFound`].
pub(crate) fn publish_intermediate(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &PublishIntermediate,
) -> Result<(), Reject> {
    authority(execution, sender)?;
    let sized = (1..=MAX_CERTIFICATE_BYTES).contains(&action.certificate.len());
    if !sized || action.not_after_ms <= execution.time_ms {
        return Err(Reject::CertificateMalformed);
    }
    let name: Option<Name> = execution.state.get(&state_key::name(&action.domain));
    name.ok_or(Reject::NameNotFound)?;
    let record = Intermediate {
        certificate: action.certificate.clone(),
        not_after_ms: action.not_after_ms,
        published_at: execution.height,
    };
    execution.state.put(
        state_key::intermediate(sender.account, &action.domain),
        &record,
    );
    Ok(())
}
