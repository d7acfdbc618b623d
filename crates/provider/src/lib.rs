//! The host agent: offers capacity, launches an enclave for each contract,
//! stores ciphertext and routes TLS connections to the enclaves.
//!
//! It is trusted with nothing. It sees ciphertext, signatures and traffic that
//! is encrypted to the enclaves; what it believes of the ledger it has proven.
//! What it can do is refuse service, and then it is replaced and not paid.

mod agent;
mod channel;
mod config;
mod contract;
mod contract_files;
mod control;
mod evidence;
mod guest;
mod heartbeat;
mod host;
mod label_keys;
mod launcher;
mod offers;
mod process;
mod router;
mod sealed_log;
mod streams;
mod tls;

pub use agent::{ProviderError, run};
pub use config::{
    DevelopmentConfig, GUEST_OWN_MIB, GuestConfig, HardwareConfig, Limits, OfferConfig,
    PayloadAccess, ProviderConfig,
};
pub use control::{OfferStatus, ProviderStatus};
pub use guest::{GuestError, GuestImage};
pub use host::{ContractStatus, Phase};
pub use router::RouterCounts;
