//! Quotes of a vendor of our own making, in Intel's formats: what Intel's own
//! cannot be made to show (revocation, falling out of date, other keys).

use attest::{
    Claims, EvidenceError, Roots,
    dcap::{Collateral, pack},
    verify,
};
use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use wire::{Evidence, TcbStatus};

use super::{
    at,
    authority::{Authority, Lifetime, list},
    date_ms, file, verify_at,
};

const NOW: &str = "2026-01-01T00:00:00Z";
const ISSUED: &str = "2025-12-30T00:00:00Z";
const NEXT: &str = "2026-01-29T00:00:00Z";

/// Where parts of an SGX quote (version 3) are.
const REPORT: usize = 48;
const AUTHENTICATION: usize = REPORT + 384;
const KEY: usize = AUTHENTICATION + 4 + 64;
const QE_REPORT: usize = KEY + 64;
const QE_SIGNATURE: usize = QE_REPORT + 384;
const QE_DATA: usize = QE_SIGNATURE + 64 + 2;
const CERTIFICATES: usize = QE_DATA + 32 + 2;

fn sign(key: &[u8], message: &[u8]) -> [u8; 64] {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key).unwrap();
    let signature = pair.sign(&SystemRandom::new(), message).unwrap();
    signature.as_ref().try_into().unwrap()
}

fn pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

struct Vendor {
    root: Authority,
    signer: Authority,
    platform: Authority,
    pck: Authority,
    /// The status that all platforms have.
    status: &'static str,
    revoked: Vec<&'static str>,
    /// From when until when the root's revocation list and the platforms' hold.
    lists: [(&'static str, &'static str); 2],
}

impl Vendor {
    fn new(pck_lifetime: Lifetime) -> Self {
        Self::under_a_root(Lifetime::Long, pck_lifetime)
    }

    fn under_a_root(root_lifetime: Lifetime, pck_lifetime: Lifetime) -> Self {
        // The platform's identity and versions, as Intel certified them.
        let quote = file("intel/sgx_quote");
        let text = &quote[CERTIFICATES + 4..];
        let first = x509_parser::pem::Pem::iter_from_buffer(text)
            .next()
            .unwrap()
            .unwrap();
        let real = first.parse_x509().unwrap();
        let sgx = real
            .extensions()
            .iter()
            .find(|extension| extension.oid.to_string() == "1.2.840.113741.1.13.1")
            .unwrap();
        let oid: Vec<u64> = sgx.oid.iter().unwrap().collect();
        let extensions = vec![(oid, sgx.value.to_vec())];
        let root = Authority::root_p256("Own SGX Root CA", root_lifetime);
        let signer = Authority::under(&root, "Own TCB Signing", false, Lifetime::Long, vec![]);
        let platform = Authority::under(&root, "Own Platform CA", true, Lifetime::Long, vec![]);
        let pck = Authority::under(&platform, "Own PCK", false, pck_lifetime, extensions);
        Self {
            root,
            signer,
            platform,
            pck,
            status: "UpToDate",
            revoked: Vec::new(),
            lists: [(ISSUED, NEXT); 2],
        }
    }

    fn statement(&self, name: &str) -> (String, [u8; 64]) {
        let json = file("intel/sgx_quote_collateral.json");
        let all: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let text = all[name].as_str().unwrap();
        let mut value: serde_json::Value = serde_json::from_str(text).unwrap();
        value["issueDate"] = ISSUED.into();
        value["nextUpdate"] = NEXT.into();
        if name == "tcb_info" {
            for level in value["tcbLevels"].as_array_mut().unwrap() {
                level["tcbStatus"] = self.status.into();
                level["advisoryIDs"] = serde_json::json!([]);
            }
        }
        let text = value.to_string();
        let signature = sign(&self.signer.private_key(), text.as_bytes());
        (text, signature)
    }

    fn collateral(&self) -> Collateral {
        let (tcb_info, tcb_info_signature) = self.statement("tcb_info");
        let (qe_identity, qe_identity_signature) = self.statement("qe_identity");
        let revoked = |name: &str, authority| match self.revoked.contains(&name) {
            true => vec![authority],
            false => vec![],
        };
        let mut by_root = revoked("signer", &self.signer);
        by_root.extend(revoked("platform", &self.platform));
        let by_platform = revoked("pck", &self.pck);
        let [roots, platforms] = self.lists;
        Collateral {
            tcb_info,
            tcb_info_signature,
            qe_identity,
            qe_identity_signature,
            signing_certificate: self.signer.certificate().to_vec(),
            root_revocations: list(&self.root, &by_root, roots.0, roots.1),
            platform_revocations: list(&self.platform, &by_platform, platforms.0, platforms.1),
        }
    }

