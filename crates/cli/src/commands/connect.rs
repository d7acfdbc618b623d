//! `ringfort connect`: a connection to a server that the ledger names, with no
//! certificate authority (docs/spec/connect.md).

use std::{net::IpAddr, net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use client::{
    connect::{Form, ProvenServer},
    names,
};
use tokio::io::{AsyncWriteExt as _, copy};
use wire::{CircleKey, DomainName};

use super::proof;
use crate::{
    failure::{Advice, Status},
    server_key::ServerKeyPlace,
    session::Session,
    typed_name, user,
};

/// Arguments of `ringfort connect`.
#[derive(clap::Args)]
pub struct Connect {
    /// The server's name.
    #[arg(value_parser = typed_name::parse)]
    name: DomainName,
    /// Its TCP port.
    #[arg(long, default_value_t = 443)]
    port: u16,
    /// Where it is, instead of the addresses that the ledger holds.
    #[arg(long)]
    address: Option<IpAddr>,
    /// Know it by its certificate's hash instead of its key.
    #[arg(long)]
    certificate: bool,
    /// A key of your own to show, should the server ask: a PKCS #8 file, or
    /// tpm:LABEL[@DEVICE].
    #[arg(long, value_name = "FILE")]
    client_key: Option<ServerKeyPlace>,
    /// A proof of the registered name, from `ringfort name proof`: no node is asked.
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// The circle's key, for --proof; the one in the state directory if not given.
    #[arg(long, value_name = "KEY", requires = "proof")]
    circle: Option<CircleKey>,
}

impl Connect {
    /// Connects, and passes standard input to the server and what it says to
    /// standard output, until it ends.
    ///
    /// Errors: the ledger names no such server; it is not the one.
    pub fn execute(self, session: &Session) -> anyhow::Result<Status> {
        super::converse(self.run(session))
    }

    async fn run(self, session: &Session) -> anyhow::Result<Status> {
        let server = self.server(session).await?;
        let form = if self.certificate {
            Form::Certificate
        } else {
            Form::Key
        };
        let addresses = match self.address {
            Some(address) => vec![address],
            None => server.addresses().to_vec(),
        };
        if addresses.is_empty() {
            return Err(Advice::new(
                format!("the ledger holds no address of {}", self.name),
                "give --address, or set one: `ringfort name secure --address`",
            )
            .into());
        }
        let own = match &self.client_key {
            Some(place) => Some(place.identity()?),
            None => None,
        };
        let mut failure = None;
        for address in addresses {
            let address = SocketAddr::new(address, self.port);
            let config = match &own {
                Some(own) => server.client_config_with_key(form, own)?,
                None => server.client_config(form)?,
            };
            match server.connect_with(address, config).await {
                Ok(stream) => {
                    eprintln!(
                        "connected to {} at {address}: {}, proven at height {}",
                        server.name(),
                        server.key(),
                        server.height()
                    );
                    return pass(stream).await;
                }
                Err(error) => failure = Some(error),
            }
        }
        let failure = failure.context("there was no address")?;
        Err(anyhow::Error::new(failure).context(
            Advice::new(
                format!("no connection to {}", self.name),
                "nothing was said to whoever answered; the ledger's key may be newer than the server's",
            )
            .with_status(Status::NotProven),
        ))
    }

    async fn server(&self, session: &Session) -> anyhow::Result<ProvenServer> {
        let Some(file) = &self.proof else {
            let client = user::client(session)?;
            return Ok(ProvenServer::read(&client, &self.name).await?);
        };
        let circle = proof::circle_key(session, self.circle)?;
        let shown = names::verify_name(&proof::read(file)?, &circle).with_context(|| {
            Advice::new(
                "the proof does not verify",
                "it is of another circle, damaged, or whoever gave it lied",
            )
            .with_status(Status::NotProven)
        })?;
        Ok(ProvenServer::of(&shown, &self.name)?)
    }
}

/// Passes octets both ways until the peer ends.
pub(super) async fn pass(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + 'static,
) -> anyhow::Result<Status> {
    let (mut from, mut to) = tokio::io::split(stream);
    let sending = tokio::spawn(async move {
        copy(&mut tokio::io::stdin(), &mut to).await?;
        to.shutdown().await
    });
    let mut out = tokio::io::stdout();
    copy(&mut from, &mut out)
        .await
        .context("read from the peer")?;
    out.flush().await?;
    sending.abort();
    Ok(Status::Done)
}
