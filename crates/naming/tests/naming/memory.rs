//! A ledger in memory: blocks, events, listings and readings, and the ways in
//! which nodes fail.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures_util::{Stream, stream};
use naming::ledger::{BlockEvents, Checked, Ledger, LedgerError, Listing, Post, Reading};
use tokio::sync::watch;
use wire::{
    AccountId, Action, CertifyNameServer, ContractId, Event, Height, NameServerTerms,
    record::{self, Certificate, NameServer, NameServerCertificate},
    state_key,
};

/// Entries in a page of a listing: few, so that tests see several pages.
const PAGE: usize = 10;

#[derive(Default)]
struct State {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    blocks: Vec<BlockEvents>,
    time_ms: u64,
    down: bool,
    /// How long a reading takes between being asked for and being made.
    slowness: Duration,
}

/// Clones share the ledger.
#[derive(Clone)]
pub struct MemoryLedger {
    state: Arc<Mutex<State>>,
    height: watch::Sender<u64>,
    account: AccountId,
}

impl MemoryLedger {
    /// A ledger at height 0 with a genesis that names `apexes`.
    pub fn new(apexes: &[&str]) -> Self {
        let ledger = Self {
            state: Arc::default(),
            height: watch::Sender::new(0),
            account: AccountId([0xca; 32]),
        };
        let genesis = crate::values::genesis(apexes);
        let rules = record::Rules::founding(&genesis, 1);
        let circle = record::CircleRecord { genesis };
        let mut state = ledger.state();
        state.time_ms = naming::names::now_ms();
        state
            .entries
            .insert(state_key::circle(), record::encode(&circle));
        state
            .entries
            .insert(state_key::rules(), record::encode(&rules));
        drop(state);
        ledger
    }

