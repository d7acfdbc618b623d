//! Parts that die while requests flow: the circle goes on, the part catches
//! up, and nothing acknowledged is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use crate::harness::{
    Circle, children, component, signal,
    user::{client, runtime, user},
    wait_for,
};
use serde_json::Value;
use wire::{AccountId, Action, Amount, Transfer, record, state_key};

/// How far a part that was killed may be behind once it has caught up.
const CAUGHT_UP: u64 = 20;

/// The parameters' heartbeat limit, with one more for the block that notices.
const HEARTBEAT_LIMIT: u64 = 41;

const NAME: &str = "hello.internal";

/// Transfers of one unit to `to`, one after the other, each waited for, until
/// told to stop; how many were acknowledged.
fn transfers(
    circle: &Circle,
    to: AccountId,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
) -> thread::JoinHandle<()> {
    let user = user(circle);
    thread::spawn(move || {
        runtime().block_on(async {
            while !stop.load(Ordering::Relaxed) {
                let amount = Amount(1);
                let sent = user
                    .account()
                    .send(vec![Action::Transfer(Transfer { to, amount })])
                    .await;
                // An answer that was lost is no acknowledgement; the next is sent anew.
                if sent.is_ok() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    })
}

fn balance(circle: &Circle, account: AccountId) -> u64 {
    let client = client(circle);
    runtime().block_on(async {
        let key = state_key::account(account);
        let (account, _) = client.proven::<record::Account>(key).await.unwrap();
        account.unwrap_or_default().balance.0
    })
}

#[test]
fn a_killed_validator_is_not_missed_and_catches_up() {
    let circle = Circle::up();
    let to = AccountId([7; 32]);
    let (stop, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let sending = transfers(&circle, to, stop.clone(), count.clone());
    let acknowledged = |more: u64| {
        let now = count.load(Ordering::Relaxed);
        wait_for("transfers go on", || {
            (count.load(Ordering::Relaxed) >= now + more).then_some(())
        });
    };
    acknowledged(5);
    let before = circle.pid("node-1");
    circle.kill("node-1");
    acknowledged(10);
    wait_for("node-1 was started again", || {
        let part = circle.part("node-1");
        (part["pid"].as_u64() != Some(u64::from(before)) && part["well"] == true).then_some(())
    });
    wait_for("node-1 caught up", || {
        let status = circle.status();
        let part = status["parts"]
            .as_array()?
            .iter()
            .find(|part| part["name"] == "node-1")?
            .clone();
        let behind = status["height"]
            .as_u64()?
            .checked_sub(part["height"].as_u64()?)?;
        (behind <= CAUGHT_UP).then_some(())
    });
    assert!(circle.part("node-1")["restarts"].as_u64().unwrap() >= 1);
    acknowledged(5);
    stop.store(true, Ordering::Relaxed);
    sending.join().unwrap();
    // A transfer whose answer was lost may have been applied: never fewer than acknowledged.
    let sent = count.load(Ordering::Relaxed);
    assert!(
        balance(&circle, to) >= sent,
        "an acknowledged transfer was lost"
    );
}

#[test]
fn a_killed_name_node_answers_again_and_services_do_not_notice() {
    let circle = Circle::up();
    circle.serve(&component("hello"), NAME, &[]);
    let place = circle.endpoints(NAME).remove(0);
    wait_for("the name resolves", || {
        (!circle.dig(NAME, "A").is_empty()).then_some(())
    });
    let before = circle.kill("names");
    circle.curl(NAME, &place, "/").unwrap();
    wait_for("the name resolves again", || {
        (circle.dig(NAME, "A") == [place.0.clone()]).then_some(())
    });
    assert_ne!(circle.pid("names"), before);
    circle.wait_until_well();
}

/// The index of the provider that serves at `place`.
fn provider_at(place: &(String, u64)) -> usize {
    let last: usize = place.0.rsplit('.').next().unwrap().parse().unwrap();
    last - 1
}

/// The one contract of the row with this status.
fn contracts(row: &Value) -> &Vec<Value> {
    row["contracts"].as_array().unwrap()
}

fn wait_for_answer(circle: &Circle, not_at: &(String, u64)) -> (String, u64) {
    wait_for("another replica answers", || {
        let place = circle
            .endpoints(NAME)
            .into_iter()
            .find(|place| place != not_at)?;
        circle.curl(NAME, &place, "/").ok().map(|_| place)
    })
}

#[test]
fn a_killed_provider_loses_its_contract_and_comes_back() {
    let circle = Circle::up();
    let id = circle.serve(&component("hello"), NAME, &[]);
    let place = circle.endpoints(NAME).remove(0);
    let killed = format!("provider-{}", provider_at(&place));
    let enclaves = children(circle.pid(&killed));
    assert_eq!(enclaves.len(), 1, "one enclave serves the one contract");
    circle.kill(&killed);
    wait_for("its enclave ends with it", || {
        let gone = !std::path::Path::new(&format!("/proc/{}", enclaves[0])).exists();
        gone.then_some(())
    });
    // Which provider the market chooses is its own affair: the killed one may be up again.
    let row = wait_for("another contract runs", || {
        let row = circle.request(&id);
        let runs = contracts(&row)
            .iter()
            .any(|contract| contract["status"] == "running");
        (contracts(&row).len() == 2 && runs).then_some(row)
    });
    wait_for("the service answers again", || {
        let place = circle.endpoints(NAME).into_iter().next()?;
        circle.curl(NAME, &place, "/").ok()
    });
    circle.wait_until_well();
    let ended = contracts(&row)
        .iter()
        .find(|contract| contract["status"]["ended"].is_string())
        .unwrap_or_else(|| panic!("no contract ended: {row}"));
    let price = proven(&circle, ended)["price"].as_u64().unwrap();
    let served = ended["served"].as_u64().unwrap();
    assert_eq!(ended["paid"].as_u64().unwrap(), served * price);
}

/// A contract's record, by a proof that was verified.
fn proven(circle: &Circle, contract: &Value) -> Value {
    let entry = format!("contract/{}", contract["contract"].as_str().unwrap());
    let proof = circle.scratch("proof");
    let path = proof.to_str().unwrap();
    circle.ringfort(&["proof", "get", &entry, "--to", path]);
    circle.json(&["proof", "verify", path])["record"].clone()
}

#[test]
fn a_silent_provider_is_replaced_within_the_limit_and_paid_for_what_it_served() {
    let circle = Circle::up();
    let id = circle.serve(&component("hello"), NAME, &[]);
    let place = circle.endpoints(NAME).remove(0);
    let silent = format!("provider-{}", provider_at(&place));
    let pid = circle.pid(&silent);
    signal(pid, "STOP");
    let silent_from = circle.height();
    let other = wait_for_answer(&circle, &place);
    assert_ne!(other.0, place.0);
    let row = circle.request(&id);
    let first = contracts(&row)
        .iter()
        .find(|contract| contract["status"]["ended"] == "provider_silent")
        .unwrap_or_else(|| panic!("{row}"))
        .clone();
    let second = contracts(&row)
        .iter()
        .find(|contract| contract["status"] == "running")
        .unwrap_or_else(|| panic!("{row}"));
    let (first, second) = (proven(&circle, &first), proven(&circle, second));
    let number = |record: &Value, field: &str| record[field].as_u64().unwrap();
    // Heartbeats name blocks, so none can be for a block after the silence began.
    assert!(
        number(&first, "settled_at") <= silent_from,
        "paid beyond its silence: {first}"
    );
    assert_eq!(
        number(&first, "paid"),
        number(&first, "served") * number(&first, "price")
    );
    let replaced_after = number(&second, "matched_at") - number(&first, "settled_at");
    assert!(
        replaced_after <= HEARTBEAT_LIMIT,
        "replaced after {replaced_after} blocks"
    );
    signal(pid, "CONT");
    circle.wait_until_well();
}

#[test]
fn a_circle_that_lost_power_goes_on_where_it_was() {
    let circle = Circle::up();
    circle.serve(&component("hello"), NAME, &[]);
    let before = circle.height();
    let (user_balance, key) = (circle.balance(), circle.json(&["circle", "show"]));
    let status = circle.status();
    let mut pids: Vec<u32> = vec![circle.pid("supervisor")];
    let parts = status["parts"].as_array().unwrap();
    pids.extend(
        parts
            .iter()
            .map(|part| u32::try_from(part["pid"].as_u64().unwrap()).unwrap()),
    );
    pids.iter().for_each(|pid| signal(*pid, "KILL"));
    let ended = circle.run(&["status"]);
    assert_eq!(ended.code, 3, "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains("not running"), "{}", ended.stderr);

    circle.ringfort(&["up"]);
    assert!(circle.height() >= before, "the ledger lost blocks");
    assert_eq!(circle.json(&["circle", "show"]), key);
    assert!(circle.balance() <= user_balance);
    // The enclaves died with their providers: the service is placed again by itself.
    wait_for("the service answers again", || {
        let place = circle.endpoints(NAME).into_iter().next()?;
        circle.curl(NAME, &place, "/").ok()
    });
}
