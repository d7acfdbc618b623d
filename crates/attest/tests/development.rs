//! Development evidence, good and bad.

use std::sync::LazyLock;

use attest::{
    AppraisalError, AppraisalPolicy, EvidenceError, Moment, Roots, appraise,
    development::{QuotingCertificate, QuotingKey, QuotingKeyError, certify},
    verify,
};
use proptest::prelude::*;
use wire::{
    Digest, Evidence, EvidenceKind, EvidencePolicy, Height, Measurement, ReferenceValue,
    SigningKey, limits::MAX_EVIDENCE_BYTES,
};

const CODE: Measurement = Measurement([1; 32]);
const REPORT_DATA: Digest = Digest([2; 32]);

fn root() -> SigningKey {
    SigningKey::ed25519([1; 32])
}

fn quoting_key(not_after: Option<Height>) -> QuotingKey {
    let key = SigningKey::p256([2; 32]).unwrap();
    let certificate = certify(&root(), key.public(), not_after, "host 1").unwrap();
    QuotingKey::new(key, certificate).unwrap()
}

fn evidence() -> Evidence {
    quoting_key(Some(Height(100))).quote(CODE, REPORT_DATA, [3; 32])
}

fn at(height: u64) -> Moment {
    Moment {
        height: Height(height),
        time_ms: 0,
    }
}

fn verify_at(evidence: &Evidence, height: u64) -> Result<attest::Claims, EvidenceError> {
    let development = [SigningKey::ed25519([9; 32]).public(), root().public()];
    let roots = Roots {
        development: &development,
        ..Roots::default()
    };
    verify(evidence, &roots, at(height))
}

#[test]
fn genuine_evidence_gives_its_claims() {
    let claims = verify_at(&evidence(), 100).unwrap();
    assert_eq!(claims.kind, EvidenceKind::Development);
    assert_eq!(claims.measurement, CODE);
    assert_eq!(claims.report_data, REPORT_DATA.into());
    assert!(!claims.protects_from_host);
}

#[test]
fn a_change_of_any_byte_is_refused() {
    let good = evidence();
    for at in 0..good.bytes.len() {
        for flip in [0x01, 0x80] {
            let mut changed = good.clone();
            changed.bytes[at] ^= flip;
            assert!(verify_at(&changed, 1).is_err(), "byte {at}");
        }
    }
}

#[test]
fn evidence_that_is_cut_short_or_goes_on_is_refused() {
    let good = evidence();
    for length in 0..good.bytes.len() {
        let mut cut = good.clone();
        cut.bytes.truncate(length);
        assert!(verify_at(&cut, 1).is_err(), "{length} bytes");
    }
    let mut longer = good;
    longer.bytes.push(0);
    assert!(matches!(
        verify_at(&longer, 1),
        Err(EvidenceError::Malformed { .. })
    ));
}

#[test]
fn another_root_is_refused() {
    let other = [SigningKey::ed25519([9; 32]).public()];
    let roots = Roots {
        development: &other,
        ..Roots::default()
    };
    assert_eq!(
        verify(&evidence(), &roots, at(1)),
        Err(EvidenceError::UnknownRoot(EvidenceKind::Development))
    );
    assert_eq!(
        verify(&evidence(), &Roots::default(), at(1)),
        Err(EvidenceError::UnknownRoot(EvidenceKind::Development))
    );
}

#[test]
fn a_certificate_holds_up_to_its_last_height() {
    assert!(verify_at(&evidence(), 100).is_ok());
    assert_eq!(
        verify_at(&evidence(), 101),
        Err(EvidenceError::Expired {
            not_after: Height(100)
        })
    );
    let lasting = quoting_key(None).quote(CODE, REPORT_DATA, [3; 32]);
    assert!(verify_at(&lasting, u64::MAX).is_ok());
}

#[test]
fn a_quote_by_another_key_than_the_certified_is_refused() {
    // The quote of one evidence under the certificate of another.
    let other = SigningKey::ed25519([7; 32]);
    let certificate = certify(&root(), other.public(), None, "host 2").unwrap();
    let theirs = QuotingKey::new(other, certificate).unwrap();
    let foreign = theirs.quote(CODE, REPORT_DATA, [3; 32]).bytes;
    let certificate_of = |key: &QuotingKey| key.certificate().encode();
    let own = evidence().bytes;
    let mine = certificate_of(&quoting_key(Some(Height(100))));
    let spliced = [
        &own[..1],
        &mine[..],
        &foreign[1 + certificate_of(&theirs).len()..],
    ]
    .concat();
    let spliced = Evidence {
        kind: EvidenceKind::Development,
        bytes: spliced,
    };
    assert_eq!(
        verify_at(&spliced, 1),
        Err(EvidenceError::Signature {
            kind: EvidenceKind::Development,
            part: "quote"
        })
    );
}

