//! Which labels may be registered beneath an apex?
//!
//! A label is plain (letters, digits, hyphens) or an A-label whose U-label is
//! valid under IDNA2008 (RFC 5890 to 5893) and, beyond that, holds characters
//! for identifiers only, of one script and one number system (UTS 39).
//!
//! The properties of characters come from libraries, the rules from the
//! standards. Both are part of consensus: every library is pinned to one
//! version of Unicode ([`UNICODE_VERSION`]), and nothing here asks the standard
//! library, whose tables follow the compiler.
//!
//! Source: docs/spec/names.md §1.

use unicode_bidi::{BidiClass, bidi_class};
use unicode_normalization::{UnicodeNormalization as _, is_nfc};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};
use unicode_security::{GeneralSecurityProfile as _, MixedScript as _};
use wire::Reject;

/// The version of Unicode that decides; a test compares every library's.
pub const UNICODE_VERSION: (u64, u64, u64) = (16, 0, 0);

/// What an A-label begins with (RFC 5890 §2.3.2.1).
const PREFIX: &str = "xn--";

/// The form of `label` that people see: itself, or the U-label of an A-label.
///
/// Errors: [`Reject::LabelInvalid`], if it has hyphens in the third and fourth
///         place and is no A-label in its one form.
pub(super) fn shown(label: &str) -> Result<String, Reject> {
    let Some(encoded) = label.strip_prefix(PREFIX) else {
        // RFC 5891 §4.2.3.1: such labels are reserved for encodings to come.
        let reserved = label.get(2..4) == Some("--");
        return if reserved {
            Err(Reject::LabelInvalid)
        } else {
            Ok(label.to_owned())
        };
    };
    let decoded = idna::punycode::decode_to_string(encoded).ok_or(Reject::LabelInvalid)?;
    // RFC 5891 §5.4: what decodes must encode to the same, so that one U-label
    // has one A-label; and one of ASCII alone needs none.
    let again = idna::punycode::encode_str(&decoded);
    if decoded.is_ascii() || again.as_deref() != Some(encoded) {
        return Err(Reject::LabelInvalid);
    }
    check_form(&decoded)?;
    Ok(decoded)
}

/// What makes a U-label valid under IDNA2008, whatever it looks like.
fn check_form(label: &str) -> Result<(), Reject> {
    let hyphens = label.starts_with('-')
        || label.ends_with('-')
        || label.chars().skip(2).take(2).eq("--".chars());
    let led_by_mark = label.chars().next().is_none_or(is_mark);
    let good = !hyphens && !led_by_mark && is_nfc(label) && label.chars().all(is_protocol_valid);
    if good {
        Ok(())
    } else {
        Err(Reject::LabelInvalid)
    }
}

/// Checks a label that is to be registered and gives the form that people see.
/// `right_to_left` says whether the name's other labels hold right-to-left
/// characters.
///
/// Errors: [`Reject::LabelInvalid`], [`Reject::LabelMixesScripts`].
pub(super) fn check(label: &str, right_to_left: bool) -> Result<String, Reject> {
    let shown = shown(label)?;
    let allowed = |c: char| c == '-' || c.identifier_allowed();
    if !shown.chars().all(allowed) {
        return Err(Reject::LabelInvalid);
    }
    if (right_to_left || has_right_to_left(&shown)) && !satisfies_bidi_rule(&shown) {
        return Err(Reject::LabelInvalid);
    }
    // UTS 39 §5.1 and §5.3.
    if !shown.as_str().is_single_script() || mixes_numbers(&shown) {
        return Err(Reject::LabelMixesScripts);
    }
    Ok(shown)
}

fn is_mark(c: char) -> bool {
    use GeneralCategory as G;
    matches!(
        c.general_category(),
        G::NonspacingMark | G::SpacingMark | G::EnclosingMark
    )
}

