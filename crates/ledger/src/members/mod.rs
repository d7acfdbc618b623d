//! Members: who they are, how they decide, and who validates in which epoch.
//!
//! - `ballot`: proposals and votes; `policy`: when is a proposal decided;
//! - `change`: what each kind of change needs and does;
//! - `roster`: members' records and what their terms must satisfy;
//! - `epoch`: the committee in office, and the resharing that prepares the
//!   next one; `deal`: validators' dealings in it;
//! - `attest`: what validators show of the code that they run;
//! - `pool`: what validators receive.
//!
//! Source: docs/spec/members.md.

mod attest;
mod ballot;
mod ceremony;
mod change;
mod deal;
mod epoch;
mod policy;
mod pool;
mod roster;

pub use attest::{Standing, validator_standing};
pub(crate) use attest::{attest, is_duty as is_evidence_due};
pub(crate) use ballot::{close_proposals, propose, vote};
pub use ceremony::{Ceremony, Concluded, NoCeremony, ReshareTask};
pub(crate) use deal::{deal, is_duty};
pub(crate) use epoch::{found, turn};
pub(crate) use policy::Electorate;
pub(crate) use pool::pay_pool;
pub(crate) use roster::{all, founder, terms_are_sound};
