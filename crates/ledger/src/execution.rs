//! How a block is applied: its transactions in order, then the end of the block.
//!
//! Trusts that transactions were checked ([`CheckedTransaction`]) and that
//! heights follow one another; the engine and the node see to both.

use wire::{
    AccountId, Action, Amount, CheckedTransaction, Digest, Event, Height, PublicKey, Receipt,
    Reject, TransactionId, TransactionResult, record::Rules, state_key,
};

use crate::{
    accounts,
    admission::{self, Charge},
    certificates, enclaves, hosts, keys, locks, market, members,
    members::{Ceremony, NoCeremony},
    name_servers, names, notary,
    overlay::Overlay,
    recent,
    state::{Changes, StateRead},
    zones,
};

/// The version of the rules that this build follows.
pub const VERSION: u32 = 1;

/// What the ledger is told of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockContext {
    /// Its height, from 1.
    pub height: Height,
    /// Its time, Unix milliseconds.
    pub time_ms: u64,
    /// The digest of its parent's header ([`wire::Header::digest`]), which
    /// becomes part of the state so that heartbeats can be checked against it.
    pub parent: Digest,
}

/// What a block did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Every entry that was written or deleted.
    pub changes: Changes,
    /// One for each transaction, in order.
    pub receipts: Vec<Receipt>,
    /// One list for each transaction, in order, then one for the end of the block.
    pub events: Vec<Vec<Event>>,
}

/// A block while it is applied.
pub(crate) struct Execution<'a> {
    pub(crate) state: Overlay<'a>,
    pub(crate) rules: Rules,
    pub(crate) height: Height,
    pub(crate) time_ms: u64,
    events: Vec<Event>,
    /// The transaction under way has changed the rules.
    rules_changed: bool,
}

/// Who sent the action that is applied, and which one it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    pub(crate) key: PublicKey,
    pub(crate) account: AccountId,
    pub(crate) transaction: TransactionId,
    /// The action's place in its transaction, from 0.
    pub(crate) index: usize,
}

impl<'a> Execution<'a> {
    /// Panics: if the state holds no circle; see the crate's documentation.
    pub(crate) fn new(base: &'a dyn StateRead, height: Height, time_ms: u64) -> Self {
        let state = Overlay::new(base);
        let rules = state
            .get(&state_key::rules())
            .expect("a state that a genesis founded holds the circle's rules");
        Self {
            state,
            rules,
            height,
            time_ms,
            events: Vec::new(),
            rules_changed: false,
        }
    }

    /// Puts rules in force from the next action on.
    pub(crate) fn set_rules(&mut self, rules: Rules) {
        self.state.put(state_key::rules(), &rules);
        self.rules = rules;
        self.rules_changed = true;
    }

    /// Undoes what the transaction under way has done so far.
    fn undo(&mut self) {
        self.state.restore();
        self.events.clear();
        if std::mem::take(&mut self.rules_changed) {
            self.rules = self
                .state
                .get(&state_key::rules())
                .expect("rules that were changed are there");
        }
    }

    /// Puts the next version of the rules in force if its height has come.
    ///
    /// Panics: if this build does not know the version in force. A node must
    /// then stop: neither its votes nor its answers would be the circle's.
    fn upgrade(&mut self) {
        if let Some((version, height)) = self.rules.upgrade
            && self.height >= height
        {
            let mut rules = self.rules.clone();
            (rules.version, rules.upgrade) = (version, None);
            self.set_rules(rules);
        }
        assert!(
            self.rules.version <= VERSION,
            "the circle follows version {} of its rules; this build knows {VERSION}: install a newer one",
            self.rules.version,
        );
    }

    pub(crate) fn emit(&mut self, event: Event) {
        self.events.push(event);
    }

    /// The first entries of an index by height that have fallen due.
    ///
    /// Shape: the height, and what follows it in the key; earliest first, at
    ///        most `limit`. Reads little more than what it gives.
    pub(crate) fn due(&self, prefix: &[u8], limit: usize) -> Vec<(Height, Vec<u8>)> {
        let mut due: Vec<(Height, Vec<u8>)> = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        let mut page = 1;
        while due.len() < limit {
            let wanted = page.min(limit - due.len());
            let entries = self.state.scan(prefix, after.as_deref(), wanted);
            let full = entries.len() == wanted;
            for (key, _) in &entries {
                let Some((height, id)) = key[prefix.len()..].split_first_chunk::<8>() else {
                    continue;
                };
                let height = Height(u64::from_be_bytes(*height));
                if height > self.height {
                    return due;
                }
                due.push((height, id.to_vec()));
            }
            if !full {
                break;
            }
            after = entries.last().map(|(key, _)| key.clone());
            page *= 2;
        }
        due
    }

