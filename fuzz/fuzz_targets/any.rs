//! libFuzzer's entry: the target named in `RINGFORT_FUZZ_TARGET`.
#![no_main]

use std::sync::OnceLock;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("RINGFORT_FUZZ_TARGET").expect("set RINGFORT_FUZZ_TARGET");
        fuzz::target(&name)
            .unwrap_or_else(|| panic!("no target {name:?}; there are {:?}", fuzz::names()))
    });
    target(data);
});
