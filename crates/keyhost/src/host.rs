//! Runs a keykeeper's protected process beside a circle.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use client::{
    Client,
    account::{Account, Signer, SignerError},
};
use keykeeper::channel::{FromCore, SendFailure, ToCore};
use tokio::sync::Mutex;
use wire::{
    Action, Digest, Event, Evidence, KeyRequestId, PublicKey, SignedTransaction, Transaction,
    record::Keykeeper, state_key,
};

use crate::{
    Files, Program,
    link::{Link, LinkError},
};

/// How long nothing new is assumed at most, should an event be missed.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The pause after a failure: nodes come back, and funds arrive, within seconds.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Requests that are looked at in one go; more wait for the next.
const REQUESTS_AT_ONCE: usize = 256;

/// Why a keykeeper cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The protected process.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Its files.
    #[error("the keykeeper's files cannot be used")]
    Files(#[from] std::io::Error),
    /// Evidence could not be made.
    #[error("no evidence: {0}")]
    Evidence(String),
}

/// What one call came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What was done.
    pub steps: Vec<String>,
    /// What went wrong with the circle, if anything.
    pub trouble: Option<String>,
    /// The round whose share the keykeeper holds.
    pub holds: Option<u64>,
}

/// A keykeeper's host.
pub struct Host {
    client: Client,
    account: Account,
    link: Arc<Mutex<Link>>,
    files: Files,
    key: PublicKey,
    report_data: Digest,
}

/// Has the protected process sign, while it waits for its action to be sent.
struct ByCore {
    link: Arc<Mutex<Link>>,
    key: PublicKey,
}

impl Signer for ByCore {
    fn public(&self) -> PublicKey {
        self.key
    }

    fn sign(
        &self,
        transaction: Transaction,
    ) -> Pin<Box<dyn Future<Output = Result<SignedTransaction, SignerError>> + Send + '_>> {
        Box::pin(async move {
            let ask = ToCore::Sign(transaction.clone());
            match self.link.lock().await.ask(&ask).await {
                Ok(FromCore::Signed(signature)) => Ok(SignedTransaction {
                    transaction,
                    signature: signature.into(),
                }),
                Ok(_) => Err(SignerError(LinkError::Order.to_string())),
                Err(error) => Err(SignerError(error.to_string())),
            }
        })
    }
}

impl Host {
    /// Starts `program` on the state in `files`, sealed under `sealing_key`; makes an
    /// identity first if there is none. To be called on a thread that lives as long as the host.
    ///
    /// Errors: [`HostError`].
    pub async fn start(
        client: Client,
        program: &Program,
        files: Files,
        sealing_key: &[u8; 32],
    ) -> Result<Self, HostError> {
        if !files.exist() {
            let (key, sealed) = crate::make(program, sealing_key)?;
            files.keep(&sealed)?;
            files.publish(&key)?;
        }
        let mut link = Link::start(program)?;
        let begin = ToCore::Begin {
            circle: client.circle(),
            circle_key: *client.circle_key(),
            sealing_key: *sealing_key,
            sealed: files.sealed()?,
        };
        let FromCore::Begun {
            key,
            report_data,
            warnings,
        } = link.ask(&begin).await?
        else {
            return Err(LinkError::Order.into());
        };
        for warning in warnings {
            tracing::warn!(warning, "protected process");
        }
        files.publish(&key)?;
        let link = Arc::new(Mutex::new(link));
        let signer = Arc::new(ByCore {
            link: link.clone(),
            key,
        });
        Ok(Self {
            account: Account::with_signer(client.clone(), signer, None),
            client,
            link,
            files,
            key,
            report_data,
        })
    }

