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
    /// The enclave's program, launched as a process for each contract; its SHA-256
    /// is what development evidence measures. Either this or `guest`.
    #[serde(default)]
    pub enclave_binary: Option<PathBuf>,
    /// The guest that is launched for each contract.
    #[serde(default)]
    pub guest: Option<GuestConfig>,
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

/// A guest whose only program is the enclave (docs/operations/guests.md).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestConfig {
    /// The kernel, as `script/enclave-guest` wrote it.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
    /// A file with the kernel's command line.
    pub command_line: PathBuf,
    /// QEMU: a path, or a name to be looked for in `PATH`.
    #[serde(default = "qemu")]
    pub qemu: PathBuf,
    /// A guest's memory: the payload's and [`GUEST_OWN_MIB`]. It is the same for
    /// all contracts, since a TEE may measure it.
    pub memory_mib: u32,
    /// A guest's processors.
    #[serde(default = "one_processor")]
    pub processors: u32,
    /// Further arguments for QEMU: machine, processor, TEE.
    #[serde(default = "machine")]
    pub arguments: Vec<String>,
}

/// What a guest keeps for its kernel, its image (which is there twice while it is
/// unpacked) and the enclave's own code and buffers.
pub const GUEST_OWN_MIB: u32 = 512;

fn qemu() -> PathBuf {
    "qemu-system-x86_64".into()
}

fn one_processor() -> u32 {
    1
}

/// A plain machine, by the processor's own virtualization where there is some.
fn machine() -> Vec<String> {
    ["-machine", "q35,accel=kvm:tcg", "-cpu", "max"]
        .map(str::to_owned)
        .to_vec()
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
    /// The TDX or SEV-SNP guest that each enclave is launched as.
    Guest {
        /// As for `Tee`.
        endorsements: PathBuf,
    },
}

/// What is launched for each contract.
#[derive(Clone, Debug)]
pub(crate) enum ProgramConfig {
    /// A process of this program.
    Process(PathBuf),
    /// A guest.
    Guest(GuestConfig),
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
        ];
        paths.extend(&mut self.enclave_binary);
        if let Some(guest) = &mut self.guest {
            paths.extend([
                &mut guest.kernel,
                &mut guest.initramfs,
                &mut guest.command_line,
            ]);
        }
        if let Some(development) = &mut self.development {
            paths.push(&mut development.quoting_key);
            paths.push(&mut development.quoting_certificate);
        }
        match &mut self.hardware {
            Some(HardwareConfig::Tee { endorsements } | HardwareConfig::Guest { endorsements }) => {
                paths.push(endorsements);
            }
            Some(HardwareConfig::Tpm { certificate, .. }) => paths.push(certificate),
            None => (),
        }
        paths.extend(&mut self.payloads.file_roots);
        for path in paths {
            *path = directory.join(&*path);
        }
        self
    }

    /// What is launched for each contract, if the parts of the file agree on it.
    ///
    /// Errors: in words, naming the fields.
    pub(crate) fn program(&self) -> Result<ProgramConfig, String> {
        let guest = match (&self.enclave_binary, &self.guest) {
            (Some(binary), None) => {
                if matches!(self.hardware, Some(HardwareConfig::Guest { .. })) {
                    return Err("hardware.kind = \"guest\" needs a section [guest]".to_owned());
                }
                return Ok(ProgramConfig::Process(binary.clone()));
            }
            (None, Some(guest)) => guest,
            (Some(_), Some(_)) => {
                return Err("enclave_binary and [guest] are both given: one is launched".to_owned());
            }
            (None, None) => return Err("neither enclave_binary nor [guest] is given".to_owned()),
        };
        if matches!(
            self.hardware,
            Some(HardwareConfig::Tee { .. } | HardwareConfig::Tpm { .. })
        ) {
            return Err(
                "this machine's TEE or TPM says nothing of a guest: hardware.kind is \"guest\" \
                 with [guest]"
                    .to_owned(),
            );
        }
        let limit = self.offer.replica_limit;
        let memory = limit.memory_mib.saturating_add(GUEST_OWN_MIB);
        if guest.memory_mib < memory {
            return Err(format!(
                "guest.memory_mib = {} is too little: offer.replica_limit has memory_mib = {}, \
                 and a guest keeps {GUEST_OWN_MIB} for itself",
                guest.memory_mib, limit.memory_mib
            ));
        }
        if guest.processors.saturating_mul(1000) < limit.cpu_milli {
            return Err(format!(
                "guest.processors = {} are too few: offer.replica_limit has cpu_milli = {}",
                guest.processors, limit.cpu_milli
            ));
        }
        Ok(ProgramConfig::Guest(guest.clone()))
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

    const GUEST: &str = r#"
        [guest]
        kernel = "guest/kernel"
        initramfs = "guest/initramfs"
        command_line = "guest/command-line"
        memory_mib = 2048
    "#;

    fn parsed(text: &str) -> ProviderConfig {
        toml::from_str(&text.replace("KEY", &"00".repeat(96))).unwrap()
    }

    #[test]
    fn a_guest_stands_in_the_place_of_the_program() {
        let binary = "enclave_binary = \"/usr/bin/ringfort-enclave\"";
        let text = format!("{}{GUEST}", EXAMPLE.replace(binary, ""));
        let config = parsed(&text).resolve(Path::new("/etc/ringfort"));
        let Ok(ProgramConfig::Guest(guest)) = config.program() else {
            panic!("no guest")
        };
        assert_eq!(guest.kernel, Path::new("/etc/ringfort/guest/kernel"));
        assert_eq!(guest.qemu, Path::new("qemu-system-x86_64"));
        assert_eq!(guest.processors, 1);
        assert!(matches!(
            parsed(EXAMPLE).program(),
            Ok(ProgramConfig::Process(_))
        ));
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        let binary = "enclave_binary = \"/usr/bin/ringfort-enclave\"";
        let bare = EXAMPLE.replace(binary, "");
        let tpm = "[hardware]\nkind = \"tpm\"\npath = \"/dev/tpm0\"\ncertificate = \"c\"\n";
        let guests = "[hardware]\nkind = \"guest\"\nendorsements = \"e\"\n";
        let cases = [
            (bare.clone(), "neither"),
            (format!("{EXAMPLE}{GUEST}"), "both"),
            (
                format!("{bare}{GUEST}").replace("2048", "1100"),
                "memory_mib = 1100",
            ),
            (format!("{bare}{GUEST}processors = 0\n"), "cpu_milli = 1000"),
            (format!("{bare}{GUEST}{tpm}"), "says nothing of a guest"),
            (format!("{EXAMPLE}{guests}"), "needs a section [guest]"),
        ];
        for (text, expected) in cases {
            let error = parsed(&text).program().unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert!(parsed(&format!("{bare}{GUEST}{guests}")).program().is_ok());
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
