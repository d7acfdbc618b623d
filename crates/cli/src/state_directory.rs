//! What lies where in a circle's state directory, and which circle is it?
//!
//! `circle.toml` says which circle the directory belongs to and is written
//! last, so a directory without one was never finished. It holds nothing
//! secret. What is derived from it (the parts' configurations) is written
//! anew at every start.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use wire::{CircleId, CircleKey, DomainName, Genesis, Measurement};

use crate::failure::Advice;

/// The version of the layout that this build reads and writes.
pub const VERSION: u32 = 1;

/// Where everything of one circle lies.
#[derive(Clone, Debug)]
pub struct StateDirectory {
    root: PathBuf,
}

/// `circle.toml`: which circle this is and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircleFile {
    /// The layout's version.
    pub state_version: u32,
    /// The circle's name, for people.
    pub name: String,
    /// The circle's id.
    pub circle: CircleId,
    /// The key under which everything is proven.
    pub circle_key: CircleKey,
    /// Base URLs of nodes.
    pub nodes: Vec<String>,
    /// The apex beneath which names are registered.
    pub apex: DomainName,
    /// Where a name node answers, as ADDRESS:PORT.
    pub names: std::net::SocketAddr,
    /// How the embedded circle is laid out; absent for a circle that runs elsewhere.
    pub embedded: Option<Embedded>,
}

impl CircleFile {
    /// The file of a circle that runs elsewhere, reached at `node`; none if its
    /// genesis lists no apex.
    pub fn elsewhere(genesis: &Genesis, node: String) -> Option<Self> {
        Some(Self {
            state_version: VERSION,
            name: genesis.name.clone(),
            circle: genesis.circle(),
            circle_key: genesis.circle_key,
            nodes: vec![node],
            apex: genesis.apexes.first()?.clone(),
            // Where the circle's names are served is not in its genesis.
            names: ([127, 0, 0, 1], 53).into(),
            embedded: None,
        })
    }
}

/// How an embedded circle is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Embedded {
    /// What every port follows from.
    pub base_port: u16,
    /// Validators.
    pub validators: u16,
    /// Providers.
    pub providers: u16,
    /// Keykeepers.
    #[serde(default)]
    pub keykeepers: u16,
    /// Whether enclaves are guests, not processes.
    #[serde(default)]
    pub guest: bool,
    /// The enclave's code that the genesis admits.
    pub measurement: Measurement,
}

/// Only the version: what every layout's `circle.toml` begins with.
#[derive(Deserialize)]
struct AnyVersion {
    state_version: u32,
}

