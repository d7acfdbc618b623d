//! Key files: an account's signing key and the key of its wallet, under a
//! passphrase.
//!
//! A key file `NAME.key` is an age file; beside it `NAME.pub` holds the public
//! key in text, so that accounts can be listed without a passphrase. Where
//! the passphrase comes from is the caller's business.

use std::{
    fs,
    path::{Path, PathBuf},
};

use age::secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use wire::{AccountId, PublicKey, SigningKey};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    protected::Protected,
    sealed_file::{self, Existing, SealedFileError},
};

/// scrypt's work factor, log2 of N (r = 8, p = 1): 2^15 takes 100 to 200 ms on
/// a server's core and 32 MiB, which a person does not notice and a guesser does.
const WORK_FACTOR: u8 = 15;

/// The largest factor that is accepted from a file: 32 times the work, so that
/// a prepared file cannot hold this process for minutes.
const MAX_WORK_FACTOR: u8 = 20;

/// The extension of key files.
pub const KEY_EXTENSION: &str = "key";

/// The extension of public keys.
pub const PUBLIC_EXTENSION: &str = "pub";

/// The signature algorithm of an account's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// RFC 8032.
    Ed25519,
    /// ECDSA over P-256.
    P256,
}

/// An account's secrets, unlocked, in protected memory.
#[derive(Clone)]
pub struct UnlockedKey {
    name: String,
    kind: KeyKind,
    seed: Protected,
    public: PublicKey,
    wallet: age::x25519::Identity,
}

/// What can be said of a key file without its passphrase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeySummary {
    /// The key's name: the file's, without extension.
    pub name: String,
    /// The key file.
    pub path: PathBuf,
    /// The public key, as the file beside it says; checked when it is opened.
    pub public: PublicKey,
    /// The account it controls.
    pub account: AccountId,
}

/// The plaintext of a key file.
#[derive(Serialize, Deserialize)]
struct Contents {
    version: u8,
    name: String,
    kind: KeyKind,
    seed: String,
    wallet: String,
}

const VERSION: u8 = 1;

impl Drop for Contents {
    fn drop(&mut self) {
        self.seed.zeroize();
        self.wallet.zeroize();
    }
}

fn signing_key(kind: KeyKind, seed: &[u8; 32]) -> Option<SigningKey> {
    match kind {
        KeyKind::Ed25519 => Some(SigningKey::ed25519(*seed)),
        KeyKind::P256 => SigningKey::p256(*seed),
    }
}

impl UnlockedKey {
    /// Draws a new key.
    pub fn generate(name: &str, kind: KeyKind) -> Self {
        loop {
            let seed = Protected::random();
            // A scalar outside P-256's group comes once in 2^32 draws.
            if let Some(key) = signing_key(kind, seed.expose()) {
                return Self {
                    name: name.to_owned(),
                    kind,
                    seed,
                    public: key.public(),
                    wallet: age::x25519::Identity::generate(),
                };
            }
        }
    }

    /// The key of a given seed, with a new wallet key.
    ///
    /// Errors: none is given for a seed that is no P-256 scalar.
    pub fn from_seed(name: &str, kind: KeyKind, seed: Zeroizing<[u8; 32]>) -> Option<Self> {
        let seed = Protected::new(seed);
        let public = signing_key(kind, seed.expose())?.public();
        Some(Self {
            name: name.to_owned(),
            kind,
            seed,
            public,
            wallet: age::x25519::Identity::generate(),
        })
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The account it controls.
    pub fn account(&self) -> AccountId {
        self.public.account()
    }

    /// Whether its memory is kept from being swapped out.
    pub fn is_locked(&self) -> bool {
        self.seed.is_locked()
    }

    /// A signing key for one use; drop it soon.
    pub fn signer(&self) -> SigningKey {
        signing_key(self.kind, self.seed.expose()).expect("the seed was checked when it came in")
    }

    /// The seed, for another program that is to sign with the key; drop it soon.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(*self.seed.expose())
    }

    /// The seed of an Ed25519 key, for a protocol in which the key is an identity
    /// beside the ledger; none of a P-256 key.
    pub fn ed25519_seed(&self) -> Option<Zeroizing<[u8; 32]>> {
        matches!(self.kind, KeyKind::Ed25519).then(|| self.seed())
    }

    /// Writes a secret of this key's holder to a file that only this key file
    /// opens, in the place of what was there; on disk when this returns.
    ///
    /// Errors: [`SealedFileError::Io`].
    pub fn write_sealed(&self, path: &Path, secret: &[u8]) -> Result<(), SealedFileError> {
        let recipient = self.wallet.to_public();
        sealed_file::write(path, &recipient, secret, Existing::Replace)
    }

    /// Reads what [`UnlockedKey::write_sealed`] wrote.
    ///
    /// Errors: [`SealedFileError`].
    pub fn read_sealed(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, SealedFileError> {
        sealed_file::read(path, &self.wallet)
    }

    pub(crate) fn wallet_identity(&self) -> &age::x25519::Identity {
        &self.wallet
    }
}

impl std::fmt::Debug for UnlockedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UnlockedKey({}, {})", self.name, self.public)
    }
}

