//! Evidence of hardware, and the logs and packages of hosts.

use std::{path::PathBuf, sync::LazyLock};

use attest::{Moment, Roots, dcap, nitro, snp, tpm};
use software::{archive, boot_log, ima_log};
use wire::{Evidence, EvidenceKind, Height, SigningKey};

/// Captured evidence: crates/attest/tests/data.
fn captured(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../crates/attest/tests/data");
    std::fs::read(path.join(name)).expect("the repository has captured evidence")
}

/// Verifies at a time when the captured evidence holds; a fuzzer holds no
/// vendor's key, so that what verifies says what the captured evidence says.
/// It need not be the same bytes: certificates travel as PEM text, and blanks
/// between them are nobody's word.
fn verify(kind: EvidenceKind, bytes: &[u8], time_ms: u64, good: &[Vec<u8>]) {
    let enrollers = [enroller().public()];
    let roots = Roots {
        tpm: &enrollers,
        ..Roots::default()
    };
    let moment = Moment {
        height: Height(1),
        time_ms,
    };
    let evidence = Evidence {
        kind,
        bytes: bytes.to_vec(),
    };
    if let Ok(claims) = attest::verify(&evidence, &roots, moment) {
        let same = good.iter().any(|good| {
            let evidence = Evidence {
                kind,
                bytes: good.clone(),
            };
            attest::verify(&evidence, &roots, moment).as_ref() == Ok(&claims)
        });
        assert!(same, "it was changed, and says something else: {claims:?}");
    }
}

pub(crate) fn intel_seeds() -> Vec<Vec<u8>> {
    let collateral = dcap::Collateral::from_json(&captured("intel/tdx_quote_collateral.json"));
    let collateral = collateral.expect("it is Intel's");
    let packed = dcap::pack(&captured("intel/tdx_quote"), collateral).expect("it is a quote");
    vec![packed.bytes]
}

pub(crate) fn intel(bytes: &[u8]) {
    /// 2025-06-20.
    const HELD_MS: u64 = 1_750_377_600_000;
    let _ = dcap::Collateral::from_json(bytes);
    static GOOD: LazyLock<Vec<Vec<u8>>> = LazyLock::new(intel_seeds);
    verify(EvidenceKind::TdxDcap, bytes, HELD_MS, &GOOD);
    verify(EvidenceKind::SgxDcap, bytes, HELD_MS, &[]);
}

pub(crate) fn amd_seeds() -> Vec<Vec<u8>> {
    let text = String::from_utf8(captured("amd/report_milan.hex")).expect("it is hex");
    let digits: String = text.split_whitespace().collect();
    let report = hex::decode(digits).expect("it is hex");
    let key = captured("amd/vcek_milan.der");
    vec![
        snp::pack(&report, &key, None).bytes,
        snp::pack(&report, &key, Some(&[0x30, 0])).bytes,
    ]
}

pub(crate) fn amd(bytes: &[u8]) {
    /// 2026-01-01.
    const HELD_MS: u64 = 1_767_225_600_000;
    static GOOD: LazyLock<Vec<Vec<u8>>> = LazyLock::new(amd_seeds);
    verify(EvidenceKind::SevSnp, bytes, HELD_MS, &GOOD);
}

pub(crate) fn nitro_seeds() -> Vec<Vec<u8>> {
    ["aws/document.cose", "aws/document_debug.cose"]
        .map(|name| {
            nitro::pack(&captured(name))
                .expect("it is a document")
                .bytes
        })
        .into()
}

/// The evidence of a document, and bytes that are to be one.
pub(crate) fn nitro(bytes: &[u8]) {
    /// 2025-01-06.
    const HELD_MS: u64 = 1_736_179_625_000;
    let _ = nitro::pack(bytes);
    static GOOD: LazyLock<Vec<Vec<u8>>> = LazyLock::new(nitro_seeds);
    verify(EvidenceKind::AwsNitro, bytes, HELD_MS, &GOOD);
}

fn enroller() -> SigningKey {
    SigningKey::ed25519([5; 32])
}

pub(crate) fn tpm_seeds() -> Vec<Vec<u8>> {
    let bytes = captured("azure/quote.bin");
    let quote = tpm::Quote {
        attested: bytes[272..394].to_vec(),
        signature: [&[0, 0x14, 0, 0x0B, 1, 0], &bytes[8..264]].concat(),
        registers: bytes[402..]
            .chunks(32)
            .zip(0..)
            .map(|(value, number)| (number, value.try_into().expect("32 bytes")))
            .collect(),
    };
    vec![borsh::to_vec(&quote).expect("it encodes")]
}

pub(crate) fn tpm(bytes: &[u8]) {
    let _ = tpm::AttestationKey::from_public(bytes);
    let _ = tpm::AttestationKeyCertificate::decode(bytes);
    let _ = tpm::check_endorsement(bytes, &[bytes.to_vec()], &[bytes.to_vec()], 0);
    verify(EvidenceKind::Tpm, bytes, 0, &[]);
}

pub(crate) fn boot_logs() -> Vec<Vec<u8>> {
    let mut log = vec![0; 4];
    log.extend([3, 0, 0, 0]);
    log.extend([0; 20]);
    log.extend(33u32.to_le_bytes());
    log.extend(b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x01\0\0\0\x0B\0\x20\0\0");
    log.extend([4, 0, 0, 0, 3, 0, 0, 0x80, 1, 0, 0, 0, 0x0B, 0]);
    log.extend([7; 32]);
    log.extend([2, 0, 0, 0, b'o', b'k']);
    vec![log]
}

pub(crate) fn boot_log(bytes: &[u8]) {
    if let Ok(events) = boot_log::parse(bytes) {
        let registers = boot_log::registers(&events);
        assert_eq!(boot_log::check(bytes, &registers), Ok(events));
    }
}

pub(crate) fn measurement_lists() -> Vec<Vec<u8>> {
    let entry = |number: u8| ima_log::encode_entry(&[number; 32], "/usr/bin/env");
    vec![entry(1), [entry(1), entry(2), entry(3)].concat()]
}

pub(crate) fn measurement_list(bytes: &[u8]) {
    let start = ima_log::Position::START;
    if let Some(register) = ima_log::register_after(bytes) {
        let end = ima_log::replay(bytes, &start, &register, |_| ()).expect("it leads there");
        assert_eq!(end.register, register);
    }
    let _ = ima_log::replay(bytes, &start, &[1; 32], |_| ());
}

pub(crate) fn packages() -> Vec<Vec<u8>> {
    let mut deb = b"!<arch>\n".to_vec();
    deb.extend(format!("{:<16}{:<32}{:<10}`\n", "data.tar", "", 1024).bytes());
    deb.extend([0; 1024]);
    vec![deb]
}

pub(crate) fn package(bytes: &[u8]) {
    let _ = archive::contents(bytes, 1 << 20);
}
