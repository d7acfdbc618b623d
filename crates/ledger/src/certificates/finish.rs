//! Fixes the key of an order's certificate, and records the certificate.

use wire::{
    AcmeFinalize, AcmeIssue, Reject, Validation,
    record::{AcmeOrder, AcmeOrderStatus, Grant, IssuedFor},
    state_key,
};

use super::{Entry, account::live_account, authority, caa, log, order, standing};
use crate::execution::{Execution, Sender};

/// Errors: [`Reject::NotAuthority`], [`Reject::AcmeOrderNotFound`],
///         [`Reject::AcmeOrderState`], [`Reject::AcmeAccountNotFound`],
///         [`Reject::CertificateForbidden`], and those of a name that changed
///         hands.
pub(crate) fn finalize(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &AcmeFinalize,
) -> Result<(), Reject> {
    authority(execution, sender)?;
    let mut order = order::find(execution, action.order)?;
    if order.status != AcmeOrderStatus::Ready {
        return Err(Reject::AcmeOrderState);
    }
    check(execution, &order)?;
    let grant = Grant {
        names: order.names.clone(),
        owner: order.owner,
        key: action.key,
        granted_at: execution.height,
    };
    execution
        .state
        .put(state_key::grant(&action.order.0), &grant);
    order.status = AcmeOrderStatus::Processing { key: action.key };
    order::store(execution, action.order, &order);
    Ok(())
}

/// Errors: those of [`finalize`], [`Reject::CertificateMalformed`] and
///         [`Reject::CertificateLimit`].
pub(crate) fn issue(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &AcmeIssue,
) -> Result<(), Reject> {
    authority(execution, sender)?;
    let mut order = order::find(execution, action.order)?;
    if !matches!(order.status, AcmeOrderStatus::Processing { .. }) {
        return Err(Reject::AcmeOrderState);
    }
    check(execution, &order)?;
    let entry = Entry {
        domain: &order.domain,
        names: order.names.clone(),
        serial: action.serial,
        certificate: &action.certificate,
        not_after_ms: action.not_after_ms,
        issued_for: IssuedFor::Order {
            order: action.order,
            account: order.account,
        },
    };
    log(execution, sender, entry)?;
    order.status = AcmeOrderStatus::Valid {
        serial: action.serial,
    };
    order::store(execution, action.order, &order);
    Ok(())
}

/// The account lives, the name is still whose it was, and its records do not
/// forbid the certificate. An account that acts for the owner, or for the node
/// that serves a subdomain, has nothing else to show: it still must.
fn check(execution: &Execution<'_>, order: &AcmeOrder) -> Result<(), Reject> {
    let account = live_account(execution, order.account)?;
    let record = standing(execution, &order.domain, order.owner, order.registered_at)?;
    for (name, validation) in order.names.iter().zip(&order.validations) {
        let by_key = matches!(validation, Some(Validation::Owner | Validation::Delegate));
        if by_key && order::by_key(&record, account.owner, name) != *validation {
            return Err(Reject::NotOwner);
        }
    }
    caa::check(execution, order)
}
