//! The ledger: a pure state machine over an authenticated key-value state.
//!
//! [`apply`] is total and deterministic. It takes a state, a block's context
//! and the block's checked transactions, and gives the changes, a receipt for
//! each transaction and the events. A block never fails: each transaction is
//! applied whole or earns a numbered [`wire::Reject`] and pays its fee.
//!
//! There is no clock, no entropy, no I/O, no float and no hash map here; time
//! is the block's. Each folder is one module of the ledger and each file in it
//! one action:
//!
//! - `accounts`: balances and transfers;
//! - `locks`: funds under a tree of conditions;
//! - `names`: commit, reveal, records, rent, suspension, release, sale, recovery;
//! - `notary`: digests of data items under keys;
//! - `hosts`: what appraisers last found of machines' software;
//! - `market`: offers, requests, matching, contracts and what they are paid;
//! - `enclaves`: keys with evidence, and certificates for them;
//! - `certificates`: the log of certificates, ACME orders and revocation;
//! - `zones`: the keys, name servers and times of the circle's apexes;
//! - `name_servers`: where the circle's name servers answer, under which keys;
//! - `keys`: keykeepers and their rounds, labels, requests for their keys;
//! - `members`: who belongs to the circle, proposals and votes, epochs and
//!   their committees, and what the validators receive.
//!
//! [`recover`] makes of a state what a circle begins with that takes it over.
//!
//! [`audit`] judges a state independently: it recomputes every sum and every
//! index from the records.
//!
//! # Damaged stores
//!
//! Peers' bytes never make anything here panic. What does panic is a record
//! of the state that does not decode, or a sum that cannot be: only this crate
//! writes records, so the local store is damaged or holds another version's
//! state. A node in that position must neither vote nor answer, and the
//! caller's [`StateRead`] has no other way to fail either.

mod accounts;
mod admission;
mod audit;
mod certificates;
mod enclaves;
mod execution;
mod founding;
mod hosts;
mod keys;
mod locks;
pub mod market;
mod members;
mod name_servers;
mod names;
mod notary;
mod overlay;
mod recent;
mod recovery;
mod state;
mod zones;

pub use admission::{ADMISSION_WINDOW, admit, fee};
pub use audit::{Audit, AuditError, audit};
pub use execution::{Applied, BlockContext, VERSION, apply, apply_with};
pub use founding::genesis;
pub use members::{Ceremony, Concluded, NoCeremony, ReshareTask, Standing, validator_standing};
pub use names::UNICODE_VERSION;
pub use recent::RECENT_HEADERS_KEPT;
pub use recovery::{RecoveryError, decided, recover};
pub use state::{Changes, StateRead, write};
