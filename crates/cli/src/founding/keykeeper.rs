//! The keykeepers of a new circle: each has its protected process make an
//! identity, and then makes the first key with the others once the circle runs.

use anyhow::Context as _;
use keyhost::Files;
use wire::{Measurement, PublicKey, SigningKey};

use super::keys;
use crate::{
    commands::keykeeper::{DevelopmentEvidence, KeykeeperConfig},
    founding::enclave,
    state_directory::{CircleFile, Embedded, StateDirectory, write_toml},
};

/// What the genesis must know of them.
#[derive(Default)]
pub struct Made {
    /// Their identities, ascending.
    pub keys: Vec<PublicKey>,
    /// Their code; none if there are none.
    pub measurement: Option<Measurement>,
}

/// Makes `count` keykeepers with the program beside this one.
///
/// Errors: there is no such program, or it does not run; a file cannot be written.
pub fn make(state: &StateDirectory, count: u16, root: &SigningKey) -> anyhow::Result<Made> {
    if count == 0 {
        return Ok(Made::default());
    }
    let program = enclave::find_keykeeper()?.context("there is no keykeeper program")?;
    let copy = state.keykeeper_program();
    std::fs::copy(&program, &copy).with_context(|| format!("copy {}", program.display()))?;
    let program = crate::commands::keykeeper::program(&copy)?;
    let mut made = Made {
        keys: Vec::new(),
        measurement: Some(program.measurement()),
    };
    for index in 0..count {
        let directory = state.keykeeper(index);
        let files = Files::at(&directory.join("data"));
        let key = (|| {
            let (key, sealed) = keyhost::make(&program, &*files.sealing_key()?)?;
            files.keep(&sealed)?;
            files.publish(&key)?;
            anyhow::Ok(key)
        })();
        made.keys
            .push(key.with_context(|| format!("make the identity of keykeeper {index}"))?);
        keys::make_quoting_key(&directory, root, &format!("keykeeper-{index}"))?;
    }
    made.keys.sort_unstable();
    Ok(made)
}

/// Writes the configuration of every keykeeper.
///
/// Errors: a file cannot be written.
pub fn write(state: &StateDirectory, file: &CircleFile, embedded: &Embedded) -> anyhow::Result<()> {
    for index in 0..embedded.keykeepers {
        let directory = state.keykeeper(index);
        let config = KeykeeperConfig {
            circle: file.circle,
            circle_key: file.circle_key,
            nodes: file.nodes.clone(),
            program: state.keykeeper_program(),
            data_dir: directory.join("data"),
            development: DevelopmentEvidence {
                quoting_key: directory.join("quoting.seed"),
                quoting_certificate: directory.join("quoting.certificate"),
            },
            seal: None,
        };
        write_toml(&directory.join("keykeeper.toml"), &config)?;
    }
    Ok(())
}
