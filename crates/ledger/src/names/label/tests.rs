//! Labels that the rules allow and refuse, one for each rule, and labels at random.

use proptest::prelude::*;

use super::*;

/// The label that `text` is registered as.
fn encoded(text: &str) -> String {
    if text.is_ascii() {
        text.to_owned()
    } else {
        format!("{PREFIX}{}", idna::punycode::encode_str(text).unwrap())
    }
}

fn verdict(text: &str) -> Result<(), Reject> {
    check(&encoded(text), false).map(|shown| assert_eq!(shown, text))
}

#[test]
fn every_library_holds_the_same_unicode_version() {
    let normalization = unicode_normalization::UNICODE_VERSION;
    let widened = (
        u64::from(normalization.0),
        u64::from(normalization.1),
        u64::from(normalization.2),
    );
    assert_eq!(widened, UNICODE_VERSION);
    assert_eq!(unicode_bidi::UNICODE_VERSION, UNICODE_VERSION);
    assert_eq!(unicode_properties::UNICODE_VERSION, UNICODE_VERSION);
    assert_eq!(unicode_script::UNICODE_VERSION, UNICODE_VERSION);
    assert_eq!(unicode_security::UNICODE_VERSION, UNICODE_VERSION);
    assert_eq!(caseless::UNICODE_VERSION, UNICODE_VERSION);
}

#[test]
fn accepts_labels_of_one_script() {
    for good in [
        "hello",
        "a-1",
        "3com",
        "bücher",
        "straße",
        "пример",
        "παράδειγμα",
        "σίγμας",
        "例え",
        "テスト",
        "東京タワー",
        "한국어",
        "中文",
        "उदाहरण",
        "مثال",
        "דוגמה",
        "ตัวอย่าง",
        "مثال٣",
    ] {
        assert_eq!(verdict(good), Ok(()), "{good}");
    }
}

#[test]
fn refuses_characters_that_idna2008_or_the_profile_of_identifiers_refuses() {
    for bad in [
        "Bücher",
        "i♥ny",
        "☃",
        "a\u{200d}b\u{e9}",
        "नी\u{200c}ला",
        "l·l",
        "ab\u{300}\u{2c}",
        "ⅷa",
        "ｆｕｌｌ",
        "ſs",
        "\u{301}a",
        "e\u{301}",
        "ᾀ",
        "a\u{640}مث",
        "カ・タ",
        "ꭰ",
        "𝕒",
        "ŉ",
        "ᄀ",
        "😀",
        "\u{e000}",
        "\u{378}",
    ] {
        assert_eq!(verdict(bad), Err(Reject::LabelInvalid), "{bad}");
    }
}

#[test]
fn refuses_mixed_scripts_and_number_systems() {
    for bad in ["pаypal", "αbc", "中文а", "яndex", "한gul", "१1"] {
        assert_eq!(verdict(bad), Err(Reject::LabelMixesScripts), "{bad}");
    }
}

#[test]
fn refuses_a_label_that_has_another_form() {
    for bad in [
        "xn--",
        "xn--a",
        "xn--a-",
        "xn--hello-",
        "xn--bcher-kva8",
        "xn--99999999",
        "ab--c",
        "xn---",
        // An A-label whose U-label has hyphens where prefixes stand.
        "xn--b--cher-n4a",
    ] {
        assert!(check(bad, false).is_err(), "{bad}");
    }
}

// RFC 5893 §2.
#[test]
fn right_to_left_labels_follow_the_bidi_rule() {
    assert_eq!(verdict("אב1"), Ok(()));
    assert_eq!(
        verdict("1אב"),
        Err(Reject::LabelInvalid),
        "begins with a digit"
    );
    assert_eq!(
        verdict("مثال٣3"),
        Err(Reject::LabelInvalid),
        "two kinds of digits"
    );
    assert_eq!(verdict("مثال٣۳"), Err(Reject::LabelInvalid), "likewise");
    assert_eq!(
        verdict("אב-"),
        Err(Reject::LabelInvalid),
        "ends with a hyphen"
    );
    assert_eq!(
        check("1a", true),
        Err(Reject::LabelInvalid),
        "beneath a right-to-left apex"
    );
    assert_eq!(check("a1", true).as_deref(), Ok("a1"));
}

#[test]
fn every_permitted_character_is_a_letter_digit_or_mark_that_nfkc_keeps() {
    let mut permitted = 0;
    for c in ('\0'..=char::MAX).filter(|c| is_protocol_valid(*c) && c.identifier_allowed()) {
        permitted += 1;
        assert!(std::iter::once(c).nfkc().eq(std::iter::once(c)), "{c:?}");
        assert!(
            !c.is_uppercase() && !c.is_whitespace() && !c.is_control(),
            "{c:?}"
        );
    }
    // What Unicode 16 has; another number means that a table changed, and with
    // it which names are valid.
    assert_eq!(permitted, PERMITTED);
}

#[test]
fn what_is_valid_by_protocol_is_what_another_implementation_derives() {
    let mut ranges = include_str!("pvalid.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (first, last) = line.split_once(' ').unwrap();
            let parse = |digits| u32::from_str_radix(digits, 16).unwrap();
            parse(first)..=parse(last)
        })
        .collect::<Vec<_>>();
    // The digits of CONTEXTO, which may stand anywhere but not beside each other.
    ranges.extend([0x660..=0x669, 0x6f0..=0x6f9]);
    // Outlined digits, new in Unicode 16: NFKC makes plain digits of them
    // (UnicodeData.txt), so that RFC 5892 §2.2 disallows them. The tables were
    // made with an older NFKC, which did not know them; idna 3.12 and later agree.
    let outlined_digits = '\u{1ccf0}'..='\u{1ccf9}';
    for c in ('\0'..=char::MAX).filter(|c| !outlined_digits.contains(c)) {
        let derived = ranges.iter().any(|range| range.contains(&u32::from(c)));
        assert_eq!(is_protocol_valid(c), derived, "U+{:04X}", u32::from(c));
    }
    for c in outlined_digits {
        assert!(!is_protocol_valid(c));
    }
}

/// Characters of Unicode 16 that names may hold.
const PERMITTED: usize = 112_098;

proptest! {
    // The other implementation of the same standards (UTS 46) knows every
    // label that passes here, and does not map it.
    #[test]
    fn what_passes_is_kept_by_another_implementation(
        text in proptest::string::string_regex("[a-zà-ÿа-яα-ωא-ת一-十あ-んア-ン0-9\u{300}-\u{30f}-]{1,12}").unwrap(),
    ) {
        let label = encoded(&text);
        prop_assume!(label.parse::<wire::DomainName>().is_ok());
        if check(&label, false).is_ok() {
            prop_assert_eq!(idna::domain_to_ascii_strict(&text).ok(), Some(label.clone()));
            let (shown, result) = idna::domain_to_unicode(&label);
            prop_assert!(result.is_ok());
            prop_assert_eq!(shown, text);
        }
    }

    #[test]
    fn no_label_panics(text in "[a-z0-9-]{1,20}") {
        let _ = check(&format!("{PREFIX}{text}"), true);
        let _ = check(&text, false);
    }
}
