//! How does a lost keykeeper come back in a new protected process?
//!
//! The process makes a key, shows it by evidence, and restores one keykeeper from the
//! pieces that members handed over to that key: its share and its identity, never
//! more. What it believes are proofs of the committee in office and of the escrow.
//! The member's side is [`hand_over`]: it looks at the evidence first.
//!
//! Source: docs/spec/keys.md §12.

use attest::{AppraisalPolicy, Claims, EvidenceError, Moment, Roots};
use borsh::{BorshDeserialize, BorshSerialize};
use rand::{SeedableRng as _, rngs::StdRng};
use threshold::{Committee, EscrowError, EscrowTerms, Keeper};
pub use threshold::{HandedOver, KeeperKey};
use wire::{
    CircleId, CircleKey, CircleKind, Evidence, EvidencePolicy, PublicKey, key_recovery_report_data,
    limits::{MAX_EVIDENCE_BYTES, MAX_MEMBERS},
    record::{KeyCommittee, KeyEscrow, Rules},
    state_key,
};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    channel::FromCore,
    circle::{Reading, decode},
    fresh,
    peers::ANY_KIND,
    proven::prove,
    sealing::{self, Kind},
};

/// A [`RecoveryRequest`]: evidence and three keys.
const MAX_REQUEST_BYTES: usize = MAX_EVIDENCE_BYTES + 1024;

/// Why a keykeeper is not restored, or a piece not handed over.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The sealed key does not open under the sealing key.
    #[error("the sealed recovery key does not open")]
    Sealed,
    /// Proofs that do not hold.
    #[error("the proofs do not hold: {0}")]
    Proofs(String),
    /// The ledger has no committee, or no escrow of this keykeeper's share.
    #[error("the keykeeper is not in office, or has no share in escrow")]
    NoEscrow,
    /// A record of another version.
    #[error("a record on the ledger does not decode: this build is too old")]
    Record,
    /// The request is for another circle.
    #[error("the request is for another circle")]
    Circle,
    /// Evidence that does not verify.
    #[error("the evidence of the new process does not verify")]
    Evidence(#[source] EvidenceError),
    /// Evidence of code that the circle does not admit, or for another key.
    #[error("the evidence of the new process does not satisfy the circle's rules")]
    Appraisal(#[source] attest::AppraisalError),
    /// The escrow or the pieces.
    #[error(transparent)]
    Escrow(#[from] EscrowError),
}

/// What a new process asks the members for; public.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RecoveryRequest {
    /// The circle.
    pub circle: CircleId,
    /// The keykeeper that it is to become.
    pub keeper: KeeperKey,
    /// Its X25519 key.
    pub key: [u8; 32],
    /// Evidence that the key is inside admitted code.
    pub evidence: Evidence,
}

impl RecoveryRequest {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("a request always encodes")
    }

    /// Reads [`Self::encode`]'s form; none for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_REQUEST_BYTES {
            return None;
        }
        Self::try_from_slice(bytes).ok()
    }
}

/// What a process that restores keeps between its two lives.
#[derive(BorshSerialize, BorshDeserialize, Zeroize, ZeroizeOnDrop)]
struct Waiting {
    circle: [u8; 32],
    keeper: KeeperKey,
    secret: [u8; 32],
}

/// The entries that [`restore`] needs proofs of, in order.
pub fn keys(keeper: &KeeperKey) -> Vec<Vec<u8>> {
    vec![
        state_key::key_committee(),
        state_key::key_escrow(&PublicKey::Ed25519(*keeper)),
    ]
}

/// Makes the key to which members hand their pieces over.
pub(crate) fn begin(circle: CircleId, keeper: KeeperKey, sealing_key: &[u8; 32]) -> FromCore {
    let waiting = Waiting {
        circle: circle.0,
        keeper,
        secret: *fresh(),
    };
    let key = threshold::escrow_public(&waiting.secret);
    let bytes = borsh::to_vec(&waiting).map(zeroize::Zeroizing::new);
    let bytes = bytes.expect("three keys always encode");
    FromCore::Recovering {
        key,
        report_data: key_recovery_report_data(circle, &PublicKey::Ed25519(keeper), &key),
        sealed: sealing::seal(Kind::Recovery, sealing_key, &bytes),
    }
}

