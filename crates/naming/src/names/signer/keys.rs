//! Where signatures come from.
//!
//! [`KeySource`] is all that the signer knows of private keys. [`FileKeys`]
//! keeps a file of the keys and how far their lives have come. The private
//! keys are a [`KeyHolder`]'s, and the file has their numbers; where there is
//! no holder, they are in the file.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde::{Deserialize, Serialize};
use wire::{DomainName, KEY_SIGNING_FLAGS, ZONE_SIGNING_FLAGS, ZoneKey};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    held::{self, HolderFailed, KeyHolder},
    names::{dnssec::SIGNATURE_OCTETS, zone},
};

/// A key that can sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldKey {
    /// Its tag.
    pub tag: u16,
    /// Its point, x and y.
    pub public_key: [u8; 64],
    /// Whether it is its turn to sign; another signs only while the zone
    /// knows none whose turn it is.
    pub is_active: bool,
}

/// A signature could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the key with tag {tag} does not sign: {reason}")]
pub struct SignError {
    tag: u16,
    reason: String,
}

/// Makes signatures with private keys that it keeps to itself.
pub trait KeySource: Send + Sync {
    /// The keys of the zone `apex`: its key-signing keys if `of_keys`, else
    /// its zone-signing keys.
    fn held(&self, apex: &DomainName, of_keys: bool) -> Vec<HeldKey>;

    /// Signs `octets` (ECDSA P-256, SHA-256; r and s).
    ///
    /// Errors: [`SignError`], if it has no such key or the key fails.
    fn sign(&self, key: &HeldKey, octets: &[u8]) -> Result<[u8; SIGNATURE_OCTETS], SignError>;
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It signs the zone's keys.
    KeySigning,
    /// It signs everything else.
    ZoneSigning,
}

/// How far a key's life has come. `roll` says how one follows the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Zone-signing: in the DNSKEY RRset, signs nothing yet.
    Published,
    /// Key-signing: the parent is asked for its DS, beside the former's.
    Announced,
    /// Key-signing: the operator has seen its DS at the parent.
    Confirmed,
    /// It signs.
    Active,
    /// Zone-signing: signs no more, but answers in caches may bear its signatures.
    Retired,
    /// Key-signing: no longer in the DNSKEY RRset, still with the parent.
    Withdrawn,
}

/// One key of a zone.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredKey {
    /// The zone.
    pub apex: DomainName,
    /// What it is for.
    pub role: Role,
    /// How far its life has come.
    pub phase: Phase,
    /// Since when, Unix seconds.
    pub since: u64,
    /// The private key, PKCS #8, hexadecimal; or
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pkcs8: Option<String>,
    /// which of the holder's it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<HeldByAnother>,
}

/// A key whose private half is a holder's.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeldByAnother {
    /// Its number among the zone's.
    number: u64,
    /// Its point, x and y, hexadecimal.
    public_key: String,
}

impl Drop for StoredKey {
    fn drop(&mut self) {
        self.pkcs8.zeroize();
    }
}

/// Why keys could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file.
    #[error("the zone keys' file {path}")]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read it.
    #[error("the zone keys' file {path} can be read by others: chmod 600 it")]
    Exposed {
        /// Where.
        path: PathBuf,
    },
    /// Its text.
    #[error("the zone keys' file {path} is not one")]
    Text {
        /// Where.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A key in it.
    #[error("the zone keys' file {path} holds a key that is none")]
    Key {
        /// Where.
        path: PathBuf,
    },
    /// No key could be made.
    #[error("no key could be made")]
    Entropy,
    /// The holder does not serve.
    #[error(transparent)]
    Holder(#[from] HolderFailed),
    /// The holder has other keys than those of the file.
    #[error(
        "key {number} of {apex} in {path} is not the one that comes of the label's key: \
         another circle's, label's or epoch's. Move the file away to begin with new keys"
    )]
    Other {
        /// Which file.
        path: PathBuf,
        /// The zone.
        apex: DomainName,
        /// The key's number.
        number: u64,
    },
    /// A new key is the holder's to make, and there is none.
    #[error("the keys in {path} are a label's: name the label in signer.toml (`label`)")]
    NoHolder {
        /// Which file.
        path: PathBuf,
    },
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    keys: Vec<StoredKey>,
    /// The number of the newest key that is a holder's: none is used twice.
    #[serde(default)]
    newest: u64,
}

