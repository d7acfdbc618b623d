//! Judges a state independently of the code that made it: every sum and every
//! index is recomputed from the records.
//!
//! For property tests, simulations and operators who restored a store; it
//! reads the whole state.

mod names;

use std::collections::{BTreeMap, BTreeSet};

use borsh::BorshDeserialize;
use wire::{
    AccountId, Amount, ContractId, Digest, DomainName, KeyRequestId, OfferId, ProposalId,
    RequestId, Resources,
    record::{
        self, Account, Bid, CircleRecord, Commitment, Contract, ContractStatus, Epoch, KeyRequest,
        Lock, Member, Name, Offer, Pool, Proposal, Recovery, Request, RequestStatus, Rules, Search,
    },
    state_key,
};

use self::names::AddressEntries;
use crate::{market::offer_places, members::terms_are_sound, state::StateRead};

/// Entries read at a time.
const PAGE: usize = 1024;

/// What a sound state holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// The sum of all amounts: balances, pool, locks, deposits and escrows.
    pub supply: Amount,
    /// Entries of the state.
    pub entries: u64,
    /// Entries of its indexes among them.
    pub index_entries: u64,
}

/// The first thing found wrong with a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// A record is missing or does not decode.
    #[error("the entry {key} does not hold what belongs there: {reason}")]
    Record {
        /// The key, in hex.
        key: String,
        /// What was wrong.
        reason: String,
    },
    /// The amounts do not sum to what the genesis gave out.
    #[error("amounts sum to {found}; the genesis gave out {wanted}")]
    Supply {
        /// The sum of the state's amounts.
        found: u128,
        /// The genesis' supply.
        wanted: Amount,
    },
    /// An index lacks an entry that the records call for.
    #[error("the index lacks {key}")]
    IndexLacks {
        /// The key, with its text part readable.
        key: String,
    },
    /// An index holds an entry that no record calls for.
    #[error("the index holds {key}, which no record calls for")]
    IndexExtra {
        /// The key, with its text part readable.
        key: String,
    },
    /// Two records contradict each other.
    #[error("{what} {id} contradicts its relations: {reason}")]
    Contradiction {
        /// The kind of record.
        what: &'static str,
        /// Its id.
        id: String,
        /// What does not agree.
        reason: &'static str,
    },
}

/// Recomputes sums and indexes.
///
/// Errors: [`AuditError`], the first thing found wrong.
pub fn audit(state: &dyn StateRead) -> Result<Audit, AuditError> {
    let auditor = Auditor::read(state)?;
    let supply = auditor.check_supply()?;
    auditor.check_requests()?;
    auditor.check_contracts()?;
    auditor.check_offers()?;
    auditor.check_names()?;
    auditor.check_members()?;
    let index_entries = auditor.check_indexes()?;
    Ok(Audit {
        supply,
        entries: auditor.entries,
        index_entries,
    })
}

struct Auditor {
    entries: u64,
    circle: CircleRecord,
    rules: Rules,
    pool: Pool,
    accounts: BTreeMap<AccountId, Account>,
    locks: Vec<Lock>,
    commitments: BTreeMap<Digest, Commitment>,
    names: Vec<Name>,
    bids: BTreeMap<(DomainName, AccountId), Bid>,
    recoveries: BTreeMap<DomainName, Recovery>,
    addresses: AddressEntries,
    serves: BTreeMap<DomainName, RequestId>,
    offers: BTreeMap<OfferId, Offer>,
    requests: BTreeMap<RequestId, Request>,
    contracts: BTreeMap<ContractId, Contract>,
    enclaves: BTreeSet<ContractId>,
    searches: BTreeMap<RequestId, Search>,
    members: BTreeMap<AccountId, Member>,
    proposals: BTreeMap<ProposalId, Proposal>,
    key_requests: BTreeMap<KeyRequestId, KeyRequest>,
    epoch: Epoch,
    dealers: BTreeSet<Vec<u8>>,
    /// The index entries that the log of certificates and the orders call for.
    certificate_dues: BTreeSet<Vec<u8>>,
    index: BTreeSet<Vec<u8>>,
}