/// Writes a new key file and its `.pub` beside it.
///
/// Errors: [`SealedFileError::Exists`] if the file is there: keys are never
///         overwritten.
pub fn create(
    path: &Path,
    key: &UnlockedKey,
    passphrase: &SecretString,
) -> Result<(), SealedFileError> {
    let contents = Contents {
        version: VERSION,
        name: key.name.clone(),
        kind: key.kind,
        seed: hex::encode(key.seed.expose()),
        wallet: key.wallet.to_string().expose_secret().to_owned(),
    };
    let plaintext = Zeroizing::new(
        serde_json::to_vec(&contents).map_err(|error| SealedFileError::damaged(path, error))?,
    );
    let mut recipient = age::scrypt::Recipient::new(passphrase.clone());
    recipient.set_work_factor(WORK_FACTOR);
    sealed_file::write(path, &recipient, &plaintext, Existing::Keep)?;
    let public = format!("{}\n", key.public);
    sealed_file::write_durably(
        &path.with_extension(PUBLIC_EXTENSION),
        public.as_bytes(),
        Existing::Replace,
    )
}

/// Opens a key file.
///
/// Errors: [`SealedFileError::WrongKey`] for a wrong passphrase;
///         [`SealedFileError::Damaged`] for anything that is not a whole key file.
pub fn open(path: &Path, passphrase: &SecretString) -> Result<UnlockedKey, SealedFileError> {
    let mut identity = age::scrypt::Identity::new(passphrase.clone());
    identity.set_max_work_factor(MAX_WORK_FACTOR);
    let plaintext = sealed_file::read(path, &identity)?;
    let damaged = |reason: &str| SealedFileError::damaged(path, reason);
    // serde_json's own message would quote the file's contents.
    let contents: Contents =
        serde_json::from_slice(&plaintext).map_err(|_| damaged("its contents do not decode"))?;
    if contents.version != VERSION {
        return Err(damaged("its version is not known here"));
    }
    let mut seed = Zeroizing::new([0u8; 32]);
    hex::decode_to_slice(&contents.seed, &mut seed[..]).map_err(|_| damaged("no seed"))?;
    let wallet = contents
        .wallet
        .parse()
        .map_err(|_| damaged("no wallet key"))?;
    let mut key = UnlockedKey::from_seed(&contents.name, contents.kind, seed)
        .ok_or_else(|| damaged("its seed is no key"))?;
    key.wallet = wallet;
    Ok(key)
}

/// The key files of a directory, by name, without opening them.
///
/// Errors: the directory cannot be read. Key files without a readable `.pub`
///         are left out.
pub fn list(directory: &Path) -> Result<Vec<KeySummary>, SealedFileError> {
    let io = |source| SealedFileError::io(directory)(source);
    let mut keys = Vec::new();
    for entry in fs::read_dir(directory).map_err(io)? {
        let path = entry
            .map_err(|source| SealedFileError::io(directory)(source))?
            .path();
        if path
            .extension()
            .is_none_or(|extension| extension != KEY_EXTENSION)
        {
            continue;
        }
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else {
            continue;
        };
        let public = fs::read_to_string(path.with_extension(PUBLIC_EXTENSION))
            .ok()
            .and_then(|text| text.trim().parse::<PublicKey>().ok());
        if let Some(public) = public {
            keys.push(KeySummary {
                name: name.to_owned(),
                account: public.account(),
                public,
                path: path.clone(),
            });
        }
    }
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn passphrase(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    struct Place {
        directory: tempfile::TempDir,
        path: PathBuf,
        key: UnlockedKey,
    }

    fn place(kind: KeyKind) -> Place {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("me.key");
        let key = UnlockedKey::generate("me", kind);
        create(&path, &key, &passphrase("right")).unwrap();
        Place {
            directory,
            path,
            key,
        }
    }

    #[test]
    fn a_key_comes_back_with_its_passphrase_and_only_with_it() {
        for kind in [KeyKind::Ed25519, KeyKind::P256] {
            let Place { path, key, .. } = &place(kind);
            let opened = open(path, &passphrase("right")).unwrap();
            assert_eq!(opened.public(), key.public());
            assert_eq!(opened.name(), "me");
            let signature = opened.signer().sign("p", b"m");
            assert_eq!(key.public().verify("p", b"m", &signature), Ok(()));
            let wrong = open(path, &passphrase("wrong"));
            assert!(matches!(wrong, Err(SealedFileError::WrongKey { .. })));
        }
    }

    #[test]
    fn only_its_owner_may_read_it_and_it_shows_nothing() {
        let Place { path, key, .. } = &place(KeyKind::Ed25519);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = fs::read(path).unwrap();
        let seed = hex::encode(key.seed.expose());
        let shown = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(!shown(seed.as_bytes()) && !shown(key.seed.expose()));
    }

    #[test]
    fn a_damaged_file_is_refused_wherever_it_was_cut() {
        let Place { path, .. } = &place(KeyKind::Ed25519);
        let whole = fs::read(path).unwrap();
        // Few places: each costs a whole run of scrypt.
        for length in [0, 10, whole.len() / 2, whole.len() - 1] {
            fs::write(path, &whole[..length]).unwrap();
            assert!(open(path, &passphrase("right")).is_err(), "{length}");
        }
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        fs::write(path, &flipped).unwrap();
        assert!(open(path, &passphrase("right")).is_err());
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let Place { path, key, .. } = &place(KeyKind::Ed25519);
        let other = UnlockedKey::generate("other", KeyKind::Ed25519);
        let refused = create(path, &other, &passphrase("right"));
        assert!(matches!(refused, Err(SealedFileError::Exists { .. })));
        let opened = open(path, &passphrase("right")).unwrap();
        assert_eq!(opened.public(), key.public());
    }

    #[test]
    fn keys_are_listed_without_their_passphrases() {
        let Place { directory, key, .. } = &place(KeyKind::Ed25519);
        fs::write(directory.path().join("stray.txt"), "x").unwrap();
        let listed = list(directory.path()).unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((&*listed[0].name, listed[0].account), ("me", key.account()));
    }
}
