//! `ringfort name reverse`: from an address to the names that have it.

use std::net::IpAddr;

use anyhow::Context as _;

use crate::{failure::Status, session::Session, user};

/// Arguments of `ringfort name reverse`.
#[derive(clap::Args)]
pub struct Reverse {
    /// The address.
    address: IpAddr,
}

impl Reverse {
    /// Lists the names, each proven.
    pub fn execute(self, session: &Session) -> anyhow::Result<Status> {
        let client = user::client(session)?;
        let names = crate::commands::runtime()?
            .block_on(client.names_of(self.address))
            .context("look the address up")?;
        session.print(&names, |names| {
            let line = |name: &wire::DomainName| format!("{}\n", name);
            names
                .iter()
                .flat_map(|name| name.at.iter())
                .map(line)
                .collect()
        })?;
        Ok(Status::Done)
    }
}
