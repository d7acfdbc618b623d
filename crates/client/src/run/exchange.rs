//! One replica's handshake, as far as it is the user's turn (seed 000,
//! procedure 100).
//!
//! It holds no state that a crash could lose: each call reads the proven
//! records, takes the one step that is due and says where the contract stands.

use attest::Moment;
use handshake::{AgreementSecret, DataKey, Entropy, SessionError, UserSession};
use wire::{
    Action, ContractId, EndReason, HandshakeMessage, HandshakeStep, Height, Operation, PostOutcome,
    Reject, RequestId, TransactionId,
    record::{self, ContractStatus, Stage},
    state_key,
};

use super::{Appraised, Observer, RunError, Step, StepKind, User, appraise};
use crate::{
    account::{AccountError, Sent},
    ledger::decode,
    wallet::RequestSecrets,
};

/// What is remembered of one contract between two looks at it.
#[derive(Debug)]
pub(crate) struct Tracked {
    pub id: ContractId,
    /// The operation that was last seen: which messages to read at once.
    operation: u32,
    appraised: Option<Appraised>,
    /// The evidence was refused or the enclave failed to prove itself: nothing
    /// more is sent to it.
    withheld: bool,
    announced: Announced,
    /// The event that called for this look, for the steps it leads to.
    pub cause: (Option<TransactionId>, Option<Height>),
}

/// What the observer has heard of.
#[derive(Debug, Default)]
struct Announced {
    matched: bool,
    outcome: u32,
    certificate: bool,
    completed: bool,
    ended: bool,
}

/// Where a contract stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Something is awaited.
    Waiting,
    /// It runs; whether its name's certificate is there, if it has a name.
    Running {
        certified: bool,
    },
    Stopped,
    Ended(EndReason),
}

/// The request that a contract serves, and its secrets.
pub(crate) struct Served<'a> {
    pub id: RequestId,
    pub request: &'a record::Request,
    pub secrets: &'a RequestSecrets,
}

struct Records {
    contract: record::Contract,
    enclave: Option<record::Enclave>,
    response: Option<record::Message>,
    outcome: Option<record::OutcomeRecord>,
    moment: Moment,
}

impl Tracked {
    pub fn new(id: ContractId) -> Self {
        Self {
            id,
            operation: 1,
            appraised: None,
            withheld: false,
            announced: Announced::default(),
            cause: (None, None),
        }
    }
}

/// A step's place, filled in by whoever reports it.
struct Reporter<'a> {
    observer: &'a Observer,
    request: RequestId,
    contract: ContractId,
    replica: u16,
}

impl Reporter<'_> {
    fn say(&self, kind: StepKind, at: (Option<TransactionId>, Option<Height>)) {
        (self.observer)(Step {
            kind,
            request: Some(self.request),
            contract: Some(self.contract),
            replica: Some(self.replica),
            transaction: at.0,
            height: at.1,
        });
    }
}

impl User {
    /// Takes the step of `tracked`'s contract that is the user's, if one is due
    /// at `since` or later.
    pub(crate) async fn advance(
        &self,
        served: &Served<'_>,
        tracked: &mut Tracked,
        since: Height,
        observer: &Observer,
    ) -> Result<Progress, RunError> {
        let Some(records) = self.records(tracked, since).await? else {
            return Ok(Progress::Waiting);
        };
        let contract = &records.contract;
        if contract.request != served.id || contract.user != self.account.id() {
            return Err(RunError::Handshake {
                contract: tracked.id,
                reason: "it serves another request".to_owned(),
            });
        }
        let reporter = Reporter {
            observer,
            request: served.id,
            contract: tracked.id,
            replica: contract.replica,
        };
        if !std::mem::replace(&mut tracked.announced.matched, true) {
            let matched = StepKind::Matched {
                offer: contract.offer,
                provider: contract.provider,
                price: contract.price,
            };
            reporter.say(matched, (None, Some(contract.matched_at)));
        }
        self.report_outcome(served, tracked, &records, &reporter);
        if let ContractStatus::Ended(reason) = contract.status {
            self.report_end(served, tracked, &records, reason, &reporter)
                .await?;
            return Ok(Progress::Ended(reason));
        }
        match contract.stage {
            Stage::AwaitingChallenge if !tracked.withheld => {
                self.challenge(served, tracked, &records, &reporter).await?;
                Ok(Progress::Waiting)
            }
            Stage::AwaitingClientResponse if !tracked.withheld => {
                self.respond(served, tracked, &records, &reporter).await?;
                Ok(Progress::Waiting)
            }
            Stage::Done if contract.status == ContractStatus::Running => {
                let certified = self.is_certified(served, tracked, since, &reporter).await?;
                Ok(Progress::Running { certified })
            }
            Stage::Done if contract.status == ContractStatus::Stopped => Ok(Progress::Stopped),
            _ => Ok(Progress::Waiting),
        }
    }

