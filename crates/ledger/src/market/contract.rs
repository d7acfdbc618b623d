//! A contract's life: how it is made, paid and ended.
//!
//! [`Live`] is a contract that has not ended, with its request. Every change
//! goes through it, so that deadlines, indexes, capacity and escrow move together.

use wire::{
    Amount, ContractId, EndReason, Event, Height, OfferId, Operation, PublicKey, Reject, RequestId,
    record::{
        Contract, ContractStatus, Enclave, NameEndpoint, Offer, Request, RequestStatus, Stage,
    },
    state_key,
};

use crate::{
    accounts::credit,
    execution::Execution,
    market::{find_offer, offer_index, request, search},
    names,
};

/// A contract that has not ended, with its request.
pub(crate) struct Live {
    pub(crate) id: ContractId,
    pub(crate) contract: Contract,
    pub(crate) request: Request,
}

/// What the end of a contract means for its replica.
enum Consequence {
    /// It needs no other contract.
    Finished,
    /// It gets another contract only if the market looks for one anyway, or
    /// the user starts the request again.
    Idle,
    /// It is to be replaced.
    Replace {
        /// Whether the provider is not matched with this request again.
        exclude: bool,
    },
}

/// Makes the contract that binds `replica` of a request to an offer, and
/// opens its first operation, `start`.
pub(super) fn make(
    execution: &mut Execution<'_>,
    id: RequestId,
    request: &mut Request,
    replica: u16,
    offer_id: OfferId,
    offer: Offer,
) {
    let contract_id = ContractId::of(id, replica, request.attempts);
    request.attempts = request.attempts.saturating_add(1);
    request.replicas[usize::from(replica)] = Some(contract_id);
    let deadline = execution
        .height
        .plus(execution.rules.parameters.handshake_limit);
    let contract = Contract {
        request: id,
        replica,
        offer: offer_id,
        user: request.user,
        provider: offer.provider,
        price: offer.terms.min_price,
        resources: request.terms.resources,
        matched_at: execution.height,
        status: ContractStatus::Starting,
        operation: 1,
        operation_kind: Operation::Start,
        stage: Stage::AwaitingEnclave,
        deadline: Some(deadline),
        awaited_since_ms: execution.time_ms,
        settled_at: execution.height,
        served: 0,
        paid: Amount::ZERO,
    };
    let state = &mut execution.state;
    state.put(state_key::contract(contract_id), &contract);
    state.mark(state_key::contract_due(deadline, contract_id));
    state.mark(state_key::provider_contract(offer.provider, contract_id));
    let taken = Offer {
        free: offer
            .free
            .checked_sub(&request.terms.resources)
            .expect("an offer that fits has room"),
        live: offer.live + 1,
        ..offer.clone()
    };
    offer_index::store(execution, offer_id, Some(&offer), &taken);
    execution.emit(Event::Matched {
        contract: contract_id,
        request: id,
        replica,
        offer: offer_id,
        provider: contract.provider,
        user: contract.user,
    });
    execution.emit(Event::OfferChanged { offer: offer_id });
}

impl Live {
    /// The contract, if it has not ended.
    ///
    /// Errors: [`Reject::ContractNotFound`], [`Reject::ContractEnded`].
    pub(crate) fn find(execution: &Execution<'_>, id: ContractId) -> Result<Self, Reject> {
        let contract: Contract = execution
            .state
            .get(&state_key::contract(id))
            .ok_or(Reject::ContractNotFound)?;
        if matches!(contract.status, ContractStatus::Ended(_)) {
            return Err(Reject::ContractEnded);
        }
        let request = request::find(execution, contract.request)?;
        Ok(Self {
            id,
            contract,
            request,
        })
    }

    /// The key with which the contract's enclave signs.
    pub(crate) fn enclave_key(&self, execution: &Execution<'_>) -> Result<PublicKey, Reject> {
        let enclave: Enclave = execution
            .state
            .get(&state_key::enclave(self.id))
            .ok_or(Reject::WrongStage)?;
        Ok(enclave.keys.signing)
    }

    fn replica(&self) -> usize {
        usize::from(self.contract.replica)
    }

