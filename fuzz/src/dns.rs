//! Queries for the name server's decoder.

/// Queries in wire form, by hand from RFC 1035 §4.1 and RFC 6891 §6.1.
const QUERIES: [&str; 4] = [
    // host.internal A, EDNS with a cookie.
    "12340120000100000000000104686f737408696e7465726e616c000001000100002904d000008000000c000a00080001020304050607",
    // large.host.internal TXT, no EDNS.
    "123401200001000000000000056c6172676504686f737408696e7465726e616c0000100001",
    // www.sub.cut.internal AAAA, EDNS.
    "12340120000100000000000103777777037375620363757408696e7465726e616c00001c000100002904d0000080000000",
    // ring.alias.internal ANY.
    "1234012000010000000000010472696e6705616c69617308696e7465726e616c0000ff000100002904d000008000000c000a00080001020304050607",
];

pub(crate) fn queries() -> Vec<Vec<u8>> {
    QUERIES
        .map(|digits| hex::decode(digits).expect("hex digits"))
        .to_vec()
}
