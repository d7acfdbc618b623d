//! How are the steps of a run told, and how is what runs then reached?

use std::{
    fmt::Write as _,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use anyhow::Context as _;
use client::{
    User,
    run::{Observer, Step, StepKind},
};
use serde::Serialize;
use wire::{DomainName, Operation, Outcome, PayloadKind, RequestId, record, state_key};

use crate::session::{Session, shell_word};

/// Prints steps as they happen: a line each, or a JSON document each.
pub struct StepPrinter {
    json: bool,
    quiet: bool,
    started: Instant,
    warned: Arc<AtomicBool>,
}

/// What is said, once, of development evidence.
const DEVELOPMENT: &str =
    "development evidence: the provider of this machine could read the payload";

impl StepPrinter {
    /// A printer in the session's format.
    pub fn new(session: &Session) -> Self {
        Self {
            json: super::as_json(session),
            quiet: session.quiet,
            started: Instant::now(),
            warned: Arc::default(),
        }
    }

    /// The observer that the SDK calls with every step.
    pub fn observer(&self) -> Observer {
        let (json, quiet, started) = (self.json, self.quiet, self.started);
        let warned = self.warned.clone();
        Arc::new(move |step: Step| {
            if json {
                // One document to a line, so that a program can follow.
                if let Ok(line) = serde_json::to_string(&step) {
                    println!("{line}");
                }
                return;
            }
            if !quiet {
                let elapsed = started.elapsed().as_secs_f64();
                eprintln!("[{elapsed:6.2} s] {}{}", describe(&step), place(&step));
            }
            let unprotected = matches!(
                step.kind,
                StepKind::EvidenceAccepted {
                    protects_from_host: false,
                    ..
                }
            );
            // It must be read even where progress is not.
            if unprotected && !warned.swap(true, Ordering::Relaxed) {
                eprintln!("           {DEVELOPMENT}");
            }
        })
    }
}

/// Where a step is recorded: `  (tx 1a2b3c4d, height 57)`.
fn place(step: &Step) -> String {
    let mut parts = Vec::new();
    if let Some(transaction) = step.transaction {
        parts.push(format!("tx {}", transaction.short()));
    }
    if let Some(height) = step.height {
        parts.push(format!("height {height}"));
    }
    if parts.is_empty() {
        String::new()
    } else {
        format!("  ({})", parts.join(", "))
    }
}

fn describe(step: &Step) -> String {
    let who = match (step.replica, step.contract) {
        (Some(replica), Some(contract)) => {
            format!("replica {replica} (contract {}): ", contract.short())
        }
        _ => String::new(),
    };
    format!("{who}{}", describe_kind(step))
}

fn describe_kind(step: &Step) -> String {
    let verb = |kind: Operation| match kind {
        Operation::Start => "start",
        Operation::Stop => "stop",
    };
    match &step.kind {
        StepKind::Prepared {
            kind,
            component_bytes,
            adapted,
        } => {
            let kind = match kind {
                PayloadKind::Service => "service",
                PayloadKind::Job => "job",
            };
            let how = if *adapted {
                ", adapted from a core module"
            } else {
                ""
            };
            format!("prepared a {kind} of {component_bytes} bytes{how}")
        }
        StepKind::Encrypted { sha256, bytes } => {
            format!(
                "encrypted under a new key: {bytes} bytes, SHA-256 {}…",
                sha256.short()
            )
        }
        StepKind::Uploaded { locations } => format!("uploaded to {} stores", locations.len()),
        StepKind::SecretsKept => "kept the keys in your wallet".into(),
        StepKind::NameCommitted { name } => format!("committed to the name {name}"),
        StepKind::NameRegistered { name, deposit } => {
            format!("registered {name} with a deposit of {deposit}")
        }
        StepKind::Posted { escrow } => {
            let id = step.request.map_or_else(String::new, |id| id.short());
            format!("posted request {id} with {escrow} in escrow")
        }
        StepKind::Matched {
            offer,
            provider,
            price,
        } => format!(
            "matched with offer {} of provider {} at {price} a block",
            offer.short(),
            provider.short()
        ),
        StepKind::EvidenceAccepted {
            evidence,
            measurement,
            ..
        } => format!(
            "verified the enclave's {} evidence of code {}…",
            evidence.name(),
            measurement.short()
        ),
        StepKind::KeyWithheld { reason } => format!("withheld the key: {reason}"),
        StepKind::Challenged { operation } => {
            format!("challenged the enclave (operation {operation})")
        }
        StepKind::Responded { kind, .. } => match kind {
            Operation::Start => {
                "the enclave's response is right; sent ours with the wrapped key".into()
            }
            Operation::Stop => "the enclave's response is right; sent ours".into(),
        },
        StepKind::Answered {
            kind,
            outcome,
            message,
        } => {
            let outcome = match outcome {
                Outcome::Confirmed => "confirmed",
                Outcome::Rejected => "rejected",
                Outcome::Error => "answered with an error to",
            };
            let said = if message.is_empty() {
                String::new()
            } else {
                format!(": {message}")
            };
            format!("the enclave {outcome} the {}{said}", verb(*kind))
        }
        StepKind::Certified { name } => format!("certificate issued for {name}"),
        StepKind::ContractEnded { reason, paid } => {
            format!("contract ended, {}; {paid} paid", reason.describe())
        }
        StepKind::Completed { exit_code, error } => match error {
            None => format!("the job ended with exit status {exit_code}"),
            Some(error) => format!("the job ended with exit status {exit_code}: {error}"),
        },
        StepKind::Closed { reason } => format!("request closed, {}", reason.describe()),
        StepKind::Operated { kind } => format!("asked every replica to {}", verb(*kind)),
        StepKind::Deferred => "another process of yours answers for this request".into(),
    }
}

/// How a service that runs is reached.
#[derive(Debug, Serialize)]
pub struct Reach {
    /// The request.
    pub request: RequestId,
    /// Its name; none for a service without one.
    pub name: Option<DomainName>,
    /// Addresses and ports of its live replicas.
    pub endpoints: Vec<(IpAddr, u16)>,
    /// A command that asks it, checked against the circle's root.
    pub curl: Option<String>,
    /// A command that resolves its name.
    pub dig: Option<String>,
}

impl Reach {
    /// Reads the name's live endpoints, proven.
    ///
    /// Errors: the circle cannot be asked.
    pub async fn find(session: &Session, user: &User, request: RequestId) -> anyhow::Result<Self> {
        let record = user.request(request).await?;
        let file = session.state.read()?;
        let mut reach = Self {
            request,
            name: record.terms.name.clone(),
            endpoints: Vec::new(),
            curl: None,
            dig: None,
        };
        let Some(name) = record.terms.name else {
            return Ok(reach);
        };
        let client = user.account().client();
        let (found, _) = client
            .proven::<record::Name>(state_key::name(&name))
            .await
            .context("read the name's endpoints")?;
        for endpoint in found.iter().flat_map(|found| &found.endpoints) {
            let port = endpoint.endpoint.port;
            let addresses = endpoint.endpoint.addresses.iter();
            reach
                .endpoints
                .extend(addresses.map(|address| (*address, port)));
        }
        if let Some((address, port)) = reach.endpoints.first() {
            reach.curl = Some(format!(
                "curl --cacert {} --resolve {name}:{port}:{address} https://{name}:{port}/",
                shell_word(&session.state.roots().display().to_string()),
            ));
        }
        reach.dig = Some(format!(
            "dig @{} -p {} {name} A",
            file.names.ip(),
            file.names.port()
        ));
        Ok(reach)
    }

    /// For people.
    pub fn human(&self, session: &Session) -> String {
        let mut text = String::new();
        match &self.name {
            Some(name) => {
                let _ = writeln!(text, "\n{name} runs. Try:");
            }
            None => {
                let _ = writeln!(text, "\nrequest {} runs.", self.request.short());
            }
        }
        for command in self.curl.iter().chain(&self.dig) {
            let _ = writeln!(text, "  {command}");
        }
        let id = self
            .name
            .as_ref()
            .map_or_else(|| self.request.short(), ToString::to_string);
        let _ = writeln!(text, "  {} logs {id}", session.invocation());
        text
    }
}
