//! Reports of AMD's hardware, and of a vendor of our own that can revoke.

use attest::{
    EvidenceError, Roots,
    snp::{PRODUCTS, Product, pack},
    verify,
};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair},
};
use wire::{Evidence, EvidenceKind, SnpTcb};

use super::{
    assert_no_flip_is_accepted, at,
    authority::{Authority, Lifetime, list},
    date_ms, file, verify_at,
};

const NOW: &str = "2026-01-01T00:00:00Z";

fn milan_report() -> Vec<u8> {
    let text = String::from_utf8(file("amd/report_milan.hex")).unwrap();
    let digits: String = text.split_whitespace().collect();
    hex::decode(digits).unwrap()
}

fn milan() -> Evidence {
    pack(&milan_report(), &file("amd/vcek_milan.der"), None)
}

#[test]
fn a_real_report_verifies() {
    let claims = verify_at(&milan(), date_ms(NOW)).unwrap();
    assert_eq!(claims.kind, EvidenceKind::SevSnp);
    assert!(claims.protects_from_host);
    assert!(claims.platform.chip.is_some());
    assert!(!claims.platform.revocation_checked);
    assert_eq!(claims.report_data.0, milan_report()[0x50..0x90]);
    assert_eq!(
        claims.platform.snp_tcb,
        Some(SnpTcb {
            fmc: 0,
            bootloader: 3,
            tee: 0,
            snp: 8,
            microcode: 0x73,
        })
    );
}

#[test]
fn a_certificate_that_does_not_hold_is_refused() {
    for time in ["2031-01-01T00:00:00Z", "2021-01-01T00:00:00Z"] {
        assert!(matches!(
            verify_at(&milan(), date_ms(time)),
            Err(EvidenceError::OutOfTime { .. })
        ));
    }
}

#[test]
fn another_chips_key_is_refused() {
    let crossed = pack(&milan_report(), &file("azure/vcek.der"), None);
    assert_eq!(
        verify_at(&crossed, date_ms(NOW)),
        Err(EvidenceError::Signature {
            kind: EvidenceKind::SevSnp,
            part: "report"
        })
    );
}

#[test]
fn no_flipped_bit_is_accepted() {
    assert_no_flip_is_accepted(&milan(), 1, |evidence| {
        verify_at(evidence, date_ms(NOW)).is_ok()
    });
}

#[test]
fn every_built_in_chain_holds() {
    for product in PRODUCTS {
        let (_, root) = x509_parser::parse_x509_certificate(product.root).unwrap();
        let (_, signer) = x509_parser::parse_x509_certificate(product.signer).unwrap();
        root.verify_signature(None).unwrap();
        signer.verify_signature(Some(root.public_key())).unwrap();
        assert!(root.subject().to_string().contains(product.name));
    }
}

#[test]
fn roots_of_another_vendor_are_refused() {
    let roots = Roots {
        amd: &[],
        ..Roots::default()
    };
    assert_eq!(
        verify(&milan(), &roots, at(date_ms(NOW))),
        Err(EvidenceError::UnknownRoot(EvidenceKind::SevSnp))
    );
}

/// The captured report, changed by `change` and signed again by `endorsement`.
fn report_by(endorsement: &Authority, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut report = milan_report();
    change(&mut report[..0x2A0]);
    let key =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &endorsement.private_key())
            .unwrap();
    let signature = key.sign(&SystemRandom::new(), &report[..0x2A0]).unwrap();
    let (r, s) = signature.as_ref().split_at(48);
    report[0x2A0..].fill(0);
    for (at, scalar) in [(0x2A0, r), (0x2A0 + 72, s)] {
        for (place, byte) in report[at..at + 48].iter_mut().zip(scalar.iter().rev()) {
            *place = *byte;
        }
    }
    report
}

/// A vendor of our own: real signatures, our roots, the captured report's form.
struct Vendor {
    root: Authority,
    signer: Authority,
    endorsement: Authority,
}

