//! A ledger that follows from its height: so many names, of which some change
//! in every block. Signer and name server, in processes of their own, see the
//! same one without a circle behind it.
//!
//! Proofs are sealed by a digest and not by validators: what they cost to
//! verify is not measured here.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU32, Ordering},
};

use borsh::BorshDeserialize;
use futures_util::{Stream, stream};
use naming::ledger::{BlockEvents, Checked, Ledger, LedgerError, Listing, Post, Reading};
use tokio::{io::AsyncBufReadExt as _, sync::watch};
use wire::{
    AccountId, Action, Amount, CircleKey, CircleKind, ContractId, Digest, DomainName, Event,
    Genesis, Height, PublicKey, ServiceEndpoint, SigningKey,
    record::{self, Name, NameEndpoint, NameStatus},
    state_key,
};

use super::APEX;

/// Names that change in each block.
pub const CHANGES_PER_BLOCK: u32 = 10;

/// Blocks in a second while names change.
pub const BLOCKS_PER_SECOND: u32 = 10;

/// Keys in a page of a listing, as nodes give them.
const PAGE: usize = 1000;

/// Steps from one changed name to the next: a prime, so that all have a turn.
const STRIDE: u64 = 7919;

/// The height at which names are first there.
pub const FIRST: Height = Height(1);

/// The name called `index`.
pub fn name_of(index: u32) -> DomainName {
    format!("host{index:06}.{APEX}")
        .parse()
        .expect("a label and an apex make a name")
}

fn index_of(name: &str) -> Option<u32> {
    name.strip_prefix("host")?
        .strip_suffix(APEX)?
        .strip_suffix('.')?
        .parse()
        .ok()
}

/// A registered name with one live replica, as it is since `changed_at`.
pub fn name(index: u32, changed_at: Height) -> Name {
    let [_, high, mid, low] = index.to_be_bytes();
    let generation = changed_at.0 as u8;
    // All have one owner, made once: a key costs as much as a signature.
    static OWNER: OnceLock<PublicKey> = OnceLock::new();
    let owner = *OWNER.get_or_init(|| SigningKey::ed25519([7; 32]).public());
    Name {
        name: name_of(index),
        owner,
        deposit: Amount(1),
        status: NameStatus::Active,
        registered_at: FIRST,
        rent_due: Height(u64::MAX),
        changed_at,
        notice_due: None,
        sale: None,
        records: Vec::new(),
        keys: Vec::new(),
        endpoints: vec![NameEndpoint {
            contract: ContractId([1; 32]),
            endpoint: ServiceEndpoint {
                addresses: vec![[10 + generation % 100, high, mid, low].into()],
                port: 8443,
                control: String::new(),
            },
            tls_key: Digest([generation; 32]),
        }],
    }
}

/// The ledger; clones share it.
#[derive(Clone)]
pub struct Synthetic {
    /// When each name last changed.
    changed_at: Arc<Vec<AtomicU32>>,
    zone: Arc<record::Zone>,
    height: watch::Sender<u64>,
}

impl Synthetic {
    /// `names` names at height 1, beneath an apex of which the ledger holds `zone`.
    pub fn new(names: u32, zone: record::Zone) -> Self {
        let first = FIRST.0 as u32;
        Self {
            changed_at: Arc::new((0..names).map(|_| AtomicU32::new(first)).collect()),
            zone: Arc::new(zone),
            height: watch::Sender::new(FIRST.0),
        }
    }

    /// Which names block `height` changes.
    fn changed_in(&self, height: u64) -> impl Iterator<Item = u32> {
        let names = self.changed_at.len() as u64;
        let changes = u64::from(CHANGES_PER_BLOCK);
        let range = if height > FIRST.0 && names > 0 {
            height * changes..(height + 1) * changes
        } else {
            0..0
        };
        range.map(move |turn| (turn * STRIDE % names) as u32)
    }

    /// Makes blocks up to each height that a line of the input names; ends
    /// with the input.
    pub async fn follow_input(self) -> std::io::Result<()> {
        let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
        while let Some(line) = lines.next_line().await? {
            let Ok(target) = line.trim().parse::<u64>() else {
                continue;
            };
            let from = *self.height.borrow();
            for height in from + 1..=target {
                for index in self.changed_in(height) {
                    self.changed_at[index as usize].store(height as u32, Ordering::Relaxed);
                }
            }
            if target > from {
                self.height.send_replace(target);
            }
        }
        Ok(())
    }

