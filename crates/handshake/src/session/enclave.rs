//! The enclave's side (seed 000, procedure 200, blocks 207 to 219).
//!
//! It keeps no long-lived secret: its caller hands them in from the memory in
//! which it keeps them, for the length of a call.

use borsh::BorshDeserialize as _;
use rand_core::CryptoRng;
use wire::{Operation, Outcome};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{key_encryption_key, respond};
use crate::{
    keys::{AgreementSecret, Context, DataKey, DerivedKeys},
    message::{
        CHALLENGE_BYTES, ClientChallenge, ClientResponse, Completion, OutcomeMessage,
        ServerResponse, limit_message,
    },
    sealed::{SealError, SealedStep},
};

/// Why a message moves nothing: the ledger would not have let it through, so
/// the host made it up, or it replays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnclaveSessionError {
    /// The operation was answered already, or is not later than the last.
    #[error("operation {0} is not later than the last one answered")]
    Replayed(u32),
    /// No client challenge of this operation was answered, or its kind differs.
    #[error("a client response came for operation {0}, which has no open challenge")]
    NoChallenge(u32),
    /// The challenge does not open or decode.
    #[error("the client challenge of operation {0} is not the user's")]
    BadChallenge(u32),
    /// The user's public key is unusable, so that nothing can be sealed to it.
    #[error("nothing can be sealed to the user")]
    Seal(#[from] SealError),
}

/// What a client response amounts to (seed 000 [0056] to [0058]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Right; a start's data key is in the caller's slot.
    Accepted,
    /// Wrong; the slot is zero.
    Rejected(RejectReason),
}

/// Why a client response is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RejectReason {
    /// Not sealed to this enclave for this operation of this contract.
    #[error("the client response is not sealed to this enclave for this operation")]
    NotSealedHere,
    /// Not of its form.
    #[error("the client response does not decode")]
    Malformed,
    /// The OCRA response is another than the enclave computed.
    #[error("the client response is wrong")]
    WrongResponse,
    /// The data key is missing, or not wrapped under the response.
    #[error("the data key is not wrapped under the client response")]
    WrongKey,
}

enum State {
    Idle,
    Challenged(Challenged),
}

#[derive(Zeroize, ZeroizeOnDrop)]
struct Challenged {
    #[zeroize(skip)]
    kind: Operation,
    client: [u8; CHALLENGE_BYTES],
    server: [u8; CHALLENGE_BYTES],
}

/// The enclave's side of a contract, over all its operations.
pub struct EnclaveSession {
    context: Context,
    /// The latest operation that was begun; numbers only rise.
    latest: u32,
    state: State,
}

impl EnclaveSession {
    /// Before the first operation.
    pub fn new(context: Context) -> Self {
        Self {
            context,
            latest: 0,
            state: State::Idle,
        }
    }

