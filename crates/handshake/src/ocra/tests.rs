//! RFC 6287's vectors, and what a suite or an input must not be.

use aws_lc_rs::digest;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Vectors {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    section: String,
    suite: String,
    key: String,
    pin: Option<String>,
    time_steps: Option<u64>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    counter: Option<u64>,
    challenges: Vec<String>,
    response: String,
}

#[test]
fn computes_every_vector_of_appendix_c() {
    let vectors: Vectors =
        serde_json::from_str(include_str!("../../testdata/rfc6287.json")).unwrap();
    let mut cases = 0;
    for group in &vectors.groups {
        let suite: Suite = group.suite.parse().unwrap();
        let pin = group
            .pin
            .as_ref()
            .map(|pin| digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, pin.as_bytes()));
        for case in &group.cases {
            let question = match case.challenges.as_slice() {
                [one] => Question::One(one),
                [first, second] => Question::Two(first, second),
                other => panic!("{} challenges", other.len()),
            };
            let input = Input {
                counter: case.counter,
                question,
                password_hash: pin.as_ref().map(AsRef::as_ref),
                session: None,
                time: group.time_steps,
            };
            let response = suite.respond(group.key.as_bytes(), &input).unwrap();
            assert_eq!(
                response.bytes(),
                case.response.as_bytes(),
                "{} {} {:?}",
                group.section,
                group.suite,
                case.challenges
            );
            cases += 1;
        }
    }
    assert_eq!(cases, 70, "appendix C has 70 responses");
}

#[test]
fn truncation_0_gives_the_whole_mac_of_the_data_input() {
    let suite: Suite = "OCRA-1:HOTP-SHA256-0:QH64-S064".parse().unwrap();
    let challenge = "ab".repeat(32);
    let session = [7; 64];
    let input = Input {
        session: Some(&session),
        ..Input::of(Question::Two(&challenge, &challenge))
    };
    let response = suite.respond(&[1; 32], &input).unwrap();
    let mut data = b"OCRA-1:HOTP-SHA256-0:QH64-S064\0".to_vec();
    data.extend_from_slice(&[0xab; 64]);
    data.extend_from_slice(&[0; 64]);
    data.extend_from_slice(&session);
    let expected = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]), &data);
    assert_eq!(response.bytes(), expected.as_ref());
    assert!(response.matches(expected.as_ref()));
    assert!(!response.matches(&expected.as_ref()[..31]));
}

#[test]
fn refuses_suites_that_the_rfc_or_its_errata_do_not_allow() {
    for bad in [
        "",
        "OCRA-2:HOTP-SHA1-6:QN08",
        "OCRA-1:HOTP-SHA1-6",
        "OCRA-1:HOTP-SHA1-6:QN08:",
        "OCRA-1:TOTP-SHA1-6:QN08",
        "OCRA-1:HOTP-MD5-6:QN08",
        "OCRA-1:HOTP-SHA1-10:QN08", // erratum 3730
        "OCRA-1:HOTP-SHA1-3:QN08",
        "OCRA-1:HOTP-SHA1-6:C",
        "OCRA-1:HOTP-SHA1-6:QX08",
        "OCRA-1:HOTP-SHA1-6:QN8",
        "OCRA-1:HOTP-SHA1-6:QN03",
        "OCRA-1:HOTP-SHA1-6:QN65",
        "OCRA-1:HOTP-SHA1-6:QN08-T0H", // erratum 3729
        "OCRA-1:HOTP-SHA1-6:QN08-T49H",
        "OCRA-1:HOTP-SHA1-6:QN08-T60M",
        "OCRA-1:HOTP-SHA1-6:QN08-TM",
        "OCRA-1:HOTP-SHA1-6:QN08-S000",
        "OCRA-1:HOTP-SHA1-6:QN08-S513",
        "OCRA-1:HOTP-SHA1-6:QN08-S64",
        "OCRA-1:HOTP-SHA1-6:QN08-T1M-S064",
        "OCRA-1:HOTP-SHA1-6:QN08-",
        "OCRA-1:HOTP-SHA1-6:QÄ08",
    ] {
        assert!(bad.parse::<Suite>().is_err(), "{bad:?}");
    }
}

#[test]
fn refuses_inputs_that_do_not_fit_the_suite() {
    let suite: Suite = "OCRA-1:HOTP-SHA256-8:C-QN08-PSHA1-S002-T30S"
        .parse()
        .unwrap();
    assert_eq!(suite.time_steps(61), Some(2));
    let good = Input {
        counter: Some(1),
        question: Question::One("12345678"),
        password_hash: Some(&[0; 20]),
        session: Some(&[1]),
        time: Some(1),
    };
    assert!(suite.respond(b"key", &good).is_ok());
    let bad = [
        Input {
            counter: None,
            ..good
        },
        Input {
            password_hash: None,
            ..good
        },
        Input {
            session: None,
            ..good
        },
        Input { time: None, ..good },
        Input {
            password_hash: Some(&[0; 19]),
            ..good
        },
        Input {
            session: Some(&[0; 3]),
            ..good
        },
        Input {
            question: Question::One(""),
            ..good
        },
        Input {
            question: Question::One("123456789"),
            ..good
        },
        Input {
            question: Question::One("1234567a"),
            ..good
        },
        Input {
            question: Question::Two("1", "ä"),
            ..good
        },
    ];
    for input in bad {
        assert!(suite.respond(b"key", &input).is_err(), "{input:?}");
    }
    let bare: Suite = "OCRA-1:HOTP-SHA256-8:QN08".parse().unwrap();
    assert_eq!(
        bare.respond(b"key", &good).unwrap_err(),
        OcraError::Presence("counter")
    );
}

proptest! {
    #[test]
    fn parsing_any_text_never_panics(text in ".{0,80}") {
        let _ = text.parse::<Suite>();
    }

    #[test]
    fn numeric_challenges_become_their_hex_form(number: u64) {
        let text = number.to_string();
        let digits: String = hex_digits(&text)
            .iter()
            .map(|digit| char::from_digit(u32::from(*digit), 16).unwrap())
            .collect();
        prop_assert_eq!(digits, format!("{number:x}"));
    }

    #[test]
    fn session_padding_is_on_the_left(session in prop::collection::vec(any::<u8>(), 0..64)) {
        let suite: Suite = "OCRA-1:HOTP-SHA256-0:QN08-S064".parse().unwrap();
        let mut padded = vec![0; 64 - session.len()];
        padded.extend_from_slice(&session);
        let short = Input { session: Some(&session), ..Input::of(Question::One("1")) };
        let long = Input { session: Some(&padded), ..Input::of(Question::One("1")) };
        let short = suite.respond(b"key", &short).unwrap();
        let long = suite.respond(b"key", &long).unwrap();
        prop_assert_eq!(short.bytes(), long.bytes());
    }
}