    /// The contract's records, all at one height.
    async fn records(
        &self,
        tracked: &mut Tracked,
        since: Height,
    ) -> Result<Option<Records>, RunError> {
        loop {
            let operation = tracked.operation;
            let step = HandshakeStep::ServerResponse;
            let keys = vec![
                state_key::contract(tracked.id),
                state_key::enclave(tracked.id),
                state_key::message(tracked.id, operation, step),
                state_key::outcome(tracked.id, operation),
            ];
            let proven = self.client().proven_many_since(keys, since).await?;
            let decoded = |error| RunError::Client(crate::error::ClientError::Record(error));
            let Some(contract) = decode::<record::Contract>(&proven[0]).map_err(decoded)? else {
                return Ok(None);
            };
            if contract.operation != operation {
                tracked.operation = contract.operation;
                continue;
            }
            return Ok(Some(Records {
                contract,
                enclave: decode(&proven[1]).map_err(decoded)?,
                response: decode(&proven[2]).map_err(decoded)?,
                outcome: decode(&proven[3]).map_err(decoded)?,
                moment: Moment {
                    height: proven[0].height(),
                    time_ms: proven[0].time_ms(),
                },
            }));
        }
    }

    /// Checks the enclave's evidence, once for each enclave.
    async fn appraised(
        &self,
        served: &Served<'_>,
        tracked: &mut Tracked,
        records: &Records,
        reporter: &Reporter<'_>,
    ) -> Result<Option<Appraised>, RunError> {
        let Some(enclave) = &records.enclave else {
            return Ok(None);
        };
        if let Some(appraised) = &tracked.appraised
            && appraised.context().evidence == enclave.evidence.digest()
            && appraised.context().enclave_agreement == enclave.keys.agreement
        {
            return Ok(Some(appraised.clone()));
        }
        // A measurement that was voted out a moment ago gets no key.
        let rules = self.client().newest_rules().await?;
        let terms = &served.request.terms;
        match appraise(&rules, tracked.id, terms, enclave, records.moment) {
            Ok(appraised) => {
                let accepted = StepKind::EvidenceAccepted {
                    evidence: appraised.kind(),
                    measurement: appraised.measurement(),
                    protects_from_host: appraised.protects_from_host(),
                };
                reporter.say(accepted, (tracked.cause.0, Some(enclave.registered_at)));
                tracked.appraised = Some(appraised.clone());
                Ok(Some(appraised))
            }
            Err(refused) => {
                withhold(tracked, &refused.to_string(), reporter);
                Ok(None)
            }
        }
    }

    /// Posts the client challenge (seed 000 \[0041\]).
    async fn challenge(
        &self,
        served: &Served<'_>,
        tracked: &mut Tracked,
        records: &Records,
        reporter: &Reporter<'_>,
    ) -> Result<(), RunError> {
        let Some(appraised) = self.appraised(served, tracked, records, reporter).await? else {
            return Ok(());
        };
        let operation = records.contract.operation;
        let sealed = session(served, &appraised, &records.contract)
            .and_then(|mut session| session.client_challenge(&mut Entropy));
        let sealed = match sealed {
            Ok(sealed) => sealed,
            Err(error) => {
                withhold(tracked, &error.to_string(), reporter);
                return Ok(());
            }
        };
        let step = HandshakeStep::ClientChallenge;
        if let Some(sent) = self.post(tracked.id, operation, step, sealed).await? {
            let at = (Some(sent.transaction), Some(sent.receipt.height));
            reporter.say(StepKind::Challenged { operation }, at);
        }
        Ok(())
    }

