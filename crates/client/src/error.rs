//! Why the ledger could not be asked, or its answer not be believed.

use wire::{CircleId, Height};

/// What a node answered instead of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{node} answered {status} {code}: {message}")]
pub struct ApiError {
    /// The node's URL.
    pub node: String,
    /// HTTP status.
    pub status: u16,
    /// The API's error code.
    pub code: String,
    /// The API's sentence.
    pub message: String,
    /// What the reader can do, if the node knows.
    pub hint: Option<String>,
    /// The ledger's reject number, when admission failed.
    pub reject: Option<u8>,
}

impl ApiError {
    /// Reads the API's error form; any other body becomes the message.
    pub(crate) fn parse(node: String, status: u16, body: &[u8]) -> Self {
        #[derive(serde::Deserialize)]
        struct Outer {
            error: Inner,
        }
        #[derive(serde::Deserialize)]
        struct Inner {
            code: String,
            message: String,
            hint: Option<String>,
            reject: Option<u8>,
        }
        match serde_json::from_slice::<Outer>(body) {
            Ok(Outer { error }) => Self {
                node,
                status,
                code: error.code,
                message: error.message,
                hint: error.hint.filter(|hint| !hint.is_empty()),
                reject: error.reject,
            },
            Err(_) => Self {
                node,
                status,
                code: "unknown".to_owned(),
                // A body of another server's is quoted in part: it may be a page.
                message: String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned(),
                hint: None,
                reject: None,
            },
        }
    }
}

/// An operation against the ledger failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The caller gave no node.
    #[error("no node of the circle is known: give at least one API address")]
    NoNodes,
    /// The caller gave a URL that is no API address.
    #[error("{url} is no API address: write http://HOST:PORT")]
    BadNode {
        /// The URL.
        url: String,
    },
    /// The HTTP client could not be made.
    #[error("the HTTP client could not be set up")]
    Http {
        /// Why.
        source: reqwest::Error,
    },
    /// A node did not answer, nor did any other.
    #[error("no node answered; the last one asked was {node}")]
    Unreachable {
        /// The node.
        node: String,
        /// Why.
        source: reqwest::Error,
    },
    /// A node answered with an error.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// An answer is over its limit.
    #[error("the answer has over {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// An answer does not decode.
    #[error("the node's {what} does not decode: {reason}")]
    Decode {
        /// What was asked for.
        what: &'static str,
        /// Why it does not decode.
        reason: String,
    },
    /// A proof does not hold: the node errs or lies.
    #[error("the node's proof does not hold")]
    Proof {
        /// Why.
        #[from]
        source: proof::ProofError,
    },
    /// A proof is for another entry than the one asked for.
    #[error("the node proved another entry than the one asked for")]
    OtherEntry,
    /// A proof is of another circle.
    #[error("the node's proof is of circle {0}")]
    OtherCircle(CircleId),
    /// Every node is behind what this client has already seen proven.
    #[error("the nodes are behind: they prove height {have}, and height {wanted} was seen")]
    Behind {
        /// What they prove.
        have: Height,
        /// What was seen or asked for.
        wanted: Height,
    },
    /// The newest proof is too old: the circle or the path to it has stopped.
    #[error("the newest proven block is {age_ms} ms old; at most {limit_ms} ms are accepted")]
    Stale {
        /// Its age by this machine's clock.
        age_ms: u64,
        /// The limit.
        limit_ms: u64,
    },
    /// A proven record does not decode: this build is older than the circle.
    #[error(transparent)]
    Record(#[from] wire::record::RecordError),
    /// A record that must exist is proven absent.
    #[error("the circle proves that there is no {0}")]
    Absent(String),
    /// The genesis that the circle proves is not the one the caller named.
    #[error("the circle's genesis does not have the id that was given")]
    Genesis,
    /// A transaction did not become final in time.
    #[error("transaction {0} did not become final in time")]
    NotFinal(wire::TransactionId),
}

impl ClientError {
    /// The ledger's reject, if this is an admission that failed with one.
    pub fn reject(&self) -> Option<wire::Reject> {
        let Self::Api(error) = self else { return None };
        let number = error.reject?;
        wire::Reject::ALL
            .iter()
            .copied()
            .find(|reject| reject.number() == number)
    }

    /// Whether what was signed can never apply and signing again can: another
    /// transaction of the same account came first, or it waited too long.
    pub(crate) fn lost_its_sequence(&self) -> bool {
        let gone = |error: &ApiError| matches!(&*error.code, "sequence_taken" | "given_up");
        let again = |reject| {
            matches!(
                reject,
                wire::Reject::SequenceMismatch | wire::Reject::Expired
            )
        };
        self.reject().is_some_and(again) || matches!(self, Self::Api(error) if gone(error))
    }
}
