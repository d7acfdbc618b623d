//! Names and notarised data over the real state machine: a registration that
//! is broken off anywhere, look-ups, and proofs that are checked offline.

use std::{path::Path, sync::Arc};

use client::{
    User,
    account::Account,
    keyfile::{KeyKind, UnlockedKey},
    names::{NameProofError, verify_name},
    notary::{Item, NotaryProofError, verify_item},
    run::{Observer, Registration},
    storage::{AccessPolicy, ObjectStorage},
    wallet::Wallet,
};
use wire::{
    Action, Amount, CircleKey, DomainName, NameSet, NameTransfer, Notarise, RecordSet, SigningKey,
    Transaction, TransactionResult, record, state_key,
};

use crate::fake_node::{Circle, Node, circle_with, client};

const BALANCE: Amount = Amount(10_000_000);

fn hello() -> DomainName {
    "hello.internal".parse().unwrap()
}

fn silent() -> Observer {
    Arc::new(|_| ())
}

/// A user as a new process is one: over the same key and the same directory.
fn user(node: &Node, key: &Arc<UnlockedKey>, directory: &Path) -> User {
    let account = Account::new(client(&[node]), key.clone(), None);
    let wallet = Wallet::new(directory.to_owned(), key);
    let storage = ObjectStorage::new(AccessPolicy::unrestricted(), None).unwrap();
    User::new(account, wallet, storage).unwrap()
}

fn rich(keys: &[&UnlockedKey]) -> Arc<Circle> {
    let mut accounts: Vec<_> = keys.iter().map(|key| (key.account(), BALANCE)).collect();
    accounts.sort_unstable();
    circle_with(accounts)
}

fn get<T: borsh::BorshDeserialize>(node: &Node, key: &[u8]) -> Option<T> {
    let ledger = node.ledger.lock().unwrap();
    ledger
        .entries
        .get(key)
        .map(|bytes| record::decode(bytes).unwrap())
}

/// Reveals that were applied.
fn registrations(node: &Node) -> usize {
    let ledger = node.ledger.lock().unwrap();
    ledger
        .applied
        .iter()
        .filter(|one| ledger.receipts[&one.id()].result == TransactionResult::Applied)
        .flat_map(|one| &one.transaction().actions)
        .filter(|action| matches!(action, Action::NameReveal(_)))
        .count()
}

/// What must hold wherever a run was broken off: what is on the ledger can be
/// finished from what is on the disk.
fn assert_can_be_finished(node: &Node, user: &User) {
    let committed = node
        .ledger
        .lock()
        .unwrap()
        .entries
        .keys()
        .any(|key| key.starts_with(b"k/"));
    if committed {
        assert!(
            user.wallet().name(&hello()).unwrap().is_some(),
            "a commitment is on the ledger and its secret is lost"
        );
    }
}

#[tokio::test]
async fn a_registration_that_is_broken_off_anywhere_is_finished_by_the_next_run() {
    let key = Arc::new(UnlockedKey::generate("k", KeyKind::Ed25519));
    for carried_out in [false, true] {
        for calls in 0.. {
            let node = Node::real(&rich(&[&key])).await;
            let directory = tempfile::tempdir().unwrap();
            node.stop_after(calls, carried_out);
            let first = user(&node, &key, directory.path());
            let observer = silent();
            let name = hello();
            // What is dropped here is the process that crashed.
            let broken = tokio::select! {
                result = first.register_name(&name, None, &observer) => {
                    result.unwrap();
                    false
                }
                () = node.stopped() => true,
            };
            drop(first);
            node.go_on();
            let second = user(&node, &key, directory.path());
            assert_can_be_finished(&node, &second);
            second
                .register_name(&hello(), None, &silent())
                .await
                .unwrap();
            let record: record::Name = get(&node, &state_key::name(&hello())).unwrap();
            assert_eq!(record.owner, key.public());
            assert_eq!(registrations(&node), 1, "after {calls} calls");
            assert!(second.wallet().name(&hello()).unwrap().is_none());
            if !broken {
                assert!(calls >= 4, "a registration takes more than {calls} calls");
                break;
            }
        }
    }
}

#[tokio::test]
async fn what_goes_along_with_a_registration_is_applied_with_it_or_not_at_all() {
    let key = Arc::new(UnlockedKey::generate("k", KeyKind::Ed25519));
    let node = Node::real(&rich(&[&key])).await;
    let directory = tempfile::tempdir().unwrap();
    let user = user(&node, &key, directory.path());
    let with = |data: Vec<u8>| {
        let records = vec![RecordSet {
            owner: None,
            rtype: 1,
            ttl: 60,
            data: vec![data],
        }];
        let name = hello();
        vec![Action::NameSet(NameSet { name, records })]
    };
    let refused = user
        .register_name_with(&hello(), None, with(vec![10, 0, 0]), &silent())
        .await;
    assert!(refused.is_err());
    assert_eq!(get::<record::Name>(&node, &state_key::name(&hello())), None);
    let done = user
        .register_name_with(&hello(), None, with(vec![10, 0, 0, 1]), &silent())
        .await
        .unwrap();
    assert_eq!(done, Registration::Registered);
    let record: record::Name = get(&node, &state_key::name(&hello())).unwrap();
    assert_eq!(record.records.len(), 1);
    let again = user.register_name(&hello(), None, &silent()).await.unwrap();
    assert_eq!(again, Registration::AlreadyOwned);
}

