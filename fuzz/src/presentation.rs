//! Records' data as owners and their programs write it.

use domain::base::Rtype;
use naming::presentation::{rdata, zone_form};

/// Two octets of a type, then the text.
pub(crate) fn texts() -> Vec<Vec<u8>> {
    [
        (Rtype::A, "192.0.2.1"),
        (Rtype::AAAA, "2001:db8::1"),
        (Rtype::MX, "10 mail.example."),
        (Rtype::TXT, r#""two words" x "\"\092\195\188""#),
        (Rtype::SRV, "0 5 443 a.b."),
        (Rtype::CAA, r#"0 issue "ca.example""#),
        (Rtype::TLSA, "3 1 1 00ff"),
        (Rtype::DS, "1 13 2 00ff"),
        (Rtype::SVCB, "1 . alpn=h2 port=8443"),
        (Rtype::from_int(65_280), "\\# 2 0102"),
    ]
    .iter()
    .map(|(rtype, text)| [&rtype.to_int().to_be_bytes()[..], text.as_bytes()].concat())
    .collect()
}

/// What is taken comes back in a form that is taken as the same.
pub(crate) fn text(input: &[u8]) {
    let Some((rtype, text)) = input.split_first_chunk::<2>() else {
        return;
    };
    let rtype = Rtype::from_int(u16::from_be_bytes(*rtype));
    let text = String::from_utf8_lossy(text);
    let Ok(data) = rdata(rtype, &text) else {
        return;
    };
    let shown = zone_form(rtype, &data);
    assert_eq!(rdata(rtype, &shown).as_deref(), Ok(&data[..]), "{shown}");
}
