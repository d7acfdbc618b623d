//! What do arbitrary sequences consist of? A step is a kind of action and the choices
//! that it makes; the state says whom it would suit, so that most steps are ones that
//! could be accepted, and some are not.
//!
//! The list of kinds is the ledger's: an action that is not in it does not compile.

mod certificates;
mod keys;
mod market;
mod members;
mod names;

use std::{collections::BTreeMap, sync::LazyLock};

use ledger::{Applied, BlockContext, Ceremony, Concluded, ReshareTask};
use proptest::prelude::*;
use threshold::Keeper;
use wire::*;

use crate::world::*;

/// One step of a sequence.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Which action; none: whatever brings some contract forward.
    pub kind: Option<Kind>,
    pub a: u8,
    pub b: u8,
    pub amount: u16,
    /// A byte of the signed transaction that becomes another.
    pub garbled: Option<(u16, u8)>,
}

impl Step {
    /// Whether the step takes choices that the state did not suggest.
    fn is_wild(self) -> bool {
        self.a >= 240
    }

    /// `due`, or anyone at all.
    fn sender(self, due: u8) -> u8 {
        match self.is_wild() {
            true => ANYONE[usize::from(self.b) % ANYONE.len()],
            false => due,
        }
    }

    /// One who has an account and no office.
    fn trader(self) -> u8 {
        [USER, PROVIDER, OTHER_PROVIDER, STRANGER][usize::from(self.a % 4)]
    }
}

/// Who may sign, by the seeds of their keys: traders, the authority, founders,
/// who joins, keykeepers.
const ANYONE: [u8; 14] = [1, 2, 3, 4, 5, 10, 11, 12, 13, 30, 31, 40, 41, 42];

/// Makes the list of kinds, with how often each is tried and what makes it.
macro_rules! kinds {
    ($($kind:ident * $weight:literal => $make:path,)*) => {
        /// Every kind of action.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $($kind),* }

        impl Kind {
            pub const ALL: &[Self] = &[$(Self::$kind),*];
            const WEIGHTS: &[u32] = &[$($weight),*];

            /// No arm takes the rest: an action of the ledger's that is not listed
            /// does not compile.
            pub fn of(action: &Action) -> Self {
                match action { $(Action::$kind(_) => Self::$kind),* }
            }
        }

        fn make(kind: Kind, world: &World, step: Step) -> (u8, Action) {
            match kind { $(Kind::$kind => $make(world, step)),* }
        }
    };
}

kinds! {
    Transfer * 2 => market::transfer,
    LockFunds * 2 => market::lock,
    UnlockFunds * 2 => market::unlock,
    NameCommit * 2 => names::commit,
    NameReveal * 2 => names::reveal,
    NameSet * 3 => names::set,
    NameRenew * 3 => names::renew,
    NameCancel * 1 => names::cancel,
    NameTransfer * 2 => names::transfer,
    NameSecure * 2 => names::secure,
    NameSell * 3 => names::sell,
    NameBuy * 4 => names::buy,
    NameBid * 4 => names::bid,
    NameWithdrawBid * 2 => names::withdraw_bid,
    NameAcceptBid * 4 => names::accept_bid,
    NameRotate * 2 => names::rotate,
    NameRecover * 6 => names::recover,
    NameVeto * 1 => names::veto,
    NameUpdate * 2 => names::update,
    Notarise * 2 => names::notarise,
    RecordAppraisal * 2 => market::record_appraisal,
    PostOffer * 5 => market::post_offer,
    WithdrawOffer * 2 => market::withdraw_offer,
    PostRequest * 6 => market::post_request,
    FundRequest * 2 => market::fund_request,
    Operate * 3 => market::operate,
    CloseRequest * 1 => market::close_request,
    HandshakeMessage * 4 => market::handshake_message,
    PostOutcome * 2 => market::post_outcome,
    Heartbeat * 4 => market::heartbeats,
    CompleteJob * 4 => market::complete_job,
    EndContract * 2 => market::end_contract,
    RegisterEnclave * 4 => market::register_enclave,
    IssueCertificate * 3 => certificates::issue_for_contract,
    SetZone * 2 => certificates::set_zone,
    Propose * 6 => members::propose,
    Vote * 12 => members::vote,
    Deal * 6 => members::deal,
    AttestValidator * 3 => members::attest,
    RegisterNameServer * 2 => certificates::register_name_server,
    CertifyNameServer * 2 => certificates::certify_name_server,
    PublishAuthority * 1 => certificates::publish_authority,
    PublishIntermediate * 2 => certificates::publish_intermediate,
    AcmeAccountOpen * 2 => certificates::open_account,
    AcmeAccountChange * 1 => certificates::change_account,
    AcmeOrderOpen * 4 => certificates::open_order,
    AcmeValidate * 3 => certificates::validate,
    AcmeFinalize * 4 => certificates::finalize,
    AcmeIssue * 4 => certificates::issue,
    RevokeCertificate * 2 => certificates::revoke,
    RegisterKeykeeper * 2 => keys::register,
    PostKeyRound * 4 => keys::post,
    GrantLabel * 2 => keys::grant,
    RotateLabel * 2 => keys::rotate,
    RequestKey * 3 => keys::request,
    AnswerKey * 4 => keys::answer,
    SetEscrowKey * 2 => keys::set_escrow_key,
    PostEscrow * 2 => keys::post_escrow,
}

