//! What agent and vault say to each other, whatever carries it: frames on a pipe, or
//! the shared memory of a trusted application's call. Each message has one answer.

use alloc::{string::String, vec::Vec};

use borsh::{BorshDeserialize, BorshSerialize};
use key::{Digest, PublicKey};

use crate::guard::CallerId;

/// A message to be authenticated, at most.
pub const MAX_MESSAGE_BYTES: usize = 32 * 1024;

/// An encoded message or answer, at most: what holds a message to be authenticated,
/// a credential and the digests of all mappings that are measured.
pub const MAX_ENCODED_BYTES: usize = 64 * 1024;

/// What was found: the digests of a process's executable mappings, sorted.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Measured {
    /// One for each mapping.
    pub code: Vec<Digest>,
}

/// From the agent.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ToVault {
    /// First of all: whose clients are served.
    Begin {
        /// The application's root.
        root: PublicKey,
        /// The application.
        application: String,
    },
    /// A caller is about to be measured.
    Challenge {
        /// Which.
        caller: CallerId,
    },
    /// A caller was measured.
    Measured {
        /// Which.
        caller: CallerId,
        /// The challenge.
        challenge: [u8; 32],
        /// Its code.
        measured: Measured,
        /// Its credential, the first time.
        credential: Option<Vec<u8>>,
    },
    /// A caller asks for a message's code.
    Authenticate {
        /// Which.
        caller: CallerId,
        /// The message.
        message: Vec<u8>,
    },
    /// A caller has gone, or could not be measured.
    Forget {
        /// Which.
        caller: CallerId,
    },
}

/// From the vault.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum FromVault {
    /// It has its key; what its place lacks.
    Begun(Vec<String>),
    /// The challenge for a measurement.
    Challenge([u8; 32]),
    /// All is well.
    Done,
    /// HMAC-SHA256 over the message.
    Code([u8; 32]),
    /// The caller is not answered.
    Refused(String),
}