    /// Checks the server response and releases the key (\[0044\], \[0045\]).
    async fn respond(
        &self,
        served: &Served<'_>,
        tracked: &mut Tracked,
        records: &Records,
        reporter: &Reporter<'_>,
    ) -> Result<(), RunError> {
        let Some(appraised) = self.appraised(served, tracked, records, reporter).await? else {
            return Ok(());
        };
        let (Some(enclave), Some(response)) = (&records.enclave, &records.response) else {
            return Ok(());
        };
        let (operation, kind) = (records.contract.operation, records.contract.operation_kind);
        let step = HandshakeStep::ServerResponse;
        let signed = HandshakeMessage::signed_bytes(tracked.id, operation, step, &response.sealed);
        let genuine = response.signature.is_some_and(|signature| {
            let key = &enclave.keys.signing;
            key.verify(HandshakeMessage::PURPOSE, &signed, &signature)
                .is_ok()
        });
        if !genuine {
            withhold(
                tracked,
                "its response is not signed by the enclave",
                reporter,
            );
            return Ok(());
        }
        let data_key = DataKey::from_bytes(*served.secrets.data_key.expose());
        let answer = session(served, &appraised, &records.contract).and_then(|mut session| {
            session.client_response(&response.sealed, &data_key, &mut Entropy)
        });
        let sealed = match answer {
            Ok(sealed) => sealed,
            Err(error) => {
                withhold(tracked, &error.to_string(), reporter);
                return Ok(());
            }
        };
        let step = HandshakeStep::ClientResponse;
        if let Some(sent) = self.post(tracked.id, operation, step, sealed).await? {
            let at = (Some(sent.transaction), Some(sent.receipt.height));
            reporter.say(StepKind::Responded { operation, kind }, at);
        }
        Ok(())
    }

