//! Actions on keys that nobody holds alone: keykeepers and their rounds, labels
//! and who may have their keys, requests and answers.
//!
//! What keykeepers post in a round is opaque here and read by `threshold`
//! (docs/spec/keys.md).

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use super::Evidence;
use crate::{
    AccountId, CircleId, ContractId, Digest, EvidencePolicy, Height, KeyRequestId, PublicKey,
    ReferenceValue,
    limits::{MAX_LIST, MAX_SERVICE_BYTES},
};

/// Registers the sender as a keykeeper, or registers it again with newer
/// evidence. The members then vote on who holds shares.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct RegisterKeykeeper {
    /// Evidence whose report data is [`RegisterKeykeeper::report_data`].
    pub evidence: Evidence,
}

impl RegisterKeykeeper {
    /// The report data that ties a keykeeper's evidence to its key and circle.
    ///
    /// Shape: `key` is the Ed25519 key that sends its transactions and is its
    ///        identity in a round.
    pub fn report_data(circle: CircleId, key: &PublicKey) -> Digest {
        Digest::tagged(
            "ringfort/keykeeper-report-data/1",
            &[&circle.0, key.bytes()],
        )
    }
}

/// Which of a round's messages a post is.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum KeyPhase {
    /// One-time keys of a player.
    Join = 0,
    /// A dealer's dealing.
    Deal = 1,
    /// What a player says of all dealings.
    Answer = 2,
}

/// A keykeeper's message in the round that is under way.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct PostKeyRound {
    /// The round's number.
    pub round: u64,
    /// Which message.
    pub phase: KeyPhase,
    /// The message; at most [`crate::limits::MAX_KEY_POST_BYTES`].
    #[serde(with = "hex::serde")]
    pub message: Vec<u8>,
}

/// Who may have a label's key.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(default, deny_unknown_fields)]
pub struct HolderPolicy {
    /// The code that may have it; the circle must admit it besides. Not empty,
    /// ascending.
    pub codes: Vec<ReferenceValue>,
    /// Who may send the request; ascending; empty for anyone.
    pub askers: Vec<AccountId>,
    /// Whose payloads may have it, by the account that pays for them; ascending;
    /// empty for no payload. The code that runs payloads is the same for all, so
    /// it alone would let anybody's payload have it.
    pub tenants: Vec<AccountId>,
    /// The encrypted payloads of those tenants that may have it, by SHA-256;
    /// ascending; empty for any.
    pub payloads: Vec<Digest>,
    /// What the evidence must show besides.
    pub evidence: EvidencePolicy,
}

impl HolderPolicy {
    /// Whether it is in its one form and within its limits.
    pub fn is_well_formed(&self) -> bool {
        let code = |value: &ReferenceValue| (value.kind, value.measurement.0);
        let codes: Vec<_> = self.codes.iter().map(code).collect();
        !codes.is_empty()
            && ascend(&codes)
            && ascend(&self.askers)
            && ascend(&self.tenants)
            && ascend(&self.payloads)
            && self.evidence.is_well_formed()
    }

    /// Whether `tenant`'s payload with that hash may have the key.
    pub fn admits_payload(&self, tenant: AccountId, payload_sha256: Digest) -> bool {
        self.tenants.contains(&tenant)
            && (self.payloads.is_empty() || self.payloads.contains(&payload_sha256))
    }
}

fn ascend<T: PartialOrd>(list: &[T]) -> bool {
    list.len() <= MAX_LIST && list.windows(2).all(|pair| pair[0] < pair[1])
}

/// Grants a label: from now on its key exists for who satisfies the policy.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct GrantLabel {
    /// The service, of letters a-z, digits, dots and hyphens.
    pub service: String,
    /// The service's version; another version is another label.
    pub version: u32,
    /// Who may have its key.
    pub policy: HolderPolicy,
}

/// Begins the label's next epoch, under another policy or the same. Who does
/// not satisfy the new policy never gets the new epoch's key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct RotateLabel {
    /// The service.
    pub service: String,
    /// Its version.
    pub version: u32,
    /// Who may have its keys from now on.
    pub policy: HolderPolicy,
}

/// A label's name, without its epoch.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct LabelName {
    /// Who granted it.
    pub owner: AccountId,
    /// The service.
    pub service: String,
    /// Its version.
    pub version: u32,
}

