//! The secrets of one contract, and how both sides come to share some of them.
//!
//! Key agreement is X25519 (RFC 7748), derivation HKDF-SHA256 (RFC 5869), both
//! from aws-lc. Every secret is an inline array that is wiped on drop, so that
//! a holder may keep it in whatever memory it trusts.

use std::{convert::Infallible, fmt};

use aws_lc_rs::{agreement, hkdf};
use rand_core::CryptoRng;
use wire::{CircleId, ContractId, Digest};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Salt of the derivation of [`DerivedKeys`].
const SALT: &[u8] = b"ringfort/ocra/1";

/// The operating system's entropy, by way of aws-lc.
pub struct Entropy;

impl rand_core::TryRng for Entropy {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        aws_lc_rs::rand::fill(bytes).expect("the operating system gives entropy");
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Entropy {}

macro_rules! secret_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; 32]);

        impl $name {
            /// A fresh one.
            pub fn generate(rng: &mut impl CryptoRng) -> Self {
                let mut key = Self([0; 32]);
                rng.fill_bytes(&mut key.0);
                key
            }

            /// The one with these bytes; the caller wipes its copy.
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Its bytes, to be filled in place.
            pub fn as_mut_bytes(&mut self) -> &mut [u8; 32] {
                &mut self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

secret_key!(
    /// The private half of an X25519 key (seed 000 [0038], [0050]).
    AgreementSecret
);
secret_key!(
    /// The data-encryption key of a payload, AES-256 (seed 000 [0036]).
    DataKey
);

/// A key does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The peer's X25519 key is of low order (RFC 7748 §6.1): no secret can be agreed with it.
    #[error("the peer's agreement key is of low order")]
    LowOrder,
    /// A secret does not belong to the public key that the context names.
    #[error("the agreement secret is not that of the context's public key")]
    NotOurs,
}

impl AgreementSecret {
    fn private_key(&self) -> agreement::PrivateKey {
        agreement::PrivateKey::from_private_key(&agreement::X25519, &self.0)
            .expect("every 32 bytes are an X25519 private key")
    }

    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        let public = self
            .private_key()
            .compute_public_key()
            .expect("every X25519 private key has a public key");
        public
            .as_ref()
            .try_into()
            .expect("an X25519 public key has 32 bytes")
    }
}

/// What a contract's user and enclave agree on before they speak: all of it is
/// on the ledger, so each side reads it from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The circle.
    pub circle: CircleId,
    /// The contract.
    pub contract: ContractId,
    /// [`wire::Evidence::digest`] of the enclave's evidence.
    pub evidence: Digest,
    /// SHA-256 of the encrypted payload, from the request's terms.
    pub payload_sha256: Digest,
    /// The user's X25519 key, from the request's terms.
    pub user_agreement: [u8; 32],
    /// The enclave's X25519 key.
    pub enclave_agreement: [u8; 32],
}

/// The keys that user and enclave of one contract share.
///
/// Source: docs/spec/handshake.md §2.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct DerivedKeys {
    server: [u8; 32],
    client: [u8; 32],
    log: [u8; 32],
    output: [u8; 32],
}

impl fmt::Debug for DerivedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DerivedKeys(..)")
    }
}

impl DerivedKeys {
    /// Keys of zeros, to be filled in place by [`Self::derive_for_enclave`].
    pub fn empty() -> Self {
        Self {
            server: [0; 32],
            client: [0; 32],
            log: [0; 32],
            output: [0; 32],
        }
    }

    /// Derives the keys on the user's side.
    ///
    /// Errors: [`KeyError`].
    pub fn for_user(context: &Context, secret: &AgreementSecret) -> Result<Self, KeyError> {
        let mut keys = Self::empty();
        let (own, peer) = (&context.user_agreement, &context.enclave_agreement);
        keys.derive(context, secret, own, peer)?;
        Ok(keys)
    }

    /// Derives the keys on the enclave's side.
    ///
    /// Errors: [`KeyError`].
    pub fn for_enclave(context: &Context, secret: &AgreementSecret) -> Result<Self, KeyError> {
        let mut keys = Self::empty();
        keys.derive_for_enclave(context, secret)?;
        Ok(keys)
    }

    /// [`Self::for_enclave`], into memory that the caller chose.
    pub fn derive_for_enclave(
        &mut self,
        context: &Context,
        secret: &AgreementSecret,
    ) -> Result<(), KeyError> {
        let (own, peer) = (&context.enclave_agreement, &context.user_agreement);
        self.derive(context, secret, own, peer)
    }

    fn derive(
        &mut self,
        context: &Context,
        secret: &AgreementSecret,
        own: &[u8; 32],
        peer: &[u8; 32],
    ) -> Result<(), KeyError> {
        let private = secret.private_key();
        if secret.public() != *own {
            return Err(KeyError::NotOurs);
        }
        let peer = agreement::UnparsedPublicKey::new(&agreement::X25519, peer);
        agreement::agree(&private, peer, KeyError::LowOrder, |shared| {
            let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(shared);
            for (label, key) in [
                (b"server", &mut self.server),
                (b"client", &mut self.client),
                (b"log\0\0\0", &mut self.log),
                (b"output", &mut self.output),
            ] {
                expand(&secret, &context.key_info(label), key);
            }
            Ok(())
        })
    }

