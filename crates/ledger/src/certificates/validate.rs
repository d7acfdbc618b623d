//! Records how a name of an order was validated.
//!
//! dns-01 is the ledger's own finding: the TXT record stands in the name's
//! records, or where they lead as aliases within the circle, or it does not.
//! For http-01 and tls-alpn-01 the ledger takes the authority's word for the
//! answer, and checks that the address is the name's, in the same way.

use std::net::IpAddr;

use wire::{
    AcmeValidate, CertifiedName, Digest, DomainName, Reject, Validation, acme_dns_text,
    acme_key_authorization, acme_token, record::AcmeOrderStatus,
};

use super::{account::live_account, authority, look_up::look_up, order, standing};
use crate::execution::{Execution, Sender};

const A: u16 = 1;
const TXT: u16 = 16;
const AAAA: u16 = 28;

/// Errors: [`Reject::NotAuthority`], [`Reject::AcmeOrderNotFound`],
///         [`Reject::AcmeOrderState`], [`Reject::AcmeAccountNotFound`],
///         [`Reject::AcmeNotProven`], and those of a name that changed hands.
pub(crate) fn validate(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &AcmeValidate,
) -> Result<(), Reject> {
    authority(execution, sender)?;
    let mut order = order::find(execution, action.order)?;
    let index = usize::from(action.name);
    let (Some(name), Some(None)) = (order.names.get(index), order.validations.get(index)) else {
        return Err(Reject::AcmeOrderState);
    };
    if order.status != AcmeOrderStatus::Pending {
        return Err(Reject::AcmeOrderState);
    }
    if let Some(validation) = action.validation {
        let account = live_account(execution, order.account)?;
        let record = standing(execution, &order.domain, order.owner, order.registered_at)?;
        let proven = match validation {
            Validation::Owner | Validation::Delegate => {
                order::by_key(&record, account.owner, name) == Some(validation)
            }
            Validation::Dns01 => {
                let token = acme_token(action.order, action.name);
                let thumbprint = Digest::of(&[&account.key]);
                let text = acme_dns_text(&acme_key_authorization(&token, thumbprint));
                holds_text(execution, &name.name, &text)
            }
            Validation::Http01(address) | Validation::TlsAlpn01(address) => {
                has_address(execution, name, address)
            }
        };
        if !proven {
            return Err(Reject::AcmeNotProven);
        }
    }
    match action.validation {
        Some(validation) => {
            order.validations[index] = Some(validation);
            if order.validations.iter().all(Option::is_some) {
                order.status = AcmeOrderStatus::Ready;
            }
        }
        None => order.status = AcmeOrderStatus::Invalid { name: action.name },
    }
    order::store(execution, action.order, &order);
    Ok(())
}

/// RFC 8555 §8.4: one of the TXT records at `_acme-challenge` says `text`.
fn holds_text(execution: &Execution<'_>, name: &DomainName, text: &str) -> bool {
    // One character string of 43 octets (RFC 1035 §3.3.14).
    let mut data = vec![text.len() as u8];
    data.extend_from_slice(text.as_bytes());
    format!("_acme-challenge.{name}")
        .parse()
        .is_ok_and(|place: DomainName| look_up(execution, &place, TXT).contains(&data))
}

/// Whether `address` is one of the A and AAAA records that owners set, at the
/// name or where its aliases lead. A wildcard has none. The addresses of
/// replicas do not count: they are a provider's, whom nobody trusts with a key
/// for the name.
fn has_address(execution: &Execution<'_>, name: &CertifiedName, address: IpAddr) -> bool {
    if name.wildcard {
        return false;
    }
    let (rtype, data) = match address {
        IpAddr::V4(address) => (A, address.octets().to_vec()),
        IpAddr::V6(address) => (AAAA, address.octets().to_vec()),
    };
    look_up(execution, &name.name, rtype).contains(&data)
}
