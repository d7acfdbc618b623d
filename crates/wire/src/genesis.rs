//! A circle's genesis: who founds it, under which key and rules, and what the
//! ledger holds at height 0.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{
    AccountId, Amount, CircleId, Digest, DomainName, EvidenceKind, EvidenceRules, Measurement,
    Origin, PublicKey, limits::MAX_KEYKEEPERS,
};

/// The circle's one constant public key: a BLS12-381 G2 point, compressed.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct CircleKey(#[serde(with = "hex::serde")] pub [u8; 96]);

impl std::fmt::Display for CircleKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for CircleKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CircleKey({}…)", hex::encode(&self.0[..4]))
    }
}

/// The text is not 192 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a circle key is 192 hex digits")]
pub struct ParseCircleKeyError;

impl std::str::FromStr for CircleKey {
    type Err = ParseCircleKeyError;

    fn from_str(text: &str) -> Result<Self, ParseCircleKeyError> {
        let mut bytes = [0; 96];
        hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| ParseCircleKeyError)?;
        Ok(Self(bytes))
    }
}

/// The shortest epoch: a resharing's messages and dealings need some blocks.
pub const MIN_EPOCH_LENGTH: u64 = 16;

/// Whether a circle may admit development evidence.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum CircleKind {
    /// For development: development roots may be listed.
    Development = 0,
    /// For use: a genesis that lists development roots is refused.
    Production = 1,
}

/// A founding member that validates.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Validator {
    /// Its identity on the network and its account; Ed25519.
    pub key: PublicKey,
    /// Its name, for people.
    pub name: String,
}

/// Enclave code that the circle admits (RFC 9334: a reference value).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct ReferenceValue {
    /// SHA-256 of the code.
    pub measurement: Measurement,
    /// The kind of evidence that may claim it.
    pub kind: EvidenceKind,
}

/// The circle's rules in numbers.
///
/// Units: amounts in base units, times in blocks unless the name says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(default)]
pub struct Parameters {
    /// Fee of a transaction, whatever it does.
    pub fee_per_transaction: Amount,
    /// Fee for each byte of it.
    pub fee_per_byte: Amount,
    /// Every how many blocks rent is drawn and the pool is paid out.
    pub rent_period: u64,
    /// Rent of a name for one period.
    pub rent_per_period: Amount,
    /// The least deposit of a new name, in periods of rent.
    pub min_rent_periods: u64,
    /// Blocks for which a name without rent keeps its owner and ceases to resolve.
    pub name_grace: u64,
    /// Blocks before a name's suspension at which notice of it is given.
    pub name_notice: u64,
    /// Blocks between the members' decision to recover a name and its effect,
    /// in which the owner can veto; also the life of votes that decide nothing.
    pub recovery_delay: u64,
    /// The longest that a bid for a name may stand.
    pub max_bid_life: u64,
    /// Blocks between a commitment and the first block that may reveal it.
    pub reveal_after: u64,
    /// Blocks after which a commitment is void.
    pub reveal_within: u64,
    /// Deposit that a provider leaves with an offer.
    pub offer_deposit: Amount,
    /// Blocks without a heartbeat after which a provider counts as silent.
    pub heartbeat_limit: u64,
    /// Blocks within which each step of a handshake must come.
    pub handshake_limit: u64,
    /// The least time that each step of a handshake has, milliseconds: a busy
    /// circle makes its blocks faster than a payload can be fetched and compiled.
    pub handshake_limit_ms: u64,
    /// Blocks for which a closed request can still be read, with its contracts.
    pub closed_kept: u64,
    /// Replacements that a request's replica gets before the request ends.
    pub max_replacements: u16,
    /// The longest that a request may wait for a match.
    pub max_match_wait: u64,
    /// Blocks for which a proposal can be voted on, and for which it is then kept.
    pub proposal_period: u64,
    /// Blocks of an epoch: validators change at its end only.
    pub epoch_length: u64,
    /// The least time between blocks, milliseconds.
    pub min_block_interval_ms: u64,
    /// The time after which a block without transactions is made, milliseconds.
    pub idle_block_interval_ms: u64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            fee_per_transaction: Amount(10),
            fee_per_byte: Amount(1),
            rent_period: 1000,
            rent_per_period: Amount(100),
            min_rent_periods: 10,
            name_grace: 10_000,
            name_notice: 5000,
            recovery_delay: 20_000,
            max_bid_life: 1_000_000,
            reveal_after: 1,
            reveal_within: 10_000,
            offer_deposit: Amount(10_000),
            heartbeat_limit: 40,
            handshake_limit: 150,
            handshake_limit_ms: 30_000,
            closed_kept: 200_000,
            max_replacements: 3,
            max_match_wait: 10_000,
            proposal_period: 100_000,
            epoch_length: 600,
            min_block_interval_ms: 40,
            idle_block_interval_ms: 250,
        }
    }
}

