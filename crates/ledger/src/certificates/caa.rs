//! Whether a name's owner lets this circle's authority certify it (RFC 8659).
//!
//! Names without CAA records of their owner's have the circle's own, which
//! permit its authority. A certificate that the owner asked for with the name's
//! own key, for a replica, is not asked about: who may set the record said so.

use wire::{CertifiedName, Reject, Validation, record::AcmeOrder};

use super::look_up::look_up;
use crate::execution::Execution;

const CAA: u16 = 257;

/// RFC 8659 §4.1: whoever does not know the property must not issue.
const CRITICAL: u8 = 0x80;

/// Checks every name of an order against the records that apply to it.
///
/// Errors: [`Reject::CertificateForbidden`].
pub(super) fn check(execution: &Execution<'_>, order: &AcmeOrder) -> Result<(), Reject> {
    let permitted = order
        .names
        .iter()
        .zip(&order.validations)
        .all(|(name, validation)| {
            validation.is_some_and(|validation| is_permitted(execution, name, validation))
        });
    if permitted {
        Ok(())
    } else {
        Err(Reject::CertificateForbidden)
    }
}

/// One property of a CAA record: flags, tag and value.
struct Property<'a> {
    flags: u8,
    tag: String,
    value: &'a str,
}

impl<'a> Property<'a> {
    fn read(data: &'a [u8]) -> Option<Self> {
        let [flags, length, rest @ ..] = data else {
            return None;
        };
        let (tag, value) = rest.split_at_checked(usize::from(*length))?;
        Some(Self {
            flags: *flags,
            tag: std::str::from_utf8(tag).ok()?.to_ascii_lowercase(),
            value: std::str::from_utf8(value).ok()?,
        })
    }

    fn is_known(&self) -> bool {
        ["issue", "issuewild", "iodef"].contains(&self.tag.as_str())
    }
}

fn is_permitted(execution: &Execution<'_>, name: &CertifiedName, validation: Validation) -> bool {
    // RFC 8659 §3: the closest set at or above the name.
    let mut candidate = Some(name.name.clone());
    let mut set = Vec::new();
    while let Some(name) = candidate.filter(|_| set.is_empty()) {
        set = look_up(execution, &name, CAA);
        candidate = name.parent();
    }
    let properties: Option<Vec<Property<'_>>> =
        set.iter().map(|data| Property::read(data)).collect();
    // A record that cannot be read may forbid it.
    let Some(properties) = properties else {
        return false;
    };
    if properties
        .iter()
        .any(|one| one.flags & CRITICAL != 0 && !one.is_known())
    {
        return false;
    }
    let tagged = |tag| properties.iter().any(|property| property.tag == tag);
    // RFC 8659 §4.3: for a wildcard, issuewild takes the place of issue.
    let tag = if name.wildcard && tagged("issuewild") {
        "issuewild"
    } else {
        "issue"
    };
    !tagged(tag)
        || properties
            .iter()
            .filter(|property| property.tag == tag)
            .any(|property| names_this_authority(execution, property.value, validation))
}

/// Whether the value of `issue` or `issuewild` is an apex of this circle, with
/// parameters that the validation meets (RFC 8657). An account is named by an
/// address that the ledger does not know: `accounturi` is never met.
fn names_this_authority(execution: &Execution<'_>, value: &str, validation: Validation) -> bool {
    let mut parts = value.split(';').map(str::trim);
    let issuer = parts.next().unwrap_or_default();
    let apexes = &execution.rules.apexes;
    let ours = apexes
        .iter()
        .any(|apex| apex.as_str().eq_ignore_ascii_case(issuer));
    let method = match validation {
        Validation::Owner => "ca-owner-key",
        Validation::Dns01 => "dns-01",
        Validation::Http01(_) => "http-01",
        Validation::TlsAlpn01(_) => "tls-alpn-01",
        Validation::Delegate => "ca-delegate-key",
    };
    ours && parts.filter(|part| !part.is_empty()).all(|parameter| {
        let (tag, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match tag.trim().to_ascii_lowercase().as_str() {
            "validationmethods" => value.split(',').any(|one| one.trim() == method),
            "accounturi" => false,
            _ => true,
        }
    })
}
