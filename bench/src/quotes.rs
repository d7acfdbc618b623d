//! How many quotes of each kind does one core verify, beside the libraries alone?
//!
//! Ours is what a validator does with evidence: decode, verify, claims. Beside it
//! stands what nobody can leave out: for Intel, `dcap-qvl` given the quote as the
//! platform made it and its collateral already parsed; for AMD, `sev`, `x509-parser`
//! and aws-lc given the report and the certificates. Both have the same primitives
//! (aws-lc), so that what differs is what is ours.

use std::{
    fs,
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use attest::{
    Moment, Roots,
    dcap::{self, Collateral, INTEL_ROOT},
    snp::{self, PRODUCTS},
};
use aws_lc_rs::{
    digest,
    signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey},
};
use dcap_qvl::{
    QuoteCollateralV3,
    config::{Config, CryptoProvider},
    signature::DerSigEncoder,
    verify::QuoteVerifier,
    x509::X509CertBackend,
};
use rustls_pki_types::SignatureVerificationAlgorithm;
use sev::{firmware::guest::AttestationReport, parser::ByteParser as _};
use wire::{Evidence, Height};

use crate::statistics::print_ratio;

/// Of the library's rate at least.
const GOAL: f64 = 0.9;

/// 2025-06-20: Intel's captured collateral holds. Unix milliseconds.
const SUMMER_MS: u64 = 1_750_377_600_000;

/// 2026-01-01: AMD's certificates hold. Unix milliseconds.
const WINTER_MS: u64 = 1_767_225_600_000;

/// The same primitives for `dcap-qvl` as `attest` gives it.
struct Primitives;

impl CryptoProvider for Primitives {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        webpki::aws_lc_rs::ECDSA_P256_SHA256
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
        out
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        let mut out = [0; 48];
        out.copy_from_slice(digest::digest(&digest::SHA384, data).as_ref());
        out
    }
}

impl Config for Primitives {
    type X509 = X509CertBackend;
    type SigEncoder = DerSigEncoder;
    type Crypto = Primitives;
}

/// A verification by the library alone; whether it is accepted.
type Alone = Box<dyn Fn() -> Result<()>>;

/// A captured quote, and a moment at which it held, Unix milliseconds.
struct Captured {
    name: &'static str,
    evidence: Evidence,
    time_ms: u64,
    library: &'static str,
    alone: Alone,
}

fn read(name: &str) -> Result<Vec<u8>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/attest/tests/data");
    fs::read(data.join(name)).with_context(|| name.to_owned())
}

fn intel(name: &'static str, file: &str) -> Result<Captured> {
    let quote = read(&format!("intel/{file}"))?;
    let json = read(&format!("intel/{file}_collateral.json"))?;
    let parts: QuoteCollateralV3 = serde_json::from_slice(&json)?;
    let evidence = dcap::pack(&quote, Collateral::from_json(&json)?)?;
    let alone: Alone = Box::new(move || {
        QuoteVerifier::<Primitives>::new_with_config(INTEL_ROOT.to_vec())
            .verify(&quote, &parts, SUMMER_MS / 1000)
            .map(|report| drop(black_box(report)))
            .map_err(|error| anyhow::anyhow!("{error:#}"))
    });
    Ok(Captured {
        name,
        evidence,
        time_ms: SUMMER_MS,
        library: "dcap-qvl",
        alone,
    })
}

fn amd() -> Result<Captured> {
    let text = String::from_utf8(read("amd/report_milan.hex")?)?;
    let report = hex::decode(text.split_whitespace().collect::<String>())?;
    let certificate = read("amd/vcek_milan.der")?;
    let evidence = snp::pack(&report, &certificate, None);
    let alone: Alone = Box::new(move || milan(&report, &certificate));
    Ok(Captured {
        name: "SEV-SNP report",
        evidence,
        time_ms: WINTER_MS,
        library: "sev, x509-parser",
        alone,
    })
}

/// ARK signed ASK, ASK the chip's key, and that the report.
fn milan(report: &[u8], certificate: &[u8]) -> Result<()> {
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

/// How often `verify` runs in a second, for as long as `round`.
fn rate(round: Duration, mut verify: impl FnMut() -> Result<()>) -> Result<f64> {
    let (started, mut count) = (Instant::now(), 0u32);
    while started.elapsed() < round {
        verify()?;
        count += 1;
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}

/// Runs the benchmark: each kind beside its library.
///
/// Errors: a captured file is missing; a quote does not verify.
pub fn run(rounds: usize, round: Duration) -> Result<()> {
    let captured = [
        intel("SGX quote", "sgx_quote")?,
        intel("TDX quote", "tdx_quote")?,
        amd()?,
    ];
    for one in captured {
        let moment = Moment {
            height: Height(0),
            time_ms: one.time_ms,
        };
        let roots = Roots::default();
        let (mut ours, mut alone) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(rate(round, || {
                black_box(attest::verify(&one.evidence, &roots, moment)?);
                Ok(())
            })?);
            alone.push(rate(round, &one.alone)?);
        }
        let what = format!("{} verified on one core", one.name);
        print_ratio(&what, "1/s", GOAL, &ours, one.library, &alone);
    }
    Ok(())
}
