//! DNS over HTTPS (RFC 8484), over HTTP/2 and HTTP/1.1: `GET` and `POST` at
//! `/dns-query`, and the JSON form that browsers' scripts and people use.
//!
//! Every client gets bounded room and bounded time: streams, heads and bodies
//! are limited, and a connection without requests ends.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use base64::Engine as _;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsAcceptor;

use super::{
    json,
    service::Service,
    stream::{HANDSHAKE_TIMEOUT, LEDGER_TIMEOUT},
};

/// The media type of DNS messages (RFC 8484 §6).
const DNS_MESSAGE: &str = "application/dns-message";

/// The media type of answers in JSON, which no RFC registered.
pub(super) const DNS_JSON: &str = "application/dns-json";

/// How long a connection without requests stays open: what browsers expect.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How often it is looked whether a connection is idle.
const IDLE_CHECK: Duration = Duration::from_secs(5);

/// How long a request's head may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request's body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client may leave a ping of HTTP/2 unanswered.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests of a connection under way at once (RFC 9113 §6.5.2 asks for 100).
const MAX_STREAMS: u32 = 100;

/// Octets of a request's head; a query in a URL has at most 87,382.
const MAX_HEAD: usize = 96 * 1024;

/// Octets of responses of a connection that wait for the client to take them.
const MAX_SEND_BUFFER: usize = 128 * 1024;

/// Octets of a DNS message.
const MAX_MESSAGE: usize = u16::MAX as usize;