    fn height(&self) -> Height {
        Height(*self.height.borrow())
    }

    fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        if key == state_key::circle() {
            return Some(record::encode(&record::CircleRecord { genesis: genesis() }));
        }
        if key == state_key::zone(&self.zone.zone.apex) {
            return Some(record::encode(&*self.zone));
        }
        let name_text = std::str::from_utf8(key.strip_prefix(state_key::NAMES)?).ok()?;
        let index = index_of(name_text)?;
        let changed_at = self.changed_at.get(index as usize)?;
        let changed_at = Height(changed_at.load(Ordering::Relaxed).into());
        Some(record::encode(&name(index, changed_at)))
    }
}

fn genesis() -> Genesis {
    Genesis {
        version: Genesis::VERSION,
        name: "bench".to_owned(),
        kind: CircleKind::Development,
        time_ms: 0,
        circle_key: CircleKey([0; 96]),
        sharing: Vec::new(),
        validators: Vec::new(),
        accounts: Vec::new(),
        apexes: APEX.parse().into_iter().collect(),
        certificate_authorities: Vec::new(),
        zone_signers: Vec::new(),
        name_servers: Vec::new(),
        keykeepers: Vec::new(),
        development_roots: Vec::new(),
        reference_values: Vec::new(),
        evidence: Default::default(),
        parameters: Default::default(),
        origin: None,
    }
}

fn seal(mut body: Vec<u8>) -> Vec<u8> {
    let digest = Digest::tagged("bench/proof", &[&body]);
    body.extend_from_slice(&digest.0);
    body
}

impl Ledger for Synthetic {
    async fn read(&self, keys: Vec<Vec<u8>>, _: Height) -> Result<Reading, LedgerError> {
        let height = self.height();
        let values: Vec<Option<Vec<u8>>> = keys.iter().map(|key| self.value(key)).collect();
        let sealed = |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| {
            borsh::to_vec(&(key, value, height.0)).map(seal)
        };
        let proofs = keys.iter().zip(&values).map(sealed);
        let proofs = proofs.collect::<Result<_, _>>().unwrap_or_default();
        Ok(Reading {
            height,
            time_ms: naming::names::now_ms(),
            values,
            proofs,
        })
    }

    fn check(&self, proof: &[u8]) -> Result<Checked, LedgerError> {
        let forged = || LedgerError::Unavailable("the proof is forged".into());
        let end = proof.len().saturating_sub(Digest([0; 32]).0.len());
        if seal(proof[..end].to_vec()) != proof {
            return Err(forged());
        }
        let (key, value, height) = <(Vec<u8>, Option<Vec<u8>>, u64)>::try_from_slice(&proof[..end])
            .map_err(|_| forged())?;
        Ok(Checked {
            key,
            value,
            height: Height(height),
        })
    }

    async fn list(&self, prefix: &[u8], after: Option<&[u8]>) -> Result<Listing, LedgerError> {
        let names = self.changed_at.len();
        let mut keys = Vec::new();
        let mut more = false;
        if prefix == state_key::NAMES {
            let last = after.and_then(|after| after.strip_prefix(state_key::NAMES));
            let last = last.and_then(|text| index_of(std::str::from_utf8(text).ok()?));
            let from = last.map_or(0, |last| last as usize + 1);
            let to = names.min(from + PAGE);
            keys.extend((from..to).map(|index| state_key::name(&name_of(index as u32))));
            more = to < names;
        }
        Ok(Listing {
            height: self.height(),
            keys,
            more,
        })
    }

    fn events(&self, from: Height) -> impl Stream<Item = Result<BlockEvents, LedgerError>> + Send {
        let start = (self.clone(), self.height.subscribe(), from.0.max(1));
        stream::unfold(start, |(ledger, mut watched, next)| async move {
            watched.wait_for(|height| *height >= next).await.ok()?;
            let events = ledger.changed_in(next).map(|index| Event::NameChanged {
                name: name_of(index),
            });
            let block = BlockEvents {
                height: Height(next),
                events: events.collect(),
            };
            Some((Ok(block), (ledger, watched, next + 1)))
        })
    }
}

impl Post for Synthetic {
    fn account(&self) -> AccountId {
        self.zone.signer
    }

    async fn post(&self, _: Vec<Action>) -> Result<(), LedgerError> {
        Err(LedgerError::Missing("room for transactions"))
    }
}
