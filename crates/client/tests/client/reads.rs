//! Proven reads: what is believed, and what is refused.

use std::time::{Duration, Instant};

use client::{Client, ClientError};
use wire::{AccountId, Amount, Height, record, state_key};

use crate::fake_node::{Node, circle, client};

fn account(balance: u64) -> record::Account {
    record::Account {
        balance: Amount(balance),
        sequence: 7,
    }
}

const ID: AccountId = AccountId([3; 32]);

#[tokio::test]
async fn presence_and_absence_are_proven() {
    let node = Node::start(&circle(), 10).await;
    node.put(state_key::account(ID), &account(5));
    let client = client(&[&node]);
    let keys = vec![
        state_key::account(ID),
        state_key::account(AccountId([4; 32])),
    ];
    let proven = client.proven_many(keys).await.unwrap();
    assert_eq!(client::decode(&proven[0]), Ok(Some(account(5))));
    assert_eq!(client::decode::<record::Account>(&proven[1]), Ok(None));
    assert_eq!(client.seen(), Height(10));
    assert_eq!(client.genesis().await.unwrap().circle(), client.circle());
}

#[tokio::test]
async fn a_forged_answer_is_refused_and_another_node_asked() {
    let circle = circle();
    let (liar, honest) = (
        Node::start(&circle, 10).await,
        Node::start(&circle, 10).await,
    );
    for node in [&liar, &honest] {
        node.put(state_key::account(ID), &account(5));
    }
    liar.mischief(|mischief| mischief.forge = true);
    let both = client(&[&liar, &honest]);
    let (found, _) = both.proven(state_key::account(ID)).await.unwrap();
    assert_eq!(found, Some(account(5)));

    let alone = client(&[&liar]);
    let error = alone
        .proven::<record::Account>(state_key::account(ID))
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Proof { .. }), "{error}");
}

#[tokio::test]
async fn another_circles_proof_is_refused() {
    let node = Node::start(&circle(), 10).await;
    let other = wire::CircleId([9; 32]);
    let client = Client::new(vec![node.url()], node.circle.key, other).unwrap();
    let error = client
        .proven::<record::Account>(state_key::account(ID))
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::OtherCircle(_)), "{error}");
}

#[tokio::test]
async fn reads_never_go_back_behind_what_was_seen() {
    let node = Node::start(&circle(), 10).await;
    node.put(state_key::account(ID), &account(5));
    let client = client(&[&node]);
    let read = || client.proven::<record::Account>(state_key::account(ID));
    read().await.unwrap();
    node.mischief(|mischief| mischief.behind = 1);
    let error = read().await.unwrap_err();
    let behind = ClientError::Behind {
        have: Height(9),
        wanted: Height(10),
    };
    assert_eq!(error.to_string(), behind.to_string());
}

#[tokio::test]
async fn a_read_waits_for_the_height_that_an_event_named() {
    let node = Node::start(&circle(), 10).await;
    node.put(state_key::account(ID), &account(5));
    let client = client(&[&node]);
    let late = async {
        tokio::time::sleep(Duration::from_millis(80)).await;
        node.put(state_key::account(ID), &account(6));
        node.advance_to(12);
    };
    let key = state_key::account(ID);
    let (read, ()) = tokio::join!(client.proven_since(key, Height(12)), late);
    let (found, proven) = read.unwrap();
    assert_eq!(found, Some(account(6)));
    assert_eq!(proven.height(), Height(12));
}

#[tokio::test]
async fn a_circle_that_has_stopped_is_not_taken_for_current() {
    let node = Node::start(&circle(), 10).await;
    node.mischief(|mischief| mischief.age_ms = 3_600_000);
    let error = client(&[&node])
        .proven::<record::Account>(state_key::account(ID))
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Stale { .. }), "{error}");

    let patient =
        Client::with_max_age(vec![node.url()], node.circle.key, node.circle.id, None).unwrap();
    let read = patient
        .proven::<record::Account>(state_key::account(ID))
        .await;
    assert_eq!(read.unwrap().0, None);
}

#[tokio::test]
async fn a_busy_node_is_asked_again_when_it_says() {
    let node = Node::start(&circle(), 10).await;
    node.mischief(|mischief| mischief.busy = 1);
    let started = Instant::now();
    client(&[&node])
        .proven::<record::Account>(state_key::account(ID))
        .await
        .unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_dead_node_is_passed_over() {
    let circle = circle();
    let node = Node::start(&circle, 10).await;
    // Nothing listens on a port that was just given back.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let nodes = vec![dead.parse().unwrap(), node.url()];
    let client = Client::new(nodes, circle.key, circle.id).unwrap();
    client
        .proven::<record::Account>(state_key::account(ID))
        .await
        .unwrap();
}

#[tokio::test]
async fn listings_come_in_pages_and_keep_to_their_prefix() {
    let node = Node::start(&circle(), 10).await;
    for number in 0..700u32 {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        node.put(state_key::account(AccountId(id)), &account(1));
    }
    let client = client(&[&node]);
    let keys = client.list_keys(b"a/", 10_000).await.unwrap();
    assert_eq!(keys.len(), 700);
    assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(client.list_keys(b"a/", 300).await.unwrap().len(), 300);
}
