//! The arguments of `ringfort run`, and what they ask the market for.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use client::{BundleFile, run::RunSpec};
use wire::{
    AccountId, Amount, DomainName, EvidenceKind, EvidencePolicy, LabelName, Measurement, Resources,
    match_report::{MatchReport, Misfit},
};

use crate::{
    failure::{Advice, Status},
    session::Session,
    terminal::table,
    units::{self, Span},
    user,
};

/// The largest input file: it travels inside the payload.
const MAX_INPUT_BYTES: u64 = 256 * 1024 * 1024;

/// Kinds of evidence, as they are named on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Signed under the circle's development roots: protects nothing.
    Development,
    /// A TPM 2.0 quote.
    Tpm,
    /// Intel SGX.
    SgxDcap,
    /// Intel TDX.
    TdxDcap,
    /// AMD SEV-SNP.
    SevSnp,
    /// AWS Nitro Enclaves.
    AwsNitro,
}

impl From<Kind> for EvidenceKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Development => Self::Development,
            Kind::Tpm => Self::Tpm,
            Kind::SgxDcap => Self::SgxDcap,
            Kind::TdxDcap => Self::TdxDcap,
            Kind::SevSnp => Self::SevSnp,
            Kind::AwsNitro => Self::AwsNitro,
        }
    }
}

/// Arguments of `ringfort run`.
#[derive(clap::Args)]
pub struct Run {
    /// WebAssembly to run: a component that exports wasi:http/incoming-handler
    /// (service) or wasi:cli/run (job), or a core module for WASI preview 1.
    #[arg(required_unless_present = "resume", value_name = "PAYLOAD")]
    payload: Option<PathBuf>,
    /// Arguments for the payload, after `--`.
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,

    /// Name at which a service is reached; registered to your key if it is free.
    #[arg(long)]
    name: Option<DomainName>,
    /// What to call it in `ps`; kept in your wallet alone. The payload's file name if not given.
    #[arg(long)]
    label: Option<String>,
    /// File that the payload finds under /input; may be given often, as FILE or NAME=FILE.
    #[arg(long, value_name = "FILE")]
    input: Vec<String>,
    /// Environment of the payload: KEY=VALUE, or KEY to hand on this shell's value.
    #[arg(long, value_name = "KEY[=VALUE]")]
    env: Vec<String>,

    /// Variable of the payload that holds the key of a label, in hex:
    /// NAME=[ACCOUNT/]LABEL[@VERSION]; your own label if no account is given.
    /// The enclave asks the keykeepers for it; nobody else ever has it.
    #[arg(long, value_name = "NAME=LABEL")]
    env_key: Vec<String>,

