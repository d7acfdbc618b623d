//! Do all signatures of a list hold? Checked together where that is cheaper.

use rand_core::CryptoRng;

use crate::{AnySignature, PublicKey, signed_digest};

/// Whether every signature of a list holds for `purpose`.
///
/// Shape: key, message and signature of each item. Ed25519 signatures are
///        checked together, at about half the work of one by one; ZIP 215
///        makes both verdicts agree. `entropy` keeps a forger from choosing
///        signatures whose errors cancel out.
pub fn all_verify<'a>(
    purpose: &str,
    items: impl IntoIterator<Item = (&'a PublicKey, &'a [u8], &'a AnySignature)>,
    entropy: &mut impl CryptoRng,
) -> bool {
    let mut batch = ed25519_zebra::batch::Verifier::new();
    for (key, message, signature) in items {
        match (key, signature) {
            (PublicKey::Ed25519(bytes), AnySignature::Plain(signature)) => {
                let key = ed25519_zebra::VerificationKeyBytes::from(*bytes);
                let signature = ed25519_zebra::Signature::from(signature.0);
                batch.queue((key, signature, &signed_digest(purpose, message).0));
            }
            (_, signature) => {
                if signature.verify(key, purpose, message).is_err() {
                    return false;
                }
            }
        }
    }
    batch.verify(entropy).is_ok()
}

#[cfg(test)]
mod tests {
    use crate::{Signature, SigningKey};

    use super::*;

    #[test]
    fn a_list_holds_only_if_every_signature_does() {
        use rand::SeedableRng as _;
        let mut entropy = rand::rngs::StdRng::seed_from_u64(1);
        let keys = [
            SigningKey::ed25519([7; 32]),
            SigningKey::p256([9; 32]).unwrap(),
        ];
        let publics: Vec<_> = keys.iter().map(SigningKey::public).collect();
        let messages: Vec<Vec<u8>> = (0..20u8).map(|number| vec![number; 9]).collect();
        let mut signatures: Vec<_> = messages
            .iter()
            .enumerate()
            .map(|(index, message)| keys[index % 2].sign("a", message))
            .collect();
        let mut verdict = |signatures: &[Signature], purpose| {
            let signatures: Vec<AnySignature> =
                signatures.iter().copied().map(AnySignature::from).collect();
            let items = messages.iter().zip(&signatures).enumerate().map(
                |(index, (message, signature))| {
                    (&publics[index % 2], message.as_slice(), signature)
                },
            );
            all_verify(purpose, items, &mut entropy)
        };
        assert!(verdict(&[], "a"));
        assert!(verdict(&signatures, "a"));
        assert!(!verdict(&signatures, "b"));
        for index in 0..signatures.len() {
            signatures[index].0[50] ^= 1;
            assert!(!verdict(&signatures, "a"), "signature {index}");
            signatures[index].0[50] ^= 1;
        }
    }
}
