//! How many quotes of each kind does one core verify, beside the libraries alone?
//!
//! Ours is what a validator does with evidence: decode, verify, claims. Beside it
//! stands what nobody can leave out: for Intel, `dcap-qvl` given the quote as the
//! platform made it and its collateral already parsed; for the others, the crate that
//! reads the structure, `x509-parser` and aws-lc ([`alone`]). Both have the same
//! primitives, so that what differs is what is ours.

mod alone;

use std::{
    fs,
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use attest::{
    Moment, Roots, chip_digest,
    dcap::{self, Collateral, INTEL_ROOT, Primitives},
    nitro::{self, AWS_ROOT},
    snp,
    tpm::{self, AttestationKey, BOOT_REGISTERS, CERTIFICATE_PURPOSE, Quote, certify},
};
use dcap_qvl::{QuoteCollateralV3, verify::QuoteVerifier};
use wire::{Evidence, Height, SigningKey};

use crate::statistics::print_ratio;

/// Of the library's rate at least.
const GOAL: f64 = 0.9;

/// 2025-06-20: Intel's captured collateral holds. Unix milliseconds.
const SUMMER_MS: u64 = 1_750_377_600_000;

/// 2026-01-01: AMD's certificates hold. Unix milliseconds.
const WINTER_MS: u64 = 1_767_225_600_000;

/// 2025-01-06T16:07:05Z: the Nitro document was made. Its certificates hold for hours.
/// Unix milliseconds.
const NITRO_MS: u64 = 1_736_179_625_000;

/// One verification; an error unless it is accepted.
type Verify = Box<dyn Fn() -> Result<()>>;

/// A captured quote, verified by us and by the library alone.
struct Captured {
    name: &'static str,
    ours: Verify,
    library: &'static str,
    alone: Verify,
}

fn moment(time_ms: u64) -> Moment {
    Moment {
        height: Height(0),
        time_ms,
    }
}

/// Evidence under the vendors' own roots.
fn evidence_of(evidence: Evidence, time_ms: u64) -> Verify {
    Box::new(move || {
        let roots = Roots::default();
        black_box(attest::verify(&evidence, &roots, moment(time_ms))?);
        Ok(())
    })
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
    let alone: Verify = Box::new(move || {
        QuoteVerifier::<Primitives>::new_with_config(INTEL_ROOT.to_vec())
            .verify(&quote, &parts, SUMMER_MS / 1000)
            .map(|report| drop(black_box(report)))
            .map_err(|error| anyhow::anyhow!("{error:#}"))
    });
    Ok(Captured {
        name,
        ours: evidence_of(evidence, SUMMER_MS),
        library: "dcap-qvl",
        alone,
    })
}

fn amd() -> Result<Captured> {
    let text = String::from_utf8(read("amd/report_milan.hex")?)?;
    let report = hex::decode(text.split_whitespace().collect::<String>())?;
    let certificate = read("amd/vcek_milan.der")?;
    let evidence = snp::pack(&report, &certificate, None);
    Ok(Captured {
        name: "SEV-SNP report",
        ours: evidence_of(evidence, WINTER_MS),
        library: "sev, x509-parser",
        alone: Box::new(move || alone::milan(&report, &certificate)),
    })
}

fn aws() -> Result<Captured> {
    let document = read("aws/document.cose")?;
    let evidence = nitro::pack(&document)?;
    Ok(Captured {
        name: "AWS Nitro document",
        ours: evidence_of(evidence, NITRO_MS),
        library: "coset, x509-parser",
        alone: Box::new(move || alone::nitro(&document, AWS_ROOT, NITRO_MS)),
    })
}

/// The quote of a software TPM: as a validator sees it, with an enroller's certificate
/// of its key; beside it the same two signatures.
fn tpm_evidence() -> Result<Captured> {
    let key = read("swtpm/ak.pub")?;
    let quote = swtpm_quote()?;
    let enroller = SigningKey::ed25519([5; 32]);
    let chip = chip_digest("tpm", b"an endorsement key");
    let certificate = certify(&enroller, &key, chip, None, "host")?;
    let evidence = tpm::pack(&certificate, &quote);
    let enrollers = [enroller.public()];
    let said = borsh::to_vec(&certificate.body)?;
    Ok(Captured {
        name: "TPM 2.0 evidence",
        ours: Box::new(move || {
            let roots = Roots {
                tpm: &enrollers,
                ..Roots::default()
            };
            black_box(attest::verify(&evidence, &roots, moment(0))?);
            Ok(())
        }),
        library: "tpm2-protocol",
        alone: Box::new(move || {
            let enroller = &certificate.body.enroller;
            let certified = enroller.verify(CERTIFICATE_PURPOSE, &said, &certificate.signature);
            ensure!(certified.is_ok(), "the certificate's signature");
            alone::tpm(&key, &quote.attested, &quote.signature)
        }),
    })
}

/// The same quote under a key that is known already: one signature on either side.
fn tpm_quote() -> Result<Captured> {
    let (key, quote) = (read("swtpm/ak.pub")?, swtpm_quote()?);
    let (known, same) = (key.clone(), quote.clone());
    Ok(Captured {
        name: "TPM 2.0 quote",
        ours: Box::new(move || {
            black_box(quote.verify(&AttestationKey::from_public(&known)?)?);
            Ok(())
        }),
        library: "tpm2-protocol",
        alone: Box::new(move || alone::tpm(&key, &same.attested, &same.signature)),
    })
}

/// The captured quote of a software TPM, over the registers of what is booted.
fn swtpm_quote() -> Result<Quote> {
    let values = read("swtpm/quote.registers")?;
    let (values, rest) = values.as_chunks();
    ensure!(rest.is_empty(), "a register is not whole");
    Ok(Quote {
        attested: read("swtpm/quote.attest")?,
        signature: read("swtpm/quote.signature")?,
        registers: BOOT_REGISTERS.into_iter().zip(values.to_vec()).collect(),
    })
}

/// How often `verify` runs in a second, for as long as `round`.
fn rate(round: Duration, verify: impl Fn() -> Result<()>) -> Result<f64> {
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
        aws()?,
        tpm_evidence()?,
        tpm_quote()?,
    ];
    for one in captured {
        let (mut ours, mut alone) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(rate(round, &one.ours)?);
            alone.push(rate(round, &one.alone)?);
        }
        let what = format!("{} verified on one core", one.name);
        print_ratio(&what, "1/s", GOAL, &ours, one.library, &alone);
    }
    Ok(())
}
