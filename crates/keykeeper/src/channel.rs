//! The one channel between a host and the keykeeper's protected process.
//!
//! Frames of `wire::channel` over a pair of pipes. The host calls, the core
//! answers, and asks back for what only a host can do: proofs from nodes, a file,
//! a transaction sent. One call at a time. The core believes proofs under the
//! circle's key and nothing else; the host learns public keys, sealed bytes and
//! transactions that go on a public ledger.

use borsh::{BorshDeserialize, BorshSerialize};
use threshold::HandedOver;
use wire::{
    Action, CircleId, CircleKey, Digest, Evidence, KeyRequestId, LabelName, PublicKey, Reject,
    Signature, Transaction, TransactionId,
};

/// An uncompressed point of P-256 (SEC 1): 4, x and y.
pub type Point = [u8; 65];

/// An ECDSA signature by a key of P-256: r and s.
pub type EcdsaSignature = [u8; 64];

/// From the host. Not to be printed: some of them hold the sealing key.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ToCore {
    /// Make an identity and give it back sealed; the process then ends.
    Make {
        /// Under which its state is sealed; see docs/spec/keys.md §2.
        sealing_key: [u8; 32],
    },
    /// Make a key to which members hand the pieces of a lost keykeeper over; the
    /// process then ends.
    Recover {
        /// The circle.
        circle: CircleId,
        /// The keykeeper.
        keeper: [u8; 32],
        /// Under which that key is sealed.
        sealing_key: [u8; 32],
    },
    /// Become that keykeeper; the process then ends.
    Restore {
        /// The key that proofs are checked under.
        circle_key: CircleKey,
        /// Under which the key was sealed, and the state will be.
        sealing_key: [u8; 32],
        /// What [`FromCore::Recovering`] gave.
        sealed: Vec<u8>,
        /// Proofs of [`crate::recovery::keys`], in order.
        proofs: Vec<Vec<u8>>,
        /// What members handed over.
        pieces: Vec<HandedOver>,
    },
    /// First of all: which circle, and the sealed state.
    Begin {
        /// The circle.
        circle: CircleId,
        /// The key that its proofs are checked under.
        circle_key: CircleKey,
        /// Under which the state is sealed.
        sealing_key: [u8; 32],
        /// The sealed state.
        sealed: Vec<u8>,
    },
    /// Register with this evidence.
    Register(Evidence),
    /// Look at the ledger and do what it waits for.
    Act,
    /// Answers [`FromCore::Read`]: a proof for each key, in order.
    Proofs(Vec<Vec<u8>>),
    /// Answers [`FromCore::ListRequests`]; proven by nobody.
    Requests(Vec<KeyRequestId>),
    /// Asks, within [`FromCore::Send`], for a signature on the action's transaction.
    Sign(Transaction),
    /// Answers [`FromCore::Send`].
    Sent(Result<TransactionId, SendFailure>),
    /// Answers [`FromCore::Store`]: it is on disk.
    Stored,
    /// What was asked for cannot be had now.
    Unavailable(String),
    /// First of all: come to the key of a label, and hold it.
    Hold {
        /// The circle.
        circle: CircleId,
        /// The key that its proofs are checked under.
        circle_key: CircleKey,
        /// The label.
        label: LabelName,
        /// Its epoch; the present one if none is given.
        epoch: Option<u64>,
    },
    /// Answers [`FromCore::Evidence`].
    Evidence(Evidence),
    /// Answers [`FromCore::Wait`].
    Waited,
    /// The public half of the key that comes of the label's key and a context.
    Point(Vec<u8>),
    /// A signature by that key.
    SignAs {
        /// The key's context.
        context: Vec<u8>,
        /// What is signed, by ECDSA over its SHA-256.
        message: Vec<u8>,
    },
    /// The secret that comes of the label's key and a context.
    Secret(Vec<u8>),
}

/// Why an action did not become final.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum SendFailure {
    /// The circle refused it.
    Rejected(Reject),
    /// The circle could not be reached.
    Unavailable(String),
}

/// From the core. Not to be printed: one of them is a secret.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum FromCore {
    /// Answers [`ToCore::Recover`].
    Recovering {
        /// To which members seal their pieces.
        key: [u8; 32],
        /// What evidence must bind.
        report_data: Digest,
        /// Its secret half, sealed.
        sealed: Vec<u8>,
    },
    /// Answers [`ToCore::Make`] and [`ToCore::Restore`].
    Made {
        /// The identity.
        key: PublicKey,
        /// The state, sealed.
        sealed: Vec<u8>,
    },
    /// Answers [`ToCore::Begin`].
    Begun {
        /// The identity.
        key: PublicKey,
        /// What evidence must bind.
        report_data: Digest,
        /// Sandbox measures that this kernel does not offer.
        warnings: Vec<String>,
    },
    /// Asks for proofs of entries, all of one height.
    Read(Vec<Vec<u8>>),
    /// Asks which requests are open.
    ListRequests,
    /// Asks to send an action as the identity's transaction.
    Send(Box<Action>),
    /// Answers [`ToCore::Sign`].
    Signed(Signature),
    /// Asks to keep the sealed state, durably.
    Store(Vec<u8>),
    /// Answers [`ToCore::Act`] and [`ToCore::Register`].
    Done {
        /// What was done, for the host's log.
        steps: Vec<String>,
        /// What went wrong with the circle; the host calls again.
        trouble: Option<String>,
        /// The round whose share it holds.
        holds: Option<u64>,
    },
    /// The core ends after this.
    Fault(String),
    /// Asks for evidence that binds this.
    Evidence(Digest),
    /// Asks to be called again in a moment.
    Wait,
    /// Answers [`ToCore::Hold`]: it has the key.
    Held {
        /// The label's epoch.
        epoch: u64,
        /// Sandbox measures that this kernel does not offer.
        warnings: Vec<String>,
    },
    /// Answers [`ToCore::Point`].
    Point(Point),
    /// Answers [`ToCore::SignAs`].
    SignedAs(EcdsaSignature),
    /// Answers [`ToCore::Secret`].
    Secret([u8; 32]),
}
