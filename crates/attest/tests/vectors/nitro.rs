//! Documents of AWS Nitro Enclaves, and of a vendor of our own that certifies and
//! signs as Amazon does.

use attest::{
    Claims, EvidenceError, Roots,
    nitro::{AWS_ROOT, pack},
    verify,
};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair},
};
use coset::{
    CborSerializable as _, CoseSign1, CoseSign1Builder, HeaderBuilder,
    cbor::{self, value::Value},
    iana::Algorithm,
};
use wire::{Digest, Evidence, EvidenceKind};

use super::{
    assert_no_flip_is_accepted, at,
    authority::{Authority, Lifetime},
    date_ms, file, verify_at,
};

/// When the captured document was made.
const MADE: &str = "2025-01-06T16:07:05Z";

fn captured() -> Evidence {
    pack(&file("aws/document.cose")).unwrap()
}

#[test]
fn a_real_document_verifies() {
    let claims = verify_at(&captured(), date_ms(MADE)).unwrap();
    assert_eq!(claims.kind, EvidenceKind::AwsNitro);
    assert!(claims.protects_from_host);
    assert_eq!(claims.platform.chip, None, "it names no machine");
    assert_eq!(claims.report_data.0, [0; 64], "its enclave bound nothing");
    // The measurement is that of registers 0, 1 and 2 as the document has them.
    let document = CoseSign1::from_slice(&file("aws/document.cose")).unwrap();
    let payload: Value = cbor::de::from_reader(&document.payload.unwrap()[..]).unwrap();
    let fields = payload.into_map().unwrap();
    let registers = fields
        .iter()
        .find(|(name, _)| name.as_text() == Some("pcrs"));
    let registers = registers.unwrap().1.as_map().unwrap();
    let code: Vec<&[u8]> = (0..3)
        .map(|at| registers[at].1.as_bytes().unwrap().as_slice())
        .collect();
    let expected = Digest::tagged("ringfort/measurement/aws-nitro/1", &code);
    assert_eq!(claims.measurement.0, expected.0);
}

#[test]
fn a_document_outside_of_its_hours_is_refused() {
    for time in [
        "2025-01-06T12:00:00Z",
        "2025-01-07T16:07:05Z",
        "2026-11-01T00:00:00Z",
    ] {
        assert!(
            matches!(
                verify_at(&captured(), date_ms(time)),
                Err(EvidenceError::OutOfTime { .. })
            ),
            "{time}"
        );
    }
}

#[test]
fn no_flipped_bit_is_accepted() {
    assert_no_flip_is_accepted(&captured(), 3, |evidence| {
        verify_at(evidence, date_ms(MADE)).is_ok()
    });
}

