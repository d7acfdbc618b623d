//! Which parts make up an embedded circle, and how is each started?
//!
//! Each part is the daemon that would run alone on a machine of its own, with
//! a configuration file that says everything about it.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use crate::{
    ports::{Ports, Protocol},
    state_directory::{Embedded, StateDirectory},
};

/// One process of an embedded circle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name: of its log, its pid file and in `status`.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The arguments that start it.
    pub arguments: Vec<OsString>,
    /// What must answer before it is worth starting.
    pub needs: Option<SocketAddr>,
    /// Where it listens.
    pub listens: Vec<(Protocol, SocketAddr)>,
    /// Whether the ledger lives in it, so that it stops after the others.
    pub is_ledger: bool,
}

/// What a part is; the index counts parts of the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A validator with its API.
    Node(u16),
    /// A provider of compute.
    Provider(u16),
    /// The zone signer.
    Signer,
    /// The name node.
    Names,
    /// The certificate authority.
    CertificateAuthority,
    /// A keykeeper, with its protected process.
    Keykeeper(u16),
    /// The user's agent, which answers for replacements while no one watches.
    Agent,
}

impl Part {
    fn daemon(name: String, kind: Kind, command: &str, config: PathBuf) -> Self {
        Self {
            name,
            kind,
            arguments: vec![command.into(), "--config".into(), config.into()],
            needs: None,
            listens: Vec::new(),
            is_ledger: false,
        }
    }
}

/// The parts of an embedded circle, in the order in which they are started.
pub fn of(state: &StateDirectory, embedded: &Embedded, ports: Ports) -> Vec<Part> {
    let ledger = Some(ports.api(0));
    let mut parts = Vec::new();
    for index in 0..embedded.validators {
        let config = state.node(index).join("node.toml");
        let name = format!("node-{index}");
        let mut part = Part::daemon(name, Kind::Node(index), "node", config);
        part.listens = vec![
            (Protocol::Tcp, ports.peer(index)),
            (Protocol::Tcp, ports.api(index)),
        ];
        part.is_ledger = true;
        parts.push(part);
    }
    let mut service = |mut part: Part, listens: Vec<(Protocol, SocketAddr)>| {
        part.needs = ledger;
        part.listens = listens;
        parts.push(part);
    };
    let signer = state.signer().join("signer.toml");
    service(
        Part::daemon("signer".into(), Kind::Signer, "signer", signer),
        vec![(Protocol::Tcp, ports.zone_feed())],
    );
    let names = state.names().join("names.toml");
    service(
        Part::daemon("names".into(), Kind::Names, "names", names),
        vec![
            (Protocol::Udp, ports.names()),
            (Protocol::Tcp, ports.names()),
            (Protocol::Tcp, ports.names_http()),
            (Protocol::Tcp, ports.names_tls()),
            (Protocol::Tcp, ports.names_https()),
            (Protocol::Udp, ports.names_quic()),
        ],
    );
    let authority = state.certificate_authority().join("ca.toml");
    service(
        Part::daemon("ca".into(), Kind::CertificateAuthority, "ca", authority),
        vec![(Protocol::Tcp, ports.certificate_authority())],
    );
    for index in 0..embedded.providers {
        let config = state.provider(index).join("provider.toml");
        let name = format!("provider-{index}");
        service(
            Part::daemon(name, Kind::Provider(index), "provider", config),
            vec![
                (Protocol::Tcp, ports.service(index)),
                (Protocol::Tcp, ports.control(index)),
            ],
        );
    }
    for index in 0..embedded.keykeepers {
        let config = state.keykeeper(index).join("keykeeper.toml");
        let name = format!("keykeeper-{index}");
        service(
            Part::daemon(name, Kind::Keykeeper(index), "keykeeper", config),
            Vec::new(),
        );
    }
    let agent = state.user().join("agent.toml");
    service(
        Part::daemon("agent".into(), Kind::Agent, "agent", agent),
        Vec::new(),
    );
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_a_name_and_a_configuration_of_its_own() {
        let state = StateDirectory::at("/state".as_ref());
        let embedded = Embedded {
            base_port: 40_000,
            validators: 7,
            providers: 3,
            keykeepers: 3,
            guest: false,
            measurement: wire::Measurement([0; 32]),
        };
        let parts = of(&state, &embedded, Ports::above(40_000).unwrap());
        assert_eq!(parts.len(), 7 + 3 + 3 + 4);
        for (index, part) in parts.iter().enumerate() {
            for other in &parts[index + 1..] {
                assert_ne!(part.name, other.name);
                assert_ne!(part.arguments, other.arguments);
                assert!(
                    part.listens
                        .iter()
                        .all(|place| !other.listens.contains(place))
                );
            }
        }
    }
}
