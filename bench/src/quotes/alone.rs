//! What does a verifier do that nobody can leave out, with the libraries alone?
//!
//! Each function reads what the platform made and verifies every signature between
//! it and the vendor's root, with the primitives that ours has; and nothing else: no
//! policy, no claims, no canonical form.

use anyhow::{Context, Result, bail, ensure};
use attest::snp::PRODUCTS;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use coset::{
    CborSerializable as _, CoseSign1,
    cbor::{self, value::Value},
};
use sev::{firmware::guest::AttestationReport, parser::ByteParser as _};
use std::hint::black_box;
use tpm2_protocol::{
    TpmUnmarshal as _,
    data::{
        Tpm2bPublic, TpmsAttest, TpmtPublic, TpmtSignature, TpmuAttest, TpmuPublicId, TpmuSignature,
    },
};
use x509_parser::{certificate::X509Certificate, time::ASN1Time};

/// ARK signed ASK, ASK the chip's key, and that the report.
pub fn milan(report: &[u8], certificate: &[u8]) -> Result<()> {
    let product = PRODUCTS.first().context("Milan")?;
    let parse = |der| -> Result<_> { Ok(x509_parser::parse_x509_certificate(der)?.1) };
    // The borrows of each certificate outlive the closure: one call for each.
    let (root, signer) = (parse(product.root)?, parse(product.signer)?);
    let chip = x509_parser::parse_x509_certificate(certificate)?.1;
    signer.verify_signature(Some(root.public_key()))?;
    chip.verify_signature(Some(signer.public_key()))?;
    black_box(AttestationReport::from_bytes(report)?);
    let (r, s) = (&report[0x2A0..][..48], &report[0x2A0 + 72..][..48]);
    let signature: Vec<u8> = r.iter().rev().chain(s.iter().rev()).copied().collect();
    let key = &chip.public_key().subject_public_key.data;
    let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key);
    let verified = key.verify(&report[..0x2A0], &signature);
    ensure!(verified.is_ok(), "the report's signature");
    Ok(())
}

/// Amazon's root signed the region's key, that the zone's, that the instance's, that
/// the enclave's, and that the document; all hold at `time_ms`.
pub fn nitro(document: &[u8], root: &[u8], time_ms: u64) -> Result<()> {
    let unread = |error| anyhow::anyhow!("{error}");
    let document = CoseSign1::from_slice(document).map_err(unread)?;
    let payload = document.payload.as_deref().context("no payload")?;
    let payload: Value = cbor::de::from_reader(payload)?;
    let fields = payload.as_map().context("not a map")?;
    let field = |wanted: &str| {
        let found = fields
            .iter()
            .find(|(name, _)| name.as_text() == Some(wanted));
        found.map(|(_, value)| value).context("a field is missing")
    };
    black_box(field("pcrs")?);
    let bundle = field("cabundle")?.as_array().context("no bundle")?;
    let leaf = field("certificate")?;
    let mut chain: Vec<X509Certificate<'_>> = Vec::with_capacity(bundle.len() + 1);
    for value in bundle.iter().chain([leaf]) {
        let der = value.as_bytes().context("no certificate")?;
        chain.push(x509_parser::parse_x509_certificate(der)?.1);
    }
    ensure!(
        bundle.first().and_then(Value::as_bytes).map(Vec::as_slice) == Some(root),
        "another root"
    );
    let now = ASN1Time::from_timestamp(i64::try_from(time_ms / 1000)?)?;
    for pair in chain.windows(2) {
        pair[1].verify_signature(Some(pair[0].public_key()))?;
        ensure!(pair[1].validity().is_valid_at(now), "a certificate expired");
    }
    let key = &chain[chain.len() - 1].public_key().subject_public_key.data;
    let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key);
    let verified =
        document.verify_signature(&[], |signature, signed| key.verify(signed, signature));
    ensure!(verified.is_ok(), "the document's signature");
    Ok(())
}

/// The attestation key signed the quote.
///
/// Shape: a `TPM2B_PUBLIC`, a `TPMS_ATTEST` and a `TPMT_SIGNATURE`.
pub fn tpm(key: &[u8], attested: &[u8], signature: &[u8]) -> Result<()> {
    let unread = |error| anyhow::anyhow!("{error:?}");
    let key: TpmtPublic = Tpm2bPublic::unmarshal(key).map_err(unread)?.0.inner;
    let (signature, _) = TpmtSignature::unmarshal(signature).map_err(unread)?;
    let verified = match (&key.unique, &signature.signature) {
        (TpmuPublicId::Ecc(point), TpmuSignature::Ecdsa(pair)) => {
            let point = [&[0x04], &point.x[..], &point.y[..]].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(
                attested,
                &[&pair.signature_r[..], &pair.signature_s[..]].concat(),
            )
        }
        (TpmuPublicId::Rsa(modulus), TpmuSignature::Rsassa(rsa)) => {
            let (n, e) = (&modulus[..], &[1, 0, 1][..]);
            RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, attested, &rsa.sig)
        }
        _ => bail!("an algorithm that neither capture has"),
    };
    ensure!(verified.is_ok(), "the quote's signature");
    let (attest, _) = TpmsAttest::unmarshal(attested).map_err(unread)?;
    ensure!(
        matches!(black_box(&attest.attested), TpmuAttest::Quote(_)),
        "no quote"
    );
    Ok(())
}
