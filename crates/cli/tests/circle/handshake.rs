//! What the ledger and the enclave do with a user who speaks wrongly.

use std::sync::Arc;

use crate::harness::{
    Circle, PATIENCE, component,
    user::{runtime, specification, user},
};
use client::{
    User,
    account::AccountError,
    run::{Observer, ReplicaView, Step},
};
use handshake::{AgreementSecret, Context, DataKey, Entropy, SealedStep, UserSession, WrappedKey};
use wire::{
    Action, EndReason, HandshakeMessage, HandshakeStep, Operation, Outcome, Reject, RequestId,
    record::{ContractStatus, Message, OutcomeRecord},
    state_key,
};

/// Looks at the ledger until `key` holds a record.
async fn record<T: borsh::BorshDeserialize>(user: &User, key: Vec<u8>) -> T {
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            let (record, _) = user
                .account()
                .client()
                .proven::<T>(key.clone())
                .await
                .unwrap();
            if let Some(record) = record {
                return record;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    found.await.expect("the record came in time")
}

/// The request's one replica, once its enclave is registered.
async fn replica(user: &User, request: RequestId) -> ReplicaView {
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            let view = user.view(request).await.unwrap();
            let ready = view
                .live()
                .find(|replica| replica.enclave.is_some())
                .cloned();
            if let Some(replica) = ready {
                return replica;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    found.await.expect("the enclave was registered in time")
}

fn reject(error: &AccountError) -> Option<Reject> {
    error.reject()
}

#[test]
fn a_wrong_response_is_rejected_on_the_ledger_and_a_replay_is_refused() {
    let circle = Circle::up();
    runtime().block_on(speak_wrongly(&circle));
    let row = circle.json(&["ps", "--all"])[0].clone();
    assert_eq!(row["paid"], 0, "nothing ran, so nothing was paid: {row}");
}

async fn speak_wrongly(circle: &Circle) {
    let user = user(circle);
    let observer: Observer = Arc::new(|_: Step| {});
    let program = std::fs::read(component("hello")).unwrap();
    // The lock keeps the user's own agent, which would answer rightly, away.
    let submitted = user
        .submit(specification(circle, program), &observer)
        .await
        .unwrap();
    let replica = replica(&user, submitted.request).await;
    let enclave = replica.enclave.as_ref().unwrap();
    let request = user.request(submitted.request).await.unwrap();
    let secrets = user.secrets(submitted.request, &request).unwrap();
    let context = Context {
        circle: user.account().client().circle(),
        contract: replica.id,
        evidence: enclave.evidence.digest(),
        payload_sha256: request.terms.payload.sha256,
        user_agreement: request.terms.agreement_key,
        enclave_agreement: enclave.keys.agreement,
    };
    let secret = AgreementSecret::from_bytes(*secrets.agreement.expose());
    let mut session = UserSession::new(context.clone(), 1, Operation::Start, &secret).unwrap();
    let message = |step, sealed| {
        vec![Action::HandshakeMessage(HandshakeMessage {
            contract: replica.id,
            operation: 1,
            step,
            sealed,
            signature: None,
        })]
    };

    let challenge = session.client_challenge(&mut Entropy).unwrap();
    let challenge = message(HandshakeStep::ClientChallenge, challenge);
    user.account().send(challenge.clone()).await.unwrap();
    let replayed = user.account().send(challenge).await.unwrap_err();
    assert_eq!(reject(&replayed), Some(Reject::WrongStage), "{replayed}");

    let key = state_key::message(replica.id, 1, HandshakeStep::ServerResponse);
    let answer: Message = record(&user, key).await;
    // The enclave's own response is right: what follows is wrong on our side alone.
    let right_key = DataKey::from_bytes(*secrets.data_key.expose());
    session
        .client_response(&answer.sealed, &right_key, &mut Entropy)
        .unwrap();

    let guessed = [7; 32];
    let wrapped = WrappedKey::wrap(&guessed, &[0; 64], &right_key, &mut Entropy);
    let plain = borsh::to_vec(&(guessed, Some(wrapped))).unwrap();
    let place = context.place(1, SealedStep::ClientResponse);
    let sealed = place
        .seal(&enclave.keys.agreement, &plain, &mut Entropy)
        .unwrap();
    user.account()
        .send(message(HandshakeStep::ClientResponse, sealed))
        .await
        .unwrap();

    let outcome: OutcomeRecord = record(&user, state_key::outcome(replica.id, 1)).await;
    assert_eq!(outcome.outcome, Outcome::Rejected);
    // The reason is for the user's eyes alone.
    let told = session.outcome(outcome.outcome, &outcome.sealed).unwrap();
    assert!(!told.message.is_empty());
    let view = user.view(submitted.request).await.unwrap();
    let ended = view
        .replicas
        .iter()
        .find(|found| found.id == replica.id)
        .unwrap();
    assert_eq!(
        ended.contract.status,
        ContractStatus::Ended(EndReason::ResponseRejected)
    );
    assert_eq!(ended.contract.served, 0);
    user.close(submitted.request, &observer).await.ok();
}
