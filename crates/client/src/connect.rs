//! Speaking to a server that the ledger names, with no certificate authority
//! (seed 002, figures 3b and 3c).
//!
//! The server is known by what the circle proves of its name: its public key
//! (3b), or its key and the hash of its certificate (3c). The exchange is TLS
//! 1.3 (RFC 8446), with the server's key as a raw public key (RFC 7250) or in
//! its certificate, so that stock programs are its peers. How that does what
//! the seed's figures ask for, and where it departs from them, is in
//! docs/spec/connect.md. What is said then is the caller's.

use std::{net::IpAddr, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{
    ClientConfig,
    client::{AlwaysResolvesClientRawPublicKeys, Resumption},
    crypto::aws_lc_rs,
    pki_types::ServerName,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use wire::{
    Digest, DomainName, Height, PublicKey, RelativeName,
    record::{Name, NameStatus},
    state_key,
};

use crate::{
    Client, ClientError,
    names::ProvenName,
    peer_verifier::{Expected, PeerVerifier},
    server_key::ServerIdentity,
};

/// How long a server has for a connection and the handshake.
const TIMEOUT: Duration = Duration::from_secs(10);

const A: u16 = 1;
const AAAA: u16 = 28;

/// How the server shows that it is the one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// By its key alone (figure 3b): a raw public key.
    Key,
    /// By the certificate whose hash the ledger holds (figure 3c).
    Certificate,
}

/// A server as the circle proves it: only a proof makes one.
#[derive(Clone, Debug)]
pub struct ProvenServer {
    name: DomainName,
    key: PublicKey,
    certificate: Option<Digest>,
    addresses: Vec<IpAddr>,
    height: Height,
    time_ms: u64,
}

/// Why there is no server to speak to, or why it is not the one.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name is beneath no apex, or free.
    #[error("{0} is no name of the circle")]
    NoName(DomainName),
    /// Its rent is not paid.
    #[error("{0} is suspended")]
    Suspended(DomainName),
    /// Its owner put no key of a server there.
    #[error("the ledger holds no key of a server at {0}")]
    NoKey(DomainName),
    /// Its owner put no hash of a certificate there.
    #[error("the ledger holds no certificate of the server at {0}")]
    NoCertificate(DomainName),
    /// The circle could not be asked.
    #[error("the ledger could not be read")]
    Ledger(#[from] ClientError),
    /// The server was not reached.
    #[error("cannot connect to {address}")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// It did not answer in time.
    #[error("{0} does not answer")]
    Silent(SocketAddr),
    /// The exchange failed; above all if the server is another one.
    #[error("{address} did not show that it is {name}")]
    Handshake {
        /// Where.
        address: SocketAddr,
        /// Who it should be.
        name: DomainName,
        /// What was wrong.
        source: std::io::Error,
    },
    /// TLS could not be set up.
    #[error("TLS cannot be used")]
    Tls(#[source] rustls::Error),
}

impl ProvenServer {
    /// Reads what the circle proves of the server at `name`.
    ///
    /// Errors: [`ConnectError`].
    pub async fn read(client: &Client, name: &DomainName) -> Result<Self, ConnectError> {
        let registered = name
            .registered_under(&client.genesis().await?.apexes)
            .ok_or_else(|| ConnectError::NoName(name.clone()))?;
        let (record, proven) = client.proven::<Name>(state_key::name(&registered)).await?;
        let shown = ProvenName {
            name: registered,
            record,
            proven,
        };
        Self::of(&shown, name)
    }

    /// The server at `name` by a proof of the registered name at or above it,
    /// however old that is.
    ///
    /// Errors: [`ConnectError`].
    pub fn of(shown: &ProvenName, name: &DomainName) -> Result<Self, ConnectError> {
        let missing = || ConnectError::NoName(name.clone());
        let record = shown.record.as_ref().ok_or_else(missing)?;
        let owner = owner_beneath(name, &record.name).ok_or_else(missing)?;
        if !matches!(record.status, NameStatus::Active) {
            return Err(ConnectError::Suspended(record.name.clone()));
        }
        let server = record.keys.iter().find(|server| server.owner == owner);
        let server = server.ok_or_else(|| ConnectError::NoKey(name.clone()))?;
        let addresses = record
            .records
            .iter()
            .filter(|set| set.owner == owner)
            .flat_map(|set| set.data.iter().filter_map(|data| address(set.rtype, data)))
            .collect();
        Ok(Self {
            name: name.clone(),
            key: server.key,
            certificate: server.certificate,
            addresses,
            height: shown.proven.height(),
            time_ms: shown.proven.time_ms(),
        })
    }

    /// The server's name.
    pub fn name(&self) -> &DomainName {
        &self.name
    }

    /// The server's public key.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// SHA-256 of its certificate, if it has one.
    pub fn certificate(&self) -> Option<Digest> {
        self.certificate
    }

    /// Its addresses: A and AAAA at its name.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The height at which all of this was proven.
    pub fn height(&self) -> Height {
        self.height
    }

    /// That height's time, Unix milliseconds.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Connects to the server at `address` and has it show that it is the one.
    ///
    /// Errors: [`ConnectError`]; nothing was said to the server then.
    pub async fn connect(
        &self,
        address: SocketAddr,
        form: Form,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        self.connect_with(address, self.client_config(form)?).await
    }

    /// As [`ProvenServer::connect`], with a configuration that this server made.
    ///
    /// Errors: [`ConnectError`].
    pub async fn connect_with(
        &self,
        address: SocketAddr,
        config: ClientConfig,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let unreachable = |source| ConnectError::Unreachable { address, source };
        let handshake = async {
            let stream = TcpStream::connect(address).await.map_err(unreachable)?;
            stream.set_nodelay(true).map_err(unreachable)?;
            let name = ServerName::try_from(self.name.to_string())
                .map_err(|_| ConnectError::NoName(self.name.clone()))?;
            TlsConnector::from(Arc::new(config))
                .connect(name, stream)
                .await
                .map_err(|source| ConnectError::Handshake {
                    address,
                    name: self.name.clone(),
                    source,
                })
        };
        tokio::time::timeout(TIMEOUT, handshake)
            .await
            .map_err(|_| ConnectError::Silent(address))?
    }

    /// TLS that speaks to this server alone.
    ///
    /// Errors: [`ConnectError::NoCertificate`], [`ConnectError::Tls`].
    pub fn client_config(&self, form: Form) -> Result<ClientConfig, ConnectError> {
        let expected = match (form, self.certificate) {
            (Form::Key, _) => Expected::Keys(vec![self.key]),
            (Form::Certificate, Some(digest)) => Expected::Certificate(digest),
            (Form::Certificate, None) => {
                return Err(ConnectError::NoCertificate(self.name.clone()));
            }
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(PeerVerifier::new(expected, &provider));
        let mut config = ClientConfig::builder_with_provider(provider)
            // Every suite of 1.3 has forward secrecy and hides who the server is.
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(ConnectError::Tls)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        // A resumed session would not show the key again, which may have gone
        // from the ledger since.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// As [`ProvenServer::client_config`], where the client shows a key of its
    /// own too, should the server ask.
    ///
    /// Errors: the same.
    pub fn client_config_with_key(
        &self,
        form: Form,
        own: &ServerIdentity,
    ) -> Result<ClientConfig, ConnectError> {
        let mut config = self.client_config(form)?;
        config.client_auth_cert_resolver =
            Arc::new(AlwaysResolvesClientRawPublicKeys::new(own.certified()));
        Ok(config)
    }
}

/// `name` relative to `registered`; none if it is not at or beneath it.
fn owner_beneath(name: &DomainName, registered: &DomainName) -> Option<Option<RelativeName>> {
    if name == registered {
        return Some(None);
    }
    Some(Some(name.prefix_under(registered)?.parse().ok()?))
}

fn address(rtype: u16, data: &[u8]) -> Option<IpAddr> {
    match rtype {
        A => Some(IpAddr::from(<[u8; 4]>::try_from(data).ok()?)),
        AAAA => Some(IpAddr::from(<[u8; 16]>::try_from(data).ok()?)),
        _ => None,
    }
}