/// One of the kinds by weight, or, as often, whatever brings a contract forward.
fn kind() -> impl Strategy<Value = Option<Kind>> {
    let all: u32 = Kind::WEIGHTS.iter().sum();
    (0..2 * all).prop_map(|mut place| {
        for (kind, weight) in Kind::ALL.iter().zip(Kind::WEIGHTS) {
            match place.checked_sub(*weight) {
                None => return Some(*kind),
                Some(rest) => place = rest,
            }
        }
        None
    })
}

fn step() -> impl Strategy<Value = Step> {
    let garbled = proptest::option::weighted(1.0 / 24.0, any::<(u16, u8)>());
    let choices = (kind(), any::<u8>(), any::<u8>(), any::<u16>(), garbled);
    choices.prop_map(|(kind, a, b, amount, garbled)| Step {
        kind,
        a,
        b,
        amount,
        garbled,
    })
}

/// Blocks of steps.
pub fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    proptest::collection::vec(proptest::collection::vec(step(), 0..7), 1..60)
}

/// The sender and action that a step stands for in this world.
pub fn action(world: &World, step: Step) -> (u8, Action) {
    let made = match step.kind {
        Some(kind) => make(kind, world, step),
        None => market::next_step(world, step),
    };
    if let Some(kind) = step.kind {
        assert_eq!(Kind::of(&made.1), kind, "a step makes its own kind");
    }
    made
}

/// Signs the steps of one block: each sender's transactions follow one another. One
/// that was garbled beyond reading is none.
pub fn sign_all(world: &World, steps: &[Step]) -> Vec<CheckedTransaction> {
    let mut ahead = [0; 256];
    let mut signed = Vec::new();
    for step in steps {
        let (actor, action) = action(world, *step);
        let ahead = &mut ahead[usize::from(actor)];
        let mut bytes = world.signed_bytes(actor, vec![action], |transaction| {
            transaction.sequence += *ahead;
        });
        match step.garbled {
            Some((at, byte)) => {
                let at = usize::from(at) % bytes.len();
                bytes[at] = byte;
            }
            None => *ahead += 1,
        }
        // Signatures are not looked at, so that changes reach the ledger.
        signed.extend(CheckedTransaction::check_form(&bytes, world.circle));
    }
    signed
}

/// Keykeepers of the worlds here.
const KEEPERS: [u8; 3] = [40, 41, 42];

/// What every sequence begins with, and the keykeepers' secrets.
struct Beginning {
    world: World,
    keepers: BTreeMap<u8, Keeper>,
}