    /// Replicas to keep running.
    #[arg(long, default_value_t = 1)]
    replicas: u16,
    /// No two replicas at one provider.
    #[arg(long)]
    spread: bool,
    /// Processors of each replica, such as 0.5 or 2.
    #[arg(long, default_value = "0.25", value_parser = units::processors_milli)]
    cpu: u32,
    /// Memory of each replica, such as 256MiB.
    #[arg(long, default_value = "256MiB", value_parser = units::mebibytes)]
    memory: u32,
    /// Storage of each replica, such as 64MiB.
    #[arg(long, default_value = "64MiB", value_parser = units::mebibytes)]
    storage: u32,
    /// Service to pay for, such as 10m, 2h or 5000blocks. Time is counted in
    /// blocks of an idle circle; a busy one makes them faster.
    #[arg(long, default_value = "1h", value_parser = units::span)]
    duration: Span,
    /// The most that a replica pays for a block.
    #[arg(long, default_value_t = 20)]
    max_price: u64,
    /// Funds to set aside; what the whole duration costs at most if not given.
    #[arg(long, value_name = "AMOUNT")]
    escrow: Option<u64>,
    /// Region that must hold the hardware, such as eu or eu/de.
    #[arg(long, default_value = "", hide_default_value = true)]
    location: String,
    /// Kind of evidence that is accepted; may be given often. In a development
    /// circle, development evidence if not given.
    #[arg(long, value_enum, value_name = "KIND")]
    evidence: Vec<Kind>,
    /// Host technology that is required; may be given often.
    #[arg(long, value_name = "TECHNOLOGY")]
    technology: Vec<String>,
    /// SHA-256 of the only enclave code to accept; any that the circle admits if not given.
    #[arg(long, value_name = "SHA256")]
    measurement: Option<Measurement>,
    /// TOML file with what evidence must show besides: accepted_tcb,
    /// refused_advisories, max_collateral_age_ms, require_revocation_list,
    /// least_snp_tcb, chips.
    #[arg(long, value_name = "FILE")]
    evidence_policy: Option<PathBuf>,
    /// How long to wait for an offer that fits.
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = units::span)]
    match_within: Span,
    /// Store to upload the encrypted payload to; may be given often.
    #[arg(long, value_name = "URL")]
    mirror: Vec<String>,

    /// Say what the market would do, and post nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Watch a request again that was posted before.
    #[arg(long, value_name = "REQUEST", conflicts_with_all = ["payload", "dry_run"])]
    pub resume: Option<String>,
    /// Directory for a job's output files, fetched at its end.
    #[arg(long, value_name = "DIR")]
    pub output_directory: Option<PathBuf>,
}

impl Run {
    /// What the arguments ask for.
    ///
    /// Errors: a file cannot be read; a text is not what its option takes.
    pub fn specification(
        &self,
        session: &Session,
        account: AccountId,
        block_ms: u64,
    ) -> anyhow::Result<RunSpec> {
        let path = self.payload.as_ref().context("no payload was given")?;
        let program =
            std::fs::read(path).with_context(|| format!("read the payload {}", path.display()))?;
        let label = match &self.label {
            Some(label) => label.clone(),
            None => path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        };
        let evidence = if self.evidence.is_empty() {
            vec![EvidenceKind::Development]
        } else {
            self.evidence.iter().copied().map(Into::into).collect()
        };
        Ok(RunSpec {
            program,
            args: self.arguments.clone(),
            env: self
                .env
                .iter()
                .map(|pair| environment(pair))
                .collect::<Result<_, _>>()?,
            label_keys: self
                .env_key
                .iter()
                .map(|text| label_key(text, account))
                .collect::<Result<_, _>>()?,
            inputs: self
                .input
                .iter()
                .map(|file| input(file))
                .collect::<Result<_, _>>()?,
            label,
            name: self.name.clone(),
            name_deposit: None,
            mirrors: user::mirrors(session, &self.mirror)?,
            resources: Resources {
                cpu_milli: self.cpu,
                memory_mib: self.memory,
                storage_mib: self.storage,
            },
            replicas: self.replicas,
            require_spread: self.spread,
            duration: self.duration.blocks(block_ms),
            max_price: Amount(self.max_price),
            escrow: self.escrow.map(Amount),
            location: self.location.clone(),
            evidence,
            technologies: self.technology.clone(),
            measurement: self.measurement,
            evidence_policy: match &self.evidence_policy {
                Some(path) => read_policy(path)?,
                None => EvidencePolicy::default(),
            },
            match_within: self.match_within.blocks(block_ms),
        })
    }
}

/// A variable for the payload: `KEY=VALUE`, or `KEY` with this process's value.
/// Reads a policy for evidence; an unknown field is an error, since a policy
/// that is not applied is worse than none.
fn read_policy(path: &Path) -> anyhow::Result<EvidencePolicy> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("read the evidence policy {}", path.display()))?;
    let mut policy: EvidencePolicy = toml::from_str(&text)
        .with_context(|| format!("{} is not an evidence policy", path.display()))?;
    policy.accepted_tcb.sort_unstable();
    policy.refused_advisories.sort_unstable();
    policy.chips.sort_unstable();
    anyhow::ensure!(
        policy.is_well_formed(),
        "the evidence policy {} names something twice or is over its limits",
        path.display()
    );
    Ok(policy)
}

