//! Keys that nobody holds alone: keykeepers, their rounds, labels, requests.
//!
//! The ledger is the public list of messages that `threshold` judges: it stores
//! what was found good, says when a phase has lasted long enough, and adopts
//! what a round comes to. It knows no secret and can derive nothing. Who may
//! have a label's key is checked here, and by every keykeeper again.
//!
//! Source: docs/spec/keys.md §6–§9.

mod answer;
mod escrow;
mod evidence;
mod label;
mod post;
mod register;
mod request;
mod round;

pub(crate) use answer::{answer, is_duty};
pub(crate) use escrow::{post_escrow, recount_holders, set_escrow_key};
pub(crate) use evidence::appraise;
pub(crate) use label::{grant, rotate};
pub(crate) use post::post;
pub(crate) use register::register;
pub(crate) use request::{forget_requests, request};
pub(crate) use round::{begin, check, founding_round, turn};
