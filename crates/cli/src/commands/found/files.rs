//! The files that founders exchange, and a founder's own directory.
//!
//! Every exchanged file is signed by its founder's key over the ceremony and
//! the content; a file of another ceremony or founder is refused.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wire::{CircleId, Digest, PublicKey, Signature, SigningKey};
use zeroize::Zeroizing;

use super::read_text;
use crate::{failure::Advice, founding::keys, state_directory::write_file};

/// What a founder's key signs for.
const PURPOSE: &str = "ringfort/founding/1";

/// Founders of a circle at most: a sealed message holds the commitment of so
/// many. A circle grows by votes afterwards.
pub const MAX_FOUNDERS: usize = 24;

/// A founder, as the others know it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Card {
    /// Its name, for people.
    pub name: String,
    /// Its validator's key; Ed25519.
    pub key: PublicKey,
    /// The X25519 key to which secrets are sealed.
    #[serde(with = "hex::serde")]
    pub agreement: [u8; 32],
    /// Where its validator will be reached.
    pub address: String,
}

/// Bytes for or of one founder.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Item {
    /// The other founder.
    pub founder: PublicKey,
    /// The bytes.
    #[serde(with = "hex::serde")]
    pub bytes: Vec<u8>,
}

/// What a file is of.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Stage {
    /// Sealed messages, one for each founder.
    Deal = 0,
    /// Acknowledgements, one for each dealer.
    Acknowledgement = 1,
    /// A dealing, one item of the founder itself.
    Dealing = 2,
}

/// What a founder says at one stage of a ceremony.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Statement {
    /// The ceremony: the digest of all cards.
    pub ceremony: CircleId,
    /// The stage.
    pub stage: Stage,
    /// Who says it.
    pub from: PublicKey,
    /// What.
    pub items: Vec<Item>,
}

/// Something with a founder's signature.
#[derive(Serialize, Deserialize)]
pub struct Signed<T> {
    /// What was signed.
    pub content: T,
    /// Over its borsh bytes.
    pub signature: Signature,
}

impl<T: BorshSerialize> Signed<T> {
    fn new(content: T, key: &SigningKey) -> anyhow::Result<Self> {
        let signature = key.sign(PURPOSE, &borsh::to_vec(&content)?);
        Ok(Self { content, signature })
    }

    fn open(self, key: &PublicKey) -> anyhow::Result<T> {
        let message = borsh::to_vec(&self.content)?;
        key.verify(PURPOSE, &message, &self.signature)?;
        Ok(self.content)
    }
}

/// A founder's directory.
pub struct Founder {
    directory: PathBuf,
}

impl Founder {
    pub fn at(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A secret of 32 bytes, made where there is none.
    pub fn secret(&self, name: &str) -> anyhow::Result<Zeroizing<[u8; 32]>> {
        let path = self.path(name);
        if !path.exists() {
            let line = Zeroizing::new(format!("{}\n", hex::encode(*keys::seed()?)));
            write_file(&path, line.as_bytes(), true)?;
        }
        let text = Zeroizing::new(read_text(&path)?);
        let mut secret = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), &mut *secret)
            .with_context(|| format!("{} holds no secret", path.display()))?;
        Ok(secret)
    }

    /// The validator's key.
    pub fn identity(&self) -> anyhow::Result<SigningKey> {
        Ok(SigningKey::ed25519(*self.secret("identity.seed")?))
    }

    pub fn write<T: Serialize>(
        &self,
        name: &str,
        value: &T,
        secret: bool,
    ) -> anyhow::Result<PathBuf> {
        let path = self.path(name);
        write_file(&path, &serde_json::to_vec_pretty(value)?, secret)?;
        Ok(path)
    }

    pub fn read<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<T> {
        let path = self.path(name);
        let text = read_text(&path).map_err(|_| {
            Advice::new(
                format!("{} is not there yet", path.display()),
                "take the steps of `ringfort found` in their order",
            )
        })?;
        serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))
    }

    /// Writes a signed file for the others.
    pub fn sign<T: BorshSerialize + Serialize>(
        &self,
        name: &str,
        content: T,
    ) -> anyhow::Result<PathBuf> {
        self.write(name, &Signed::new(content, &self.identity()?)?, false)
    }
}

fn parse<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    serde_json::from_str(&read_text(path)?).with_context(|| format!("parse {}", path.display()))
}

/// The founders, by their keys.
pub struct Roster(pub BTreeMap<PublicKey, Card>);

impl Roster {
    /// Reads and checks the founders' cards.
    ///
    /// Errors: a card is not signed, or is there twice; too few or too many.
    pub fn read(files: &[PathBuf]) -> anyhow::Result<Self> {
        let mut cards = BTreeMap::new();
        for path in files {
            let card: Signed<Card> = parse(path)?;
            let key = card.content.key;
            let card = card
                .open(&key)
                .with_context(|| format!("{} is not signed by its founder", path.display()))?;
            ensure!(
                matches!(key, PublicKey::Ed25519(_)),
                "{} has no Ed25519 key",
                path.display()
            );
            ensure!(
                cards.insert(key, card).is_none(),
                "{} is there twice",
                path.display()
            );
        }
        ensure!(
            (1..=MAX_FOUNDERS).contains(&cards.len()),
            "a circle has 1 to {MAX_FOUNDERS} founders"
        );
        Ok(Self(cards))
    }

    /// The ceremony's id: which founders, with which keys.
    pub fn ceremony(&self) -> anyhow::Result<CircleId> {
        let cards: Vec<&Card> = self.0.values().collect();
        let bytes = borsh::to_vec(&cards)?;
        Ok(CircleId(Digest::tagged("ringfort/founding/1", &[&bytes]).0))
    }

    /// Reads one statement of every founder, by founder.
    ///
    /// Errors: one is missing, there twice, unsigned, of another stage or ceremony.
    pub fn statements(
        &self,
        stage: Stage,
        files: &[PathBuf],
    ) -> anyhow::Result<BTreeMap<PublicKey, Vec<Item>>> {
        let ceremony = self.ceremony()?;
        let mut all = BTreeMap::new();
        for path in files {
            let signed: Signed<Statement> = parse(path)?;
            let from = signed.content.from;
            let name = path.display();
            ensure!(self.0.contains_key(&from), "{name} is of no founder");
            let statement = signed
                .open(&from)
                .with_context(|| format!("{name} is not signed by its founder"))?;
            ensure!(
                statement.ceremony == ceremony && statement.stage == stage,
                "{name} is of another ceremony or step"
            );
            ensure!(
                all.insert(from, statement.items).is_none(),
                "{name} is there twice"
            );
        }
        let missing: Vec<&str> = self
            .0
            .iter()
            .filter(|(key, _)| !all.contains_key(key))
            .map(|(_, card)| card.name.as_str())
            .collect();
        if missing.is_empty() {
            return Ok(all);
        }
        Err(Advice::new(
            format!("the files of {} are missing", missing.join(", ")),
            "every step needs the files of all founders",
        )
        .into())
    }
}