fn readable(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}

fn decode<T: BorshDeserialize>(key: &[u8], value: &[u8]) -> Result<T, AuditError> {
    record::decode(value).map_err(|error| AuditError::Record {
        key: readable(key),
        reason: error.to_string(),
    })
}

fn read_all(state: &dyn StateRead, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    loop {
        let after = all.last().map(|(key, _)| key.clone());
        let page = state.scan(prefix, after.as_deref(), PAGE);
        let full = page.len() == PAGE;
        all.extend(page);
        if !full {
            return all;
        }
    }
}

fn one<T: BorshDeserialize>(state: &dyn StateRead, key: Vec<u8>) -> Result<T, AuditError> {
    let value = state.get(&key).ok_or_else(|| AuditError::Record {
        key: readable(&key),
        reason: "it is missing".to_owned(),
    })?;
    decode(&key, &value)
}

/// Records under `prefix` by their 32-byte ids.
fn by_id<K: Ord + From32, T: BorshDeserialize>(
    state: &dyn StateRead,
    prefix: &[u8],
) -> Result<BTreeMap<K, T>, AuditError> {
    read_all(state, prefix)
        .into_iter()
        .map(|(key, value)| {
            let id = key[prefix.len()..]
                .try_into()
                .map_err(|_| AuditError::Record {
                    key: readable(&key),
                    reason: "its id is not 32 bytes".to_owned(),
                })?;
            Ok((K::from_32(id), decode(&key, &value)?))
        })
        .collect()
}

/// Recounts the certificate log and every account's orders, and gives the
/// index entries that they call for.
fn certificate_dues(state: &dyn StateRead) -> Result<BTreeSet<Vec<u8>>, AuditError> {
    let mut dues = BTreeSet::new();
    let mut counts: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    for (key, value) in read_all(state, state_key::CERTIFICATE_LOG) {
        let record: record::LoggedCertificate = decode(&key, &value)?;
        let malformed = || contradiction("certificate", readable(&key), "its key is malformed");
        let (text, serial) = key[state_key::CERTIFICATE_LOG.len()..]
            .split_last_chunk::<16>()
            .ok_or_else(malformed)?;
        let text = text.strip_suffix(&[0]).ok_or_else(malformed)?;
        let domain = std::str::from_utf8(text).ok().map(str::parse);
        let domain = domain.and_then(Result::ok).ok_or_else(malformed)?;
        let serial = wire::CertificateSerial(*serial);
        dues.insert(state_key::certificate_due(
            record.not_after_ms,
            &domain,
            serial,
        ));
        *counts
            .entry(state_key::certificate_count(&domain))
            .or_default() += 1;
    }
    for (key, count) in &counts {
        if one::<u32>(state, key.clone())? != *count {
            let reason = "it does not match the log";
            return Err(contradiction("certificate count", readable(key), reason));
        }
    }
    let mut orders: BTreeMap<Digest, u32> = BTreeMap::new();
    for (id, order) in by_id::<Digest, record::AcmeOrder>(state, state_key::ACME_ORDERS)? {
        dues.insert(state_key::order_due(order.expires_ms, id));
        *orders.entry(order.account).or_default() += 1;
    }
    for (id, _) in by_id::<Digest, record::Grant>(state, state_key::GRANTS)? {
        if state.get(&state_key::acme_order(id)).is_some() {
            continue;
        }
        let contract: Contract = one(state, state_key::contract(ContractId(id.0)))?;
        if matches!(contract.status, record::ContractStatus::Ended(_)) {
            return Err(contradiction("grant", id, "its contract has ended"));
        }
    }
    for (id, count) in orders {
        let account: record::AcmeAccount = one(state, state_key::acme_account(id))?;
        if account.orders != count {
            return Err(contradiction("ACME account", id, "it counts other orders"));
        }
    }
    Ok(dues)
}