    /// Sets when the next step or heartbeat is overdue.
    pub(crate) fn set_deadline(&mut self, execution: &mut Execution<'_>, deadline: Option<Height>) {
        if let Some(former) = self.contract.deadline {
            execution
                .state
                .delete(state_key::contract_due(former, self.id));
        }
        if let Some(deadline) = deadline {
            execution
                .state
                .mark(state_key::contract_due(deadline, self.id));
        }
        self.contract.deadline = deadline;
    }

    /// Moves the current operation to `stage`, whose step must come within
    /// the circle's handshake limit.
    pub(crate) fn await_step(&mut self, execution: &mut Execution<'_>, stage: Stage) {
        let limit = execution.rules.parameters.handshake_limit;
        self.contract.stage = stage;
        self.contract.awaited_since_ms = execution.time_ms;
        self.set_deadline(execution, Some(execution.height.plus(limit)));
    }

    /// Stores contract and request.
    pub(crate) fn store(self, execution: &mut Execution<'_>) {
        execution
            .state
            .put(state_key::contract(self.id), &self.contract);
        request::store(execution, self.contract.request, &self.request);
    }

    /// Pays for the blocks since the contract was last settled, up to `upto`.
    ///
    /// Units: whole blocks at the contract's price; never more than is left
    ///        of the duration, nor than the escrow holds.
    pub(super) fn settle(&mut self, execution: &mut Execution<'_>, upto: Height) {
        let replica = self.replica();
        let served = self.request.served[replica];
        let left = self.request.terms.duration.saturating_sub(served);
        let price = self.contract.price.0;
        let affordable = self.request.escrow.0.checked_div(price).unwrap_or(left);
        let blocks = upto
            .since(self.contract.settled_at)
            .min(left)
            .min(affordable);
        let paid = Amount(price * blocks);
        self.contract.settled_at = self.contract.settled_at.max(upto);
        self.contract.served += blocks;
        self.contract.paid.0 += paid.0;
        self.request.served[replica] += blocks;
        self.request.paid.0 += paid.0;
        self.request.escrow.0 -= paid.0;
        credit(execution, self.contract.provider, paid);
        if blocks > 0 {
            execution.emit(Event::Settled {
                contract: self.id,
                blocks,
                paid,
            });
        }
    }

    /// Stores the contract after a payment, or ends it when nothing is left
    /// to serve or to pay with.
    pub(super) fn go_on(self, execution: &mut Execution<'_>) {
        if self.request.served[self.replica()] >= self.request.terms.duration {
            self.end(execution, EndReason::DurationServed);
        } else if self.request.escrow < self.contract.price {
            self.end(execution, EndReason::EscrowEmpty);
        } else {
            self.store(execution);
        }
    }

    /// The contract's payload runs from now on.
    pub(super) fn run(&mut self, execution: &mut Execution<'_>) -> Result<(), Reject> {
        self.contract.status = ContractStatus::Running;
        self.contract.settled_at = execution.height;
        let Some(name) = names::serves(execution, self.contract.request, &self.request) else {
            return Ok(());
        };
        let name = name.clone();
        let offer = find_offer(execution, self.contract.offer)?;
        let enclave: Enclave = execution
            .state
            .get(&state_key::enclave(self.id))
            .ok_or(Reject::WrongStage)?;
        let endpoint = NameEndpoint {
            contract: self.id,
            endpoint: offer.terms.endpoint,
            tls_key: enclave.keys.tls_key,
        };
        names::add_endpoint(execution, &name, endpoint);
        Ok(())
    }

    /// Takes the replica's endpoint from the request's name.
    pub(super) fn leave_name(&self, execution: &mut Execution<'_>) {
        let name = names::serves(execution, self.contract.request, &self.request).cloned();
        if let Some(name) = name {
            names::remove_endpoint(execution, &name, self.id);
        }
    }

