//! A hello-world component through provider and enclave, over TLS, beside
//! `wasmtime serve` over plain HTTP, from the same closed loops.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{circle::Circle, statistics::print_ratio};

/// Connections that are kept alive, each a closed loop.
const CONNECTIONS: [usize; 3] = [1, 8, 32];

/// The name of the benchmark's service.
const NAME: &str = "hello.internal";

/// `wasmtime serve`; ended when dropped.
struct Peer {
    child: Child,
    address: SocketAddr,
}

impl Peer {
    async fn start(program: &Path, component: &Path) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new(program)
            .args(["serve", "-Scli", "--addr", &address.to_string()])
            .arg(component)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("wasmtime does not start: script/setup --bench installs it")?;
        let peer = Self { child, address };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(address).await.is_err() {
            if Instant::now() > deadline {
                bail!("wasmtime serve does not answer");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(peer)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // A peer that has already ended needs no signal.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

type Sender = SendRequest<Empty<Bytes>>;

async fn handshake<S>(stream: S) -> Result<Sender>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn plain(address: SocketAddr) -> Result<Sender> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    handshake(stream).await
}

async fn over_tls(address: SocketAddr, connector: &TlsConnector) -> Result<Sender> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    handshake(
        connector
            .connect(ServerName::try_from(NAME)?, stream)
            .await?,
    )
    .await
}

fn connector(roots: &Path) -> Result<TlsConnector> {
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(roots)? {
        store.add(root?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Requests a second over all of `senders`.
async fn load(senders: Vec<Sender>, length: Duration) -> Result<f64> {
    let start = Instant::now();
    let tasks: Vec<_> = senders
        .into_iter()
        .map(|mut sender| {
            tokio::spawn(async move {
                let mut answered = 0u64;
                while start.elapsed() < length {
                    let request = Request::get("/")
                        .header("host", NAME)
                        .body(Empty::<Bytes>::new())?;
                    let response = sender.send_request(request).await?;
                    if !response.status().is_success() {
                        bail!("the service answered {}", response.status());
                    }
                    response.into_body().collect().await?;
                    answered += 1;
                }
                anyhow::Ok(answered)
            })
        })
        .collect();
    let mut answered = 0;
    for task in tasks {
        answered += task.await??;
    }
    Ok(answered as f64 / start.elapsed().as_secs_f64())
}

/// Where the service is reached, as the circle says.
fn address(circle: &Circle) -> Result<SocketAddr> {
    let listed = circle.json(&["ps", "--name", NAME])?;
    let curl = listed[0]["curl"]
        .as_str()
        .context("ps gives no curl line")?;
    let resolve = curl
        .split_whitespace()
        .skip_while(|word| *word != "--resolve")
        .nth(1)
        .context("the curl line resolves nothing")?;
    let (rest, address) = resolve
        .rsplit_once(':')
        .context("--resolve NAME:PORT:ADDRESS")?;
    let (_, port) = rest
        .rsplit_once(':')
        .context("--resolve NAME:PORT:ADDRESS")?;
    Ok(SocketAddr::new(address.parse()?, port.parse()?))
}

/// Prints the ratio for each number of connections.
pub async fn run(
    binary: &Path,
    wasmtime: &Path,
    component: &Path,
    rounds: usize,
    length: Duration,
) -> Result<()> {
    let circle = Circle::up(binary)?;
    let component_text = component
        .to_str()
        .context("the component's path is UTF-8")?;
    // As much as `wasmtime serve` may take.
    circle.run(&["run", component_text, "--name", NAME, "--cpu", "2"])?;
    let own = address(&circle)?;
    let connector = connector(&circle.roots())?;
    let peer = Peer::start(wasmtime, component).await?;
    for connections in CONNECTIONS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let mut senders = Vec::new();
            for _ in 0..connections {
                senders.push(over_tls(own, &connector).await?);
            }
            ours.push(load(senders, length).await?);
            let mut senders = Vec::new();
            for _ in 0..connections {
                senders.push(plain(peer.address).await?);
            }
            theirs.push(load(senders, length).await?);
        }
        let what = format!("hello world, {connections} connections (TLS beside plain)");
        print_ratio(&what, "1/s", 0.9, &ours, "wasmtime serve", &theirs);
    }
    Ok(())
}
