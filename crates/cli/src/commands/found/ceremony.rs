//! The ceremony's steps: what each reads, checks, keeps and hands on.
//!
//! The cryptography is `engine::resharing`'s; secrets are sealed by HPKE to the
//! one founder that they are for. What a founder acknowledges it has stored.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use engine::{
    keys::PeerKey,
    resharing::{Conclusion, Dealer, Player, SecretMessage, Task},
};
use handshake::{AgreementSecret, Entropy, SealedPlace, SealedStep};
use wire::{CircleId, ContractId, Digest, PublicKey};
use zeroize::Zeroizing;

use super::{
    Made,
    files::{Card, Founder, Item, Roster, Stage, Statement},
};
use crate::{failure::Advice, state_directory::write_file};

/// A founder's keys and card.
pub fn make_keys(directory: &Path, name: &str, address: &str) -> anyhow::Result<Made> {
    let founder = Founder::at(directory);
    let agreement = AgreementSecret::from_bytes(*founder.secret("agreement.seed")?);
    let key = founder.identity()?.public();
    let card = Card {
        name: name.to_owned(),
        key,
        agreement: agreement.public(),
        address: address.to_owned(),
    };
    Ok(Made {
        file: founder.sign("card.json", card)?,
        what: "key",
        value: key.to_string(),
        next: "give the card to every founder; then `ringfort found deal` with all cards",
    })
}

/// The roster that `deal` kept, and the task that it stands for.
struct Ceremony {
    founder: Founder,
    roster: Roster,
    id: CircleId,
    task: Task,
    me: PublicKey,
}

fn peer(key: &PublicKey) -> anyhow::Result<PeerKey> {
    match key {
        PublicKey::Ed25519(bytes) => Ok(*bytes),
        PublicKey::P256(_) => bail!("{key} is not an Ed25519 key"),
    }
}

impl Ceremony {
    fn of(founder: Founder, roster: Roster) -> anyhow::Result<Self> {
        let id = roster.ceremony()?;
        let me = founder.identity()?.public();
        ensure!(
            roster.0.contains_key(&me),
            "your own card is not among the founders'"
        );
        let task = Task {
            circle: id,
            round: 0,
            previous: None,
            players: roster.0.keys().map(peer).collect::<Result<_, _>>()?,
        };
        Ok(Self {
            founder,
            roster,
            id,
            task,
            me,
        })
    }

    fn open(directory: &Path) -> anyhow::Result<Self> {
        let founder = Founder::at(directory);
        let cards: Vec<Card> = founder.read("roster.json")?;
        let cards = cards.into_iter().map(|card| (card.key, card)).collect();
        Self::of(founder, Roster(cards))
    }

    fn state(&self, name: &str, stage: Stage, items: Vec<Item>) -> anyhow::Result<PathBuf> {
        let statement = Statement {
            ceremony: self.id,
            stage,
            from: self.me,
            items,
        };
        self.founder.sign(name, statement)
    }

    /// The one place where a message from `from` to `to` opens.
    fn place(&self, from: &PublicKey, to: &PublicKey) -> SealedPlace {
        let pair = Digest::tagged("ringfort/founding/message/1", &[from.bytes(), to.bytes()]);
        SealedPlace {
            circle: self.id,
            contract: ContractId(pair.0),
            operation: 0,
            step: SealedStep::ClientChallenge,
        }
    }

    /// This founder's dealer: the same messages each time, from stored entropy.
    fn dealer(&self) -> anyhow::Result<(Dealer, Vec<SecretMessage>)> {
        let seed = self.founder.secret("identity.seed")?;
        let entropy = self
            .founder
            .secret(&format!("entropy-{}.seed", self.id.short()))?;
        Ok(Dealer::start(&self.task, &seed, None, *entropy)?)
    }

    /// This founder's player, with the messages that it has stored.
    fn player(&self, messages: &[Item]) -> anyhow::Result<(Player, Vec<Item>)> {
        let seed = self.founder.secret("identity.seed")?;
        let mut player = Player::new(&self.task, &seed)?;
        let mut acknowledgements = Vec::new();
        for message in messages {
            let name = &self.roster.0[&message.founder].name;
            let ack = player
                .take(&peer(&message.founder)?, &message.bytes)
                .with_context(|| format!("what {name} dealt is not sound: begin without it"))?
                .with_context(|| format!("{name} has dealt twice"))?;
            acknowledgements.push(Item {
                founder: message.founder,
                bytes: ack,
            });
        }
        Ok((player, acknowledgements))
    }

    fn messages_file(&self) -> String {
        format!("messages-{}.json", self.id.short())
    }
}

/// Seals to every founder what is dealt to it.
pub fn deal(directory: &Path, cards: &[PathBuf]) -> anyhow::Result<Made> {
    let ceremony = Ceremony::of(Founder::at(directory), Roster::read(cards)?)?;
    let cards: Vec<&Card> = ceremony.roster.0.values().collect();
    ceremony.founder.write("roster.json", &cards, false)?;
    let (_, messages) = ceremony.dealer()?;
    let mut items = Vec::new();
    for (to, message) in messages {
        let to = PublicKey::Ed25519(to);
        let card = &ceremony.roster.0[&to];
        let sealed = ceremony
            .place(&ceremony.me, &to)
            .seal(&card.agreement, &message, &mut Entropy)
            .with_context(|| format!("seal to {}", card.name))?;
        items.push(Item {
            founder: to,
            bytes: sealed,
        });
    }
    Ok(Made {
        file: ceremony.state("deal.json", Stage::Deal, items)?,
        what: "ceremony, the same for all",
        value: ceremony.id.to_string(),
        next: "give the deal to every founder; then `ringfort found acknowledge` with all deals",
    })
}

