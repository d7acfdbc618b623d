//! How is a circle founded on one machine?
//!
//! Every key is made here, by one program on one machine, so whoever holds
//! this machine could sign as the whole circle: that is what *development*
//! means, and `up` says so. A circle whose members do not trust each other
//! makes its keys jointly instead.
//!
//! Everything is written beside the state directory first and moved into place
//! as a whole, so a founding that was interrupted leaves no half of a circle.

pub mod configuration;
pub mod enclave;
mod keykeeper;
pub mod keys;
mod provider;

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use wire::{
    AccountId, Amount, CircleKey, CircleKind, DomainName, EvidenceKind, Genesis, Parameters,
    PublicKey, ReferenceValue, SigningKey, Validator,
};

use crate::{
    failure::Advice,
    ports::Ports,
    session::Session,
    state_directory::{CircleFile, Embedded, StateDirectory, VERSION, write_file, write_toml},
};

/// Validators of an embedded circle: the fewest that tolerate one fault.
pub const DEFAULT_VALIDATORS: u16 = 4;

/// Providers of an embedded circle: the fewest that can replace one another.
pub const DEFAULT_PROVIDERS: u16 = 2;

/// Keykeepers of an embedded circle: the fewest that tolerate one fault.
pub const DEFAULT_KEYKEEPERS: u16 = 3;

/// The apex of an embedded circle: reserved for private use, so no name of it
/// will ever mean something else elsewhere.
const APEX: &str = "internal";

/// The key file of a provider's, the name node's or the certificate
/// authority's account.
pub const ACCOUNT_KEY: &str = "account.key";

/// What the user starts with: enough to run anything for years of blocks.
const USER_FUNDS: Amount = Amount(1_000_000_000_000);

/// What each provider, the name node, the certificate authority and the zone
/// signer start with, for fees and deposits.
const AGENT_FUNDS: Amount = Amount(10_000_000_000);

/// What is to be founded.
pub struct Plan {
    /// The port that all others follow from.
    pub base_port: u16,
    /// Validators.
    pub validators: u16,
    /// Providers.
    pub providers: u16,
    /// Keykeepers; none without their program.
    pub keykeepers: u16,
    /// What providers launch, to be admitted.
    pub enclave: enclave::Program,
    /// Apexes beneath which names are registered; `internal` if there is none.
    pub apexes: Vec<DomainName>,
}

/// The least time for each step of a handshake where enclaves are emulated guests:
/// such a guest starts, and compiles a payload, ten times slower than a process.
const GUEST_HANDSHAKE_LIMIT_MS: u64 = 180_000;

/// The user's key file in an embedded circle.
pub fn user_key_file(state: &StateDirectory) -> PathBuf {
    state.user().join("user.key")
}

/// Founds a circle and puts it at the session's state directory.
///
/// Errors: something else is there; a file cannot be written; the plan's ports
///         leave their range.
pub fn found(session: &Session, plan: &Plan) -> anyhow::Result<()> {
    let root = session.state.root();
    refuse_foreign(root)?;
    let ports = Ports::above(plan.base_port).ok_or_else(|| {
        Advice::new(
            format!(
                "--base-port {} leaves no room for the circle's ports",
                plan.base_port
            ),
            format!("choose one from 1024 to {}", u16::MAX - crate::ports::SPAN),
        )
    })?;
    session.terminal.progress(&format!(
        "founding a development circle: {} validators, {} providers, {} keykeepers; this machine \
         deals every key but theirs",
        plan.validators, plan.providers, plan.keykeepers
    ));
    let mut partial = root.as_os_str().to_owned();
    partial.push(format!(".founding-{}", std::process::id()));
    let partial = PathBuf::from(partial);
    let made = make(&StateDirectory::at(&partial), plan, ports).and_then(|()| {
        std::fs::rename(&partial, root)
            .with_context(|| format!("move the new circle to {}", root.display()))
    });
    if made.is_err() {
        let _ = std::fs::remove_dir_all(&partial);
    }
    made
}

/// Refuses to found a circle where something else lies.
fn refuse_foreign(root: &Path) -> anyhow::Result<()> {
    let Ok(mut entries) = std::fs::read_dir(root) else {
        return Ok(());
    };
    if entries.next().is_none() {
        return Ok(());
    }
    Err(Advice::new(
        format!("{} exists and holds no circle", root.display()),
        "name another directory with --state DIR; nothing in this one was touched",
    )
    .into())
}