    /// Ends the contract: its room is free again, and its request goes on or closes.
    pub(super) fn end(mut self, execution: &mut Execution<'_>, reason: EndReason) {
        let consequence = self.consequence(reason);
        self.end_alone(execution, reason);
        let id = self.contract.request;
        let replica = self.replica();
        let mut request = self.request;
        match consequence {
            Consequence::Finished => request.finished[replica] = true,
            Consequence::Idle => {}
            Consequence::Replace { exclude } => {
                replace(execution, id, &mut request, &self.contract, reason, exclude);
            }
        }
        let replaceable = request::may_be_replaced(execution, &request);
        let reason = match consequence {
            Consequence::Replace { .. } if !replaceable => {
                request::payload_fault(&request).unwrap_or(EndReason::TooManyFailures)
            }
            _ => reason,
        };
        request::go_on(execution, id, request, reason);
    }

    /// Ends the contract and nothing else; the caller stores the request.
    pub(super) fn end_alone(&mut self, execution: &mut Execution<'_>, reason: EndReason) {
        self.leave_name(execution);
        self.set_deadline(execution, None);
        self.contract.status = ContractStatus::Ended(reason);
        let state = &mut execution.state;
        state.put(state_key::contract(self.id), &self.contract);
        state.delete(state_key::provider_contract(
            self.contract.provider,
            self.id,
        ));
        state.delete(state_key::certificate_wanted(self.id));
        state.delete(state_key::grant(&self.id.0));
        self.request.replicas[usize::from(self.contract.replica)] = None;
        give_back_room(execution, &self.contract);
        execution.emit(Event::ContractEnded {
            contract: self.id,
            request: self.contract.request,
            reason,
            paid: self.contract.paid,
        });
    }

    /// Whose fault an end is, and what becomes of the replica.
    fn consequence(&self, reason: EndReason) -> Consequence {
        use EndReason::*;
        // The user's own steps: nobody else may be blamed for their lateness.
        let users_turn = matches!(
            self.contract.stage,
            Stage::AwaitingChallenge | Stage::AwaitingClientResponse
        );
        match reason {
            DurationServed | Completed => Consequence::Finished,
            UserClosed | EscrowEmpty | ResponseRejected | NoOffer | TooManyFailures => {
                Consequence::Idle
            }
            HandshakeTimeout if users_turn => Consequence::Idle,
            ProviderWithdrew => Consequence::Replace { exclude: false },
            ProviderSilent | HandshakeTimeout | PayloadUnavailable | PayloadCorrupt
            | PayloadFailed | LaunchFailed => Consequence::Replace { exclude: true },
        }
    }
}

/// Notes the fault and begins the search for another provider, unless too
/// many have failed.
fn replace(
    execution: &mut Execution<'_>,
    id: RequestId,
    request: &mut Request,
    contract: &Contract,
    reason: EndReason,
    exclude: bool,
) {
    if exclude && let Err(at) = request.excluded.binary_search(&contract.provider) {
        request.excluded.insert(at, contract.provider);
    }
    // A provider that restarts after honest service costs the request nothing;
    // otherwise a service that runs for years would end by its restarts.
    let honest = reason == EndReason::ProviderWithdrew
        && contract.served >= execution.rules.parameters.heartbeat_limit;
    if !honest {
        request::note_fault(request, reason);
    }
    if request.status == RequestStatus::Started && request::may_be_replaced(execution, request) {
        let until = search::until(execution, request);
        search::begin(execution, id, until);
    }
}

/// Returns a contract's room to its offer, and the offer's deposit to its
/// provider if that was the last of a closed offer.
fn give_back_room(execution: &mut Execution<'_>, contract: &Contract) {
    let Ok(before) = find_offer(execution, contract.offer) else {
        return;
    };
    let mut offer = Offer {
        free: before
            .free
            .checked_add(&contract.resources)
            .expect("what was taken fits back"),
        live: before.live - 1,
        ..before.clone()
    };
    // Noted for a closed offer too: where a spread is required, its provider
    // may now serve the request by another offer.
    offer_index::note_room(execution);
    if !offer.open && offer.live == 0 {
        let deposit = std::mem::replace(&mut offer.deposit, Amount::ZERO);
        credit(execution, offer.provider, deposit);
    }
    offer_index::store(execution, contract.offer, Some(&before), &offer);
    execution.emit(Event::OfferChanged {
        offer: contract.offer,
    });
}
