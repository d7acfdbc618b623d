//! Receipts, rejects and events: what became of a transaction, and what a
//! watcher hears of a block.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{
    AccountId, Amount, CertificateSerial, ContractId, Digest, DomainName, EndReason, HandshakeStep,
    Height, KeyRequestId, LabelName, LockId, OfferId, Operation, Outcome, ProposalId, PublicKey,
    RequestId, TransactionId,
};

/// Declares [`Reject`] with its stable numbers, names and sentences.
macro_rules! rejects {
    ($($(#[$doc:meta])* $number:literal $name:ident = $text:literal,)*) => {
        /// An outcome of the protocol: why a transaction changed nothing but its fee.
        ///
        /// The numbers are part of consensus and are never used again for
        /// something else.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
            BorshSerialize, BorshDeserialize, Serialize, Deserialize,
        )]
        #[borsh(use_discriminant = true)]
        #[serde(rename_all = "snake_case")]
        #[repr(u8)]
        pub enum Reject {
            $($(#[$doc])* $name = $number,)*
        }

        impl Reject {
            /// Every reject, ascending by number.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// What went wrong, in a sentence that says what to do.
            pub fn describe(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

rejects! {
    /// Envelope.
    1 SequenceMismatch = "the sequence is not the account's next one: read the account and sign again",
    /// Envelope.
    2 Expired = "the transaction's last height has passed: sign again with a later one",
    /// Envelope.
    3 FeeLimitTooLow = "the fee is above the transaction's fee limit: raise the limit",
    /// Accounts.
    4 InsufficientBalance = "the account does not hold enough",
    /// Any.
    5 AmountOutOfRange = "an amount is zero or too large",
    /// Any.
    6 LimitExceeded = "a list, text or byte string is over its limit",
    /// Any.
    7 NotOwner = "the sender is not the owner",

    /// Locks.
    10 LockNotFound = "there is no such lock, or it is spent",
    /// Locks.
    11 ConditionMalformed = "the condition tree is too deep, too large or can never hold",
    /// Locks.
    12 ConditionNotMet = "the witness does not satisfy the lock's condition",
    /// Locks.
    13 WitnessUnused = "the witness holds an item that the condition does not ask for or that does not verify",

    /// Names.
    20 NameOutsideApex = "a name is one label beneath an apex of this circle",
    /// Names.
    21 NameReserved = "the name is reserved",
    /// Names.
    22 NameTaken = "the name is registered",
    /// Names.
    23 NameNotFound = "the name is not registered",
    /// Names.
    24 NameSuspended = "the name's rent is not paid: renew it first",
    /// Names.
    25 CommitmentNotFound = "there is no such commitment: commit first, with the same name, owner and nonce",
    /// Names.
    26 CommitmentTooYoung = "the commitment is too young to be revealed: wait for the circle's reveal_after",
    /// Names.
    27 CommitmentExpired = "the commitment is too old to be revealed: commit again",
    /// Names.
    28 DepositTooSmall = "the deposit does not cover the circle's least number of rent periods",
    /// Names.
    29 RecordMalformed = "a record set is not allowed: wrong data, owner or type",
    /// Names.
    30 CommitmentExists = "the commitment is already recorded; its time is not reset",

    /// Names.
    31 LabelInvalid = "the label is no valid A-label or plain label under IDNA2008, or holds characters that names here may not",
    /// Names.
    32 LabelMixesScripts = "the label mixes scripts or number systems",
    /// Names.
    33 NameConfusable = "the name looks like one of another owner's; to hand over a name, first cancel those of yours that look like it",
    /// Names.
    34 NameNotForSale = "the name is not for sale, not to this account, or no longer",
    /// Names.
    35 PriceChanged = "the price or the bid is another one by now: read it again",
    /// Names.
    36 BidNotFound = "there is no such bid, or it has expired",
    /// Names.
    37 TermsOutOfRange = "the height at which it expires has passed or is too far ahead, or the name is the sender's own",
    /// Names.
    38 NotMember = "the sender is not a member of this circle",
    /// Names.
    39 RecoveryNotFound = "nobody votes on a recovery of the name",

    /// Market.
    40 OfferNotFound = "there is no such offer",
    /// Market.
    41 OfferMalformed = "the offer contradicts itself: see the market rules for its fields",
    /// Market.
    42 RequestNotFound = "there is no such request",
    /// Market.
    43 RequestMalformed = "the request contradicts itself: see the market rules for its fields",
    /// Market.
    44 RequestClosed = "the request is closed",
    /// Market.
    45 EscrowTooSmall = "the escrow does not pay one block for each replica",
    /// Market.
    46 ContractNotFound = "there is no such contract",
    /// Market.
    47 ContractEnded = "the contract has ended",
    /// Market.
    48 NotParty = "the sender is not the party whose step this is",
    /// Market.
    49 WrongOperation = "the message is for another operation of the contract",
    /// Market.
    50 WrongStage = "the step was taken already or its turn has not come",
    /// Market.
    51 OperationInProgress = "an operation is in progress: wait for its outcome",
    /// Market.
    52 NothingToDo = "the request is already in that state",
    /// Market.
    53 EnclaveSignature = "the enclave's signature does not verify",
    /// Market.
    54 HeartbeatStale = "the heartbeat names a height that is settled, too old or not yet made",
    /// Market.
    55 HeartbeatBlock = "the heartbeat names a block that is not on this chain",
    /// Market.
    56 NotRunning = "the contract's payload does not run",
    /// Market.
    57 ReasonNotAllowed = "a provider cannot give this reason",
    /// Market.
    58 NotAJob = "the contract's payload is not a job",
    /// Market.
    59 NameNotOwned = "the request's name is not registered to the sender",
    /// Market.
    60 NameInUse = "the request's name serves another open request",

    /// Enclaves.
    80 EvidenceMalformed = "the evidence does not decode or verify",
    /// Enclaves.
    81 EvidenceNotAdmitted = "the circle does not admit this kind of evidence or this code",
    /// Enclaves.
    82 EvidenceNotAccepted = "the request does not accept this kind of evidence or this code",
    /// Enclaves.
    83 ReportDataMismatch = "the evidence is for other keys, another contract or another user",
    /// Enclaves.
    84 KeysMalformed = "the enclave's keys are malformed",
    /// Enclaves.
    85 NotAuthority = "the sender is not a certificate authority of this circle",
    /// Enclaves.
    86 CertificateNotWanted = "the contract waits for no certificate",
    /// Enclaves.
    87 CertificateMalformed = "the certificate is empty, too large or already expired",

    /// Certificates.
    88 CertificateLimit = "the name has as many certificates as it may: wait until some expire",
    /// Certificates.
    89 CertificateNotFound = "there is no such certificate, or it is revoked already",
    /// Certificates.
    90 AcmeAccountNotFound = "there is no such ACME account, or it is deactivated",
    /// Certificates.
    91 AcmeAccountExists = "there is an ACME account with that key",
    /// Certificates.
    92 AcmeBindingInvalid = "the binding is not signed by the owner it names, is over a day old, or it or a newer one was used",
    /// Certificates.
    93 AcmeOrderNotFound = "there is no such order, or it has expired",
    /// Certificates.
    94 AcmeOrderState = "the order is in another state: this step was taken or its turn has not come",
    /// Certificates.
    95 AcmeNamesRefused = "an order's names are at or beneath one registered name of this circle, ascending, each once",
    /// Certificates.
    96 AcmeNotProven = "the ledger's own records do not show what the challenge asks for",
    /// Certificates.
    97 CertificateForbidden = "the name's CAA records do not let this circle's authority issue: add \"0 issue\" with the apex, or remove them",
    /// Names.
    98 UpdateMalformed = "the message is no update that could be applied: one zone, one name, and a SIG(0) at the end",
    /// Names.
    99 UpdateSignature = "the update is not signed by the key of the name's owner",
    /// Names.
    100 UpdateTime = "the update's signature does not hold now, or the message or a later one was applied: sign it again",
    /// Names.
    101 UpdatePrerequisite = "a prerequisite of the update does not hold",
    /// Keys.
    104 NotKeykeeper = "the sender is no keykeeper of whom this is asked, or is not registered",
    /// Keys.
    105 KeyRoundClosed = "no round of this number waits for this message",
    /// Keys.
    106 KeyMessageRefused = "the message is not what the round asks for, or it is not true",
    /// Keys.
    107 KeyMessageAgain = "the keykeeper has posted that before",
    /// Keys.
    108 LabelNotFound = "there is no such label",
    /// Keys.
    109 LabelMalformed = "the label's service or its policy is not allowed",

    /// Names.
    110 ConsentInvalid = "the new key's signature does not verify, or it is the key that owns the name",
    /// Notary.
    111 AlreadyNotarised = "the sender has notarised this data item before; the first record stands",

    /// Keys.
    112 LabelExists = "the label is granted already: rotate it instead",
    /// Keys.
    113 HolderNotAdmitted = "the label's policy does not admit who asks",
    /// Keys.
    114 KeyEpochPast = "the epoch is neither the label's present one nor the one before",
    /// Keys.
    115 KeyRequestNotFound = "there is no such request for a key, or its time has passed",
    /// Keys.
    116 KeyRequestStale = "the request names a block that the circle does not remember",
    /// Keys.
    117 NoMasterKey = "the circle has no keykeepers in office",
    /// Keys.
    118 KeyRoundUnderWay = "keykeepers are at work on another change: wait for its end",

    /// Zones.
    120 NotZoneSigner = "the sender is not a zone signer of this circle",
    /// Zones.
    121 ZoneMalformed = "the zone is no apex of this circle, or its keys, servers or times are not allowed",

    /// Name servers.
    130 NotNameServer = "the sender is not a name server of this circle",
    /// Name servers.
    131 NameServerMalformed = "the name server's name, addresses, ports or certificate request are not allowed",
    /// Name servers.
    132 NameServerNotFound = "there is no such name server",
    /// Members.
    140 NoVote = "the sender is no member of the circle that votes",
    /// Members.
    141 ProposalNotFound = "there is no such proposal",
    /// Members.
    142 ProposalClosed = "the proposal is decided or its time has passed",
    /// Members.
    143 AlreadyVoted = "the member has voted on this proposal",
    /// Members.
    144 TooManyProposals = "the member has as many open proposals as it may",
    /// Members.
    145 MemberExists = "the account or the validator's key is a member's already",
    /// Members.
    146 MemberNotFound = "there is no such member",
    /// Members.
    147 MemberMalformed = "the member's terms contradict themselves: see the rules for members",
    /// Members.
    148 NotSigned = "a key that the change names has not signed it",
    /// Members.
    149 LastValidator = "the circle would be left without a validator",
    /// Members.
    150 ParameterFixed = "the parameter is fixed by the genesis, or out of its range",
    /// Members.
    151 NothingChanges = "the circle is already as the change would have it",
    /// Members.
    152 RandomnessUnavailable = "no member can be drawn at random yet: blocks carry no randomness",
    /// Members.
    153 UpgradePast = "the upgrade's version or height is not above the present one",
    /// Members.
    154 NotInCommittee = "the sender is no validator in office",
    /// Members.
    155 NoResharing = "no resharing of this number is under way",
    /// Members.
    156 AlreadyDealt = "the validator has dealt in this resharing",
    /// Hosts.
    157 AppraisalInconsistent = "more entries are known than there are",
}

impl Reject {
    /// The stable number.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl std::fmt::Display for Reject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (reject {})", self.describe(), self.number())
    }
}

impl std::error::Error for Reject {}

/// What became of a transaction.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum TransactionResult {
    /// Every action was applied.
    Applied,
    /// Nothing was applied; only the fee was taken.
    Rejected {
        /// Why.
        reject: Reject,
        /// The action at fault, from 0; none if the envelope was.
        action: Option<u8>,
    },
}

/// The record of a transaction in a block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Receipt {
    /// Which transaction.
    pub transaction: TransactionId,
    /// Who sent it.
    pub sender: AccountId,
    /// The block it is in.
    pub height: Height,
    /// Its place in the block, from 0.
    pub index: u32,
    /// What became of it.
    pub result: TransactionResult,
    /// What it cost.
    pub fee: Amount,
}

/// Something that happened in a block, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Funds moved between accounts.
    Transferred {
        /// Payer.
        from: AccountId,
        /// Payee.
        to: AccountId,
        /// How much.
        amount: Amount,
    },
    /// Funds were locked.
    Locked {
        /// The lock.
        lock: LockId,
        /// How much.
        amount: Amount,
    },
    /// A lock was spent.
    Unlocked {
        /// The lock.
        lock: LockId,
        /// Who received it.
        to: AccountId,
        /// How much.
        amount: Amount,
    },
    /// A name was registered, or its owner, records, endpoints or status changed.
    NameChanged {
        /// The name.
        name: DomainName,
    },
    /// A name is free again.
    NameReleased {
        /// The name.
        name: DomainName,
        /// What came back to its owner.
        refund: Amount,
    },
    /// A name will be suspended unless someone adds to its deposit.
    NameExpiring {
        /// The name.
        name: DomainName,
        /// Whose it is.
        owner: AccountId,
        /// When it will be suspended.
        paid_until: Height,
    },
    /// A name's rent could not be drawn: it ceases to resolve.
    NameSuspended {
        /// The name.
        name: DomainName,
        /// Whose it is.
        owner: AccountId,
        /// When it will be released.
        released_at: Height,
    },
    /// A name was put up for sale, or taken back.
    NameSaleChanged {
        /// The name.
        name: DomainName,
        /// The price; none if it is no longer for sale.
        price: Option<Amount>,
    },
    /// A name was sold: it and the payment changed hands.
    NameSold {
        /// The name.
        name: DomainName,
        /// Who sold.
        seller: AccountId,
        /// Who bought.
        buyer: AccountId,
        /// What was paid.
        price: Amount,
    },
    /// Somebody bid for a name.
    BidPlaced {
        /// The name.
        name: DomainName,
        /// Who bid.
        bidder: AccountId,
        /// What is in escrow.
        amount: Amount,
    },
    /// A bid was replaced, withdrawn or expired; its amount went back.
    BidReturned {
        /// The name.
        name: DomainName,
        /// Who bid.
        bidder: AccountId,
        /// What came back.
        amount: Amount,
    },
    /// A member voted to recover a name.
    RecoveryVoted {
        /// The name.
        name: DomainName,
        /// Whose it is, and who may veto.
        owner: AccountId,
        /// Who voted.
        member: AccountId,
        /// When the votes are void, or their decision takes effect.
        due: Height,
        /// Whether the members have decided.
        decided: bool,
    },
    /// A recovery ended without effect: by veto, or for want of votes.
    RecoveryEnded {
        /// The name.
        name: DomainName,
        /// Whether the owner ended it.
        vetoed: bool,
    },
    /// A name was handed to the key that the members decided on.
    NameRecovered {
        /// The name.
        name: DomainName,
        /// Who owned it.
        from: AccountId,
        /// Who owns it.
        to: AccountId,
    },
    /// A data item was notarised.
    Notarised {
        /// SHA-256 of the item.
        digest: Digest,
        /// Who signed.
        signer: AccountId,
    },
    /// An offer was posted, or its terms or room changed.
    OfferChanged {
        /// The offer.
        offer: OfferId,
    },
    /// A request was posted.
    RequestPosted {
        /// The request.
        request: RequestId,
        /// Who asks.
        user: AccountId,
    },
    /// A replica was matched with an offer.
    Matched {
        /// The contract that binds them.
        contract: ContractId,
        /// The request.
        request: RequestId,
        /// Which replica.
        replica: u16,
        /// The offer.
        offer: OfferId,
        /// Who provides.
        provider: AccountId,
        /// Who uses.
        user: AccountId,
    },
    /// An enclave was registered and admitted.
    EnclaveRegistered {
        /// Its contract.
        contract: ContractId,
        /// Who uses.
        user: AccountId,
    },
    /// An operation was opened on a contract.
    OperationOpened {
        /// The contract.
        contract: ContractId,
        /// Its number.
        operation: u32,
        /// What it is.
        kind: Operation,
    },
    /// A sealed message was accepted.
    MessagePosted {
        /// The contract.
        contract: ContractId,
        /// The operation's number.
        operation: u32,
        /// Which step.
        step: HandshakeStep,
    },
    /// An operation ended.
    OutcomePosted {
        /// The contract.
        contract: ContractId,
        /// The operation's number.
        operation: u32,
        /// How it ended.
        outcome: Outcome,
    },
    /// A provider was paid for service.
    Settled {
        /// The contract.
        contract: ContractId,
        /// Blocks paid for.
        blocks: u64,
        /// How much.
        paid: Amount,
    },
    /// A certificate was recorded.
    CertificateIssued {
        /// The contract.
        contract: ContractId,
        /// The name.
        name: DomainName,
    },
    /// A job ended and its output is stored.
    JobCompleted {
        /// The contract.
        contract: ContractId,
    },
    /// A contract ended.
    ContractEnded {
        /// The contract.
        contract: ContractId,
        /// Its request.
        request: RequestId,
        /// Why.
        reason: EndReason,
        /// What the provider was paid in all.
        paid: Amount,
    },
    /// A request ended.
    RequestClosed {
        /// The request.
        request: RequestId,
        /// Why.
        reason: EndReason,
        /// What came back to its user.
        refund: Amount,
    },
    /// A certificate was logged.
    CertificateLogged {
        /// The registered name.
        domain: DomainName,
        /// The serial number.
        serial: CertificateSerial,
    },
    /// A certificate was revoked.
    CertificateRevoked {
        /// The registered name.
        domain: DomainName,
        /// The serial number.
        serial: CertificateSerial,
        /// Why (RFC 5280 §5.3.1).
        reason: u8,
    },
    /// An ACME order moved.
    AcmeOrderChanged {
        /// Which.
        order: Digest,
    },
    /// A zone's keys, name servers or times were set.
    ZoneChanged {
        /// The zone's apex.
        apex: DomainName,
    },
    /// A name server said something else of itself, or was certified.
    NameServerChanged {
        /// Its account.
        server: AccountId,
        /// Its name.
        name: DomainName,
    },
    /// A proposal was made.
    ProposalOpened {
        /// Which.
        proposal: ProposalId,
    },
    /// A proposal was decided.
    ProposalDecided {
        /// Which.
        proposal: ProposalId,
        /// Whether it took effect.
        enacted: bool,
    },
    /// A member joined, left or changed.
    MemberChanged {
        /// Which.
        member: AccountId,
    },
    /// A resharing began: the target's validators must be up.
    ResharingBegan {
        /// Its number.
        round: u64,
    },
    /// A resharing ended with an epoch.
    ResharingEnded {
        /// Its number.
        round: u64,
        /// How.
        outcome: crate::record::ResharingOutcome,
    },
    /// An epoch began whose committee is another one than before.
    CommitteeChanged {
        /// The epoch.
        epoch: u64,
    },
    /// A keykeeper registered.
    KeykeeperRegistered {
        /// Its key.
        keeper: PublicKey,
    },
    /// A round of keykeepers began, entered its next phase or ended.
    KeyRoundChanged {
        /// Its number.
        round: u64,
    },
    /// A label was granted or its next epoch began.
    LabelChanged {
        /// Which.
        label: LabelName,
        /// Its epoch.
        epoch: u64,
    },
    /// A label's key was asked for: keykeepers answer.
    KeyRequested {
        /// The request.
        request: KeyRequestId,
    },
    /// A keykeeper answered.
    KeyAnswered {
        /// The request.
        request: KeyRequestId,
        /// Who answered.
        keeper: PublicKey,
    },
    /// Fees and rent were shared among the validators.
    PoolPaid {
        /// What each received.
        each: Amount,
    },
    /// A host was appraised.
    HostAppraised {
        /// SHA-256 of the public area of its attestation key.
        host: Digest,
        /// Who says so.
        appraiser: AccountId,
        /// Whether everything was as published.
        clean: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reject_numbers_ascend_and_never_repeat() {
        let numbers: Vec<u8> = Reject::ALL.iter().map(|reject| reject.number()).collect();
        assert!(
            numbers.windows(2).all(|pair| pair[0] < pair[1]),
            "{numbers:?}"
        );
    }
}