fn environment(pair: &str) -> anyhow::Result<(String, String)> {
    if let Some((key, value)) = pair.split_once('=') {
        return Ok((key.to_owned(), value.to_owned()));
    }
    let value = std::env::var(pair).map_err(|_| {
        Advice::new(
            format!("--env {pair} hands on a variable that is not set here"),
            "set it, or give a value: --env KEY=VALUE",
        )
    })?;
    Ok((pair.to_owned(), value))
}

/// A variable that holds a label's key: `NAME=[ACCOUNT/]LABEL[@VERSION]`.
fn label_key(text: &str, own: AccountId) -> anyhow::Result<(String, LabelName)> {
    let malformed = || {
        Advice::new(
            format!("--env-key {text} is not NAME=[ACCOUNT/]LABEL[@VERSION]"),
            "such as --env-key DISK_KEY=disk.example",
        )
    };
    let (variable, label) = text.split_once('=').ok_or_else(malformed)?;
    let (owner, label) = match label.split_once('/') {
        Some((owner, label)) => (
            crate::commands::account::account_id(owner).map_err(|_| malformed())?,
            label,
        ),
        None => (own, label),
    };
    let (service, version) = match label.split_once('@') {
        Some((service, version)) => (service, version.parse().map_err(|_| malformed())?),
        None => (label, 1),
    };
    let label = LabelName {
        owner,
        service: service.to_owned(),
        version,
    };
    if variable.is_empty() || !label.is_well_formed() {
        return Err(malformed().into());
    }
    Ok((variable.to_owned(), label))
}

/// An input file: `FILE` under its own name, or `NAME=FILE`.
fn input(text: &str) -> anyhow::Result<BundleFile> {
    let (name, path) = match text.split_once('=') {
        Some((name, path)) => (name.to_owned(), Path::new(path)),
        None => {
            let path = Path::new(text);
            let name = path.file_name().context("an input is a file")?;
            (name.to_string_lossy().into_owned(), path)
        }
    };
    let read = || -> std::io::Result<Vec<u8>> {
        let bytes = std::fs::metadata(path)?.len();
        if bytes > MAX_INPUT_BYTES {
            return Err(std::io::Error::other(format!(
                "it has {bytes} bytes; at most {MAX_INPUT_BYTES} travel in a payload"
            )));
        }
        std::fs::read(path)
    };
    let bytes = read().with_context(|| format!("read the input {}", path.display()))?;
    Ok(BundleFile { path: name, bytes })
}

/// Prints what the market would do.
///
/// Errors: the request would be refused or fits no offer: the exit status says so.
pub fn print_dry_run(session: &Session, report: &MatchReport) -> anyhow::Result<Status> {
    session.print(report, human)?;
    if let Some(reject) = report.reject {
        return Err(anyhow::Error::from(reject).context("the ledger would refuse the request"));
    }
    Ok(if report.placements.is_empty() {
        Status::Ended
    } else {
        Status::Done
    })
}

fn human(report: &MatchReport) -> String {
    let rows: Vec<Vec<String>> = report
        .offers
        .iter()
        .map(|offer| {
            let misfits: Vec<String> = offer.misfits.iter().map(misfit).collect();
            let fits = if misfits.is_empty() {
                "yes".to_owned()
            } else {
                "no".to_owned()
            };
            vec![
                offer.offer.short(),
                offer.provider.short(),
                offer.price.to_string(),
                fits,
                misfits.join("; "),
            ]
        })
        .collect();
    let mut text = table(&["OFFER", "PROVIDER", "PRICE", "FITS", "WHY NOT"], &rows);
    if report.truncated {
        text.push_str("(there are more open offers)\n");
    }
    if report.placements.is_empty() {
        text.push_str("\nno replica would be matched now\n");
    }
    for placement in &report.placements {
        let _ = writeln!(
            text,
            "\nreplica {} would go to offer {} at {} a block",
            placement.replica,
            placement.offer.short(),
            placement.price
        );
    }
    if let Some(cost) = report.cost.filter(|_| !report.placements.is_empty()) {
        let _ = writeln!(
            text,
            "\nin all {} a block, {cost} for the whole duration",
            report.cost_per_block
        );
    }
    text
}

