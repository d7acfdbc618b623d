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
    CertificateError, ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::AlwaysResolvesServerRawPublicKeys,
    sign::CertifiedKey,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};
use wire::{
    Digest, DomainName, Height, PublicKey, RelativeName,
    record::{Name, NameStatus},
    state_key,
};
use x509_parser::{
    oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ED25519},
    prelude::FromDer as _,
    x509::SubjectPublicKeyInfo,
};

use crate::{Client, ClientError, names::ProvenName};

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
    /// A private key that is none, or of another kind.
    #[error("the private key is not Ed25519 or ECDSA on P-256 in PKCS #8")]
    PrivateKey,
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
        let apexes = client.genesis().await?.apexes.clone();
        let (registered, _) =
            registered(&apexes, name).ok_or_else(|| ConnectError::NoName(name.clone()))?;
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
        let config = self.client_config(form)?;
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
            (Form::Key, _) => Expected::Key(self.key),
            (Form::Certificate, Some(digest)) => Expected::Certificate(digest),
            (Form::Certificate, None) => {
                return Err(ConnectError::NoCertificate(self.name.clone()));
            }
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(Verifier {
            expected,
            provider: Arc::clone(&provider),
        });
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
    /// Errors: the same, and [`ConnectError::PrivateKey`].
    pub fn client_config_with_key(
        &self,
        form: Form,
        private_key: PrivateKeyDer<'static>,
    ) -> Result<ClientConfig, ConnectError> {
        let mut config = self.client_config(form)?;
        let (certified, _) = raw_key(&private_key)?;
        config.client_auth_cert_resolver =
            Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::new(certified)));
        Ok(config)
    }
}

/// The server's side of figure 3b: shows the key of `private_key` as a raw
/// public key. Gives the key that must stand on the ledger too.
///
/// Errors: [`ConnectError::PrivateKey`], [`ConnectError::Tls`].
pub fn acceptor(
    private_key: &PrivateKeyDer<'static>,
) -> Result<(TlsAcceptor, PublicKey), ConnectError> {
    let (certified, key) = raw_key(private_key)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(ConnectError::Tls)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::new(
            certified,
        ))));
    // Tickets would be of no use: clients show the ledger's key each time.
    config.send_tls13_tickets = 0;
    Ok((TlsAcceptor::from(Arc::new(config)), key))
}

fn raw_key(
    private_key: &PrivateKeyDer<'static>,
) -> Result<(CertifiedKey, PublicKey), ConnectError> {
    let signing =
        aws_lc_rs::sign::any_supported_type(private_key).map_err(|_| ConnectError::PrivateKey)?;
    let spki = signing.public_key().ok_or(ConnectError::PrivateKey)?;
    let key = key_of(&spki).ok_or(ConnectError::PrivateKey)?;
    let shown = CertificateDer::from(spki.to_vec());
    Ok((CertifiedKey::new(vec![shown], signing), key))
}

/// The registered name at or above `name`, and its apex.
fn registered(apexes: &[DomainName], name: &DomainName) -> Option<(DomainName, DomainName)> {
    let (apex, prefix) = apexes
        .iter()
        .filter_map(|apex| Some((apex, name.prefix_under(apex)?)))
        .max_by_key(|(apex, _)| apex.as_str().len())?;
    let label = prefix.rsplit('.').next()?;
    Some((format!("{label}.{apex}").parse().ok()?, apex.clone()))
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

/// The ledger's form of a SubjectPublicKeyInfo; none for other kinds of keys,
/// and for what is not one in DER and nothing more.
pub fn key_of(spki: &[u8]) -> Option<PublicKey> {
    let (rest, info) = SubjectPublicKeyInfo::from_der(spki).ok()?;
    if !rest.is_empty() || info.subject_public_key.unused_bits != 0 {
        return None;
    }
    let octets: &[u8] = &info.subject_public_key.data;
    let algorithm = &info.algorithm;
    if algorithm.algorithm == OID_SIG_ED25519 {
        let absent = algorithm.parameters.is_none();
        return absent.then_some(PublicKey::Ed25519(octets.try_into().ok()?));
    }
    let curve = algorithm.parameters.as_ref()?.as_oid().ok()?;
    if algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == OID_EC_P256 {
        return PublicKey::from_p256_point(octets).ok();
    }
    None
}

/// What the server must show.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Key(PublicKey),
    Certificate(Digest),
}

#[derive(Debug)]
struct Verifier {
    expected: Expected,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    /// Names, dates, issuers and extensions say nothing here: the ledger does.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let is_it = match &self.expected {
            Expected::Key(key) => key_of(end_entity).as_ref() == Some(key),
            Expected::Certificate(digest) => Digest::of(&[end_entity]) == *digest,
        };
        if is_it {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let unreadable = CertificateError::BadEncoding;
        let spki = match self.expected {
            Expected::Key(_) => SubjectPublicKeyInfoDer::from(&**cert),
            Expected::Certificate(_) => {
                let (_, leaf) = x509_parser::certificate::X509Certificate::from_der(cert)
                    .map_err(|_| unreadable)?;
                SubjectPublicKeyInfoDer::from(leaf.public_key().raw.to_vec())
            }
        };
        rustls::crypto::verify_tls13_signature_with_raw_key(message, &spki, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        matches!(self.expected, Expected::Key(_))
    }
}
