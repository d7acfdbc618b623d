//! The genesis of a circle that its founders made together, and the
//! configuration of a founder's node.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use wire::{
    AccountId, Amount, CircleKey, CircleKind, DomainName, EvidenceRules, Genesis, Parameters,
    PublicKey, Validator,
};

use super::{
    Made, ceremony,
    files::{Founder, Roster},
};
use crate::state_directory::{CircleFile, write_toml};

/// Where a founder's node serves its API unless its configuration is changed.
const API: &str = "127.0.0.1:26800";

#[derive(Serialize)]
struct Node<'a> {
    genesis: &'a str,
    data_dir: &'a str,
    identity_file: &'a str,
    share_file: &'a str,
    listen: String,
    api: &'a str,
    validators: Vec<Address<'a>>,
}

#[derive(Serialize)]
struct Address<'a> {
    key: PublicKey,
    address: &'a str,
}

/// Makes the genesis, and this founder's configuration with it.
pub fn make(
    directory: &Path,
    name: &str,
    apex: &DomainName,
    accounts: &[(AccountId, Amount)],
    each: Amount,
) -> anyhow::Result<Made> {
    let (founder, roster, sharing) = ceremony::result(directory)?;
    let mut holdings: BTreeMap<AccountId, Amount> = BTreeMap::new();
    let validators = roster.0.keys().map(|key| (key.account(), each));
    for (account, amount) in accounts.iter().copied().chain(validators) {
        ensure!(
            holdings.insert(account, amount).is_none(),
            "account {account} is given twice"
        );
    }
    holdings.retain(|_, amount| *amount != Amount::ZERO);
    let time_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let genesis = Genesis {
        version: Genesis::VERSION,
        name: name.to_owned(),
        kind: CircleKind::Production,
        time_ms: u64::try_from(time_ms)?,
        circle_key: CircleKey(engine::keys::group_key_of(&sharing)?),
        sharing,
        validators: validators_of(&roster),
        accounts: holdings.into_iter().collect(),
        apexes: vec![apex.clone()],
        certificate_authorities: Vec::new(),
        zone_signers: Vec::new(),
        name_servers: Vec::new(),
        keykeepers: Vec::new(),
        development_roots: Vec::new(),
        reference_values: Vec::new(),
        evidence: EvidenceRules::default(),
        parameters: Parameters::default(),
        origin: None,
    };
    genesis.check()?;
    founder.write("genesis.json", &genesis, false)?;
    configured(&founder, &roster, &genesis)
}

pub(in crate::commands) fn validators_of(roster: &Roster) -> Vec<Validator> {
    let founder = |(key, card): (&PublicKey, &super::files::Card)| Validator {
        key: *key,
        name: card.name.clone(),
    };
    roster.0.iter().map(founder).collect()
}

/// Checks a genesis against this founder's own result, keeps it, and writes the
/// node's configuration.
pub fn check(directory: &Path, file: &Path) -> anyhow::Result<Made> {
    let (founder, roster, sharing) = ceremony::result(directory)?;
    let genesis: Genesis = serde_json::from_str(&super::read_text(file)?)
        .with_context(|| format!("parse {}", file.display()))?;
    genesis.check()?;
    ensure!(
        genesis.kind == CircleKind::Production,
        "it is no production circle: development evidence would be admitted"
    );
    ensure!(
        genesis.sharing == sharing && genesis.circle_key.0 == engine::keys::group_key_of(&sharing)?,
        "it is for another key than the founders made"
    );
    ensure!(
        genesis.validators == validators_of(&roster),
        "it lists other founders"
    );
    founder.write("genesis.json", &genesis, false)?;
    configured(&founder, &roster, &genesis)
}

pub(in crate::commands) fn configured(
    founder: &Founder,
    roster: &Roster,
    genesis: &Genesis,
) -> anyhow::Result<Made> {
    let me = founder.identity()?.public();
    let own = &roster.0.get(&me).context("you are no founder")?.address;
    let port = own.rsplit_once(':').map_or("26700", |(_, port)| port);
    let node = Node {
        genesis: "genesis.json",
        data_dir: "data",
        identity_file: "identity.seed",
        share_file: "share",
        listen: own
            .parse::<std::net::SocketAddr>()
            .map_or_else(|_| format!("0.0.0.0:{port}"), |address| address.to_string()),
        api: API,
        validators: roster
            .0
            .iter()
            .map(|(key, card)| Address {
                key: *key,
                address: &card.address,
            })
            .collect(),
    };
    write_toml(&founder.path("node.toml"), &node)?;
    // The directory is a state directory too: its founder votes from there.
    let circle = CircleFile::elsewhere(genesis, format!("http://{API}"))
        .context("the genesis has no apex")?;
    write_toml(&founder.path("circle.toml"), &circle)?;
    Ok(Made {
        file: founder.path("genesis.json"),
        what: "circle, the same for all",
        value: genesis.circle().to_string(),
        next: "compare the circle with every founder; look at node.toml; then `ringfort node --config node.toml`",
    })
}
