//! Encrypting, uploading and posting a payload (seed 000, blocks 102 to 106
//! and procedure 300).
//!
//! The name's commitment, the encryption and the upload run side by side; the
//! request is posted when all three are done and the secrets are on disk.

use std::{fs::File, io::BufWriter, path::PathBuf};

use handshake::{
    AgreementSecret, Bundle, BundleFile, DataKey, Entropy, LabelVariable, Purpose, StreamError,
};
use wire::{
    Action, Amount, CipherSuite, DomainName, EvidenceKind, EvidencePolicy, Height, LabelName,
    Measurement, PayloadKind, PayloadReference, PostRequest, RequestId, RequestTerms, Resources,
    limits::{MAX_LOCATIONS, MAX_PAYLOAD_BYTES, MAX_REPLICAS},
    match_report::MatchReport,
    record::{KeyCommittee, Label},
    state_key,
};
use zeroize::Zeroizing;

use super::{Observer, RequestLock, RunError, Step, StepKind, User, name, name::NameClaim};
use crate::{
    ledger::now_ms, payload, protected::Protected, sealed_file::SealedFileError,
    wallet::RequestSecrets,
};

/// What to run and on which terms.
#[derive(Clone)]
pub struct RunSpec {
    /// The program: a component or a core module for WASI preview 1.
    pub program: Vec<u8>,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// Variables that hold a label's key, in hex, and the labels: the enclave asks
    /// the keykeepers for them.
    pub label_keys: Vec<(String, LabelName)>,
    /// Files beneath `/input`.
    pub inputs: Vec<BundleFile>,
    /// What the user calls it; kept in the wallet alone.
    pub label: String,
    /// The name at which a service is reached.
    pub name: Option<DomainName>,
    /// Deposit for a name that is registered first; the circle's least if none.
    pub name_deposit: Option<Amount>,
    /// URLs of directories or buckets to upload to.
    pub mirrors: Vec<String>,
    /// Hardware that each replica needs.
    pub resources: Resources,
    /// Replicas to keep running.
    pub replicas: u16,
    /// Whether no two replicas may run at one provider.
    pub require_spread: bool,
    /// Blocks of service to pay each replica for, at most.
    pub duration: u64,
    /// The most that a replica pays for a block.
    pub max_price: Amount,
    /// Funds set aside; what the whole duration costs at the highest price if none.
    pub escrow: Option<Amount>,
    /// The region; empty for any.
    pub location: String,
    /// Kinds of evidence that are accepted.
    pub evidence: Vec<EvidenceKind>,
    /// Host technologies that are required.
    pub technologies: Vec<String>,
    /// The only enclave code that is accepted; none for what the circle admits.
    pub measurement: Option<Measurement>,
    /// What evidence must show besides.
    pub evidence_policy: EvidencePolicy,
    /// Blocks for which unmatched replicas wait for an offer.
    pub match_within: u64,
}

/// A request that is on the ledger.
#[derive(Debug)]
pub struct Submitted {
    /// Its id.
    pub request: RequestId,
    /// Its terms.
    pub terms: RequestTerms,
    /// The block it is in.
    pub height: Height,
    /// The right to answer for it, held until dropped.
    pub lock: RequestLock,
}

/// A payload, encrypted and uploaded.
struct Stored {
    kind: PayloadKind,
    reference: PayloadReference,
    secrets: RequestSecrets,
}

/// A payload, encrypted in a local file.
struct Staged {
    kind: PayloadKind,
    component_bytes: u64,
    adapted: bool,
    path: PathBuf,
    ciphertext: handshake::Ciphertext,
    secrets: RequestSecrets,
}

