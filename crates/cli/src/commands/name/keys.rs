//! `ringfort name rotate`, `recover` and `veto`: which key owns a name.

use std::path::PathBuf;

use anyhow::Context as _;
use wire::{
    Action, AnySignature, DomainName, NameRecover, NameRotate, NameVeto, PublicKey, record,
    signed_digest, state_key,
};

use crate::{
    commands::{sent::SentReport, transaction::GivenSignature},
    failure::{Advice, Status},
    passphrase,
    session::Session,
    typed_name, user,
};

/// Arguments of `ringfort name rotate`.
#[derive(clap::Args)]
pub struct Rotate {
    /// The name.
    #[arg(value_parser = typed_name::parse)]
    name: DomainName,
    /// The new key: a key file of yours, by name or path, or a public key that is held
    /// elsewhere (a TPM, a passkey).
    to: String,
    /// File with the passphrase of the new key's file.
    #[arg(long, value_name = "FILE")]
    to_passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    consent: GivenSignature,
}

impl Rotate {
    /// Rotates; for a key that is held elsewhere, first says what it has to sign.
    pub fn execute(self, session: &Session) -> anyhow::Result<Status> {
        let client = user::client(session)?;
        let record: record::Name = crate::commands::runtime()?
            .block_on(client.require(state_key::name(&self.name), || {
                format!("name {}", self.name)
            }))
            .context("read the name")?;
        let message = NameRotate::message(
            client.circle(),
            &self.name,
            record.registered_at,
            &record.owner,
        );
        let (to, consent) = match self.to.parse::<PublicKey>() {
            Ok(to) => (to, self.given_consent(&to, &message)?),
            Err(_) => self.own_consent(session, &message)?,
        };
        let action = NameRotate {
            name: self.name,
            to,
            consent,
        };
        SentReport::send(session, Action::NameRotate(action), "rotated")
    }

    fn given_consent(&self, to: &PublicKey, message: &[u8]) -> anyhow::Result<AnySignature> {
        let Some(consent) = self.consent.read()? else {
            let asked = signed_digest(NameRotate::PURPOSE, message);
            return Err(Advice::new(
                format!("the new key has to consent: have it sign the challenge {asked}"),
                "a passkey takes it as challenge, a TPM signs its SHA-256; then give \
                 --assertion FILE, --der FILE or --signature HEX",
            )
            .into());
        };
        consent
            .verify(to, NameRotate::PURPOSE, message)
            .context("the consent is not the new key's")?;
        Ok(consent)
    }

    fn own_consent(
        &self,
        session: &Session,
        message: &[u8],
    ) -> anyhow::Result<(PublicKey, AnySignature)> {
        let path = user::named_key_file(&session.state, &self.to);
        let given = self
            .to_passphrase_file
            .as_deref()
            .or(session.passphrase_file.as_deref());
        let passphrase = passphrase::for_key_file(&path, given)?;
        let key = user::open(&path, passphrase)?;
        let consent = key.signer().sign(NameRotate::PURPOSE, message);
        Ok((key.public(), consent.into()))
    }
}

/// Arguments of `ringfort name recover`.
#[derive(clap::Args)]
pub struct Recover {
    /// The name.
    #[arg(value_parser = typed_name::parse)]
    name: DomainName,
    /// The key that shall own it.
    to: PublicKey,
}

impl Recover {
    /// Votes with the session's key, which must be a member's.
    pub fn execute(self, session: &Session) -> anyhow::Result<Status> {
        let action = NameRecover {
            name: self.name,
            to: self.to,
        };
        SentReport::send(session, Action::NameRecover(action), "voted")
    }
}

/// Ends a recovery of a name of the session's key.
pub fn veto(session: &Session, name: DomainName) -> anyhow::Result<Status> {
    SentReport::send(session, Action::NameVeto(NameVeto { name }), "vetoed")
}
