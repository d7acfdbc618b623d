//! A service from a file to an answer over HTTPS, stopped, started and removed,
//! as a user with stock clients sees it.

use std::process::Command;

use crate::harness::{Circle, Ended, component, wait_for};

const NAME: &str = "hello.internal";

/// SHA-256 of the SubjectPublicKeyInfo of the certificate that is served, by
/// OpenSSL's tools (RFC 6698 §2.1, selector 1, matching type 1).
fn served_key_digest((address, port): &(String, u64)) -> String {
    let script = format!(
        "openssl s_client -connect {address}:{port} -servername {NAME} </dev/null 2>/dev/null \
         | openssl x509 -pubkey -noout | openssl pkey -pubin -outform DER | openssl dgst -sha256 -r"
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    let text = Ended::from(output).success("openssl");
    text.split_whitespace().next().unwrap().to_owned()
}

/// Whether OpenSSL accepts the service by a TLSA record of its own (RFC 7671),
/// without the circle's root.
fn dane((address, port): &(String, u64), record: &str) -> (bool, String) {
    let mut fields = record.split_whitespace();
    let head: Vec<&str> = fields.by_ref().take(3).collect();
    let record = format!("{} {}", head.join(" "), fields.collect::<String>());
    let connect = format!("{address}:{port}");
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &connect, "-servername", NAME])
        .args(["-no-CAfile", "-no-CApath", "-verify_return_error"])
        .args(["-dane_tlsa_domain", NAME, "-dane_tlsa_rrdata", &record])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (
        output.status.success() && said.contains("Verification: OK"),
        said,
    )
}

fn log_texts(circle: &Circle) -> Vec<String> {
    let mut logs = circle.run(&["-o", "json", "logs", NAME]).json_lines();
    logs.retain(|record| record["source"] != "enclave");
    logs.iter()
        .map(|record| record["text"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_service_answers_over_https_and_can_be_stopped_started_and_removed() {
    let circle = Circle::up();
    let before = circle.balance();
    let run = circle.run(&["run", component("hello").to_str().unwrap(), "--name", NAME]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stderr.contains("could read the payload"),
        "{}",
        run.stderr
    );
    for step in [
        "encrypted",
        "uploaded",
        "posted",
        "matched",
        "evidence",
        "challenged",
        "confirmed",
        "certificate",
    ] {
        assert!(run.stderr.contains(step), "no {step:?} in\n{}", run.stderr);
    }

    // The line that `run` ends with is a command that works as it stands.
    let line = run
        .stdout
        .lines()
        .find(|line| line.trim().starts_with("curl "))
        .unwrap();
    let answer = Command::new("sh")
        .args([
            "-c",
            &line.replace("curl ", "curl --silent --show-error --fail "),
        ])
        .output();
    let body = Ended::from(answer.unwrap()).success(line);
    assert!(!body.is_empty());

    let places = circle.endpoints(NAME);
    assert_eq!(places.len(), 1);
    let found = wait_for("the name resolves", || {
        Some(circle.dig(NAME, "A")).filter(|a| !a.is_empty())
    });
    assert_eq!(found, [places[0].0.clone()]);
    let tlsa = circle.dig(&format!("_{}._tcp.{NAME}", places[0].1), "TLSA");
    assert_eq!(tlsa.len(), 1, "{tlsa:?}");
    let fields: Vec<&str> = tlsa[0].split_whitespace().collect();
    assert_eq!(fields[..3], ["3", "1", "1"]);
    assert_eq!(
        fields[3..].concat().to_lowercase(),
        served_key_digest(&places[0])
    );
    for (asked, rtype, verdict) in [
        (NAME, "A", "; fully validated"),
        (NAME, "TLSA", "; fully validated"),
        // The name servers themselves, to a client that knows their name.
        ("dns.internal", "A", "; fully validated"),
        ("_dns.dns.internal", "SVCB", "; fully validated"),
        (NAME, "MX", "; negative response, fully validated"),
        (
            "nobody.internal",
            "A",
            "; negative response, fully validated",
        ),
    ] {
        // The first signed image may come a moment after the circle is up.
        wait_for(&format!("{verdict} for {asked} {rtype}"), || {
            circle.delv(asked, rtype).starts_with(verdict).then_some(())
        });
    }

    // RFC 7671 §5.1: the key stands in the zone, and no authority is asked.
    let (accepted, said) = dane(&places[0], &tlsa[0]);
    assert!(accepted, "{said}");
    assert!(said.contains("DANE TLSA 3 1 1"), "{said}");
    let other = format!("3 1 1 {}", "0".repeat(64));
    let (accepted, said) = dane(&places[0], &other);
    assert!(!accepted, "{said}");

    circle.ringfort(&["stop", NAME]);
    assert!(
        circle.curl(NAME, &places[0], "/").is_err(),
        "a stopped service answers"
    );
    assert_eq!(circle.json(&["ps"])[0]["status"], "stopped");
    circle.ringfort(&["start", NAME]);
    let places = circle.endpoints(NAME);
    assert_eq!(circle.curl(NAME, &places[0], "/").unwrap(), body);
    wait_for("the log has the requests", || {
        Some(log_texts(&circle)).filter(|texts| !texts.is_empty())
    });

    // Service is settled with every heartbeat, some seconds apart.
    wait_for("the provider is paid", || {
        let paid = circle.json(&["ps"])[0]["paid"].as_u64()?;
        (paid > 0).then_some(())
    });
    circle.ringfort(&["rm", NAME]);
    let rows = circle.json(&["ps", "--all"]);
    assert_eq!(rows[0]["status"], "ended");
    assert_eq!(rows[0]["reason"], "user_closed");
    assert_eq!(rows[0]["escrow"], 0);
    assert!(
        circle.curl(NAME, &places[0], "/").is_err(),
        "a removed service answers"
    );
    let paid = rows[0]["paid"].as_u64().unwrap();
    assert!(paid > 0, "service is paid for");
    assert!(
        circle.balance() < before - paid,
        "service and fees are paid"
    );
    assert!(
        circle.balance() + 1_000_000 > before - paid,
        "the rest of the escrow came back"
    );
}