impl LabelName {
    /// Whether the service is written as it must be.
    pub fn is_well_formed(&self) -> bool {
        let letter = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
        (1..=MAX_SERVICE_BYTES).contains(&self.service.len()) && self.service.bytes().all(letter)
    }

    /// The bytes whose signature is the label's key in an epoch.
    ///
    /// Source: docs/spec/keys.md §6.
    pub fn bytes(&self, circle: CircleId, epoch: u64) -> Vec<u8> {
        borsh::to_vec(&(circle, self, epoch)).expect("a label always encodes")
    }
}

/// The payload for which its enclave asks for a key. An enclave takes a payload
/// from nobody but the holder of the user's agreement key, so these three say
/// whose it is; the ledger has the last two with the contract's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadHolder {
    /// The contract.
    pub contract: ContractId,
    /// The user's X25519 key.
    pub user_agreement: [u8; 32],
    /// SHA-256 of the encrypted payload.
    pub payload_sha256: Digest,
}

/// Asks for a label's key; sent by anyone whom the policy lets ask, on behalf
/// of the enclave that made the one-time key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct RequestKey {
    /// The label.
    pub label: LabelName,
    /// The present epoch, or the one before it.
    pub epoch: u64,
    /// An X25519 key that the enclave made for this request.
    #[serde(with = "hex::serde")]
    pub one_time_key: [u8; 32],
    /// The contract whose payload it is for, sent by its provider; none for an
    /// enclave that is itself the holder.
    pub contract: Option<ContractId>,
    /// A height that the state remembers, so that evidence is fresh.
    pub height: Height,
    /// The digest of the header at that height.
    pub block: Digest,
    /// Evidence whose report data is [`RequestKey::report_data`].
    pub evidence: Evidence,
}

impl RequestKey {
    /// The report data that ties evidence to one request: circle, label, epoch,
    /// the one-time key and a recent block; and the payload, if it is for one.
    pub fn report_data(
        circle: CircleId,
        label: &LabelName,
        epoch: u64,
        one_time_key: &[u8; 32],
        block: Digest,
        payload: Option<&PayloadHolder>,
    ) -> Digest {
        let label = label.bytes(circle, epoch);
        match payload {
            None => Digest::tagged(
                "ringfort/key-request-report-data/1",
                &[&label, one_time_key, &block.0],
            ),
            Some(payload) => Digest::tagged(
                "ringfort/payload-key-request-report-data/1",
                &[
                    &label,
                    one_time_key,
                    &block.0,
                    &payload.contract.0,
                    &payload.user_agreement,
                    &payload.payload_sha256.0,
                ],
            ),
        }
    }
}

/// A keykeeper's answer to a request. Free of charge for who is asked.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct AnswerKey {
    /// Which request.
    pub request: KeyRequestId,
    /// A signature share, sealed to the request's one-time key; at most
    /// [`crate::limits::MAX_KEY_ANSWER_BYTES`].
    #[serde(with = "hex::serde")]
    pub sealed: Vec<u8>,
}

/// Says under which key the sender, a member with a vote, keeps pieces of
/// keykeepers' shares; or that it keeps none any more.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct SetEscrowKey {
    /// An X25519 key, of no other member; none to hold no pieces.
    pub key: Option<EscrowKey>,
}

/// A keykeeper in office puts its share in escrow among the members.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct PostEscrow {
    /// The round that dealt the share.
    pub round: u64,
    /// [`crate::record::EscrowHolders::digest`] of those it is for.
    pub holders: Digest,
    /// The escrow, as `threshold` encodes it; at most
    /// [`crate::limits::MAX_KEY_ESCROW_BYTES`].
    #[serde(with = "hex::serde")]
    pub escrow: Vec<u8>,
}

/// An X25519 key of a member's escrow.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(transparent)]
pub struct EscrowKey(#[serde(with = "hex::serde")] pub [u8; 32]);

/// What the evidence of a process that restores a keykeeper binds: circle,
/// keykeeper and the X25519 key to which members hand their pieces over.
pub fn key_recovery_report_data(circle: CircleId, keeper: &PublicKey, key: &[u8; 32]) -> Digest {
    Digest::tagged(
        "ringfort/keykeeper-recovery-report-data/1",
        &[&circle.0, keeper.bytes(), key],
    )
}