/// What signs with a key.
enum Private {
    Here(EcdsaKeyPair),
    Held(Arc<dyn KeyHolder>, String),
    /// A holder that is not at hand: who only looks.
    Absent,
}

struct Loaded {
    stored: StoredKey,
    private: Private,
    key: HeldKey,
}

/// Keys in a file that only its owner can read, or their numbers.
pub struct FileKeys {
    path: PathBuf,
    keys: Vec<Loaded>,
    newest: u64,
    holder: Option<Arc<dyn KeyHolder>>,
    is_moved: bool,
}

impl std::fmt::Debug for FileKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tags = self.keys.iter().map(|key| key.key.tag);
        f.debug_list().entries(tags).finish()
    }
}

impl FileKeys {
    /// Reads the keys at `path`; none if there is no such file. Keys that are a
    /// holder's do not sign.
    ///
    /// Errors: [`KeyFileError`].
    pub fn open(path: &Path) -> Result<Self, KeyFileError> {
        Self::open_with(path, None)
    }

    /// As [`FileKeys::open`], with the holder of the keys; new ones are its.
    ///
    /// Errors: [`KeyFileError`].
    pub fn open_with(
        path: &Path,
        holder: Option<Arc<dyn KeyHolder>>,
    ) -> Result<Self, KeyFileError> {
        let failed = |source| KeyFileError::File {
            path: path.to_owned(),
            source,
        };
        let file = match fs::metadata(path) {
            Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
                return Err(KeyFileError::Exposed {
                    path: path.to_owned(),
                });
            }
            Ok(_) => {
                let text = Zeroizing::new(fs::read(path).map_err(failed)?);
                serde_json::from_slice(&text).map_err(|source| KeyFileError::Text {
                    path: path.to_owned(),
                    source,
                })?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => KeyFile::default(),
            Err(error) => return Err(failed(error)),
        };
        let mut keys = Vec::with_capacity(file.keys.len());
        for stored in file.keys {
            if let (Some(held), Some(holder)) = (&stored.held, &holder) {
                check(held, &stored.apex, &**holder, path)?;
            }
            let loaded = load(stored, holder.as_ref()).ok_or_else(|| KeyFileError::Key {
                path: path.to_owned(),
            })?;
            keys.push(loaded);
        }
        Ok(Self {
            path: path.to_owned(),
            keys,
            newest: file.newest,
            holder,
            is_moved: false,
        })
    }

    /// Keeps other programs from changing the keys at `path` until it is
    /// dropped.
    ///
    /// Errors: [`KeyFileError::File`].
    pub fn lock(path: &Path) -> Result<fs::File, KeyFileError> {
        let mut beside = path.to_owned().into_os_string();
        beside.push(".lock");
        let lock = || {
            let file = fs::OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(&beside)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|source| KeyFileError::File {
            path: path.to_owned(),
            source,
        })
    }

    /// Whether anything differs from what was read or last saved.
    pub fn is_moved(&self) -> bool {
        self.is_moved
    }