    /// Its identity.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// Registers, unless the circle has it already, and then acts whenever the
    /// ledger has changed, for ever. What the circle refuses is tried again.
    ///
    /// Errors: the protected process or its files; it is then to be started anew.
    pub async fn run(
        &self,
        evidence: impl Fn(Digest) -> Result<Evidence, String>,
    ) -> Result<std::convert::Infallible, HostError> {
        loop {
            let record = self.client.proven(state_key::keykeeper(&self.key)).await;
            let trouble = match record {
                Ok((Some::<Keykeeper>(_), _)) => break,
                Ok((None, _)) => {
                    let made = evidence(self.report_data).map_err(HostError::Evidence)?;
                    self.call(&ToCore::Register(made)).await?.trouble
                }
                Err(error) => Some(error.to_string()),
            };
            if let Some(trouble) = trouble {
                let account = self.key.account();
                tracing::warn!(%account, trouble, "is not registered yet");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        loop {
            // Before the look, so that nothing falls between look and wait.
            let seen = self.client.seen();
            let progress = self.act().await?;
            for step in &progress.steps {
                tracing::info!(step, holds = progress.holds, "took a step");
            }
            if let Some(trouble) = progress.trouble {
                tracing::warn!(trouble, "waits for the circle");
                tokio::time::sleep(RETRY_PAUSE).await;
            } else if progress.steps.is_empty() {
                self.changed(seen).await;
            }
        }
    }

    /// Does what the ledger waits for now.
    ///
    /// Errors: [`HostError`].
    pub async fn act(&self) -> Result<Progress, HostError> {
        self.call(&ToCore::Act).await
    }

    /// Ends when a block since `height` concerns keykeepers, or after a while.
    async fn changed(&self, height: wire::Height) {
        let mut events = self.client.events(height.plus(1));
        let concerns = async {
            loop {
                let Ok(block) = events.next().await else {
                    return tokio::time::sleep(RETRY_PAUSE).await;
                };
                let due = |event: &Event| {
                    matches!(
                        event,
                        Event::KeyRoundChanged { .. } | Event::KeyRequested { .. }
                    )
                };
                if block.events.iter().any(|one| due(&one.event)) {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(LOOK_AGAIN, concerns).await;
    }

    /// Calls the protected process and does what it asks for meanwhile.
    async fn call(&self, call: &ToCore) -> Result<Progress, HostError> {
        let mut answer = self.ask(call).await?;
        loop {
            let next = match answer {
                FromCore::Done {
                    steps,
                    trouble,
                    holds,
                } => {
                    return Ok(Progress {
                        steps,
                        trouble,
                        holds,
                    });
                }
                FromCore::Read(keys) => proofs(&self.client, keys).await,
                FromCore::ListRequests => self.requests().await,
                FromCore::Send(action) => ToCore::Sent(send(&self.account, *action).await),
                FromCore::Store(sealed) => {
                    self.files.keep(&sealed)?;
                    ToCore::Stored
                }
                _ => return Err(LinkError::Order.into()),
            };
            answer = self.ask(&next).await?;
        }
    }

    async fn ask(&self, message: &ToCore) -> Result<FromCore, LinkError> {
        self.link.lock().await.ask(message).await
    }

    async fn requests(&self) -> ToCore {
        let prefix = state_key::KEY_REQUESTS;
        match self.client.list_keys(prefix, REQUESTS_AT_ONCE).await {
            Ok(keys) => {
                let id = |key: &Vec<u8>| key.get(prefix.len()..)?.try_into().ok().map(KeyRequestId);
                ToCore::Requests(keys.iter().filter_map(id).collect())
            }
            Err(error) => ToCore::Unavailable(error.to_string()),
        }
    }
}

/// Sends one action as `account`.
pub(crate) async fn send(
    account: &Account,
    action: Action,
) -> Result<wire::TransactionId, SendFailure> {
    match account.send(vec![action]).await {
        Ok(sent) => Ok(sent.transaction),
        Err(error) => Err(match error.reject() {
            Some(reject) => SendFailure::Rejected(reject),
            None => SendFailure::Unavailable(error.to_string()),
        }),
    }
}

/// Proofs of `keys`, none older than what was seen.
pub(crate) async fn proofs(client: &Client, keys: Vec<Vec<u8>>) -> ToCore {
    match client.proofs_since(keys, client.seen()).await {
        Ok(proofs) => ToCore::Proofs(proofs.into_iter().map(|(_, bytes)| bytes).collect()),
        Err(error) => ToCore::Unavailable(error.to_string()),
    }
}
