//! The client of a circle: proven reads, transactions, events, keys, wallets,
//! object storage, and the user's side of a confidential run.
//!
//! It trusts the circle's key and nothing else: no node, no store, no
//! provider. It reads no terminal and no environment and prints nothing; a
//! caller hands it everything and hears of every step.

pub mod account;
pub mod agent;
pub mod certificate;
pub mod connect;
mod error;
mod events;
pub mod hosts;
pub mod keyfile;
mod ledger;
pub mod listen;
pub mod names;
pub mod notary;
pub mod payload;
pub mod peer_verifier;
mod protected;
mod rules;
pub mod run;
mod sealed_file;
pub mod server_key;
pub mod storage;
mod transport;
pub mod unsigned;
pub mod wallet;

pub use age::secrecy::SecretString;
pub use error::{ApiError, ClientError};
pub use events::{BlockEvents, EventStream, LedgerEvent};
pub use handshake::{BundleFile, LogRecord, LogSource};
pub use ledger::{
    Client, DEFAULT_MAX_AGE, Listing, MAX_LIST_ENTRIES, MAX_PROVEN_KEYS, NodeStatus, decode,
};
pub use proof::{Proof, Proven};
pub use protected::Protected;
pub use reqwest::Url;
pub use run::User;
pub use sealed_file::{SealedFileError, write_new};