    /// The same ledger for another authority.
    pub fn of_account(&self, account: AccountId) -> Self {
        Self {
            account,
            ..self.clone()
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn height(&self) -> Height {
        Height(*self.height.borrow())
    }

    pub fn time_ms(&self) -> u64 {
        self.state().time_ms
    }

    /// Makes the nodes answer, or not.
    pub fn set_down(&self, down: bool) {
        self.state().down = down;
    }

    pub fn set_slowness(&self, slowness: Duration) {
        self.state().slowness = slowness;
    }

    /// Adds a block `later_ms` after the last one.
    pub fn commit_after(
        &self,
        later_ms: u64,
        changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
        events: Vec<Event>,
    ) -> Height {
        let mut state = self.state();
        for (key, value) in changes {
            match value {
                Some(value) => state.entries.insert(key, value),
                None => state.entries.remove(&key),
            };
        }
        state.time_ms += later_ms;
        let height = Height(state.blocks.len() as u64 + 1);
        state.blocks.push(BlockEvents { height, events });
        self.height.send_replace(height.0);
        height
    }

    pub fn commit(&self, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>, events: Vec<Event>) -> Height {
        self.commit_after(1, changes, events)
    }

    /// Stores names as they are after the next block, with their events.
    pub fn commit_names(&self, names: &[record::Name]) -> Height {
        let next = self.height().plus(1);
        let changes = names.iter().map(|name| {
            let mut name = name.clone();
            name.changed_at = next;
            (state_key::name(&name.name), Some(record::encode(&name)))
        });
        let events = names.iter().map(|name| Event::NameChanged {
            name: name.name.clone(),
        });
        self.commit(changes.collect(), events.collect())
    }

    pub fn certificate(&self, contract: ContractId) -> Option<Certificate> {
        let bytes = self
            .state()
            .entries
            .get(&state_key::certificate(contract))?
            .clone();
        Some(record::decode(&bytes).unwrap())
    }

    /// A certificate with its intermediate, PEM.
    pub fn chain(&self, certificate: &Certificate) -> String {
        let key = state_key::intermediate(certificate.authority, &certificate.name);
        let bytes = self.state().entries[&key].clone();
        let intermediate: record::Intermediate = record::decode(&bytes).unwrap();
        let pem = crate::certificates::pem;
        pem(&certificate.certificate) + &pem(&intermediate.certificate)
    }

    async fn arrive(&self) -> Result<(), LedgerError> {
        let (down, slowness) = {
            let state = self.state();
            (state.down, state.slowness)
        };
        if !slowness.is_zero() {
            tokio::time::sleep(slowness).await;
        }
        if down {
            return Err(LedgerError::Unavailable("no node answers".into()));
        }
        Ok(())
    }
}

/// Adds a digest, which stands for the circle's signature: it shows damage.
fn seal(mut body: Vec<u8>) -> Vec<u8> {
    let digest = wire::Digest::tagged("test/proof", &[&body]);
    body.extend_from_slice(&digest.0);
    body
}

impl Ledger for MemoryLedger {
    async fn read(&self, keys: Vec<Vec<u8>>, since: Height) -> Result<Reading, LedgerError> {
        assert!(!keys.is_empty() && keys.len() <= naming::ledger::MAX_KEYS);
        self.arrive().await?;
        let state = self.state();
        let height = Height(state.blocks.len() as u64);
        assert!(since <= height, "nobody hears of blocks that are not made");
        Ok(Reading {
            height,
            time_ms: state.time_ms,
            values: keys
                .iter()
                .map(|key| state.entries.get(key).cloned())
                .collect(),
            proofs: keys
                .iter()
                .map(|key| {
                    let proof = (key, state.entries.get(key), height.0);
                    seal(borsh::to_vec(&proof).unwrap())
                })
                .collect(),
        })
    }

    fn check(&self, proof: &[u8]) -> Result<Checked, LedgerError> {
        let forged = || LedgerError::Unavailable("the proof is forged".into());
        let (body, _) = proof
            .split_at_checked(proof.len().saturating_sub(32))
            .ok_or_else(forged)?;
        if seal(body.to_vec()) != proof {
            return Err(forged());
        }
        let (key, value, height): (Vec<u8>, Option<Vec<u8>>, u64) =
            borsh::from_slice(body).map_err(|_| forged())?;
        Ok(Checked {
            key,
            value,
            height: Height(height),
        })
    }

    async fn list(&self, prefix: &[u8], after: Option<&[u8]>) -> Result<Listing, LedgerError> {
        self.arrive().await?;
        let state = self.state();
        let mut keys: Vec<Vec<u8>> = state
            .entries
            .keys()
            .filter(|key| key.starts_with(prefix))
            .filter(|key| after.is_none_or(|after| key.as_slice() > after))
            .take(PAGE + 1)
            .cloned()
            .collect();
        let more = keys.len() > PAGE;
        keys.truncate(PAGE);
        Ok(Listing {
            height: Height(state.blocks.len() as u64),
            keys,
            more,
        })
    }

    fn events(&self, from: Height) -> impl Stream<Item = Result<BlockEvents, LedgerError>> + Send {
        let watched = self.height.subscribe();
        let start = (self.clone(), watched, from.0.max(1));
        stream::unfold(start, |(ledger, mut watched, next)| async move {
            watched.wait_for(|height| *height >= next).await.ok()?;
            let block = ledger.state().blocks[next as usize - 1].clone();
            Some((Ok(block), (ledger, watched, next + 1)))
        })
    }
}

impl Post for MemoryLedger {
    fn account(&self) -> AccountId {
        self.account
    }

    async fn post(&self, actions: Vec<Action>) -> Result<(), LedgerError> {
        self.arrive().await?;
        let mut changes = Vec::new();
        let mut events = Vec::new();
        let next = self.height().plus(1);
        for action in actions {
            let action = match action {
                Action::IssueCertificate(issued) => issued,
                Action::RegisterNameServer(action) => return self.register(action.terms),
                Action::CertifyNameServer(action) => return self.certify_server(&action),
                Action::SetZone(zone) => {
                    let record = record::Zone {
                        zone: zone.clone(),
                        signer: self.account,
                        changed_at: next,
                    };
                    let key = state_key::zone(&zone.apex);
                    changes.push((key, Some(record::encode(&record))));
                    events.push(Event::ZoneChanged { apex: zone.apex });
                    continue;
                }
                Action::PublishAuthority(action) => {
                    let record = record::PublishedAuthority {
                        root: action.root,
                        published_at: next,
                    };
                    let key = state_key::authority(self.account);
                    changes.push((key, Some(record::encode(&record))));
                    continue;
                }
                Action::PublishIntermediate(action) => {
                    let key = state_key::intermediate(self.account, &action.domain);
                    let record = record::Intermediate {
                        certificate: action.certificate,
                        not_after_ms: action.not_after_ms,
                        published_at: next,
                    };
                    changes.push((key, Some(record::encode(&record))));
                    continue;
                }
                other => panic!("no agent of a circle does {}", other.name()),
            };
            let (name, ended) = self.name_of(action.contract);
            if ended {
                return Err(LedgerError::Rejected(wire::Reject::ContractEnded));
            }
            let certificate = Certificate {
                name: name.clone(),
                certificate: action.certificate,
                not_after_ms: action.not_after_ms,
                authority: self.account,
                issued_at: next,
            };
            let key = state_key::certificate(action.contract);
            changes.push((key, Some(record::encode(&certificate))));
            changes.push((state_key::certificate_wanted(action.contract), None));
            events.push(Event::CertificateIssued {
                contract: action.contract,
                name,
            });
        }
        self.commit(changes, events);
        Ok(())
    }
}

impl MemoryLedger {
    fn register(&self, terms: NameServerTerms) -> Result<(), LedgerError> {
        self.store_server(
            self.account,
            NameServer {
                terms,
                changed_at: self.height().plus(1),
                certificate: None,
            },
        );
        Ok(())
    }

    fn certify_server(&self, action: &CertifyNameServer) -> Result<(), LedgerError> {
        let mut server = self.server(action.server).unwrap();
        if server.terms.tls_key != action.tls_key {
            return Err(LedgerError::Rejected(wire::Reject::CertificateNotWanted));
        }
        server.certificate = Some(NameServerCertificate {
            certificate: action.certificate.clone(),
            not_after_ms: action.not_after_ms,
            authority: self.account,
            issued_at: self.height().plus(1),
        });
        self.store_server(action.server, server);
        Ok(())
    }

    /// What the ledger holds of the name server of `account`.
    pub fn server(&self, account: AccountId) -> Option<NameServer> {
        let key = state_key::name_server(account);
        let bytes = self.state().entries.get(&key)?.clone();
        Some(record::decode(&bytes).unwrap())
    }

    fn store_server(&self, account: AccountId, server: NameServer) {
        let event = Event::NameServerChanged {
            server: account,
            name: server.terms.name.clone(),
        };
        let change = (
            state_key::name_server(account),
            Some(record::encode(&server)),
        );
        self.commit(vec![change], vec![event]);
    }

    fn name_of(&self, contract: ContractId) -> (wire::DomainName, bool) {
        let state = self.state();
        let bytes = &state.entries[&state_key::contract(contract)];
        let contract: record::Contract = record::decode(bytes).unwrap();
        let bytes = &state.entries[&state_key::request(contract.request)];
        let request: record::Request = record::decode(bytes).unwrap();
        let ended = matches!(contract.status, record::ContractStatus::Ended(_));
        (request.terms.name.unwrap(), ended)
    }
}
