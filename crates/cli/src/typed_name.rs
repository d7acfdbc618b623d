//! How do people write names? In their own script, in capitals, with a trailing
//! dot; the ledger knows A-labels in lower case alone.

use wire::DomainName;

/// The name that `text` means: its A-labels (UTS 46), lower case.
///
/// Errors: a sentence for people. The ledger's own rules are stricter.
pub fn parse(text: &str) -> Result<DomainName, String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let plain = text.to_ascii_lowercase();
    let ascii = if plain.is_ascii() {
        plain
    } else {
        idna::domain_to_ascii(&plain)
            .map_err(|_| format!("{text:?} has no form that the domain name system knows"))?
    };
    ascii
        .parse()
        .map_err(|error: wire::ParseNameError| error.to_string())
}

/// The name as people of its script read it, where that differs.
pub fn shown(name: &DomainName) -> Option<String> {
    let (text, result) = idna::domain_to_unicode(name.as_str());
    (result.is_ok() && text != name.as_str()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_any_script_becomes_a_labels() {
        assert_eq!(
            parse("Bücher.Internal.").unwrap().as_str(),
            "xn--bcher-kva.internal"
        );
        assert_eq!(parse("hello.internal").unwrap().as_str(), "hello.internal");
        for bad in ["", ".", "a b", "a..b", "bü cher.internal"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        let name = parse("xn--bcher-kva.internal").unwrap();
        assert_eq!(shown(&name).as_deref(), Some("bücher.internal"));
        assert_eq!(shown(&parse("a.internal").unwrap()), None);
    }
}
