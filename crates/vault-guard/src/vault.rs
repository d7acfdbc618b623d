//! What does the vault answer to an agent's message?

use alloc::{
    string::{String, ToString as _},
    vec::Vec,
};

use borsh::BorshDeserialize as _;

use crate::{
    credential::Credential,
    guard::{Guard, Moment, Refused},
    message::{FromVault, MAX_ENCODED_BYTES, MAX_MESSAGE_BYTES, ToVault},
};

/// What a vault needs of the place that it runs in.
pub trait Place {
    /// The time that measurements are dated by.
    fn now(&self) -> Moment;

    /// The host's clock, Unix milliseconds; a sub-certificate's end is as true as that.
    fn host_time_ms(&self) -> u64;

    /// Makes the key, anew in each life of a vault, and says what the place lacks.
    ///
    /// Errors: [`Refused::Place`].
    fn make_key(&mut self) -> Result<Vec<String>, Refused>;

    /// Random bytes.
    ///
    /// Errors: [`Refused::Place`].
    fn random(&mut self) -> Result<[u8; 32], Refused>;

    /// HMAC-SHA256 over `message` under the key.
    ///
    /// Errors: [`Refused::Place`].
    fn authenticate(&mut self, message: &[u8]) -> Result<[u8; 32], Refused>;
}

/// A key and the guard before it.
pub struct Vault<P> {
    place: P,
    guard: Option<Guard>,
}

impl<P: Place> Vault<P> {
    /// A vault that waits to be told whom it serves.
    pub fn new(place: P) -> Self {
        Self { place, guard: None }
    }

    /// The answer to one encoded message, encoded; bytes that are no message are refused.
    pub fn answer_encoded(&mut self, message: &[u8]) -> Vec<u8> {
        let message = (message.len() <= MAX_ENCODED_BYTES)
            .then(|| ToVault::try_from_slice(message).ok())
            .flatten();
        let answer = match message {
            Some(message) => self.answer(message),
            None => FromVault::Refused(Refused::OutOfOrder.to_string()),
        };
        borsh::to_vec(&answer).expect("an answer always encodes")
    }

    /// The answer to one message.
    pub fn answer(&mut self, message: ToVault) -> FromVault {
        self.judge(message)
            .unwrap_or_else(|refused| FromVault::Refused(refused.to_string()))
    }

    fn judge(&mut self, message: ToVault) -> Result<FromVault, Refused> {
        let Some(guard) = &mut self.guard else {
            let ToVault::Begin { root, application } = message else {
                return Err(Refused::OutOfOrder);
            };
            let warnings = self.place.make_key()?;
            self.guard = Some(Guard::new(root, application));
            return Ok(FromVault::Begun(warnings));
        };
        match message {
            ToVault::Begin { .. } => Err(Refused::OutOfOrder),
            ToVault::Challenge { caller } => {
                let fresh = self.place.random()?;
                guard.challenge(caller, fresh)?;
                Ok(FromVault::Challenge(fresh))
            }
            ToVault::Measured {
                caller,
                challenge,
                measured,
                credential,
            } => {
                let credential = credential.map(|bytes| Credential::decode(&bytes));
                let at = (self.place.now(), self.place.host_time_ms());
                guard.measured(caller, &challenge, &measured, credential.transpose()?, at)?;
                Ok(FromVault::Done)
            }
            ToVault::Authenticate { caller, message } => {
                guard.may_answer(caller, self.place.now())?;
                if message.len() > MAX_MESSAGE_BYTES {
                    return Err(Refused::TooLong);
                }
                self.place.authenticate(&message).map(FromVault::Code)
            }
            ToVault::Forget { caller } => {
                guard.forget(caller);
                Ok(FromVault::Done)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{borrow::ToOwned as _, vec};
    use core::time::Duration;

    use key::SigningKey;

    use super::*;

    /// A place whose clocks stand still and whose key is the number of keys made.
    struct Still {
        keys: u8,
        random: u8,
    }

    impl Place for Still {
        fn now(&self) -> Moment {
            Duration::ZERO
        }

        fn host_time_ms(&self) -> u64 {
            0
        }

        fn make_key(&mut self) -> Result<Vec<String>, Refused> {
            self.keys += 1;
            Ok(vec!["stands still".to_owned()])
        }

        fn random(&mut self) -> Result<[u8; 32], Refused> {
            self.random += 1;
            Ok([self.random; 32])
        }

        fn authenticate(&mut self, _: &[u8]) -> Result<[u8; 32], Refused> {
            Ok([self.keys; 32])
        }
    }

    fn begin() -> ToVault {
        ToVault::Begin {
            root: SigningKey::ed25519([1; 32]).public(),
            application: "app".to_owned(),
        }
    }

    fn refused(why: Refused) -> FromVault {
        FromVault::Refused(why.to_string())
    }

    #[test]
    fn a_vault_begins_once_and_before_all_else() {
        let mut vault = Vault::new(Still { keys: 0, random: 0 });
        let challenge = ToVault::Challenge { caller: 1 };
        assert_eq!(
            vault.answer(challenge.clone()),
            refused(Refused::OutOfOrder)
        );
        let warnings = vec!["stands still".to_owned()];
        assert_eq!(vault.answer(begin()), FromVault::Begun(warnings));
        assert_eq!(vault.answer(begin()), refused(Refused::OutOfOrder));
        assert_eq!(vault.answer(challenge), FromVault::Challenge([1; 32]));
        assert_eq!(vault.place.keys, 1);
    }

    #[test]
    fn bytes_that_are_no_message_are_refused_and_change_nothing() {
        let mut vault = Vault::new(Still { keys: 0, random: 0 });
        let out_of_order = borsh::to_vec(&refused(Refused::OutOfOrder)).unwrap();
        let begin = borsh::to_vec(&begin()).unwrap();
        for bad in [
            &[][..],
            &[9],
            &begin[..begin.len() - 1],
            &[0; MAX_ENCODED_BYTES + 1],
        ] {
            assert_eq!(vault.answer_encoded(bad), out_of_order);
        }
        assert_eq!(vault.place.keys, 0);
        assert_ne!(vault.answer_encoded(&begin), out_of_order);
    }
}
