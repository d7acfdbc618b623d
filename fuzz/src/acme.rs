//! What ACME clients and the servers that they name send to an authority.

use naming::ca::{
    CheckedRequest,
    acme::{
        answers,
        jose::{self, Jwk, Message},
    },
};

/// A JWS of each kind of key in the flattened form; the signatures hold for
/// nothing.
pub(crate) fn messages() -> Vec<Vec<u8>> {
    let header = |key: &str| {
        jose::encode(
            format!(r#"{{"alg":"ES256","nonce":"n","url":"http://ca/acme/new-account",{key}}}"#)
                .as_bytes(),
        )
    };
    let zeros = jose::encode(&[1; 32]);
    let keys = [
        r#""kid":"http://ca/acme/account/1""#.to_owned(),
        format!(r#""jwk":{{"kty":"EC","crv":"P-256","x":"{zeros}","y":"{zeros}"}}"#),
        format!(r#""jwk":{{"kty":"OKP","crv":"Ed25519","x":"{zeros}"}}"#),
        format!(
            r#""jwk":{{"kty":"RSA","n":"{}","e":"AQAB"}}"#,
            jose::encode(&[0xc1; 256])
        ),
    ];
    keys.iter()
        .map(|key| {
            format!(
                r#"{{"protected":"{}","payload":"{}","signature":"{}"}}"#,
                header(key),
                jose::encode(b"{}"),
                jose::encode(&[7; 64])
            )
            .into_bytes()
        })
        .collect()
}

/// A key in its canonical form is its own canonical form, and a signature that
/// nobody made never holds.
pub(crate) fn message(bytes: &[u8]) {
    let Ok(message) = Message::parse(bytes) else {
        return;
    };
    let _ = message.verify_mac(&[3; 32]);
    if let Some(key) = &message.header.jwk
        && let Ok(canonical) = key.canonical()
    {
        let again: Jwk = serde_json::from_str(&canonical).expect("a canonical key decodes");
        assert_eq!(again.canonical().as_ref(), Ok(&canonical));
        assert!(message.verify(key).is_err(), "a forged signature held");
    }
}

/// A certificate request for `hello.internal`, ECDSA P-256.
pub(crate) fn requests() -> Vec<Vec<u8>> {
    vec![hex::decode(include_str!("../seeds/request.hex").trim()).expect("hex digits")]
}

/// What is granted is what was asked for.
pub(crate) fn request(bytes: &[u8]) {
    let names = ["hello.internal".parse().expect("a name")];
    if let Ok(checked) = CheckedRequest::for_order(bytes, &names) {
        assert_eq!(checked.names(), names);
    }
    // A certificate that answers tls-alpn-01, and one that carries a proof.
    let name = "hello.internal".parse().expect("a name");
    assert!(!answers(bytes, &name, &[0xa5; 32]), "a forged answer held");
}