/// Deletes the local ciphertext, whatever happens.
struct Staging(PathBuf);

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl User {
    /// Encrypts, uploads and posts `spec`'s payload.
    ///
    /// Errors: [`RunError`]; nothing is on the ledger then but a name's
    ///         commitment, which a later run takes up.
    pub async fn submit(&self, spec: RunSpec, observer: &Observer) -> Result<Submitted, RunError> {
        if spec.mirrors.is_empty() {
            return Err(RunError::NoMirrors);
        }
        let terms = self.terms_without_payload(&spec)?;
        let (name, deposit) = (spec.name.clone(), spec.name_deposit);
        let claim = async {
            match &name {
                Some(name) => self.claim_name(name, deposit, observer).await.map(Some),
                None => Ok(None),
            }
        };
        let keys = self.label_variables(&spec.label_keys).await?;
        let (stored, claim) = tokio::try_join!(self.store(spec, keys, observer), claim)?;
        let longest = self.client().rules().await?.parameters.max_match_wait;
        let wait = terms.match_until.0.min(longest);
        let terms = RequestTerms {
            payload_kind: stored.kind,
            payload: stored.reference,
            agreement_key: stored.secrets.agreement_public,
            match_until: self.client().seen().plus(wait),
            ..terms
        };
        if terms.name.is_some() && terms.payload_kind == PayloadKind::Job {
            return Err(RunError::Terms(
                "the payload is a job: only a service has a name".to_owned(),
            ));
        }
        self.post_request(terms, claim, observer).await
    }

    /// What the market would do with `spec` now: nothing is encrypted, kept or
    /// sent. The name is left out, because posting would register it first.
    ///
    /// Errors: [`RunError`] for a program or terms that are no request.
    pub async fn dry_run(&self, spec: RunSpec) -> Result<MatchReport, RunError> {
        let terms = self.terms_without_payload(&spec)?;
        let program = payload::read_program(spec.program)?;
        let longest = self.client().rules().await?.parameters.max_match_wait;
        let wait = terms.match_until.0.min(longest);
        let terms = RequestTerms {
            payload_kind: program.kind,
            // The ciphertext is not there yet; its form is.
            payload: PayloadReference {
                locations: spec.mirrors,
                bytes: program.component.len() as u64,
                ..terms.payload
            },
            agreement_key: AgreementSecret::generate(&mut Entropy).public(),
            match_until: self.client().seen().plus(wait),
            name: None,
            ..terms
        };
        Ok(self.client().match_request(&terms).await?)
    }

    /// The request's terms as far as `spec` gives them; `match_until` is the
    /// number of blocks to wait.
    fn terms_without_payload(&self, spec: &RunSpec) -> Result<RequestTerms, RunError> {
        if spec.replicas == 0 || spec.replicas > MAX_REPLICAS {
            return Err(RunError::Terms(format!(
                "replicas are 1 to {MAX_REPLICAS}; {} were asked for",
                spec.replicas
            )));
        }
        if spec.mirrors.len() > MAX_LOCATIONS {
            return Err(RunError::Terms(format!(
                "a payload has at most {MAX_LOCATIONS} mirrors"
            )));
        }
        let escrow = match spec.escrow {
            Some(escrow) => escrow,
            None => spec
                .max_price
                .checked_mul(spec.duration)
                .and_then(|one| one.checked_mul(u64::from(spec.replicas)))
                .ok_or_else(|| RunError::Terms("the escrow leaves 64 bits".to_owned()))?,
        };
        Ok(RequestTerms {
            resources: spec.resources,
            replicas: spec.replicas,
            require_spread: spec.require_spread,
            duration: spec.duration,
            max_price: spec.max_price,
            escrow,
            location: spec.location.clone(),
            encryption: vec![CipherSuite::Aes256GcmStream],
            evidence: spec.evidence.clone(),
            technologies: spec.technologies.clone(),
            measurement: spec.measurement,
            evidence_policy: spec.evidence_policy.clone(),
            payload_kind: PayloadKind::Job,
            payload: PayloadReference {
                locations: Vec::new(),
                sha256: wire::Digest::default(),
                bytes: 0,
                cipher: CipherSuite::Aes256GcmStream,
            },
            agreement_key: [0; 32],
            name: spec.name.clone(),
            match_until: Height(spec.match_within),
        })
    }

    /// What the bundle says of labels' keys, out of the ledger's proofs: the master
    /// key and the present epoch, so that no host can give other keys or older ones.
    async fn label_variables(
        &self,
        wanted: &[(String, LabelName)],
    ) -> Result<Vec<LabelVariable>, RunError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let client = self.client();
        let committee: Option<KeyCommittee> = client.proven(state_key::key_committee()).await?.0;
        let master_key = committee
            .and_then(|committee| committee.master_key.try_into().ok())
            .ok_or_else(|| RunError::Terms("the circle has no keykeepers in office".to_owned()))?;
        let mut variables = Vec::with_capacity(wanted.len());
        for (variable, label) in wanted {
            let granted: Option<Label> = client.proven(state_key::label(label)).await?.0;
            let granted = granted.ok_or_else(|| {
                let (service, version) = (&label.service, label.version);
                RunError::Terms(format!(
                    "there is no label {service} (version {version}) of account {}: \
                     `ringfort key grant {service}` makes one",
                    label.owner
                ))
            })?;
            variables.push(LabelVariable {
                variable: variable.clone(),
                label: label.clone(),
                least_epoch: granted.epoch,
                master_key,
            });
        }
        Ok(variables)
    }

    /// Encrypts the payload, keeps its secrets and uploads it.
    async fn store(
        &self,
        spec: RunSpec,
        keys: Vec<LabelVariable>,
        observer: &Observer,
    ) -> Result<Stored, RunError> {
        let mirrors = spec.mirrors.clone();
        let directory = self.wallet.directory().join("staging");
        let staged = tokio::task::spawn_blocking(move || stage(spec, keys, directory))
            .await
            .map_err(|error| RunError::Terms(format!("encryption was broken off: {error}")))??;
        let _staging = Staging(staged.path.clone());
        let say = |kind| observer(unplaced(kind));
        say(StepKind::Prepared {
            kind: staged.kind,
            component_bytes: staged.component_bytes,
            adapted: staged.adapted,
        });
        say(StepKind::Encrypted {
            sha256: staged.ciphertext.sha256,
            bytes: staged.ciphertext.bytes,
        });
        // On disk before anything that depends on it leaves this machine.
        self.wallet.put_request(&staged.secrets)?;
        say(StepKind::SecretsKept);
        let name = format!("{}.payload", staged.ciphertext.sha256);
        let locations = self.storage.put(&staged.path, &name, &mirrors).await?;
        say(StepKind::Uploaded {
            locations: locations.clone(),
        });
        Ok(Stored {
            kind: staged.kind,
            reference: PayloadReference {
                locations,
                sha256: staged.ciphertext.sha256,
                bytes: staged.ciphertext.bytes,
                cipher: CipherSuite::Aes256GcmStream,
            },
            secrets: staged.secrets,
        })
    }

    /// Posts the request, with the name's reveal in the same transaction.
    async fn post_request(
        &self,
        terms: RequestTerms,
        claim: Option<NameClaim>,
        observer: &Observer,
    ) -> Result<Submitted, RunError> {
        let mut actions = Vec::new();
        let mut revealed = None;
        if let Some(NameClaim::Reveal { reveal, from }) = claim {
            self.wait_for_height(name::before(from)).await?;
            revealed = Some((reveal.name.clone(), reveal.deposit));
            actions.push(Action::NameReveal(reveal));
        }
        let index = actions.len();
        actions.push(Action::PostRequest(PostRequest {
            terms: terms.clone(),
        }));
        let mut lock = None;
        let sent = loop {
            // The request's id follows from the transaction's, and the lock is
            // held before anyone can see the request.
            let prepare = |transaction| -> Result<(), RunError> {
                let request = RequestId::made_by(transaction, index);
                lock = RequestLock::try_take(&self.wallet, request)?.map(|lock| (request, lock));
                Ok(())
            };
            match self.account.send_prepared(actions.clone(), prepare).await {
                Ok(sent) => break sent,
                Err(RunError::Account(error)) => self.after_early_reveal(error).await?,
                Err(error) => return Err(error),
            }
        };
        let request = RequestId::made_by(sent.transaction, index);
        let lock = lock
            .filter(|(locked, _)| *locked == request)
            .map(|(_, lock)| lock)
            .ok_or(RunError::Locked(request))?;
        let placed = |kind| Step {
            kind,
            request: Some(request),
            contract: None,
            replica: None,
            transaction: Some(sent.transaction),
            height: Some(sent.receipt.height),
        };
        if let Some((name, deposit)) = revealed {
            self.wallet.remove_name(&name)?;
            observer(placed(StepKind::NameRegistered { name, deposit }));
        }
        observer(placed(StepKind::Posted {
            escrow: terms.escrow,
        }));
        Ok(Submitted {
            request,
            terms,
            height: sent.receipt.height,
            lock,
        })
    }
}