    /// Posts a step; none if the contract has moved on meanwhile.
    async fn post(
        &self,
        contract: ContractId,
        operation: u32,
        step: HandshakeStep,
        sealed: Vec<u8>,
    ) -> Result<Option<Sent>, RunError> {
        let message = HandshakeMessage {
            contract,
            operation,
            step,
            sealed,
            signature: None,
        };
        match self
            .account
            .send(vec![Action::HandshakeMessage(message)])
            .await
        {
            Ok(sent) => Ok(Some(sent)),
            Err(AccountError::Rejected {
                reject: Reject::WrongStage | Reject::WrongOperation | Reject::ContractEnded,
                ..
            }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens and reports the current operation's outcome, once (\[0046\]).
    fn report_outcome(
        &self,
        served: &Served<'_>,
        tracked: &mut Tracked,
        records: &Records,
        reporter: &Reporter<'_>,
    ) {
        let (Some(outcome), Some(enclave)) = (&records.outcome, &records.enclave) else {
            return;
        };
        let operation = records.contract.operation;
        if tracked.announced.outcome >= operation {
            return;
        }
        tracked.announced.outcome = operation;
        let signed =
            PostOutcome::signed_bytes(tracked.id, operation, outcome.outcome, &outcome.sealed);
        let genuine = enclave
            .keys
            .signing
            .verify(PostOutcome::PURPOSE, &signed, &outcome.signature)
            .is_ok();
        let context = context(served, tracked.id, enclave, self.client().circle());
        let kind = records.contract.operation_kind;
        let opened = UserSession::new(context, operation, kind, &agreement(served.secrets))
            .and_then(|mut session| session.outcome(outcome.outcome, &outcome.sealed));
        let message = match opened {
            Ok(opened) if genuine => opened.message,
            Ok(_) => "(the message is not signed by the enclave)".to_owned(),
            Err(error) => format!("(the message does not open: {error})"),
        };
        let answered = StepKind::Answered {
            kind,
            outcome: outcome.outcome,
            message,
        };
        reporter.say(answered, (tracked.cause.0, Some(outcome.posted_at)));
    }

    async fn report_end(
        &self,
        served: &Served<'_>,
        tracked: &mut Tracked,
        records: &Records,
        reason: EndReason,
        reporter: &Reporter<'_>,
    ) -> Result<(), RunError> {
        if reason == EndReason::Completed
            && !std::mem::replace(&mut tracked.announced.completed, true)
            && let Some(summary) = self
                .completion(served, tracked.id, &records.contract)
                .await?
        {
            let completed = StepKind::Completed {
                exit_code: summary.exit_code,
                error: summary.error,
            };
            reporter.say(completed, tracked.cause);
        }
        if !std::mem::replace(&mut tracked.announced.ended, true) {
            let ended = StepKind::ContractEnded {
                reason,
                paid: records.contract.paid,
            };
            reporter.say(ended, tracked.cause);
        }
        Ok(())
    }

    /// The job's sealed summary, opened; none if the job has not ended.
    pub(super) async fn completion(
        &self,
        served: &Served<'_>,
        id: ContractId,
        contract: &record::Contract,
    ) -> Result<Option<handshake::Completion>, RunError> {
        let keys = vec![state_key::completion(id), state_key::enclave(id)];
        let proven = self.client().proven_many(keys).await?;
        let record = |error| RunError::Client(crate::error::ClientError::Record(error));
        let completion: Option<record::Completion> = decode(&proven[0]).map_err(record)?;
        let enclave: Option<record::Enclave> = decode(&proven[1]).map_err(record)?;
        let (Some(completion), Some(enclave)) = (completion, enclave) else {
            return Ok(None);
        };
        let context = context(served, id, &enclave, self.client().circle());
        handshake::open_completion(
            &context,
            contract.operation,
            &agreement(served.secrets),
            &completion.sealed,
        )
        .map(Some)
        .map_err(|error| broken(id, &error))
    }

    async fn is_certified(
        &self,
        served: &Served<'_>,
        tracked: &mut Tracked,
        since: Height,
        reporter: &Reporter<'_>,
    ) -> Result<bool, RunError> {
        let Some(name) = &served.request.terms.name else {
            return Ok(true);
        };
        if tracked.announced.certificate {
            return Ok(true);
        }
        let key = state_key::certificate(tracked.id);
        let (certificate, _) = self
            .client()
            .proven_since::<record::Certificate>(key, since)
            .await?;
        let Some(certificate) = certificate else {
            return Ok(false);
        };
        tracked.announced.certificate = true;
        let certified = StepKind::Certified { name: name.clone() };
        reporter.say(certified, (tracked.cause.0, Some(certificate.issued_at)));
        Ok(true)
    }
}

fn withhold(tracked: &mut Tracked, reason: &str, reporter: &Reporter<'_>) {
    tracked.withheld = true;
    let reason = reason.to_owned();
    reporter.say(StepKind::KeyWithheld { reason }, tracked.cause);
}

pub(super) fn agreement(secrets: &RequestSecrets) -> AgreementSecret {
    AgreementSecret::from_bytes(*secrets.agreement.expose())
}

/// What the handshake binds, from proven records.
pub(super) fn context(
    served: &Served<'_>,
    contract: ContractId,
    enclave: &record::Enclave,
    circle: wire::CircleId,
) -> handshake::Context {
    let terms = &served.request.terms;
    handshake::Context {
        circle,
        contract,
        evidence: enclave.evidence.digest(),
        payload_sha256: terms.payload.sha256,
        user_agreement: terms.agreement_key,
        enclave_agreement: enclave.keys.agreement,
    }
}

fn session(
    served: &Served<'_>,
    appraised: &Appraised,
    contract: &record::Contract,
) -> Result<UserSession, SessionError> {
    let (operation, kind): (u32, Operation) = (contract.operation, contract.operation_kind);
    let context = appraised.context().clone();
    UserSession::new(context, operation, kind, &agreement(served.secrets))
}

fn broken(contract: ContractId, error: &SessionError) -> RunError {
    RunError::Handshake {
        contract,
        reason: error.to_string(),
    }
}
