//! Which question it answers: what does the smallest useful *service* payload
//! look like? It is a WebAssembly component that exports
//! `wasi:http/incoming-handler`; the enclave calls [`Hello::handle`] once per
//! request, in an instance that no other request has touched.
//!
//! It trusts its host for the clock and for the order of bytes, and it leaves
//! TLS, names and limits to the enclave. Four of its routes exist to show those
//! limits at work: `/slow`, `/spin`, `/allocate` and `/abort`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /facts` | the environment variables whose names start with `RINGFORT_`, one `name=value` a line, sorted |
//! | `POST /echo` | the request's body, byte for byte, with its content type |
//! | `GET /slow?ms=N` | a greeting after N milliseconds, at most [`LONGEST_WAIT_MS`] |
//! | `GET /spin` | never: burns CPU until the enclave stops it |
//! | `GET /allocate` | never: takes memory until the enclave refuses it |
//! | `GET /abort` | never: traps at once |
//! | anything else | `{GREETING}, {path}`; `GREETING` is `hello` unless the environment sets it |

mod route;

use route::Route;
use wasip2::cli::environment::get_environment;
use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::StreamError;

/// The longest wait that `/slow` grants, in milliseconds. Longer than any
/// sensible request deadline, so that the enclave's deadline can be seen to fire.
pub const LONGEST_WAIT_MS: u64 = 60_000;

/// How much `/allocate` takes at a time, in bytes. Small steps come close to the
/// limit before they cross it.
const ALLOCATION_STEP: usize = 1 << 20;

/// How many bytes of a body `/echo` moves at a time. The WASI streams promise to
/// take 4096 bytes in one blocking write.
const ECHO_CHUNK: u64 = 4096;

const PLAIN_TEXT: &[u8] = b"text/plain; charset=utf-8";

/// The service. It has no state: nothing outlives a request.
pub struct Hello;

wasip2::http::proxy::export!(Hello);

impl Guest for Hello {
    fn handle(request: IncomingRequest, response: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let method = request.method();
        // Standard output is the service's log; a log that is lost is no reason
        // to refuse the request.
        println!("{} {target}", method_name(&method));
        match (Route::of(&target), method) {
            (Route::Echo, Method::Post) => echo(&request, response),
            (Route::Echo, _) => reply(response, 405, "POST a body to /echo\n"),
            (Route::Facts, _) => reply(response, 200, &facts()),
            (Route::Slow { milliseconds }, _) => {
                let waited = milliseconds.min(LONGEST_WAIT_MS);
                subscribe_duration(waited * 1_000_000).block();
                reply(response, 200, &format!("waited {waited} ms\n"));
            }
            (Route::Spin, _) => spin(),
            (Route::Allocate, _) => allocate(),
            (Route::Abort, _) => std::process::abort(),
            (Route::Greeting { path }, _) => reply(response, 200, &greeting(path)),
        }
    }
}

fn method_name(method: &Method) -> &str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(name) => name,
    }
}

fn greeting(path: &str) -> String {
    let greeting = get_environment()
        .into_iter()
        .find_map(|(name, value)| (name == "GREETING").then_some(value))
        .unwrap_or_else(|| "hello".to_owned());
    format!("{greeting}, {path}\n")
}

/// What the enclave told this replica about itself.
fn facts() -> String {
    let mut lines: Vec<String> = get_environment()
        .into_iter()
        .filter(|(name, _)| name.starts_with("RINGFORT_"))
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect();
    lines.sort();
    lines.concat()
}

fn spin() -> ! {
    let mut state = 1u64;
    loop {
        state = std::hint::black_box(state.wrapping_mul(6_364_136_223_846_793_005));
    }
}

fn allocate() -> ! {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    loop {
        // Written, not only reserved: a page that was never touched costs nothing.
        taken.push(vec![1; ALLOCATION_STEP]);
        std::hint::black_box(&taken);
    }
}

/// Answers `status` with a short text.
fn reply(out: ResponseOutparam, status: u16, text: &str) {
    let Some(body) = start(out, status, PLAIN_TEXT) else {
        return;
    };
    if let Ok(stream) = body.write() {
        for chunk in text.as_bytes().chunks(ECHO_CHUNK as usize) {
            if stream.blocking_write_and_flush(chunk).is_err() {
                break; // The client went away; nobody is left to tell.
            }
        }
    }
    // A body whose stream failed cannot be finished; the host has closed it.
    let _ = OutgoingBody::finish(body, None);
}

/// Sends the request's body back while it still arrives, so that a body larger
/// than this instance's memory passes through.
fn echo(request: &IncomingRequest, out: ResponseOutparam) {
    let content_type = request
        .headers()
        .get("content-type")
        .into_iter()
        .next()
        .unwrap_or_else(|| b"application/octet-stream".to_vec());
    let Ok(incoming) = request.consume() else {
        return reply(out, 400, "the body cannot be read\n");
    };
    let Some(body) = start(out, 200, &content_type) else {
        return;
    };
    if let (Ok(from), Ok(to)) = (incoming.stream(), body.write()) {
        loop {
            match from.blocking_read(ECHO_CHUNK) {
                Ok(chunk) if to.blocking_write_and_flush(&chunk).is_ok() => {}
                Err(StreamError::Closed) => break,
                // Returning with an unfinished body aborts the response, so the
                // client cannot take a part for the whole.
                _ => return,
            }
        }
    }
    let _ = OutgoingBody::finish(body, None);
}

/// Sends the status line and headers; `None` when the host refuses them.
fn start(out: ResponseOutparam, status: u16, content_type: &[u8]) -> Option<OutgoingBody> {
    let headers = Fields::new();
    headers.set("content-type", &[content_type.to_vec()]).ok()?;
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).ok()?;
    let body = response.body().ok()?;
    ResponseOutparam::set(out, Ok(response));
    Some(body)
}
