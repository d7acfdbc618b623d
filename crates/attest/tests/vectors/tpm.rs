//! Quotes of a confidential VM's vTPM and of a software TPM, and keys that are not to be believed.

use std::collections::BTreeMap;

use attest::{
    Claims, EvidenceError, ReportData, Roots, chip_digest,
    tpm::{
        AttestationKey, AttestationKeyCertificate, BOOT_REGISTERS, KeyError, PcrBank, Quote,
        QuoteError, boot_measurement, certify, pack,
    },
    verify,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use wire::{Digest, Evidence, EvidenceKind, Height, PublicKey, SigningKey};

use super::{assert_no_flip_is_accepted, at, file};

const FIXED_TPM: u32 = 1 << 1;
const FIXED_PARENT: u32 = 1 << 4;
const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
const USER_WITH_AUTH: u32 = 1 << 6;
const RESTRICTED: u32 = 1 << 16;
const DECRYPT: u32 = 1 << 17;
const SIGN: u32 = 1 << 18;
const ATTESTATION: u32 =
    FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | USER_WITH_AUTH | RESTRICTED | SIGN;

/// The vTPM's key as a `TPM2B_PUBLIC`. The capture has its modulus alone; the
/// attributes are those that Azure's vTPM gives its attestation key.
fn public_area(attributes: u32) -> Vec<u8> {
    let pem = String::from_utf8(file("azure/akpub.pem")).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with("--")).collect();
    let der = BASE64.decode(body).unwrap();
    // SubjectPublicKeyInfo of RSA-2048: the modulus precedes the exponent's 5 bytes.
    let modulus = &der[der.len() - 5 - 256..der.len() - 5];
    let mut area = vec![0x00, 0x01, 0x00, 0x0B];
    area.extend(attributes.to_be_bytes());
    area.extend([0x00, 0x00]); // no policy
    area.extend([0x00, 0x10, 0x00, 0x14, 0x00, 0x0B]); // no cipher; RSASSA with SHA-256
    area.extend([0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00]);
    area.extend(modulus);
    let mut sized = u16::try_from(area.len()).unwrap().to_be_bytes().to_vec();
    sized.extend(area);
    sized
}

fn quote() -> Quote {
    // The capture: signature, message and registers, each after its length.
    let bytes = file("azure/quote.bin");
    let signature = &bytes[8..8 + 256];
    let message = &bytes[8 + 256 + 8..8 + 256 + 8 + 122];
    let registers = &bytes[8 + 256 + 8 + 122 + 8..];
    assert_eq!(registers.len(), 24 * 32);
    let mut sized = vec![0x00, 0x14, 0x00, 0x0B, 0x01, 0x00];
    sized.extend(signature);
    Quote {
        attested: message.to_vec(),
        signature: sized,
        registers: registers
            .chunks(32)
            .enumerate()
            .map(|(index, value)| (u8::try_from(index).unwrap(), value.try_into().unwrap()))
            .collect(),
    }
}

fn key() -> AttestationKey {
    AttestationKey::from_public(&public_area(ATTESTATION)).unwrap()
}

#[test]
fn a_real_quote_verifies() {
    let verified = quote().verify(&key()).unwrap();
    assert_eq!(verified.extra_data, b"challenge");
    assert_eq!(verified.registers.len(), 24);
    assert_eq!(verified.clock.resets, 3);
    assert!(boot_measurement(&verified.registers).is_some());
}

/// A quote that tpm2-tools asked of swtpm, over what is booted.
fn swtpm_quote() -> Quote {
    let values = file("swtpm/quote.registers");
    let (values, rest) = values.as_chunks();
    assert!(rest.is_empty());
    Quote {
        attested: file("swtpm/quote.attest"),
        signature: file("swtpm/quote.signature"),
        registers: BOOT_REGISTERS.into_iter().zip(values.to_vec()).collect(),
    }
}

#[test]
fn a_software_tpms_quote_over_p256_is_evidence_and_no_flipped_bit_of_it_is() {
    let chip = chip_digest("tpm", b"an endorsement key");
    let certificate = certify(&enroller(), &file("swtpm/ak.pub"), chip, None, "host").unwrap();
    let evidence = pack(&certificate, &swtpm_quote());
    let listed = [enroller().public()];
    let claims = verify_under(&evidence, &listed, 1).unwrap();
    assert_eq!(claims.kind, EvidenceKind::Tpm);
    assert_eq!(claims.platform.chip, Some(chip));
    assert_eq!(
        Some(claims.measurement),
        boot_measurement(&swtpm_quote().registers)
    );
    // What it was asked to bind: SHA-256 of these letters, as data/README.md has it.
    let bound = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"report data");
    let bound = Digest(bound.as_ref().try_into().unwrap());
    assert_eq!(claims.report_data, ReportData::from(bound));
    assert_no_flip_is_accepted(&evidence, 1, |evidence| {
        verify_under(evidence, &listed, 1).is_ok()
    });
}

