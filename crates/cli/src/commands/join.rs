//! `ringfort join`: ask to become a member of a circle (seed 002 [0041]): see
//! which circle there is at an address, ask it, and wait for its members.
//!
//! What a node says of its circle is not proven: nobody here holds the
//! circle's key yet. The command shows it and asks, or compares it with the id
//! that the user was given another way.

use std::{
    io::{BufRead as _, IsTerminal as _, Write as _},
    net::SocketAddr,
    path::PathBuf,
    str::FromStr,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use client::{
    Client, SecretString, Url,
    keyfile::{self, KeyKind, UnlockedKey},
};
use serde::Serialize;
use wire::{
    AccountId, CircleId, CircleKey, Genesis, JoinRequest, MemberRole, MemberTerms, PublicKey,
    SigningKey, ValidatorSeat, record, state_key,
};

use super::member::Role;
use crate::{
    failure::{Advice, Status},
    founding::keys,
    passphrase,
    session::Session,
    state_directory::{CircleFile, write_file, write_toml},
};

/// How often the ledger is asked whether the members have agreed.
const POLL: Duration = Duration::from_secs(2);

/// Where the API of a new validator's node is served: on its own machine only,
/// until its operator says otherwise.
const API: &str = "127.0.0.1:26800";

/// Ask to become a member of a circle.
#[derive(clap::Args)]
pub struct Join {
    /// The API of any node of the circle, such as http://node.example:26800.
    node: Url,
    /// The circle's id, if you were given it; asked for otherwise.
    #[arg(long)]
    circle: Option<CircleId>,
    /// Your name, for people.
    #[arg(long)]
    name: String,
    /// What you ask to be.
    #[arg(long, value_enum, default_value_t = Role::Voter)]
    role: Role,
    /// Where your validator will be reached, HOST:PORT; for the role of a validator.
    #[arg(long, required_if_eq("role", "validator"))]
    address: Option<String>,
    /// A validator in office and where it is reached, KEY@HOST:PORT; one or
    /// more, for the role of a validator.
    #[arg(
        long = "peer",
        value_name = "PEER",
        required_if_eq("role", "validator")
    )]
    peers: Vec<Peer>,
    /// Seconds to wait for the members; 0 not to wait.
    #[arg(long, default_value_t = 0)]
    wait: u64,
}

/// A validator that a new one connects to.
#[derive(Clone, Debug, Serialize)]
struct Peer {
    key: PublicKey,
    address: String,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, address) = text.split_once('@').ok_or("give it as KEY@HOST:PORT")?;
        let key = key.parse().map_err(|error| format!("{key}: {error}"))?;
        port_of(address)?;
        Ok(Self {
            key,
            address: address.to_owned(),
        })
    }
}

fn port_of(address: &str) -> Result<u16, String> {
    address
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok())
        .ok_or_else(|| format!("{address} is not HOST:PORT"))
}

/// The configuration of a new validator's node: it has no founder's share.
#[derive(Serialize)]
struct Node<'a> {
    genesis: PathBuf,
    data_dir: PathBuf,
    identity_file: PathBuf,
    listen: SocketAddr,
    api: &'static str,
    validators: &'a [Peer],
    sync: Sync,
}

/// From whom the new node fetches the state.
#[derive(Serialize)]
struct Sync {
    peers: Vec<String>,
}

/// A circle as one of its nodes tells of it.
struct Found {
    genesis: Genesis,
}

/// What came of asking.
#[derive(Serialize)]
struct Asked {
    circle: CircleId,
    account: AccountId,
    request: PathBuf,
    member: bool,
}

/// Finds, asks, and waits.
pub fn execute(session: &Session, join: &Join) -> anyhow::Result<Status> {
    let runtime = super::runtime()?;
    let found = runtime.block_on(look(&join.node))?;
    let circle = found.genesis.circle();
    confirm(join, &found)?;
    settle(session, join, &found.genesis)?;
    let (account, request) = ask(session, join, circle)?;
    if let Some(config) = configure(session, join)? {
        session.terminal.progress(&format!(
            "once the members have agreed, and before the epoch's end: `ringfort node --config {}`",
            config.display()
        ));
    }
    session.terminal.progress(&format!(
        "give {} to a member: `ringfort member approve {0}` counts as its vote",
        request.display()
    ));
    let client = Client::new(vec![join.node.clone()], found.genesis.circle_key, circle)?;
    let member = runtime.block_on(wait(&client, account, Duration::from_secs(join.wait)))?;
    let asked = Asked {
        circle,
        account,
        request,
        member,
    };
    session.print(&asked, |asked| {
        let state = if asked.member { "a member" } else { "asked" };
        format!(
            "{state}: account {} of circle {}\n",
            asked.account, asked.circle
        )
    })?;
    Ok(Status::Done)
}

/// What the node says its circle is; its genesis is at least its id's.
async fn look(node: &Url) -> anyhow::Result<Found> {
    // Nothing of this is proven, so no key is needed to ask.
    let asker = Client::new(vec![node.clone()], CircleKey([0; 96]), CircleId([0; 32]))?;
    let answer = asker
        .view("circle")
        .await
        .with_context(|| format!("ask {node} which circle it serves"))?;
    let genesis: Genesis = serde_json::from_value(answer["genesis"].clone())
        .with_context(|| format!("{node} gives no genesis"))?;
    genesis
        .check()
        .with_context(|| format!("no circle can be founded on the genesis of {node}"))?;
    Ok(Found { genesis })
}

