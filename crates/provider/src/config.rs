//! `provider.toml`: what a provider offers, where it listens and what it keeps.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use client::{Url, storage::AccessPolicy};
use serde::{Deserialize, Serialize};
use wire::{
    Amount, CipherSuite, CircleId, CircleKey, EvidenceKind, Height, Measurement, OfferTerms,
    PayloadKind, Resources, ServiceEndpoint,
};

/// The whole file. Paths that are relative start at the file's directory
/// ([`ProviderConfig::resolve`]).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// The circle's id.
    pub circle: CircleId,
    /// The circle's key: all that is trusted.
    pub circle_key: CircleKey,
    /// Base URLs of nodes' APIs, in the order in which to ask them.
    #[serde(with = "urls")]
    pub nodes: Vec<Url>,
    /// The provider's key file.
    pub key_file: PathBuf,
    /// A file with its passphrase, for its owner alone.
    pub passphrase_file: PathBuf,
    /// Where ciphertext of payloads, logs and results is kept.
    pub data_dir: PathBuf,
    /// The enclave's program; its SHA-256 is what evidence measures.
    pub enclave_binary: PathBuf,
    /// Where services' TLS connections come in.
    pub service_listen: SocketAddr,
    /// Where the control interface listens.
    pub control_listen: SocketAddr,
    /// How development evidence is made; none where hardware makes evidence.
    pub development: Option<DevelopmentConfig>,
    /// The hardware that makes evidence.
    #[serde(default)]
    pub hardware: Option<HardwareConfig>,
    /// Where payloads may be fetched from.
    #[serde(default)]
    pub payloads: PayloadAccess,
    /// What is offered.
    pub offer: OfferConfig,
    /// Bounds.
    #[serde(default)]
    pub limits: Limits,
}

/// URLs as texts.
mod urls {
    use client::Url;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(urls: &[Url], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(urls.iter().map(Url::as_str))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Url>, D::Error> {
        Vec::<String>::deserialize(deserializer)?
            .iter()
            .map(|text| Url::parse(text).map_err(D::Error::custom))
            .collect()
    }
}

/// The hardware that makes evidence, and what its vendor says of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum HardwareConfig {
    /// The TDX or SEV-SNP guest that this provider runs in.
    Tee {
        /// A directory that the operator refreshes: `collateral.json` (Intel), or
        /// `vcek.der` and `crl.der` (AMD).
        endorsements: PathBuf,
    },
    /// A TPM 2.0.
    Tpm {
        /// Its device, or a socket.
        path: String,
        /// The attestation key's certificate by an enroller of the circle.
        certificate: PathBuf,
    },
}

/// The quoting key of development evidence.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevelopmentConfig {
    /// The quoting key's 32-byte seed, in hex, for its owner alone.
    pub quoting_key: PathBuf,
    /// Its certificate by a development root, in hex
    /// ([`attest::development::QuotingCertificate::encode`]).
    pub quoting_certificate: PathBuf,
    /// Whether enclaves' own diagnostics go to this process's standard error.
    #[serde(default)]
    pub enclave_diagnostics: bool,
}

/// Where payloads may be fetched from: their locations are strangers' words.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadAccess {
    /// Directories beneath which `file:` locations may lie.
    #[serde(default)]
    pub file_roots: Vec<PathBuf>,
    /// Whether stores on private networks and on this machine may be asked.
    #[serde(default)]
    pub private_addresses: bool,
}

/// What is offered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferConfig {
    /// Hardware in all.
    pub capacity: Resources,
    /// The most that one replica may ask for.
    pub replica_limit: Resources,
    /// Replicas at the same time.
    pub concurrency: u16,
    /// The least that a replica pays for a block.
    pub min_price: Amount,
    /// The shortest contract taken, in blocks.
    #[serde(default = "one")]
    pub min_duration: u64,
    /// The longest contract taken, in blocks.
    pub max_duration: u64,
    /// The region, from large to small (`eu/de/fra1`).
    pub location: String,
    /// Evidence its enclaves can give.
    #[serde(default = "development_evidence")]
    pub evidence: Vec<EvidenceKind>,
    /// Payloads it can run.
    #[serde(default = "all_payloads")]
    pub payload_kinds: Vec<PayloadKind>,
    /// Host technologies.
    #[serde(default = "wasmtime")]
    pub technologies: Vec<String>,
    /// Addresses at which services are reached; the listening address if none.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// The port at which services are reached; the listening port if none.
    pub port: Option<u16>,
    /// The control interface's public URL; that of the listening address if none.
    pub control: Option<String>,
    /// Blocks for which one offer stands before it is renewed.
    #[serde(default = "offer_blocks")]
    pub standing: u64,
}

fn one() -> u64 {
    1
}

fn development_evidence() -> Vec<EvidenceKind> {
    vec![EvidenceKind::Development]
}

fn all_payloads() -> Vec<PayloadKind> {
    vec![PayloadKind::Service, PayloadKind::Job]
}

fn wasmtime() -> Vec<String> {
    vec!["wasmtime".to_owned()]
}

