//! `ringfort keys`: key files. A private key never leaves its file but into
//! protected memory, and never stands on a command line.

use client::{
    SecretString,
    keyfile::{self, KeyKind, KeySummary, UnlockedKey},
};

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
        Keys::New { name, p256 } => new(session, &name, p256),
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

fn new(session: &Session, name: &str, p256: bool) -> anyhow::Result<Status> {
    let path = user::named_key_file(&session.state, name);
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let given = session.passphrase_file.as_deref();
    let passphrase = passphrase::for_new_key_file(&path, given)?;
    let kind = if p256 {
        KeyKind::P256
    } else {
        KeyKind::Ed25519
    };
    let stem = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let key = UnlockedKey::generate(&stem, kind);
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