fn confirm(join: &Join, found: &Found) -> anyhow::Result<()> {
    let genesis = &found.genesis;
    let circle = genesis.circle();
    if let Some(wanted) = join.circle {
        if wanted == circle {
            return Ok(());
        }
        return Err(Advice::new(
            format!("{} serves circle {circle}, not {wanted}", join.node),
            "ask for the address of a node of the circle that you mean",
        )
        .into());
    }
    let founders: Vec<&str> = genesis.validators.iter().map(|v| v.name.as_str()).collect();
    eprintln!(
        "circle    {} ({:?})\nid        {circle}\nkey       {}\nfounders  {}",
        genesis.name,
        genesis.kind,
        genesis.circle_key,
        founders.join(", ")
    );
    if !std::io::stdin().is_terminal() {
        return Err(Advice::new(
            "nobody is there to confirm that this is the right circle",
            format!("compare the id with one you trust and add --circle {circle}"),
        )
        .into());
    }
    eprint!("Compare the id with one you trust. Join this circle? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if answer.trim().eq_ignore_ascii_case("y") {
        Ok(())
    } else {
        Err(Advice::new("not joined", "nothing was written").into())
    }
}

/// Writes the state directory of a circle that runs elsewhere, unless it is there.
fn settle(session: &Session, join: &Join, genesis: &Genesis) -> anyhow::Result<()> {
    let state = &session.state;
    if state.circle_file().exists() {
        let known = state.read()?.circle;
        if known == genesis.circle() {
            return Ok(());
        }
        return Err(Advice::new(
            format!("{} is another circle's: {known}", state.root().display()),
            "name another directory with --state DIR",
        )
        .into());
    }
    let file =
        CircleFile::elsewhere(genesis, join.node.to_string()).context("the genesis has no apex")?;
    std::fs::create_dir_all(state.user())?;
    write_file(
        &state.genesis(),
        &serde_json::to_vec_pretty(genesis)?,
        false,
    )?;
    write_toml(&state.circle_file(), &file)
}

/// Makes the keys that are missing and writes the signed request.
fn ask(session: &Session, join: &Join, circle: CircleId) -> anyhow::Result<(AccountId, PathBuf)> {
    let key_file = session.state.user().join("member.key");
    let given = session.passphrase_file.as_deref();
    let key = if key_file.exists() {
        let passphrase = passphrase::for_key_file(&key_file, given)?;
        keyfile::open(&key_file, &SecretString::from(passphrase)).context("open the key file")?
    } else {
        let passphrase = passphrase::for_new_key_file(&key_file, given)?;
        let key = UnlockedKey::generate("member", KeyKind::Ed25519);
        keyfile::create(&key_file, &key, &SecretString::from(passphrase))?;
        key
    };
    let role = MemberRole::from(join.role);
    let seat_key = match role {
        MemberRole::Validator => Some(SigningKey::ed25519(*validator_seed(session)?)),
        MemberRole::Observer | MemberRole::Voter => None,
    };
    let seat = seat_key.as_ref().map(|seat_key| ValidatorSeat {
        key: seat_key.public(),
        address: join.address.clone().unwrap_or_default(),
    });
    let terms = MemberTerms {
        name: join.name.clone(),
        role,
        level: 0,
        facts: Vec::new(),
        seat,
        evidence: None,
    };
    let request = JoinRequest::sign(circle, &key.signer(), seat_key.as_ref(), terms);
    let path = session.state.join("join-request.json");
    write_file(&path, &serde_json::to_vec_pretty(&request)?, false)?;
    Ok((key.account(), path))
}

/// Writes the configuration of a new validator's node; one that is there stays.
fn configure(session: &Session, join: &Join) -> anyhow::Result<Option<PathBuf>> {
    let Some(address) = join
        .address
        .as_deref()
        .filter(|_| join.role == Role::Validator)
    else {
        return Ok(None);
    };
    let port = port_of(address).map_err(anyhow::Error::msg)?;
    let directory = std::path::absolute(session.state.node(0))?;
    let path = directory.join("node.toml");
    if path.exists() {
        return Ok(Some(path));
    }
    let node = Node {
        genesis: std::path::absolute(session.state.genesis())?,
        data_dir: directory.join("data"),
        identity_file: directory.join("identity.seed"),
        // An address of this machine's is listened at; behind another name or
        // a translator of addresses, every one.
        listen: address
            .parse()
            .unwrap_or(SocketAddr::from(([0, 0, 0, 0], port))),
        api: API,
        validators: &join.peers,
        sync: Sync {
            peers: vec![join.node.to_string()],
        },
    };
    write_toml(&path, &node)?;
    Ok(Some(path))
}

/// The seed of this machine's validator, made where there is none.
fn validator_seed(session: &Session) -> anyhow::Result<zeroize::Zeroizing<[u8; 32]>> {
    let path = session.state.node(0).join("identity.seed");
    if !path.exists() {
        let seed = keys::seed()?;
        let line = zeroize::Zeroizing::new(format!("{}\n", hex::encode(*seed)));
        write_file(&path, line.as_bytes(), true)?;
    }
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(&path)?);
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), &mut *seed)
        .with_context(|| format!("{} holds no seed", path.display()))?;
    Ok(seed)
}

/// Whether the account is a member's, by proof; asked until `patience` is over.
async fn wait(client: &Client, account: AccountId, patience: Duration) -> anyhow::Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        let (member, _) = client
            .proven::<record::Member>(state_key::member(account))
            .await
            .context("ask whether the members have agreed")?;
        if member.is_some() {
            return Ok(true);
        }
        if Instant::now() + POLL > deadline {
            return Ok(false);
        }
        tokio::time::sleep(POLL).await;
    }
}