/// What a circle starts from. Its digest is the circle's id.
///
/// Source: docs/spec/genesis.md.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Genesis {
    /// Version of the form; 1.
    pub version: u8,
    /// The circle's name, for people.
    pub name: String,
    /// Whether development evidence may be admitted.
    pub kind: CircleKind,
    /// When it was made, Unix milliseconds: the time of block 0.
    pub time_ms: u64,
    /// The constant key under which every block is certified.
    pub circle_key: CircleKey,
    /// The public polynomial of the validators' shares, as the engine encodes it.
    #[serde(with = "hex::serde")]
    pub sharing: Vec<u8>,
    /// The founding validators, in the order of their shares.
    pub validators: Vec<Validator>,
    /// Accounts that hold something, ascending.
    pub accounts: Vec<(AccountId, Amount)>,
    /// Apexes beneath which names are registered.
    pub apexes: Vec<DomainName>,
    /// Accounts that may record certificates.
    pub certificate_authorities: Vec<AccountId>,
    /// Accounts that may set a zone's keys.
    pub zone_signers: Vec<AccountId>,
    /// Accounts that may answer DNS in the circle's name.
    pub name_servers: Vec<AccountId>,
    /// Keykeepers that make a first key as soon as they have registered, ascending;
    /// none if the members will vote for them later.
    pub keykeepers: Vec<PublicKey>,
    /// Roots of development evidence; empty unless the kind is development.
    pub development_roots: Vec<PublicKey>,
    /// Enclave code admitted from the start.
    pub reference_values: Vec<ReferenceValue>,
    /// What evidence must show besides.
    pub evidence: EvidenceRules,
    /// The rules in numbers.
    pub parameters: Parameters,
    /// The circle whose state this one takes over; none of a circle that begins
    /// with an empty one.
    #[serde(default)]
    pub origin: Option<Origin>,
}

/// Top-level names that resolvers answer by themselves or never ask for:
/// RFC 6761, 6762 (local), 7686 (onion), 9476 (alt); of `arpa` (RFC 8375, 9462) all.
const SPECIAL_USE: &[&str] = &["alt", "arpa", "invalid", "local", "localhost", "onion"];

/// Why a genesis cannot found a circle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// A version this build does not know.
    #[error("genesis version {0} is not known here")]
    Version(u8),
    /// No validator, or a validator listed twice.
    #[error("a circle has at least one validator, each once")]
    Validators,
    /// No apex, or one listed twice.
    #[error("a circle has at least one apex, each once")]
    Apexes,
    /// An apex that resolvers keep from the domain name system, or a country's.
    #[error(
        "{0} cannot be an apex: it ends in a name for special use (RFC 6761), or is a country's          code; internal, test, or a domain that is delegated to you can"
    )]
    ApexReserved(DomainName),
    /// A balance is zero, listed twice, out of order, or the sum is 2^63 or more.
    #[error("accounts are listed once, ascending, not empty, and sum to less than 2^63")]
    Accounts,
    /// A production circle that would admit development evidence.
    #[error(
        "a production circle must not list development roots or admit development evidence: \
         anyone who holds a development root can forge it"
    )]
    DevelopmentEvidence,
    /// One keykeeper, more than 64, out of order or not Ed25519.
    #[error("founding keykeepers are none or 2 to 64 Ed25519 keys, ascending")]
    Keykeepers,
    /// A policy for evidence that is out of order or over its limits.
    #[error("the evidence policy is out of order or over its limits")]
    EvidencePolicy,
    /// A period or limit of zero, or a reveal window that never opens.
    #[error("parameter {0} is out of range")]
    Parameter(&'static str),
}

impl Genesis {
    /// The version this build writes.
    pub const VERSION: u8 = 1;