#[test]
fn no_change_of_a_quote_is_accepted() {
    let key = key();
    let good = quote();
    for part in 0..2 {
        let length = [good.attested.len(), good.signature.len()][part];
        for byte in 0..length {
            let mut changed = good.clone();
            let bytes = [&mut changed.attested, &mut changed.signature];
            for (index, bytes) in bytes.into_iter().enumerate() {
                if index == part {
                    bytes[byte] ^= 1 << (byte % 8);
                }
            }
            assert_eq!(changed.verify(&key), Err(QuoteError::Signature));
        }
    }
    for register in good.registers.keys() {
        let mut changed = good.clone();
        changed.registers.get_mut(register).unwrap()[0] ^= 1;
        assert_eq!(changed.verify(&key), Err(QuoteError::Registers));
        let mut fewer = good.clone();
        fewer.registers.remove(register);
        assert_eq!(fewer.verify(&key), Err(QuoteError::Registers));
    }
}

#[test]
fn a_key_that_could_leave_its_tpm_or_sign_anything_is_not_believed() {
    let missing = [
        FIXED_TPM,
        FIXED_PARENT,
        SENSITIVE_DATA_ORIGIN,
        RESTRICTED,
        SIGN,
    ];
    for attribute in missing {
        assert_eq!(
            AttestationKey::from_public(&public_area(ATTESTATION & !attribute)),
            Err(KeyError::Attributes)
        );
    }
    assert_eq!(
        AttestationKey::from_public(&public_area(ATTESTATION | DECRYPT)),
        Err(KeyError::Attributes)
    );
    let mut longer = public_area(ATTESTATION);
    longer.push(0);
    assert!(AttestationKey::from_public(&longer).is_err());
    let mut other_hash = public_area(ATTESTATION);
    other_hash[5] = 0x0C;
    assert!(AttestationKey::from_public(&other_hash).is_err());
}

#[test]
fn a_measurement_needs_every_boot_register() {
    let registers: PcrBank = quote().registers;
    let whole = boot_measurement(&registers).unwrap();
    for register in attest::tpm::BOOT_REGISTERS {
        let mut fewer = registers.clone();
        fewer.remove(&register);
        assert_eq!(boot_measurement(&fewer), None);
        let mut other = registers.clone();
        other.get_mut(&register).unwrap()[31] ^= 1;
        assert_ne!(boot_measurement(&other), Some(whole));
    }
    // Settings are not code.
    let mut other: BTreeMap<_, _> = registers;
    other.get_mut(&1).unwrap()[0] ^= 1;
    assert_eq!(boot_measurement(&other), Some(whole));
}

fn enroller() -> SigningKey {
    SigningKey::ed25519([5; 32])
}

fn certificate(not_after: Option<Height>) -> AttestationKeyCertificate {
    let chip = chip_digest("tpm", b"an endorsement key");
    certify(
        &enroller(),
        &public_area(ATTESTATION),
        chip,
        not_after,
        "host",
    )
    .unwrap()
}

fn verify_under(
    evidence: &Evidence,
    enrollers: &[PublicKey],
    height: u64,
) -> Result<Claims, EvidenceError> {
    let roots = Roots {
        tpm: enrollers,
        ..Roots::default()
    };
    let mut moment = at(0);
    moment.height = Height(height);
    verify(evidence, &roots, moment)
}

#[test]
fn a_quote_that_binds_no_digest_is_no_evidence() {
    // The capture's nonce is nine letters; ours is a digest of 32 bytes.
    let evidence = pack(&certificate(None), &quote());
    match verify_under(&evidence, &[enroller().public()], 1) {
        Err(EvidenceError::Refused { reason, .. }) => assert!(reason.contains("digest")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_unlisted_expired_or_forged_certificate_is_refused() {
    let listed = [enroller().public()];
    let evidence = pack(&certificate(Some(Height(10))), &quote());
    assert_eq!(
        verify_under(&evidence, &[], 1),
        Err(EvidenceError::UnknownRoot(EvidenceKind::Tpm))
    );
    assert_eq!(
        verify_under(&evidence, &listed, 11),
        Err(EvidenceError::Expired {
            not_after: Height(10)
        })
    );
    let mut forged = certificate(None);
    forged.body.chip.0[0] ^= 1;
    assert_eq!(
        verify_under(&pack(&forged, &quote()), &listed, 1),
        Err(EvidenceError::Signature {
            kind: EvidenceKind::Tpm,
            part: "certificate"
        })
    );
    assert!(certify(&enroller(), &[0; 10], forged.body.chip, None, "host").is_err());
    let label = "x".repeat(65);
    let area = public_area(ATTESTATION);
    assert!(certify(&enroller(), &area, forged.body.chip, None, &label).is_err());
}

#[test]
fn a_certificate_survives_its_file() {
    let certificate = certificate(Some(Height(3)));
    let bytes = certificate.encode();
    assert_eq!(AttestationKeyCertificate::decode(&bytes), Ok(certificate));
    assert!(AttestationKeyCertificate::decode(&bytes[1..]).is_err());
}

#[test]
fn a_flipped_bit_never_reaches_the_last_rule() {
    // Good but for its last rule (the bound digest): every other change must
    // fail earlier.
    let evidence = pack(&certificate(None), &quote());
    let reaches_the_end = |evidence: &Evidence| {
        matches!(
            verify_under(evidence, &[enroller().public()], 1),
            Err(EvidenceError::Refused { .. })
        )
    };
    assert_no_flip_is_accepted(&evidence, 1, reaches_the_end);
}
