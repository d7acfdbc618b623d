//! May this caller be answered now? The protected side's decision, without I/O.
//!
//! A caller is admitted with a credential and a measurement that carries a
//! challenge made for it; it is answered only upon another measurement, with
//! another challenge, and only while the last one is recent.

use alloc::{collections::BTreeMap, string::String};
use core::time::Duration;

use key::{Digest, PublicKey};

use crate::{
    credential::{Code, Credential, CredentialError},
    message::Measured,
};

/// How old a caller's last measurement may be: the agent's timer is half of it.
pub const MEASURED_WITHIN: Duration = Duration::from_secs(2);

/// Callers at a time, at most.
pub const MAX_CALLERS: usize = 64;

/// Time since a moment that stays the same as long as the guard lives, on a clock
/// that never goes back.
pub type Moment = Duration;

/// A number that an agent gives a connection.
pub type CallerId = u64;

/// Why a caller is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its credential.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// It runs code that was not signed.
    #[error("the caller runs code that its author did not sign")]
    Code,
    /// Its program is not all there.
    #[error("the caller is another program")]
    OtherProgram,
    /// The measurement is not the one that was asked for.
    #[error("the measurement is not fresh")]
    Stale,
    /// It was not admitted, or was dropped.
    #[error("the caller has not been admitted")]
    NotAdmitted,
    /// More than [`MAX_CALLERS`].
    #[error("too many callers")]
    TooMany,
    /// Over [`crate::MAX_MESSAGE_BYTES`].
    #[error("the message is too long")]
    TooLong,
    /// Before the vault was told whom it serves, or told so twice.
    #[error("a message came out of order")]
    OutOfOrder,
    /// The place has no random numbers or no key.
    #[error("the vault's place failed it")]
    Place,
}

/// What is known of a caller.
#[derive(Default)]
struct Known {
    challenge: Option<[u8; 32]>,
    admitted: Option<(Credential, Moment)>,
}

/// Whom to answer.
pub struct Guard {
    root: PublicKey,
    application: String,
    callers: BTreeMap<CallerId, Known>,
}

impl Guard {
    /// A guard for callers of `application` under `root`.
    pub fn new(root: PublicKey, application: String) -> Self {
        Self {
            root,
            application,
            callers: BTreeMap::new(),
        }
    }

    /// Remembers `fresh` as the challenge that the caller's next measurement must
    /// carry; an earlier one is of no use any more.
    ///
    /// Errors: [`Refused::TooMany`].
    pub fn challenge(&mut self, caller: CallerId, fresh: [u8; 32]) -> Result<(), Refused> {
        if self.callers.len() >= MAX_CALLERS && !self.callers.contains_key(&caller) {
            return Err(Refused::TooMany);
        }
        self.callers.entry(caller).or_default().challenge = Some(fresh);
        Ok(())
    }

    /// Admits a caller, or measures it again: `credential` is given the first time.
    /// Whatever is wrong, the caller is dropped and must begin anew.
    ///
    /// Shape:  `now_ms` is Unix milliseconds, as the host says.
    /// Errors: [`Refused`].
    pub fn measured(
        &mut self,
        caller: CallerId,
        challenge: &[u8; 32],
        measured: &Measured,
        credential: Option<Credential>,
        (now, now_ms): (Moment, u64),
    ) -> Result<(), Refused> {
        // Taken out: it comes back only if all is well.
        let known = self.callers.remove(&caller).ok_or(Refused::NotAdmitted)?;
        if known.challenge.as_ref() != Some(challenge) {
            return Err(Refused::Stale);
        }
        let held = known.admitted.map(|(credential, _)| credential);
        let credential = credential.or(held).ok_or(Refused::NotAdmitted)?;
        // At every use, so that it also ends with its sub-certificate.
        let code = credential.verify(&self.root, &self.application, now_ms)?;
        fits(code, &measured.code)?;
        let known = Known {
            challenge: None,
            admitted: Some((credential, now)),
        };
        self.callers.insert(caller, known);
        Ok(())
    }

    /// Whether the caller may be answered.
    ///
    /// Errors: [`Refused::NotAdmitted`]; [`Refused::Stale`], after which it is dropped.
    pub fn may_answer(&mut self, caller: CallerId, now: Moment) -> Result<(), Refused> {
        let known = self.callers.get(&caller);
        let (_, at) = known
            .and_then(|known| known.admitted.as_ref())
            .ok_or(Refused::NotAdmitted)?;
        if now.saturating_sub(*at) > MEASURED_WITHIN {
            self.callers.remove(&caller);
            return Err(Refused::Stale);
        }
        Ok(())
    }

    /// Forgets a caller that has gone.
    pub fn forget(&mut self, caller: CallerId) {
        self.callers.remove(&caller);
    }
}

/// Whether all of the program is there, and nothing that was not signed.
fn fits(code: &Code, measured: &[Digest]) -> Result<(), Refused> {
    if !code.program.iter().all(|part| measured.contains(part)) {
        return Err(Refused::OtherProgram);
    }
    let signed = |part: &Digest| code.program.contains(part) || code.libraries.contains(part);
    if measured.iter().all(signed) {
        Ok(())
    } else {
        Err(Refused::Code)
    }
}

