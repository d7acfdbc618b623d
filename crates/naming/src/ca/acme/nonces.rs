//! Anti-replay nonces (RFC 8555 §6.5): each is taken once, and only so many
//! are remembered.

use std::{
    collections::{HashSet, VecDeque},
    sync::Mutex,
};

use super::jose::encode;

/// Nonces that are remembered: the oldest gives way, and its holder is told to
/// use another, which clients do by themselves.
const MAX_NONCES: usize = 65_536;

/// The nonces that were given out and not yet used.
#[derive(Default)]
pub(super) struct Nonces {
    open: Mutex<(HashSet<String>, VecDeque<String>)>,
}

impl Nonces {
    /// A fresh nonce; none if the operating system gives no entropy.
    pub(super) fn give(&self) -> Option<String> {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes).ok()?;
        let nonce = encode(&bytes);
        let mut open = self.open.lock().ok()?;
        let (set, order) = &mut *open;
        set.insert(nonce.clone());
        order.push_back(nonce.clone());
        if order.len() > MAX_NONCES
            && let Some(oldest) = order.pop_front()
        {
            set.remove(&oldest);
        }
        Some(nonce)
    }

    /// Whether `nonce` was given out and not used; it is used now.
    pub(super) fn take(&self, nonce: &str) -> bool {
        self.open.lock().is_ok_and(|mut open| open.0.remove(nonce))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_taken_once_and_the_oldest_gives_way() {
        let nonces = Nonces::default();
        let first = nonces.give().unwrap();
        let second = nonces.give().unwrap();
        assert!(nonces.take(&second));
        assert!(!nonces.take(&second));
        assert!(!nonces.take("never given"));
        for _ in 0..MAX_NONCES {
            nonces.give().unwrap();
        }
        assert!(!nonces.take(&first));
        assert!(nonces.open.lock().unwrap().1.len() <= MAX_NONCES);
    }
}