/// A quarter of an hour at full speed; several times that in a quiet circle.
fn offer_blocks() -> u64 {
    20_000
}

/// Bounds of what strangers can make this process hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Clients' connections at the same time.
    pub connections: usize,
    /// Seconds without a byte after which a connection is dropped.
    pub idle_seconds: u64,
    /// Bytes of log ciphertext kept for each contract.
    pub log_bytes: u64,
    /// Hours for which logs and results outlive their contract.
    pub retention_hours: u64,
    /// Seconds for which connections may go on after a request to stop.
    pub drain_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Each holds two file descriptors' worth of kernel memory.
            connections: 8192,
            // Longer than what browsers and proxies keep idle connections for.
            idle_seconds: 600,
            log_bytes: 16 * 1024 * 1024,
            retention_hours: 72,
            drain_seconds: 10,
        }
    }
}

impl ProviderConfig {
    /// Makes relative paths start at `directory`.
    #[must_use]
    pub fn resolve(mut self, directory: &Path) -> Self {
        let mut paths = vec![
            &mut self.key_file,
            &mut self.passphrase_file,
            &mut self.data_dir,
            &mut self.enclave_binary,
        ];
        if let Some(development) = &mut self.development {
            paths.push(&mut development.quoting_key);
            paths.push(&mut development.quoting_certificate);
        }
        match &mut self.hardware {
            Some(HardwareConfig::Tee { endorsements }) => paths.push(endorsements),
            Some(HardwareConfig::Tpm { certificate, .. }) => paths.push(certificate),
            None => (),
        }
        paths.extend(&mut self.payloads.file_roots);
        for path in paths {
            *path = directory.join(&*path);
        }
        self
    }

    pub(crate) fn access(&self) -> AccessPolicy {
        AccessPolicy {
            file_roots: Some(self.payloads.file_roots.clone()),
            private_addresses: self.payloads.private_addresses,
        }
    }

    /// The control interface's public URL.
    pub fn control_url(&self) -> String {
        let listen = || format!("http://{}", self.control_listen);
        let url = self.offer.control.clone().unwrap_or_else(listen);
        url.trim_end_matches('/').to_owned()
    }

    /// The offer's terms for the enclave code `measurement`.
    pub(crate) fn terms(&self, measurement: Measurement, expires_at: Height) -> OfferTerms {
        let offer = &self.offer;
        let addresses = if offer.addresses.is_empty() {
            vec![self.service_listen.ip()]
        } else {
            offer.addresses.clone()
        };
        OfferTerms {
            capacity: offer.capacity,
            replica_limit: offer.replica_limit,
            concurrency: offer.concurrency,
            min_price: offer.min_price,
            min_duration: offer.min_duration,
            max_duration: offer.max_duration,
            location: offer.location.clone(),
            encryption: vec![CipherSuite::Aes256GcmStream],
            evidence: offer.evidence.clone(),
            payload_kinds: offer.payload_kinds.clone(),
            technologies: offer.technologies.clone(),
            measurement,
            endpoint: ServiceEndpoint {
                addresses,
                port: offer.port.unwrap_or(self.service_listen.port()),
                control: self.control_url(),
            },
            expires_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"
        circle = "1111111111111111111111111111111111111111111111111111111111111111"
        circle_key = "KEY"
        nodes = ["http://127.0.0.1:26800"]
        key_file = "provider.key"
        passphrase_file = "/abs/passphrase"
        data_dir = "data"
        enclave_binary = "/usr/bin/ringfort-enclave"
        service_listen = "127.0.1.1:8443"
        control_listen = "127.0.1.1:26901"
        [development]
        quoting_key = "quoting.seed"
        quoting_certificate = "quoting.cert"
        [offer]
        capacity = { cpu_milli = 4000, memory_mib = 4096, storage_mib = 10000 }
        replica_limit = { cpu_milli = 1000, memory_mib = 1024, storage_mib = 1000 }
        concurrency = 8
        min_price = 5
        max_duration = 1000000
        location = "eu/de"
    "#;

    #[test]
    fn an_ordinary_file_parses_and_fills_the_endpoint_from_the_listeners() {
        let text = EXAMPLE.replace("KEY", &"00".repeat(96));
        let config: ProviderConfig = toml::from_str(&text).unwrap();
        let config = config.resolve(Path::new("/etc/ringfort"));
        assert_eq!(config.key_file, Path::new("/etc/ringfort/provider.key"));
        assert_eq!(config.passphrase_file, Path::new("/abs/passphrase"));
        let terms = config.terms(Measurement([7; 32]), Height(9));
        assert_eq!(terms.endpoint.port, 8443);
        assert_eq!(terms.endpoint.control, "http://127.0.1.1:26901");
        assert_eq!(terms.endpoint.addresses, [config.service_listen.ip()]);
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        let text = EXAMPLE
            .replace("KEY", &"00".repeat(96))
            .replace("concurrency", "concurency");
        let error = toml::from_str::<ProviderConfig>(&text).unwrap_err();
        assert!(error.to_string().contains("concurency"), "{error}");
    }
}
