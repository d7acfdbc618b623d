//! What a transaction can do: one variant for each action, one file for each
//! module of the ledger.
//!
//! The discriminants are part of the wire format; every module has a range of
//! its own so that a later action finds a place beside its siblings.

mod certificates;
mod enclaves;
mod hosts;
mod keys;
mod locks;
mod market;
mod members;
mod name_key;
mod name_sale;
mod name_servers;
mod names;
mod notary;
mod zones;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

pub use certificates::{
    AcmeAccountChange, AcmeAccountOpen, AcmeFinalize, AcmeIssue, AcmeOrderOpen, AcmeValidate,
    CertificateSerial, CertifiedName, OwnerBinding, PublishAuthority, PublishIntermediate,
    RevokeCertificate, Validation, acme_dns_text, acme_key_authorization, acme_token,
};
pub use enclaves::{EnclaveKeys, Evidence, EvidenceKind, IssueCertificate, RegisterEnclave};
pub use hosts::{HostResult, RecordAppraisal};
pub use keys::{
    AnswerKey, EscrowKey, GrantLabel, HolderPolicy, KeyPhase, LabelName, PayloadHolder, PostEscrow,
    PostKeyRound, RegisterKeykeeper, RequestKey, RotateLabel, SetEscrowKey,
    key_recovery_report_data,
};
pub use locks::{Condition, LockFunds, UnlockFunds, Witness};
pub use market::{
    Beat, CipherSuite, CloseRequest, CompleteJob, EndContract, EndReason, FundRequest,
    HandshakeMessage, HandshakeStep, Heartbeat, OfferTerms, Operate, Operation, Outcome,
    PayloadKind, PayloadReference, PostOffer, PostOutcome, PostRequest, RequestTerms, Resources,
    ServiceEndpoint, WithdrawOffer,
};
pub use members::{
    AttestValidator, Change, Deal, Fact, JoinRequest, MemberRole, MemberTerms, MemberUpdate,
    Policy, Propose, SeatReplacement, Subject, ValidatorPolicy, ValidatorSeat, Vote,
};
pub use name_key::{NameRecover, NameRotate, NameVeto};
pub use name_sale::{NameAcceptBid, NameBid, NameBuy, NameSell, NameWithdrawBid, Sale};
pub use name_servers::{
    CertifyNameServer, NAME_SERVER_LABEL, NameServerPorts, NameServerTerms, RegisterNameServer,
};
pub use names::{
    NameCancel, NameCommit, NameRenew, NameReveal, NameSecure, NameSet, NameTransfer, NameUpdate,
    RecordSet, ServerKey, name_commitment,
};
pub use notary::Notarise;
pub use zones::{KEY_SIGNING_FLAGS, SetZone, ZONE_SIGNING_FLAGS, ZoneKey, ZoneServer};

use crate::{AccountId, Amount};

/// Moves `amount` from the sender to `to`; an account exists once it holds something.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Transfer {
    /// Who receives.
    pub to: AccountId,
    /// How much; not zero.
    pub amount: Amount,
}

