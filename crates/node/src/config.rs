//! What must a node be told before it starts?
//!
//! A TOML file names the circle's genesis, the node's secrets and its
//! addresses. Everything that can be wrong with it is found here, before
//! anything is opened; what passes is a [`Setup`].

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use engine::{EngineConfig, Pacing};
use serde::Deserialize;
use wire::{CircleKey, Genesis, GenesisError, PublicKey, SigningKey};
use zeroize::Zeroizing;

use crate::{
    chain::Duty,
    checkpoint::{Policy, SyncConfig},
    store::Retention,
};

/// A genesis of a million accounts in JSON.
const MAX_GENESIS_BYTES: u64 = 256 * 1024 * 1024;

/// An identity or a share in hex, with a line's end.
const MAX_SECRET_BYTES: u64 = 4096;

/// A node's configuration file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The circle's genesis, JSON.
    pub genesis: PathBuf,
    /// Where the node keeps what it stores.
    pub data_dir: PathBuf,
    /// The seed of the node's Ed25519 key: 64 hex digits, readable by its
    /// owner only.
    pub identity_file: PathBuf,
    /// A founder's share of the circle's key in hex, readable by its owner
    /// only; none of a node that joined later. The node deletes the file once
    /// another share is in office, and then does without.
    #[serde(default)]
    pub share_file: Option<PathBuf>,
    /// Where to listen for other validators.
    pub listen: SocketAddr,
    /// Where to serve the HTTP API.
    pub api: SocketAddr,
    /// Validators and where they are reached: all that the genesis names, or,
    /// without a founding share, some that are in office now.
    pub validators: Vec<ValidatorAddress>,
    /// What to log, and how.
    #[serde(default)]
    pub log: LogConfig,
    /// Which checkpoints of the state are made and offered to other nodes.
    #[serde(default)]
    pub checkpoints: Policy,
    /// From whom the state is fetched when this node is new or far behind.
    #[serde(default)]
    pub sync: SyncConfig,
    /// Which past blocks are kept.
    #[serde(default)]
    pub history: HistoryConfig,
    /// How full the disk may become.
    #[serde(default)]
    pub disk: DiskConfig,
    /// Who may ask the API for what, and how often.
    #[serde(default)]
    pub access: AccessConfig,
    /// What makes evidence of this machine's code, where members ask validators for it.
    #[serde(default)]
    pub evidence: Option<EvidenceConfig>,
}

/// What makes evidence; one of these. Who starts the node makes a source of it
/// ([`crate::attesting::EvidenceSource`]).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum EvidenceConfig {
    /// A development key, which a production circle refuses.
    Development {
        /// The quoting key's 32-byte seed, in hex.
        quoting_key: PathBuf,
        /// Its certificate, in hex.
        quoting_certificate: PathBuf,
    },
    /// The TEE that this machine is a guest of.
    Tee {
        /// The directory with the vendor's files (docs/operations/evidence.md).
        endorsements: PathBuf,
    },
    /// A TPM.
    Tpm {
        /// Its device, a unix socket, or `HOST:PORT`.
        path: String,
        /// The attestation key's certificate, as an enroller made it.
        certificate: PathBuf,
    },
}

impl EvidenceConfig {
    /// Lets relative paths start at `folder`.
    fn start_at(&mut self, folder: &Path) {
        let paths: Vec<&mut PathBuf> = match self {
            Self::Development {
                quoting_key,
                quoting_certificate,
            } => vec![quoting_key, quoting_certificate],
            Self::Tee { endorsements } => vec![endorsements],
            // A TPM's path may be a host and a port.
            Self::Tpm { certificate, .. } => vec![certificate],
        };
        for path in paths {
            *path = folder.join(&*path);
        }
    }
}

/// Who may ask the API for what, and how often.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessConfig {
    /// The file of operators' tokens (docs/spec/api.md, Operators); none to
    /// show figures to everybody.
    pub operators: Option<PathBuf>,
    /// Requests a second that one address may make; 0 for no limit.
    pub requests_per_second: u32,
}

impl Default for AccessConfig {
    /// A wallet or a gateway makes some a second; a page of a service that asks
    /// for each of its visitors should have a node of its own.
    fn default() -> Self {
        Self {
            operators: None,
            requests_per_second: 200,
        }
    }
}

/// How full the disk may become.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiskConfig {
    /// Megabytes of the data directory's file system that must be free: below,
    /// the node stops in order and waits for room. 0 for none.
    pub reserve_mb: u64,
}

impl Default for DiskConfig {
    /// Above what is written between two looks, and enough to end in order.
    fn default() -> Self {
        Self { reserve_mb: 64 }
    }
}