/// Whether RFC 5892 derives PVALID for `c`, or permits it wherever it stands.
///
/// Joiners (CONTEXTJ) are refused: they are invisible. So are the points of
/// CONTEXTO, which look like others; its digits are left to [`mixes_numbers`].
fn is_protocol_valid(c: char) -> bool {
    use GeneralCategory as G;
    match c {
        // RFC 5892 §2.6, exceptions that are valid.
        '\u{df}' | '\u{3c2}' | '\u{6fd}' | '\u{6fe}' | '\u{f0b}' | '\u{3007}' => return true,
        // The same, exceptions that are not; and CONTEXTO but for digits.
        '\u{640}'
        | '\u{7fa}'
        | '\u{302e}'
        | '\u{302f}'
        | '\u{3031}'..='\u{3035}'
        | '\u{303b}'
        | '\u{b7}'
        | '\u{375}'
        | '\u{5f3}'
        | '\u{5f4}'
        | '\u{30fb}' => return false,
        // §2.8, join controls; §2.9, conjoining jamo.
        '\u{200c}'
        | '\u{200d}'
        | '\u{1100}'..='\u{11ff}'
        | '\u{a960}'..='\u{a97c}'
        | '\u{d7b0}'..='\u{d7fb}' => return false,
        // §2.3, ignorable properties, as far as they are of letters and marks.
        '\u{34f}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{e0100}'..='\u{e01ef}' => return false,
        // §2.4, ignorable blocks.
        '\u{20d0}'..='\u{20ff}' | '\u{1d100}'..='\u{1d1ff}' | '\u{1d200}'..='\u{1d24f}' => {
            return false;
        }
        // §2.5, letters, digits and the hyphen.
        '-' | '0'..='9' | 'a'..='z' => return true,
        _ => {}
    }
    // §2.1, letters and digits; §2.2, unstable under case folding.
    let letter_or_digit = matches!(
        c.general_category(),
        G::LowercaseLetter
            | G::UppercaseLetter
            | G::OtherLetter
            | G::ModifierLetter
            | G::DecimalNumber
            | G::NonspacingMark
            | G::SpacingMark
    );
    letter_or_digit && is_stable(c)
}

/// RFC 5892 §2.2: `c` is what it becomes by NFKC, case folding and NFKC.
fn is_stable(c: char) -> bool {
    let composed: String = std::iter::once(c).nfkc().collect();
    let folded = caseless::default_case_fold_str(&composed);
    folded.chars().nfkc().eq(std::iter::once(c))
}

/// Whether decimal digits of more than one number system stand in `label`.
fn mixes_numbers(label: &str) -> bool {
    let system = |c: char| match c {
        '0'..='9' => Some(0u8),
        '\u{660}'..='\u{669}' => Some(1),
        '\u{6f0}'..='\u{6f9}' => Some(2),
        // Every other system has a script of its own, and scripts do not mix.
        c if c.general_category() == GeneralCategory::DecimalNumber => Some(3),
        _ => None,
    };
    let mut systems = label.chars().filter_map(system);
    let first = systems.next();
    systems.any(|system| Some(system) != first)
}

/// Whether `label` holds a character that is written from right to left.
pub(super) fn has_right_to_left(label: &str) -> bool {
    label
        .chars()
        .any(|c| matches!(bidi_class(c), BidiClass::R | BidiClass::AL | BidiClass::AN))
}

/// The Bidi rule of RFC 5893 §2.
fn satisfies_bidi_rule(label: &str) -> bool {
    use BidiClass as B;
    let classes: Vec<BidiClass> = label.chars().map(bidi_class).collect();
    let neutral = |class| matches!(class, B::ES | B::CS | B::ET | B::ON | B::BN | B::NSM);
    let last = classes.iter().rev().find(|class| **class != B::NSM);
    match (classes.first(), last) {
        (Some(B::R | B::AL), Some(last)) => {
            let only = |class| matches!(class, B::R | B::AL | B::AN | B::EN) || neutral(class);
            let both = classes.contains(&B::EN) && classes.contains(&B::AN);
            let ends = matches!(last, B::R | B::AL | B::EN | B::AN);
            classes.iter().all(|class| only(*class)) && ends && !both
        }
        (Some(B::L), Some(last)) => {
            let only = |class| matches!(class, B::L | B::EN) || neutral(class);
            classes.iter().all(|class| only(*class)) && matches!(last, B::L | B::EN)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
