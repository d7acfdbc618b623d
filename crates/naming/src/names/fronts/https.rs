//! DNS over HTTPS (RFC 8484), over HTTP/2 and HTTP/1.1: `GET` and `POST` at
//! `/dns-query`, and the JSON form that browsers' scripts and people use.
//!
//! It speaks through `hyper` alone: two paths need no router, and a question whose
//! answer is ready is answered without a task's wait. Responses that are ready
//! together leave in one record of TLS.
//!
//! Every client gets bounded room and bounded time: streams, heads and bodies
//! are limited, and a connection without requests ends.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use base64::Engine as _;
use bytes::Bytes;
use futures_util::future::Either;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{io::BufWriter, net::TcpStream, time::timeout};
use tokio_rustls::TlsAcceptor;

use super::{
    json,
    service::Service,
    stream::{HANDSHAKE_TIMEOUT, LEDGER_TIMEOUT},
};
use crate::names::answer;

/// Where messages are asked for (RFC 8484 §4.1.1 has it in its examples).
const MESSAGES: &str = "/dns-query";

/// Where answers in JSON are.
const JSON: &str = "/resolve";

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

/// Octets of responses that wait for each other at most: a record of TLS.
const MAX_TOGETHER: usize = 1 << 14;

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
    let front = Arc::new(Front {
        service,
        client,
        last_request: Arc::clone(&last_request),
    });
    let stream = TokioIo::new(BufWriter::with_capacity(MAX_TOGETHER, stream));
    let builder = builder();
    let connection = builder.serve_connection(stream, service_fn(|request| front.hear(request)));
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

type Response = hyper::Response<Full<Bytes>>;

type Heard = Result<Response, Infallible>;

/// A response that is there, or that is to come.
type Responding = Either<Ready<Heard>, Pin<Box<dyn Future<Output = Heard> + Send>>>;

/// One connection's way to answers.
struct Front {
    service: Service,
    client: SocketAddr,
    last_request: Arc<Clock>,
}

impl Front {
    /// Responds at once to whatever waits for nobody.
    fn hear(self: &Arc<Self>, request: Request<Incoming>) -> Responding {
        self.last_request.touch();
        if request.method() == Method::GET
            && let Some(response) = self.respond_at_once(&request)
        {
            return Either::Left(ready(Ok(response)));
        }
        let front = Arc::clone(self);
        Either::Right(Box::pin(async move { Ok(front.respond(request).await) }))
    }

    /// The response to RFC 8484's GET, if the ledger need not be asked for it.
    fn respond_at_once(&self, request: &Request<Incoming>) -> Option<Response> {
        if request.uri().path() != MESSAGES {
            return None;
        }
        let message = match message_of(request.uri().query()?)? {
            Ok(message) => message,
            Err(refusal) => return Some(refusal),
        };
        self.service
            .is_prepared(&message)
            .then(|| self.answer_prepared(&message))
    }

    async fn respond(&self, request: Request<Incoming>) -> Response {
        let is_head = request.method() == Method::HEAD;
        let is_get = is_head || request.method() == Method::GET;
        let response = match request.uri().path() {
            MESSAGES if is_get => self.asked_by_get(&request).await,
            MESSAGES if request.method() == Method::POST => {
                return self.asked_by_post(request).await;
            }
            MESSAGES => not_allowed("GET,HEAD,POST"),
            JSON if is_get => {
                self.answer_json(request.uri().query().unwrap_or_default())
                    .await
            }
            JSON => not_allowed("GET,HEAD"),
            _ => refuse(StatusCode::NOT_FOUND, "nothing is here"),
        };
        if is_head {
            without_body(response)
        } else {
            response
        }
    }

    /// RFC 8484 §4.1: the message in base64url, without padding, as `dns`.
    async fn asked_by_get(&self, request: &Request<Incoming>) -> Response {
        let query = request.uri().query().unwrap_or_default();
        match message_of(query) {
            // RFC 9110 §9.2.1: to GET changes nothing. An update is told so.
            Some(Ok(message)) => self.answer(&message).await,
            Some(Err(refusal)) => refusal,
            None if json::parameter(query, "name").is_some()
                || accepts(request.headers(), DNS_JSON) =>
            {
                self.answer_json(query).await
            }
            None => refuse(StatusCode::BAD_REQUEST, "the parameter `dns` is missing"),
        }
    }

    async fn asked_by_post(&self, request: Request<Incoming>) -> Response {
        let (head, body) = request.into_parts();
        // The body is read first, whatever it is: a client of HTTP/2 whose body is
        // not taken may miss why.
        let reading = Limited::new(body, MAX_MESSAGE).collect();
        let message = match timeout(BODY_TIMEOUT, reading).await {
            Ok(Ok(message)) => message.to_bytes(),
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
        let media_type = head
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(|value| value.split(';').next().unwrap_or_default().trim());
        if media_type.is_some_and(|given| given.eq_ignore_ascii_case(DNS_MESSAGE)) {
            self.answer_or_update(&message).await
        } else {
            let reason = "the body is to be application/dns-message";
            refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason)
        }
    }

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
        self.answer_prepared(message)
    }

    fn answer_prepared(&self, message: &[u8]) -> Response {
        let Some(answered) = self.service.answer(message, self.client.ip()) else {
            return refuse(StatusCode::BAD_REQUEST, "this is no DNS query");
        };
        let answer::Response {
            octets, min_ttl, ..
        } = answered;
        with_freshness(Bytes::from(octets), DNS_MESSAGE, min_ttl)
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

/// The message that a URL's query holds, or why it holds none; none if it has
/// no such parameter.
fn message_of(query: &str) -> Option<Result<Vec<u8>, Response>> {
    let encoded = json::parameter(query, "dns")?;
    Some(
        match base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(encoded.as_bytes()) {
            Ok(message) if message.len() <= MAX_MESSAGE => Ok(message),
            Ok(_) => Err(refuse(
                StatusCode::URI_TOO_LONG,
                "a DNS message has 65535 octets at most",
            )),
            Err(_) => Err(refuse(
                StatusCode::BAD_REQUEST,
                "the parameter `dns` is not base64url without padding",
            )),
        },
    )
}

/// A response that a cache may keep as long as its records (RFC 8484 §5.1).
fn with_freshness(body: Bytes, media_type: &'static str, min_ttl: Option<u32>) -> Response {
    let freshness = min_ttl.map_or(HeaderValue::from_static("no-store"), |seconds| {
        HeaderValue::try_from(format!("max-age={seconds}"))
            .unwrap_or(HeaderValue::from_static("no-store"))
    });
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, freshness);
    // What is public may be read by any page.
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    response
}

fn refuse(status: StatusCode, reason: &'static str) -> Response {
    let mut response = Response::new(Full::new(Bytes::from(format!("{reason}\n"))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, text);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// RFC 9110 §15.5.6: it says which methods there are.
fn not_allowed(methods: &'static str) -> Response {
    let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "not by this method");
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}

/// The head of a response, which says how long the body would be (RFC 9110 §9.3.2).
fn without_body(response: Response) -> Response {
    use hyper::body::Body as _;
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Response::from_parts(head, Full::default())
}

fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains(media_type))
}
