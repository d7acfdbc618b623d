//! The vault's agent with a trusted application for its vault, and the attacks on it:
//! those that `crates/vault` tries against a protected process, and those on the
//! trusted application's own entry. Runs as root in the guest of script/trustzone.
//!
//!   guest               runs all of them (arguments as libtest's)
//!   guest open          opens a session, and says what OP-TEE says

#![allow(unsafe_code)]

#[path = "../../../crates/vault/tests/attacks/clients.rs"]
mod clients;
mod trusted;

use std::{process::ExitCode, time::Duration};

use libtest_mimic::{Failed, Trial};
use trusted::TrustedVault;
use vault::{
    agent::{Agent, Vault as _},
    measure::Caller,
};
use vault_guard::{FromVault, MAX_ENCODED_BYTES, MEASURED_WITHIN, Measured, ToVault};

/// Results of GlobalPlatform's TEE Client API (§4.4.2).
const BAD_PARAMETERS: u32 = 0xffff_0006;
const SHORT_BUFFER: u32 = 0xffff_0010;

/// A caller's number.
const CALLER: u64 = 1;

/// A vault that has begun.
fn begun() -> TrustedVault {
    let mut vault = TrustedVault::open().expect("a session opens");
    let begin = ToVault::Begin {
        root: clients::root().public(),
        application: clients::APPLICATION.to_owned(),
    };
    let answer = vault.ask(&begin).expect("it answers");
    assert_eq!(answer, FromVault::Begun(Vec::new()));
    vault
}

fn challenge(vault: &mut TrustedVault, caller: u64) -> [u8; 32] {
    match vault.ask(&ToVault::Challenge { caller }) {
        Ok(FromVault::Challenge(challenge)) => challenge,
        other => panic!("no challenge: {other:?}"),
    }
}

/// What is in this process's memory.
fn own_code() -> Measured {
    let own = Caller::of_pid(rustix::process::getpid()).expect("this process is there");
    own.measure().expect("it can be measured")
}

fn measured(caller: u64, challenge: [u8; 32], with_credential: bool) -> ToVault {
    let credential = clients::credential(&clients::root(), clients::far());
    ToVault::Measured {
        caller,
        challenge,
        measured: own_code(),
        credential: with_credential.then(|| credential.encode()),
    }
}

fn admit(vault: &mut TrustedVault) -> ToVault {
    let message = measured(CALLER, challenge(vault, CALLER), true);
    assert_eq!(vault.ask(&message).expect("it answers"), FromVault::Done);
    message
}

fn authenticate(vault: &mut TrustedVault) -> FromVault {
    let message = b"a message".to_vec();
    let caller = CALLER;
    let message = ToVault::Authenticate { caller, message };
    vault.ask(&message).expect("it answers")
}

fn refused(answer: &FromVault, why: &str) -> Result<(), Failed> {
    match answer {
        FromVault::Refused(words) if words.contains(why) => {
            println!("  vault: {words}");
            Ok(())
        }
        other => Err(format!("not refused with {why:?}: {other:?}").into()),
    }
}

fn a_measurement_is_not_taken_twice_or_for_another() -> Result<(), Failed> {
    let mut vault = begun();
    let first = admit(&mut vault);
    assert!(matches!(authenticate(&mut vault), FromVault::Code(_)));
    refused(&vault.ask(&first)?, "not fresh")?;
    // Dropped by that.
    refused(&authenticate(&mut vault), "not been admitted")?;
    admit(&mut vault);
    let others = challenge(&mut vault, CALLER + 1);
    challenge(&mut vault, CALLER);
    let answer = vault.ask(&measured(CALLER, others, false))?;
    refused(&answer, "not fresh")
}

/// The age itself is what is tried, so that time must pass.
fn a_measurement_of_two_seconds_ago_is_not_enough() -> Result<(), Failed> {
    let mut vault = begun();
    admit(&mut vault);
    std::thread::sleep(MEASURED_WITHIN + Duration::from_millis(100));
    refused(&authenticate(&mut vault), "not fresh")
}

fn a_session_has_a_key_of_its_own() -> Result<(), Failed> {
    let (mut one, mut two) = (begun(), begun());
    admit(&mut one);
    admit(&mut two);
    let first = authenticate(&mut one);
    assert_eq!(first, authenticate(&mut one));
    assert_ne!(first, authenticate(&mut two));
    // Whom it serves is said once.
    let again = ToVault::Begin {
        root: clients::root().public(),
        application: "another".to_owned(),
    };
    refused(&one.ask(&again)?, "out of order")
}

fn what_is_no_message_is_refused_and_harms_nothing() -> Result<(), Failed> {
    let mut vault = begun();
    admit(&mut vault);
    let before = authenticate(&mut vault);
    for bad in [&[][..], &[9], &[0xff; 4096], &[4, 1, 2, 3]] {
        let answer = vault.call(0, bad, MAX_ENCODED_BYTES)?;
        refused(&borsh::from_slice(&answer)?, "out of order")?;
    }
    let long = vec![0; MAX_ENCODED_BYTES + 1];
    let challenge = borsh::to_vec(&ToVault::Challenge { caller: 9 })?;
    for (command, message, room, code) in [
        (0, &long[..], MAX_ENCODED_BYTES, BAD_PARAMETERS),
        (7, &challenge[..], MAX_ENCODED_BYTES, BAD_PARAMETERS),
        (0, &challenge[..], 8, SHORT_BUFFER),
    ] {
        let error = vault.call(command, message, room).expect_err("refused");
        println!("  OP-TEE: {error}");
        assert_eq!(error.raw_code(), code);
    }
    assert_eq!(authenticate(&mut vault), before);
    Ok(())
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("open") {
        return match TrustedVault::open() {
            Ok(_) => {
                println!("a session was opened");
                ExitCode::SUCCESS
            }
            Err(error) => {
                println!("no session: {:#010x} {error}", error.raw_code());
                ExitCode::FAILURE
            }
        };
    }
    let start: clients::Start = |root, application| {
        let vault = TrustedVault::open().map_err(std::io::Error::other)?;
        Agent::begin(vault, root, application)
    };
    let more: [(&str, fn() -> Result<(), Failed>); 4] = [
        (
            "a_measurement_is_not_taken_twice_or_for_another",
            a_measurement_is_not_taken_twice_or_for_another,
        ),
        (
            "a_measurement_of_two_seconds_ago_is_not_enough",
            a_measurement_of_two_seconds_ago_is_not_enough,
        ),
        (
            "a_session_has_a_key_of_its_own",
            a_session_has_a_key_of_its_own,
        ),
        (
            "what_is_no_message_is_refused_and_harms_nothing",
            what_is_no_message_is_refused_and_harms_nothing,
        ),
    ];
    let more = more.map(|(name, test)| Trial::test(name, test));
    clients::run(start, more.into())
}
