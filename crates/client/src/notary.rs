//! Notarised data: the digest of an item, who recorded it, and the check of an
//! item against a proof that was kept.

use std::io::{self, Read};

use proof::{Proof, ProofError, Proven};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use wire::{
    AccountId, CircleKey, Digest, Height,
    record::{Notarisation, RecordError},
    state_key,
};

use crate::{
    error::ClientError,
    ledger::{Client, decode},
};

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;

/// A data item as it is notarised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// SHA-256.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

impl Item {
    /// Reads an item to its end.
    ///
    /// Errors: the reader's.
    pub fn read(mut from: impl Read) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        let mut piece = vec![0; PIECE];
        let mut size = 0;
        loop {
            let read = match from.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hasher.update(&piece[..read]);
            size += read as u64;
        }
        Ok(Self {
            digest: Digest(hasher.finalize().into()),
            size,
        })
    }
}

/// Why a proof does not show that an item was notarised.
#[derive(Debug, thiserror::Error)]
pub enum NotaryProofError {
    /// The bytes are no proof.
    #[error("the bytes are no proof")]
    Malformed(#[source] io::Error),
    /// It does not hold under the circle's key.
    #[error("the proof does not hold under the circle's key")]
    Proof(#[from] ProofError),
    /// It is of another entry.
    #[error("the proof is not one of notarised data")]
    NotNotarised,
    /// It is of another item: the file is not what was notarised, or was changed.
    #[error("the proof is of another data item: this file is not what was notarised")]
    OtherItem,
    /// It shows that the signer had not notarised the item.
    #[error("it is proven that nothing was recorded")]
    Absent,
    /// This build does not know the record's form.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Checks `item` against a stored proof; needs nothing but the circle's key.
///
/// Errors: [`NotaryProofError`].
pub fn verify_item(
    item: &Item,
    proof: &[u8],
    circle: &CircleKey,
) -> Result<(Notarisation, Proven), NotaryProofError> {
    let proven = Proof::decode(proof)
        .map_err(NotaryProofError::Malformed)?
        .verify(circle)?;
    let rest = proven
        .key()
        .strip_prefix(state_key::NOTARISATIONS)
        .ok_or(NotaryProofError::NotNotarised)?;
    let record: Notarisation = decode(&proven)?.ok_or(NotaryProofError::Absent)?;
    // The digest is the key's; the size is the signer's word, which must not lie.
    if rest.get(..32) != Some(&item.digest.0) || record.size != item.size {
        return Err(NotaryProofError::OtherItem);
    }
    Ok((record, proven))
}

/// Who notarised an item, proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Witnessed {
    /// The signer's account.
    pub signer: AccountId,
    /// What was recorded.
    pub record: Notarisation,
    /// The height at which it was proven.
    pub height: Height,
}

impl Client {
    /// Everyone who notarised the item with this digest.
    ///
    /// Errors: no node answers, or one gives proofs that do not hold.
    pub async fn notarisations(&self, digest: Digest) -> Result<Vec<Witnessed>, ClientError> {
        let prefix = state_key::notarisations_of(digest);
        let found = self.proven_under::<Notarisation>(&prefix).await?;
        Ok(found
            .into_iter()
            .filter_map(|(rest, record, height)| {
                let signer = AccountId(rest.try_into().ok()?);
                Some(Witnessed {
                    signer,
                    record,
                    height,
                })
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_read_to_its_end_whatever_its_size() {
        for size in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 7] {
            let bytes: Vec<u8> = (0..size).map(|at| at as u8).collect();
            let item = Item::read(&bytes[..]).unwrap();
            assert_eq!(item.size, size as u64);
            assert_eq!(item.digest, Digest::of(&[&bytes]));
        }
    }
}
