//! How does a keykeeper's state rest on its host's disk?
//!
//! AES-256-GCM under a key of the host's choice, with a fresh nonce each time.
//! It keeps the state from who has the disk and not that key; what the host
//! itself can do with the key is its platform's to limit (docs/spec/keys.md §2).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// What a sealed text is; one never opens as another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A keykeeper's state.
    State,
    /// The key of a process that restores a keykeeper.
    Recovery,
}

impl Kind {
    fn aad(self) -> Aad<&'static [u8]> {
        Aad::from(match self {
            Self::State => b"ringfort/keykeeper/state/1".as_slice(),
            Self::Recovery => b"ringfort/keykeeper/recovery/1".as_slice(),
        })
    }
}

const NONCE_BYTES: usize = 12;

/// The sealed form: nonce, ciphertext, tag.
pub(crate) fn seal(kind: Kind, key: &[u8; 32], plain: &[u8]) -> Vec<u8> {
    let mut nonce = [0; NONCE_BYTES];
    aws_lc_rs::rand::fill(&mut nonce).expect("the system has a random number generator");
    let mut bytes = plain.to_vec();
    cipher(key)
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), kind.aad(), &mut bytes)
        .expect("AES-GCM seals what is short");
    [&nonce[..], &bytes].concat()
}

/// What was sealed; none if it was not under `key`.
pub(crate) fn open(kind: Kind, key: &[u8; 32], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let mut bytes = Zeroizing::new(ciphertext.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = cipher(key)
        .open_in_place(nonce, kind.aad(), &mut bytes)
        .ok()?
        .len();
    bytes.truncate(length);
    Some(bytes)
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("AES-256 has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_state_opens_under_its_key_and_unchanged_only() {
        let sealed = seal(Kind::State, &[1; 32], b"secret");
        assert_eq!(&**open(Kind::State, &[1; 32], &sealed).unwrap(), b"secret");
        assert!(open(Kind::State, &[2; 32], &sealed).is_none());
        assert!(open(Kind::Recovery, &[1; 32], &sealed).is_none());
        assert!(!sealed.windows(6).any(|at| at == b"secret"));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(Kind::State, &[1; 32], &changed).is_none());
        }
        assert!(open(Kind::State, &[1; 32], &sealed[..11]).is_none());
        assert_ne!(
            sealed,
            seal(Kind::State, &[1; 32], b"secret"),
            "nonces are fresh"
        );
    }
}
