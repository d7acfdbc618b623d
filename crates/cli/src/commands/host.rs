//! `ringfort host`: what this machine's hardware can say, and whether a host
//! runs what its distribution published (seed 001).

mod packages;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use attest::tpm::{AttestationKey, Quote, VerifiedQuote};
use borsh::BorshDeserialize as _;
use platform::{Capabilities, TPM_DEVICE, tpm::Tpm};
use serde::Serialize;
use software::{
    appraisal::{Expectations, Finding, HostReport, HostState, appraise_host},
    index::Index,
};
use wire::{AccountId, Action, Digest, HostResult, PublicKey, RecordAppraisal};

use self::packages::IndexPackages;
use super::runtime;
use crate::{
    failure::{Advice, Status},
    session::Session,
    terminal::table,
    user,
};

/// Registers of the boot and IMA's.
const REGISTERS: [u8; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

/// Where Linux has the firmware's log and IMA's list.
const BOOT_LOG: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";
const MEASUREMENT_LIST: &str = "/sys/kernel/security/ima/binary_runtime_measurements";

/// The files of a host's evidence, in one directory.
const QUOTE_FILE: &str = "quote.bin";
const KEY_FILE: &str = "key.bin";
const BOOT_FILE: &str = "boot.bin";
const LIST_FILE: &str = "list.bin";
/// What the appraisal came to, beside them.
const REPORT_FILE: &str = "report.json";

/// A nonce or digest of 32 bytes, in hex.
#[derive(Clone, Copy)]
pub struct Nonce([u8; 32]);

impl std::str::FromStr for Nonce {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

/// Commands on hosts.
#[derive(clap::Subcommand)]
pub enum Host {
    /// Say which evidence this machine's hardware can give.
    Evidence,
    /// Have this machine's TPM quote, and save the quote with the logs.
    Attest(Attest),
    /// Check a host's quote and logs against an index of packages.
    Verify(Verify),
    /// Show what appraisers last recorded of hosts, each proven.
    Results {
        /// The host: SHA-256 of its key.bin; all, if not given.
        host: Option<Digest>,
    },
    /// Add a signed archive's packages to an index.
    Index(IndexPackages),
    /// Show the public key of an account that this machine's TPM holds.
    Key(AccountOf),
    /// Have the TPM sign a prepared transaction's challenge
    /// (`ringfort transaction prepare`), for `submit --signature`.
    Sign {
        #[command(flatten)]
        account: AccountOf,
        /// The challenge: 32 bytes in hex.
        challenge: Nonce,
    },
}

/// An account that a TPM holds.
#[derive(clap::Args)]
pub struct AccountOf {
    /// The TPM: a device, a unix socket, or HOST:PORT.
    #[arg(long, default_value = TPM_DEVICE, value_name = "PATH")]
    tpm: String,
    /// What tells this TPM's accounts apart; the same label is the same key.
    #[arg(long, default_value = "account")]
    label: String,
}

/// Arguments of `host attest`.
#[derive(clap::Args)]
pub struct Attest {
    /// The TPM: a device, a unix socket, or HOST:PORT.
    #[arg(long, default_value = TPM_DEVICE, value_name = "PATH")]
    tpm: String,
    /// The verifier's nonce: 32 bytes in hex.
    #[arg(long, value_name = "HEX")]
    nonce: Nonce,
    /// The firmware's log.
    #[arg(long, default_value = BOOT_LOG, value_name = "FILE")]
    boot_log: PathBuf,
    /// IMA's list.
    #[arg(long, default_value = MEASUREMENT_LIST, value_name = "FILE")]
    list: PathBuf,
    /// Directory to save to.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

/// Arguments of `host verify`.
#[derive(clap::Args)]
pub struct Verify {
    /// Directory that `host attest` saved to.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The host's attestation key, as it was enrolled (its key.bin).
    #[arg(long, value_name = "FILE")]
    trusted_key: PathBuf,
    /// The nonce that the host was given.
    #[arg(long, value_name = "HEX")]
    nonce: Nonce,
    /// The index of packages.
    #[arg(long, value_name = "FILE")]
    index: PathBuf,
    /// What is kept of the host between quotes; made if it is not there.
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
    /// Files that the host makes itself; may be given often.
    #[arg(long, value_name = "PATH")]
    generated: Vec<String>,
    /// Days for which a replaced version may still run.
    #[arg(long, default_value_t = 14, value_name = "DAYS")]
    grace: u64,
    /// Record the result on the ledger under your account, and save the whole report,
    /// whose digest is recorded, beside the evidence (report.json).
    #[arg(long)]
    record: bool,
}

/// Carries out a command on hosts.
pub fn execute(session: &Session, command: Host) -> anyhow::Result<Status> {
    match command {
        Host::Evidence => evidence(session),
        Host::Attest(attest) => attest.execute(session),
        Host::Verify(verify) => verify.execute(session),
        Host::Results { host } => results(session, host),
        Host::Index(index) => index.execute(session),
        Host::Key(account) => account.print(session),
        Host::Sign { account, challenge } => account.sign(session, challenge),
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

fn open_tpm(path: &str) -> anyhow::Result<Tpm> {
    Tpm::open(path).map_err(|error| {
        let hint = "`ringfort host evidence` tells what this machine has; --tpm takes another path";
        Advice::new(error.to_string(), hint).into()
    })
}

impl AccountOf {
    fn print(&self, session: &Session) -> anyhow::Result<Status> {
        #[derive(Serialize)]
        struct InTpm {
            public: PublicKey,
            account: AccountId,
        }
        let mut tpm = open_tpm(&self.tpm)?;
        let key = tpm.account_key(&self.label)?;
        let shown = InTpm {
            public: key.public(),
            account: key.public().account(),
        };
        key.flush(&mut tpm)?;
        session.print(&shown, |shown| {
            format!("public   {}\naccount  {}\n", shown.public, shown.account)
        })?;
        Ok(Status::Done)
    }

    fn sign(&self, session: &Session, challenge: Nonce) -> anyhow::Result<Status> {
        let mut tpm = open_tpm(&self.tpm)?;
        let key = tpm.account_key(&self.label)?;
        let signature = key.sign_challenge(&mut tpm, Digest(challenge.0));
        key.flush(&mut tpm)?;
        let digits = hex::encode(signature?.0);
        session.print(&digits, |digits| format!("{digits}\n"))?;
        Ok(Status::Done)
    }
}

fn evidence(session: &Session) -> anyhow::Result<Status> {
    #[derive(Serialize)]
    struct Machine {
        tee: Option<String>,
        tpm: bool,
        sentence: String,
    }
    let found = Capabilities::of_this_machine();
    let machine = Machine {
        sentence: found.sentence(),
        tee: found.tee,
        tpm: found.tpm,
    };
    session.print(&machine, |machine| format!("{}\n", machine.sentence))?;
    Ok(Status::Done)
}

impl Attest {
    fn execute(&self, session: &Session) -> anyhow::Result<Status> {
        let mut tpm = open_tpm(&self.tpm)?;
        let key = tpm.attestation_key()?;
        let quote = tpm.quote(&key, &REGISTERS, &self.nonce.0)?;
        // The logs are read after the quote, so that they hold what it covers.
        let (boot, list) = (read(&self.boot_log)?, read(&self.list)?);
        fs::create_dir_all(&self.to)
            .with_context(|| format!("make the directory {}", self.to.display()))?;
        write(&self.to.join(QUOTE_FILE), &borsh::to_vec(&quote)?)?;
        write(&self.to.join(KEY_FILE), &key.public)?;
        write(&self.to.join(BOOT_FILE), &boot)?;
        write(&self.to.join(LIST_FILE), &list)?;
        tpm.flush(key)?;
        let directory = self.to.display().to_string();
        session.print(&directory, |directory| format!("saved to {directory}\n"))?;
        Ok(Status::Done)
    }
}

impl Verify {
    /// Saves the report, and records of `host` its digest and what it came to.
    fn record(
        &self,
        session: &Session,
        host: Digest,
        report: &HostReport,
        index: Digest,
    ) -> anyhow::Result<()> {
        let bytes = serde_json::to_vec_pretty(report)?;
        let path = self.from.join(REPORT_FILE);
        write(&path, &bytes)?;
        let result = HostResult {
            report: Digest::of(&[&bytes]),
            index,
            entries: report.entries,
            known: report.known,
            boot_events: u32::try_from(report.boot_events)?,
            findings: u32::try_from(report.findings.len())?,
        };
        let account = user::account(session)?;
        let action = Action::RecordAppraisal(RecordAppraisal { host, result });
        let sent = runtime()?
            .block_on(account.send(vec![action]))
            .context("record the appraisal")?;
        session.terminal.progress(&format!(
            "recorded of host {host} at height {}; the report is {}",
            sent.receipt.height,
            path.display()
        ));
        Ok(())
    }

    fn quote(&self, trusted: &[u8]) -> anyhow::Result<VerifiedQuote> {
        let key = AttestationKey::from_public(trusted)
            .with_context(|| format!("{} is no attestation key", self.trusted_key.display()))?;
        let quote = Quote::try_from_slice(&read(&self.from.join(QUOTE_FILE))?)
            .context("the quote does not decode")?;
        let verified = quote.verify(&key)?;
        if verified.extra_data != self.nonce.0 {
            let hint = "it was made for another question: ask the host again with this nonce";
            return Err(Advice::new("the quote binds another nonce", hint).into());
        }
        Ok(verified)
    }

    fn execute(&self, session: &Session) -> anyhow::Result<Status> {
        let trusted = read(&self.trusted_key)?;
        let quote = self.quote(&trusted)?;
        let packages = read(&self.index)?;
        let index = Index::decode(&packages)?;
        let mut expectations = Expectations {
            grace_ms: self.grace.saturating_mul(24 * 60 * 60 * 1000),
            ..Expectations::default()
        };
        expectations
            .generated
            .extend(self.generated.iter().cloned());
        let mut state = match &self.keep {
            Some(path) if path.exists() => HostState::try_from_slice(&read(path)?)
                .with_context(|| format!("{} is not kept state", path.display()))?,
            _ => HostState::default(),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let report = appraise_host(
            &quote,
            &read(&self.from.join(BOOT_FILE))?,
            &read(&self.from.join(LIST_FILE))?,
            &index,
            &expectations,
            &mut state,
            u64::try_from(now.as_millis())?,
        )?;
        if let Some(path) = &self.keep {
            write(path, &borsh::to_vec(&state)?)?;
        }
        if self.record {
            let host = Digest::of(&[&trusted]);
            self.record(session, host, &report, Digest::of(&[&packages]))?;
        }
        session.print(&report, human)?;
        Ok(if report.clean {
            Status::Done
        } else {
            Status::NotAsPublished
        })
    }
}

/// What is recorded of hosts.
fn results(session: &Session, host: Option<Digest>) -> anyhow::Result<Status> {
    let client = user::client(session)?;
    let found = runtime()?
        .block_on(client.appraisals(host))
        .context("read what is recorded of hosts")?;
    session.print(&found, |found| {
        let rows: Vec<Vec<String>> = found
            .iter()
            .map(|one| {
                let result = one.record.result;
                vec![
                    one.host.to_string(),
                    one.appraiser.to_string(),
                    one.record.appraised_at.to_string(),
                    result.entries.to_string(),
                    result.findings.to_string(),
                    one.record
                        .clean_since
                        .map_or_else(|| "–".to_owned(), |since| since.to_string()),
                ]
            })
            .collect();
        table(
            &[
                "HOST",
                "APPRAISER",
                "AT HEIGHT",
                "ENTRIES",
                "FINDINGS",
                "CLEAN SINCE",
            ],
            &rows,
        )
    })?;
    Ok(Status::Done)
}

fn human(report: &HostReport) -> String {
    let mut text = format!(
        "boot      {} events\nlist      {} entries, {} looked at now\nas published  {}\n",
        report.boot_events, report.entries, report.appraised_now, report.known
    );
    if report.rebooted {
        text.push_str("the host was switched off since it was last appraised\n");
    }
    for finding in &report.findings {
        text.push_str(&line(finding));
        text.push('\n');
    }
    text
}

fn line(finding: &Finding) -> String {
    let short = |digest: &String| digest.chars().take(16).collect::<String>();
    match finding {
        Finding::Unknown { path, sha256 } => {
            format!("unknown   {path} ({}…): no package has it", short(sha256))
        }
        Finding::Changed {
            path,
            sha256,
            package,
        } => format!("changed   {path} ({}…): not as in {package}", short(sha256)),
        Finding::Outdated { path, package, .. } => {
            format!("outdated  {path}: {package} was replaced; restart what runs it")
        }
        Finding::Violation { path } => format!("violation {path}: open for writing while it ran"),
        Finding::OtherAlgorithm { path } => {
            format!("other     {path}: not measured with SHA-256 (ima_hash=sha256)")
        }
        Finding::BootAggregate => "boot      the list was begun by another boot".to_owned(),
        Finding::Boot {
            register,
            event,
            sha256,
            text,
        } => format!(
            "boot      register {register}, {event} ({}…): {text}",
            short(sha256)
        ),
    }
}
