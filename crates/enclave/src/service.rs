//! A service: HTTP to a component, a fresh instance for every request.
//!
//! TLS ends here, inside the enclave. Nothing of one request is left in memory
//! that another can see: instances come from a pool that is cleared in between.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::server::ResolvesServerCert;
use tokio::{
    sync::{Semaphore, oneshot, watch},
    time::{timeout, timeout_at},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use wasmtime_wasi_http::{
    WasiHttpView as _,
    p2::{
        bindings::{ProxyPre, http::types::Scheme},
        body::HyperOutgoingBody,
    },
};

use crate::{
    filesystem::Filesystem,
    logs::Logs,
    runtime::{
        Compiled, Guest, GuestSettings, Limits, MAX_CONCURRENT_REQUESTS, MemoryBudget,
        RuntimeError, describe,
    },
    streams::ClientStream,
};

/// Time that a client may take for its TLS handshake or the head of a request:
/// what slow links need, and a bound on idle connections.
const CLIENT_PATIENCE: Duration = Duration::from_secs(30);

/// Time that a request waits for an instance before it is turned away.
const QUEUE_TIME: Duration = Duration::from_secs(1);

/// Time within which instances are gone after a stop.
const STOP_TIME: Duration = Duration::from_secs(2);

/// Requests of one HTTP/2 connection at the same time.
const MAX_HTTP2_STREAMS: u32 = 32;

type HttpResponse = Response<HyperOutgoingBody>;

/// A component that answers requests.
pub struct Service {
    pre: ProxyPre<Guest>,
    env: Vec<(String, String)>,
    memory: Arc<MemoryBudget>,
    request_time: Duration,
    places: Semaphore,
    stopped: watch::Sender<bool>,
    logs: Arc<Logs>,
}

impl Service {
    /// Makes a service of a compiled payload and tries an instance.
    ///
    /// Errors: [`RuntimeError::Link`].
    pub async fn new(
        compiled: Compiled,
        env: Vec<(String, String)>,
        limits: &Limits,
        logs: Arc<Logs>,
    ) -> Result<Self, RuntimeError> {
        let link = |error: wasmtime::Error| RuntimeError::Link(describe(&error));
        let pre = compiled.linker.instantiate_pre(&compiled.component);
        let service = Self {
            pre: pre.and_then(ProxyPre::new).map_err(link)?,
            env,
            memory: Arc::clone(&limits.memory),
            request_time: limits.request_time,
            places: Semaphore::new(MAX_CONCURRENT_REQUESTS as usize),
            stopped: watch::Sender::new(false),
            logs,
        };
        let mut store = service.store();
        timeout(
            limits.request_time,
            service.pre.instantiate_async(&mut store),
        )
        .await
        .map_err(|_| RuntimeError::Link("it does not start in time".to_owned()))?
        .map_err(link)?;
        Ok(service)
    }

    /// Ends every request and waits until their instances are gone.
    ///
    /// Guests give way at every tick, so it takes a few of them; a guest that
    /// is in the middle of a call to the host delays it no longer than that call.
    pub async fn stop(&self) {
        self.stopped.send_replace(true);
        let _ = timeout(STOP_TIME, self.places.acquire_many(MAX_CONCURRENT_REQUESTS)).await;
    }

    fn store(&self) -> wasmtime::Store<Guest> {
        let settings = GuestSettings {
            args: &[],
            env: &self.env,
            filesystem: Filesystem::none(),
            logs: &self.logs,
            memory: &self.memory,
        };
        Guest::store(self.pre.engine(), settings)
    }

    /// Serves one connection until either side ends it.
    pub async fn serve(self: &Arc<Self>, stream: ClientStream, acceptor: &TlsAcceptor) {
        // What a client does wrong is its own affair: nothing is logged, since
        // a stranger could fill the log.
        let Ok(Ok(stream)) = timeout(CLIENT_PATIENCE, acceptor.accept(stream)).await else {
            return;
        };
        let _ = self.serve_http(stream).await;
    }

    async fn serve_http(
        self: &Arc<Self>,
        stream: TlsStream<ClientStream>,
    ) -> Result<(), hyper::Error> {
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let handler = service_fn(move |request| {
            let service = Arc::clone(self);
            async move { Ok::<_, Infallible>(service.answer(request).await) }
        });
        let stream = TokioIo::new(stream);
        if http2 {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(MAX_HTTP2_STREAMS)
                .serve_connection(stream, handler)
                .await
        } else {
            hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(CLIENT_PATIENCE)
                .pipeline_flush(true)
                .serve_connection(stream, handler)
                .await
        }
    }

    /// Answers one request, if only with an error's status.
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> HttpResponse {
        match self.run(request).await {
            Ok(response) => response,
            Err(status) => {
                let text = status.canonical_reason().unwrap_or_default();
                let body = Full::new(Bytes::from_static(text.as_bytes()));
                let body = body.map_err(|never| match never {}).boxed_unsync();
                let mut response = Response::new(body);
                *response.status_mut() = status;
                response
            }
        }
    }

    async fn run(self: Arc<Self>, request: Request<Incoming>) -> Result<HttpResponse, StatusCode> {
        let overloaded = StatusCode::SERVICE_UNAVAILABLE;
        let deadline = tokio::time::Instant::now() + self.request_time;
        let mut store = self.store();
        let (sender, answer) = oneshot::channel();
        let (request, answer_to) = {
            let mut http = store.data_mut().http();
            let request = http.new_incoming_request(Scheme::Https, request);
            let request = request.map_err(|_| StatusCode::BAD_REQUEST)?;
            let answer_to = http.new_response_outparam(sender);
            (request, answer_to.map_err(|_| overloaded)?)
        };
        // The guest goes on after the head of its response: it may be writing
        // the body. Its place is free when it has ended.
        let guest = tokio::spawn(async move {
            let place = timeout(QUEUE_TIME, self.places.acquire()).await;
            let Ok(Ok(_place)) = place else {
                return Err(overloaded);
            };
            let call = async {
                let proxy = self.pre.instantiate_async(&mut store).await?;
                let handler = proxy.wasi_http_incoming_handler();
                handler.call_handle(&mut store, request, answer_to).await
            };
            let mut stopped = self.stopped.subscribe();
            let result = tokio::select! {
                result = timeout_at(deadline, call) => result,
                _ = stopped.wait_for(|stopped| *stopped) => return Err(overloaded),
            };
            let reason = match result {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => format!("request failed: {}", describe(&error)),
                Err(_) => format!(
                    "request stopped after {} s",
                    self.request_time.as_secs_f32()
                ),
            };
            self.logs
                .line(handshake::LogSource::Enclave, reason.as_bytes());
            Err(StatusCode::INTERNAL_SERVER_ERROR)
        });
        match answer.await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_)) => Err(StatusCode::INTERNAL_SERVER_ERROR),
            // The guest ended without an answer.
            Err(_) => match guest.await {
                Ok(Err(status)) => Err(status),
                _ => Err(StatusCode::INTERNAL_SERVER_ERROR),
            },
        }
    }
}

/// TLS with the enclave's certificate: TLS 1.2 and 1.3, HTTP/2 or HTTP/1.1.
///
/// Errors: those of the library, if the process has no usable cipher suites.
pub fn tls_acceptor(certificate: Arc<dyn ResolvesServerCert>) -> io::Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Session tickets would be one more secret that outlives a connection and
    // buy little: a handshake is one signature.
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