/// One action of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Action {
    /// Accounts: move funds.
    Transfer(Transfer) = 0x01,
    /// Locks: lock funds under a condition.
    LockFunds(LockFunds) = 0x08,
    /// Locks: spend a lock.
    UnlockFunds(UnlockFunds) = 0x09,

    /// Names: commit to a name without showing it.
    NameCommit(NameCommit) = 0x10,
    /// Names: show the name and register it.
    NameReveal(NameReveal) = 0x11,
    /// Names: replace RRsets.
    NameSet(NameSet) = 0x12,
    /// Names: add to the deposit that rent is drawn from.
    NameRenew(NameRenew) = 0x13,
    /// Names: give the name up; what is left of the deposit comes back.
    NameCancel(NameCancel) = 0x14,
    /// Names: hand the name to another key.
    NameTransfer(NameTransfer) = 0x15,
    /// Names: set or remove the key of one server of a name.
    NameSecure(NameSecure) = 0x16,
    /// Names: put a name up for sale at a price, or take it back.
    NameSell(NameSell) = 0x17,
    /// Names: buy a name that is for sale.
    NameBuy(NameBuy) = 0x18,
    /// Names: bid for a name, with the amount in escrow.
    NameBid(NameBid) = 0x19,
    /// Names: take a bid back.
    NameWithdrawBid(NameWithdrawBid) = 0x1a,
    /// Names: accept a bid.
    NameAcceptBid(NameAcceptBid) = 0x1b,
    /// Names: change a name's primary key and nothing else.
    NameRotate(NameRotate) = 0x1c,
    /// Names: a member's vote to recover a name whose key is lost.
    NameRecover(NameRecover) = 0x1d,
    /// Names: end a recovery.
    NameVeto(NameVeto) = 0x1e,
    /// See [`NameUpdate`].
    NameUpdate(NameUpdate) = 0x1f,

    /// Notary: record the digest of a data item.
    Notarise(Notarise) = 0x50,

    /// Hosts: record what an appraisal of one came to.
    RecordAppraisal(RecordAppraisal) = 0x58,

    /// Market: offer capacity.
    PostOffer(PostOffer) = 0x20,
    /// Market: take an offer back; running contracts go on.
    WithdrawOffer(WithdrawOffer) = 0x21,
    /// Market: ask for a payload to be run; opens the first operation, `start`.
    PostRequest(PostRequest) = 0x22,
    /// Market: add to a request's escrow.
    FundRequest(FundRequest) = 0x23,
    /// Market: `stop` or `start` a request's replicas.
    Operate(Operate) = 0x24,
    /// Market: end a request and all its contracts; the rest of the escrow comes back.
    CloseRequest(CloseRequest) = 0x25,
    /// Market: a sealed message of procedures 100/200.
    HandshakeMessage(HandshakeMessage) = 0x26,
    /// Market: the enclave's answer to an operation.
    PostOutcome(PostOutcome) = 0x27,
    /// Market: enclaves' signs of life; each is paid to the block it names.
    Heartbeat(Heartbeat) = 0x28,
    /// Market: a job's end, with where its encrypted output is.
    CompleteJob(CompleteJob) = 0x29,
    /// Market: the provider ends a contract and says why.
    EndContract(EndContract) = 0x2a,

    /// Enclaves: register an enclave's keys and evidence for a contract.
    RegisterEnclave(RegisterEnclave) = 0x30,
    /// Enclaves: a certificate authority of the circle records what it issued.
    IssueCertificate(IssueCertificate) = 0x31,

    /// Zones: a zone signer sets an apex' keys, name servers and times.
    SetZone(SetZone) = 0x38,
    /// Members: put a change of the circle to the vote.
    Propose(Propose) = 0x40,
    /// Members: vote on a proposal; the deciding vote enacts it.
    Vote(Vote) = 0x41,
    /// Members: a validator's dealing in the resharing that is under way.
    Deal(Deal) = 0x42,
    /// Members: a validator shows which code it runs.
    AttestValidator(AttestValidator) = 0x43,

    /// Name servers: say where one answers and under which key.
    RegisterNameServer(RegisterNameServer) = 0x48,
    /// Name servers: a certificate authority records what it issued for one.
    CertifyNameServer(CertifyNameServer) = 0x49,
    /// Certificates: an authority publishes its root.
    PublishAuthority(PublishAuthority) = 0x60,
    /// Certificates: an authority publishes a domain's intermediate.
    PublishIntermediate(PublishIntermediate) = 0x61,
    /// Certificates: an authority opens an ACME account.
    AcmeAccountOpen(AcmeAccountOpen) = 0x62,
    /// Certificates: an authority changes an ACME account.
    AcmeAccountChange(AcmeAccountChange) = 0x63,
    /// Certificates: an authority opens an ACME order.
    AcmeOrderOpen(AcmeOrderOpen) = 0x64,
    /// Certificates: an authority records how a name was validated.
    AcmeValidate(AcmeValidate) = 0x65,
    /// Certificates: an authority fixes the key of an order's certificate.
    AcmeFinalize(AcmeFinalize) = 0x66,
    /// Certificates: an authority records the certificate of an order.
    AcmeIssue(AcmeIssue) = 0x67,
    /// Certificates: an authority or a name's owner revokes a certificate.
    RevokeCertificate(RevokeCertificate) = 0x68,

    /// Keys: register as a keykeeper, with evidence.
    RegisterKeykeeper(RegisterKeykeeper) = 0x70,
    /// Keys: a keykeeper's message in the round that is under way.
    PostKeyRound(PostKeyRound) = 0x71,
    /// Keys: grant a label.
    GrantLabel(GrantLabel) = 0x72,
    /// Keys: begin a label's next epoch.
    RotateLabel(RotateLabel) = 0x73,
    /// Keys: ask for a label's key.
    RequestKey(RequestKey) = 0x74,
    /// Keys: a keykeeper's answer to a request.
    AnswerKey(AnswerKey) = 0x75,
    /// Keys: a member's key for pieces of keykeepers' shares.
    SetEscrowKey(SetEscrowKey) = 0x76,
    /// Keys: a keykeeper's share in escrow.
    PostEscrow(PostEscrow) = 0x77,
}

