//! The user's side (seed 000, procedure 100, blocks 109 to 117).

use borsh::BorshDeserialize as _;
use rand_core::CryptoRng;
use wire::{Operation, Outcome};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{key_encryption_key, respond};
use crate::{
    keys::{self, AgreementSecret, Context, DataKey, DerivedKeys, KeyError},
    message::{
        CHALLENGE_BYTES, ClientChallenge, ClientResponse, Completion, OutcomeMessage,
        ServerResponse, WrappedKey,
    },
    sealed::{SealError, SealedStep},
};

/// How far the user's side has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserStep {
    /// Nothing was sent; or the process was restarted.
    New,
    /// The client challenge was made.
    Challenged,
    /// The enclave proved itself, and the client response was made.
    Responded,
    /// The outcome was read.
    Done,
}

/// Why the user's side does not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The keys of the context do not work together.
    #[error("the contract's keys do not work")]
    Key(#[from] KeyError),
    /// A message could not be sealed, or does not open for us here.
    #[error("a sealed message does not fit")]
    Seal(#[from] SealError),
    /// A message opened and is not of its step's form.
    #[error("the enclave's message does not decode")]
    Malformed,
    /// The server response is not that of the enclave on the ledger
    /// (seed 000 [0044]): the process ends here and no key is released.
    #[error("the enclave's response is wrong: it does not hold the keys that the ledger shows")]
    WrongResponse,
    /// The step does not follow what was done before.
    #[error("this step does not follow {0:?}")]
    OutOfOrder(UserStep),
    /// The sealed outcome is not the one that the ledger shows.
    #[error("the ledger shows another outcome than the enclave's message")]
    OutcomeDiffers,
}

/// The user's side of one operation.
///
/// It needs no storage: its challenge is derived from the agreement secret and
/// the session, so that a session made anew after a crash goes on where the
/// ledger stands.
pub struct UserSession {
    context: Context,
    operation: u32,
    kind: Operation,
    step: UserStep,
    secrets: Secrets,
    session: [u8; 64],
}

#[derive(Zeroize, ZeroizeOnDrop)]
struct Secrets {
    keys: DerivedKeys,
    secret: AgreementSecret,
    challenge: [u8; CHALLENGE_BYTES],
}

impl UserSession {
    /// The side of the user whose agreement secret this is.
    ///
    /// Errors: [`SessionError::Key`].
    pub fn new(
        context: Context,
        operation: u32,
        kind: Operation,
        secret: &AgreementSecret,
    ) -> Result<Self, SessionError> {
        let keys = DerivedKeys::for_user(&context, secret)?;
        let session = context.session_information(operation, kind);
        // Nobody but the holder of the secret can foretell it, and no two
        // sessions share one: that is all a challenge has to be.
        let mut challenge = [0; CHALLENGE_BYTES];
        keys::derive(
            secret.as_bytes(),
            b"ringfort/challenge/1",
            &[&session],
            &mut challenge,
        );
        Ok(Self {
            context,
            operation,
            kind,
            step: UserStep::New,
            secrets: Secrets {
                keys,
                secret: AgreementSecret::from_bytes(*secret.as_bytes()),
                challenge,
            },
            session,
        })
    }

    /// How far it has come.
    pub fn step(&self) -> UserStep {
        self.step
    }

    /// The client challenge, sealed to the enclave ([0041]).
    ///
    /// Errors: [`SessionError::OutOfOrder`] after the client response.
    pub fn client_challenge(&mut self, rng: &mut impl CryptoRng) -> Result<Vec<u8>, SessionError> {
        if !matches!(self.step, UserStep::New | UserStep::Challenged) {
            return Err(SessionError::OutOfOrder(self.step));
        }
        let message = ClientChallenge {
            challenge: self.secrets.challenge,
        };
        let sealed = self.seal(SealedStep::ClientChallenge, &encode(&message), rng)?;
        self.step = UserStep::Challenged;
        Ok(sealed)
    }

    /// Checks the enclave's response, then makes the client response with the
    /// data key wrapped under it ([0044], [0045]). A stop carries no key.
    ///
    /// Errors: [`SessionError::WrongResponse`], upon which nothing was released;
    ///         any other but `OutcomeDiffers`.
    pub fn client_response(
        &mut self,
        sealed: &[u8],
        data_key: &DataKey,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, SessionError> {
        if self.step == UserStep::Done {
            return Err(SessionError::OutOfOrder(self.step));
        }
        let opened = self.open(SealedStep::ServerResponse, sealed)?;
        let server =
            ServerResponse::try_from_slice(&opened).map_err(|_| SessionError::Malformed)?;
        let keys = &self.secrets.keys;
        let ours = &self.secrets.challenge;
        // RFC 6287 §7.2: the server answers over QC | QS, the client over QS | QC.
        let expected = respond(keys.server(), ours, &server.challenge, &self.session);
        if !expected.matches(&server.response) {
            return Err(SessionError::WrongResponse);
        }
        let response = respond(keys.client(), &server.challenge, ours, &self.session);
        let kek = key_encryption_key(&response);
        let wrapped = match self.kind {
            Operation::Start => Some(WrappedKey::wrap(&kek, &self.session, data_key, rng)),
            Operation::Stop => None,
        };
        let message = ClientResponse {
            response: *kek,
            wrapped,
        };
        let sealed = self.seal(SealedStep::ClientResponse, &encode(&message), rng)?;
        self.step = UserStep::Responded;
        Ok(sealed)
    }

    /// Reads the answer to the operation ([0046]). It may come at any step: an
    /// enclave can fail before it answers.
    ///
    /// Errors: [`SessionError::Seal`], `Malformed`, `OutcomeDiffers`.
    pub fn outcome(
        &mut self,
        outcome: Outcome,
        sealed: &[u8],
    ) -> Result<OutcomeMessage, SessionError> {
        let opened = self.open(SealedStep::Outcome, sealed)?;
        let message =
            OutcomeMessage::try_from_slice(&opened).map_err(|_| SessionError::Malformed)?;
        if message.outcome != outcome {
            return Err(SessionError::OutcomeDiffers);
        }
        self.step = UserStep::Done;
        Ok(message)
    }

    #[cfg(test)]
    pub(super) fn challenge_for_test(&self) -> [u8; CHALLENGE_BYTES] {
        self.secrets.challenge
    }

    fn seal(
        &self,
        step: SealedStep,
        plain: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, SessionError> {
        let place = self.context.place(self.operation, step);
        Ok(place.seal(&self.context.enclave_agreement, plain, rng)?)
    }

    fn open(&self, step: SealedStep, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SessionError> {
        let place = self.context.place(self.operation, step);
        Ok(place.open(&self.secrets.secret, sealed)?)
    }
}

/// Reads a job's completion; `operation` is the start that it ran under.
///
/// Errors: [`SessionError::Seal`] and [`SessionError::Malformed`].
pub fn open_completion(
    context: &Context,
    operation: u32,
    secret: &AgreementSecret,
    sealed: &[u8],
) -> Result<Completion, SessionError> {
    let place = context.place(operation, SealedStep::Completion);
    let opened = place.open(secret, sealed)?;
    Completion::try_from_slice(&opened).map_err(|_| SessionError::Malformed)
}

fn encode(message: &impl borsh::BorshSerialize) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(borsh::to_vec(message).expect("a message always encodes"))
}
