//! Which keys come of a label's key?
//!
//! HKDF-SHA256 (RFC 5869) with the label's key as input and the kind, the
//! label's bytes and a context of the holder's choice as info. Kinds never share
//! output. Every holder of the label derives the same keys.

use aws_lc_rs::hkdf;
use hpke::{Kem as _, Serializable as _, kem::X25519HkdfSha256};
use wire::SigningKey;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{label::LabelKey, sealed};

const SALT: &[u8] = b"ringfort/label-key/1";

/// 32 secret bytes that came of a label's key.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct DerivedKey([u8; 32]);

impl std::fmt::Debug for DerivedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DerivedKey(..)")
    }
}

impl DerivedKey {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The public half, if this is an X25519 key.
    pub fn x25519_public(&self) -> [u8; 32] {
        sealed::public_of(&self.0)
    }
}

/// A key pair of DHKEM(X25519, HKDF-SHA256), as its bytes.
pub struct HpkeKeyPair {
    /// The private half.
    pub private: DerivedKey,
    /// The public half.
    pub public: [u8; 32],
}

impl LabelKey {
    fn expand(&self, kind: &str, context: &[u8], counter: u8) -> DerivedKey {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(&self.signature);
        let length = (self.label.len() as u64).to_le_bytes();
        // Kinds are a list of this file's, none a prefix of another; the
        // label's length parts it from the context.
        let info: [&[u8]; 5] = [kind.as_bytes(), &[counter], &length, &self.label, context];
        let mut key = DerivedKey([0; 32]);
        secret
            .expand(&info, hkdf::HKDF_SHA256)
            .and_then(|expanded| expanded.fill(&mut key.0))
            .expect("HKDF-SHA256 gives 32 bytes");
        key
    }

    /// A symmetric key of 32 bytes, such as AES-256's.
    pub fn symmetric(&self, context: &[u8]) -> DerivedKey {
        self.expand("symmetric/", context, 0)
    }

    /// A private key of X25519 (RFC 7748).
    pub fn x25519(&self, context: &[u8]) -> DerivedKey {
        self.expand("x25519/", context, 0)
    }

    /// A key pair of HPKE's DHKEM(X25519, HKDF-SHA256), by RFC 9180's DeriveKeyPair.
    pub fn hpke(&self, context: &[u8]) -> HpkeKeyPair {
        let material = self.expand("hpke/", context, 0);
        let (private, public) = X25519HkdfSha256::derive_keypair(material.as_bytes());
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.copy_from_slice(&private.to_bytes());
        HpkeKeyPair {
            private: DerivedKey(*bytes),
            public: public.to_bytes().into(),
        }
    }

    /// The seed of an Ed25519 key (RFC 8032).
    pub fn ed25519(&self, context: &[u8]) -> DerivedKey {
        self.expand("ed25519/", context, 0)
    }

    /// A private scalar of P-256: the first candidate that is one, as RFC 9180
    /// §7.1.3 picks it. All but one in 2^32 first candidates are.
    pub fn p256(&self, context: &[u8]) -> DerivedKey {
        (0..=u8::MAX)
            .map(|counter| self.expand("p256/", context, counter))
            .find(|key| p256::SecretKey::from_slice(key.as_bytes()).is_ok())
            .expect("256 candidates in a row are no scalars once in 2^8192")
    }

    /// [`LabelKey::ed25519`] as a key that signs for the ledger.
    pub fn signing_key(&self, context: &[u8]) -> SigningKey {
        SigningKey::ed25519(*self.ed25519(context).as_bytes())
    }
}
