//! Event streams: every block once, in order, whatever the nodes do.

use std::time::Duration;

use client::EventStream;
use wire::Height;

use crate::fake_node::{Node, circle, client};

async fn heights(events: &mut EventStream, count: usize) -> Vec<u64> {
    let mut heights = Vec::new();
    for _ in 0..count {
        let next = tokio::time::timeout(Duration::from_secs(20), events.next());
        heights.push(next.await.expect("a block comes in time").unwrap().height.0);
    }
    heights
}

#[tokio::test]
async fn past_blocks_come_first_and_new_ones_as_they_are_made() {
    let node = Node::start(&circle(), 8).await;
    let mut events = client(&[&node]).events(Height(5));
    assert_eq!(heights(&mut events, 4).await, [5, 6, 7, 8]);
    let (more, ()) = tokio::join!(heights(&mut events, 2), async { node.advance_to(10) });
    assert_eq!(more, [9, 10]);
}

#[tokio::test]
async fn a_broken_stream_is_taken_up_where_it_ended_on_another_node() {
    let one = Node::start(&circle(), 30).await;
    let two = one.beside().await;
    one.mischief(|mischief| mischief.events_per_connection = Some(3));
    two.mischief(|mischief| mischief.events_per_connection = Some(4));
    let mut events = client(&[&one, &two]).events(Height(1));
    let expected: Vec<u64> = (1..=30).collect();
    assert_eq!(heights(&mut events, 30).await, expected);
}

#[tokio::test]
async fn a_block_that_a_node_leaves_out_is_fetched_again() {
    let node = Node::start(&circle(), 10).await;
    node.mischief(|mischief| mischief.skip_block = Some(4));
    let mut events = client(&[&node]).events(Height(1));
    let expected: Vec<u64> = (1..=10).collect();
    assert_eq!(heights(&mut events, 10).await, expected);
}

#[tokio::test]
async fn dropping_a_wait_loses_no_block() {
    let node = Node::start(&circle(), 3).await;
    let mut events = client(&[&node]).events(Height(1));
    let mut heard = Vec::new();
    while heard.len() < 40 {
        // Most waits are dropped in the middle of whatever they do.
        let wait = Duration::from_micros(300 * (heard.len() as u64 % 5));
        if let Ok(block) = tokio::time::timeout(wait, events.next()).await {
            heard.push(block.unwrap().height.0);
            node.advance_to(3 + heard.len() as u64);
        }
    }
    let expected: Vec<u64> = (1..=40).collect();
    assert_eq!(heard, expected);
}