    /// Writes the keys, whole or not at all.
    ///
    /// Errors: [`KeyFileError::File`].
    pub fn save(&mut self) -> Result<(), KeyFileError> {
        let file = KeyFile {
            keys: self.keys.iter().map(|key| key.stored.clone()).collect(),
            newest: self.newest,
        };
        let write = || -> io::Result<()> {
            let text = Zeroizing::new(serde_json::to_vec_pretty(&file)?);
            let mut beside = self.path.clone().into_os_string();
            beside.push(".new");
            let _ = fs::remove_file(&beside);
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&beside)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&beside, &self.path)
        };
        write().map_err(|source| KeyFileError::File {
            path: self.path.clone(),
            source,
        })?;
        self.is_moved = false;
        Ok(())
    }

    /// Adds a new key of `apex` whose tag no other key of the zone has, so
    /// that a validator never tries two keys for one signature (CVE-2023-50387).
    ///
    /// Errors: [`KeyFileError::Entropy`], [`KeyFileError::Holder`],
    ///         [`KeyFileError::NoHolder`].
    pub fn add(
        &mut self,
        apex: &DomainName,
        role: Role,
        phase: Phase,
        now: u64,
    ) -> Result<u16, KeyFileError> {
        loop {
            let (pkcs8, held) = self.make(apex)?;
            let stored = StoredKey {
                apex: apex.clone(),
                role,
                phase,
                since: now,
                pkcs8,
                held,
            };
            let loaded = load(stored, self.holder.as_ref()).ok_or(KeyFileError::Entropy)?;
            let tag = loaded.key.tag;
            if self.keys.iter().all(|key| key.key.tag != tag) {
                self.keys.push(loaded);
                self.is_moved = true;
                return Ok(tag);
            }
        }
    }

    /// A new key: the holder's next if there is one, else one of the file's own.
    fn make(
        &mut self,
        apex: &DomainName,
    ) -> Result<(Option<String>, Option<HeldByAnother>), KeyFileError> {
        if let Some(holder) = &self.holder {
            self.newest += 1;
            let point = holder.point(&held::zone_key(apex, self.newest))?;
            let held = HeldByAnother {
                number: self.newest,
                public_key: hex::encode(&point[1..]),
            };
            return Ok((None, Some(held)));
        }
        if self.keys.iter().any(|key| key.stored.held.is_some()) {
            return Err(KeyFileError::NoHolder {
                path: self.path.clone(),
            });
        }
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .map_err(|_| KeyFileError::Entropy)?;
        Ok((Some(hex::encode(pkcs8.as_ref())), None))
    }

    /// The zones that there are keys of, ascending.
    pub fn apexes(&self) -> Vec<DomainName> {
        let mut all: Vec<DomainName> = self
            .keys
            .iter()
            .map(|key| key.stored.apex.clone())
            .collect();
        all.sort();
        all.dedup();
        all
    }

    /// The keys of `apex`, with their tags.
    pub fn of<'a>(&'a self, apex: &'a DomainName) -> impl Iterator<Item = (u16, &'a StoredKey)> {
        self.keys
            .iter()
            .filter(move |key| key.stored.apex == *apex)
            .map(|key| (key.key.tag, &key.stored))
    }

    /// The key of `apex` with `tag`.
    pub(super) fn get_mut(&mut self, apex: &DomainName, tag: u16) -> Option<&mut StoredKey> {
        self.is_moved = true;
        self.keys
            .iter_mut()
            .find(|key| key.stored.apex == *apex && key.key.tag == tag)
            .map(|key| &mut key.stored)
    }

    /// Forgets the key of `apex` with `tag`.
    pub(super) fn remove(&mut self, apex: &DomainName, tag: u16) {
        self.is_moved = true;
        self.keys
            .retain(|key| key.stored.apex != *apex || key.key.tag != tag);
    }

    /// What the ledger is to hold of the keys of `apex`.
    pub fn public(&self, apex: &DomainName) -> Vec<ZoneKey> {
        let of_zone = self.keys.iter().filter(|key| key.stored.apex == *apex);
        of_zone.map(Loaded::public).collect()
    }
}

impl<K: KeySource + Send + Sync> KeySource for Arc<K> {
    fn held(&self, apex: &DomainName, of_keys: bool) -> Vec<HeldKey> {
        (**self).held(apex, of_keys)
    }

