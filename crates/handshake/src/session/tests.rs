//! Every transition of both sides, and what a host could try.

use wire::{CircleId, ContractId, Digest, Outcome};

use super::*;
use crate::{AgreementSecret, Completion, DataKey, DerivedKeys, Entropy};

/// A user and an enclave that read the same ledger.
struct Pair {
    context: Context,
    user: AgreementSecret,
    enclave: AgreementSecret,
    enclave_keys: DerivedKeys,
    session: EnclaveSession,
    data_key: DataKey,
    slot: DataKey,
}

fn pair() -> Pair {
    pair_with(|_| {})
}

/// As [`pair`], but the enclave was told something else than the user.
fn pair_with(change: impl FnOnce(&mut Context)) -> Pair {
    let user = AgreementSecret::generate(&mut Entropy);
    let enclave = AgreementSecret::generate(&mut Entropy);
    let context = Context {
        circle: CircleId([1; 32]),
        contract: ContractId([2; 32]),
        evidence: Digest([3; 32]),
        payload_sha256: Digest([4; 32]),
        user_agreement: user.public(),
        enclave_agreement: enclave.public(),
    };
    let mut told = context.clone();
    change(&mut told);
    Pair {
        context,
        user,
        enclave_keys: DerivedKeys::for_enclave(&told, &enclave).unwrap(),
        session: EnclaveSession::new(told),
        enclave,
        data_key: DataKey::generate(&mut Entropy),
        slot: DataKey::from_bytes([0xee; 32]),
    }
}

impl Pair {
    fn user(&self, operation: u32, kind: Operation) -> UserSession {
        UserSession::new(self.context.clone(), operation, kind, &self.user).unwrap()
    }

    fn challenge(
        &mut self,
        operation: u32,
        kind: Operation,
        sealed: &[u8],
    ) -> Result<Vec<u8>, EnclaveSessionError> {
        self.session.client_challenge(
            operation,
            kind,
            sealed,
            &self.enclave,
            &self.enclave_keys,
            &mut Entropy,
        )
    }

    fn respond(
        &mut self,
        operation: u32,
        kind: Operation,
        sealed: &[u8],
    ) -> Result<Verdict, EnclaveSessionError> {
        self.session.client_response(
            operation,
            kind,
            sealed,
            &self.enclave,
            &self.enclave_keys,
            &mut self.slot,
        )
    }

    /// Runs the steps up to the client response; gives the user and the response.
    fn up_to_response(&mut self, operation: u32, kind: Operation) -> (UserSession, Vec<u8>) {
        let mut user = self.user(operation, kind);
        let challenge = user.client_challenge(&mut Entropy).unwrap();
        let server = self.challenge(operation, kind, &challenge).unwrap();
        let response = user
            .client_response(&server, &self.data_key, &mut Entropy)
            .unwrap();
        (user, response)
    }
}

const START: Operation = Operation::Start;
const STOP: Operation = Operation::Stop;

#[test]
fn start_hands_over_the_key_and_stop_and_start_follow() {
    let mut pair = pair();
    for (operation, kind) in [(1, START), (2, STOP), (3, START), (7, STOP)] {
        let (mut user, response) = pair.up_to_response(operation, kind);
        assert_eq!(user.step(), UserStep::Responded);
        assert_eq!(
            pair.respond(operation, kind, &response),
            Ok(Verdict::Accepted)
        );
        match kind {
            START => assert_eq!(pair.slot.as_bytes(), pair.data_key.as_bytes()),
            STOP => assert_eq!(pair.slot.as_bytes(), &[0; 32]),
        }
        let sealed = pair
            .session
            .seal_outcome(
                operation,
                Outcome::Confirmed,
                "running".to_owned(),
                &mut Entropy,
            )
            .unwrap();
        let message = user.outcome(Outcome::Confirmed, &sealed).unwrap();
        assert_eq!(message.message, "running");
        assert_eq!(user.step(), UserStep::Done);
    }
}

#[test]
fn a_user_who_crashed_goes_on_where_the_ledger_stands() {
    let mut pair = pair();
    let challenge = pair.user(1, START).client_challenge(&mut Entropy).unwrap();
    let server = pair.challenge(1, START, &challenge).unwrap();
    let mut again = pair.user(1, START);
    let response = again
        .client_response(&server, &pair.data_key, &mut Entropy)
        .unwrap();
    assert_eq!(pair.respond(1, START, &response), Ok(Verdict::Accepted));
}