/// The committee in office, the escrow in it, and for whom that was made.
fn escrow_of(
    circle: CircleId,
    keeper: KeeperKey,
    reading: &Reading,
    first: usize,
) -> Result<(Committee, EscrowTerms, threshold::KeyEscrow), RecoveryError> {
    let broken = |_| RecoveryError::Record;
    let committee: Option<KeyCommittee> = decode(reading, first).map_err(broken)?;
    let escrow: Option<KeyEscrow> = decode(reading, first + 1).map_err(broken)?;
    let (Some(committee), Some(escrow)) = (committee, escrow) else {
        return Err(RecoveryError::NoEscrow);
    };
    if committee.round != escrow.round {
        return Err(RecoveryError::NoEscrow);
    }
    let committee = Committee::decode(&committee.sharing).map_err(|_| RecoveryError::Record)?;
    let terms = EscrowTerms {
        circle,
        keeper,
        round: escrow.round,
        holders: escrow.holders.keys(),
        least: usize::from(escrow.holders.least),
    };
    let escrow = threshold::KeyEscrow::decode(&escrow.escrow).ok_or(RecoveryError::Record)?;
    Ok((committee, terms, escrow))
}

/// Becomes the keykeeper.
///
/// Errors: [`RecoveryError`].
pub(crate) fn restore(
    circle_key: &CircleKey,
    sealing_key: &[u8; 32],
    sealed: &[u8],
    proofs: &[Vec<u8>],
    pieces: &[HandedOver],
) -> Result<Keeper, RecoveryError> {
    let opened = sealing::open(Kind::Recovery, sealing_key, sealed).ok_or(RecoveryError::Sealed)?;
    let waiting = Waiting::try_from_slice(&opened).map_err(|_| RecoveryError::Sealed)?;
    let circle = CircleId(waiting.circle);
    let reading =
        prove(circle, circle_key, &keys(&waiting.keeper), proofs).map_err(RecoveryError::Proofs)?;
    let (committee, terms, escrow) = escrow_of(circle, waiting.keeper, &reading, 0)?;
    // More would be second ones of somebody's.
    let pieces = pieces.get(..MAX_MEMBERS).unwrap_or(pieces);
    Ok(threshold::restore(
        &waiting.secret,
        &committee,
        &terms,
        &escrow,
        pieces,
    )?)
}

/// The entries that [`hand_over`] and [`check_piece`] read, in order.
pub fn member_keys(keeper: &KeeperKey) -> Vec<Vec<u8>> {
    let mut all = vec![state_key::rules()];
    all.extend(keys(keeper));
    all
}

/// A member opens its piece of a keykeeper's share and sees whether it is good.
///
/// Shape:  `reading` is of [`member_keys`], proven.
/// Errors: [`RecoveryError`].
pub fn check_piece(
    circle: CircleId,
    keeper: KeeperKey,
    reading: &Reading,
    secret: &[u8; 32],
) -> Result<(), RecoveryError> {
    let (committee, terms, escrow) = escrow_of(circle, keeper, reading, 1)?;
    threshold::open_piece(secret, &committee, &terms, &escrow)?;
    Ok(())
}

/// A member hands its piece over to a new process, once the evidence of that process
/// satisfies the circle's rules; gives what the evidence claims, for people to read.
///
/// Shape:  `reading` is of [`member_keys`], proven.
/// Errors: [`RecoveryError`].
pub fn hand_over(
    circle: CircleId,
    request: &RecoveryRequest,
    reading: &Reading,
    secret: &[u8; 32],
) -> Result<(HandedOver, Claims), RecoveryError> {
    if request.circle != circle {
        return Err(RecoveryError::Circle);
    }
    let rules: Option<Rules> = decode(reading, 0).map_err(|_| RecoveryError::Record)?;
    let rules = rules.ok_or(RecoveryError::Record)?;
    let roots = Roots {
        development: &rules.development_roots,
        tpm: &rules.evidence.tpm_enrollers,
        ..Roots::default()
    };
    let moment = Moment {
        height: reading.height,
        time_ms: reading.time_ms,
    };
    let claims =
        attest::verify(&request.evidence, &roots, moment).map_err(RecoveryError::Evidence)?;
    let keeper = PublicKey::Ed25519(request.keeper);
    let policy = AppraisalPolicy {
        reference_values: &rules.reference_values,
        circle: &rules.evidence.policy,
        accepted_kinds: ANY_KIND,
        report_data: key_recovery_report_data(circle, &keeper, &request.key),
        measurement: None,
        request: &EvidencePolicy::default(),
        require_host_protection: rules.kind == CircleKind::Production,
    };
    attest::appraise(&claims, &policy).map_err(RecoveryError::Appraisal)?;
    let (committee, terms, escrow) = escrow_of(circle, request.keeper, reading, 1)?;
    let piece = threshold::open_piece(secret, &committee, &terms, &escrow)?;
    let mut entropy = StdRng::from_seed(*fresh());
    let handed = piece.hand_over(&terms, &escrow, &request.key, &mut entropy)?;
    Ok((handed, claims))
}
