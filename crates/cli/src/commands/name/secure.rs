//! `ringfort name secure`: the domain security transaction of seed 002: a
//! server's key, its certificate's hash and its addresses, at a name or beneath.

use std::{net::IpAddr, path::PathBuf};

use anyhow::Context as _;
use domain::base::Rtype;
use wire::{Action, Digest, DomainName, NameSecure, NameSet, PublicKey, RecordSet, RelativeName};

use super::records::address_sets;
use crate::{
    commands::sent::SentReport,
    failure::{Advice, Status},
    session::Session,
    typed_name,
};

/// What a server is known by.
#[derive(clap::Args, Default)]
pub struct Server {
    /// The server's public key, by which peers authenticate it.
    #[arg(long, value_name = "KEY")]
    server_key: Option<PublicKey>,
    /// The server's certificate, PEM or DER: its hash goes to the key and into a TLSA record.
    #[arg(long, value_name = "FILE", requires = "server_key")]
    certificate: Option<PathBuf>,
    /// The port that the TLSA record is for.
    #[arg(long, default_value_t = 443)]
    port: u16,
    /// An address of the server; may be given often.
    #[arg(long, value_name = "ADDRESS")]
    address: Vec<IpAddr>,
    /// Time to live of its records, in seconds.
    #[arg(long, default_value_t = 300)]
    ttl: u32,
}

impl Server {
    /// The actions that record it at `owner` beneath `name`; none if nothing was given.
    ///
    /// Errors: the certificate cannot be read.
    pub fn actions(
        &self,
        name: &DomainName,
        owner: Option<&RelativeName>,
    ) -> anyhow::Result<Vec<Action>> {
        let mut records = address_sets(owner, self.ttl, &self.address);
        let certificate = match &self.certificate {
            Some(path) => Some(certificate_digest(path)?),
            None => None,
        };
        if let Some(digest) = certificate {
            records.push(self.tlsa(owner, digest)?);
        }
        let mut actions = Vec::new();
        if !records.is_empty() {
            let name = name.clone();
            actions.push(Action::NameSet(NameSet { name, records }));
        }
        if let Some(key) = self.server_key {
            actions.push(Action::NameSecure(NameSecure {
                name: name.clone(),
                owner: owner.cloned(),
                server: Some((key, certificate)),
            }));
        }
        Ok(actions)
    }

    /// TLSA 3 0 1: this certificate, whole, by SHA-256 (RFC 6698 §2.1).
    fn tlsa(&self, owner: Option<&RelativeName>, digest: Digest) -> anyhow::Result<RecordSet> {
        let service = match owner {
            Some(owner) => format!("_{}._tcp.{owner}", self.port),
            None => format!("_{}._tcp", self.port),
        };
        Ok(RecordSet {
            owner: Some(service.parse().context("name the TLSA record")?),
            rtype: Rtype::TLSA.to_int(),
            ttl: self.ttl,
            data: vec![[&[3, 0, 1][..], &digest.0].concat()],
        })
    }
}

/// SHA-256 of a certificate's DER.
fn certificate_digest(path: &PathBuf) -> anyhow::Result<Digest> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let der = match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains("-----BEGIN CERTIFICATE-----") => {
            first_pem(text).with_context(|| format!("{} is no PEM certificate", path.display()))?
        }
        _ => bytes,
    };
    if der.first() != Some(&0x30) {
        anyhow::bail!("{} is no certificate: it is not DER", path.display());
    }
    Ok(Digest::of(&[&der]))
}

/// The DER of the first certificate of a PEM file (RFC 7468).
fn first_pem(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    let body: String = body.split_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(body).ok()
}

/// Arguments of `ringfort name secure`.
#[derive(clap::Args)]
pub struct Secure {
    /// The registered name.
    #[arg(value_parser = typed_name::parse)]
    name: DomainName,
    /// The server's name beneath it, such as www.
    #[arg(long)]
    owner: Option<RelativeName>,
    #[command(flatten)]
    server: Server,
    /// Remove the server's key instead; its records stay.
    #[arg(long, conflicts_with_all = ["server_key", "certificate", "address"])]
    remove: bool,
}

impl Secure {
    /// Records what was given, in one transaction.
    pub fn execute(self, session: &Session) -> anyhow::Result<Status> {
        let actions = if self.remove {
            vec![Action::NameSecure(NameSecure {
                name: self.name,
                owner: self.owner,
                server: None,
            })]
        } else {
            self.server.actions(&self.name, self.owner.as_ref())?
        };
        if actions.is_empty() {
            return Err(Advice::new(
                "nothing to set",
                "give --server-key, with --certificate and --address if you like",
            )
            .into());
        }
        SentReport::send_all(session, actions, "secured")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_known_by_the_hash_of_its_der_in_either_form() {
        use base64::Engine as _;
        let der = [&[0x30, 3][..], &[7; 90]].concat();
        let body = base64::engine::general_purpose::STANDARD.encode(&der);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("certificate");
        for bytes in [der.clone(), pem.into_bytes()] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(certificate_digest(&path).unwrap(), Digest::of(&[&der]));
        }
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----").unwrap();
        assert!(certificate_digest(&path).is_err());
        std::fs::write(&path, "text").unwrap();
        assert!(certificate_digest(&path).is_err());
    }
}
