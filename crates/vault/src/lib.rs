//! A protected side that authenticates its local client (seed 001, authenticating
//! an application in the trust zone).
//!
//! An application comes with a [`Credential`]: what its author says its code is,
//! signed under a sub-certificate that chains to the application's root. When it
//! asks for service, the [`agent`] measures it in memory ([`measure`]): every
//! executable mapping of the process, not the file that it was started from. The
//! measurement and the credential go to the protected process (`ringfort-vault`),
//! which knows the root and answers only a caller whose code is what was signed
//! ([`vault_guard`]); it is measured again at every use, and on a timer.
//!
//! What the agent says is believed: it is part of the host, as in the seed. So
//! this keeps other programs and changed ones on an honest host from the key; it
//! is no defence against that host's root, who can lie in the agent's place
//! (SECURITY.md). The service here is the smallest one that is of use: a key that
//! never leaves the protected process and authenticates messages.

//!
//! The same judgement runs in a TrustZone as a trusted application (`optee/`), which
//! takes this crate without the feature `process`: agent and measurement only.

pub mod agent;
pub mod channel;
pub mod measure;
mod program;
#[cfg(feature = "process")]
pub mod protected;

pub use program::{code_of_bytes, code_of_files};
pub use vault_guard::{
    Certificate, Code, Credential, CredentialError, MAX_CREDENTIAL_BYTES, certify, sign,
};
