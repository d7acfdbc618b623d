//! A job: one run of a component, from its arguments to its output.

use std::sync::Arc;

use handshake::{Completion, Purpose, encode_archive, encrypt_to_vec};
use wasmtime_wasi::{I32Exit, p2::bindings::CommandPre};
use wire::Digest;
use zeroize::Zeroizing;

use crate::{
    filesystem::Filesystem,
    logs::Logs,
    runtime::{Compiled, Guest, GuestSettings, Limits, RuntimeError, describe},
    vault::Vault,
};

/// What a job calls itself: the first argument of a program is its name.
const PROGRAM_NAME: &str = "payload";

/// A component that is ready to run once.
pub struct Job {
    pre: CommandPre<Guest>,
    store: wasmtime::Store<Guest>,
}

/// How a job ended.
pub struct JobEnd {
    /// 0 for success.
    pub exit_code: u32,
    /// Why it was stopped, if it did not end by itself.
    pub error: Option<String>,
    /// SHA-256 of the archive of `/output`.
    pub archive_sha256: Digest,
    /// Its bytes.
    pub archive_bytes: u64,
    /// Files in it.
    pub files: u32,
    /// The archive, encrypted under K_output; taken when it is sent.
    pub output: Vec<u8>,
    /// SHA-256 of the encrypted archive.
    pub output_sha256: Digest,
    /// Its bytes.
    pub output_bytes: u64,
}

impl Job {
    /// Makes a job of a compiled payload.
    ///
    /// Errors: [`RuntimeError::Link`].
    pub fn new(
        compiled: Compiled,
        args: &[String],
        env: &[(String, String)],
        inputs: &[(String, &[u8])],
        limits: &Limits,
        logs: &Arc<Logs>,
    ) -> Result<Self, RuntimeError> {
        let link = |error: wasmtime::Error| RuntimeError::Link(describe(&error));
        let pre = compiled.linker.instantiate_pre(&compiled.component);
        let pre = pre.and_then(CommandPre::new).map_err(link)?;
        let files = inputs.iter().map(|(path, bytes)| (path.as_str(), *bytes));
        let filesystem = Filesystem::for_job(files, limits.output_bytes)
            .map_err(|code| RuntimeError::Link(format!("the input files do not fit: {code:?}")))?;
        let mut with_name = vec![PROGRAM_NAME.to_owned()];
        with_name.extend_from_slice(args);
        let settings = GuestSettings {
            args: &with_name,
            env,
            filesystem,
            logs,
            memory: &limits.memory,
            cpu: &limits.cpu,
        };
        limits.cpu.restart();
        let store = Guest::store(&compiled.engine, settings);
        Ok(Self { pre, store })
    }

    /// Runs it to its end; dropping the future stops it.
    pub async fn run(mut self, vault: &Vault) -> JobEnd {
        let result = async {
            let command = self.pre.instantiate_async(&mut self.store).await?;
            command.wasi_cli_run().call_run(&mut self.store).await
        }
        .await;
        let (exit_code, error) = match result {
            Ok(Ok(())) => (0, None),
            Ok(Err(())) => (1, None),
            Err(error) => match error.downcast_ref::<I32Exit>() {
                Some(I32Exit(code)) => (code.cast_unsigned(), None),
                None => (1, Some(describe(&error))),
            },
        };
        let files = self.store.data().files();
        let archive = files.with_output(|files| {
            let count = u32::try_from(files.len()).unwrap_or(u32::MAX);
            encode_archive(files).map(|archive| (archive, count))
        });
        // The guest's memory goes before its output is encrypted.
        drop(self.store);
        match archive {
            Ok((archive, files)) => JobEnd::pack(exit_code, error, &archive, files, vault),
            Err(problem) => {
                let empty = encode_archive(&[]).expect("an archive of nothing has no problem");
                let error = format!("the output cannot be packed: {problem}");
                JobEnd::pack(exit_code.max(1), Some(error), &empty, 0, vault)
            }
        }
    }
}

impl JobEnd {
    fn pack(
        exit_code: u32,
        error: Option<String>,
        archive: &Zeroizing<Vec<u8>>,
        files: u32,
        vault: &Vault,
    ) -> Self {
        let output = vault.read(|secrets| {
            encrypt_to_vec(
                secrets.derived.output(),
                Purpose::Output,
                archive,
                &mut handshake::Entropy,
            )
        });
        Self {
            exit_code,
            error,
            archive_sha256: Digest::of(&[archive]),
            archive_bytes: archive.len() as u64,
            files,
            output_sha256: Digest::of(&[&output]),
            output_bytes: output.len() as u64,
            output,
        }
    }

    /// What the user reads about it.
    pub fn completion(&self, log_records: u64) -> Completion {
        Completion {
            exit_code: self.exit_code,
            error: self.error.clone(),
            archive_sha256: self.archive_sha256,
            archive_bytes: self.archive_bytes,
            files: self.files,
            log_records,
        }
    }
}
