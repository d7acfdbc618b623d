//! The parts' configuration files, derived from `circle.toml` and the genesis
//! at every start, so that they always fit this build and this place.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use naming::{held::LabelSettings, names::signer::ServerSettings};
use serde::Serialize;
use wire::{CircleId, CircleKey, Genesis, PublicKey};

use super::keys::passphrase_file;
use crate::{
    commands::daemon::AgentConfig,
    founding,
    ports::Ports,
    state_directory::{CircleFile, Embedded, StateDirectory, write_toml},
};

#[derive(Serialize)]
struct Node {
    genesis: PathBuf,
    data_dir: PathBuf,
    identity_file: PathBuf,
    share_file: PathBuf,
    listen: SocketAddr,
    api: SocketAddr,
    validators: Vec<ValidatorAddress>,
    checkpoints: Checkpoints,
    evidence: Option<Evidence>,
}

/// What makes evidence of a validator's code.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Evidence {
    Development {
        quoting_key: PathBuf,
        quoting_certificate: PathBuf,
    },
}

/// Which checkpoints a node makes: often, since an embedded circle is small,
/// and in small pieces, so that there are some.
#[derive(Serialize)]
struct Checkpoints {
    every_blocks: u64,
    chunk_bytes: u32,
}

/// Half a minute of an idle circle.
const CHECKPOINTS: Checkpoints = Checkpoints {
    every_blocks: 64,
    chunk_bytes: 4096,
};

#[derive(Serialize)]
struct ValidatorAddress {
    key: PublicKey,
    address: String,
}

/// What every agent knows of the circle.
#[derive(Serialize)]
struct Circle<'a> {
    circle: CircleId,
    circle_key: CircleKey,
    nodes: &'a [String],
}

#[derive(Serialize)]
struct Names<'a> {
    #[serde(flatten)]
    circle: Circle<'a>,
    signers: Vec<String>,
    fronts: Fronts,
    registration: Registration,
}

#[derive(Serialize)]
struct Signer<'a> {
    #[serde(flatten)]
    circle: Circle<'a>,
    key_file: PathBuf,
    passphrase_file: PathBuf,
    zone_keys: PathBuf,
    listen: SocketAddr,
    servers: Vec<ServerSettings>,
    label: Option<LabelSettings>,
}

/// Where a name server answers.
#[derive(Serialize)]
struct Fronts {
    listen: Vec<SocketAddr>,
    tls: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    quic: Vec<SocketAddr>,
    http: SocketAddr,
    identity: Identity,
}

/// A name server's own key.
#[derive(Serialize)]
struct Identity {
    key_file: PathBuf,
}

/// The account with which a name server registers that key.
#[derive(Serialize)]
struct Registration {
    key_file: PathBuf,
    passphrase_file: PathBuf,
    updates: bool,
}

#[derive(Serialize)]
struct Authority<'a> {
    #[serde(flatten)]
    circle: Circle<'a>,
    key_file: PathBuf,
    passphrase_file: PathBuf,
    data_dir: PathBuf,
    http: SocketAddr,
    challenge_loopback: bool,
    label: Option<LabelSettings>,
}

/// Writes the configuration of every part.
///
/// Errors: the genesis cannot be read; a file cannot be written.
pub fn write(
    state: &StateDirectory,
    file: &CircleFile,
    embedded: &Embedded,
    ports: Ports,
) -> anyhow::Result<()> {
    write_nodes(state, embedded, ports)?;
    let circle = || Circle {
        circle: file.circle,
        circle_key: file.circle_key,
        nodes: &file.nodes,
    };
    let names_account = state.names().join(founding::ACCOUNT_KEY);
    let names = Names {
        circle: circle(),
        signers: vec![ports.zone_feed().to_string()],
        fronts: Fronts {
            listen: vec![ports.names()],
            tls: vec![ports.names_tls()],
            https: vec![ports.names_https()],
            quic: vec![ports.names_quic()],
            http: ports.names_http(),
            identity: Identity {
                key_file: state.names().join("names.key"),
            },
        },
        registration: Registration {
            passphrase_file: passphrase_file(&names_account),
            key_file: names_account,
            updates: true,
        },
    };
    write_toml(&state.names().join("names.toml"), &names)?;
    let directory = state.signer();
    let signer = Signer {
        circle: circle(),
        key_file: directory.join(founding::ACCOUNT_KEY),
        passphrase_file: passphrase_file(&directory.join(founding::ACCOUNT_KEY)),
        zone_keys: directory.join("zone-keys.json"),
        listen: ports.zone_feed(),
        servers: vec![ServerSettings {
            label: "ns".parse().expect("a label is a name"),
            addresses: vec![ports.names().ip()],
        }],
        label: label(state, &directory, "zone-signer"),
    };
    write_toml(&directory.join("signer.toml"), &signer)?;
    let directory = state.certificate_authority();
    let authority = Authority {
        circle: circle(),
        key_file: directory.join(founding::ACCOUNT_KEY),
        passphrase_file: passphrase_file(&directory.join(founding::ACCOUNT_KEY)),
        data_dir: directory.clone(),
        http: ports.certificate_authority(),
        challenge_loopback: true,
        label: label(state, &directory, "certificate-authority"),
    };
    write_toml(&directory.join("ca.toml"), &authority)?;
    super::provider::write(state, file, embedded, ports)?;
    super::keykeeper::write(state, file, embedded)?;
    let key_file = founding::user_key_file(state);
    let agent = AgentConfig {
        circle: file.circle,
        circle_key: file.circle_key,
        nodes: file.nodes.clone(),
        passphrase_file: Some(passphrase_file(&key_file)),
        key_file,
        wallet: state.user().join("wallet"),
    };
    write_toml(&state.user().join("agent.toml"), &agent)
}

/// The label whose key a daemon is to hold, if it was founded with what that takes.
fn label(state: &StateDirectory, directory: &Path, service: &str) -> Option<LabelSettings> {
    let quoting_key = directory.join("quoting.seed");
    quoting_key.exists().then(|| LabelSettings {
        service: service.to_owned(),
        version: 1,
        owner: None,
        program: state.keykeeper_program(),
        data_dir: directory.to_owned(),
        quoting_key,
        quoting_certificate: directory.join("quoting.certificate"),
    })
}

fn write_nodes(state: &StateDirectory, embedded: &Embedded, ports: Ports) -> anyhow::Result<()> {
    let path = state.genesis();
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let genesis: Genesis =
        serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
    for index in 0..embedded.validators {
        let directory = state.node(index);
        let quoting_key = directory.join("quoting.seed");
        let node = Node {
            genesis: state.genesis(),
            data_dir: directory.join("data"),
            identity_file: directory.join("identity.seed"),
            share_file: directory.join("share"),
            listen: ports.peer(index),
            api: ports.api(index),
            validators: (0..)
                .zip(&genesis.validators)
                .map(|(peer, validator)| ValidatorAddress {
                    key: validator.key,
                    address: ports.peer(peer).to_string(),
                })
                .collect(),
            checkpoints: CHECKPOINTS,
            // A circle of an older build has no such keys.
            evidence: quoting_key.exists().then(|| Evidence::Development {
                quoting_certificate: directory.join("quoting.certificate"),
                quoting_key: quoting_key.clone(),
            }),
        };
        write_toml(&directory.join("node.toml"), &node)?;
    }
    Ok(())
}
