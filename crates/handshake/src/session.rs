//! The mutual challenge-response of one operation, as two state machines
//! without I/O (seed 000, procedures 100 and 200).
//!
//! Both sides compute the same session information from what the ledger says;
//! if they read different things, the responses differ and nothing is released.
//! The ledger orders the steps and each side also refuses what comes out of
//! order, since its host is not trusted.

mod enclave;
mod user;

pub use enclave::{EnclaveSession, EnclaveSessionError, RejectReason, Verdict};
pub use user::{SessionError, UserSession, UserStep, open_completion};

use aws_lc_rs::digest;
use wire::Operation;
use zeroize::Zeroizing;

use crate::{
    keys::Context,
    message::RESPONSE_BYTES,
    ocra::{Input, OcraError, Question, Response, Suite},
    sealed::{SealedPlace, SealedStep},
};

/// The suite of both directions: untruncated, so that a response is a whole MAC
/// of 32 bytes and can serve as a key.
pub const SUITE: &str = "OCRA-1:HOTP-SHA256-0:QH64-S064";

impl Context {
    /// S: what a response is about. SHA-512 over length-prefixed parts.
    ///
    /// Source: docs/spec/handshake.md §3.
    pub(crate) fn session_information(&self, operation: u32, kind: Operation) -> [u8; 64] {
        let mut hash = digest::Context::new(&digest::SHA512);
        for part in [
            &b"ringfort/session/1"[..],
            &self.circle.0,
            &self.contract.0,
            &operation.to_le_bytes(),
            &[kind as u8],
            &self.evidence.0,
            &self.payload_sha256.0,
        ] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finish()
            .as_ref()
            .try_into()
            .expect("a SHA-512 digest has 64 bytes")
    }

    /// Where a message of this contract opens.
    pub fn place(&self, operation: u32, step: SealedStep) -> SealedPlace {
        SealedPlace {
            circle: self.circle,
            contract: self.contract,
            operation,
            step,
        }
    }
}

/// The OCRA response over two challenges and the session.
fn respond(key: &[u8; 32], first: &[u8], second: &[u8], session: &[u8; 64]) -> Response {
    let compute = || -> Result<Response, OcraError> {
        let suite: Suite = SUITE.parse()?;
        let (first, second) = (hex(first), hex(second));
        let input = Input {
            session: Some(session),
            ..Input::of(Question::Two(&first, &second))
        };
        suite.respond(key, &input)
    };
    compute().expect("the suite takes two challenges of 64 digits and 64 bytes of session")
}

/// A response as the key-encryption key (seed 000 [0045]).
fn key_encryption_key(response: &Response) -> Zeroizing<[u8; RESPONSE_BYTES]> {
    let bytes = response.bytes().try_into();
    Zeroizing::new(bytes.expect("an untruncated response has 32 bytes"))
}

fn hex(bytes: &[u8]) -> Zeroizing<String> {
    use std::fmt::Write as _;
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes any text");
    }
    text
}

#[cfg(test)]
mod tests;
