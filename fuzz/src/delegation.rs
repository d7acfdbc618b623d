//! What the name server of a delegated subdomain answers about its zone's keys.

use naming::delegation::ChildZone;

/// sub.hello.internal DNSKEY, CDS, CDNSKEY, each an answer with one record and
/// one signature that holds of nothing, behind its length.
pub(crate) fn answers() -> Vec<Vec<u8>> {
    let key = "01010303".to_owned() + &"0d".repeat(64);
    let ds = "10920d02".to_owned() + &"5a".repeat(32);
    let answer = |rtype: &str, data: &str| {
        let signature = format!(
            "{rtype}0d0300000e10fffffff00000000010920373756205{}00{}",
            "68656c6c6f08696e7465726e616c",
            "11".repeat(64)
        );
        let record = |rtype: &str, data: &str| {
            format!("c00c{rtype}000100000e10{:04x}{data}", data.len() / 2)
        };
        let text = format!(
            "1234850000010002000000000373756205{}00{rtype}0001{}{}",
            "68656c6c6f08696e7465726e616c",
            record(rtype, data),
            record("002e", &signature)
        );
        let bytes = hex::decode(text).expect("hex digits");
        let length = u16::try_from(bytes.len()).expect("a short answer");
        [&length.to_be_bytes()[..], &bytes].concat()
    };
    let all = [
        answer("0030", &key),
        answer("003b", &ds),
        answer("003c", &key),
    ];
    vec![all.concat()]
}

/// Nothing that no key of ours signed is ever taken for DS records.
pub(crate) fn zone(bytes: &[u8]) {
    let mut rest = bytes;
    let mut parts = [const { Vec::new() }; 3];
    for part in &mut parts {
        let Some((length, behind)) = rest.split_first_chunk() else {
            return;
        };
        let length = usize::from(u16::from_be_bytes(*length));
        let Some((one, behind)) = behind.split_at_checked(length) else {
            return;
        };
        *part = one.to_vec();
        rest = behind;
    }
    let name = "sub.hello.internal".parse().expect("a name");
    let Ok(child) = ChildZone::of(&name, parts) else {
        return;
    };
    let now = 1_800_000_000;
    let vouched = [vec![0x12, 0x34, 13, 2, 0xa5]];
    assert!(child.next(&vouched, now).is_err(), "a stranger's keys");
    assert!(child.first(now).is_err(), "keys that sign nothing");
}