impl Vendor {
    fn new() -> Self {
        let (_, real) = x509_parser::parse_x509_certificate(&REAL_VCEK).unwrap();
        // The security versions and the chip's identity as AMD states them.
        let extensions = real
            .extensions()
            .iter()
            .map(|extension| {
                let oid: Vec<u64> = extension.oid.iter().unwrap().collect();
                (oid, extension.value.to_vec())
            })
            .collect();
        let root = Authority::root("ARK-Own", Lifetime::Long);
        let signer = Authority::under(&root, "SEV-Own", true, Lifetime::Long, Vec::new());
        let endorsement = Authority::under(&signer, "SEV-VCEK", false, Lifetime::Long, extensions);
        Self {
            root,
            signer,
            endorsement,
        }
    }

    fn report(&self, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        report_by(&self.endorsement, change)
    }

    fn verify(&self, evidence: &Evidence, now: &str) -> Result<attest::Claims, EvidenceError> {
        let products = [Product {
            name: "Milan",
            root: self.root.certificate(),
            signer: self.signer.certificate(),
        }];
        let roots = Roots {
            amd: &products,
            ..Roots::default()
        };
        verify(evidence, &roots, at(date_ms(now)))
    }
}

static REAL_VCEK: std::sync::LazyLock<Vec<u8>> =
    std::sync::LazyLock::new(|| file("amd/vcek_milan.der"));

#[test]
fn our_own_vendors_evidence_holds_under_its_roots_alone() {
    let vendor = Vendor::new();
    let evidence = pack(
        &vendor.report(|_| ()),
        vendor.endorsement.certificate(),
        None,
    );
    vendor.verify(&evidence, NOW).unwrap();
    assert_eq!(
        verify_at(&evidence, date_ms(NOW)),
        Err(EvidenceError::UnknownRoot(EvidenceKind::SevSnp))
    );
}

#[test]
fn a_guest_that_can_be_debugged_or_migrated_is_refused() {
    let vendor = Vendor::new();
    type Change = fn(&mut [u8]);
    let changes: [(&str, Change); 6] = [
        ("debugged", |report| report[0x0A] |= 1 << 3),
        ("migration agent", |report| report[0x0A] |= 1 << 2),
        ("level 0", |report| report[0x30] = 1),
        ("level 0", |report| report[0x30..0x34].fill(0xFF)),
        ("other security versions", |report| report[0x187] = 0x74),
        ("another chip", |report| report[0x1A0] ^= 1),
    ];
    for (reason, change) in changes {
        let evidence = pack(
            &vendor.report(change),
            vendor.endorsement.certificate(),
            None,
        );
        match vendor.verify(&evidence, NOW) {
            Err(EvidenceError::Refused { reason: found, .. }) => {
                assert!(found.contains(reason), "{found}");
            }
            other => panic!("{reason}: {other:?}"),
        }
    }
}

#[test]
fn revocation_lists_are_believed_while_they_hold() {
    let vendor = Vendor::new();
    let report = vendor.report(|_| ());
    let evidence = |list: &[u8]| pack(&report, vendor.endorsement.certificate(), Some(list));
    let (from, until) = ("2025-12-01T00:00:00Z", "2026-02-01T00:00:00Z");
    let clean = list(&vendor.root, &[], from, until);
    let claims = vendor.verify(&evidence(&clean), NOW).unwrap();
    assert!(claims.platform.revocation_checked);
    for revoked in [&vendor.signer, &vendor.endorsement] {
        let list = list(&vendor.root, &[revoked], from, until);
        assert!(matches!(
            vendor.verify(&evidence(&list), NOW),
            Err(EvidenceError::Revoked { .. })
        ));
    }
    assert!(matches!(
        vendor.verify(&evidence(&clean), "2026-02-02T00:00:00Z"),
        Err(EvidenceError::OutOfTime { .. })
    ));
    let foreign = list(&vendor.signer, &[], from, until);
    assert!(matches!(
        vendor.verify(&evidence(&foreign), NOW),
        Err(EvidenceError::Signature { .. })
    ));
    assert_no_flip_is_accepted(&evidence(&clean), 1, |evidence| {
        vendor.verify(evidence, NOW).is_ok()
    });
}

