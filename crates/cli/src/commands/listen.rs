//! `ringfort listen`: the server that `ringfort connect` finds, in front of a
//! service that knows nothing of it (docs/spec/connect.md).

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use client::{
    certificate,
    connect::ProvenServer,
    listen::{Clients, TlsAcceptor, acceptor, client_key, forward, shake_hands},
    server_key::ServerIdentity,
};
use tokio::net::TcpListener;
use wire::{Digest, DomainName, PublicKey};

use super::connect::pass;
use crate::{
    failure::{Advice, Status},
    server_key::ServerKeyPlace,
    session::Session,
    typed_name, user,
};

/// Arguments of `ringfort listen`.
#[derive(clap::Args)]
pub struct Listen {
    /// The server's name, which holds its key on the ledger.
    #[arg(value_parser = typed_name::parse)]
    name: DomainName,
    /// The server's key: a PKCS #8 file, or tpm:LABEL[@DEVICE].
    #[arg(long, value_name = "FILE")]
    server_key: ServerKeyPlace,
    /// Where clients come.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:443")]
    at: SocketAddr,
    /// The service that gets what they say; without it, one client gets
    /// standard input and output.
    #[arg(long, value_name = "ADDRESS:PORT")]
    to: Option<SocketAddr>,
    /// Show this certificate (PEM) instead of the key alone; the ledger holds its hash.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Serve only clients that show one of these keys; may be given often.
    #[arg(long, value_name = "KEY")]
    client: Vec<PublicKey>,
}

impl Listen {
    /// Serves until it is stopped, or, with standard input and output, until
    /// the one client ends.
    ///
    /// Errors: the ledger holds another key or certificate at the name; the
    ///         address cannot be listened at.
    pub fn execute(self, session: &Session) -> anyhow::Result<Status> {
        super::converse(self.run(session))
    }

    async fn run(self, session: &Session) -> anyhow::Result<Status> {
        let identity = self.server_key.identity()?;
        let server = ProvenServer::read(&user::client(session)?, &self.name).await?;
        self.check_key(&server, &identity)?;
        let chain = match &self.certificate {
            Some(path) => {
                let bytes =
                    std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
                let leaf = certificate::read(&bytes)?;
                if server.certificate() != Some(Digest::of(&[&leaf])) {
                    return Err(Advice::new(
                        format!("the ledger holds another certificate at {}", self.name),
                        "`ringfort name secure --certificate` sets it",
                    )
                    .into());
                }
                Some(vec![leaf.into()])
            }
            None => None,
        };
        let clients = if self.client.is_empty() {
            Clients::Anyone
        } else {
            Clients::Holders(self.client.clone())
        };
        let acceptor = acceptor(&identity, chain, &clients).context("set TLS up")?;
        let listener = TcpListener::bind(self.at)
            .await
            .with_context(|| format!("listen at {}", self.at))?;
        eprintln!(
            "{} at {}, as {}",
            self.name,
            listener.local_addr()?,
            identity.public()
        );
        let Some(service) = self.to else {
            return one(&listener, &acceptor).await;
        };
        tokio::select! {
            () = forward(listener, acceptor, service) => {}
            stopped = tokio::signal::ctrl_c() => stopped?,
        }
        Ok(Status::Done)
    }

    fn check_key(&self, server: &ProvenServer, identity: &ServerIdentity) -> anyhow::Result<()> {
        if server.key() == identity.public() {
            return Ok(());
        }
        Err(Advice::new(
            format!(
                "the ledger holds {} at {}, and this key is {}",
                server.key(),
                self.name,
                identity.public()
            ),
            "`ringfort name secure --server-key` sets it",
        )
        .into())
    }
}

/// Serves the first client that finishes the handshake.
async fn one(listener: &TcpListener, acceptor: &TlsAcceptor) -> anyhow::Result<Status> {
    loop {
        let (stream, address) = listener.accept().await.context("take a connection")?;
        match shake_hands(stream, acceptor).await {
            Ok(stream) => {
                match client_key(&stream) {
                    Some(key) => eprintln!("{address} is {key}"),
                    None => eprintln!("{address}"),
                }
                return pass(stream).await;
            }
            Err(error) => eprintln!("{address} ended the handshake: {error}"),
        }
    }
}