impl Action {
    /// The action's name as receipts, logs and the API give it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Transfer(_) => "transfer",
            Self::LockFunds(_) => "lock_funds",
            Self::UnlockFunds(_) => "unlock_funds",
            Self::NameCommit(_) => "name_commit",
            Self::NameReveal(_) => "name_reveal",
            Self::NameSet(_) => "name_set",
            Self::NameRenew(_) => "name_renew",
            Self::NameCancel(_) => "name_cancel",
            Self::NameTransfer(_) => "name_transfer",
            Self::NameSecure(_) => "name_secure",
            Self::NameSell(_) => "name_sell",
            Self::NameBuy(_) => "name_buy",
            Self::NameBid(_) => "name_bid",
            Self::NameWithdrawBid(_) => "name_withdraw_bid",
            Self::NameAcceptBid(_) => "name_accept_bid",
            Self::NameRotate(_) => "name_rotate",
            Self::NameRecover(_) => "name_recover",
            Self::NameVeto(_) => "name_veto",
            Self::NameUpdate(_) => "name_update",
            Self::Notarise(_) => "notarise",
            Self::RecordAppraisal(_) => "record_appraisal",
            Self::PostOffer(_) => "post_offer",
            Self::WithdrawOffer(_) => "withdraw_offer",
            Self::PostRequest(_) => "post_request",
            Self::FundRequest(_) => "fund_request",
            Self::Operate(_) => "operate",
            Self::CloseRequest(_) => "close_request",
            Self::HandshakeMessage(_) => "handshake_message",
            Self::PostOutcome(_) => "post_outcome",
            Self::Heartbeat(_) => "heartbeat",
            Self::CompleteJob(_) => "complete_job",
            Self::EndContract(_) => "end_contract",
            Self::RegisterEnclave(_) => "register_enclave",
            Self::IssueCertificate(_) => "issue_certificate",
            Self::SetZone(_) => "set_zone",
            Self::RegisterNameServer(_) => "register_name_server",
            Self::CertifyNameServer(_) => "certify_name_server",
            Self::RegisterKeykeeper(_) => "register_keykeeper",
            Self::PostKeyRound(_) => "post_key_round",
            Self::GrantLabel(_) => "grant_label",
            Self::RotateLabel(_) => "rotate_label",
            Self::RequestKey(_) => "request_key",
            Self::AnswerKey(_) => "answer_key",
            Self::SetEscrowKey(_) => "set_escrow_key",
            Self::PostEscrow(_) => "post_escrow",
            Self::Propose(_) => "propose",
            Self::Vote(_) => "vote",
            Self::Deal(_) => "deal",
            Self::AttestValidator(_) => "attest_validator",
            Self::PublishAuthority(_) => "publish_authority",
            Self::PublishIntermediate(_) => "publish_intermediate",
            Self::AcmeAccountOpen(_) => "acme_account_open",
            Self::AcmeAccountChange(_) => "acme_account_change",
            Self::AcmeOrderOpen(_) => "acme_order_open",
            Self::AcmeValidate(_) => "acme_validate",
            Self::AcmeFinalize(_) => "acme_finalize",
            Self::AcmeIssue(_) => "acme_issue",
            Self::RevokeCertificate(_) => "revoke_certificate",
        }
    }
}
