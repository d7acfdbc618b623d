//! `ringfort name update-key`: the key of a name, in the files from which
//! `nsupdate` and other programs of BIND sign updates with SIG(0).

use std::path::PathBuf;

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{base::iana::SecurityAlgorithm, rdata::Dnskey};
use serde::Serialize;
use wire::DomainName;
use zeroize::Zeroizing;

use super::typed_name;
use crate::{
    failure::{Advice, Status},
    session::Session,
    state_directory::write_file,
    user,
};

/// Flags of a KEY record that authenticates a host (RFC 3445 §3 leaves this
/// one; BIND's tools write it for SIG(0)).
const KEY_FLAGS: u16 = 512;

/// RFC 3445 §4.
const KEY_PROTOCOL: u8 = 3;

/// Arguments of `ringfort name update-key`.
#[derive(clap::Args)]
pub struct UpdateKey {
    /// The name whose records are to be updated.
    #[arg(value_parser = typed_name::parse)]
    name: DomainName,
    /// Where the two files go. The one that ends with `.private` holds your
    /// secret key as it is, without a passphrase: who has it owns your names.
    #[arg(long)]
    directory: PathBuf,
}

#[derive(Serialize)]
struct Written {
    public: PathBuf,
    private: PathBuf,
}

impl UpdateKey {
    /// Writes both files.
    pub fn execute(self, session: &Session) -> anyhow::Result<Status> {
        let (_, key) = user::unlock(session)?;
        let (algorithm, public) = key.public().dns_form().context("read the key")?;
        let record = Dnskey::new(
            KEY_FLAGS,
            KEY_PROTOCOL,
            SecurityAlgorithm::from_int(algorithm),
            public.as_slice(),
        )
        .context("make a KEY record")?;
        let name = &self.name;
        let stem = format!("K{name}.+{algorithm:03}+{:05}", record.key_tag());
        let path = |suffix: &str| self.directory.join(format!("{stem}.{suffix}"));
        let written = Written {
            public: path("key"),
            private: path("private"),
        };
        for file in [&written.public, &written.private] {
            if file.exists() {
                let advice = "remove it first, if it is no longer needed";
                return Err(Advice::new(format!("{} exists", file.display()), advice).into());
            }
        }
        let line = format!(
            "{name}. IN KEY {KEY_FLAGS} {KEY_PROTOCOL} {algorithm} {}\n",
            STANDARD.encode(&public)
        );
        let seed = Zeroizing::new(STANDARD.encode(*key.seed()));
        let secret = Zeroizing::new(format!(
            "Private-key-format: v1.3\nAlgorithm: {algorithm} ({})\nPrivateKey: {}\n",
            algorithm_name(algorithm),
            *seed
        ));
        write_file(&written.private, secret.as_bytes(), true)?;
        write_file(&written.public, line.as_bytes(), false)?;
        session.print(&written, |written| {
            format!(
                "{}\nholds your secret key as it is: keep it as you keep your key file\n\
                 nsupdate -k {} signs updates of {name} with it\n",
                written.private.display(),
                written.private.display(),
            )
        })?;
        Ok(Status::Done)
    }
}

/// As BIND's files name them.
fn algorithm_name(number: u8) -> &'static str {
    match number {
        13 => "ECDSAP256SHA256",
        _ => "ED25519",
    }
}