fn unplaced(kind: StepKind) -> Step {
    Step {
        kind,
        request: None,
        contract: None,
        replica: None,
        transaction: None,
        height: None,
    }
}

/// Reads the program and encrypts the bundle into a local file.
fn stage(spec: RunSpec, keys: Vec<LabelVariable>, directory: PathBuf) -> Result<Staged, RunError> {
    let program = payload::read_program(spec.program)?;
    let (kind, adapted) = (program.kind, program.adapted);
    let component_bytes = program.component.len() as u64;
    let bundle: Bundle = payload::bundle(program, spec.args, spec.env, keys, spec.inputs);
    let plaintext = bundle
        .encode()
        .map_err(|error| RunError::Payload(error.into()))?;
    drop(bundle);
    let agreement = AgreementSecret::generate(&mut Entropy);
    let data_key = DataKey::generate(&mut Entropy);
    let local = |path: &PathBuf| {
        let path = path.clone();
        move |source| RunError::Local { path, source }
    };
    std::fs::create_dir_all(&directory).map_err(SealedFileError::io(&directory))?;
    let path = directory.join(format!("{}.payload", hex::encode(agreement.public())));
    let file = File::create(&path).map_err(local(&path))?;
    let written = handshake::encrypt(
        data_key.as_bytes(),
        Purpose::Payload,
        &plaintext[..],
        BufWriter::new(file),
        &mut Entropy,
    );
    let ciphertext = match written {
        Ok(ciphertext) => ciphertext,
        Err(error) => {
            let _ = std::fs::remove_file(&path);
            let source = match error {
                StreamError::Io(source) => source,
                other => std::io::Error::other(other),
            };
            return Err(RunError::Local { path, source });
        }
    };
    if ciphertext.bytes > MAX_PAYLOAD_BYTES {
        let _ = std::fs::remove_file(&path);
        return Err(crate::storage::StorageError::TooLarge(ciphertext.bytes).into());
    }
    Ok(Staged {
        kind,
        component_bytes,
        adapted,
        path,
        ciphertext,
        secrets: RequestSecrets {
            agreement_public: agreement.public(),
            agreement: Protected::new(Zeroizing::new(*agreement.as_bytes())),
            data_key: Protected::new(Zeroizing::new(*data_key.as_bytes())),
            label: spec.label,
            created_ms: now_ms(),
        },
    })
}
