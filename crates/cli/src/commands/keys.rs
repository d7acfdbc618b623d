//! `ringfort keys`: key files. A private key never leaves its file but into
//! protected memory, and never stands on a command line.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use client::{
    SecretString,
    keyfile::{self, KeyKind, KeySummary, UnlockedKey},
};
use zeroize::Zeroizing;

use crate::{failure::Status, passphrase, session::Session, terminal::table, user};

/// Commands on key files.
#[derive(clap::Subcommand)]
pub enum Keys {
    /// Make a key file.
    New {
        /// Its name, or the file to make.
        name: String,
        /// A P-256 key, which smart cards and TPMs hold too, instead of Ed25519.
        #[arg(long)]
        p256: bool,
    },
    /// Make a key file of an Ed25519 seed, such as a validator's identity, to act as that member.
    Import {
        /// Its name, or the file to make.
        name: String,
        /// File with the seed: 64 hex digits.
        seed_file: PathBuf,
    },
    /// List your key files.
    List,
    /// Show the public half of a key.
    Show {
        /// Its name; the only one there is if not given.
        name: Option<String>,
    },
}

/// Carries out a command on key files.
pub fn execute(session: &Session, command: Keys) -> anyhow::Result<Status> {
    match command {
        Keys::New { name, p256 } => {
            let kind = if p256 {
                KeyKind::P256
            } else {
                KeyKind::Ed25519
            };
            make(session, &name, |stem| Ok(UnlockedKey::generate(stem, kind)))
        }
        Keys::Import { name, seed_file } => make(session, &name, |stem| imported(stem, &seed_file)),
        Keys::List => {
            let keys = keyfile::list(&session.state.user()).unwrap_or_default();
            session.print(&keys, |keys| {
                let row = |key: &KeySummary| {
                    vec![
                        key.name.clone(),
                        key.public.to_string(),
                        key.account.to_string(),
                    ]
                };
                let rows: Vec<_> = keys.iter().map(row).collect();
                table(&["NAME", "PUBLIC KEY", "ACCOUNT"], &rows)
            })?;
            Ok(Status::Done)
        }
        Keys::Show { name } => {
            let summary = user::summary_of(session, name.as_deref())?;
            print(session, &summary)
        }
    }
}

/// The key of a file with a seed in hex.
fn imported(stem: &str, path: &Path) -> anyhow::Result<UnlockedKey> {
    let text = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .with_context(|| format!("read {}", path.display()))?;
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), &mut seed[..])
        .with_context(|| format!("{} holds no seed of 64 hex digits", path.display()))?;
    UnlockedKey::from_seed(stem, KeyKind::Ed25519, seed)
        .with_context(|| format!("{} holds no key", path.display()))
}

/// Writes the key file of what `key` makes.
fn make(
    session: &Session,
    name: &str,
    key: impl FnOnce(&str) -> anyhow::Result<UnlockedKey>,
) -> anyhow::Result<Status> {
    let path = user::named_key_file(&session.state, name);
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let given = session.passphrase_file.as_deref();
    let passphrase = passphrase::for_new_key_file(&path, given)?;
    let stem = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let key = key(&stem)?;
    keyfile::create(&path, &key, &SecretString::from(passphrase))?;
    let summary = KeySummary {
        name: stem,
        public: key.public(),
        account: key.account(),
        path,
    };
    print(session, &summary)
}

fn print(session: &Session, summary: &KeySummary) -> anyhow::Result<Status> {
    session.print(summary, |key| {
        format!(
            "name     {}\nfile     {}\npublic   {}\naccount  {}\n",
            key.name,
            key.path.display(),
            key.public,
            key.account
        )
    })?;
    Ok(Status::Done)
}
