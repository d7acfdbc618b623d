//! Labels that nobody may register beneath an apex.

/// Labels that software takes to speak for the whole zone, or that name the
/// circle's own services; each says why.
const RESERVED: &[&str] = &[
    "alt",          // RFC 9476: with a search list it would catch the whole tree
    "arpa",         // reverse look-ups, likewise
    "autoconfig",   // mail clients configure themselves from it
    "autodiscover", // likewise
    "ca",           // the circle's certificate authority
    "crl",          // likewise
    "dns",          // the circle's name servers
    "invalid",      // RFC 6761 §6.4
    "isatap",       // tunnels are set up from it
    "local",        // RFC 6762: multicast DNS
    "localhost",    // RFC 6761 §6.3
    "mta-sts",      // RFC 8461: mail policy of the zone
    "ocsp",         // the circle's certificate authority
    "onion",        // RFC 7686: must never be looked up
    "resolver",     // RFC 9462: designated resolvers (resolver.arpa)
    "wpad",         // browsers take their proxy from it
];

/// Whether `label` is reserved: listed, a name server (`ns`, `ns0`, `ns12`),
/// or underscored, which RFC 8552 keeps for attributes of the parent.
pub(super) fn is_reserved(label: &str) -> bool {
    label.starts_with('_') || is_name_server(label) || RESERVED.contains(&label)
}

/// Whether `label` is one that a zone's name servers stand at.
pub(crate) fn is_name_server(label: &str) -> bool {
    label
        .strip_prefix("ns")
        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserves_what_speaks_for_the_zone_and_nothing_else() {
        for label in ["ns", "ns1", "ns42", "wpad", "_dmarc", "localhost", "ca"] {
            assert!(is_reserved(label), "{label}");
        }
        for label in ["hello", "nsa", "ns1a", "cat", "mail", "www"] {
            assert!(!is_reserved(label), "{label}");
        }
    }
}