    /// As [`Execution::due`], for an index whose ids have 32 bytes.
    pub(crate) fn due_ids(&self, prefix: &[u8], limit: usize) -> Vec<(Height, [u8; 32])> {
        self.due(prefix, limit)
            .into_iter()
            .filter_map(|(height, id)| Some((height, id.try_into().ok()?)))
            .collect()
    }

    fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn transaction(&mut self, checked: &CheckedTransaction) -> (TransactionResult, Amount) {
        let transaction = checked.transaction();
        let key = transaction.sender;
        let account = key.account();
        let envelope = admission::check_envelope(&self.state, &self.rules, self.height, checked);
        let unsent = |reject| TransactionResult::Rejected {
            reject,
            action: None,
        };
        let (fee, is_kept) = match envelope {
            Ok(Charge::Fee(fee)) => (fee, true),
            Ok(Charge::IfApplied) => (Amount::ZERO, false),
            Err(reject) => return (unsent(reject), Amount::ZERO),
        };
        accounts::charge(self, account, fee);
        if is_kept {
            self.state.keep();
        }
        for (index, action) in transaction.actions.iter().enumerate() {
            let sender = Sender {
                key,
                account,
                transaction: checked.id(),
                index,
            };
            if let Err(reject) = self.action(&sender, action) {
                self.undo();
                if !is_kept {
                    return (unsent(reject), Amount::ZERO);
                }
                // At most MAX_ACTIONS actions: the index fits a byte.
                let result = TransactionResult::Rejected {
                    reject,
                    action: Some(index as u8),
                };
                return (result, fee);
            }
        }
        self.state.keep();
        self.rules_changed = false;
        (TransactionResult::Applied, fee)
    }

    fn action(&mut self, sender: &Sender, action: &Action) -> Result<(), Reject> {
        match action {
            Action::Transfer(action) => accounts::transfer(self, sender, action),
            Action::LockFunds(action) => locks::lock_funds(self, sender, action),
            Action::UnlockFunds(action) => locks::unlock_funds(self, action),
            Action::NameCommit(action) => names::commit(self, sender, action),
            Action::NameReveal(action) => names::reveal(self, sender, action),
            Action::NameSet(action) => names::set(self, sender, action),
            Action::NameRenew(action) => names::renew(self, sender, action),
            Action::NameCancel(action) => names::cancel(self, sender, action),
            Action::NameTransfer(action) => names::transfer(self, sender, action),
            Action::NameSecure(action) => names::secure(self, sender, action),
            Action::NameSell(action) => names::sell(self, sender, action),
            Action::NameBuy(action) => names::buy(self, sender, action),
            Action::NameBid(action) => names::bid(self, sender, action),
            Action::NameWithdrawBid(action) => names::withdraw_bid(self, sender, action),
            Action::NameAcceptBid(action) => names::accept_bid(self, sender, action),
            Action::NameRotate(action) => names::rotate(self, sender, action),
            Action::NameRecover(action) => names::recover(self, sender, action),
            Action::NameVeto(action) => names::veto(self, sender, action),
            Action::NameUpdate(action) => names::update(self, action),
            Action::Notarise(action) => notary::notarise(self, sender, action),
            Action::RecordAppraisal(action) => hosts::record_appraisal(self, sender, action),
            Action::PostOffer(action) => market::post_offer(self, sender, action),
            Action::WithdrawOffer(action) => market::withdraw_offer(self, sender, action),
            Action::PostRequest(action) => market::post_request(self, sender, action),
            Action::FundRequest(action) => market::fund_request(self, sender, action),
            Action::Operate(action) => market::operate(self, sender, action),
            Action::CloseRequest(action) => market::close_request(self, sender, action),
            Action::HandshakeMessage(action) => market::handshake_message(self, sender, action),
            Action::PostOutcome(action) => market::post_outcome(self, sender, action),
            Action::Heartbeat(action) => market::heartbeat(self, sender, action),
            Action::CompleteJob(action) => market::complete_job(self, sender, action),
            Action::EndContract(action) => market::end_contract(self, sender, action),
            Action::RegisterEnclave(action) => enclaves::register(self, sender, action),
            Action::IssueCertificate(action) => enclaves::issue_certificate(self, sender, action),
            Action::SetZone(action) => zones::set(self, sender, action),
            Action::RegisterNameServer(action) => name_servers::register(self, sender, action),
            Action::CertifyNameServer(action) => name_servers::certify(self, sender, action),
            Action::RegisterKeykeeper(action) => keys::register(self, sender, action),
            Action::PostKeyRound(action) => keys::post(self, sender, action),
            Action::GrantLabel(action) => keys::grant(self, sender, action),
            Action::RotateLabel(action) => keys::rotate(self, sender, action),
            Action::RequestKey(action) => keys::request(self, sender, action),
            Action::AnswerKey(action) => keys::answer(self, sender, action),
            Action::SetEscrowKey(action) => keys::set_escrow_key(self, sender, action),
            Action::PostEscrow(action) => keys::post_escrow(self, sender, action),
            Action::Propose(action) => members::propose(self, sender, action),
            Action::Vote(action) => members::vote(self, sender, action),
            Action::Deal(action) => members::deal(self, sender, action),
            Action::AttestValidator(action) => members::attest(self, sender, action),
            Action::PublishAuthority(action) => {
                certificates::publish_authority(self, sender, action)
            }
            Action::PublishIntermediate(action) => {
                certificates::publish_intermediate(self, sender, action)
            }
            Action::AcmeAccountOpen(action) => certificates::open_account(self, sender, action),
            Action::AcmeAccountChange(action) => certificates::change_account(self, sender, action),
            Action::AcmeOrderOpen(action) => certificates::open_order(self, sender, action),
            Action::AcmeValidate(action) => certificates::validate(self, sender, action),
            Action::AcmeFinalize(action) => certificates::finalize(self, sender, action),
            Action::AcmeIssue(action) => certificates::issue(self, sender, action),
            Action::RevokeCertificate(action) => certificates::revoke(self, sender, action),
        }
    }