/// Ids that a key ends with.
trait From32 {
    fn from_32(bytes: [u8; 32]) -> Self;
}

macro_rules! from_32 {
    ($($id:ident),*) => {
        $(impl From32 for $id {
            fn from_32(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }
        })*
    };
}

from_32!(
    AccountId,
    ContractId,
    Digest,
    KeyRequestId,
    OfferId,
    ProposalId,
    RequestId
);

fn contradiction(what: &'static str, id: impl ToString, reason: &'static str) -> AuditError {
    AuditError::Contradiction {
        what,
        id: id.to_string(),
        reason,
    }
}

impl Auditor {
    fn read(state: &dyn StateRead) -> Result<Self, AuditError> {
        let locks = read_all(state, b"l/")
            .iter()
            .map(|(key, value)| decode(key, value))
            .collect::<Result<_, _>>()?;
        let names = read_all(state, state_key::NAMES)
            .iter()
            .map(|(key, value)| decode(key, value))
            .collect::<Result<_, _>>()?;
        let enclaves = by_id::<ContractId, record::Enclave>(state, b"e/")?;
        Ok(Self {
            entries: read_all(state, b"").len() as u64,
            circle: one(state, state_key::circle())?,
            rules: one(state, state_key::rules())?,
            pool: one(state, state_key::pool())?,
            accounts: by_id(state, b"a/")?,
            locks,
            commitments: by_id(state, b"k/")?,
            names,
            bids: names::read_bids(state)?,
            recoveries: names::by_name(state, state_key::RECOVERIES)?,
            addresses: names::read_addresses(state)?,
            serves: names::by_name(state, state_key::SERVES)?,
            offers: by_id(state, state_key::OFFERS)?,
            requests: by_id(state, state_key::REQUESTS)?,
            contracts: by_id(state, state_key::CONTRACTS)?,
            enclaves: enclaves.into_keys().collect(),
            searches: by_id(state, state_key::UNMATCHED)?,
            members: by_id(state, state_key::MEMBERS)?,
            proposals: by_id(state, state_key::PROPOSALS)?,
            key_requests: by_id(state, state_key::KEY_REQUESTS)?,
            epoch: one(state, state_key::epoch())?,
            dealers: read_all(state, state_key::DEALINGS)
                .into_iter()
                .map(|(key, _)| key)
                .collect(),
            certificate_dues: certificate_dues(state)?,
            index: read_all(state, b"i/")
                .into_iter()
                .map(|(key, _)| key)
                .collect(),
        })
    }

    fn check_supply(&self) -> Result<Amount, AuditError> {
        let amounts = std::iter::once(self.pool.balance)
            .chain(self.accounts.values().map(|account| account.balance))
            .chain(self.locks.iter().map(|lock| lock.amount))
            .chain(self.names.iter().map(|name| name.deposit))
            .chain(self.bids.values().map(|bid| bid.amount))
            .chain(self.offers.values().map(|offer| offer.deposit))
            .chain(self.requests.values().map(|request| request.escrow));
        let found: u128 = amounts.map(|amount| u128::from(amount.0)).sum();
        let wanted = self.circle.genesis.supply();
        if found == u128::from(wanted.0) {
            Ok(wanted)
        } else {
            Err(AuditError::Supply { found, wanted })
        }
    }