impl StateDirectory {
    /// The state at `root`, made absolute so that daemons may run anywhere.
    pub fn at(root: &Path) -> Self {
        Self {
            root: std::path::absolute(root).unwrap_or_else(|_| root.to_owned()),
        }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path beneath it.
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// `circle.toml`.
    pub fn circle_file(&self) -> PathBuf {
        self.join("circle.toml")
    }

    /// `genesis.json`.
    pub fn genesis(&self) -> PathBuf {
        self.join("genesis.json")
    }

    /// Directory of validator `index`.
    pub fn node(&self, index: u16) -> PathBuf {
        self.join(format!("nodes/{index}"))
    }

    /// Directory of provider `index`.
    pub fn provider(&self, index: u16) -> PathBuf {
        self.join(format!("providers/{index}"))
    }

    /// Directory of keykeeper `index`.
    pub fn keykeeper(&self, index: u16) -> PathBuf {
        self.join(format!("keykeepers/{index}"))
    }

    /// Directory of the name node.
    pub fn names(&self) -> PathBuf {
        self.join("names")
    }

    /// Directory of the certificate authority.
    pub fn certificate_authority(&self) -> PathBuf {
        self.join("ca")
    }

    /// Directory of the zone signer.
    pub fn signer(&self) -> PathBuf {
        self.join("signer")
    }

    /// The certificate authority's root, PEM.
    pub fn roots(&self) -> PathBuf {
        self.join("ca/roots.pem")
    }

    /// Directory of the user's keys and wallet.
    pub fn user(&self) -> PathBuf {
        self.join("user")
    }

    /// The circle's own copy of the enclave's code.
    pub fn enclave(&self) -> PathBuf {
        self.join("enclave/ringfort-enclave")
    }

    /// The circle's own copy of a guest's image.
    pub fn guest(&self) -> PathBuf {
        self.join("enclave/guest")
    }

    /// The circle's own copy of the keykeeper's code.
    pub fn keykeeper_program(&self) -> PathBuf {
        self.join("enclave/ringfort-keykeeper")
    }

    /// The two directories that stand for two object stores.
    pub fn mirrors(&self) -> [PathBuf; 2] {
        [self.join("objects/a"), self.join("objects/b")]
    }

    /// Directory of pids and the supervisor's socket.
    pub fn run(&self) -> PathBuf {
        self.join("run")
    }

    /// The log of a part.
    pub fn log(&self, part: &str) -> PathBuf {
        self.join(format!("logs/{part}.log"))
    }

    /// The pid file of a part.
    pub fn pid(&self, part: &str) -> PathBuf {
        self.join(format!("run/{part}.pid"))
    }

    /// The file whose lock the supervisor holds while it lives.
    pub fn lock(&self) -> PathBuf {
        self.join("run/lock")
    }

    /// Whether a circle is here.
    pub fn exists(&self) -> bool {
        self.circle_file().exists()
    }

    /// Reads `circle.toml`.
    ///
    /// Errors: no circle here; another version of the layout; a damaged file.
    pub fn read(&self) -> anyhow::Result<CircleFile> {
        let path = self.circle_file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Advice::new(
                    format!("there is no circle at {}", self.root.display()),
                    "`ringfort up` makes one; --state DIR or RINGFORT_STATE names another directory",
                )
                .into());
            }
            Err(error) => return Err(error).context(format!("read {}", path.display())),
        };
        let damaged = || {
            Advice::new(
                format!("{} is damaged", path.display()),
                "restore it from a backup, or make a new circle elsewhere with --state DIR",
            )
        };
        let AnyVersion { state_version } = toml::from_str(&text).with_context(damaged)?;
        if state_version != VERSION {
            return Err(Advice::new(
                format!(
                    "the state at {} has layout version {state_version}; this build knows {VERSION}",
                    self.root.display()
                ),
                "use the build that made it, or make a new circle elsewhere with --state DIR",
            )
            .into());
        }
        toml::from_str(&text).with_context(damaged)
    }
}

/// Writes `bytes` to `path` so that a reader, also one after a crash, sees the old file or the
/// new one, never a part; `secret` files are readable by their owner alone.
pub fn write_file(path: &Path, bytes: &[u8], secret: bool) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let partial = directory.join(name);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(if secret { 0o600 } else { 0o644 })
            .open(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        fs::File::open(directory)?.sync_all()
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// Writes `value` as TOML.
pub fn write_toml<T: Serialize>(path: &Path, value: &T) -> anyhow::Result<()> {
    let text = toml::to_string(value).with_context(|| format!("encode {}", path.display()))?;
    write_file(path, text.as_bytes(), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> CircleFile {
        CircleFile {
            state_version: VERSION,
            name: "test".into(),
            circle: CircleId([1; 32]),
            circle_key: CircleKey([2; 96]),
            nodes: vec!["http://127.0.0.1:26800".into()],
            apex: "internal".parse().unwrap(),
            names: "127.0.0.1:26853".parse().unwrap(),
            embedded: Some(Embedded {
                base_port: 26_700,
                validators: 4,
                providers: 2,
                keykeepers: 3,
                guest: true,
                measurement: Measurement([3; 32]),
            }),
        }
    }

    #[test]
    fn circle_file_survives_a_round_trip() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::at(directory.path());
        assert!(!state.exists());
        write_toml(&state.circle_file(), &file()).unwrap();
        assert_eq!(state.read().unwrap(), file());
    }

    #[test]
    fn refuses_absent_foreign_and_damaged_state_with_a_clear_message() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::at(directory.path());
        let said = || state.read().unwrap_err().to_string();
        assert!(said().contains("there is no circle"), "{}", said());
        for (text, wanted) in [
            ("state_version = 99\nother = true", "layout version 99"),
            ("state_version = 1", "damaged"),
            ("what?", "damaged"),
        ] {
            fs::write(state.circle_file(), text).unwrap();
            assert!(said().contains(wanted), "{}", said());
        }
    }

    #[test]
    fn secret_files_are_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/secret");
        write_file(&path, b"x", true).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
