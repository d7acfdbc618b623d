//! `ringfort transaction`: transactions of keys that are held elsewhere: in a
//! TPM, a smart card, a passkey, or on a machine without a network.

use std::path::PathBuf;

use anyhow::Context as _;
use base64::Engine as _;
use serde::Serialize;
use wire::{
    Action, Amount, AnySignature, Digest, Height, PublicKey, Signature, Transaction,
    TransactionResult,
};

use crate::{
    failure::{Advice, Status},
    session::Session,
    user,
};

/// Commands on transactions of keys held elsewhere.
#[derive(clap::Subcommand)]
pub enum Signing {
    /// Prepare a transaction, and print the challenge that its key has to sign.
    Prepare(Prepare),
    /// Join a prepared transaction with its signature and send it.
    Submit(Submit),
}

/// Carries out a command on transactions.
pub fn execute(session: &Session, command: &Signing) -> anyhow::Result<Status> {
    match command {
        Signing::Prepare(prepare) => prepare.execute(session),
        Signing::Submit(submit) => submit.execute(session),
    }
}

/// Arguments of `ringfort transaction prepare`.
#[derive(clap::Args)]
pub struct Prepare {
    /// The key that will sign, and whose account pays.
    sender: PublicKey,
    /// File with the actions, a JSON list as the API writes them.
    actions: PathBuf,
    /// File to write the transaction to.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

#[derive(Serialize)]
struct Prepared {
    file: PathBuf,
    /// The WebAuthn challenge; a TPM or smart card signs its SHA-256.
    challenge: Digest,
    challenge_base64url: String,
    fee_limit: Amount,
    expires_at: Height,
}

impl Prepare {
    fn execute(&self, session: &Session) -> anyhow::Result<Status> {
        let path = &self.actions;
        let text =
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let actions: Vec<Action> = serde_json::from_str(&text)
            .with_context(|| format!("{} is no list of actions", path.display()))?;
        let client = user::client(session)?;
        let transaction = super::runtime()?
            .block_on(client.unsigned(self.sender, actions))
            .context("prepare the transaction")?;
        let bytes = borsh::to_vec(&transaction).context("encode the transaction")?;
        std::fs::write(&self.to, bytes).with_context(|| format!("write {}", self.to.display()))?;
        let challenge = transaction.challenge();
        let prepared = Prepared {
            file: self.to.clone(),
            challenge,
            challenge_base64url: base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(challenge.0),
            fee_limit: transaction.fee_limit,
            expires_at: transaction.expires_at,
        };
        session.print(&prepared, |prepared| {
            format!(
                "transaction {}\nchallenge   {}\nbase64url   {}\ncosts       at most {}\nvalid       until height {}\n",
                prepared.file.display(),
                prepared.challenge,
                prepared.challenge_base64url,
                prepared.fee_limit,
                prepared.expires_at
            )
        })?;
        Ok(Status::Done)
    }
}

/// A signature that was made elsewhere, in one of the forms that signers give.
#[derive(clap::Args)]
#[group(multiple = false)]
pub struct GivenSignature {
    /// The signature: 64 bytes, hex.
    #[arg(long, value_name = "HEX")]
    signature: Option<String>,
    /// File with a P-256 signature in DER, as TPMs and smart cards give it.
    #[arg(long, value_name = "FILE")]
    der: Option<PathBuf>,
    /// File with a passkey's assertion: the JSON of a PublicKeyCredential.
    #[arg(long, value_name = "FILE")]
    assertion: Option<PathBuf>,
}

impl GivenSignature {
    /// The signature, if one was given; of a P-256 one the lower `s`.
    ///
    /// Errors: it has not the form that was said.
    pub fn read(&self) -> anyhow::Result<Option<AnySignature>> {
        if let Some(path) = &self.assertion {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("read {}", path.display()))?;
            return Ok(Some(client::unsigned::assertion(&text)?));
        }
        if let Some(path) = &self.der {
            let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
            let signature = Signature::from_p256_der(&bytes)
                .with_context(|| format!("{} is no P-256 signature", path.display()))?;
            return Ok(Some(signature.into()));
        }
        let Some(digits) = &self.signature else {
            return Ok(None);
        };
        let mut bytes = [0; 64];
        hex::decode_to_slice(digits, &mut bytes).context("a signature is 128 hex digits")?;
        Ok(Some(Signature(bytes).into()))
    }
}

/// Arguments of `ringfort transaction submit`.
#[derive(clap::Args)]
pub struct Submit {
    /// File with the prepared transaction.
    file: PathBuf,
    #[command(flatten)]
    signature: GivenSignature,
}

impl Submit {
    fn execute(&self, session: &Session) -> anyhow::Result<Status> {
        let path = &self.file;
        let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        let transaction: Transaction = borsh::from_slice(&bytes)
            .with_context(|| format!("{} is no prepared transaction", path.display()))?;
        let signature = self.signature.read()?.ok_or_else(|| {
            Advice::new(
                "there is no signature",
                "give --signature HEX, --der FILE or --assertion FILE",
            )
        })?;
        let signed = client::unsigned::join(transaction, signature)
            .context("the signature is not the sender's over this transaction")?;
        let client = user::client(session)?;
        let receipt = super::runtime()?
            .block_on(client.submit(&signed))
            .context("send the transaction")?;
        session.print(&receipt, |receipt| {
            format!(
                "tx {} in block {}, fee {}\n",
                receipt.transaction, receipt.height, receipt.fee
            )
        })?;
        match receipt.result {
            TransactionResult::Applied => Ok(Status::Done),
            TransactionResult::Rejected { reject, .. } => Err(reject.into()),
        }
    }
}
