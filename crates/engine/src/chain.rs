//! What does the engine ask of the chain that it orders?
//!
//! The engine orders blocks and knows nothing of what they mean. This trait
//! is the whole seam: it is boxed, so that a change of the chain's own code
//! never compiles the engine again, and synchronous, so that a state machine
//! needs no runtime. The engine trusts the chain's verdicts and nothing else.

use std::{num::NonZeroU64, sync::Arc};

use wire::{Block, Height};

use crate::{Certificate, Office, keys::PeerKey};

/// A final block from which a chain's state begins, where it was not executed
/// from genesis on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The block after which the state was taken.
    pub block: Block,
    /// The circle's signature over it.
    pub certificate: Certificate,
}

/// The chain that the engine orders.
///
/// One task owns it and makes every call, one at a time, in an order that
/// respects ancestry; nothing needs to be `Sync`. A call may block for some
/// milliseconds: consensus' own threads do not wait for it, but the next call
/// does.
pub trait Chain: Send {
    /// The block at height 0. Asked once, at start; the same at every start.
    fn genesis(&self) -> Block;

    /// The block from which the state begins, if that is not genesis: the chain
    /// holds nothing below it, and the engine asks nobody for what is below it.
    /// Asked once, at start, and the same until the chain's store is replaced.
    fn anchor(&self) -> Option<Anchor> {
        None
    }

    /// The engine may forget finalized blocks below this height; at most
    /// [`Chain::durable_height`]. It keeps more where it needs more. Asked
    /// after every [`Chain::finalized`].
    fn kept_from(&self) -> Height {
        Height(0)
    }

    /// The highest finalized height that is durable in the chain's own store
    /// (0 if none but genesis). Asked once, at start: delivery goes on above it.
    fn durable_height(&self) -> Height;

    /// Heights of an epoch: epoch `n` has those from `n` times this on. Asked
    /// once, at start; the same for the life of the circle.
    fn epoch_length(&self) -> NonZeroU64;

    /// Who validates, as of the latest finalized block. Asked at start and
    /// after every [`Chain::finalized`], so it should be kept ready.
    fn office(&self) -> Arc<Office>;

    /// Publishes what this validator dealt in the resharing of this number.
    ///
    /// Asked again from time to time until [`Chain::office`] shows it. What it
    /// returns is sent to the other validators as gossip.
    fn deal(&mut self, round: u64, dealing: Vec<u8>) -> Option<Vec<u8>>;

    /// The share with which the engine was started is in the engine's directory
    /// now, beside its memory of how it voted, and dangerous anywhere else: every
    /// other copy should be deleted. May be said more than once.
    fn share_replaced(&mut self);

    /// A child of `parent`, or `None` to let the view pass without a block.
    ///
    /// `parent` and its unfinalized ancestors were given to
    /// [`Chain::propose`], [`Chain::verify`] or [`Chain::finalized`] before,
    /// in this process. A block above [`crate::MAX_BLOCK_BYTES`] is dropped.
    ///
    /// Units: `now_ms` is Unix time in milliseconds by the engine's clock.
    fn propose(&mut self, parent: &Block, now_ms: u64) -> Option<Block>;

    /// Executes `block` on `parent`; true if and only if it is valid.
    ///
    /// The engine has checked the parent's digest, the height, the digest over
    /// the transactions and the size. Ancestors are known as in
    /// [`Chain::propose`]. A block may be offered again; the verdict must be
    /// the same, and must be what every honest validator comes to: `false` is
    /// final, so a rule that time may change must be wide enough for honest
    /// clocks.
    fn verify(&mut self, parent: &Block, block: &Block, now_ms: u64) -> bool;

    /// Takes a finalized block.
    ///
    /// The engine's archives hold it already, synced: the next start gives
    /// the chain every block above its [`Chain::durable_height`] again, so it
    /// may sync its own store for many blocks at a time.
    ///
    /// Blocks come in the order of their heights, without gaps, from
    /// [`Chain::durable_height`] + 1 on; a block may come again after a crash.
    /// It may never have been verified here (a validator that catches up), so
    /// it is executed if it was not. `certificate` is the finalization of
    /// exactly this block, if one is known already.
    fn finalized(&mut self, block: Block, certificate: Option<Certificate>);

    /// Takes the certificate of a block that was delivered without one.
    fn certified(&mut self, height: Height, certificate: Certificate);

    /// Takes a gossip message that the validator `from` sent.
    ///
    /// Sender and size ([`crate::MAX_GOSSIP_BYTES`]) are checked; nothing else is.
    fn gossip(&mut self, from: PeerKey, message: Vec<u8>);

    /// Whether there is anything to put into a block now. Drives pacing only.
    fn has_work(&self) -> bool;
}
