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
    io::{AsyncRead, AsyncWrite},
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
        Compiled, CpuBudget, Guest, GuestSettings, Limits, MAX_CONCURRENT_REQUESTS, MemoryBudget,
        RuntimeError, describe,
    },
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
    cpu: Arc<CpuBudget>,
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
            cpu: Arc::clone(&limits.cpu),
            request_time: limits.request_time,
            places: Semaphore::new(MAX_CONCURRENT_REQUESTS as usize),
            stopped: watch::Sender::new(false),
            logs,
        };
        limits.cpu.restart();
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
            cpu: &self.cpu,
        };
        Guest::store(self.pre.engine(), settings)
    }

    /// Serves one connection until either side ends it.
    pub async fn serve<S>(self: &Arc<Self>, stream: S, acceptor: &TlsAcceptor)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // What a client does wrong is its own affair: nothing is logged, since
        // a stranger could fill the log.
        let Ok(Ok(stream)) = timeout(CLIENT_PATIENCE, acceptor.accept(stream)).await else {
            return;
        };
        let _ = self.serve_http(stream).await;
    }

    async fn serve_http<S>(self: &Arc<Self>, stream: TlsStream<S>) -> Result<(), hyper::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
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
                // A request that begins while others have overdrawn would only
                // make them all late.
                self.cpu.paid().await;
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

#[cfg(test)]
mod tests {
    use handshake::DerivedKeys;
    use hyper_util::rt::TokioExecutor;
    use tokio_rustls::TlsConnector;
    use wire::{ContractId, PayloadKind};

    use super::*;
    use crate::{
        identity,
        outbox::Outbox,
        runtime::{MemoryBudget, compile},
        vault::Vault,
    };

    const NAME: &str = "hello.internal";

    /// The service of the examples, and what a client of it trusts.
    async fn service(request_time: Duration) -> (Arc<Service>, TlsAcceptor, rustls::RootCertStore) {
        let vault = Arc::new(Vault::new(crate::vault::Secrets::empty()).unwrap());
        let (_, tls_key) = identity::make_keys(&vault, Some(&NAME.parse().unwrap())).unwrap();
        let tls_key = tls_key.unwrap();
        let certificate = rcgen::CertificateParams::new(vec![NAME.to_owned()])
            .unwrap()
            .self_signed(&tls_key)
            .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let resolver = tls_key.certify(vec![certificate.der().to_vec()]).unwrap();
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../examples/prebuilt/hello.wasm"
        );
        let component = std::fs::read(path).expect("the examples' components are kept");
        let compiled = compile(PayloadKind::Service, &component).unwrap();
        let limits = Limits {
            memory: MemoryBudget::new(64 << 20),
            cpu: CpuBudget::new(1000),
            output_bytes: 0,
            request_time,
        };
        vault.write(|secrets| secrets.derived = DerivedKeys::empty());
        let logs = Logs::new(ContractId([1; 32]), vault, Arc::new(Outbox::new()));
        let service = Service::new(compiled, Vec::new(), &limits, logs).await;
        let service = Arc::new(service.unwrap());
        (service, tls_acceptor(resolver).unwrap(), roots)
    }

    /// A client's end of a connection to `service` that speaks `protocol`.
    async fn connect(
        (service, acceptor, roots): &(Arc<Service>, TlsAcceptor, rustls::RootCertStore),
        protocol: &[u8],
    ) -> tokio_rustls::client::TlsStream<tokio::io::DuplexStream> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (service, acceptor) = (Arc::clone(service), acceptor.clone());
        tokio::spawn(async move { service.serve(far, &acceptor).await });
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsConnector::from(Arc::new(config))
            .connect(NAME.try_into().unwrap(), near)
            .await
            .unwrap()
    }

    fn request(path: &str) -> Request<http_body_util::Empty<Bytes>> {
        Request::get(format!("https://{NAME}{path}"))
            .header("host", NAME)
            .body(http_body_util::Empty::new())
            .unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_request_that_computes_without_end_is_stopped_and_others_go_on() {
        let service = service(Duration::from_millis(300)).await;
        let slow = TokioIo::new(connect(&service, b"http/1.1").await);
        let (mut slow, connection) = hyper::client::conn::http1::handshake(slow).await.unwrap();
        tokio::spawn(connection);
        let spinning = tokio::spawn(async move { slow.send_request(request("/spin")).await });
        let quick = TokioIo::new(connect(&service, b"http/1.1").await);
        let (mut quick, connection) = hyper::client::conn::http1::handshake(quick).await.unwrap();
        tokio::spawn(connection);
        let response = quick.send_request(request("/meanwhile")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let response = spinning.await.unwrap().unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn http2_is_spoken_where_the_client_offers_it() {
        let service = service(Duration::from_secs(30)).await;
        let stream = TokioIo::new(connect(&service, b"h2").await);
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
                .await
                .unwrap();
        tokio::spawn(connection);
        let requests = (0..20).map(|number| client.send_request(request(&format!("/{number}"))));
        for (number, response) in requests.collect::<Vec<_>>().into_iter().enumerate() {
            let response = response.await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let text = String::from_utf8(body.to_vec()).unwrap();
            assert!(text.contains(&format!("/{number}")), "{text}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_stop_leaves_no_instance_behind() {
        let service = service(Duration::from_secs(30)).await;
        let stream = TokioIo::new(connect(&service, b"http/1.1").await);
        let (mut client, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let spinning = tokio::spawn(async move { client.send_request(request("/spin")).await });
        while service.0.places.available_permits() == MAX_CONCURRENT_REQUESTS as usize {
            tokio::task::yield_now().await;
        }
        service.0.stop().await;
        let free = service.0.places.available_permits();
        assert_eq!(free, MAX_CONCURRENT_REQUESTS as usize);
        assert!(spinning.await.is_ok());
    }
}
