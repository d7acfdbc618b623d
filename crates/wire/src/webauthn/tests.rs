//! Against assertions that Yubico's library made (`tests/webauthn/make.py`).

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Deserialize)]
struct Vector {
    purpose: String,
    message: String,
    point: String,
    authenticator_data: String,
    client_data: String,
    signature_der: String,
}

impl Vector {
    fn of(name: &str) -> Self {
        let text = include_str!("../../tests/webauthn/assertions.json");
        let mut all: BTreeMap<String, Self> = serde_json::from_str(text).unwrap();
        all.remove(name).unwrap()
    }

    fn key(&self) -> PublicKey {
        PublicKey::from_p256_point(&hex::decode(&self.point).unwrap()).unwrap()
    }

    fn message(&self) -> Vec<u8> {
        hex::decode(&self.message).unwrap()
    }

    fn assertion(&self) -> Assertion {
        let der = hex::decode(&self.signature_der).unwrap();
        Assertion {
            authenticator_data: hex::decode(&self.authenticator_data).unwrap(),
            client_data: self.client_data.clone(),
            signature: Signature::from_p256_der(&der).unwrap(),
        }
    }

    fn verdict_of(&self, assertion: Assertion) -> Result<(), BadSignature> {
        AnySignature::WebAuthn(assertion).verify(&self.key(), &self.purpose, &self.message())
    }

    fn verdict(&self) -> Result<(), BadSignature> {
        self.verdict_of(self.assertion())
    }
}

#[test]
fn accepts_assertions_of_a_present_and_of_a_verified_user() {
    for name in ["present", "verified", "upper_s", "quoted_origin"] {
        assert_eq!(Vector::of(name).verdict(), Ok(()), "{name}");
    }
}

#[test]
fn refuses_an_absent_user_and_a_page_within_another() {
    for name in ["absent", "cross_origin"] {
        assert_eq!(Vector::of(name).verdict(), Err(BadSignature), "{name}");
    }
}

#[test]
fn an_assertion_holds_for_its_key_purpose_and_message_only() {
    let vector = Vector::of("present");
    let signature = AnySignature::WebAuthn(vector.assertion());
    let (key, message) = (vector.key(), vector.message());
    let other = Vector::of("verified").key();
    let ed25519 = PublicKey::Ed25519([7; 32]);
    assert_eq!(signature.verify(&key, &vector.purpose, &message), Ok(()));
    for (key, purpose, message) in [
        (&other, vector.purpose.as_str(), message.as_slice()),
        (&ed25519, &vector.purpose, &message),
        (&key, "ringfort/unlock/1", &message),
        (&key, &vector.purpose, b"massage"),
    ] {
        assert_eq!(signature.verify(key, purpose, message), Err(BadSignature));
    }
    // Its inner signature is none of the message itself.
    let plain = AnySignature::Plain(vector.assertion().signature);
    assert_eq!(
        plain.verify(&key, &vector.purpose, &message),
        Err(BadSignature)
    );
}

#[test]
fn refuses_the_upper_s_as_the_authenticator_made_it() {
    let vector = Vector::of("upper_s");
    let der = hex::decode(&vector.signature_der).unwrap();
    let parsed = p256::ecdsa::Signature::from_der(&der).unwrap();
    let mut assertion = vector.assertion();
    assertion.signature = Signature(parsed.to_bytes().into());
    assert_eq!(vector.verdict_of(assertion), Err(BadSignature));
}

#[test]
fn refuses_client_data_of_another_type_or_challenge_even_under_a_good_signature() {
    let key = p256::ecdsa::SigningKey::from_slice(&[9; 32]).unwrap();
    let public = PublicKey::from_p256_point(key.verifying_key().to_sec1_point(false).as_bytes());
    let public = public.unwrap();
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(signed_digest("p", b"m").0);
    let verdict = |client_data: String| {
        use p256::ecdsa::signature::Signer as _;
        let mut authenticator_data = vec![0; MIN_AUTHENTICATOR_DATA_BYTES];
        authenticator_data[FLAGS_AT] = FLAG_USER_PRESENT;
        let mut signed = authenticator_data.clone();
        signed.extend_from_slice(&Digest::of(&[client_data.as_bytes()]).0);
        let signature: p256::ecdsa::Signature = key.sign(&signed);
        let assertion = Assertion {
            authenticator_data,
            client_data,
            signature: Signature(signature.normalize_s().to_bytes().into()),
        };
        AnySignature::WebAuthn(assertion).verify(&public, "p", b"m")
    };
    let good = format!(
        r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"https://a","crossOrigin":false}}"#
    );
    assert_eq!(verdict(good.clone()), Ok(()));
    let level_1 = good.replace(r#","crossOrigin":false"#, "");
    assert_eq!(verdict(level_1), Ok(()));
    let later = good.replace("false", r#"false,"later":"x""#);
    assert_eq!(verdict(later), Ok(()));
    for bad in [
        good.replace("webauthn.get", "webauthn.create"),
        good.replace(&challenge, &"A".repeat(43)),
        good.replace(r#""origin""#, r#""x":1,"origin""#),
        good.replace(r#""https://a""#, r#""https://a"#),
        good.replace("crossOrigin\":false", "crossOrigin\":true"),
        good.replace('{', "{ "),
        good.replace('}', ""),
        good.replace(r#""crossOrigin":false"#, r#""x":1"#),
        good.replace(r#""crossOrigin":false"#, r#""crossOrigin":falsey"#),
        good.replace("https://a", &"a".repeat(MAX_CLIENT_DATA_BYTES)),
        String::new(),
    ] {
        assert_eq!(verdict(bad.clone()), Err(BadSignature), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_change_of_an_assertion_holds(
        at in any::<prop::sample::Index>(),
        flip in 1..=255u8,
        part in 0..3,
    ) {
        let vector = Vector::of("present");
        let mut assertion = vector.assertion();
        match part {
            0 => {
                let at = at.index(assertion.authenticator_data.len());
                assertion.authenticator_data[at] ^= flip;
            }
            1 => {
                let mut bytes = assertion.client_data.into_bytes();
                let at = at.index(bytes.len());
                bytes[at] = bytes[at].wrapping_add(flip) & 0x7f;
                prop_assume!(bytes != vector.client_data.as_bytes());
                assertion.client_data = String::from_utf8(bytes).unwrap();
            }
            _ => {
                let at = at.index(64);
                assertion.signature.0[at] ^= flip;
            }
        }
        prop_assert_eq!(vector.verdict_of(assertion), Err(BadSignature));
    }
}
