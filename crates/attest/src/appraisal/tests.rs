//! Each rule of a policy, alone.

use wire::SnpTcb;

use super::*;

const KIND: EvidenceKind = EvidenceKind::SevSnp;
const CODE: Measurement = Measurement([1; 32]);
const CHIP: Digest = Digest([7; 32]);

fn claims() -> Claims {
    Claims {
        kind: KIND,
        measurement: CODE,
        report_data: ReportData::from(Digest([2; 32])),
        protects_from_host: true,
        platform: Platform {
            tcb: Some(TcbStatus::SwHardeningNeeded),
            advisories: vec!["INTEL-SA-00001".to_owned(), "INTEL-SA-00002".to_owned()],
            snp_tcb: Some(SnpTcb {
                snp: 8,
                ..SnpTcb::default()
            }),
            chip: Some(CHIP),
            collateral_age_ms: Some(1000),
            revocation_checked: false,
        },
    }
}

fn lenient() -> EvidencePolicy {
    EvidencePolicy {
        accepted_tcb: vec![TcbStatus::SwHardeningNeeded],
        ..EvidencePolicy::default()
    }
}

/// What [`AppraisalPolicy`] borrows.
#[derive(Clone)]
struct Wanted {
    reference_values: Vec<ReferenceValue>,
    circle: EvidencePolicy,
    accepted_kinds: Vec<EvidenceKind>,
    report_data: Digest,
    measurement: Option<Measurement>,
    request: EvidencePolicy,
    require_host_protection: bool,
}

impl Wanted {
    fn satisfied() -> Self {
        Self {
            reference_values: vec![ReferenceValue {
                measurement: CODE,
                kind: KIND,
            }],
            circle: lenient(),
            accepted_kinds: vec![KIND],
            report_data: Digest([2; 32]),
            measurement: Some(CODE),
            request: lenient(),
            require_host_protection: true,
        }
    }

    fn appraise(&self, claims: &Claims) -> Result<AttestationResult, AppraisalError> {
        let policy = AppraisalPolicy {
            reference_values: &self.reference_values,
            circle: &self.circle,
            accepted_kinds: &self.accepted_kinds,
            report_data: self.report_data,
            measurement: self.measurement,
            request: &self.request,
            require_host_protection: self.require_host_protection,
        };
        appraise(claims, &policy)
    }
}

#[test]
fn accepts_what_the_policy_asks_for() {
    let result = Wanted::satisfied().appraise(&claims()).unwrap();
    assert_eq!(result.measurement, CODE);
    assert!(result.protects_from_host);
    assert_eq!(result.tcb, Some(TcbStatus::SwHardeningNeeded));
    assert_eq!(result.chip, Some(CHIP));
    assert_eq!(result.collateral_age_ms, Some(1000));
}

#[test]
fn each_rule_refuses_by_itself() {
    let kind = KIND;
    let not_admitted = AppraisalError::NotAdmitted {
        kind,
        measurement: CODE,
    };
    type Change = fn(&mut Wanted);
    let cases: [(Change, AppraisalError); 5] = [
        (
            |wanted| wanted.reference_values.clear(),
            not_admitted.clone(),
        ),
        (
            // The right code under another kind of evidence is not admitted.
            |wanted| wanted.reference_values[0].kind = EvidenceKind::Tpm,
            not_admitted,
        ),
        (
            |wanted| wanted.accepted_kinds = vec![EvidenceKind::TdxDcap],
            AppraisalError::KindNotAccepted(kind),
        ),
        (
            |wanted| wanted.measurement = Some(Measurement([9; 32])),
            AppraisalError::MeasurementNotAccepted {
                measured: CODE,
                accepted: Measurement([9; 32]),
            },
        ),
        (
            |wanted| wanted.report_data = Digest([9; 32]),
            AppraisalError::ReportDataMismatch,
        ),
    ];
    for (change, expected) in cases {
        let mut wanted = Wanted::satisfied();
        change(&mut wanted);
        assert_eq!(wanted.appraise(&claims()), Err(expected));
    }
    let mut open = claims();
    open.protects_from_host = false;
    assert_eq!(
        Wanted::satisfied().appraise(&open),
        Err(AppraisalError::NoHostProtection(kind))
    );
}

#[test]
fn report_data_counts_to_its_last_byte() {
    let mut longer = claims();
    longer.report_data.0[63] = 1;
    assert_eq!(
        Wanted::satisfied().appraise(&longer),
        Err(AppraisalError::ReportDataMismatch)
    );
}

#[test]
fn each_rule_about_platforms_refuses_for_the_circle_and_for_a_request() {
    type Change = fn(&mut EvidencePolicy);
    let cases: [(Change, PlatformError); 6] = [
        (
            |policy| policy.accepted_tcb = vec![TcbStatus::OutOfDate],
            PlatformError::TcbStatus(TcbStatus::SwHardeningNeeded),
        ),
        (
            |policy| policy.refused_advisories = vec!["INTEL-SA-00002".to_owned()],
            PlatformError::Advisory("INTEL-SA-00002".to_owned()),
        ),
        (
            |policy| policy.max_collateral_age_ms = Some(999),
            PlatformError::CollateralAge {
                age_ms: 1000,
                limit_ms: 999,
            },
        ),
        (
            |policy| policy.require_revocation_list = true,
            PlatformError::NoRevocationList,
        ),
        (|policy| policy.least_snp_tcb.snp = 9, PlatformError::SnpTcb),
        (
            |policy| policy.chips = vec![Digest([8; 32])],
            PlatformError::Chip,
        ),
    ];
    for (change, expected) in cases {
        let mut wanted = Wanted::satisfied();
        change(&mut wanted.circle);
        assert_eq!(
            wanted.appraise(&claims()),
            Err(AppraisalError::PlatformNotAdmitted(expected.clone()))
        );
        let mut wanted = Wanted::satisfied();
        change(&mut wanted.request);
        assert_eq!(
            wanted.appraise(&claims()),
            Err(AppraisalError::PlatformNotAccepted(expected))
        );
    }
}

#[test]
fn pinned_machines_shut_out_evidence_without_a_machine() {
    let mut wanted = Wanted::satisfied();
    wanted.request.chips = vec![CHIP];
    assert!(wanted.appraise(&claims()).is_ok());
    let mut nameless = claims();
    nameless.platform.chip = None;
    assert_eq!(
        wanted.appraise(&nameless),
        Err(AppraisalError::PlatformNotAccepted(PlatformError::Chip))
    );
}
