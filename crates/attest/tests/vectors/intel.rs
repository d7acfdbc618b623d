//! Quotes of Intel's hardware with the collateral of their day.

use attest::{
    EvidenceError, PlatformError, Roots, appraise_platform,
    dcap::{Collateral, INTEL_ROOT, pack},
    verify,
};
use proptest::prelude::*;
use wire::{Evidence, EvidenceKind, EvidencePolicy, TcbStatus};

use super::{assert_no_flip_is_accepted, at, date_ms, file, verify_at};

/// A captured quote, and a moment at which its collateral held.
struct Captured {
    name: &'static str,
    kind: EvidenceKind,
    now: &'static str,
    /// After every part of the collateral.
    expired: &'static str,
    status: TcbStatus,
}

const CAPTURED: &[Captured] = &[
    Captured {
        name: "sgx_quote",
        kind: EvidenceKind::SgxDcap,
        now: "2025-06-20T00:00:00Z",
        expired: "2025-07-20T00:00:00Z",
        status: TcbStatus::ConfigurationAndSwHardeningNeeded,
    },
    Captured {
        name: "tdx_quote",
        kind: EvidenceKind::TdxDcap,
        now: "2025-06-20T00:00:00Z",
        expired: "2025-07-20T00:00:00Z",
        status: TcbStatus::UpToDate,
    },
    Captured {
        name: "tdx_quote_td15ex",
        kind: EvidenceKind::TdxDcap,
        now: "2026-10-09T00:00:00Z",
        expired: "2026-11-08T00:00:00Z",
        status: TcbStatus::UpToDate,
    },
];

fn quote_of(captured: &Captured) -> Vec<u8> {
    file(&format!("intel/{}", captured.name))
}

fn collateral_of(captured: &Captured) -> Collateral {
    let json = file(&format!("intel/{}_collateral.json", captured.name));
    Collateral::from_json(&json).unwrap()
}

fn evidence_of(captured: &Captured) -> Evidence {
    pack(&quote_of(captured), collateral_of(captured)).unwrap()
}

#[test]
fn real_quotes_verify_at_their_time() {
    for captured in CAPTURED {
        let evidence = evidence_of(captured);
        assert_eq!(evidence.kind, captured.kind, "{}", captured.name);
        let claims = verify_at(&evidence, date_ms(captured.now))
            .unwrap_or_else(|error| panic!("{}: {error}", captured.name));
        assert!(claims.protects_from_host);
        assert_eq!(
            claims.platform.tcb,
            Some(captured.status),
            "{}",
            captured.name
        );
        assert!(claims.platform.chip.is_some());
        let day_ms = 24 * 60 * 60 * 1000;
        let age = claims.platform.collateral_age_ms.unwrap();
        assert!(age < 3 * day_ms, "{}: {age} ms", captured.name);
    }
}

#[test]
fn the_claims_are_the_quotes() {
    let sgx = &CAPTURED[0];
    let quote = quote_of(sgx);
    let claims = verify_at(&evidence_of(sgx), date_ms(sgx.now)).unwrap();
    // SGX report: header of 48 bytes, MRENCLAVE at 64, report data at 320.
    assert_eq!(claims.measurement.0, quote[48 + 64..48 + 96]);
    assert_eq!(claims.report_data.0, quote[48 + 320..48 + 384]);
    let tdx = &CAPTURED[1];
    let quote = quote_of(tdx);
    let claims = verify_at(&evidence_of(tdx), date_ms(tdx.now)).unwrap();
    assert_eq!(claims.report_data.0, quote[48 + 520..48 + 584]);
}

#[test]
fn expired_collateral_is_refused() {
    for captured in CAPTURED {
        let evidence = evidence_of(captured);
        assert!(verify_at(&evidence, date_ms(captured.expired)).is_err());
    }
}

#[test]
fn collateral_of_the_future_is_refused() {
    for captured in CAPTURED {
        let before = date_ms(captured.now) - 40 * 24 * 60 * 60 * 1000;
        assert!(verify_at(&evidence_of(captured), before).is_err());
    }
}

