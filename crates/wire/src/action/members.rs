//! Members: who belongs to the circle, what they propose and how they vote,
//! and the dealings by which validators hand their shares on.
//!
//! A change of the circle is a value ([`Change`]); a proposal puts it to the
//! vote under the policy of its [`Subject`]. What a change does is the
//! ledger's to say (docs/spec/members.md).

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use super::Evidence;
use crate::{
    AccountId, CircleId, Digest, EvidenceRules, Height, Parameters, ProposalId, PublicKey,
    ReferenceValue, Signature, SigningKey,
};

/// What a member does for the circle.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum MemberRole {
    /// Neither votes nor validates: a device that is known to the circle.
    Observer = 0,
    /// Votes.
    Voter = 1,
    /// Votes, and runs a validator.
    Validator = 2,
}

impl MemberRole {
    /// Whether the member has a vote.
    pub fn votes(self) -> bool {
        self != Self::Observer
    }
}

/// Something that is said of a member's device, such as `("sensor", "fingerprint")`.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Fact {
    /// What it is about; once in a list.
    pub name: String,
    /// What is said.
    pub value: String,
}

/// A validator's place on the network.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ValidatorSeat {
    /// Its identity among validators; Ed25519.
    pub key: PublicKey,
    /// Where others dial it, `host:port`; empty for a founder whose address
    /// the others' configurations give.
    pub address: String,
}

/// Everything about a member but its account.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct MemberTerms {
    /// Its name, for people.
    pub name: String,
    /// What it does.
    pub role: MemberRole,
    /// How well its device is protected, as the circle judges it; higher is better.
    pub level: u8,
    /// What is said of its device, ascending by name.
    pub facts: Vec<Fact>,
    /// Where and as whom it validates; needed for the role of a validator.
    pub seat: Option<ValidatorSeat>,
    /// Evidence of the code that it runs; kept, not yet appraised.
    pub evidence: Option<Evidence>,
}

/// A request to become a member, signed by every key that it names, so that
/// nobody is made a member, and no key is claimed, without its holder.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The key of the member's account, with which it votes.
    pub key: PublicKey,
    /// What it asks to be.
    pub terms: MemberTerms,
    /// By `key`, over [`JoinRequest::message`].
    pub signature: Signature,
    /// By the seat's key, over the same; present if there is a seat.
    pub seat_signature: Option<Signature>,
}

impl JoinRequest {
    /// The purpose for which a request's keys sign.
    pub const PURPOSE: &'static str = "ringfort/join/1";

    /// What the request's keys sign: the circle, the account's key and the terms.
    pub fn message(circle: CircleId, key: &PublicKey, terms: &MemberTerms) -> Vec<u8> {
        borsh::to_vec(&(circle, key, terms)).expect("a request always encodes")
    }

    /// A request with the signatures of the account's key and the seat's.
    ///
    /// Shape: `seat_key` is there if and only if the terms have a seat.
    pub fn sign(
        circle: CircleId,
        key: &SigningKey,
        seat_key: Option<&SigningKey>,
        terms: MemberTerms,
    ) -> Self {
        let message = Self::message(circle, &key.public(), &terms);
        Self {
            key: key.public(),
            signature: key.sign(Self::PURPOSE, &message),
            seat_signature: seat_key.map(|key| key.sign(Self::PURPOSE, &message)),
            terms,
        }
    }

    /// Whether every key that the request names has signed it for `circle`.
    pub fn is_signed(&self, circle: CircleId) -> bool {
        let message = Self::message(circle, &self.key, &self.terms);
        let seat = match (&self.terms.seat, &self.seat_signature) {
            (None, None) => true,
            (Some(seat), Some(signature)) => {
                seat.key.verify(Self::PURPOSE, &message, signature).is_ok()
            }
            _ => false,
        };
        seat && self
            .key
            .verify(Self::PURPOSE, &message, &self.signature)
            .is_ok()
    }
}

/// Changes to a member; what is `None` stays.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct MemberUpdate {
    /// A new role.
    pub role: Option<MemberRole>,
    /// A new level.
    pub level: Option<u8>,
    /// New facts, whole.
    pub facts: Option<Vec<Fact>>,
    /// A new address of its validator.
    pub address: Option<String>,
}

/// A validator's new key, signed by that key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct SeatReplacement {
    /// Whose.
    pub member: AccountId,
    /// The new seat.
    pub seat: ValidatorSeat,
    /// By the new seat's key, over [`SeatReplacement::message`].
    pub signature: Signature,
}

impl SeatReplacement {
    /// The purpose for which the new key signs.
    pub const PURPOSE: &'static str = "ringfort/seat/1";

    /// What the new key signs: the circle, the member and the seat.
    pub fn message(circle: CircleId, member: AccountId, seat: &ValidatorSeat) -> Vec<u8> {
        borsh::to_vec(&(circle, member, seat)).expect("a seat always encodes")
    }
}

/// How a kind of change is decided.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Policy {
    /// More than half of the members that vote.
    Majority = 0,
    /// At least this many of the members that vote, or all if they are fewer.
    Threshold {
        /// How many; not zero.
        need: u16,
    } = 1,
    /// One member of at least this level, drawn at random. Refused until
    /// blocks carry randomness that nobody can bias.
    RandomOfLevel {
        /// The level.
        level: u8,
    } = 2,
    /// Any one member of at least this level.
    AnyOfLevel {
        /// The level.
        level: u8,
    } = 3,
}

