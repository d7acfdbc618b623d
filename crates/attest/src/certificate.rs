//! Does one X.509 certificate or revocation list come from another's key, and
//! does it hold now?
//!
//! `x509-parser` reads and verifies; this file adds what its leniency leaves
//! open: one form of what stands around the signed part, nothing after it.

use x509_parser::{
    certificate::X509Certificate, prelude::FromDer as _,
    revocation_list::CertificateRevocationList, time::ASN1Time,
};

/// A DER header: `tag` and the shortest form of `length`.
fn header(tag: u8, length: usize) -> Vec<u8> {
    let octets = length.to_be_bytes();
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    let mut header = vec![tag];
    if length < 0x80 {
        header.push(octets[7]);
    } else {
        let count = octets.len() - zeros;
        header.push(0x80 | u8::try_from(count).expect("a length has 8 octets at most"));
        header.extend(&octets[zeros..]);
    }
    header
}

/// Whether what stands around the signed part of `der` has its one form: the
/// parser also takes other tags and longer lengths, which nobody has signed.
///
/// Shape: `der` is a SEQUENCE of `signed`, the algorithm that `signed` names
/// too, and `signature` as a BIT STRING.
fn is_canonical(der: &[u8], signed: &[u8], signature: &[u8]) -> bool {
    const SEQUENCE: u8 = 0x30;
    const BIT_STRING: u8 = 0x03;
    let mut end = header(BIT_STRING, signature.len() + 1);
    end.push(0);
    end.extend(signature);
    let Some(position) = der
        .windows(signed.len())
        .take(8)
        .position(|window| window == signed)
    else {
        return false;
    };
    let (outer, rest) = der.split_at(position);
    let Some(algorithm) = rest[signed.len()..].strip_suffix(end.as_slice()) else {
        return false;
    };
    outer == header(SEQUENCE, rest.len())
        && !algorithm.is_empty()
        && signed
            .windows(algorithm.len())
            .any(|window| window == algorithm)
}

/// Reads a certificate that fills `der`.
pub(crate) fn read(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => {
            let signed = certificate.tbs_certificate.as_ref();
            match is_canonical(der, signed, &certificate.signature_value.data) {
                true => Ok(certificate),
                false => Err("the certificate is not in DER".to_owned()),
            }
        }
        Ok(_) => Err("bytes follow the certificate".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether `issuer` signed `certificate`.
pub(crate) fn is_signed_by(
    certificate: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
) -> bool {
    certificate.issuer() == issuer.subject()
        && certificate.signature_algorithm == certificate.tbs_certificate.signature
        && certificate
            .verify_signature(Some(issuer.public_key()))
            .is_ok()
}

/// Whether `certificate` holds at `time_ms`.
pub(crate) fn holds_at(certificate: &X509Certificate<'_>, time_ms: u64) -> bool {
    instant(time_ms).is_some_and(|instant| certificate.validity().is_valid_at(instant))
}

fn instant(time_ms: u64) -> Option<ASN1Time> {
    ASN1Time::from_timestamp(i64::try_from(time_ms / 1000).ok()?).ok()
}

/// Reads a revocation list that fills `der`.
pub(crate) fn read_list(der: &[u8]) -> Result<CertificateRevocationList<'_>, String> {
    match CertificateRevocationList::from_der(der) {
        Ok(([], list)) => {
            let signed = list.tbs_cert_list.as_ref();
            match is_canonical(der, signed, &list.signature_value.data) {
                true => Ok(list),
                false => Err("the revocation list is not in DER".to_owned()),
            }
        }
        Ok(_) => Err("bytes follow the revocation list".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether `issuer` signed `list`.
pub(crate) fn is_list_of(
    list: &CertificateRevocationList<'_>,
    issuer: &X509Certificate<'_>,
) -> bool {
    list.tbs_cert_list.issuer == *issuer.subject()
        && list.signature_algorithm == list.tbs_cert_list.signature
        && list.verify_signature(issuer.public_key()).is_ok()
}

/// Whether `list` holds at `time_ms`; a list without an end never does.
pub(crate) fn list_holds_at(list: &CertificateRevocationList<'_>, time_ms: u64) -> bool {
    let Some(now) = instant(time_ms) else {
        return false;
    };
    let next = list.tbs_cert_list.next_update;
    list.tbs_cert_list.this_update <= now && next.is_some_and(|next| now <= next)
}

/// Whether `list` names `certificate`.
pub(crate) fn revokes(
    list: &CertificateRevocationList<'_>,
    certificate: &X509Certificate<'_>,
) -> bool {
    list.iter_revoked_certificates()
        .any(|revoked| revoked.raw_serial() == certificate.raw_serial())
}