#[test]
fn an_enclave_in_debug_mode_is_refused() {
    // A real one of another enclave. Its day is in its certificates.
    let evidence = pack(&file("aws/document_debug.cose")).unwrap();
    let document = CoseSign1::from_slice(&file("aws/document_debug.cose")).unwrap();
    let payload: Value = cbor::de::from_reader(&document.payload.unwrap()[..]).unwrap();
    let fields = payload.into_map().unwrap();
    let made = fields
        .iter()
        .find(|(name, _)| name.as_text() == Some("timestamp"));
    let made_ms: u64 = made.unwrap().1.as_integer().unwrap().try_into().unwrap();
    match verify_at(&evidence, made_ms) {
        Err(EvidenceError::Refused { reason, .. }) => assert!(reason.contains("debug"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_document_signed_by_another_enclaves_key_is_refused() {
    let mut document = CoseSign1::from_slice(&file("aws/document.cose")).unwrap();
    let other = CoseSign1::from_slice(&file("aws/document_debug.cose")).unwrap();
    document.signature = other.signature;
    let crossed = pack(&document.to_vec().unwrap()).unwrap();
    assert_eq!(
        verify_at(&crossed, date_ms(MADE)),
        Err(EvidenceError::Signature {
            kind: EvidenceKind::AwsNitro,
            part: "document"
        })
    );
}

/// A vendor of our own.
struct Vendor {
    root: Authority,
    zone: Authority,
    enclave: Authority,
}

impl Vendor {
    fn new(lifetime: Lifetime) -> Self {
        let root = Authority::root("aws.own-enclaves", Lifetime::Long);
        let zone = Authority::under(&root, "zonal", true, lifetime, Vec::new());
        let enclave = Authority::under(&zone, "enclave", false, Lifetime::Long, Vec::new());
        Self {
            root,
            zone,
            enclave,
        }
    }

    fn payload(&self, user_data: Value) -> Vec<(Value, Value)> {
        let register = |at: u8| (Value::from(at), Value::Bytes(vec![at + 1; 48]));
        let text = |text: &str| Value::Text(text.to_owned());
        let bundle = [&self.root, &self.zone].map(|one| Value::Bytes(one.certificate().to_vec()));
        vec![
            (text("module_id"), text("i-own-enc1")),
            (text("timestamp"), Value::from(date_ms(MADE))),
            (text("digest"), text("SHA384")),
            (text("pcrs"), Value::Map((0..5).map(register).collect())),
            (
                text("certificate"),
                Value::Bytes(self.enclave.certificate().to_vec()),
            ),
            (text("cabundle"), Value::Array(bundle.into())),
            (text("user_data"), user_data),
        ]
    }

    fn sign(&self, payload: Vec<(Value, Value)>) -> Evidence {
        let mut bytes = Vec::new();
        cbor::ser::into_writer(&Value::Map(payload), &mut bytes).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P384_SHA384_FIXED_SIGNING,
            &self.enclave.private_key(),
        )
        .unwrap();
        let document = CoseSign1Builder::new()
            .protected(HeaderBuilder::new().algorithm(Algorithm::ES384).build())
            .payload(bytes)
            .create_signature(&[], |message| {
                let signature = key.sign(&SystemRandom::new(), message).unwrap();
                signature.as_ref().to_vec()
            })
            .build();
        pack(&document.to_vec().unwrap()).unwrap()
    }

    fn verify(&self, evidence: &Evidence, now: &str) -> Result<Claims, EvidenceError> {
        let roots = Roots {
            aws: self.root.certificate(),
            ..Roots::default()
        };
        verify(evidence, &roots, at(date_ms(now)))
    }
}

#[test]
fn what_an_enclave_bound_is_in_its_claims() {
    let vendor = Vendor::new(Lifetime::Long);
    let evidence = vendor.sign(vendor.payload(Value::Bytes(vec![7; 64])));
    let claims = vendor.verify(&evidence, MADE).unwrap();
    assert_eq!(claims.report_data.0, [7; 64]);
    for length in [0, 32, 63, 65] {
        let evidence = vendor.sign(vendor.payload(Value::Bytes(vec![7; length])));
        assert!(matches!(
            vendor.verify(&evidence, MADE),
            Err(EvidenceError::Malformed { .. })
        ));
    }
}

#[test]
fn our_own_vendors_document_holds_under_its_root_alone() {
    let vendor = Vendor::new(Lifetime::Long);
    let evidence = vendor.sign(vendor.payload(Value::Null));
    vendor.verify(&evidence, MADE).unwrap();
    let unknown = Err(EvidenceError::UnknownRoot(EvidenceKind::AwsNitro));
    assert_eq!(verify_at(&evidence, date_ms(MADE)), unknown);
    assert_eq!(vendor.verify(&captured(), MADE), unknown);
    // Amazon's root in the bundle, and our authority beneath it.
    let mut forged = vendor.payload(Value::Null);
    forged[5].1 = Value::Array(vec![
        Value::Bytes(AWS_ROOT.to_vec()),
        Value::Bytes(vendor.zone.certificate().to_vec()),
    ]);
    assert!(matches!(
        verify_at(&vendor.sign(forged), date_ms(MADE)),
        Err(EvidenceError::Signature { .. })
    ));
}

#[test]
fn an_authority_that_expired_is_refused() {
    let vendor = Vendor::new(Lifetime::Until2025);
    let evidence = vendor.sign(vendor.payload(Value::Null));
    vendor.verify(&evidence, MADE).unwrap();
    assert!(matches!(
        vendor.verify(&evidence, "2026-06-01T00:00:00Z"),
        Err(EvidenceError::OutOfTime { .. })
    ));
}

#[test]
fn registers_must_be_there_once_and_of_sha384() {
    let vendor = Vendor::new(Lifetime::Long);
    let register = |at: u8, bytes: usize| (Value::from(at), Value::Bytes(vec![at + 1; bytes]));
    let cases = [
        vec![register(0, 48), register(1, 48)],
        vec![register(0, 48), register(1, 48), register(2, 32)],
        vec![
            register(0, 48),
            register(0, 48),
            register(1, 48),
            register(2, 48),
        ],
    ];
    for registers in cases {
        let mut payload = vendor.payload(Value::Null);
        payload[3].1 = Value::Map(registers);
        assert!(matches!(
            vendor.verify(&vendor.sign(payload), MADE),
            Err(EvidenceError::Malformed { .. })
        ));
    }
}