#[test]
fn another_root_is_refused() {
    let captured = &CAPTURED[1];
    let roots = Roots {
        intel: attest::snp::PRODUCTS[0].root,
        ..Roots::default()
    };
    let moment = at(date_ms(captured.now));
    assert!(verify(&evidence_of(captured), &roots, moment).is_err());
}

#[test]
fn one_kind_under_the_others_name_is_refused() {
    for captured in CAPTURED {
        let mut evidence = evidence_of(captured);
        evidence.kind = match evidence.kind {
            EvidenceKind::SgxDcap => EvidenceKind::TdxDcap,
            _ => EvidenceKind::SgxDcap,
        };
        assert!(verify_at(&evidence, date_ms(captured.now)).is_err());
    }
}

#[test]
fn collateral_of_another_model_is_refused() {
    let collateral = collateral_of(&CAPTURED[0]);
    let evidence = pack(&quote_of(&CAPTURED[1]), collateral).unwrap();
    assert!(verify_at(&evidence, date_ms(CAPTURED[1].now)).is_err());
}

#[test]
fn a_platform_below_every_level_that_intel_lists_is_refused() {
    let quote = file("intel/tdx_quote_outdated");
    let json = file("intel/tdx_quote_outdated_collateral.json");
    let evidence = pack(&quote, Collateral::from_json(&json).unwrap()).unwrap();
    match verify_at(&evidence, date_ms("2026-02-19T00:00:00Z")) {
        Err(EvidenceError::Refused { reason, .. }) => {
            assert_eq!(reason, "No matching TCB level found");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_platform_out_of_tcb_policy_is_refused() {
    let captured = &CAPTURED[0];
    let claims = verify_at(&evidence_of(captured), date_ms(captured.now)).unwrap();
    let mut policy = EvidencePolicy::default();
    let appraise =
        |policy: &EvidencePolicy| appraise_platform(claims.kind, &claims.platform, policy);
    assert_eq!(
        appraise(&policy),
        Err(PlatformError::TcbStatus(captured.status))
    );
    policy.accepted_tcb = vec![captured.status];
    assert_eq!(appraise(&policy), Ok(()));
    let advisory = claims.platform.advisories[0].clone();
    policy.refused_advisories = vec![advisory.clone()];
    assert_eq!(appraise(&policy), Err(PlatformError::Advisory(advisory)));
}

#[test]
fn no_flipped_bit_is_accepted() {
    for (captured, step) in CAPTURED.iter().zip([3, 3, 17]) {
        let now = date_ms(captured.now);
        assert_no_flip_is_accepted(&evidence_of(captured), step, |evidence| {
            verify_at(evidence, now).is_ok()
        });
    }
}

#[test]
fn a_quote_that_is_cut_short_is_not_packed() {
    let captured = &CAPTURED[1];
    let quote = quote_of(captured);
    for length in (0..4000).step_by(97) {
        assert!(pack(&quote[..length], collateral_of(captured)).is_err());
    }
}

#[test]
fn the_root_is_intels() {
    let (_, root) = x509_parser::parse_x509_certificate(INTEL_ROOT).unwrap();
    assert_eq!(
        root.subject().to_string(),
        "CN=Intel SGX Root CA, O=Intel Corporation, L=Santa Clara, ST=CA, C=US"
    );
    root.verify_signature(None).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn overwritten_evidence_is_refused_without_a_panic(
        at in any::<prop::sample::Index>(),
        with in proptest::collection::vec(any::<u8>(), 1..40),
    ) {
        let captured = &CAPTURED[1];
        let mut evidence = evidence_of(captured);
        let start = at.index(evidence.bytes.len());
        let end = (start + with.len()).min(evidence.bytes.len());
        let before = evidence.bytes.clone();
        evidence.bytes[start..end].copy_from_slice(&with[..end - start]);
        prop_assume!(evidence.bytes != before);
        let verdict = verify_at(&evidence, date_ms(captured.now));
        prop_assert!(verdict.is_err());
    }

    #[test]
    fn arbitrary_bytes_are_malformed(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let evidence = Evidence { kind: EvidenceKind::TdxDcap, bytes };
        let verdict = verify_at(&evidence, 0);
        let malformed = matches!(verdict, Err(EvidenceError::Malformed { .. }));
        prop_assert!(malformed, "{:?}", verdict);
    }
}