/// Why an offer does not fit, in words.
fn misfit(misfit: &Misfit) -> String {
    match misfit {
        Misfit::Closed => "it is withdrawn or has expired".into(),
        Misfit::ReplicaTooLarge { limit } => format!(
            "a replica may ask for at most {} CPU, {} MiB memory, {} MiB storage",
            f64::from(limit.cpu_milli) / 1000.0,
            limit.memory_mib,
            limit.storage_mib
        ),
        Misfit::NoRoom { free } => format!(
            "only {} CPU, {} MiB memory, {} MiB storage are free",
            f64::from(free.cpu_milli) / 1000.0,
            free.memory_mib,
            free.storage_mib
        ),
        Misfit::ConcurrencyReached { concurrency } => {
            format!("it runs {concurrency} replicas and takes no more")
        }
        Misfit::PriceTooHigh { price } => format!("it costs {price} a block: raise --max-price"),
        Misfit::Duration { min, max } => format!("it takes {min} to {max} blocks"),
        Misfit::Location { location } => format!("it stands in {location:?}"),
        Misfit::Encryption { missing } => format!("it lacks encryption {missing:?}"),
        Misfit::Evidence { offered } => {
            let names: Vec<_> = offered.iter().map(|kind| kind.name()).collect();
            format!("its evidence ({}) is not accepted", names.join(", "))
        }
        Misfit::Technologies { missing } => format!("it lacks {}", missing.join(", ")),
        Misfit::PayloadKind { offered } => format!("it runs {offered:?} only"),
        Misfit::Measurement { offered } => format!("its enclave is {}…", offered.short()),
        Misfit::ProviderExcluded => "its provider failed this request before".into(),
        Misfit::SpreadRequired => {
            "its provider runs another replica, and --spread was given".into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_keeps_its_own_name_or_takes_the_one_given() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data.csv");
        std::fs::write(&path, b"1,2").unwrap();
        let text = path.to_str().unwrap();
        assert_eq!(input(text).unwrap().path, "data.csv");
        let renamed = input(&format!("in/x={text}")).unwrap();
        assert_eq!(
            (renamed.path.as_str(), renamed.bytes.as_slice()),
            ("in/x", &b"1,2"[..])
        );
        assert!(input("absent").is_err());
    }

    #[test]
    fn a_label_key_names_its_variable_owner_and_version() {
        let own = AccountId([1; 32]);
        let other = AccountId([2; 32]);
        let read = |text: &str| {
            label_key(text, own).map(|(name, label)| (name, label.owner, label.version))
        };
        assert_eq!(read("K=disk").unwrap(), ("K".to_owned(), own, 1));
        let text = format!("K={other}/disk.example@7");
        assert_eq!(read(&text).unwrap(), ("K".to_owned(), other, 7));
        for bad in [
            "K",
            "=disk",
            "K=",
            "K=Disk",
            "K=x/disk",
            "K=disk@",
            "K=disk@-1",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_variable_without_value_is_handed_on_from_here_or_refused() {
        assert_eq!(environment("A=b=c").unwrap(), ("A".into(), "b=c".into()));
        assert_eq!(
            environment("PATH").unwrap().1,
            std::env::var("PATH").unwrap()
        );
        assert!(environment("RINGFORT_NO_SUCH_VARIABLE").is_err());
    }
}
