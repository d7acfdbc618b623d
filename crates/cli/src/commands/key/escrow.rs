//! `ringfort key escrow …`: members keep pieces of keykeepers' shares, so that lost
//! keykeepers can be restored (docs/operations/keys.md).

use client::Client;
use keyhost::read_proven;
use keykeeper::recovery;
use serde::Serialize;
use wire::{
    AccountId, Action, EscrowKey, PublicKey, SetEscrowKey,
    record::{EscrowHolders, KeyCommittee, KeyEscrow},
    state_key,
};
use zeroize::Zeroizing;

use crate::{
    commands::{member, runtime, sent::SentReport},
    failure::{Advice, Status},
    passphrase,
    session::Session,
    user,
};

/// Commands of a member on what it keeps.
#[derive(clap::Subcommand)]
pub enum Escrow {
    /// Keep pieces under a key file of their own, made by `ringfort keys new`.
    Enrol {
        #[command(flatten)]
        holder: Holder,
        /// Act as this validator of the circle on this machine.
        #[arg(long, value_name = "INDEX")]
        as_node: Option<u16>,
    },
    /// Keep no pieces any more.
    Leave {
        /// Act as this validator of the circle on this machine.
        #[arg(long, value_name = "INDEX")]
        as_node: Option<u16>,
    },
    /// Show who keeps pieces and which keykeepers are in escrow.
    Show,
    /// Open your pieces of all keykeepers and say whether each is good.
    Check(Holder),
}

/// With which key a member opens its pieces.
#[derive(clap::Args)]
pub struct Holder {
    /// The key file of the escrow: a name or a path.
    #[arg(long = "with", value_name = "KEY")]
    key: String,
}

impl Holder {
    /// The X25519 secret.
    ///
    /// Errors: there is no such key file; the passphrase is wrong.
    pub(super) fn secret(&self, session: &Session) -> anyhow::Result<Zeroizing<[u8; 32]>> {
        let path = user::named_key_file(&session.state, &self.key);
        let given = session.passphrase_file.as_deref();
        let key = user::open(&path, passphrase::for_key_file(&path, given)?)?;
        Ok(threshold::escrow_secret(&key.seed()))
    }
}

/// Carries out a command on escrow.
pub fn execute(session: &Session, command: Escrow) -> anyhow::Result<Status> {
    match command {
        Escrow::Enrol { holder, as_node } => {
            let public = threshold::escrow_public(&*holder.secret(session)?);
            let key = Some(EscrowKey(public));
            send(session, as_node, SetEscrowKey { key }, "enrolled")
        }
        Escrow::Leave { as_node } => send(session, as_node, SetEscrowKey { key: None }, "left"),
        Escrow::Show => show(session),
        Escrow::Check(holder) => check(session, &holder),
    }
}

fn send(
    session: &Session,
    as_node: Option<u16>,
    action: SetEscrowKey,
    what: &'static str,
) -> anyhow::Result<Status> {
    let account = member::account(session, as_node)?;
    let action = Action::SetEscrowKey(action);
    SentReport::send_from(session, &account, action, what, |_| None)
}

/// The keykeepers in office.
pub(super) async fn keepers(client: &Client) -> anyhow::Result<Vec<PublicKey>> {
    let committee: KeyCommittee = client
        .require(state_key::key_committee(), || "a master key".into())
        .await?;
    Ok(committee.keepers)
}

#[derive(Serialize)]
struct Shown {
    /// Members that keep pieces.
    holders: Vec<AccountId>,
    /// How many of them restore a keykeeper.
    least: u16,
    /// Keykeepers in office.
    keepers: Vec<Kept>,
    /// Whether every keykeeper is in escrow with those holders.
    complete: bool,
}

#[derive(Serialize)]
struct Kept {
    keeper: PublicKey,
    /// Whether its share is in escrow, with the present holders.
    escrowed: bool,
}

fn show(session: &Session) -> anyhow::Result<Status> {
    let client = user::client(session)?;
    let shown = runtime()?.block_on(async {
        let holders: Option<EscrowHolders> = client.proven(state_key::escrow_holders()).await?.0;
        let holders = holders.unwrap_or_default();
        let mut kept = Vec::new();
        for keeper in keepers(&client).await? {
            let escrow: Option<KeyEscrow> = client.proven(state_key::key_escrow(&keeper)).await?.0;
            let escrowed = escrow.is_some_and(|escrow| escrow.holders == holders);
            kept.push(Kept { keeper, escrowed });
        }
        anyhow::Ok(Shown {
            least: holders.least,
            complete: kept.iter().all(|one| one.escrowed),
            holders: holders.holders.iter().map(|one| one.member).collect(),
            keepers: kept,
        })
    })?;
    session.print(&shown, |shown| {
        let enough = shown.holders.len() >= usize::from(shown.least.max(2));
        let mut text = format!(
            "{} members keep pieces; any {} of them restore a keykeeper{}\n",
            shown.holders.len(),
            shown.least,
            if enough { "" } else { ": too few yet" },
        );
        for one in &shown.keepers {
            let state = if one.escrowed {
                "in escrow"
            } else {
                "NOT in escrow"
            };
            text += &format!("{}  {state}\n", one.keeper);
        }
        text
    })?;
    Ok(Status::Done)
}

/// An Ed25519 key's bytes.
///
/// Errors: another kind of key.
pub(super) fn keeper_key(key: &PublicKey) -> anyhow::Result<threshold::KeeperKey> {
    match key {
        PublicKey::Ed25519(key) => Ok(*key),
        PublicKey::P256(_) => Err(Advice::new(
            "a keykeeper's key is an Ed25519 key",
            "`ringfort key show --output json` lists the keykeepers in office",
        )
        .into()),
    }
}

#[derive(Serialize)]
struct Checked {
    keeper: PublicKey,
    /// Why the piece is of no use; none if it is good.
    trouble: Option<String>,
}

fn check(session: &Session, holder: &Holder) -> anyhow::Result<Status> {
    let secret = holder.secret(session)?;
    let client = user::client(session)?;
    let checked = runtime()?.block_on(async {
        let mut checked = Vec::new();
        for keeper in keepers(&client).await? {
            let key = keeper_key(&keeper)?;
            let reading = read_proven(&client, recovery::member_keys(&key)).await?;
            let piece = recovery::check_piece(client.circle(), key, &reading, &secret);
            let trouble = piece.err().map(|error| error.to_string());
            checked.push(Checked { keeper, trouble });
        }
        anyhow::Ok(checked)
    })?;
    session.print(&checked, |checked| {
        let line = |one: &Checked| match &one.trouble {
            None => format!("{}  good\n", one.keeper),
            Some(trouble) => format!("{}  {trouble}\n", one.keeper),
        };
        checked.iter().map(line).collect()
    })?;
    if checked.iter().any(|one| one.trouble.is_some()) {
        return Err(Advice::new(
            "not every piece is good",
            "a keykeeper that gives bad pieces is to be replaced: `ringfort key keepers`",
        )
        .into());
    }
    Ok(Status::Done)
}
