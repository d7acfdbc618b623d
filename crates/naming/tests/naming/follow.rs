//! The follower: what it publishes is the ledger at one height.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use naming::names::{
    Freshness, Published, Tolerance, Transport, View, Zone, ZoneSettings, answer, follow,
};
use wire::{Event, Height, record, record::NameStatus, state_key};

use crate::{
    memory::MemoryLedger,
    programs::until_async,
    values::{name, name_of, text},
};

/// Follows `ledger` in a task of its own.
fn following(ledger: &MemoryLedger) -> (Arc<Published>, tokio::task::JoinHandle<()>) {
    let published = Arc::new(Published::new(Tolerance::default()));
    let (ledger, to) = (ledger.clone(), Arc::clone(&published));
    let task =
        tokio::spawn(
            async move { match follow(&ledger, &[], ZoneSettings::default(), &to).await {} },
        );
    (published, task)
}

/// What the zone says of `name`'s TXT; none if it does not exist.
fn told(zone: &Zone, asked: &str) -> Option<String> {
    let mut query = domain::base::MessageBuilder::new_vec().question();
    let asked: domain::base::Name<Vec<u8>> = domain::base::Name::vec_from_str(asked).unwrap();
    query.push((asked, domain::base::Rtype::TXT)).unwrap();
    let view = View {
        zone: Some(zone),
        designation: None,
        freshness: Freshness::Fresh,
    };
    let response = answer(&query.finish(), Transport::Tcp.into(), view).unwrap();
    let message = domain::base::Message::from_octets(response.octets).unwrap();
    if response.rcode != 0 {
        return None;
    }
    let texts = message
        .answer()
        .unwrap()
        .limit_to::<domain::rdata::Txt<_>>()
        .map(|record| record.unwrap().data().to_string());
    Some(texts.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_every_name_there_is() {
    let ledger = MemoryLedger::new(&["internal"]);
    let names: Vec<_> = (0..150)
        .map(|index| {
            let mut name = name(&format!("host{index}.internal"));
            name.records = vec![text(&index.to_string())];
            name
        })
        .collect();
    ledger.commit_names(&names);
    let (published, task) = following(&ledger);
    until_async("the first image", || published.zone().is_some()).await;
    let zone = published.zone().unwrap();
    assert_eq!((zone.height(), zone.names()), (Height(1), 150));
    for index in [0, 63, 64, 149] {
        let asked = format!("host{index}.internal");
        assert_eq!(told(&zone, &asked).unwrap(), format!("\"{index}\""));
    }
    assert_eq!(told(&zone, "host150.internal"), None);
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_registration_change_suspension_and_release() {
    let ledger = MemoryLedger::new(&["internal"]);
    let (published, task) = following(&ledger);
    let said = |wanted: Option<&'static str>| {
        let published = Arc::clone(&published);
        move || {
            let zone = published.zone();
            zone.is_some_and(|zone| told(&zone, "hello.internal").as_deref() == wanted)
        }
    };
    until_async("an image without names", said(None)).await;
    let mut hello = name("hello.internal");
    hello.records = vec![text("one")];
    ledger.commit_names(&[hello.clone()]);
    until_async("the registration", said(Some("\"one\""))).await;
    hello.records = vec![text("two")];
    ledger.commit_names(&[hello.clone()]);
    until_async("the change", said(Some("\"two\""))).await;
    hello.status = NameStatus::Suspended { since: Height(3) };
    ledger.commit_names(&[hello.clone()]);
    until_async("the suspension", said(None)).await;
    hello.status = NameStatus::Active;
    ledger.commit_names(&[hello.clone()]);
    until_async("the renewal", said(Some("\"two\""))).await;
    let released = Event::NameReleased {
        name: hello.name.clone(),
        refund: wire::Amount(1),
    };
    ledger.commit(vec![(state_key::name(&hello.name), None)], vec![released]);
    until_async("the release", said(None)).await;
    let zone = published.zone().unwrap();
    assert_eq!((zone.height(), zone.names()), (ledger.height(), 0));
    task.abort();
}

/// Two names always change together, in different batches and while readings
/// take longer than blocks: no image may show one of them ahead of the other,
/// nor anything but what its height holds.
#[tokio::test(flavor = "multi_thread")]
async fn every_image_is_the_ledger_at_its_height() {
    let ledger = MemoryLedger::new(&["internal"]);
    ledger.set_slowness(Duration::from_millis(3));
    let generation = |number: u64| -> Vec<record::Name> {
        // Seventy names between the two put them in different batches.
        (0..72)
            .map(|index| {
                let mut name = name(&format!("n{index:02}.internal"));
                name.records = vec![text(&number.to_string())];
                name
            })
            .collect()
    };
    let history = Arc::new(Mutex::new(BTreeMap::new()));
    let first = ledger.commit_names(&generation(0));
    history.lock().unwrap().insert(first, 0);
    let (published, task) = following(&ledger);
    let writer = {
        let (ledger, history) = (ledger.clone(), Arc::clone(&history));
        tokio::spawn(async move {
            for number in 1..60_u64 {
                // Every third block changes nothing.
                let height = if number % 3 == 0 {
                    ledger.commit(Vec::new(), Vec::new())
                } else {
                    ledger.commit_names(&generation(number))
                };
                {
                    let mut history = history.lock().unwrap();
                    let last: u64 = *history.values().last().unwrap();
                    history.insert(height, if number % 3 == 0 { last } else { number });
                }
                tokio::time::sleep(Duration::from_millis(7)).await;
            }
        })
    };
    let mut seen = BTreeMap::new();
    let end = Height(60);
    until_async("the last image", || {
        if let Some(zone) = published.zone() {
            let one = told(&zone, "n00.internal").unwrap();
            let other = told(&zone, "n71.internal").unwrap();
            assert_eq!(one, other, "at {}", zone.height());
            seen.insert(zone.height(), one);
        }
        seen.contains_key(&end)
    })
    .await;
    writer.await.unwrap();
    let history = history.lock().unwrap();
    for (height, text) in &seen {
        assert_eq!(*text, format!("\"{}\"", history[height]), "at {height}");
    }
    assert!(seen.len() > 2, "images between the first and the last");
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_nodes_keep_quiet_about_is_found() {
    let ledger = MemoryLedger::new(&["internal"]);
    let mut hello = name("hello.internal");
    hello.records = vec![text("one")];
    ledger.commit_names(&[hello.clone()]);
    let (published, task) = following(&ledger);
    until_async("the first image", || published.zone().is_some()).await;
    hello.records = vec![text("two")];
    hello.changed_at = Height(2);
    let quiet = vec![(state_key::name(&hello.name), Some(record::encode(&hello)))];
    ledger.commit(quiet, Vec::new());
    until_async("the sweep", || {
        let zone = published.zone().unwrap();
        told(&zone, "hello.internal").as_deref() == Some("\"two\"")
    })
    .await;
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_nodes_the_image_stays_and_grows_stale() {
    let ledger = MemoryLedger::new(&["internal"]);
    let mut hello = name("hello.internal");
    hello.records = vec![text("one")];
    ledger.commit_names(&[hello.clone()]);
    let (published, task) = following(&ledger);
    until_async("the first image", || published.zone().is_some()).await;
    ledger.set_down(true);
    hello.records = vec![text("two")];
    let changed = ledger.commit_names(&[hello]);
    let zone = published.zone().unwrap();
    assert_eq!(told(&zone, "hello.internal").unwrap(), "\"one\"");
    let tolerance = Tolerance::default();
    let at = |after_ms: u64| published.freshness(&zone, zone.time_ms() + after_ms);
    assert_eq!(at(tolerance.stale_after_ms), Freshness::Fresh);
    assert_eq!(at(tolerance.stale_after_ms + 1), Freshness::Stale);
    assert_eq!(at(tolerance.expire_after_ms + 1), Freshness::Expired);
    ledger.set_down(false);
    until_async("the change", || {
        published.zone().unwrap().height() >= changed
    })
    .await;
    let zone = published.zone().unwrap();
    assert_eq!(told(&zone, "hello.internal").unwrap(), "\"two\"");
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_ledger_stays_fresh_and_its_serial_moves() {
    let ledger = MemoryLedger::new(&["internal"]);
    let (published, task) = following(&ledger);
    until_async("the first image", || published.zone().is_some()).await;
    let time = ledger.time_ms() + 5_000;
    let height = ledger.commit_after(5_000, Vec::new(), Vec::new());
    until_async("the newer header", || {
        let zone = published.zone().unwrap();
        zone.time_ms() == time && zone.height() == height
    })
    .await;
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn names_outside_the_apexes_served_are_passed_over() {
    let ledger = MemoryLedger::new(&["internal", "corp.example"]);
    ledger.commit_names(&[name("a.internal"), name("b.corp.example"), name("c.other")]);
    let published = Arc::new(Published::new(Tolerance::default()));
    let apexes = [name_of("corp.example")];
    let following = follow(&ledger, &apexes, ZoneSettings::default(), &published);
    tokio::select! {
        never = following => match never {},
        () = until_async("the first image", || published.zone().is_some()) => {}
    }
    let zone = published.zone().unwrap();
    assert_eq!(zone.names(), 1);
    assert_eq!(told(&zone, "b.corp.example").as_deref(), Some(""));
    assert_eq!(told(&zone, "a.internal"), None);
}