/// A kind of change, of which each has a policy.
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
pub enum Subject {
    /// A member joins.
    AddMember = 0,
    /// A member leaves.
    RemoveMember = 1,
    /// A member's role, level, facts or address.
    UpdateMember = 2,
    /// A validator's key, and a new sharing of the circle's.
    ReplaceSeat = 3,
    /// The rules in numbers.
    Parameters = 4,
    /// Which enclave code is admitted, and what evidence must show besides.
    Code = 5,
    /// Who may record certificates, set a zone's keys or hold shares of the
    /// master secret.
    Authorities = 6,
    /// How a kind of change is decided.
    Policy = 7,
    /// Which version of the rules is in force.
    Upgrade = 8,
    /// A name goes to the key that its owner lost the former one for: by votes
    /// of its own and after a delay ([`crate::NameRecover`]), not by a proposal.
    Names = 9,
}

/// What a proposal would change.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Change {
    /// A member joins.
    AddMember(Box<JoinRequest>) = 0,
    /// A member leaves.
    RemoveMember(AccountId) = 1,
    /// A member's role, level, facts or address change.
    UpdateMember {
        /// Whose.
        member: AccountId,
        /// What.
        update: MemberUpdate,
    } = 2,
    /// A validator gets another key.
    ReplaceSeat(SeatReplacement) = 3,
    /// The rules in numbers become these.
    SetParameters(Box<Parameters>) = 4,
    /// Enclave code is admitted.
    AdmitCode(ReferenceValue) = 5,
    /// Enclave code is no longer admitted; contracts that run it go on.
    ExpelCode(ReferenceValue) = 6,
    /// An account may record certificates.
    AddAuthority(AccountId) = 7,
    /// An account may no longer record certificates.
    RemoveAuthority(AccountId) = 8,
    /// A kind of change is decided in another way.
    SetPolicy {
        /// Which kind.
        subject: Subject,
        /// How.
        policy: Policy,
    } = 9,
    /// From a height on, all nodes follow another version of the rules.
    Upgrade {
        /// The version; above the one in force.
        version: u32,
        /// The first height at which it is in force.
        height: Height,
    } = 10,
    /// An account may set a zone's keys.
    AddZoneSigner(AccountId) = 11,
    /// An account may no longer set a zone's keys.
    RemoveZoneSigner(AccountId) = 12,
    /// What evidence must show besides becomes this.
    SetEvidence(Box<EvidenceRules>) = 13,
    /// What validators must show of the code that they run becomes this.
    SetValidatorPolicy(ValidatorPolicy) = 14,
    /// The circle's key is shared anew at the next epoch, even if the validators
    /// stay: old shares become useless, and who lost its own gets another.
    Reshare = 15,
    /// Shares of the circle's master secret are dealt to these keykeepers: a
    /// first key is made, or the secret is handed on.
    SetKeykeepers {
        /// Ed25519 keys of keykeepers that registered; ascending.
        keepers: Vec<PublicKey>,
        /// How many blocks each phase of a round lasts at most.
        window: u32,
    } = 32,
}

impl Change {
    /// The kind of change, which says by which policy it is decided.
    pub fn subject(&self) -> Subject {
        match self {
            Self::AddMember(_) => Subject::AddMember,
            Self::RemoveMember(_) => Subject::RemoveMember,
            Self::UpdateMember { .. } => Subject::UpdateMember,
            Self::ReplaceSeat(_) | Self::Reshare => Subject::ReplaceSeat,
            Self::SetParameters(_) => Subject::Parameters,
            Self::AdmitCode(_)
            | Self::ExpelCode(_)
            | Self::SetEvidence(_)
            | Self::SetValidatorPolicy(_) => Subject::Code,
            Self::AddAuthority(_)
            | Self::RemoveAuthority(_)
            | Self::AddZoneSigner(_)
            | Self::RemoveZoneSigner(_)
            | Self::SetKeykeepers { .. } => Subject::Authorities,
            Self::SetPolicy { .. } => Subject::Policy,
            Self::Upgrade { .. } => Subject::Upgrade,
        }
    }
}

/// Puts a change to the vote; the sender, a member that votes, approves of it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Propose {
    /// What would change.
    pub change: Change,
}

/// A member's vote; the one that decides a proposal also enacts it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Vote {
    /// On what.
    pub proposal: ProposalId,
    /// For it or against it.
    pub approve: bool,
}

/// What a validator must show to be in office.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct ValidatorPolicy {
    /// Code of which it must show that it runs one; all admitted by the circle,
    /// each once. None: nothing has to be shown.
    pub codes: Vec<ReferenceValue>,
    /// Blocks for which evidence counts.
    pub renew_within: u64,
}

/// A validator's evidence of the code that it runs; from its seat's key or its
/// member's. It replaces the evidence before.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct AttestValidator {
    /// The height of the recent block to which the evidence is bound.
    pub block: Height,
    /// Over [`AttestValidator::report_data`].
    pub evidence: Evidence,
}

impl AttestValidator {
    /// What the evidence is bound to: the circle, the key of the seat, and a
    /// recent block, so that evidence cannot be kept for later.
    pub fn report_data(circle: CircleId, seat: &PublicKey, block: Digest) -> Digest {
        let parts: [&[u8]; 3] = [&circle.0, seat.bytes(), &block.0];
        Digest::tagged("ringfort/validator-report-data/1", &parts)
    }
}

/// A validator's part in the resharing that is under way: what it dealt, as
/// the engine encodes and signs it. Free of charge for validators in office.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Deal {
    /// The resharing's number.
    pub round: u64,
    /// The dealing, public as a whole; at most
    /// [`crate::limits::MAX_DEALING_BYTES`].
    #[serde(with = "hex::serde")]
    pub dealing: Vec<u8>,
}
