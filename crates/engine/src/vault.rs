//! Where does a validator keep its shares and the messages they are made of?
//!
//! In one small file of the engine's storage that is replaced as a whole: what
//! was saved survives a crash, what was not is not there at all. What is
//! erased is gone from both of the file's halves when [`Vault::erase`] returns;
//! what a disk keeps of overwritten blocks is out of reach. The file is not
//! encrypted: the engine's directory is its owner's alone.

use borsh::{BorshDeserialize, BorshSerialize};
use commonware_codec::RangeCfg;
use commonware_runtime::{Clock, Metrics, Storage};
use commonware_storage::metadata::{self, Metadata};
use commonware_utils::sequence::U64;
use wire::Digest;

use crate::keys::PeerKey;

/// Bytes of a vault: the messages of two rounds of 128 dealers.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The vault's one key.
const KEY: U64 = U64::new(0);

/// A share of the circle's key.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct KeptShare {
    /// [`sharing_id`] of the sharing to which it belongs.
    pub sharing: Digest,
    /// The epoch in which it was first in office here.
    pub epoch: u64,
    pub share: Vec<u8>,
}

/// What must not be lost of a resharing.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct KeptRound {
    pub number: u64,
    /// From which this validator deals.
    pub entropy: [u8; 32],
    /// What it was dealt and has acknowledged, by dealer.
    pub messages: Vec<(PeerKey, Vec<u8>)>,
}

#[derive(Default, BorshSerialize, BorshDeserialize)]
struct Contents {
    /// Counts the writes, so that no two are the same.
    generation: u64,
    shares: Vec<KeptShare>,
    rounds: Vec<KeptRound>,
}

/// The vault, open.
pub(crate) struct Vault<E: Storage + Metrics + Clock> {
    /// None after a write that failed: nothing may be promised any more.
    file: Option<Metadata<E, U64, Vec<u8>>>,
    contents: Contents,
}

/// What stands for a sharing among shares.
pub(crate) fn sharing_id(sharing: &[u8]) -> Digest {
    Digest::tagged("ringfort/sharing/1", &[sharing])
}

impl<E: Storage + Metrics + Clock> Vault<E> {
    /// Opens the vault, or makes an empty one.
    ///
    /// Errors: the storage's; a vault that does not decode is never replaced.
    pub(crate) async fn open(context: E, partition: &str) -> Result<Self, String> {
        let config = metadata::Config {
            partition: format!("{partition}-vault"),
            codec_config: (RangeCfg::from(0..=MAX_BYTES), ()),
        };
        let file = Metadata::<E, U64, Vec<u8>>::init(context, config)
            .await
            .map_err(|error| error.to_string())?;
        let contents = match file.get(&KEY) {
            None => Contents::default(),
            Some(bytes) => borsh::from_slice(bytes).map_err(|error| error.to_string())?,
        };
        Ok(Self {
            file: Some(file),
            contents,
        })
    }

    pub(crate) fn share(&self, sharing: Digest) -> Option<&KeptShare> {
        let shares = &self.contents.shares;
        shares.iter().find(|kept| kept.sharing == sharing)
    }

    /// The sharing of the oldest share, for a keeper that is broken on purpose.
    #[cfg(feature = "simulation")]
    pub(crate) fn any_sharing(&self) -> Option<Digest> {
        self.contents.shares.first().map(|kept| kept.sharing)
    }

    pub(crate) fn round(&self, number: u64) -> Option<&KeptRound> {
        let rounds = &self.contents.rounds;
        rounds.iter().find(|kept| kept.number == number)
    }

    /// Keeps a share; durable when this returns, like all below.
    pub(crate) async fn keep_share(&mut self, share: KeptShare) -> Result<(), String> {
        self.contents.shares.push(share);
        self.save().await
    }

    pub(crate) async fn keep_round(&mut self, round: KeptRound) -> Result<(), String> {
        self.contents.rounds.push(round);
        self.save().await
    }

    /// Keeps a message of a round that is kept.
    pub(crate) async fn keep_message(
        &mut self,
        number: u64,
        dealer: PeerKey,
        message: Vec<u8>,
    ) -> Result<(), String> {
        let mut rounds = self.contents.rounds.iter_mut();
        let Some(round) = rounds.find(|kept| kept.number == number) else {
            return Err(format!("round {number} is not in the vault"));
        };
        round.messages.push((dealer, message));
        self.save().await
    }

    /// Deletes the shares and rounds that are not wanted any more.
    pub(crate) async fn erase(
        &mut self,
        wanted_share: impl Fn(&KeptShare) -> bool,
        wanted_round: impl Fn(&KeptRound) -> bool,
    ) -> Result<(), String> {
        let Contents { shares, rounds, .. } = &mut self.contents;
        let before = (shares.len(), rounds.len());
        shares.retain(wanted_share);
        rounds.retain(wanted_round);
        if (shares.len(), rounds.len()) == before {
            return Ok(());
        }
        // The file has two halves that are written in turn.
        self.save().await?;
        self.save().await
    }

    async fn save(&mut self) -> Result<(), String> {
        self.contents.generation += 1;
        let bytes = borsh::to_vec(&self.contents).map_err(|error| error.to_string())?;
        let mut file = self.file.take().ok_or("an earlier write failed")?;
        file.put(KEY, bytes);
        let file = file.sync().await.map_err(|error| error.to_string())?;
        self.file = Some(file);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_runtime::{Blob as _, Runner as _, Supervisor as _, deterministic};

    fn share(byte: u8) -> KeptShare {
        KeptShare {
            sharing: Digest([byte; 32]),
            epoch: 0,
            share: vec![byte; 40],
        }
    }

    fn round(number: u64) -> KeptRound {
        KeptRound {
            number,
            entropy: [3; 32],
            messages: Vec::new(),
        }
    }

    #[test]
    fn what_was_kept_survives_a_crash_and_what_was_erased_is_gone_from_the_disk() {
        let runner = deterministic::Runner::default();
        let ((), checkpoint) = runner.start_and_recover(|context| async move {
            let mut vault = Vault::open(context.child("one"), "v").await.unwrap();
            vault.keep_share(share(0xA1)).await.unwrap();
            vault.keep_share(share(0xB2)).await.unwrap();
            vault.keep_round(round(7)).await.unwrap();
            vault
                .keep_message(7, [9; 32], vec![0xC3; 40])
                .await
                .unwrap();
            assert!(vault.keep_message(8, [9; 32], vec![1]).await.is_err());
        });
        deterministic::Runner::from(checkpoint).start(|context| async move {
            let mut vault = Vault::open(context.child("two"), "v").await.unwrap();
            assert!(vault.share(Digest([0xA1; 32])).is_some());
            assert_eq!(vault.round(7).unwrap().messages.len(), 1);
            vault
                .erase(|kept| kept.share[0] == 0xB2, |_| false)
                .await
                .unwrap();
            assert!(vault.share(Digest([0xA1; 32])).is_none());
            drop(vault);
            let mut kept = 0;
            for name in context.scan("v-vault").await.unwrap() {
                let (blob, size) = context.open("v-vault", &name).await.unwrap();
                let bytes = blob
                    .read_at(0, size as usize, Default::default())
                    .await
                    .unwrap();
                let bytes = bytes.coalesce();
                let has = |byte: u8| bytes.as_ref().windows(40).any(|w| w == [byte; 40]);
                assert!(!has(0xA1) && !has(0xC3), "an erased secret is on the disk");
                kept += usize::from(has(0xB2));
            }
            assert_eq!(kept, 2, "both halves hold what is kept");
        });
    }
}