#[test]
fn challenges_differ_between_operations_kinds_and_contracts() {
    let pair = pair();
    let challenge = |context: &Context, operation, kind| {
        let session = UserSession::new(context.clone(), operation, kind, &pair.user).unwrap();
        session.challenge_for_test()
    };
    let other = Context {
        contract: ContractId([9; 32]),
        ..pair.context.clone()
    };
    let all = [
        challenge(&pair.context, 1, START),
        challenge(&pair.context, 2, START),
        challenge(&pair.context, 1, STOP),
        challenge(&other, 1, START),
    ];
    for (index, one) in all.iter().enumerate() {
        assert!(!all[..index].contains(one));
    }
    assert_eq!(all[0], challenge(&pair.context, 1, START));
}

#[test]
fn a_response_under_other_keys_or_another_session_is_rejected_without_a_key() {
    let mut pair = pair();
    let (_, good) = pair.up_to_response(1, START);
    assert_eq!(pair.respond(1, START, &good), Ok(Verdict::Accepted));
    // A second run; its response is replaced by what an attacker can make.
    let mut attacker = self::pair();
    attacker.context = pair.context.clone();
    attacker.session = EnclaveSession::new(pair.context.clone());
    attacker.enclave = AgreementSecret::from_bytes(*pair.enclave.as_bytes());
    let (_, genuine) = pair.up_to_response(2, START);
    let place = pair.context.place(2, SealedStep::ClientResponse);
    let opened = place.open(&pair.enclave, &genuine).unwrap();
    let mut forged = opened.clone();
    forged[0] ^= 1;
    let forged = place
        .seal(&pair.context.enclave_agreement, &forged, &mut Entropy)
        .unwrap();
    assert_eq!(
        pair.respond(2, START, &forged),
        Ok(Verdict::Rejected(RejectReason::WrongResponse))
    );
    assert_eq!(pair.slot.as_bytes(), &[0; 32]);
    // The challenge is spent: the genuine response comes too late.
    assert_eq!(
        pair.respond(2, START, &genuine),
        Err(EnclaveSessionError::NoChallenge(2))
    );
}

#[test]
fn a_key_that_is_missing_or_wrapped_otherwise_is_rejected() {
    for (length, change) in [(33, None), (94, Some(60))] {
        let mut pair = pair();
        let (_, response) = pair.up_to_response(1, START);
        let place = pair.context.place(1, SealedStep::ClientResponse);
        let mut opened = place.open(&pair.enclave, &response).unwrap();
        match change {
            None => {
                opened.truncate(length);
                opened[32] = 0;
            }
            Some(at) => opened[at] ^= 1,
        }
        let changed = place
            .seal(&pair.context.enclave_agreement, &opened, &mut Entropy)
            .unwrap();
        let rejected = Ok(Verdict::Rejected(RejectReason::WrongKey));
        assert_eq!(pair.respond(1, START, &changed), rejected);
        assert_eq!(pair.slot.as_bytes(), &[0; 32]);
    }
}

#[test]
fn messages_of_another_operation_or_contract_do_not_open() {
    let mut pair = pair();
    let (_, first) = pair.up_to_response(1, START);
    let (_, _second) = pair.up_to_response(2, START);
    assert_eq!(
        pair.respond(1, START, &first),
        Err(EnclaveSessionError::Replayed(1))
    );
    assert_eq!(
        pair.respond(2, START, &first),
        Ok(Verdict::Rejected(RejectReason::NotSealedHere))
    );
    let mut elsewhere = self::pair();
    elsewhere.context.contract = ContractId([9; 32]);
    elsewhere.context.enclave_agreement = pair.context.enclave_agreement;
    let mut user = elsewhere.user(3, START);
    let challenge = user.client_challenge(&mut Entropy).unwrap();
    assert_eq!(
        pair.challenge(3, START, &challenge),
        Err(EnclaveSessionError::BadChallenge(3))
    );
}