    fn sign(&self, key: &HeldKey, octets: &[u8]) -> Result<[u8; SIGNATURE_OCTETS], SignError> {
        (**self).sign(key, octets)
    }
}

impl Loaded {
    fn public(&self) -> ZoneKey {
        let phase = self.stored.phase;
        let (flags, published, announced) = match self.stored.role {
            Role::ZoneSigning => (ZONE_SIGNING_FLAGS, true, false),
            Role::KeySigning => (KEY_SIGNING_FLAGS, phase == Phase::Active, true),
        };
        ZoneKey {
            flags,
            public_key: self.key.public_key,
            published,
            announced,
        }
    }
}

impl KeySource for FileKeys {
    fn held(&self, apex: &DomainName, of_keys: bool) -> Vec<HeldKey> {
        let role = if of_keys {
            Role::KeySigning
        } else {
            Role::ZoneSigning
        };
        self.keys
            .iter()
            .filter(|key| key.stored.apex == *apex && key.stored.role == role)
            .map(|key| HeldKey {
                is_active: key.stored.phase == Phase::Active,
                ..key.key.clone()
            })
            .collect()
    }

    fn sign(&self, key: &HeldKey, octets: &[u8]) -> Result<[u8; SIGNATURE_OCTETS], SignError> {
        let failed = |reason: &str| SignError {
            tag: key.tag,
            reason: reason.to_owned(),
        };
        let known = self
            .keys
            .iter()
            .find(|known| known.key.public_key == key.public_key);
        let known = known.ok_or_else(|| failed("it is not in the file"))?;
        let pair = match &known.private {
            Private::Here(pair) => pair,
            Private::Held(holder, context) => {
                return holder
                    .sign(context, octets)
                    .map_err(|error| failed(&error.to_string()));
            }
            Private::Absent => return Err(failed("its holder is not at hand")),
        };
        let signature = pair
            .sign(&SystemRandom::new(), octets)
            .map_err(|_| failed("the library refused"))?;
        signature
            .as_ref()
            .try_into()
            .map_err(|_| failed("the signature has another length"))
    }
}

/// Whether the holder's key of that number is the one that the file knows.
fn check(
    held: &HeldByAnother,
    apex: &DomainName,
    holder: &dyn KeyHolder,
    path: &Path,
) -> Result<(), KeyFileError> {
    let number = held.number;
    let point = holder.point(&held::zone_key(apex, number))?;
    if hex::encode(&point[1..]) == held.public_key {
        return Ok(());
    }
    Err(KeyFileError::Other {
        path: path.to_owned(),
        apex: apex.clone(),
        number,
    })
}

fn load(stored: StoredKey, holder: Option<&Arc<dyn KeyHolder>>) -> Option<Loaded> {
    let (private, public_key) = match (&stored.pkcs8, &stored.held) {
        (Some(pkcs8), None) => {
            let pkcs8 = Zeroizing::new(hex::decode(pkcs8).ok()?);
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).ok()?;
            // SEC 1 §2.3.3: an uncompressed point begins with 4.
            let public_key: [u8; 64] = pair.public_key().as_ref().get(1..)?.try_into().ok()?;
            (Private::Here(pair), public_key)
        }
        (None, Some(held)) => {
            let mut public_key = [0; 64];
            hex::decode_to_slice(&held.public_key, &mut public_key).ok()?;
            let context = held::zone_key(&stored.apex, held.number);
            let private = holder.map_or(Private::Absent, |holder| {
                Private::Held(Arc::clone(holder), context)
            });
            (private, public_key)
        }
        _ => return None,
    };
    let mut loaded = Loaded {
        stored,
        private,
        key: HeldKey {
            tag: 0,
            public_key,
            is_active: false,
        },
    };
    loaded.key.tag = zone::key_tag(&loaded.public())?;
    Some(loaded)
}