    /// The captured quote, its report changed by `change`, signed again.
    fn quote(&self, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut quote = file("intel/sgx_quote");
        quote.truncate(CERTIFICATES);
        change(&mut quote[REPORT..AUTHENTICATION]);
        let attestation = rcgen::KeyPair::generate().unwrap().serialize_der();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &attestation);
        let public = pair.unwrap().public_key().as_ref()[1..].to_vec();
        quote[KEY..QE_REPORT].copy_from_slice(&public);
        let bound = [&quote[KEY..QE_REPORT], &quote[QE_DATA..QE_DATA + 32]].concat();
        let bound = digest(&SHA256, &bound);
        quote[QE_REPORT + 320..QE_REPORT + 352].copy_from_slice(bound.as_ref());
        let signature = sign(&self.pck.private_key(), &quote[QE_REPORT..QE_SIGNATURE]);
        quote[QE_SIGNATURE..QE_SIGNATURE + 64].copy_from_slice(&signature);
        let signature = sign(&attestation, &quote[..AUTHENTICATION]);
        quote[AUTHENTICATION + 4..KEY].copy_from_slice(&signature);
        let chain = [&self.pck, &self.platform, &self.root];
        let chain: String = chain.iter().map(|one| pem(one.certificate())).collect();
        quote.extend_from_slice(&u32::try_from(chain.len()).unwrap().to_le_bytes());
        quote.extend_from_slice(chain.as_bytes());
        let length = u32::try_from(quote.len() - AUTHENTICATION - 4).unwrap();
        quote[AUTHENTICATION..AUTHENTICATION + 4].copy_from_slice(&length.to_le_bytes());
        quote
    }

    fn evidence(&self) -> Evidence {
        pack(&self.quote(|_| ()), self.collateral()).unwrap()
    }

    fn verify(&self, evidence: &Evidence) -> Result<Claims, EvidenceError> {
        self.verify_on(evidence, NOW)
    }

    fn verify_on(&self, evidence: &Evidence, date: &str) -> Result<Claims, EvidenceError> {
        let roots = Roots {
            intel: self.root.certificate(),
            ..Roots::default()
        };
        verify(evidence, &roots, at(date_ms(date)))
    }
}

fn reason(verdict: Result<Claims, EvidenceError>) -> String {
    match verdict {
        Err(EvidenceError::Refused { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn our_own_vendors_evidence_holds_under_its_root_alone() {
    let vendor = Vendor::new(Lifetime::Long);
    let evidence = vendor.evidence();
    let claims = vendor.verify(&evidence).unwrap();
    assert_eq!(claims.platform.tcb, Some(TcbStatus::UpToDate));
    assert!(verify_at(&evidence, date_ms(NOW)).is_err());
}

#[test]
fn a_revoked_platform_authority_or_signer_is_refused() {
    for revoked in ["pck", "platform", "signer"] {
        let mut vendor = Vendor::new(Lifetime::Long);
        vendor.revoked = vec![revoked];
        let reason = reason(vendor.verify(&vendor.evidence()));
        assert!(reason.contains("Revoked"), "{revoked}: {reason}");
    }
}

#[test]
fn a_platform_whose_keys_are_out_is_refused_whatever_the_policy() {
    let mut vendor = Vendor::new(Lifetime::Long);
    vendor.status = "Revoked";
    assert!(reason(vendor.verify(&vendor.evidence())).contains("Revoked"));
}

#[test]
fn falling_out_of_date_shows_in_the_claims() {
    let mut vendor = Vendor::new(Lifetime::Long);
    vendor.status = "OutOfDate";
    let claims = vendor.verify(&vendor.evidence()).unwrap();
    assert_eq!(claims.platform.tcb, Some(TcbStatus::OutOfDate));
}

#[test]
fn an_expired_platform_certificate_is_refused() {
    let vendor = Vendor::new(Lifetime::Until2025);
    let evidence = vendor.evidence();
    vendor.verify_on(&evidence, "2025-12-31T00:00:00Z").unwrap();
    let after = vendor.verify_on(&evidence, "2026-01-02T00:00:00Z");
    assert!(after.is_err());
}

#[test]
fn a_revocation_list_out_of_its_time_is_refused() {
    let out = [
        ("2025-11-01T00:00:00Z", "2025-12-01T00:00:00Z"),
        ("2026-01-02T00:00:00Z", NEXT),
    ];
    for which in 0..2 {
        for window in out {
            let mut vendor = Vendor::new(Lifetime::Long);
            vendor.verify(&vendor.evidence()).unwrap();
            vendor.lists[which] = window;
            let verdict = vendor.verify(&vendor.evidence());
            assert!(verdict.is_err(), "list {which} of {window:?}: {verdict:?}");
        }
    }
}

#[test]
fn a_root_past_its_end_is_refused() {
    let vendor = Vendor::under_a_root(Lifetime::Until2025, Lifetime::Long);
    let evidence = vendor.evidence();
    vendor.verify_on(&evidence, "2025-12-31T00:00:00Z").unwrap();
    let after = vendor.verify_on(&evidence, "2026-01-02T00:00:00Z");
    assert!(matches!(after, Err(EvidenceError::OutOfTime { .. })));
}

#[test]
fn an_enclave_that_can_be_debugged_is_refused() {
    let vendor = Vendor::new(Lifetime::Long);
    // Report: ATTRIBUTES at 48; bit 1 is DEBUG.
    let quote = vendor.quote(|report| report[48] |= 2);
    let evidence = pack(&quote, vendor.collateral()).unwrap();
    assert!(reason(vendor.verify(&evidence)).contains("Debug"));
}

#[test]
fn a_quote_signed_by_another_platforms_key_is_refused() {
    let (ours, theirs) = (Vendor::new(Lifetime::Long), Vendor::new(Lifetime::Long));
    let quote = ours.quote(|_| ());
    let evidence = pack(&quote, theirs.collateral()).unwrap();
    assert!(theirs.verify(&evidence).is_err());
    assert!(ours.verify(&evidence).is_err());
}