/// Opens what was dealt here, stores it, and acknowledges it.
pub fn acknowledge(directory: &Path, deals: &[PathBuf]) -> anyhow::Result<Made> {
    let ceremony = Ceremony::open(directory)?;
    let deals = ceremony.roster.statements(Stage::Deal, deals)?;
    let secret = AgreementSecret::from_bytes(*ceremony.founder.secret("agreement.seed")?);
    let mut messages = Vec::new();
    for (from, items) in &deals {
        let name = &ceremony.roster.0[from].name;
        let mine = items
            .iter()
            .find(|item| item.founder == ceremony.me)
            .with_context(|| format!("{name} has dealt nothing to you"))?;
        let opened = ceremony
            .place(from, &ceremony.me)
            .open(&secret, &mine.bytes)
            .with_context(|| format!("open what {name} dealt"))?;
        messages.push(Item {
            founder: *from,
            bytes: opened.to_vec(),
        });
    }
    let (_, acknowledgements) = ceremony.player(&messages)?;
    // Stored before anybody learns that it was received.
    ceremony
        .founder
        .write(&ceremony.messages_file(), &messages, true)?;
    Ok(Made {
        file: ceremony.state(
            "acknowledgement.json",
            Stage::Acknowledgement,
            acknowledgements,
        )?,
        what: "ceremony, the same for all",
        value: ceremony.id.to_string(),
        next: "give the acknowledgement to every founder; then `ringfort found publish` with all",
    })
}

/// Publishes this founder's dealing.
pub fn publish(directory: &Path, acknowledgements: &[PathBuf]) -> anyhow::Result<Made> {
    let ceremony = Ceremony::open(directory)?;
    let all = ceremony
        .roster
        .statements(Stage::Acknowledgement, acknowledgements)?;
    let (mut dealer, _) = ceremony.dealer()?;
    for (from, items) in &all {
        let name = &ceremony.roster.0[from].name;
        let ack = items
            .iter()
            .find(|item| item.founder == ceremony.me)
            .with_context(|| format!("{name} has not acknowledged your deal"))?;
        dealer
            .acknowledged(&peer(from)?, &ack.bytes)
            .with_context(|| format!("the acknowledgement of {name}"))?;
    }
    let item = Item {
        founder: ceremony.me,
        bytes: dealer.finish(),
    };
    Ok(Made {
        file: ceremony.state("dealing.json", Stage::Dealing, vec![item])?,
        what: "ceremony, the same for all",
        value: ceremony.id.to_string(),
        next: "give the dealing to every founder; then `ringfort found finish` with all dealings",
    })
}

/// Makes the share, and the public side that all founders have alike.
pub fn finish(directory: &Path, dealings: &[PathBuf]) -> anyhow::Result<Made> {
    let ceremony = Ceremony::open(directory)?;
    let all: BTreeMap<PublicKey, Vec<Item>> =
        ceremony.roster.statements(Stage::Dealing, dealings)?;
    let mut published = Vec::new();
    for (from, items) in all {
        let [item] = items.as_slice() else {
            bail!("{} publishes no dealing", ceremony.roster.0[&from].name);
        };
        published.push((peer(&from)?, item.bytes.clone()));
    }
    let messages: Vec<Item> = ceremony.founder.read(&ceremony.messages_file())?;
    let (player, _) = ceremony.player(&messages)?;
    let (conclusion, share) = player.finish(&published)?;
    refuse_revealed(&ceremony, &conclusion)?;
    let founder = &ceremony.founder;
    let share = Zeroizing::new(format!("{}\n", hex::encode(&*share)));
    write_file(&founder.path("share"), share.as_bytes(), true)?;
    let sharing = format!("{}\n", hex::encode(&conclusion.sharing));
    write_file(&founder.path("sharing"), sharing.as_bytes(), false)?;
    // What is left of the ceremony could rebuild the share: only the share stays.
    for name in [
        ceremony.messages_file(),
        format!("entropy-{}.seed", ceremony.id.short()),
    ] {
        std::fs::remove_file(founder.path(&name)).with_context(|| format!("remove {name}"))?;
    }
    Ok(Made {
        file: founder.path("sharing"),
        what: "circle key, the same for all",
        value: hex::encode(conclusion.group_key),
        next: "compare the circle key with every founder; then one runs `ringfort found genesis`",
    })
}

fn refuse_revealed(ceremony: &Ceremony, conclusion: &Conclusion) -> anyhow::Result<()> {
    if conclusion.revealed.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = conclusion
        .revealed
        .iter()
        .filter_map(|key| ceremony.roster.0.get(&PublicKey::Ed25519(*key)))
        .map(|card| card.name.as_str())
        .collect();
    Err(Advice::new(
        format!("the dealings show the share of {}", names.join(", ")),
        "begin again with new cards; a dealing must carry everybody's acknowledgement",
    )
    .into())
}

/// The founders and the public side of their shares, after `finish`.
pub fn result(directory: &Path) -> anyhow::Result<(Founder, Roster, Vec<u8>)> {
    let ceremony = Ceremony::open(directory)?;
    let path = ceremony.founder.path("sharing");
    let text = super::read_text(&path).map_err(|_| {
        Advice::new(
            "the founders have not made the key yet",
            "`ringfort found finish` does, with all dealings",
        )
    })?;
    let sharing = hex::decode(text.trim()).context("read the sharing")?;
    Ok((ceremony.founder, ceremony.roster, sharing))
}