    fn check_requests(&self) -> Result<(), AuditError> {
        for (id, request) in &self.requests {
            let bad = |reason| Err(contradiction("request", id, reason));
            let replicas = usize::from(request.terms.replicas);
            let lengths = [
                request.replicas.len(),
                request.served.len(),
                request.finished.len(),
            ];
            if lengths.iter().any(|length| *length != replicas) {
                return bad("its lists have other lengths than its replicas");
            }
            let of_request = || {
                self.contracts
                    .values()
                    .filter(|contract| contract.request == *id)
            };
            if of_request().count() != usize::from(request.attempts) {
                return bad("it has made another number of contracts");
            }
            let paid: u64 = of_request().map(|contract| contract.paid.0).sum();
            if paid != request.paid.0 {
                return bad("its contracts were paid another sum");
            }
            if request
                .served
                .iter()
                .any(|served| *served > request.terms.duration)
            {
                return bad("a replica was served for longer than was asked for");
            }
            let closed = matches!(request.status, RequestStatus::Closed(_));
            let live = request.replicas.iter().any(Option::is_some);
            if closed && (live || request.escrow != Amount::ZERO) {
                return bad("it is closed and has contracts or funds");
            }
            let searching = self.searches.contains_key(id);
            let forlorn = request.status == RequestStatus::Started && !live && !searching;
            if forlorn || (closed && searching) {
                return bad("its status and its search do not agree");
            }
        }
        Ok(())
    }

    fn check_contracts(&self) -> Result<(), AuditError> {
        for (id, contract) in &self.contracts {
            let bad = |reason| Err(contradiction("contract", id, reason));
            let Some(request) = self.requests.get(&contract.request) else {
                return bad("its request is missing");
            };
            let Some(offer) = self.offers.get(&contract.offer) else {
                return bad("its offer is missing");
            };
            let ended = matches!(contract.status, ContractStatus::Ended(_));
            let replica = request.replicas.get(usize::from(contract.replica));
            if (replica == Some(&Some(*id))) == ended {
                return bad("its request does not list it as it should");
            }
            if contract.price < offer.terms.min_price || contract.price > request.terms.max_price {
                return bad("its price is outside what both sides named");
            }
            if contract.paid.0 != contract.price.0 * contract.served {
                return bad("it was paid another sum than it served for");
            }
            if ended && contract.deadline.is_some() {
                return bad("it has ended and still awaits something");
            }
        }
        Ok(())
    }

    fn check_offers(&self) -> Result<(), AuditError> {
        for (id, offer) in &self.offers {
            let live: Vec<_> = self
                .contracts
                .values()
                .filter(|contract| contract.offer == *id)
                .filter(|contract| !matches!(contract.status, ContractStatus::Ended(_)))
                .collect();
            let taken = live.iter().try_fold(Resources::default(), |sum, contract| {
                sum.checked_add(&contract.resources)
            });
            let free = taken.and_then(|taken| offer.terms.capacity.checked_sub(&taken));
            if free != Some(offer.free) || live.len() != usize::from(offer.live) {
                let reason = "its room is not its capacity less its contracts";
                return Err(contradiction("offer", id, reason));
            }
            let returned = offer.deposit == Amount::ZERO;
            let keeps = offer.open || offer.live > 0;
            if keeps && returned && self.rules.parameters.offer_deposit != Amount::ZERO
                || !keeps && !returned
            {
                let reason = "its deposit was returned too early or not at all";
                return Err(contradiction("offer", id, reason));
            }
        }
        Ok(())
    }