/// Which past blocks are kept. The state is never pruned, but its past is: only
/// recent heights can be proven.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryConfig {
    /// Blocks that the API can show, with their receipts and events.
    pub blocks: u64,
    /// Megabytes of these; with larger blocks there are fewer of them, but never fewer
    /// than can be proven.
    pub megabytes: u64,
    /// Megabytes of the state's past; under load fewer heights than 256 can be proven.
    pub past_megabytes: u64,
    /// Blocks that the engine keeps for validators that were down; more, if the
    /// oldest checkpoint is older. Each costs some hundred bytes of memory.
    pub archive_blocks: u64,
}

/// The least history: proofs at recent heights, and the restart of a node.
const MIN_HISTORY_BLOCKS: u64 = 256;

impl Default for HistoryConfig {
    /// At two blocks a second, six days and half a day.
    fn default() -> Self {
        Self {
            blocks: 1_000_000,
            megabytes: 32 * 1024,
            past_megabytes: 256,
            archive_blocks: 100_000,
        }
    }
}

impl HistoryConfig {
    /// As the store takes it.
    pub(crate) fn retention(&self) -> Retention {
        let bytes = |megabytes: u64| megabytes.saturating_mul(1024 * 1024);
        Retention {
            blocks: self.blocks,
            block_bytes: bytes(self.megabytes),
            past_bytes: bytes(self.past_megabytes),
        }
    }
}

/// Where a validator is reached.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidatorAddress {
    /// Its key, as the genesis lists it.
    pub key: PublicKey,
    /// `host:port`; the host is an IP address or a DNS name.
    pub address: String,
}

/// What to log, and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// A filter as `tracing-subscriber` reads it.
    pub filter: String,
    /// One JSON object for each line, for machines.
    pub json: bool,
}

impl Default for LogConfig {
    /// The consensus library speaks of every view at the level of information.
    fn default() -> Self {
        Self {
            filter: "info,commonware_consensus=warn,commonware_p2p=warn".to_owned(),
            json: false,
        }
    }
}