#[cfg(test)]
mod tests {
    use alloc::{borrow::ToOwned as _, vec, vec::Vec};

    use key::SigningKey;

    use super::*;
    use crate::credential::{Certificate, certify, sign};

    const PROGRAM: Digest = Digest([7; 32]);
    const LIBRARY: Digest = Digest([8; 32]);
    const NOW: Moment = Duration::from_secs(100);
    const NOW_MS: u64 = 500;

    fn guard() -> (Guard, Credential) {
        let (root, release) = (SigningKey::ed25519([1; 32]), SigningKey::ed25519([2; 32]));
        let certificate = Certificate {
            root: root.public(),
            key: release.public(),
            application: "app".to_owned(),
            not_after_ms: 1000,
        };
        let signature = certify(&root, &certificate);
        let code = Code {
            program: vec![PROGRAM],
            libraries: vec![LIBRARY],
        };
        let credential = sign(certificate, signature, &release, code);
        (Guard::new(root.public(), "app".to_owned()), credential)
    }

    fn measured(code: &[Digest]) -> Measured {
        Measured {
            code: code.to_vec(),
        }
    }

    fn honest() -> Measured {
        measured(&[PROGRAM, LIBRARY])
    }

    fn admit(guard: &mut Guard, credential: &Credential, now: Moment) {
        guard.challenge(1, [1; 32]).unwrap();
        let given = Some(credential.clone());
        guard
            .measured(1, &[1; 32], &honest(), given, (now, NOW_MS))
            .unwrap();
    }

    #[test]
    fn a_caller_of_signed_code_is_answered_while_its_measurement_is_recent() {
        let (mut guard, credential) = guard();
        let now = NOW;
        assert_eq!(guard.may_answer(1, now), Err(Refused::NotAdmitted));
        admit(&mut guard, &credential, now);
        assert_eq!(guard.may_answer(1, now + MEASURED_WITHIN), Ok(()));
        let late = now + MEASURED_WITHIN + Duration::from_millis(1);
        assert_eq!(guard.may_answer(1, late), Err(Refused::Stale));
        assert_eq!(guard.may_answer(1, now), Err(Refused::NotAdmitted));
    }

    #[test]
    fn a_measurement_counts_once_and_for_the_caller_that_was_asked() {
        let (mut guard, credential) = guard();
        let now = NOW;
        let again = |guard: &mut Guard, caller, challenge: [u8; 32]| {
            guard.measured(caller, &challenge, &honest(), None, (now, NOW_MS))
        };
        admit(&mut guard, &credential, now);
        // The one that admitted it, once more.
        assert_eq!(again(&mut guard, 1, [1; 32]), Err(Refused::Stale));
        // Dropped by that: the credential must be shown again.
        guard.challenge(1, [2; 32]).unwrap();
        assert_eq!(again(&mut guard, 1, [2; 32]), Err(Refused::NotAdmitted));
        admit(&mut guard, &credential, now);
        guard.challenge(1, [3; 32]).unwrap();
        guard.challenge(1, [4; 32]).unwrap();
        assert_eq!(again(&mut guard, 1, [3; 32]), Err(Refused::Stale));
        // Another caller's measurement is not this one's.
        admit(&mut guard, &credential, now);
        guard.challenge(2, [5; 32]).unwrap();
        guard.challenge(1, [6; 32]).unwrap();
        assert_eq!(again(&mut guard, 1, [5; 32]), Err(Refused::Stale));
    }

    #[test]
    fn code_that_is_missing_or_was_not_signed_drops_the_caller() {
        let now = NOW;
        for (code, why) in [
            (vec![PROGRAM, LIBRARY, Digest([9; 32])], Refused::Code),
            (vec![LIBRARY], Refused::OtherProgram),
            (vec![Digest([9; 32]), LIBRARY], Refused::OtherProgram),
            (Vec::new(), Refused::OtherProgram),
        ] {
            let (mut guard, credential) = guard();
            admit(&mut guard, &credential, now);
            guard.challenge(1, [2; 32]).unwrap();
            let found = guard.measured(1, &[2; 32], &measured(&code), None, (now, NOW_MS));
            assert_eq!(found, Err(why));
            assert_eq!(guard.may_answer(1, now), Err(Refused::NotAdmitted));
        }
    }

    #[test]
    fn an_admitted_caller_ends_with_its_sub_certificate() {
        let (mut guard, credential) = guard();
        let now = NOW;
        admit(&mut guard, &credential, now);
        guard.challenge(1, [2; 32]).unwrap();
        let found = guard.measured(1, &[2; 32], &honest(), None, (now, 1001));
        assert_eq!(found, Err(Refused::Credential(CredentialError::Expired)));
    }

    #[test]
    fn callers_are_bounded() {
        let (mut guard, _) = guard();
        for caller in 0..MAX_CALLERS as u64 {
            guard.challenge(caller, [1; 32]).unwrap();
        }
        assert_eq!(guard.challenge(1000, [1; 32]), Err(Refused::TooMany));
        guard.forget(0);
        guard.challenge(1000, [1; 32]).unwrap();
    }
}
