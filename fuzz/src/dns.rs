//! Queries for the name server's decoder.

/// Queries in wire form, by hand from RFC 1035 §4.1 and RFC 6891 §6.1.
const QUERIES: [&str; 6] = [
    // host.internal A, EDNS with a cookie.
    "12340120000100000000000104686f737408696e7465726e616c000001000100002904d000008000000c000a00080001020304050607",
    // large.host.internal TXT, no EDNS.
    "123401200001000000000000056c6172676504686f737408696e7465726e616c0000100001",
    // www.sub.cut.internal AAAA, EDNS.
    "12340120000100000000000103777777037375620363757408696e7465726e616c00001c000100002904d0000080000000",
    // ring.alias.internal ANY.
    "1234012000010000000000010472696e6705616c69617308696e7465726e616c0000ff000100002904d000008000000c000a00080001020304050607",
    // host.internal A with a whole cookie, the wish for a keepalive, and padding.
    "12340120000100000000000104686f737408696e7465726e616c000001000100002904d0000080000028000a00182464c4abcf10c957010000005cf79f111f8130c3eee29480000b0000000c000400000000",
    // A cookie and no question.
    "12340120000000000000000100002904d000008000000c000a00080001020304050607",
];

pub(crate) fn queries() -> Vec<Vec<u8>> {
    QUERIES
        .map(|digits| hex::decode(digits).expect("hex digits"))
        .to_vec()
}

/// URLs' questions, and what comes over QUIC: queries behind their length.
pub(crate) fn fronts() -> Vec<Vec<u8>> {
    let urls = [
        &b"name=hello.internal&type=AAAA&do=1"[..],
        b"name=%5F443.%5ftcp.hello.internal.&type=52&cd=true",
    ];
    let framed = queries().into_iter().map(|query| {
        let length = u16::try_from(query.len()).expect("a short query");
        [&length.to_be_bytes()[..], &query].concat()
    });
    let mut seeds: Vec<Vec<u8>> = urls.map(<[u8]>::to_vec).to_vec();
    seeds.extend(framed);
    // A response, which becomes JSON: hello.internal A 192.0.2.1, with OPT.
    let response = "12348580000100010000000105686f737408696e7465726e616c0000010001c00c000100010000003c0004c0000201000029000000000000000a000f0006000373656531";
    seeds.extend(hex::decode(response));
    seeds
}

/// Frames of a zone signer's feed, by hand from docs/spec/dns.md §9.
pub(crate) fn feeds() -> Vec<Vec<u8>> {
    // One proof of three octets; a commit at height 5 with one serial.
    let proofs = "000100000003000000aabbcc";
    let commit = "020500000000000000000100000008000000696e7465726e616c05000000";
    // One label with one signature of 64 octets.
    let signatures = format!(
        "010800000069{}010000000100000061010000000000000001000100000007000100000002000000{}",
        "6e7465726e616c",
        "11".repeat(64)
    );
    [proofs.to_owned(), commit.to_owned(), signatures]
        .map(|digits| hex::decode(digits).expect("hex digits"))
        .to_vec()
}