/// Answers on a connection until it ends.
pub(super) async fn within_tls(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    client: SocketAddr,
    service: Service,
) -> io::Result<()> {
    let stream = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??;
    let last_request = Arc::new(Clock::start());
    let front = Front {
        service,
        client,
        last_request: Arc::clone(&last_request),
    };
    let routes = TowerToHyperService::new(routes(front));
    let builder = builder();
    let connection = builder.serve_connection(TokioIo::new(stream), routes);
    tokio::pin!(connection);
    let mut check = tokio::time::interval(IDLE_CHECK);
    loop {
        tokio::select! {
            ended = connection.as_mut() => return ended.map_err(io::Error::other),
            _ = check.tick() => {
                let idle = last_request.idle();
                // A request takes seconds at most, so what began before then is over.
                if idle > IDLE_TIMEOUT + BODY_TIMEOUT + LEDGER_TIMEOUT {
                    return Ok(());
                }
                if idle > IDLE_TIMEOUT {
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD as u32)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .initial_stream_window_size(1 << 16)
        .initial_connection_window_size(1 << 18)
        .keep_alive_interval(IDLE_TIMEOUT)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// When a connection last had a request.
struct Clock {
    started: Instant,
    last_ms: AtomicU64,
}

impl Clock {
    fn start() -> Self {
        Self {
            started: Instant::now(),
            last_ms: AtomicU64::new(0),
        }
    }

    fn touch(&self) {
        let now = self.started.elapsed().as_millis() as u64;
        self.last_ms.store(now, Ordering::Relaxed);
    }

    fn idle(&self) -> Duration {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(last)
    }
}

/// One connection's way to answers.
#[derive(Clone)]
struct Front {
    service: Service,
    client: SocketAddr,
    last_request: Arc<Clock>,
}

fn routes(front: Front) -> Router {
    Router::new()
        .route("/dns-query", get(asked_by_get).post(asked_by_post))
        .route("/resolve", get(resolve))
        .with_state(front)
}

/// RFC 8484 §4.1: the message in base64url, without padding, as `dns`.
async fn asked_by_get(
    State(front): State<Front>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    front.last_request.touch();
    let query = query.unwrap_or_default();
    let Some(encoded) = json::parameter(&query, "dns") else {
        let wants_json = json::parameter(&query, "name").is_some() || accepts(&headers, DNS_JSON);
        return if wants_json {
            front.answer_json(&query).await
        } else {
            refuse(StatusCode::BAD_REQUEST, "the parameter `dns` is missing")
        };
    };
    match base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(encoded.as_bytes()) {
        // RFC 9110 §9.2.1: to GET changes nothing. An update is told so.
        Ok(message) if message.len() <= MAX_MESSAGE => front.answer(&message).await,
        Ok(_) => refuse(
            StatusCode::URI_TOO_LONG,
            "a DNS message has 65535 octets at most",
        ),
        Err(_) => refuse(
            StatusCode::BAD_REQUEST,
            "the parameter `dns` is not base64url without padding",
        ),
    }
}

async fn asked_by_post(State(front): State<Front>, headers: HeaderMap, body: Body) -> Response {
    front.last_request.touch();
    // The body is read first, whatever it is: a client of HTTP/2 whose body is
    // not taken may miss why.
    let reading = axum::body::to_bytes(body, MAX_MESSAGE);
    let message = match timeout(BODY_TIMEOUT, reading).await {
        Ok(Ok(message)) => message,
        Ok(Err(_)) => {
            return refuse(
                StatusCode::PAYLOAD_TOO_LARGE,
                "a DNS message has 65535 octets at most",
            );
        }
        Err(_) => {
            let reason = "the body did not arrive in time";
            return refuse(StatusCode::REQUEST_TIMEOUT, reason);
        }
    };
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(|value| value.split(';').next().unwrap_or_default().trim());
    if media_type.is_some_and(|given| given.eq_ignore_ascii_case(DNS_MESSAGE)) {
        front.answer_or_update(&message).await
    } else {
        let reason = "the body is to be application/dns-message";
        refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason)
    }
}

async fn resolve(State(front): State<Front>, RawQuery(query): RawQuery) -> Response {
    front.last_request.touch();
    front.answer_json(&query.unwrap_or_default()).await
}

impl Front {
    /// As [`Front::answer`]; an update is answered once the ledger has spoken.
    async fn answer_or_update(&self, message: &[u8]) -> Response {
        let Some(pending) = self.service.update(message) else {
            return self.answer(message).await;
        };
        match timeout(LEDGER_TIMEOUT, pending).await {
            Ok(Ok(response)) => with_freshness(Bytes::from(response), DNS_MESSAGE, None),
            // The client sends it again, and a message counts once.
            Ok(Err(_)) | Err(_) => refuse(
                StatusCode::GATEWAY_TIMEOUT,
                "the ledger did not answer in time: send it again",
            ),
        }
    }

    async fn answer(&self, message: &[u8]) -> Response {
        self.service.prepare(message).await;
        let Some(answered) = self.service.answer(message, self.client.ip()) else {
            return refuse(StatusCode::BAD_REQUEST, "this is no DNS query");
        };
        with_freshness(Bytes::from(answered.octets), DNS_MESSAGE, answered.min_ttl)
    }

    async fn answer_json(&self, query: &str) -> Response {
        let asked = match json::Asked::parse(query) {
            Ok(asked) => asked,
            Err(reason) => return refuse(StatusCode::BAD_REQUEST, reason),
        };
        let message = asked.to_message();
        self.service.prepare(&message).await;
        let answered = self.service.answer(&message, self.client.ip());
        let body = answered.and_then(|answered| {
            let body = json::render(&answered.octets)?;
            Some((body, answered.min_ttl))
        });
        match body {
            Some((body, min_ttl)) => with_freshness(Bytes::from(body), DNS_JSON, min_ttl),
            None => refuse(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the answer has no JSON form",
            ),
        }
    }
}

/// A response that a cache may keep as long as its records (RFC 8484 §5.1).
fn with_freshness(body: Bytes, media_type: &'static str, min_ttl: Option<u32>) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    let freshness = min_ttl.map_or(HeaderValue::from_static("no-store"), |seconds| {
        HeaderValue::try_from(format!("max-age={seconds}"))
            .unwrap_or(HeaderValue::from_static("no-store"))
    });
    headers.insert(header::CACHE_CONTROL, freshness);
    // What is public may be read by any page.
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    response
}

fn refuse(status: StatusCode, reason: &'static str) -> Response {
    let mut response = (status, format!("{reason}\n")).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains(media_type))
}