/// A circle in which every module has something: keykeepers with a key and another round
/// under way, members who hold escrow keys and voted for another validator, labels, a name
/// whose rent soon runs out, and an account at the authority. Made once: its key takes
/// real rounds.
static BEGINNING: LazyLock<Beginning> = LazyLock::new(|| {
    let mut world = World::founded_on(&genesis(|genesis| {
        let parameters = &mut genesis.parameters;
        parameters.rent_period = 7;
        parameters.rent_per_period = Amount(500);
        parameters.min_rent_periods = 2;
        parameters.name_grace = 9;
        parameters.name_notice = 3;
        parameters.recovery_delay = 9;
        parameters.max_bid_life = 20;
        parameters.reveal_within = 12;
        parameters.heartbeat_limit = 8;
        parameters.handshake_limit = 9;
        parameters.handshake_limit_ms = 0;
        parameters.closed_kept = 30;
        parameters.max_replacements = 1;
        parameters.epoch_length = EPOCH;
    }));
    let keepers = keys::begin(&mut world);
    members::begin(&mut world);
    certificates::begin(&mut world);
    world.register_name(USER, HELLO).unwrap();
    Beginning { world, keepers }
});

/// Blocks of an epoch: a sequence sees some.
const EPOCH: u64 = 24;

/// The name that most is about.
const HELLO: &str = "hello.internal";

/// A world in which every kind of action can be accepted soon.
pub fn deep_world() -> World {
    let world = &BEGINNING.world;
    World {
        state: world.state.clone(),
        ..*world
    }
}

/// Adopts a resharing, finds a share revealed, or finds too little dealt: all three
/// happen, and what happens follows from the dealings alone.
pub struct Judged;

impl Ceremony for Judged {
    fn conclude(&self, task: &ReshareTask<'_>) -> Option<Concluded> {
        let first = |(_, dealing): &(PublicKey, Vec<u8>)| u64::from(dealing[0]);
        let sum: u64 = task.dealings.iter().map(first).sum();
        let revealed = sum.is_multiple_of(3).then(|| task.players.last().copied());
        (sum % 5 != 1 && !task.dealings.is_empty()).then(|| Concluded {
            sharing: task.round.to_le_bytes().to_vec(),
            revealed: revealed.flatten().into_iter().collect(),
        })
    }
}

/// What the next block would be told.
pub fn context(world: &World) -> BlockContext {
    let height = world.height.plus(1);
    BlockContext {
        height,
        time_ms: World::time_ms(height),
        parent: World::header(world.height),
    }
}

/// Applies the next block without auditing the state.
pub fn advance(world: &mut World, transactions: &[CheckedTransaction]) -> Applied {
    let applied = ledger::apply_with(&world.state, &context(world), transactions, &Judged);
    world.advance(applied.changes.clone());
    applied
}

/// Applies the next block and audits the state: the sum of all amounts, the indexes, and
/// relations between records.
pub fn block(world: &mut World, transactions: &[CheckedTransaction]) -> Applied {
    let applied = advance(world, transactions);
    assert_eq!(applied.receipts.len(), transactions.len());
    if let Err(error) = ledger::audit(&world.state) {
        panic!("after block {}: {error}", world.height);
    }
    applied
}

/// Ids that the state holds under `prefix`.
fn ids(world: &World, prefix: &[u8]) -> Vec<[u8; 32]> {
    under(world, prefix)
        .filter_map(|(key, _)| key[prefix.len()..].try_into().ok())
        .collect()
}

/// Entries that the state holds under `prefix`, ascending.
fn under<'a>(
    world: &'a World,
    prefix: &'a [u8],
) -> impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)> {
    world
        .state
        .range(prefix.to_vec()..)
        .take_while(move |(key, _)| key.starts_with(prefix))
}

fn pick(ids: &[[u8; 32]], choice: u8) -> [u8; 32] {
    match ids.len() {
        0 => [choice; 32],
        length => ids[usize::from(choice) % length],
    }
}

/// The seed of a public key that some actor has.
fn seed_of(public: &PublicKey) -> Option<u8> {
    (1..=60).find(|seed| key(*seed).public() == *public)
}