    fn check_members(&self) -> Result<(), AuditError> {
        let mut seats = BTreeSet::new();
        for (id, member) in &self.members {
            let bad = |reason| Err(contradiction("member", id, reason));
            if member.key.account() != *id {
                return bad("its key is another account's");
            }
            if !terms_are_sound(&member.terms) {
                return bad("its terms contradict themselves");
            }
            if let Some(seat) = &member.terms.seat
                && !seats.insert(seat.key)
            {
                return bad("its validator's key is another member's too");
            }
        }
        for (id, proposal) in &self.proposals {
            let once = proposal.votes.windows(2).all(|pair| pair[0].0 < pair[1].0);
            if !once {
                let reason = "a member has voted twice or votes are out of order";
                return Err(contradiction("proposal", id, reason));
            }
        }
        let epoch = &self.epoch;
        let bad = |reason| Err(contradiction("epoch", epoch.number, reason));
        let ascending = epoch
            .committee
            .windows(2)
            .all(|pair| pair[0].key < pair[1].key);
        if epoch.committee.is_empty() || !ascending {
            return bad("its committee is empty or out of order");
        }
        let mut paid: Vec<_> = self.rules.validators.clone();
        let mut seated: Vec<_> = epoch.committee.iter().map(|seat| seat.account).collect();
        paid.sort_unstable();
        seated.sort_unstable();
        if paid != seated {
            return bad("others are paid than are in office");
        }
        let latest = epoch.next_round - 1;
        let origin = epoch.reshared_from.as_ref().map(|(round, _)| *round);
        let may_deal = |key: &Vec<u8>| {
            let place = &key[state_key::DEALINGS.len()..];
            let of = |round: u64| place.starts_with(&round.to_be_bytes());
            of(latest) || origin.is_some_and(of)
        };
        if !self.dealers.iter().all(may_deal) {
            return bad("a dealing is not of its resharing");
        }
        Ok(())
    }

    fn check_indexes(&self) -> Result<u64, AuditError> {
        let wanted = self.wanted_index();
        if let Some(key) = wanted.difference(&self.index).next() {
            return Err(AuditError::IndexLacks { key: readable(key) });
        }
        let extra = self
            .index
            .difference(&wanted)
            .find(|key| !self.is_allowed(key));
        match extra {
            Some(key) => Err(AuditError::IndexExtra { key: readable(key) }),
            None => Ok(self.index.len() as u64),
        }
    }

    /// Entries that the records call for.
    fn wanted_index(&self) -> BTreeSet<Vec<u8>> {
        let mut wanted = BTreeSet::new();
        self.want_names(&mut wanted);
        for (digest, commitment) in &self.commitments {
            let last = commitment
                .committed_at
                .plus(self.rules.parameters.reveal_within);
            wanted.insert(state_key::commitment_due(last, *digest));
        }
        for (id, offer) in &self.offers {
            if offer.open {
                wanted.insert(state_key::offer_due(offer.terms.expires_at, *id));
            }
            wanted.extend(offer_places(&self.rules, *id, offer));
        }
        for (id, request) in &self.requests {
            wanted.insert(state_key::user_request(request.user, *id));
            let forget = request.forget_at;
            wanted.extend(forget.map(|height| state_key::forget_due(height, *id)));
        }
        wanted.extend(self.certificate_dues.iter().cloned());
        for (id, search) in &self.searches {
            wanted.insert(state_key::unmatched(*id));
            wanted.insert(state_key::search_due(search.until, *id));
        }
        for (id, proposal) in &self.proposals {
            wanted.insert(state_key::proposal_due(proposal.until, *id));
        }
        for (id, request) in &self.key_requests {
            wanted.insert(state_key::key_request_due(request.until, *id));
        }
        for (id, contract) in &self.contracts {
            if !matches!(contract.status, ContractStatus::Ended(_)) {
                wanted.insert(state_key::provider_contract(contract.provider, *id));
                wanted.extend(
                    contract
                        .deadline
                        .map(|deadline| state_key::contract_due(deadline, *id)),
                );
            }
        }
        wanted
    }

    /// Whether an entry that the records do not call for may stand: names at
    /// the service of open requests, and certificates that are awaited.
    fn is_allowed(&self, key: &[u8]) -> bool {
        let serves = || {
            self.requests.values().any(|request| {
                let open = !matches!(request.status, RequestStatus::Closed(_));
                let name = request.terms.name.as_ref();
                open && name.is_some_and(|name| state_key::serves(name) == key)
            })
        };
        let certify = || {
            self.contracts.iter().any(|(id, contract)| {
                !matches!(contract.status, ContractStatus::Ended(_))
                    && self.enclaves.contains(id)
                    && state_key::certificate_wanted(*id) == key
            })
        };
        serves() || certify()
    }
}