    /// The circle's id: a digest over the whole genesis.
    pub fn circle(&self) -> CircleId {
        let bytes = borsh::to_vec(self).expect("a genesis always encodes");
        CircleId(Digest::tagged("ringfort/genesis/1", &[&bytes]).0)
    }

    /// The sum of all amounts, which never changes.
    pub fn supply(&self) -> Amount {
        Amount(self.accounts.iter().map(|(_, amount)| amount.0).sum())
    }

    /// Checks that a circle can be founded on it.
    ///
    /// Errors: [`GenesisError`], naming the first rule that does not hold.
    pub fn check(&self) -> Result<(), GenesisError> {
        if self.version != Self::VERSION {
            return Err(GenesisError::Version(self.version));
        }
        let mut keys: Vec<_> = self
            .validators
            .iter()
            .map(|validator| validator.key)
            .collect();
        keys.sort_unstable();
        keys.dedup();
        if keys.is_empty() || keys.len() != self.validators.len() {
            return Err(GenesisError::Validators);
        }
        self.check_apexes()?;
        self.check_accounts()?;
        let admits_development = !self.development_roots.is_empty()
            || self
                .reference_values
                .iter()
                .any(|value| value.kind == EvidenceKind::Development);
        if self.kind == CircleKind::Production && admits_development {
            return Err(GenesisError::DevelopmentEvidence);
        }
        self.check_keykeepers()?;
        if !self.evidence.policy.is_well_formed() {
            return Err(GenesisError::EvidencePolicy);
        }
        self.parameters.check()
    }

    fn check_apexes(&self) -> Result<(), GenesisError> {
        let repeated = |(at, apex): (usize, &DomainName)| self.apexes[..at].contains(apex);
        if self.apexes.is_empty() || self.apexes.iter().enumerate().any(repeated) {
            return Err(GenesisError::Apexes);
        }
        let reserved = self.apexes.iter().find(|apex| {
            let last = apex.labels().next_back().unwrap_or_default();
            // Two letters alone are a country's code (RFC 1591).
            SPECIAL_USE.contains(&last) || apex.as_str().len() == 2
        });
        match reserved {
            Some(apex) => Err(GenesisError::ApexReserved(apex.clone())),
            None => Ok(()),
        }
    }

    fn check_keykeepers(&self) -> Result<(), GenesisError> {
        let keys = &self.keykeepers;
        let ascend = keys.windows(2).all(|pair| pair[0] < pair[1]);
        let ed25519 = keys.iter().all(|key| matches!(key, PublicKey::Ed25519(_)));
        if keys.is_empty() || (2..=MAX_KEYKEEPERS).contains(&keys.len()) && ascend && ed25519 {
            Ok(())
        } else {
            Err(GenesisError::Keykeepers)
        }
    }

    fn check_accounts(&self) -> Result<(), GenesisError> {
        let ascending = self.accounts.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let filled = self
            .accounts
            .iter()
            .all(|(_, amount)| *amount != Amount::ZERO);
        let sum: u128 = self
            .accounts
            .iter()
            .map(|(_, amount)| u128::from(amount.0))
            .sum();
        if ascending && filled && sum < 1 << 63 {
            Ok(())
        } else {
            Err(GenesisError::Accounts)
        }
    }
}

impl Parameters {
    /// Checks that a circle can live by them.
    ///
    /// Errors: [`GenesisError::Parameter`], naming the first that is out of range.
    pub fn check(&self) -> Result<(), GenesisError> {
        let positive = [
            ("rent_period", self.rent_period),
            ("recovery_delay", self.recovery_delay),
            ("reveal_after", self.reveal_after),
            ("heartbeat_limit", self.heartbeat_limit),
            ("handshake_limit", self.handshake_limit),
            ("max_match_wait", self.max_match_wait),
            ("proposal_period", self.proposal_period),
            ("min_block_interval_ms", self.min_block_interval_ms),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(GenesisError::Parameter(name));
        }
        if self.reveal_within <= self.reveal_after {
            return Err(GenesisError::Parameter("reveal_within"));
        }
        if self.epoch_length < MIN_EPOCH_LENGTH {
            return Err(GenesisError::Parameter("epoch_length"));
        }
        if self.idle_block_interval_ms < self.min_block_interval_ms {
            return Err(GenesisError::Parameter("idle_block_interval_ms"));
        }
        Ok(())
    }
}
