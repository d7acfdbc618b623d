//! Certificate authorities of our own, in the shape of the vendors'.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension,
    DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, RevokedCertParams, SerialNumber,
    SignatureAlgorithm,
};
use time::OffsetDateTime;

use super::date_ms;

/// How long a certificate holds.
#[derive(Clone, Copy)]
pub enum Lifetime {
    /// From 2020 to 2040.
    Long,
    /// To the end of 2025.
    Until2025,
}

/// A key with its certificate.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    certificate: Vec<u8>,
}

fn instant(text: &str) -> OffsetDateTime {
    let seconds = i64::try_from(date_ms(text) / 1000).unwrap();
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

fn params(
    name: &str,
    issues: bool,
    lifetime: Lifetime,
    extensions: Vec<(Vec<u64>, Vec<u8>)>,
) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = instant("2020-01-01T00:00:00Z");
    params.not_after = match lifetime {
        Lifetime::Long => instant("2040-01-01T00:00:00Z"),
        Lifetime::Until2025 => instant("2026-01-01T00:00:00Z"),
    };
    params.serial_number = Some(SerialNumber::from_slice(
        &name.bytes().map(|byte| byte & 0x7f).collect::<Vec<_>>(),
    ));
    if issues {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    } else {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    }
    params.custom_extensions = extensions
        .into_iter()
        .map(|(oid, value)| CustomExtension::from_oid_content(&oid, value))
        .collect();
    params
}

impl Authority {
    /// A root with a P-384 key.
    pub fn root(name: &str, lifetime: Lifetime) -> Self {
        Self::root_of(&PKCS_ECDSA_P384_SHA384, name, lifetime)
    }

    /// A root with a P-256 key, as Intel's.
    pub fn root_p256(name: &str, lifetime: Lifetime) -> Self {
        Self::root_of(&PKCS_ECDSA_P256_SHA256, name, lifetime)
    }

    fn root_of(algorithm: &'static SignatureAlgorithm, name: &str, lifetime: Lifetime) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = params(name, true, lifetime, Vec::new());
        let certificate = params.self_signed(&key).unwrap().der().to_vec();
        Self {
            params,
            key,
            certificate,
        }
    }

    /// What `issuer` certifies, with a key of the issuer's kind.
    pub fn under(
        issuer: &Self,
        name: &str,
        issues: bool,
        lifetime: Lifetime,
        extensions: Vec<(Vec<u64>, Vec<u8>)>,
    ) -> Self {
        let key = KeyPair::generate_for(issuer.key.algorithm()).unwrap();
        let params = params(name, issues, lifetime, extensions);
        let certificate = params
            .signed_by(&key, &issuer.issuer())
            .unwrap()
            .der()
            .to_vec();
        Self {
            params,
            key,
            certificate,
        }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    /// DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// PKCS #8.
    pub fn private_key(&self) -> Vec<u8> {
        self.key.serialize_der()
    }
}

/// `issuer`'s revocation list, DER.
pub fn list(issuer: &Authority, revoked: &[&Authority], from: &str, until: &str) -> Vec<u8> {
    let revoked_certs = revoked
        .iter()
        .map(|authority| RevokedCertParams {
            serial_number: authority.params.serial_number.clone().unwrap(),
            revocation_time: instant(from),
            reason_code: None,
            invalidity_date: None,
        })
        .collect();
    let params = CertificateRevocationListParams {
        this_update: instant(from),
        next_update: instant(until),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(&issuer.issuer()).unwrap().der().to_vec()
}
