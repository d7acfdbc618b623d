//! Fetching a challenge's answer: http-01 (RFC 8555 §8.3) and tls-alpn-01
//! (RFC 8737), only ever from addresses that the ledger proves for the name.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use client::peer_verifier::{Expected, PeerVerifier};
use rustls::{ClientConfig, pki_types::ServerName};
use wire::DomainName;
use x509_parser::{
    certificate::X509Certificate,
    der_parser::{ber::BerObjectContent, oid},
    extensions::GeneralName,
    prelude::FromDer as _,
};

/// How long one address has to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answer that is read: a key authorization has 87 octets.
const MAX_ANSWER_BYTES: usize = 1024;

/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 4;

/// Where challenges are answered; other ports than the standard's are for
/// circles that stand on one machine.
#[derive(Clone, Copy, Debug)]
pub struct ChallengePorts {
    /// http-01; 80 by the standard.
    pub http: u16,
    /// tls-alpn-01; 443 by the standard.
    pub tls: u16,
    /// Whether loopback and link-local addresses are connected to: only where
    /// all of a circle stands on this machine.
    pub loopback: bool,
}

impl ChallengePorts {
    /// Those of a name's addresses that are connected to.
    pub(super) fn admit(self, mut all: Vec<IpAddr>) -> Vec<IpAddr> {
        all.retain(|address| self.loopback || is_remote(*address));
        all.sort_unstable();
        all.dedup();
        all.truncate(MAX_ADDRESSES);
        all
    }
}

/// Whether an address is another machine's: nobody's name may make this
/// machine speak to itself.
fn is_remote(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            !(address.is_loopback()
                || address.is_unspecified()
                || address.is_link_local()
                || address.is_multicast()
                || address.is_broadcast())
        }
        IpAddr::V6(address) => {
            !(address.is_loopback()
                || address.is_unspecified()
                || address.is_multicast()
                || address.is_unicast_link_local())
        }
    }
}

/// Whether `address` answers http-01 with `authorization`.
pub(super) async fn http(
    name: &DomainName,
    address: SocketAddr,
    token: &str,
    authorization: &str,
) -> bool {
    let fetched = tokio::time::timeout(TIMEOUT, fetch(name, address, token)).await;
    let Ok(Some(answer)) = fetched else {
        return false;
    };
    // RFC 8555 §8.3: whitespace at the end is passed over.
    String::from_utf8(answer).is_ok_and(|text| text.trim_ascii_end() == authorization)
}

/// The answer's body, if it is short; redirections are not followed, as they
/// would lead away from the proven addresses.
async fn fetch(name: &DomainName, address: SocketAddr, token: &str) -> Option<Vec<u8>> {
    let client = reqwest::Client::builder()
        .resolve(name.as_str(), address)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(TIMEOUT)
        .build()
        .ok()?;
    let port = address.port();
    let url = format!("http://{name}:{port}/.well-known/acme-challenge/{token}");
    let mut response = client.get(url).send().await.ok()?;
    if response.status() != reqwest::StatusCode::OK {
        return None;
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER_BYTES {
            return None;
        }
    }
    Some(body)
}

/// Whether `address` shows a certificate for `name` with `digest`, SHA-256 of
/// the key authorization (RFC 8737 §3).
pub(super) async fn tls_alpn(name: &DomainName, address: SocketAddr, digest: &[u8; 32]) -> bool {
    let shown = tokio::time::timeout(TIMEOUT, certificate(name, address)).await;
    matches!(shown, Ok(Some(der)) if answers(&der, name, digest))
}

/// Whether a certificate answers a challenge: it is for the name alone, and
/// holds the digest in a critical extension.
pub fn answers(der: &[u8], name: &DomainName, digest: &[u8; 32]) -> bool {
    let Ok((_, leaf)) = X509Certificate::from_der(der) else {
        return false;
    };
    let Ok(Some(names)) = leaf.subject_alternative_name() else {
        return false;
    };
    let only = matches!(
        names.value.general_names.as_slice(),
        [GeneralName::DNSName(only)] if only.eq_ignore_ascii_case(name.as_str())
    );
    // id-pe-acmeIdentifier
    let identifier = oid!(1.3.6.1.5.5.7.1.31);
    let Ok(Some(extension)) = leaf.get_extension_unique(&identifier) else {
        return false;
    };
    let Ok((rest, value)) = x509_parser::der_parser::parse_der(extension.value) else {
        return false;
    };
    let holds = matches!(value.content, BerObjectContent::OctetString(bytes) if bytes == digest);
    only && extension.critical && rest.is_empty() && holds
}

async fn certificate(name: &DomainName, address: SocketAddr) -> Option<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    // A challenge's certificate is self-signed, and what counts is what it
    // holds; its key still has to sign the handshake. RFC 8737 §3 asks for TLS
    // 1.2 or higher; every client that has this challenge serves 1.3.
    let verifier = Arc::new(PeerVerifier::new(Expected::AnyCertificate, &provider));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let server = ServerName::try_from(name.to_string()).ok()?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(server, stream).await.ok()?;
    let connection = stream.get_ref().1;
    if connection.alpn_protocol() != Some(b"acme-tls/1") {
        return None;
    }
    let leaf = connection.peer_certificates()?.first()?;
    Some(leaf.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_make_the_authority_speak_to_itself() {
        for own in [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "169.254.169.254",
            "fe80::1",
            "224.0.0.1",
        ] {
            assert!(!is_remote(own.parse().unwrap()), "{own}");
        }
        for other in ["192.0.2.1", "10.0.0.1", "2001:db8::1"] {
            assert!(is_remote(other.parse().unwrap()), "{other}");
        }
    }
}
