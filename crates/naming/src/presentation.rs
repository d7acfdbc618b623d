//! Records' data between the form of a zone file (RFC 1035 §5.1), which people
//! and other programs write, and the wire form that the ledger holds.

use domain::{
    base::{
        Name as DnsName, ParseRecordData as _, ParsedName, Rtype,
        rdata::ComposeRecordData as _,
        scan::{IterScanner, Symbols},
        zonefile_fmt::{DisplayKind, ZonefileFmt as _},
    },
    dep::octseq::Parser,
    rdata::ZoneRecordData,
};
use wire::{RecordSet, RelativeName};

/// Why text is no record's data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PresentationError {
    /// Not of the type.
    #[error("{text:?} is no {rtype} data: {reason}")]
    Malformed {
        /// The text.
        text: String,
        /// The type that it should be of.
        rtype: Rtype,
        /// What is wrong with it.
        reason: String,
    },
    /// Something follows the data.
    #[error("{text:?} has more than a {rtype} record takes")]
    TooMuch {
        /// The text.
        text: String,
        /// The type that it should be of.
        rtype: Rtype,
    },
}

/// The RRset of records in the form of a zone file.
///
/// Errors: one of them is not of the type.
pub fn record_set(
    owner: Option<RelativeName>,
    rtype: Rtype,
    ttl: u32,
    data: &[String],
) -> Result<RecordSet, PresentationError> {
    let data = data.iter().map(|text| rdata(rtype, text));
    Ok(RecordSet {
        owner,
        rtype: rtype.to_int(),
        ttl,
        data: data.collect::<Result<_, _>>()?,
    })
}

/// One record in the form of a zone file; in that of RFC 3597 if its type's
/// form is not known.
pub fn zone_form(rtype: Rtype, data: &[u8]) -> String {
    let mut parser = Parser::from_ref(data);
    match ZoneRecordData::<_, ParsedName<_>>::parse_rdata(rtype, &mut parser) {
        Ok(Some(parsed)) if !matches!(parsed, ZoneRecordData::Unknown(_)) => {
            parsed.display_zonefile(DisplayKind::Simple).to_string()
        }
        _ => format!("\\# {} {}", data.len(), hex::encode(data)),
    }
}

/// The wire form of one record's data.
///
/// Errors: [`PresentationError`].
pub fn rdata(rtype: Rtype, text: &str) -> Result<Vec<u8>, PresentationError> {
    let malformed = |reason: String| PresentationError::Malformed {
        text: text.to_owned(),
        rtype,
        reason,
    };
    let words = split_words(text);
    // The scanner itself takes a broken escape for the word's end.
    for word in &words {
        let mut symbols = Symbols::new(word.chars());
        symbols.by_ref().for_each(drop);
        symbols
            .ok()
            .map_err(|error| malformed(format!("{error} in {word:?}")))?;
    }
    // RFC 3597 §5, for types whose form is not known.
    if let [marker, length, digits @ ..] = words.as_slice()
        && marker == "\\#"
    {
        return hex::decode(digits.concat())
            .ok()
            .filter(|bytes| length.parse() == Ok(bytes.len()))
            .ok_or_else(|| malformed("it is not a length and as many octets in hex".to_owned()));
    }
    let mut scanner = IterScanner::new(words.iter().map(String::as_str));
    let data = ZoneRecordData::<Vec<u8>, DnsName<Vec<u8>>>::scan(rtype, &mut scanner)
        .map_err(|error| malformed(error.to_string()))?;
    if !scanner.is_exhausted() {
        return Err(PresentationError::TooMuch {
            text: text.to_owned(),
            rtype,
        });
    }
    let mut bytes = Vec::new();
    // Octets in memory take whatever is written.
    data.compose_rdata(&mut bytes)
        .map_err(|_| malformed("it is too long".to_owned()))?;
    Ok(bytes)
}

/// Words of a line of a zone file: blanks and parentheses part them, double quotes hold them
/// together, and a backslash keeps what follows as it is for the scanner.
fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' => {
                let word = word.get_or_insert_default();
                word.push('\\');
                word.extend(characters.next());
            }
            // Parentheses let a record go on over lines, of which there is one.
            c if (c.is_whitespace() || matches!(c, '(' | ')')) && !quoted => {
                words.extend(word.take());
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_a_zone_file_becomes_its_wire_form() {
        assert_eq!(rdata(Rtype::A, "192.0.2.1").unwrap(), [192, 0, 2, 1]);
        assert_eq!(
            rdata(Rtype::TXT, r#""two words" x"#).unwrap(),
            b"\x09two words\x01x"
        );
        assert_eq!(
            rdata(Rtype::TXT, r#""a \"quoted\" word; \092 \195\188""#).unwrap(),
            b"\x15a \"quoted\" word; \\ \xc3\xbc".as_slice()
        );
        assert_eq!(
            rdata(Rtype::MX, "10 a.b.").unwrap(),
            b"\x00\x0a\x01a\x01b\x00"
        );
        let unknown = Rtype::from_int(65_280);
        assert_eq!(rdata(unknown, r"\# 3 0102 03").unwrap(), [1, 2, 3]);
        for (rtype, bad) in [
            (unknown, r"\# 2 010203"),
            (unknown, r"\# 1 0"),
            (Rtype::A, "1.2.3"),
            (Rtype::A, "192.0.2.1 more"),
            (Rtype::MX, "ten a."),
            (Rtype::A, ""),
            (Rtype::TXT, "\\"),
            (Rtype::TXT, r"cut \999 short"),
        ] {
            assert!(rdata(rtype, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn data_comes_back_in_the_form_of_a_zone_file() {
        for (rtype, text) in [
            (Rtype::A, "192.0.2.1"),
            (Rtype::MX, "10 a.b."),
            (Rtype::NS, "ns.example."),
            (Rtype::TXT, r#""two words" "x""#),
            (Rtype::TXT, r#""a \"quoted\" word""#),
            (Rtype::CAA, r#"0 issue "ca.example""#),
            (Rtype::SRV, "0 5 443 a.b."),
        ] {
            assert_eq!(zone_form(rtype, &rdata(rtype, text).unwrap()), text);
        }
        assert_eq!(zone_form(Rtype::A, &[1, 2]), "\\# 2 0102");
        assert_eq!(zone_form(Rtype::from_int(65_280), &[1, 2]), "\\# 2 0102");
        let unknown = rdata(Rtype::from_int(65_280), "\\# 2 0102");
        assert_eq!(unknown.unwrap(), [1, 2]);
    }

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(split_words(r#" a "b c"  """#), ["a", "b c", ""]);
        assert_eq!(split_words(r#"1 (a b) "(c)""#), ["1", "a", "b", "(c)"]);
        assert_eq!(split_words(r#""a\" b" c"#), [r#"a\" b"#, "c"]);
    }
}