#[test]
fn the_enclave_refuses_replays_and_steps_out_of_order() {
    let mut pair = pair();
    let mut user = pair.user(1, START);
    let challenge = user.client_challenge(&mut Entropy).unwrap();
    let none = Err(EnclaveSessionError::NoChallenge(1));
    assert_eq!(pair.respond(1, START, b"anything"), none);
    let server = pair.challenge(1, START, &challenge).unwrap();
    let replayed = EnclaveSessionError::Replayed(1);
    assert_eq!(pair.challenge(1, START, &challenge), Err(replayed));
    assert_eq!(
        pair.challenge(0, START, &challenge),
        Err(EnclaveSessionError::Replayed(0))
    );
    let response = user
        .client_response(&server, &pair.data_key, &mut Entropy)
        .unwrap();
    // The host passes it on as a stop.
    assert_eq!(pair.respond(1, STOP, &response), none);
    assert_eq!(pair.respond(1, START, &response), Ok(Verdict::Accepted));
    assert_eq!(pair.respond(1, START, &response), none);
    assert_eq!(pair.challenge(1, START, &challenge), Err(replayed));
}

#[test]
fn a_host_that_tells_the_enclave_another_story_ends_in_a_wrong_response() {
    let stories: [fn(&mut Context); 3] = [
        |context| context.evidence = Digest([9; 32]),
        |context| context.payload_sha256 = Digest([9; 32]),
        |_| {},
    ];
    for (index, story) in stories.into_iter().enumerate() {
        let mut pair = pair_with(story);
        let mut user = pair.user(1, START);
        let challenge = user.client_challenge(&mut Entropy).unwrap();
        // The last story: the start is passed on as a stop.
        let kind = if index == 2 { STOP } else { START };
        let server = pair.challenge(1, kind, &challenge).unwrap();
        assert_eq!(
            user.client_response(&server, &pair.data_key, &mut Entropy),
            Err(SessionError::WrongResponse)
        );
        assert_eq!(user.step(), UserStep::Challenged);
    }
}

#[test]
fn the_user_refuses_a_server_response_that_is_foreign_changed_or_late() {
    let mut pair = pair();
    let mut user = pair.user(1, START);
    let challenge = user.client_challenge(&mut Entropy).unwrap();
    let server = pair.challenge(1, START, &challenge).unwrap();
    let mut changed = server.clone();
    changed[50] ^= 1;
    assert_eq!(
        user.client_response(&changed, &pair.data_key, &mut Entropy),
        Err(SessionError::Seal(crate::SealError::NotAuthentic))
    );
    // Sealed by somebody who does not hold the enclave's key.
    let forged = pair
        .context
        .place(1, SealedStep::ServerResponse)
        .seal(&pair.user.public(), &[7; 64], &mut Entropy)
        .unwrap();
    assert_eq!(
        user.client_response(&forged, &pair.data_key, &mut Entropy),
        Err(SessionError::WrongResponse)
    );
    let short = pair
        .context
        .place(1, SealedStep::ServerResponse)
        .seal(&pair.user.public(), &[7; 63], &mut Entropy)
        .unwrap();
    assert_eq!(
        user.client_response(&short, &pair.data_key, &mut Entropy),
        Err(SessionError::Malformed)
    );
    assert!(
        user.client_response(&server, &pair.data_key, &mut Entropy)
            .is_ok()
    );
    assert_eq!(
        user.client_challenge(&mut Entropy),
        Err(SessionError::OutOfOrder(UserStep::Responded))
    );
}

#[test]
fn an_outcome_must_be_the_one_on_the_ledger() {
    let pair = pair();
    let mut user = pair.user(1, START);
    let sealed = pair
        .session
        .seal_outcome(1, Outcome::Rejected, "wrong".repeat(1000), &mut Entropy)
        .unwrap();
    assert_eq!(
        user.outcome(Outcome::Confirmed, &sealed),
        Err(SessionError::OutcomeDiffers)
    );
    let message = user.outcome(Outcome::Rejected, &sealed).unwrap();
    assert_eq!(message.message.len(), 1024);
    let server = user.client_response(&[], &pair.data_key, &mut Entropy);
    assert_eq!(server, Err(SessionError::OutOfOrder(UserStep::Done)));
}

#[test]
fn a_completion_opens_for_its_operation_only() {
    let pair = pair();
    let completion = Completion {
        exit_code: 3,
        error: Some("e".repeat(2000)),
        archive_sha256: Digest([5; 32]),
        archive_bytes: 6,
        files: 1,
        log_records: 2,
    };
    let sealed = pair
        .session
        .seal_completion(1, &completion, &mut Entropy)
        .unwrap();
    let opened = open_completion(&pair.context, 1, &pair.user, &sealed).unwrap();
    assert_eq!(opened.error.as_ref().map(String::len), Some(1024));
    assert_eq!(opened.exit_code, 3);
    assert!(open_completion(&pair.context, 2, &pair.user, &sealed).is_err());
}