#[tokio::test]
async fn an_address_leads_to_proven_names_and_a_forged_one_to_an_error() {
    let key = Arc::new(UnlockedKey::generate("k", KeyKind::Ed25519));
    let node = Node::real(&rich(&[&key])).await;
    let directory = tempfile::tempdir().unwrap();
    let user = user(&node, &key, directory.path());
    user.register_name(&hello(), None, &silent()).await.unwrap();
    let set = |owner: Option<&str>| RecordSet {
        owner: owner.map(|owner| owner.parse().unwrap()),
        rtype: 1,
        ttl: 60,
        data: vec![vec![192, 0, 2, 1]],
    };
    let action = Action::NameSet(NameSet {
        name: hello(),
        records: vec![set(None), set(Some("www")), set(Some("*"))],
    });
    user.account().send(vec![action]).await.unwrap();
    let address = "192.0.2.1".parse().unwrap();
    let found = user.account().client().names_of(address).await.unwrap();
    let at: Vec<&str> = found
        .iter()
        .flat_map(|one| one.at.iter().map(DomainName::as_str))
        .collect();
    assert_eq!(at, ["hello.internal", "www.hello.internal"]);
    let other = "192.0.2.2".parse().unwrap();
    assert_eq!(user.account().client().names_of(other).await.unwrap(), []);
    node.mischief(|mischief| mischief.forge = true);
    assert!(client(&[&node]).names_of(address).await.is_err());
}

#[tokio::test]
async fn a_stored_proof_shows_a_name_to_who_holds_the_circles_key_and_nothing_else() {
    let key = Arc::new(UnlockedKey::generate("k", KeyKind::Ed25519));
    let node = Node::real(&rich(&[&key])).await;
    let directory = tempfile::tempdir().unwrap();
    let user = user(&node, &key, directory.path());
    let free = node.proof(&state_key::name(&hello()));
    user.register_name(&hello(), None, &silent()).await.unwrap();
    let proof = node.proof(&state_key::name(&hello()));
    let circle = node.circle.key;
    let shown = verify_name(&proof, &circle).unwrap();
    assert_eq!(shown.name, hello());
    assert_eq!(shown.record.unwrap().owner, key.public());
    assert!(verify_name(&free, &circle).unwrap().record.is_none());
    assert!(proof.len() < 1024, "{} bytes", proof.len());
    for at in 0..proof.len() {
        let mut changed = proof.clone();
        changed[at] ^= 1;
        assert!(verify_name(&changed, &circle).is_err(), "byte {at}");
    }
    assert!(verify_name(&proof, &CircleKey([1; 96])).is_err());
    let rules = node.proof(&state_key::rules());
    assert!(matches!(
        verify_name(&rules, &circle),
        Err(NameProofError::NotAName)
    ));
}

#[tokio::test]
async fn a_notarised_item_is_told_from_every_other_offline() {
    let key = Arc::new(UnlockedKey::generate("k", KeyKind::Ed25519));
    let node = Node::real(&rich(&[&key])).await;
    let account = Account::new(client(&[&node]), key.clone(), None);
    let item = Item::read(&b"the minutes"[..]).unwrap();
    let action = Action::Notarise(Notarise {
        digest: item.digest,
        size: item.size,
        encrypted: false,
        media: "text/plain".to_owned(),
        note: "board of May".to_owned(),
    });
    let entry = state_key::notarisation(item.digest, key.account());
    let absent = node.proof(&entry);
    account.send(vec![action]).await.unwrap();
    let proof = node.proof(&entry);
    let circle = node.circle.key;
    let (record, _) = verify_item(&item, &proof, &circle).unwrap();
    assert_eq!(
        (record.signer, &*record.note),
        (key.public(), "board of May")
    );
    let other = Item::read(&b"the minutes!"[..]).unwrap();
    assert!(matches!(
        verify_item(&other, &proof, &circle),
        Err(NotaryProofError::OtherItem)
    ));
    assert!(matches!(
        verify_item(&item, &absent, &circle),
        Err(NotaryProofError::Absent)
    ));
    let found = account.client().notarisations(item.digest).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].signer, key.account());
}

#[tokio::test]
async fn a_key_that_is_held_elsewhere_signs_what_was_prepared_and_nothing_else() {
    let key = Arc::new(UnlockedKey::generate("k", KeyKind::P256));
    let node = Node::real(&rich(&[&key])).await;
    let directory = tempfile::tempdir().unwrap();
    let user = user(&node, &key, directory.path());
    user.register_name(&hello(), None, &silent()).await.unwrap();
    let to = SigningKey::ed25519([9; 32]).public();
    let name = hello();
    let actions = vec![Action::NameTransfer(NameTransfer { name, to })];
    let client = client(&[&node]);
    let prepared = client.unsigned(key.public(), actions).await.unwrap();
    let body = borsh::to_vec(&prepared).unwrap();
    let signature = key.signer().sign(Transaction::PURPOSE, &body);
    let mut other = prepared.clone();
    other.sequence += 1;
    assert!(client::unsigned::join(other, signature.into()).is_err());
    let signed = client::unsigned::join(prepared, signature.into()).unwrap();
    let receipt = client.submit(&signed).await.unwrap();
    assert_eq!(receipt.result, TransactionResult::Applied);
    let record: record::Name = get(&node, &state_key::name(&hello())).unwrap();
    assert_eq!(record.owner, to);
}
