//! Which connections are kept, and for how long?
//!
//! Each connection is bounded in the time that it may take to send a request's
//! head, idle connections included, so that one who opens many and says little
//! holds them for seconds only. Their number is bounded too: beyond it, new
//! ones wait in the system's queue. What a request may do is for the routes.

use std::{io, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// Connections at a time. Each costs a file descriptor and, while it idles,
/// some ten kilobytes.
pub(super) const MAX_CONNECTIONS: usize = 16 * 1024;

/// How long a request's head may take, from the connection's opening or from
/// the last answer on: longer than the pauses of clients that keep their
/// connections, a fraction of what a slow attack needs.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// What a request's head may fill: ours have a line and some header fields.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Header fields of a request.
const MAX_HEADER_FIELDS: usize = 64;

/// How long to wait where the system lends no descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bounds of a server's connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub connections: usize,
    pub head_timeout: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: MAX_CONNECTIONS,
            head_timeout: HEAD_TIMEOUT,
        }
    }
}

/// Serves `router` until `end`; then answers what was asked, and returns.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    end: impl Future<Output = ()>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(bounds.head_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADER_FIELDS);
    let service = TowerToHyperService::new(router);
    let places = Arc::new(Semaphore::new(bounds.connections));
    let open = GracefulShutdown::new();
    let mut end = pin!(end);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut end => break,
        };
        let (stream, address, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // A client that went away, or no descriptor left: neither is
                // a reason to end.
                tracing::debug!(%error, "a connection was not taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let service = Attributed {
            inner: service.clone(),
            address,
        };
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let watched = open.watch(connection);
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = watched.await {
                tracing::trace!(%error, "a connection ended");
            }
        });
    }
    drop(listener);
    open.shutdown().await;
}

type Place = tokio::sync::OwnedSemaphorePermit;

/// Where a request comes from; an extension of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientAddress(pub IpAddr);

/// A service whose requests say where they come from.
struct Attributed<S> {
    inner: S,
    address: IpAddr,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Attributed<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<Incoming>) -> S::Future {
        let address = ClientAddress(self.address);
        request.extensions_mut().insert(address);
        self.inner.call(request)
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, IpAddr, Place)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, from) = listener.accept().await?;
    // Answers are small: each leaves at once.
    stream.set_nodelay(true)?;
    Ok((stream, from.ip(), place))
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        sync::oneshot,
        task::JoinHandle,
    };

    use super::*;

    struct Server {
        address: std::net::SocketAddr,
        stop: oneshot::Sender<()>,
        task: JoinHandle<()>,
    }

    async fn start(router: Router, bounds: Bounds) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, router, bounds, async {
            let _ = stopped.await;
        }));
        Server {
            address,
            stop,
            task,
        }
    }

    fn hello() -> Router {
        Router::new().route("/", get(async || "hello"))
    }

    async fn ask(stream: &mut TcpStream) -> String {
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Everything the server sends until it closes, which it must.
    async fn until_closed(mut stream: TcpStream) -> Vec<u8> {
        let mut received = Vec::new();
        let read = stream.read_to_end(&mut received);
        tokio::time::timeout(Duration::from_secs(20), read)
            .await
            .expect("the server closes the connection")
            // A reset ends it as well.
            .ok();
        received
    }

    #[tokio::test]
    async fn a_connection_that_never_completes_its_request_is_closed() {
        let bounds = Bounds {
            head_timeout: Duration::from_millis(100),
            ..Bounds::default()
        };
        let server = start(hello(), bounds).await;
        let mut slow = TcpStream::connect(server.address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nhost: no").await.unwrap();
        let silent = TcpStream::connect(server.address).await.unwrap();
        assert!(!until_closed(slow).await.starts_with(b"HTTP/1.1 200"));
        assert_eq!(until_closed(silent).await, b"");
    }

    #[tokio::test]
    async fn clients_are_answered_again_when_silent_ones_that_took_every_place_time_out() {
        let bounds = Bounds {
            connections: 4,
            head_timeout: Duration::from_millis(200),
        };
        let server = start(hello(), bounds).await;
        let mut silent = Vec::new();
        for _ in 0..4 {
            silent.push(TcpStream::connect(server.address).await.unwrap());
        }
        let mut client = TcpStream::connect(server.address).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(20), ask(&mut client)).await;
        assert!(answer.unwrap().ends_with("hello"));
    }

    #[tokio::test]
    async fn a_head_with_too_many_fields_is_refused() {
        let server = start(hello(), Bounds::default()).await;
        let mut client = TcpStream::connect(server.address).await.unwrap();
        let fields: String = (0..=MAX_HEADER_FIELDS)
            .map(|number| format!("x-{number}: 1\r\n"))
            .collect();
        let head = format!("GET / HTTP/1.1\r\n{fields}\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let answer = until_closed(client).await;
        assert!(answer.starts_with(b"HTTP/1.1 431"), "{answer:?}");
    }

    #[tokio::test]
    async fn a_request_under_way_is_answered_before_the_server_ends() {
        let (entered, inside) = oneshot::channel();
        let (release, released) = oneshot::channel::<()>();
        let once = Arc::new(std::sync::Mutex::new(Some((entered, released))));
        let router = Router::new().route(
            "/",
            get(move || async move {
                let (entered, released) = once.lock().unwrap().take().expect("asked once");
                entered.send(()).unwrap();
                released.await.unwrap();
                "late"
            }),
        );
        let server = start(router, Bounds::default()).await;
        let mut client = TcpStream::connect(server.address).await.unwrap();
        let asked = tokio::spawn(async move { ask(&mut client).await });
        inside.await.unwrap();
        server.stop.send(()).unwrap();
        release.send(()).unwrap();
        assert!(asked.await.unwrap().ends_with("late"));
        server.task.await.unwrap();
    }
}
