//! Admission under hardware evidence: quotes that Intel's hardware signed, in
//! blocks of the days in which their collateral held.
//!
//! Nobody can have such hardware bind one of our test's keys; that every other
//! rule held is shown by the last one, the report data, being the one that
//! does not.

use attest::dcap::{Collateral, pack};

use wire::*;

use super::world::*;

/// A captured quote (crates/attest/tests/data) with its collateral.
fn evidence(name: &str) -> Evidence {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../attest/tests/data/intel");
    let quote = std::fs::read(format!("{directory}/{name}")).unwrap();
    let json = std::fs::read(format!("{directory}/{name}_collateral.json")).unwrap();
    pack(&quote, Collateral::from_json(&json).unwrap()).unwrap()
}

/// 2025-06-20, when the collateral of both held.
const NOW_MS: u64 = 1_750_377_600_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn claims(evidence: &Evidence) -> attest::Claims {
    let moment = attest::Moment {
        height: Height(1),
        time_ms: NOW_MS,
    };
    attest::verify(evidence, &attest::Roots::default(), moment).unwrap()
}

/// What to change before a registration.
#[derive(Default)]
struct Setting {
    circle: EvidencePolicy,
    request: EvidencePolicy,
    /// Milliseconds after [`NOW_MS`].
    later_ms: u64,
    unlisted: bool,
}

/// Registers an enclave with the captured quote `name` in a production circle
/// that admits its code.
fn register(name: &str, setting: Setting) -> Verdict {
    let evidence = evidence(name);
    let claims = claims(&evidence);
    let (kind, measurement) = (evidence.kind, claims.measurement);
    let mut world = World::founded_on(&genesis(|genesis| {
        genesis.kind = CircleKind::Production;
        genesis.development_roots.clear();
        genesis.reference_values = vec![ReferenceValue { measurement, kind }];
        genesis.evidence.policy = setting.circle;
    }));
    world.later_ms = NOW_MS + setting.later_ms;
    let mut terms = offer_terms();
    terms.evidence = vec![kind];
    terms.measurement = measurement;
    world.post_offer(PROVIDER, terms);
    let mut terms = request_terms();
    terms.evidence = vec![kind];
    terms.measurement = Some(measurement);
    terms.evidence_policy = setting.request;
    let request = world.post_request(terms);
    let contract = world.live(request, 0);
    let mut action = world.registration(contract);
    action.evidence = evidence;
    if setting.unlisted {
        // Genuine evidence of other code than the circle lists.
        action.evidence = self::evidence(match name {
            "tdx_quote" => "sgx_quote",
            _ => "tdx_quote",
        });
    }
    world.send(PROVIDER, Action::RegisterEnclave(action))
}

fn up_to_date_enough() -> EvidencePolicy {
    EvidencePolicy {
        accepted_tcb: vec![TcbStatus::ConfigurationAndSwHardeningNeeded],
        ..EvidencePolicy::default()
    }
}

#[test]
fn a_real_quote_passes_every_rule_but_the_keys_it_was_not_made_for() {
    let verdict = register("tdx_quote", Setting::default());
    assert_eq!(verdict, Err(Reject::ReportDataMismatch));
    let setting = Setting {
        circle: up_to_date_enough(),
        request: up_to_date_enough(),
        ..Setting::default()
    };
    assert_eq!(
        register("sgx_quote", setting),
        Err(Reject::ReportDataMismatch)
    );
}

#[test]
fn the_blocks_time_decides_whether_collateral_holds() {
    let setting = Setting {
        later_ms: 40 * DAY_MS,
        ..Setting::default()
    };
    assert_eq!(
        register("tdx_quote", setting),
        Err(Reject::EvidenceMalformed)
    );
}

#[test]
fn the_circles_policy_and_the_requests_both_decide() {
    // Intel calls this platform in need of configuration and hardening.
    let setting = Setting {
        request: up_to_date_enough(),
        ..Setting::default()
    };
    assert_eq!(
        register("sgx_quote", setting),
        Err(Reject::EvidenceNotAdmitted)
    );
    let setting = Setting {
        circle: up_to_date_enough(),
        ..Setting::default()
    };
    assert_eq!(
        register("sgx_quote", setting),
        Err(Reject::EvidenceNotAccepted)
    );
    let aged = || EvidencePolicy {
        max_collateral_age_ms: Some(60 * 60 * 1000),
        ..EvidencePolicy::default()
    };
    let setting = Setting {
        circle: aged(),
        ..Setting::default()
    };
    assert_eq!(
        register("tdx_quote", setting),
        Err(Reject::EvidenceNotAdmitted)
    );
    let setting = Setting {
        request: aged(),
        ..Setting::default()
    };
    assert_eq!(
        register("tdx_quote", setting),
        Err(Reject::EvidenceNotAccepted)
    );
}

#[test]
fn machines_can_be_pinned() {
    let chip = claims(&evidence("tdx_quote")).platform.chip.unwrap();
    let pinned = |chip| EvidencePolicy {
        chips: vec![chip],
        ..EvidencePolicy::default()
    };
    let setting = Setting {
        request: pinned(chip),
        ..Setting::default()
    };
    assert_eq!(
        register("tdx_quote", setting),
        Err(Reject::ReportDataMismatch)
    );
    let setting = Setting {
        request: pinned(Digest([1; 32])),
        ..Setting::default()
    };
    assert_eq!(
        register("tdx_quote", setting),
        Err(Reject::EvidenceNotAccepted)
    );
}

#[test]
fn genuine_evidence_of_unlisted_code_is_not_admitted() {
    let setting = Setting {
        unlisted: true,
        ..Setting::default()
    };
    assert_eq!(
        register("tdx_quote", setting),
        Err(Reject::EvidenceNotAdmitted)
    );
}

#[test]
fn a_request_with_a_policy_out_of_order_is_malformed() {
    let mut world = World::new();
    let mut terms = request_terms();
    terms.evidence_policy.accepted_tcb = vec![TcbStatus::OutOfDate, TcbStatus::UpToDate];
    let action = Action::PostRequest(PostRequest { terms });
    assert_eq!(world.send(USER, action), Err(Reject::RequestMalformed));
}