    /// What the contract's sides agreed on.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Answers a client challenge with the server response and a challenge of
    /// its own ([0053], [0054]); an older open challenge is forgotten.
    ///
    /// Errors: [`EnclaveSessionError`]; nothing changes.
    pub fn client_challenge(
        &mut self,
        operation: u32,
        kind: Operation,
        sealed: &[u8],
        secret: &AgreementSecret,
        keys: &DerivedKeys,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, EnclaveSessionError> {
        if operation <= self.latest {
            return Err(EnclaveSessionError::Replayed(operation));
        }
        let bad = EnclaveSessionError::BadChallenge(operation);
        let place = self.context.place(operation, SealedStep::ClientChallenge);
        let opened = place.open(secret, sealed).map_err(|_| bad)?;
        let client = ClientChallenge::try_from_slice(&opened).map_err(|_| bad)?;
        let mut server = [0; CHALLENGE_BYTES];
        rng.fill_bytes(&mut server);
        let session = self.context.session_information(operation, kind);
        let response = respond(keys.server(), &client.challenge, &server, &session);
        let message = ServerResponse {
            response: *key_encryption_key(&response),
            challenge: server,
        };
        let sealed = self.seal(operation, SealedStep::ServerResponse, &message, rng)?;
        self.latest = operation;
        self.state = State::Challenged(Challenged {
            kind,
            client: client.challenge,
            server,
        });
        Ok(sealed)
    }

    /// Judges a client response; for a right one that starts, unwraps the data
    /// key into `data_key`. The challenge is spent either way.
    ///
    /// Errors: [`EnclaveSessionError::Replayed`] and
    ///         [`EnclaveSessionError::NoChallenge`]; nothing changes.
    pub fn client_response(
        &mut self,
        operation: u32,
        kind: Operation,
        sealed: &[u8],
        secret: &AgreementSecret,
        keys: &DerivedKeys,
        data_key: &mut DataKey,
    ) -> Result<Verdict, EnclaveSessionError> {
        let challenged = match &self.state {
            State::Challenged(challenged)
                if operation == self.latest && kind == challenged.kind =>
            {
                challenged
            }
            _ if operation < self.latest => return Err(EnclaveSessionError::Replayed(operation)),
            _ => return Err(EnclaveSessionError::NoChallenge(operation)),
        };
        data_key.zeroize();
        let verdict = self.judge(operation, challenged, sealed, secret, keys, data_key);
        self.state = State::Idle;
        Ok(match verdict {
            Ok(()) => Verdict::Accepted,
            Err(reason) => Verdict::Rejected(reason),
        })
    }

    fn judge(
        &self,
        operation: u32,
        challenged: &Challenged,
        sealed: &[u8],
        secret: &AgreementSecret,
        keys: &DerivedKeys,
        data_key: &mut DataKey,
    ) -> Result<(), RejectReason> {
        let place = self.context.place(operation, SealedStep::ClientResponse);
        let opened = place
            .open(secret, sealed)
            .map_err(|_| RejectReason::NotSealedHere)?;
        let message =
            ClientResponse::try_from_slice(&opened).map_err(|_| RejectReason::Malformed)?;
        let session = self.context.session_information(operation, challenged.kind);
        let expected = respond(
            keys.client(),
            &challenged.server,
            &challenged.client,
            &session,
        );
        if !expected.matches(&message.response) {
            return Err(RejectReason::WrongResponse);
        }
        match (challenged.kind, &message.wrapped) {
            (Operation::Start, Some(wrapped)) => wrapped
                .unwrap_into(&key_encryption_key(&expected), &session, data_key)
                .map_err(|_| RejectReason::WrongKey),
            (Operation::Stop, None) => Ok(()),
            (Operation::Start, None) => Err(RejectReason::WrongKey),
            (Operation::Stop, Some(_)) => Err(RejectReason::Malformed),
        }
    }

    /// Seals the answer to an operation ([0057], [0060], [0061]).
    ///
    /// Errors: [`EnclaveSessionError::Seal`].
    pub fn seal_outcome(
        &self,
        operation: u32,
        outcome: Outcome,
        message: String,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, EnclaveSessionError> {
        let message = OutcomeMessage {
            outcome,
            message: limit_message(message),
        };
        self.seal(operation, SealedStep::Outcome, &message, rng)
    }

    /// Seals a job's end; `operation` is the start that it ran under.
    ///
    /// Errors: [`EnclaveSessionError::Seal`].
    pub fn seal_completion(
        &self,
        operation: u32,
        completion: &Completion,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, EnclaveSessionError> {
        let mut completion = completion.clone();
        completion.error = completion.error.map(limit_message);
        self.seal(operation, SealedStep::Completion, &completion, rng)
    }

    fn seal(
        &self,
        operation: u32,
        step: SealedStep,
        message: &impl borsh::BorshSerialize,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, EnclaveSessionError> {
        let plain = borsh::to_vec(message).expect("a message always encodes");
        let place = self.context.place(operation, step);
        Ok(place.seal(&self.context.user_agreement, &plain, rng)?)
    }
}
