//! A job's result: fetched as ciphertext, checked against what the ledger and
//! the enclave say of it, and unpacked.

use std::path::{Path, PathBuf};

use handshake::{ArchiveView, DerivedKeys, Purpose};
use wire::{
    ContractId, EndReason, RequestId,
    record::{self, ContractStatus},
    state_key,
};
use zeroize::Zeroizing;

use super::{
    RunError, User,
    exchange::{Served, agreement, context},
};
use crate::{error::ClientError, ledger::decode, storage::DOWNLOAD_ROUNDS};

/// What a job left.
#[derive(Clone, Debug)]
pub struct JobResult {
    /// The contract that ran it.
    pub contract: ContractId,
    /// Its exit status.
    pub exit_code: u32,
    /// What the enclave says went wrong, if anything.
    pub error: Option<String>,
    /// The files written, beneath the directory that was asked for.
    pub files: Vec<PathBuf>,
}

impl User {
    /// Fetches the result of `request`'s job (one of `replica`) and unpacks its
    /// files beneath `directory`, which is made if need be.
    ///
    /// Errors: [`RunError::NoResult`] while the job has not ended;
    ///         [`RunError::Result`] if the bytes are not what the enclave made.
    pub async fn result(
        &self,
        request: RequestId,
        replica: u16,
        directory: &Path,
    ) -> Result<JobResult, RunError> {
        let view = self.view(request).await?;
        let secrets = self.secrets(request, &view.request)?;
        let served = Served::new(request, &view.request, &secrets);
        let done = |contract: &record::Contract| {
            contract.replica == replica
                && contract.status == ContractStatus::Ended(EndReason::Completed)
        };
        let replica = view
            .replicas
            .iter()
            .find(|candidate| done(&candidate.contract))
            .ok_or(RunError::NoResult(request))?;
        let summary = self
            .completion(&served, replica.id, &replica.contract)
            .await?
            .ok_or(RunError::NoResult(request))?;
        let enclave = replica
            .enclave
            .as_ref()
            .ok_or(RunError::NoResult(request))?;
        let damaged = |reason: String| RunError::Result {
            contract: replica.id,
            reason,
        };
        let context = context(&served, replica.id, enclave, self.client().circle());
        let keys = DerivedKeys::for_user(&context, &agreement(&secrets))
            .map_err(|error| damaged(error.to_string()))?;
        let mut files = Vec::new();
        if summary.archive_bytes > 0 {
            let archive = self.archive(replica.id, &keys).await?;
            if wire::Digest::of(&[&archive]) != summary.archive_sha256 {
                return Err(damaged(
                    "it does not hash to what the enclave said".to_owned(),
                ));
            }
            files = unpack(&archive, directory, &damaged)?;
        }
        Ok(JobResult {
            contract: replica.id,
            exit_code: summary.exit_code,
            error: summary.error,
            files,
        })
    }

    /// Downloads and decrypts the output of a contract.
    async fn archive(
        &self,
        contract: ContractId,
        keys: &DerivedKeys,
    ) -> Result<Zeroizing<Vec<u8>>, RunError> {
        let proven = self
            .client()
            .proven_many(vec![state_key::completion(contract)])
            .await?;
        let completion: record::Completion = decode(&proven[0])
            .map_err(ClientError::Record)?
            .ok_or_else(|| ClientError::Absent(format!("completion of {contract}")))?;
        let staging = self.wallet.directory().join("staging");
        let local = |path: &Path| {
            let path = path.to_owned();
            move |source| RunError::Local { path, source }
        };
        std::fs::create_dir_all(&staging).map_err(local(&staging))?;
        let path = staging.join(format!("{contract}.output"));
        self.storage
            .download(&completion.output, &path, DOWNLOAD_ROUNDS)
            .await?;
        let ciphertext = tokio::fs::read(&path).await.map_err(local(&path));
        let _ = tokio::fs::remove_file(&path).await;
        let ciphertext = ciphertext?;
        let mut plain = Zeroizing::new(Vec::with_capacity(ciphertext.len()));
        handshake::decrypt(keys.output(), Purpose::Output, &ciphertext[..], &mut *plain).map_err(
            |error| RunError::Result {
                contract,
                reason: error.to_string(),
            },
        )?;
        Ok(plain)
    }
}

/// Writes the archive's files; their paths were checked when it was parsed.
fn unpack(
    archive: &[u8],
    directory: &Path,
    damaged: &dyn Fn(String) -> RunError,
) -> Result<Vec<PathBuf>, RunError> {
    let view = ArchiveView::parse(archive).map_err(|error| damaged(error.to_string()))?;
    let mut files = Vec::new();
    for file in &view.files {
        let path = directory.join(&file.path);
        let write = || -> std::io::Result<()> {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(&path, file.bytes)
        };
        write().map_err(|source| RunError::Local {
            path: path.clone(),
            source,
        })?;
        files.push(path);
    }
    Ok(files)
}
