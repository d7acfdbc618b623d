//! What a user and an enclave say to each other, and how a payload, its logs
//! and its results are encrypted between them.
//!
//! Pure: bytes in, bytes out; entropy is handed in ([`Entropy`] is the
//! operating system's). The user's side runs in `client`, the enclave's in
//! `enclave`, and both by this one crate. It trusts what the caller read from
//! the ledger (a [`Context`]); whether that is true, and whether the evidence
//! behind it is acceptable, is for `proof` and `attest`.
//!
//! The exact bytes are in docs/spec/handshake.md.

mod archive;
mod bundle;
mod container;
mod keys;
mod log;
mod message;
pub mod ocra;
mod sealed;
mod session;
mod stream;

pub use archive::{ArchiveFile, ArchiveView, MAX_OUTPUT_FILES, encode_archive};
pub use bundle::{
    Bundle, BundleFile, BundleView, LabelVariable, MAX_ARG_BYTES, MAX_ARGS, MAX_ENV, MAX_INPUTS,
    MAX_LABEL_KEYS, label_variables,
};
pub use container::{ContainerError, MAX_PATH_BYTES, MAX_PATH_DEPTH, is_name};
pub use keys::{AgreementSecret, Context, DataKey, DerivedKeys, Entropy, KeyError};
pub use log::{
    LogError, LogRecord, LogSource, MAX_LOG_TEXT_BYTES, MAX_SEALED_LOG_BYTES, open_log, seal_log,
};
pub use message::{
    CHALLENGE_BYTES, Completion, MAX_MESSAGE_BYTES, NotWrapped, OutcomeMessage, RESPONSE_BYTES,
    WrappedKey, limit_message,
};
pub use rand_core;
pub use sealed::{SEAL_OVERHEAD, SealError, SealedPlace, SealedStep};
pub use session::{
    EnclaveSession, EnclaveSessionError, RejectReason, SUITE, SessionError, UserSession, UserStep,
    Verdict, open_completion,
};
pub use stream::{
    CHUNK_BYTES, Ciphertext, Decryptor, Encryptor, HEADER_BYTES, Purpose, Receiver,
    SEALED_CHUNK_BYTES, StreamError, TAG_BYTES, decrypt, encrypt, encrypt_to_vec, encrypted_bytes,
};
