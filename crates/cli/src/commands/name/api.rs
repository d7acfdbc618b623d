//! `ringfort name api`: your names over the HTTP interface of PowerDNS, for
//! programs that keep records by it.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use naming::owner_api::OwnerApi;
use serde::Serialize;

use crate::{
    failure::{Advice, Status},
    session::Session,
    state_directory::write_file,
    user,
};

/// Octets of an API key that is made here.
const KEY_BYTES: usize = 24;

/// Arguments of `ringfort name api`.
#[derive(clap::Args)]
pub struct Api {
    /// Where to listen. Who reaches it and has the API key changes your
    /// records; there is no TLS: keep it on this machine.
    #[arg(long, default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// The file with the API key; made at the first start. By default
    /// `names-api.key` beside your keys.
    #[arg(long)]
    api_key_file: Option<PathBuf>,
}

#[derive(Serialize)]
struct Listening {
    url: String,
    api_key_file: PathBuf,
}

impl Api {
    /// Serves until it is stopped.
    pub fn execute(self, session: &Session) -> anyhow::Result<Status> {
        let path = self
            .api_key_file
            .unwrap_or_else(|| session.state.user().join("names-api.key"));
        let key = api_key(&path)?;
        let account = user::account(session)?;
        crate::commands::runtime()?.block_on(async {
            let api = OwnerApi::new(account, key);
            let (address, serving) = api
                .serve(self.listen)
                .await
                .with_context(|| format!("listen at {}", self.listen))?;
            let listening = Listening {
                url: format!("http://{address}"),
                api_key_file: path,
            };
            session.print(&listening, |listening| {
                format!(
                    "{}/api/v1 keeps your names' records for who sends the key in {} as X-API-Key\n",
                    listening.url,
                    listening.api_key_file.display()
                )
            })?;
            tokio::select! {
                ended = serving => ended.context("serve"),
                _ = tokio::signal::ctrl_c() => Ok(()),
            }
        })?;
        Ok(Status::Done)
    }
}

/// The key in the file, which is made if there is none.
fn api_key(path: &std::path::Path) -> anyhow::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().len() >= KEY_BYTES => Ok(text.trim().to_owned()),
        Ok(_) => Err(Advice::new(
            format!(
                "{} holds no API key of {KEY_BYTES} characters or more",
                path.display()
            ),
            "remove it, and another is made",
        )
        .into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut bytes = [0; KEY_BYTES];
            aws_lc_rs::rand::fill(&mut bytes).context("draw an API key")?;
            let key = hex::encode(bytes);
            write_file(path, format!("{key}\n").as_bytes(), true)?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}
