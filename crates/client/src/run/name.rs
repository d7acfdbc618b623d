//! The name of a service: committed to while the payload is still being
//! encrypted, and revealed in the very transaction that posts the request.

use wire::{
    Action, Amount, DomainName, Height, NameCommit, NameReveal, Reject, name_commitment, record,
    record::NameStatus, state_key,
};

use super::{Observer, RunError, Step, StepKind, User};
use crate::{
    account::{AccountError, Sent},
    error::ClientError,
    ledger::decode,
    protected::fill_random,
    wallet::NameSecret,
};

/// What is left to do for a name when the request is posted.
#[derive(Clone, Debug)]
pub(super) enum NameClaim {
    /// It is this user's already.
    Owned,
    /// It was committed to: reveal it from this height on.
    Reveal { reveal: NameReveal, from: Height },
}

/// What became of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// The name was registered just now.
    Registered,
    /// It was this user's before; nothing was sent along.
    AlreadyOwned,
}

/// Times that a registration looks at the ledger anew: once for what an
/// earlier run left there, once for a commitment that grew too old.
const MAX_REGISTRATIONS: usize = 3;

impl User {
    /// Makes sure that `name` is this user's or will be with the reveal returned.
    ///
    /// Errors: [`RunError::NameTaken`], [`RunError::NameSuspended`].
    pub(super) async fn claim_name(
        &self,
        name: &DomainName,
        deposit: Option<Amount>,
        observer: &Observer,
    ) -> Result<NameClaim, RunError> {
        let key = state_key::name(name);
        let (registered, _) = self.client().proven::<record::Name>(key).await?;
        if let Some(registered) = registered {
            if registered.owner != self.account.public() {
                return Err(RunError::NameTaken(name.clone()));
            }
            // An earlier run may have been broken off after its reveal.
            self.wallet.remove_name(name)?;
            return match registered.status {
                NameStatus::Active => Ok(NameClaim::Owned),
                NameStatus::Suspended { .. } => Err(RunError::NameSuspended(name.clone())),
            };
        }
        let rules = self.client().rules().await?;
        let parameters = &rules.parameters;
        let least = parameters
            .rent_per_period
            .checked_mul(parameters.min_rent_periods)
            .unwrap_or(Amount(u64::MAX));
        let secret = self.commitment_secret(name)?;
        let committed_at = self.commit(&secret, observer).await?;
        Ok(NameClaim::Reveal {
            reveal: NameReveal {
                name: name.clone(),
                nonce: secret.nonce,
                deposit: deposit.unwrap_or(least),
            },
            from: committed_at.plus(parameters.reveal_after),
        })
    }

    /// The nonce of an open commitment, or a new one; on disk either way.
    fn commitment_secret(&self, name: &DomainName) -> Result<NameSecret, RunError> {
        if let Some(secret) = self.wallet.name(name)? {
            return Ok(secret);
        }
        let mut nonce = [0; 32];
        fill_random(&mut nonce);
        let secret = NameSecret {
            name: name.clone(),
            nonce,
        };
        self.wallet.put_name(&secret)?;
        Ok(secret)
    }

    /// Records the commitment; the height at which it was first recorded.
    async fn commit(&self, secret: &NameSecret, observer: &Observer) -> Result<Height, RunError> {
        let circle = self.client().circle();
        let commitment = name_commitment(circle, self.account.id(), &secret.name, &secret.nonce);
        let action = Action::NameCommit(NameCommit { commitment });
        match self.account.send(vec![action]).await {
            Ok(sent) => {
                observer(Step {
                    kind: StepKind::NameCommitted {
                        name: secret.name.clone(),
                    },
                    request: None,
                    contract: None,
                    replica: None,
                    transaction: Some(sent.transaction),
                    height: Some(sent.receipt.height),
                });
                Ok(sent.receipt.height)
            }
            // An earlier run got this far and was broken off.
            Err(AccountError::Rejected {
                reject: Reject::CommitmentExists,
                ..
            }) => {
                let key = state_key::commitment(commitment);
                let proven = self.client().proven_many(vec![key]).await?;
                let recorded: Option<record::Commitment> =
                    decode(&proven[0]).map_err(ClientError::Record)?;
                Ok(recorded.map_or(proven[0].height(), |commitment| commitment.committed_at))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Registers a free name to this user's key, or finds that it is already.
    ///
    /// Errors: [`RunError::NameTaken`] if it is another's.
    pub async fn register_name(
        &self,
        name: &DomainName,
        deposit: Option<Amount>,
        observer: &Observer,
    ) -> Result<Registration, RunError> {
        self.register_name_with(name, deposit, Vec::new(), observer)
            .await
    }

    /// As [`User::register_name`]; `along` is applied with the registration or
    /// not at all: records, and the server's key and certificate.
    ///
    /// It may be broken off at any point and called again: the commitment's
    /// secret is on disk before the commitment is sent, and whatever reached
    /// the ledger is found there.
    ///
    /// Errors: as there, and the circle's refusal of `along`.
    pub async fn register_name_with(
        &self,
        name: &DomainName,
        deposit: Option<Amount>,
        along: Vec<Action>,
        observer: &Observer,
    ) -> Result<Registration, RunError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let claim = self.claim_name(name, deposit, observer).await?;
            let NameClaim::Reveal { reveal, from } = claim else {
                return Ok(Registration::AlreadyOwned);
            };
            self.wait_for_height(before(from)).await?;
            match self.reveal(&reveal, &along).await {
                Ok(sent) => {
                    self.wallet.remove_name(name)?;
                    observer(Step {
                        kind: StepKind::NameRegistered {
                            name: name.clone(),
                            deposit: reveal.deposit,
                        },
                        request: None,
                        contract: None,
                        replica: None,
                        transaction: Some(sent.transaction),
                        height: Some(sent.receipt.height),
                    });
                    return Ok(Registration::Registered);
                }
                // A reveal of an earlier run was on its way and came first, or
                // the commitment grew too old meanwhile: look again.
                Err(error)
                    if attempt < MAX_REGISTRATIONS
                        && matches!(
                            error.reject(),
                            Some(
                                Reject::NameTaken
                                    | Reject::CommitmentNotFound
                                    | Reject::CommitmentExpired
                            )
                        ) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reveals, as often as it is too early.
    async fn reveal(&self, reveal: &NameReveal, along: &[Action]) -> Result<Sent, AccountError> {
        let mut actions = vec![Action::NameReveal(reveal.clone())];
        actions.extend_from_slice(along);
        loop {
            match self.account.send(actions.clone()).await {
                Err(error) if error.reject() == Some(Reject::CommitmentTooYoung) => {
                    let next = self.client().seen().plus(1);
                    self.wait_for_height(next).await?;
                }
                result => return result,
            }
        }
    }

    /// Waits for another block if the reveal came too early.
    ///
    /// Errors: any other refusal.
    pub(super) async fn after_early_reveal(&self, error: AccountError) -> Result<(), RunError> {
        if error.reject() != Some(Reject::CommitmentTooYoung) {
            return Err(error.into());
        }
        let next = self.client().seen().plus(1);
        Ok(self.wait_for_height(next).await?)
    }

    /// Waits until the circle has made block `height`.
    pub(super) async fn wait_for_height(&self, height: Height) -> Result<(), ClientError> {
        let from = self.client().seen();
        if from >= height {
            return Ok(());
        }
        let mut events = self.client().events(from.plus(1));
        loop {
            if events.next().await?.height >= height {
                return Ok(());
            }
        }
    }
}

/// The height after which a transaction can be in block `first`.
pub(super) fn before(first: Height) -> Height {
    Height(first.0.saturating_sub(1))
}