fn make(state: &StateDirectory, plan: &Plan, ports: Ports) -> anyhow::Result<()> {
    std::fs::create_dir_all(state.root())
        .with_context(|| format!("make {}", state.root().display()))?;
    restrict(state.root())?;
    let measurement = plan.enclave.copy_into(state)?;
    let guest = matches!(plan.enclave, enclave::Program::Guest(_));

    let dealt = deal(state, plan)?;
    let root = keys::seed()?;
    write_secret(&state.join("development-root.seed"), &*root)?;
    let root = SigningKey::ed25519(*root);
    let mut accounts = Vec::new();
    for index in 0..plan.providers {
        let directory = state.provider(index);
        let label = format!("provider-{index}");
        accounts.push((
            keys::make(&directory.join(ACCOUNT_KEY), &label)?.account(),
            AGENT_FUNDS,
        ));
        keys::make_quoting_key(&directory, &root, &label)?;
    }
    for index in 0..plan.validators {
        keys::make_quoting_key(&state.node(index), &root, &format!("node-{index}"))?;
    }
    let keykeepers = keykeeper::make(state, plan.keykeepers, &root)?;
    for key in &keykeepers.keys {
        accounts.push((key.account(), AGENT_FUNDS));
    }
    let authority = keys::make(&state.certificate_authority().join(ACCOUNT_KEY), "ca")?.account();
    accounts.push((authority, AGENT_FUNDS));
    let signer = keys::make(&state.signer().join(ACCOUNT_KEY), "signer")?.account();
    accounts.push((signer, AGENT_FUNDS));
    if !keykeepers.keys.is_empty() {
        // With keykeepers, both hold keys of labels, and show evidence for them.
        for (directory, label) in [
            (state.certificate_authority(), "ca"),
            (state.signer(), "signer"),
        ] {
            keys::make_quoting_key(&directory, &root, label)?;
        }
    }
    let name_server = keys::make(&state.names().join(ACCOUNT_KEY), "names")?.account();
    accounts.push((name_server, AGENT_FUNDS));
    let user = keys::make(&user_key_file(state), "user")?.account();
    accounts.push((user, USER_FUNDS));
    for mirror in state.mirrors() {
        std::fs::create_dir_all(mirror)?;
    }

    for validator in &dealt.validators {
        accounts.push((validator.key.account(), AGENT_FUNDS));
    }

    let agents = Agents {
        authority,
        signer,
        name_server,
    };
    let apexes = match plan.apexes.as_slice() {
        [] => vec![APEX.parse().context("the apex")?],
        given => given.to_vec(),
    };
    let mut codes = vec![measurement];
    codes.extend(keykeepers.measurement);
    let mut genesis = genesis(
        dealt,
        root.public(),
        agents,
        accounts,
        apexes,
        (codes, keykeepers.keys),
    )?;
    if guest {
        genesis.parameters.handshake_limit_ms = GUEST_HANDSHAKE_LIMIT_MS;
    }
    write_file(
        &state.genesis(),
        &serde_json::to_vec_pretty(&genesis)?,
        false,
    )?;
    let file = CircleFile {
        state_version: VERSION,
        name: genesis.name.clone(),
        circle: genesis.circle(),
        circle_key: genesis.circle_key,
        nodes: (0..plan.validators)
            .map(|index| format!("http://{}", ports.api(index)))
            .collect(),
        apex: genesis.apexes.first().context("the genesis' apex")?.clone(),
        names: ports.names(),
        embedded: Some(Embedded {
            base_port: plan.base_port,
            validators: plan.validators,
            providers: plan.providers,
            keykeepers: plan.keykeepers,
            guest,
            measurement,
        }),
    };
    write_toml(&state.circle_file(), &file)
}

/// Makes `directory` its owner's alone: keys and a ledger lie in it.
fn restrict(directory: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
        .with_context(|| format!("restrict {}", directory.display()))
}

fn write_secret(path: &Path, secret: &[u8]) -> anyhow::Result<()> {
    write_file(path, format!("{}\n", hex::encode(secret)).as_bytes(), true)
}

/// What the dealer made public.
struct Dealt {
    circle_key: CircleKey,
    sharing: Vec<u8>,
    validators: Vec<Validator>,
}

/// Makes the validators' identities and deals their shares of the circle's key.
fn deal(state: &StateDirectory, plan: &Plan) -> anyhow::Result<Dealt> {
    let mut peers = Vec::new();
    for index in 0..plan.validators {
        let seed = keys::seed()?;
        write_secret(&state.node(index).join("identity.seed"), &*seed)?;
        peers.push(engine::keys::public_key(&seed));
    }
    let dealing = engine::keys::development_dealer(&peers, *keys::seed()?)
        .context("deal the circle's key")?;
    for (index, share) in (0..plan.validators).zip(&dealing.shares) {
        write_secret(&state.node(index).join("share"), share)?;
    }
    let named = |(index, key): (usize, &engine::keys::PeerKey)| Validator {
        key: PublicKey::Ed25519(*key),
        name: format!("node-{index}"),
    };
    Ok(Dealt {
        circle_key: CircleKey(dealing.group_key),
        sharing: dealing.polynomial,
        validators: peers.iter().enumerate().map(named).collect(),
    })
}

/// Accounts that the genesis gives a task.
struct Agents {
    authority: AccountId,
    signer: AccountId,
    name_server: AccountId,
}

fn genesis(
    dealt: Dealt,
    root: PublicKey,
    agents: Agents,
    mut accounts: Vec<(AccountId, Amount)>,
    apexes: Vec<DomainName>,
    (codes, keykeepers): (Vec<wire::Measurement>, Vec<PublicKey>),
) -> anyhow::Result<Genesis> {
    accounts.sort_unstable();
    let time_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let genesis = Genesis {
        version: Genesis::VERSION,
        name: "development".into(),
        kind: CircleKind::Development,
        time_ms: u64::try_from(time_ms)?,
        circle_key: dealt.circle_key,
        sharing: dealt.sharing,
        validators: dealt.validators,
        accounts,
        apexes,
        certificate_authorities: vec![agents.authority],
        zone_signers: vec![agents.signer],
        name_servers: vec![agents.name_server],
        development_roots: vec![root],
        keykeepers,
        reference_values: codes
            .into_iter()
            .map(|measurement| ReferenceValue {
                measurement,
                kind: EvidenceKind::Development,
            })
            .collect(),
        evidence: Default::default(),
        parameters: Parameters::default(),
        origin: None,
    };
    genesis.check().context("the genesis that was just made")?;
    Ok(genesis)
}