    /// K_server: keys the enclave's OCRA response.
    pub(crate) fn server(&self) -> &[u8; 32] {
        &self.server
    }

    /// K_client: keys the user's OCRA response.
    pub(crate) fn client(&self) -> &[u8; 32] {
        &self.client
    }

    /// K_log: seals log records.
    pub fn log(&self) -> &[u8; 32] {
        &self.log
    }

    /// K_output: encrypts a job's output archive.
    pub fn output(&self) -> &[u8; 32] {
        &self.output
    }
}

impl Context {
    /// Six bytes of label, then circle, contract, evidence and both public
    /// keys: every part has a fixed length.
    fn key_info(&self, label: &[u8; 6]) -> [[u8; 32]; 6] {
        let mut first = [0; 32];
        first[..6].copy_from_slice(label);
        [
            first,
            self.circle.0,
            self.contract.0,
            self.evidence.0,
            self.user_agreement,
            self.enclave_agreement,
        ]
    }
}

/// Fills `out` by HKDF-Expand.
fn expand(secret: &hkdf::Prk, info: &[[u8; 32]; 6], out: &mut [u8; 32]) {
    secret
        .expand(&[info.as_flattened()], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(out))
        .expect("32 bytes are within what HKDF-SHA256 gives");
}

/// One HKDF-SHA256 from `secret` into `out` (at most 255 · 32 bytes).
pub(crate) fn derive(secret: &[u8], salt: &[u8], info: &[&[u8]], out: &mut [u8]) {
    /// A length that HKDF is asked for.
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(secret)
        .expand(info, Length(out.len()))
        .and_then(|okm| okm.fill(out))
        .expect("the caller asks for no more than HKDF-SHA256 gives");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(user: &AgreementSecret, enclave: &AgreementSecret) -> Context {
        Context {
            circle: CircleId([1; 32]),
            contract: ContractId([2; 32]),
            evidence: Digest([3; 32]),
            payload_sha256: Digest([4; 32]),
            user_agreement: user.public(),
            enclave_agreement: enclave.public(),
        }
    }

    fn all(keys: &DerivedKeys) -> [[u8; 32]; 4] {
        [keys.server, keys.client, keys.log, keys.output]
    }

    #[test]
    fn a_public_key_is_that_of_rfc_7748_section_6_1() {
        let bytes = |text: &str| <[u8; 32]>::try_from(hex::decode(text).unwrap()).unwrap();
        let secret = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
        let public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
        let secret = AgreementSecret::from_bytes(bytes(secret));
        assert_eq!(secret.public(), bytes(public));
    }

    #[test]
    fn both_sides_derive_the_same_four_different_keys() {
        let user = AgreementSecret::generate(&mut Entropy);
        let enclave = AgreementSecret::generate(&mut Entropy);
        let context = context(&user, &enclave);
        let theirs = all(&DerivedKeys::for_user(&context, &user).unwrap());
        let ours = all(&DerivedKeys::for_enclave(&context, &enclave).unwrap());
        assert_eq!(theirs, ours);
        for (index, key) in ours.iter().enumerate() {
            assert!(!ours[..index].contains(key), "key {index} repeats");
        }
    }

    #[test]
    fn every_part_of_the_context_changes_the_keys() {
        let user = AgreementSecret::generate(&mut Entropy);
        let enclave = AgreementSecret::generate(&mut Entropy);
        let good = context(&user, &enclave);
        let keys = all(&DerivedKeys::for_user(&good, &user).unwrap());
        let other = AgreementSecret::generate(&mut Entropy);
        for changed in [
            Context {
                circle: CircleId([9; 32]),
                ..good.clone()
            },
            Context {
                contract: ContractId([9; 32]),
                ..good.clone()
            },
            Context {
                evidence: Digest([9; 32]),
                ..good.clone()
            },
            Context {
                enclave_agreement: other.public(),
                ..good.clone()
            },
        ] {
            let changed = all(&DerivedKeys::for_user(&changed, &user).unwrap());
            assert!(keys.iter().zip(&changed).all(|(one, two)| one != two));
        }
    }

    #[test]
    fn refuses_a_foreign_secret_and_a_key_of_low_order() {
        let user = AgreementSecret::generate(&mut Entropy);
        let enclave = AgreementSecret::generate(&mut Entropy);
        let good = context(&user, &enclave);
        let foreign = DerivedKeys::for_user(&good, &enclave);
        assert_eq!(foreign.unwrap_err(), KeyError::NotOurs);
        let low = Context {
            enclave_agreement: [0; 32],
            ..good
        };
        let low = DerivedKeys::for_user(&low, &user);
        assert_eq!(low.unwrap_err(), KeyError::LowOrder);
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let secret = AgreementSecret::from_bytes([0xab; 32]);
        assert_eq!(format!("{secret:?}"), "AgreementSecret(..)");
        assert_eq!(format!("{:?}", DerivedKeys::empty()), "DerivedKeys(..)");
    }
}
