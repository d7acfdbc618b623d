//! How a request reaches one of several nodes.
//!
//! Trusts no node: an answer is bytes, bounded in size and time; whether it is
//! true is for the caller to prove. Fails over between nodes and honours
//! `Retry-After`; every wait and every number of attempts has a bound.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use reqwest::{Method, StatusCode, Url, header};
use serde::de::DeserializeOwned;

use crate::error::{ApiError, ClientError};

/// Opening a connection: several round trips to the other side of the world.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// An ordinary request: what a busy node needs, and short enough that another
/// node is tried while a person still waits.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Rounds over all nodes before a request is given up.
const ROUNDS: usize = 3;

/// The longest `Retry-After` that is waited for; a node that asks for more is
/// treated as down.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The wait between two rounds over nodes of which none answered.
const ROUND_BACKOFF: Duration = Duration::from_millis(100);

/// An answer's body: 64 proofs with their values are far below this.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// One request to the API.
pub(crate) struct Call<'a> {
    pub method: Method,
    /// Path and query, without a leading slash.
    pub path: &'a str,
    pub content_type: Option<&'static str>,
    pub body: Vec<u8>,
    pub timeout: Duration,
}

impl<'a> Call<'a> {
    pub fn get(path: &'a str) -> Self {
        Self {
            method: Method::GET,
            path,
            content_type: None,
            body: Vec::new(),
            timeout: REQUEST_TIMEOUT,
        }
    }

    pub fn post_json(path: &'a str, body: Vec<u8>) -> Self {
        Self {
            method: Method::POST,
            content_type: Some("application/json"),
            body,
            ..Self::get(path)
        }
    }
}

/// An answer: its status is a success.
pub(crate) struct Answer {
    pub status: StatusCode,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json<T: DeserializeOwned>(&self, what: &'static str) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|source| ClientError::Decode {
            what,
            reason: source.to_string(),
        })
    }
}

/// What to do after a failed attempt.
enum Failure {
    /// The request itself is at fault: no node will answer otherwise.
    Final(ClientError),
    /// This node is: another may answer.
    Node(ClientError, Option<Duration>),
}

pub(crate) struct Transport {
    http: reqwest::Client,
    nodes: Vec<Url>,
    /// Index of the node that answered last: it is asked first.
    preferred: AtomicUsize,
}

impl Transport {
    pub fn new(nodes: Vec<Url>) -> Result<Self, ClientError> {
        if nodes.is_empty() {
            return Err(ClientError::NoNodes);
        }
        let mut nodes = nodes;
        for node in &mut nodes {
            let plain = matches!(node.scheme(), "http" | "https") && node.has_host();
            if !plain {
                return Err(ClientError::BadNode {
                    url: node.to_string(),
                });
            }
            // Joining a path needs a base that ends in a slash.
            if !node.path().ends_with('/') {
                let path = format!("{}/", node.path());
                node.set_path(&path);
            }
        }
        Ok(Self {
            http: http_client(nodes.iter().any(|node| node.scheme() == "https"))?,
            nodes,
            preferred: AtomicUsize::new(0),
        })
    }

    pub fn nodes(&self) -> &[Url] {
        &self.nodes
    }

    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The node that is asked first.
    pub fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed) % self.nodes.len()
    }

    /// Turns away from `node`, if it is still the preferred one.
    pub fn avoid(&self, node: usize) {
        let next = (node + 1) % self.nodes.len();
        let _ = self
            .preferred
            .compare_exchange(node, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub fn url(&self, node: usize, path: &str) -> Result<Url, ClientError> {
        self.nodes[node]
            .join(path)
            .map_err(|_| ClientError::BadNode {
                url: format!("{}{path}", self.nodes[node]),
            })
    }

    /// Asks the preferred node, then the others, in [`ROUNDS`] rounds.
    ///
    /// Errors: the API's own error for a request that is at fault; otherwise
    ///         the last node's failure.
    pub async fn call(&self, call: &Call<'_>) -> Result<Answer, ClientError> {
        let mut last = ClientError::NoNodes;
        for round in 0..ROUNDS {
            let mut wait = None::<Duration>;
            for _ in 0..self.nodes.len() {
                let node = self.preferred();
                match self.attempt(node, call).await {
                    Ok(answer) => return Ok(answer),
                    Err(Failure::Final(error)) => return Err(error),
                    Err(Failure::Node(error, retry_after)) => {
                        tracing::debug!(node = %self.nodes[node], %error, "node did not answer");
                        self.avoid(node);
                        last = error;
                        wait = match (wait, retry_after) {
                            (Some(a), Some(b)) => Some(a.min(b)),
                            (a, b) => a.or(b),
                        };
                    }
                }
            }
            if round + 1 < ROUNDS {
                let backoff = ROUND_BACKOFF * (1 << round);
                tokio::time::sleep(wait.unwrap_or(backoff).min(MAX_RETRY_AFTER)).await;
            }
        }
        Err(last)
    }

    /// Asks one node once.
    async fn attempt(&self, node: usize, call: &Call<'_>) -> Result<Answer, Failure> {
        let url = self.url(node, call.path).map_err(Failure::Final)?;
        let unreachable = |source: reqwest::Error| {
            Failure::Node(
                ClientError::Unreachable {
                    node: self.nodes[node].to_string(),
                    source,
                },
                None,
            )
        };
        let mut request = self
            .http
            .request(call.method.clone(), url)
            .timeout(call.timeout);
        if let Some(content_type) = call.content_type {
            request = request
                .header(header::CONTENT_TYPE, content_type)
                .body(call.body.clone());
        }
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let body = bounded_body(response, MAX_BODY_BYTES)
            .await
            .map_err(|error| match error {
                BodyError::Http(source) => unreachable(source),
                BodyError::TooLarge => Failure::Node(
                    ClientError::TooLarge {
                        limit: MAX_BODY_BYTES,
                    },
                    None,
                ),
            })?;
        if status.is_success() {
            return Ok(Answer { status, body });
        }
        let error = ClientError::Api(ApiError::parse(
            self.nodes[node].to_string(),
            status.as_u16(),
            &body,
        ));
        let busy = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
        Err(if busy {
            Failure::Node(error, retry_after)
        } else {
            Failure::Final(error)
        })
    }
}

/// The HTTP client: no redirects and no proxies, so that what is asked goes
/// where the caller said.
pub(crate) fn http_client(tls: bool) -> Result<reqwest::Client, ClientError> {
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none());
    // Without TLS nodes the system's roots are not needed, and a host that has
    // none can still use a circle on its own loopback.
    let builder = if tls {
        builder
    } else {
        builder.tls_certs_only([])
    };
    builder
        .build()
        .map_err(|source| ClientError::Http { source })
}

pub(crate) enum BodyError {
    Http(reqwest::Error),
    TooLarge,
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn bounded_body(
    mut response: reqwest::Response,
    limit: usize,
) -> Result<Vec<u8>, BodyError> {
    if response.content_length().is_some_and(|n| n > limit as u64) {
        return Err(BodyError::TooLarge);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(BodyError::Http)? {
        if body.len() + chunk.len() > limit {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3); the form with a date is not
/// used by nodes.
fn retry_after(headers: &header::HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}
