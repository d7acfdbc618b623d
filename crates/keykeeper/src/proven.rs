//! What do proofs that a host brought say? Used inside the protected process, which
//! believes the circle's key and nothing else.

use proof::Proof;
use wire::{CircleId, CircleKey};

use crate::circle::Reading;

/// The values of `keys`, if each proof holds: under the circle's key, of this
/// circle, for the key that was asked, all of one header.
///
/// Errors: in words, which hold nothing of what was proven.
pub(crate) fn prove(
    circle: CircleId,
    circle_key: &CircleKey,
    keys: &[Vec<u8>],
    proofs: &[Vec<u8>],
) -> Result<Reading, String> {
    if proofs.len() != keys.len() {
        return Err("not every key has a proof".to_owned());
    }
    let mut reading: Option<Reading> = None;
    for (key, bytes) in keys.iter().zip(proofs) {
        let proven = Proof::decode(bytes)
            .map_err(|error| error.to_string())?
            .verify(circle_key)
            .map_err(|error| error.to_string())?;
        if proven.circle() != circle || proven.key() != key.as_slice() {
            return Err("a proof of something else".to_owned());
        }
        let value = proven.value().map(<[u8]>::to_vec);
        match &mut reading {
            None => {
                reading = Some(Reading {
                    height: proven.height(),
                    time_ms: proven.time_ms(),
                    header: proven.header_digest(),
                    values: vec![value],
                });
            }
            Some(reading) if reading.header == proven.header_digest() => {
                reading.values.push(value);
            }
            Some(_) => return Err("proofs of two heights".to_owned()),
        }
    }
    reading.ok_or_else(|| "nothing was asked".to_owned())
}
