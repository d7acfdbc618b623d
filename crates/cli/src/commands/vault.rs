//! `ringfort vault …`: what an application's author signs, and the agent beside a
//! vault that answers that application alone (docs/spec/vault.md).

use std::{
    os::unix::net::UnixListener,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use borsh::BorshDeserialize as _;
use vault::{Certificate, agent::Agent};
use wire::{PublicKey, Signature};

use crate::{
    failure::{Advice, Status},
    session::Session,
    user,
};

/// Commands on vaults and the applications that may use them.
#[derive(clap::Subcommand)]
pub enum Vault {
    /// Certify a release key under an application's root, which is the key that acts.
    Certify {
        /// The release key.
        release_key: PublicKey,
        /// The application.
        #[arg(long)]
        application: String,
        /// For how many days.
        #[arg(long, default_value_t = 365)]
        days: u32,
        /// Where the certificate goes.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Sign a program's code with a certified release key, which is the key that acts.
    Sign {
        /// The program, as it will be started.
        program: PathBuf,
        /// Library that it may load, the dynamic loader included; may be given often.
        #[arg(long, value_name = "FILE")]
        library: Vec<PathBuf>,
        /// The release key's certificate.
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// Where the credential goes, which the program shows.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Run a vault and its agent (daemon): answer clients of one application.
    Serve {
        /// The application's root.
        #[arg(long, value_name = "KEY")]
        root: PublicKey,
        /// The application.
        #[arg(long)]
        application: String,
        /// The socket to listen on.
        #[arg(long, value_name = "PATH")]
        socket: PathBuf,
        /// The vault's program; the one beside this program if not given.
        #[arg(long, value_name = "FILE")]
        program: Option<PathBuf>,
    },
}

/// Carries out a command on vaults.
pub fn execute(session: &Session, command: Vault) -> anyhow::Result<Status> {
    match command {
        Vault::Certify {
            release_key,
            application,
            days,
            to,
        } => {
            let (_, root) = user::unlock(session)?;
            let life = Duration::from_secs(u64::from(days) * 24 * 60 * 60);
            let end = SystemTime::now().duration_since(UNIX_EPOCH)? + life;
            let certificate = Certificate {
                root: root.public(),
                key: release_key,
                application,
                not_after_ms: u64::try_from(end.as_millis())?,
            };
            let signature = vault::certify(&root.signer(), &certificate);
            let bytes = borsh::to_vec(&(certificate, signature))?;
            std::fs::write(&to, bytes).with_context(|| format!("write {}", to.display()))?;
            session.terminal.progress("certified");
        }
        Vault::Sign {
            program,
            library,
            certificate,
            to,
        } => {
            let bytes = std::fs::read(&certificate)
                .with_context(|| format!("read {}", certificate.display()))?;
            let (body, signature) = <(Certificate, Signature)>::try_from_slice(&bytes)
                .with_context(|| format!("{} is no certificate", certificate.display()))?;
            let (_, key) = user::unlock(session)?;
            if body.key != key.public() {
                return Err(Advice::new(
                    "the certificate is for another release key",
                    "say with --key which key signs",
                )
                .into());
            }
            let libraries: Vec<_> = library.iter().map(PathBuf::as_path).collect();
            let code = vault::code_of_files(&program, &libraries)
                .with_context(|| format!("read the code of {}", program.display()))?;
            let credential = vault::sign(body, signature, &key.signer(), code);
            std::fs::write(&to, credential.encode())
                .with_context(|| format!("write {}", to.display()))?;
            session.terminal.progress("signed");
        }
        Vault::Serve {
            root,
            application,
            socket,
            program,
        } => {
            let program = match program {
                Some(program) => program,
                None => std::env::current_exe()
                    .context("find our own program")?
                    .with_file_name("ringfort-vault"),
            };
            // On the main thread, with which the protected process ends.
            let agent = Agent::start(&program, root, &application)
                .with_context(|| format!("start {}", program.display()))?;
            let listener = UnixListener::bind(&socket)
                .with_context(|| format!("listen on {}", socket.display()))?;
            session.terminal.progress("serving");
            agent
                .run(&listener)
                .map(|never| match never {})
                .context("take clients")?;
        }
    }
    Ok(Status::Done)
}