#[test]
fn a_certificate_that_its_root_did_not_sign_is_refused() {
    let key = SigningKey::ed25519([7; 32]);
    let mut certificate = certify(&root(), key.public(), Some(Height(1)), "host").unwrap();
    certificate.body.not_after = None;
    assert!(matches!(
        QuotingKey::new(key, certificate),
        Err(QuotingKeyError::Signature)
    ));
}

#[test]
fn a_quoting_key_goes_with_its_own_certificate_only() {
    let certificate = quoting_key(None).certificate().clone();
    let decoded = QuotingCertificate::decode(&certificate.encode()).unwrap();
    assert_eq!(decoded, certificate);
    assert!(matches!(
        QuotingKey::new(SigningKey::ed25519([7; 32]), certificate),
        Err(QuotingKeyError::OtherKey)
    ));
    let long = "a".repeat(65);
    assert_eq!(
        certify(&root(), root().public(), None, &long),
        Err(QuotingKeyError::LabelTooLong)
    );
}

#[test]
fn swapped_report_data_does_not_pass_appraisal() {
    let other = quoting_key(None).quote(CODE, Digest([9; 32]), [3; 32]);
    let claims = verify_at(&other, 1).unwrap();
    assert_eq!(
        appraise(&claims, &policy(false)),
        Err(AppraisalError::ReportDataMismatch)
    );
}

#[test]
fn a_production_policy_refuses_genuine_development_evidence() {
    let claims = verify_at(&evidence(), 1).unwrap();
    assert!(appraise(&claims, &policy(false)).is_ok());
    assert_eq!(
        appraise(&claims, &policy(true)),
        Err(AppraisalError::NoHostProtection(EvidenceKind::Development))
    );
}

static DEMANDS: LazyLock<EvidencePolicy> = LazyLock::new(EvidencePolicy::default);

fn policy(require_host_protection: bool) -> AppraisalPolicy<'static> {
    AppraisalPolicy {
        circle: &DEMANDS,
        request: &DEMANDS,
        reference_values: &[ReferenceValue {
            measurement: CODE,
            kind: EvidenceKind::Development,
        }],
        accepted_kinds: &[EvidenceKind::Development],
        report_data: REPORT_DATA,
        measurement: None,
        require_host_protection,
    }
}

#[test]
fn development_evidence_under_another_kinds_name_is_refused() {
    for kind in [
        EvidenceKind::Tpm,
        EvidenceKind::SgxDcap,
        EvidenceKind::TdxDcap,
        EvidenceKind::SevSnp,
    ] {
        let mut evidence = evidence();
        evidence.kind = kind;
        assert!(matches!(
            verify_at(&evidence, 1),
            Err(EvidenceError::Malformed { .. })
        ));
    }
}

#[test]
fn evidence_over_its_limit_is_refused_before_it_is_read() {
    let evidence = Evidence {
        kind: EvidenceKind::Development,
        bytes: vec![0; MAX_EVIDENCE_BYTES + 1],
    };
    assert_eq!(
        verify_at(&evidence, 1),
        Err(EvidenceError::TooLarge(MAX_EVIDENCE_BYTES + 1))
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        at in any::<prop::sample::Index>(),
    ) {
        let arbitrary = Evidence { kind: EvidenceKind::Development, bytes: bytes.clone() };
        prop_assert!(verify_at(&arbitrary, 1).is_err());
        // Good evidence with a part overwritten reaches deeper into the decoder.
        let mut changed = evidence();
        let at = at.index(changed.bytes.len());
        for (place, byte) in changed.bytes[at..].iter_mut().zip(bytes) {
            *place = byte;
        }
        let same = changed == evidence();
        prop_assert_eq!(verify_at(&changed, 1).is_ok(), same);
        let _ = QuotingCertificate::decode(&changed.bytes);
    }
}