/// Why a configuration cannot be used. Its author is at fault.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The configuration file is not what it should be.
    #[error("{path} is no node configuration")]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The genesis file is not what it should be.
    #[error("{path} is no genesis")]
    GenesisForm {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// No circle can be founded on the genesis.
    #[error("the genesis cannot found a circle")]
    Genesis(#[from] GenesisError),
    /// Others may read a secret.
    #[error("{path} holds a secret and can be read by others: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// A secret is not hex, or not of the right length.
    #[error("{path} does not hold {wanted}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// What should be there.
        wanted: &'static str,
    },
    /// The list of validators does not serve.
    #[error("the list of validators cannot be used: {0}")]
    Validators(String),
    /// A section's numbers do not serve.
    #[error("the section `{section}` cannot be used: {problem}")]
    Section {
        /// The section of the file.
        section: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The genesis' public polynomial does not belong to its circle key.
    #[error("the genesis' sharing does not belong to its circle key")]
    Sharing,
}

/// A configuration that was read and checked.
pub(crate) struct Setup {
    pub genesis: Genesis,
    pub data_dir: PathBuf,
    pub api: SocketAddr,
    pub engine: EngineConfig,
    pub duty: Duty,
    /// The key of the node's seat.
    pub key: SigningKey,
    pub checkpoints: Policy,
    pub sync: SyncConfig,
    pub history: HistoryConfig,
    pub access: AccessConfig,
}

impl NodeConfig {
    /// Reads a configuration; relative paths in it start at its own folder.
    ///
    /// Errors: [`ConfigError::Read`], [`ConfigError::Toml`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = read_text(path, MAX_SECRET_BYTES * 256)?;
        let mut config: Self = toml::from_str(&text).map_err(|source| ConfigError::Toml {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for file in [
            &mut config.genesis,
            &mut config.data_dir,
            &mut config.identity_file,
        ] {
            *file = folder.join(&*file);
        }
        config.share_file = config.share_file.map(|file| folder.join(file));
        let operators = &mut config.access.operators;
        *operators = operators.take().map(|file| folder.join(file));
        if let Some(evidence) = &mut config.evidence {
            evidence.start_at(folder);
        }
        Ok(config)
    }

    /// Reads and checks every file that the configuration names.
    ///
    /// Errors: [`ConfigError`].
    pub(crate) fn check(&self) -> Result<Setup, ConfigError> {
        let genesis = read_genesis(&self.genesis)?;
        self.check_sections()?;
        let share = self.founding_share()?;
        self.check_validators(share.is_some().then_some(&genesis))?;
        let group = engine::keys::group_key_of(&genesis.sharing).ok();
        if group.map(CircleKey) != Some(genesis.circle_key) {
            return Err(ConfigError::Sharing);
        }
        let seed = read_secret(&self.identity_file, "a seed of 64 hex digits")?;
        let seed = Zeroizing::new(<[u8; 32]>::try_from(seed.as_slice()).map_err(|_| {
            ConfigError::Secret {
                path: self.identity_file.clone(),
                wanted: "a seed of 64 hex digits",
            }
        })?);
        let validators = self.validators.iter().filter_map(|validator| {
            let PublicKey::Ed25519(key) = validator.key else {
                return None;
            };
            Some(engine::Validator {
                key,
                address: validator.address.clone(),
            })
        });
        let mut engine = EngineConfig::new(
            genesis.circle(),
            *seed,
            share.map(|share| share.to_vec()),
            genesis.sharing.clone(),
            validators.collect(),
            self.listen,
            self.data_dir.join("engine"),
        );
        engine.pacing = Pacing {
            min_block_interval_ms: genesis.parameters.min_block_interval_ms,
            idle_block_interval_ms: genesis.parameters.idle_block_interval_ms,
        };
        Ok(Setup {
            data_dir: self.data_dir.clone(),
            api: self.api,
            genesis,
            engine,
            duty: Duty::new(*seed, self.share_file.clone()),
            key: SigningKey::ed25519(*seed),
            checkpoints: self.checkpoints,
            sync: self.sync.clone(),
            history: self.history,
            access: self.access.clone(),
        })
    }

    fn check_sections(&self) -> Result<(), ConfigError> {
        let short = self.history.blocks.min(self.history.archive_blocks) < MIN_HISTORY_BLOCKS;
        let history = short.then(|| format!("a number is below {MIN_HISTORY_BLOCKS}"));
        let problems = [
            ("checkpoints", self.checkpoints.problem()),
            ("history", history),
        ];
        for (section, problem) in problems {
            if let Some(problem) = problem {
                return Err(ConfigError::Section { section, problem });
            }
        }
        Ok(())
    }

    /// A founder's share. A node that has run before can do without: its engine
    /// keeps its shares.
    fn founding_share(&self) -> Result<Option<Zeroizing<Vec<u8>>>, ConfigError> {
        match &self.share_file {
            Some(file) if file.exists() || !self.data_dir.exists() => {
                read_secret(file, "a share in hex").map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Ed25519 keys, each once; with a founding share, all founders' among them.
    fn check_validators(&self, genesis: Option<&Genesis>) -> Result<(), ConfigError> {
        let founding: BTreeSet<PublicKey> = genesis
            .into_iter()
            .flat_map(|genesis| &genesis.validators)
            .map(|founder| founder.key)
            .collect();
        let configured: BTreeSet<PublicKey> = self
            .validators
            .iter()
            .map(|validator| validator.key)
            .collect();
        let problem = if configured.len() != self.validators.len() {
            Some("a key is listed twice".to_owned())
        } else if let Some(missing) = founding.difference(&configured).next() {
            Some(format!("{missing} is missing"))
        } else if configured.is_empty() {
            Some("none is listed".to_owned())
        } else {
            configured
                .iter()
                .find(|key| !matches!(key, PublicKey::Ed25519(_)))
                .map(|key| format!("{key} is not an Ed25519 key"))
        };
        problem.map_or(Ok(()), |problem| Err(ConfigError::Validators(problem)))
    }
}

/// Reads and checks a genesis file.
///
/// Errors: [`ConfigError::Read`], [`ConfigError::GenesisForm`],
///         [`ConfigError::Genesis`].
pub fn read_genesis(path: &Path) -> Result<Genesis, ConfigError> {
    let text = read_text(path, MAX_GENESIS_BYTES)?;
    let genesis: Genesis =
        serde_json::from_str(&text).map_err(|source| ConfigError::GenesisForm {
            path: path.to_owned(),
            source,
        })?;
    genesis.check()?;
    Ok(genesis)
}

fn read_text(path: &Path, limit: u64) -> Result<String, ConfigError> {
    let read = || {
        let mut text = String::new();
        fs::File::open(path)?
            .take(limit)
            .read_to_string(&mut text)?;
        Ok(text)
    };
    read().map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })
}

fn read_secret(path: &Path, wanted: &'static str) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
    let metadata = fs::metadata(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(ConfigError::Exposed {
            path: path.to_owned(),
        });
    }
    let text = Zeroizing::new(read_text(path, MAX_SECRET_BYTES)?);
    let bytes = hex::decode(text.trim()).map_err(|_| ConfigError::Secret {
        path: path.to_owned(),
        wanted,
    })?;
    Ok(Zeroizing::new(bytes))
}
