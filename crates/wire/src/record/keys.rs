//! Records of keys that nobody holds alone.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use super::AttestationResult;
use crate::{
    AccountId, ContractId, Digest, EscrowKey, Evidence, Height, HolderPolicy, KeyPhase, LabelName,
    PublicKey,
};

/// A keykeeper that registered.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Keykeeper {
    /// Its evidence, for other keykeepers to appraise.
    pub evidence: Evidence,
    /// What the ledger's appraisal found.
    pub result: AttestationResult,
    /// When.
    pub registered_at: Height,
}

/// Who holds shares, and what is public of them.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct KeyCommittee {
    /// The round that dealt the shares.
    pub round: u64,
    /// The circle's master public key: a compressed BLS12-381 G2 point. The same
    /// for as long as the circle has one.
    #[serde(with = "hex::serde")]
    pub master_key: Vec<u8>,
    /// The committee, as `threshold` encodes it.
    #[serde(with = "hex::serde")]
    pub sharing: Vec<u8>,
    /// Who holds a share, in the order of the shares.
    pub keepers: Vec<PublicKey>,
    /// How many of them it takes.
    pub quorum: u16,
    /// Since when.
    pub since: Height,
}

/// What a round came to.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum KeyOutcome {
    /// Shares were dealt.
    Done,
    /// Too few took part or dealt well.
    Failed,
}

/// The round that is under way, or the last one.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct KeyRound {
    /// Its number.
    pub round: u64,
    /// The sharing whose holders deal, as `threshold` encodes it; empty to make
    /// a first key.
    #[serde(with = "hex::serde")]
    pub previous: Vec<u8>,
    /// Who is asked to hold shares.
    pub invited: Vec<PublicKey>,
    /// How many must take part.
    pub least: u16,
    /// The message that it waits for, while it is under way.
    pub phase: KeyPhase,
    /// How many of those messages are still to come; at zero the phase ends.
    pub awaited: u16,
    /// How many blocks a phase lasts at most.
    pub window: u32,
    /// The last block of the phase.
    pub ends_at: Height,
    /// What it came to; none while it is under way.
    pub outcome: Option<KeyOutcome>,
}

/// A message that was posted in a round and found good.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct KeyMessage {
    /// The message.
    #[serde(with = "hex::serde")]
    pub message: Vec<u8>,
}

/// A label that was granted.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Label {
    /// Its name.
    pub name: LabelName,
    /// The present epoch, from 1.
    pub epoch: u64,
    /// Who may have its keys.
    pub policy: HolderPolicy,
    /// When the epoch began.
    pub changed_at: Height,
}

/// A request for a label's key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct KeyRequest {
    /// The label.
    pub label: LabelName,
    /// The epoch.
    pub epoch: u64,
    /// The asker's X25519 key.
    #[serde(with = "hex::serde")]
    pub one_time_key: [u8; 32],
    /// The contract whose payload it is for, if it is for one.
    pub contract: Option<ContractId>,
    /// The block that the evidence is fresh by.
    pub block: Digest,
    /// The evidence, for keykeepers to appraise.
    pub evidence: Evidence,
    /// What the ledger's appraisal found.
    pub result: AttestationResult,
    /// Who sent it.
    pub asker: AccountId,
    /// The last block in which it can be answered, and that keeps it.
    pub until: Height,
}

/// A keykeeper's answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct KeyAnswer {
    /// The round that dealt the share it comes of.
    pub round: u64,
    /// The signature share, sealed.
    #[serde(with = "hex::serde")]
    pub sealed: Vec<u8>,
}

/// A member that keeps pieces of keykeepers' shares.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct EscrowHolder {
    /// The member.
    pub member: AccountId,
    /// Its X25519 key.
    pub key: EscrowKey,
}

/// Among whom keykeepers put their shares in escrow.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct EscrowHolders {
    /// Members with a vote that gave a key, ascending by account.
    pub holders: Vec<EscrowHolder>,
    /// How many restore a keykeeper: more than two thirds of *all* members with a
    /// vote, also of those that gave none. With fewer holders nothing is escrowed.
    pub least: u16,
}

impl EscrowHolders {
    /// By which an escrow says for whom it was made.
    pub fn digest(&self) -> Digest {
        let keys: Vec<u8> = self.keys().concat();
        Digest::tagged(
            "ringfort/escrow-holders/1",
            &[&self.least.to_le_bytes(), &keys],
        )
    }

    /// Their keys, in the holders' order.
    pub fn keys(&self) -> Vec<[u8; 32]> {
        self.holders.iter().map(|holder| holder.key.0).collect()
    }

    /// Whether they are enough for an escrow; one alone never is.
    pub fn suffice(&self) -> bool {
        self.least >= 2 && self.holders.len() >= usize::from(self.least)
    }
}

/// A keykeeper's share in escrow.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct KeyEscrow {
    /// The round that dealt the share.
    pub round: u64,
    /// For whom, as they were when it was posted.
    pub holders: EscrowHolders,
    /// The escrow, as `threshold` encodes it.
    #[serde(with = "hex::serde")]
    pub escrow: Vec<u8>,
    /// When it was posted.
    pub posted_at: Height,
}
