//! DNS updates as anyone may send them to consensus.

use ::update::Update;

/// A message of BIND 9.18's nsupdate, signed with Ed25519, with a prerequisite
/// and three changes.
const RECORDED: &[u8] = include_bytes!("../../crates/update/tests/ed25519.update");

/// Messages to mutate.
pub fn messages() -> Vec<Vec<u8>> {
    vec![RECORDED.to_vec()]
}

/// Reads a message, and applies what it asks for to no records and to its own
/// result: whatever it says must not break either.
pub fn message(data: &[u8]) {
    let Ok(update) = Update::read(data) else {
        return;
    };
    assert!(data.len() <= ::update::MAX_UPDATE_BYTES);
    if let Ok(sets) = update.replacements(&[]) {
        assert!(sets.iter().all(|set| !set.data.is_empty()));
        // A second time nothing but what it removes is left to do.
        let _ = update.replacements(&sets);
    }
}