    /// What falls due at the end of a block, in an order that is part of
    /// consensus: contracts, offers, commitments, bids, notices, rent,
    /// recoveries, expired certificates and orders, the pool, matching, the
    /// requests that waited for a match until this block, requests closed long
    /// ago, proposals, requests for keys, the round of keykeepers, and last the
    /// epoch.
    fn end_of_block(&mut self, ceremony: &dyn Ceremony) {
        market::end_overdue_contracts(self);
        market::close_expired_offers(self);
        names::forget_commitments(self);
        names::return_expired_bids(self);
        names::give_notices(self);
        names::draw_rent(self);
        names::settle_recoveries(self);
        certificates::forget(self);
        members::pay_pool(self);
        market::match_requests(self);
        market::end_overdue_searches(self);
        market::forget_closed_requests(self);
        members::close_proposals(self);
        keys::forget_requests(self);
        keys::turn(self);
        members::turn(self, ceremony);
        self.state.keep();
    }
}

/// Applies a block on a chain without resharings: committees stay in office.
///
/// Source: see [`apply_with`].
pub fn apply(
    state: &dyn StateRead,
    block: &BlockContext,
    transactions: &[CheckedTransaction],
) -> Applied {
    apply_with(state, block, transactions, &NoCeremony)
}

/// Applies a block.
///
/// Shape:  see [`Applied`]; `transactions` are applied in their order.
/// Panics: on a damaged store, and where the circle follows rules that this
///         build does not know; see the crate's documentation.
/// Source: docs/spec/transactions.md §3.
pub fn apply_with(
    state: &dyn StateRead,
    block: &BlockContext,
    transactions: &[CheckedTransaction],
    ceremony: &dyn Ceremony,
) -> Applied {
    let mut execution = Execution::new(state, block.height, block.time_ms);
    recent::remember(&mut execution, block.parent);
    execution.upgrade();
    execution.state.keep();
    execution.rules_changed = false;
    let mut receipts = Vec::with_capacity(transactions.len());
    let mut events = Vec::with_capacity(transactions.len() + 1);
    for (index, checked) in transactions.iter().enumerate() {
        let (result, fee) = execution.transaction(checked);
        receipts.push(Receipt {
            transaction: checked.id(),
            sender: checked.transaction().sender.account(),
            height: block.height,
            index: index as u32,
            result,
            fee,
        });
        events.push(execution.take_events());
    }
    execution.end_of_block(ceremony);
    events.push(execution.take_events());
    Applied {
        changes: execution.state.into_changes(),
        receipts,
        events,
    }
}
