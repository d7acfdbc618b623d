//! `ringfort result`: a job's exit status and output files. They arrive
//! encrypted to the user and are opened here.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use client::User;
use serde::Serialize;
use wire::{ContractId, RequestId};

use crate::{
    failure::{Advice, Status},
    session::Session,
    user,
};

/// Arguments of `ringfort result`.
#[derive(clap::Args)]
pub struct ResultOf {
    /// Request: its id or the beginning of it, or its label.
    #[arg(value_name = "REQUEST")]
    request: String,
    /// Directory for the files; `result-ID` if not given.
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Which replica, from 0.
    #[arg(long, default_value_t = 0)]
    replica: u16,
}

/// What a job left, as it is printed.
#[derive(Serialize)]
struct Left {
    request: RequestId,
    contract: ContractId,
    exit_code: u32,
    error: Option<String>,
    directory: PathBuf,
    files: Vec<PathBuf>,
}

/// Fetches and opens the result.
pub fn execute(session: &Session, arguments: &ResultOf) -> anyhow::Result<Status> {
    let user = user::user(session)?;
    super::runtime()?.block_on(async {
        let request = user::find(&user, &arguments.request).await?;
        let directory = arguments.directory.as_deref();
        fetch(session, &user, request.id, arguments.replica, directory).await
    })
}

/// Fetches the result of `request` into `directory` and prints it; the exit
/// status tells whether the job's own was zero.
///
/// Errors: the job has not ended; the bytes are not what its enclave made.
pub async fn fetch(
    session: &Session,
    user: &User,
    request: RequestId,
    replica: u16,
    directory: Option<&Path>,
) -> anyhow::Result<Status> {
    let directory = match directory {
        Some(directory) => directory.to_owned(),
        None => PathBuf::from(format!("result-{}", request.short())),
    };
    let result = user
        .result(request, replica, &directory)
        .await
        .with_context(|| {
            Advice::new(
                "the result could not be fetched",
                "`ringfort ps --all` shows whether the job has ended",
            )
        })?;
    let left = Left {
        request,
        contract: result.contract,
        exit_code: result.exit_code,
        error: result.error,
        directory,
        files: result.files,
    };
    session.print(&left, human)?;
    Ok(if left.exit_code == 0 {
        Status::Done
    } else {
        Status::JobFailed
    })
}

fn human(left: &Left) -> String {
    let mut text = format!("exit status {}\n", left.exit_code);
    if let Some(error) = &left.error {
        text.push_str(&format!("the enclave says: {error}\n"));
    }
    for file in &left.files {
        text.push_str(&format!("{}\n", file.display()));
    }
    text
}
