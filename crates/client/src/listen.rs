//! The server's side of a connection by the ledger's word alone: shows the key
//! or the certificate that the ledger holds, and passes what is said on to a
//! service of this machine that knows nothing of it.
//!
//! What the client is told, and what it checks, is docs/spec/connect.md's; the
//! service behind is trusted with everything that is said.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::CertificateDer,
    server::{AlwaysResolvesServerRawPublicKeys, ResolvesServerCert, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
pub use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};
use wire::PublicKey;

use crate::{
    peer_verifier::{Expected, PeerVerifier, key_of},
    server_key::ServerIdentity,
};

/// How long a client has for the handshake, and the service to be reached.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Connections at once: each holds two sockets, and a process commonly has
/// 1,024 or more.
const MAX_CONNECTIONS: usize = 480;

/// The pause after the operating system gave no connection, such as for want
/// of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whom a server speaks to.
#[derive(Clone, Debug)]
pub enum Clients {
    /// Whoever comes.
    Anyone,
    /// Those that show one of these as a raw public key.
    Holders(Vec<PublicKey>),
}

/// TLS that shows `identity` as a raw public key (figure 3b), or, with a
/// `chain`, as the certificate whose hash the ledger holds (figure 3c).
///
/// Errors: TLS cannot be set up; the chain is empty or not the key's.
pub fn acceptor(
    identity: &ServerIdentity,
    chain: Option<Vec<CertificateDer<'static>>>,
    clients: &Clients,
) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let shown: Arc<dyn ResolvesServerCert> = match chain {
        None => Arc::new(AlwaysResolvesServerRawPublicKeys::new(identity.certified())),
        Some(chain) => {
            let certified = identity.with_chain(chain);
            certified.keys_match()?;
            Arc::new(SingleCertAndKey::from(CertifiedKey::clone(&certified)))
        }
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        // Every suite of 1.3 has forward secrecy and hides who the server is.
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match clients {
        Clients::Anyone => builder.with_no_client_auth(),
        Clients::Holders(keys) => {
            let expected = Expected::Keys(keys.clone());
            let verifier: Arc<dyn ClientCertVerifier> =
                Arc::new(PeerVerifier::new(expected, &provider));
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(shown);
    // Tickets would be of no use: clients want the ledger's key each time.
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The key that the client of a connection showed, if it was asked for one.
pub fn client_key<T>(stream: &TlsStream<T>) -> Option<PublicKey> {
    key_of(stream.get_ref().1.peer_certificates()?.first()?)
}

/// Passes every connection on to `service`, until the future is dropped.
pub async fn forward(listener: TcpListener, acceptor: TlsAcceptor, service: SocketAddr) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "no connection could be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(stream, &acceptor, service).await {
                debug!(%client, %error, "a connection ended");
            }
            drop(place);
        });
    }
}

async fn serve(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    service: SocketAddr,
) -> std::io::Result<()> {
    let mut client = shake_hands(stream, acceptor).await?;
    let mut service = timeout(TIMEOUT, TcpStream::connect(service)).await??;
    service.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut service).await?;
    Ok(())
}

/// Waits for the client to finish the handshake.
///
/// Errors: it does not, in time; it did not show the key that it was asked for.
pub async fn shake_hands<T: AsyncRead + AsyncWrite + Unpin>(
    stream: T,
    acceptor: &TlsAcceptor,
) -> std::io::Result<TlsStream<T>> {
    timeout(TIMEOUT, acceptor.accept(stream)).await?
}
