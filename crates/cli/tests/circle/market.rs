//! Requests that the market cannot serve, or not for long: each ends with its
//! own reason, on the ledger, and the money is where it belongs.

use crate::harness::{Circle, component, wait_for};

/// More than all fees that a test pays, far less than any escrow.
const FEES: u64 = 200_000;

#[test]
fn requests_that_nobody_can_serve_end_with_a_reason_and_a_refund() {
    let circle = Circle::up();
    let hello = component("hello");
    let hello = hello.to_str().unwrap();
    let before = circle.balance();

    // Too large for any offer: a dry run says why, and posts nothing.
    let large = ["run", hello, "--cpu", "4000", "--match-within", "3s"];
    let dry = circle.run(&[&large[..], &["--dry-run"]].concat());
    assert_eq!(dry.code, 6, "{}", dry.stderr);
    assert!(
        dry.stdout.contains("a replica may ask for at most"),
        "{}",
        dry.stdout
    );
    assert_eq!(circle.balance(), before);
    let ended = circle.run(&large);
    assert_eq!(ended.code, 6, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("no offer fitted in time"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("hint:"), "{}", ended.stderr);

    // Below every offer's minimum price.
    let cheap = ["run", hello, "--max-price", "1", "--match-within", "3s"];
    let dry = circle.run(&[&cheap[..], &["--dry-run"]].concat());
    assert!(dry.stdout.contains("raise --max-price"), "{}", dry.stdout);
    assert_eq!(circle.run(&cheap).code, 6);

    // Evidence that no provider here can give.
    let evidence = [
        "run",
        hello,
        "--evidence",
        "sev-snp",
        "--match-within",
        "3s",
    ];
    let dry = circle.run(&[&evidence[..], &["--dry-run"]].concat());
    assert!(dry.stdout.contains("is not accepted"), "{}", dry.stdout);
    assert_eq!(circle.run(&evidence).code, 6);

    let rows = circle.json(&["ps", "--all"]);
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 3);
    for row in rows {
        assert_eq!(row["reason"], "no_offer");
        assert_eq!(row["paid"], 0);
        assert_eq!(row["escrow"], 0);
    }
    assert!(circle.balance() <= before);
    assert!(circle.balance() > before - FEES, "only fees are gone");
}

#[test]
fn an_empty_escrow_ends_the_service_and_nothing_more_is_taken() {
    let circle = Circle::up();
    let name = "short.internal";
    // The cheapest offer is the one that is taken.
    let offers = circle.json(&["offer", "list"]);
    let prices = offers.as_array().unwrap().iter();
    let price = prices
        .map(|offer| offer["terms"]["min_price"].as_u64().unwrap())
        .min()
        .unwrap();
    // Some seconds of blocks: enough to start, not for long.
    let escrow = (price * 60).to_string();
    let id = circle.serve(&component("hello"), name, &["--escrow", &escrow]);
    let place = circle.endpoints(name).remove(0);
    let row = wait_for("the escrow is used up", || {
        Some(circle.request(&id)).filter(|row| row["status"] == "ended")
    });
    assert_eq!(row["reason"], "escrow_empty");
    let paid = row["paid"].as_u64().unwrap();
    let contract = &row["contracts"][0];
    assert_eq!(contract["paid"].as_u64().unwrap(), paid);
    assert_eq!(
        contract["served"].as_u64().unwrap() * price,
        paid,
        "paid by the block served"
    );
    assert!(paid <= price * 60);
    wait_for("the service is gone", || {
        circle.curl(name, &place, "/").is_err().then_some(())
    });
    assert!(
        circle.endpoints(name).is_empty(),
        "the name has no replica any more"
    );
}

#[test]
fn a_name_that_is_anothers_is_refused() {
    let circle = Circle::up();
    let passphrase = circle.scratch("passphrase");
    std::fs::write(&passphrase, "another's passphrase\n").unwrap();
    let given = ["--passphrase-file", passphrase.to_str().unwrap()];
    let key = circle.json(&[&["keys", "new", "other"][..], &given].concat());
    let account = key["account"].as_str().unwrap();
    circle.ringfort(&["--key", "user", "account", "transfer", account, "5000000"]);
    circle.ringfort(&["--key", "user", "name", "register", "mine.internal"]);
    let hello = component("hello");
    let run = [
        "--key",
        "other",
        "run",
        hello.to_str().unwrap(),
        "--name",
        "mine.internal",
    ];
    let ended = circle.run(&[&run[..], &given].concat());
    assert_ne!(ended.code, 0);
    assert!(
        ended.stderr.contains("belongs to another key"),
        "{}",
        ended.stderr
    );
    let register = ["--key", "other", "name", "register", "mine.internal"];
    assert_ne!(circle.run(&[&register[..], &given].concat()).code, 0);
}