/// A key that AMD loads for a whole cloud (VLEK), as a vendor of our own does it: no
/// report that is signed by a real one can be had with a licence, nor AMD's
/// certificate of its signer (ASVK).
struct Cloud {
    vendor: Vendor,
    signer: Authority,
    loaded: Authority,
}

/// Octet of a report that says which key signed it (`KEY_INFO`, bits 2 to 4).
const KEY_INFO: usize = 0x48;
const LOADED_KEY: u8 = 1 << 2;

impl Cloud {
    fn new() -> Self {
        let vendor = Vendor::new();
        let (_, real) = x509_parser::parse_x509_certificate(&REAL_VCEK).unwrap();
        // A VLEK's certificate names no hardware (AMD 57230, table 10).
        let hardware = x509_parser::der_parser::oid!(1.3.6.1.4.1.3704.1.4);
        let kept = real.extensions().iter().filter(|one| one.oid != hardware);
        let extensions = kept
            .map(|one| (one.oid.iter().unwrap().collect(), one.value.to_vec()))
            .collect();
        let signer = Authority::under(&vendor.root, "SEV-VLEK-Own", true, Lifetime::Long, vec![]);
        let loaded = Authority::under(&signer, "SEV-VLEK", false, Lifetime::Long, extensions);
        Self {
            vendor,
            signer,
            loaded,
        }
    }

    fn report(&self, key_info: u8) -> Vec<u8> {
        report_by(&self.loaded, |report| report[KEY_INFO] = key_info)
    }

    fn verify(&self, evidence: &Evidence, now: &str) -> Result<attest::Claims, EvidenceError> {
        // A product stands once for each of its signers.
        let product = |signer| Product {
            name: "Milan",
            root: self.vendor.root.certificate(),
            signer,
        };
        let products = [
            product(self.vendor.signer.certificate()),
            product(self.signer.certificate()),
        ];
        let roots = Roots {
            amd: &products,
            ..Roots::default()
        };
        verify(evidence, &roots, at(date_ms(now)))
    }
}

#[test]
fn a_loaded_key_vouches_for_no_chip() {
    let cloud = Cloud::new();
    let shown = |report: &[u8]| pack(report, cloud.loaded.certificate(), None);
    let evidence = shown(&cloud.report(LOADED_KEY));
    let claims = cloud.verify(&evidence, NOW).unwrap();
    assert_eq!(claims.platform.chip, None);
    // It is not AMD's, and a chip's key of the same vendor still is one.
    assert_eq!(
        verify_at(&evidence, date_ms(NOW)),
        Err(EvidenceError::UnknownRoot(EvidenceKind::SevSnp))
    );
    let chips = pack(
        &cloud.vendor.report(|_| ()),
        cloud.vendor.endorsement.certificate(),
        None,
    );
    assert!(cloud.verify(&chips, NOW).unwrap().platform.chip.is_some());
    // A report that says a chip's key signed it.
    match cloud.verify(&shown(&cloud.report(0)), NOW) {
        Err(EvidenceError::Refused { reason, .. }) => {
            assert!(reason.contains("not of the reported kind"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_revoked_loaded_key_or_its_signer_is_refused() {
    let cloud = Cloud::new();
    let report = cloud.report(LOADED_KEY);
    let (from, until) = ("2025-12-01T00:00:00Z", "2026-02-01T00:00:00Z");
    let evidence = |revoked: &[&Authority]| {
        let list = list(&cloud.vendor.root, revoked, from, until);
        pack(&report, cloud.loaded.certificate(), Some(&list))
    };
    let claims = cloud.verify(&evidence(&[]), NOW).unwrap();
    assert!(claims.platform.revocation_checked);
    // What is revoked of another chain is no matter.
    let claims = cloud.verify(&evidence(&[&cloud.vendor.signer]), NOW);
    assert!(claims.is_ok(), "{claims:?}");
    for revoked in [&cloud.signer, &cloud.loaded] {
        assert!(matches!(
            cloud.verify(&evidence(&[revoked]), NOW),
            Err(EvidenceError::Revoked { .. })
        ));
    }
}
