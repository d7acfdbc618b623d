//! `ringfort up`: a circle on this machine, founded at the first time and
//! continued ever after.
//!
//! The parts run under a supervisor of their own session, so they stay when
//! this command ends. It ends when the circle is well, and says what it
//! started, where, and what to try.

use std::{
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{
    failure::{Advice, Status},
    founding::{self, configuration, enclave::Program},
    health::{self, Health},
    parts,
    ports::{self, Ports},
    process::{ProcessId, own_program},
    session::{Format, Session},
    state_directory::{CircleFile, Embedded},
    supervisor::{
        self,
        control::{self, Request},
    },
};

/// How long the circle may take to become well: seconds on an idle machine,
/// more where a store is repaired or two cores are shared.
const HEALTHY_WITHIN: Duration = Duration::from_secs(120);

/// How often the parts are looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How often a part may die before `up` gives up on it.
const DEATHS_TOLERATED: u32 = 4;

/// Keykeepers of an embedded circle, at most: more show nothing on one machine.
const MAX_KEYKEEPERS: u16 = 16;

/// How long the supervisor may take to answer after its start.
const SUPERVISOR_WITHIN: Duration = Duration::from_secs(20);

/// Arguments of `ringfort up`.
#[derive(clap::Args)]
pub struct Up {
    /// Port that all others follow from.
    #[arg(long, value_name = "PORT")]
    base_port: Option<u16>,
    /// Validators of a new circle.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(ports::MAX_VALIDATORS)))]
    validators: Option<u16>,
    /// Providers of a new circle.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(ports::MAX_PROVIDERS)))]
    providers: Option<u16>,
    /// Keykeepers of a new circle; 0 for none.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=i64::from(MAX_KEYKEEPERS)))]
    keykeepers: Option<u16>,
    /// Enclave program of a new circle; the one beside this program if not given.
    #[arg(long, value_name = "FILE")]
    enclave: Option<PathBuf>,
    /// Image of a new circle's guests, as script/enclave-guest makes it: enclaves are then
    /// launched as emulated guests, not as processes.
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "enclave")]
    guest: Option<PathBuf>,
    /// An apex of a new circle, beneath which names are registered: internal, or a domain
    /// that is delegated to you; may be given often.
    #[arg(long, value_name = "APEX", value_parser = crate::typed_name::parse)]
    apex: Vec<wire::DomainName>,
    /// Stay in the foreground: the circle ends with this command.
    #[arg(long)]
    foreground: bool,
}

/// Founds or continues the circle and waits until it is well.
pub fn execute(session: &Session, up: &Up) -> anyhow::Result<Status> {
    let (file, embedded) = circle(session, up)?;
    let ports = Ports::above(embedded.base_port).context("the circle's base port")?;
    if let Some(answer) = control::ask(&session.state, Request::Status)? {
        session.terminal.progress(&format!(
            "the circle {} is already running (supervisor pid {})",
            file.name, answer.pid
        ));
        return wait_until_well(session, &file);
    }
    founding::enclave::check_copy(&session.state, &embedded)?;
    configuration::write(&session.state, &file, &embedded, ports)?;
    let parts = parts::of(&session.state, &embedded, ports);
    refuse_taken_ports(session, &parts)?;
    session
        .terminal
        .progress(&format!("starting {} processes", parts.len()));
    if up.foreground {
        return foreground(session, file, parts);
    }
    start_supervisor(session)?;
    wait_until_well(session, &file)
}

/// The circle at the state directory: as it stands, or founded now.
fn circle(session: &Session, up: &Up) -> anyhow::Result<(CircleFile, Embedded)> {
    if !session.state.exists() {
        let plan = founding::Plan {
            base_port: up.base_port.unwrap_or(ports::DEFAULT_BASE),
            validators: up.validators.unwrap_or(founding::DEFAULT_VALIDATORS),
            providers: up.providers.unwrap_or(founding::DEFAULT_PROVIDERS),
            keykeepers: keykeepers(session, up)?,
            enclave: match &up.guest {
                Some(directory) => Program::Guest(directory.clone()),
                None => Program::Process(founding::enclave::find(up.enclave.as_deref())?),
            },
            apexes: up.apex.clone(),
        };
        founding::found(session, &plan)?;
    }
    let file = session.state.read()?;
    let Some(embedded) = file.embedded else {
        return Err(Advice::new(
            format!("the circle {} does not run on this machine", file.name),
            "give another directory with --state DIR to make a circle here",
        )
        .into());
    };
    refuse_other_layout(session, up, &embedded)?;
    Ok((file, embedded))
}

/// How many keykeepers a new circle has.
///
/// Errors: one alone, which would hold every key; some are asked for and their
///         program is not there.
fn keykeepers(session: &Session, up: &Up) -> anyhow::Result<u16> {
    let build = "build it with `cargo build -p keykeeper`";
    match (up.keykeepers, founding::enclave::find_keykeeper()?) {
        (Some(0), _) => Ok(0),
        (Some(1), _) => Err(Advice::new(
            "one keykeeper alone would hold every key",
            "give --keykeepers 3 or more; 0 for none",
        )
        .into()),
        (Some(_), None) => Err(Advice::new("there is no program ringfort-keykeeper", build).into()),
        (asked, Some(_)) => Ok(asked.unwrap_or(founding::DEFAULT_KEYKEEPERS)),
        (None, None) => {
            session.terminal.note(&format!(
                "no program ringfort-keykeeper beside this one: the circle has no keykeepers; {build}"
            ));
            Ok(0)
        }
    }
}

/// Refuses options that a circle which exists already answers differently.
fn refuse_other_layout(session: &Session, up: &Up, embedded: &Embedded) -> anyhow::Result<()> {
    let differs = [
        ("--base-port", up.base_port, embedded.base_port),
        ("--validators", up.validators, embedded.validators),
        ("--providers", up.providers, embedded.providers),
        ("--keykeepers", up.keykeepers, embedded.keykeepers),
    ];
    for (option, asked, stands) in differs {
        if let Some(asked) = asked.filter(|asked| *asked != stands) {
            return Err(Advice::new(
                format!(
                    "{option} {asked} does not fit the circle at {}, which has {stands}",
                    session.state.root().display()
                ),
                "leave the option out to continue that circle, or make another with --state DIR",
            )
            .into());
        }
    }
    if let Some(directory) = &up.guest {
        let measured = founding::enclave::measure_guest(directory)?;
        return founding::enclave::compare(session, measured, embedded.measurement, true);
    }
    if embedded.guest {
        // Its image is its own; the program beside this one is not in question.
        return Ok(());
    }
    let here = founding::enclave::find(up.enclave.as_deref());
    match (here, &up.enclave) {
        (Ok(found), given) => {
            let measured = founding::enclave::measure(&found)?;
            founding::enclave::compare(session, measured, embedded.measurement, given.is_some())
        }
        (Err(error), Some(_)) => Err(error),
        // The circle has its own copy: it needs none beside this program.
        (Err(_), None) => Ok(()),
    }
}

fn refuse_taken_ports(session: &Session, parts: &[parts::Part]) -> anyhow::Result<()> {
    // A part of an earlier run may be about to end: it gets the time to.
    for part in parts {
        if let Some(earlier) = ProcessId::read(&session.state.pid(&part.name)) {
            earlier.wait_gone(supervisor::STOP_TIMEOUT);
        }
    }
    let needs: Vec<_> = parts
        .iter()
        .flat_map(|part| {
            let named = |(protocol, address)| (part.name.clone(), protocol, address);
            part.listens.iter().copied().map(named)
        })
        .collect();
    ports::check_free(&needs)
}

/// Starts `ringfort supervise` in a session of its own and waits for its answer.
fn start_supervisor(session: &Session) -> anyhow::Result<()> {
    let path = session.state.log("supervisor");
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).context("make the log directory")?;
    }
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    let mut child = std::process::Command::new(own_program()?)
        .arg("supervise")
        .arg("--state")
        .arg(session.state.root())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .current_dir(session.state.root())
        .spawn()
        .context("start the supervisor")?;
    let deadline = Instant::now() + SUPERVISOR_WITHIN;
    loop {
        if control::ask(&session.state, Request::Status)?.is_some() {
            return Ok(());
        }
        let ended = child.try_wait()?;
        if ended.is_some() || Instant::now() > deadline {
            return Err(Advice::new(
                "the supervisor did not start",
                format!("its log says why: {}", path.display()),
            )
            .into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs the supervisor in this process, with a thread beside it that reports.
fn foreground(
    session: &Session,
    file: CircleFile,
    parts: Vec<parts::Part>,
) -> anyhow::Result<Status> {
    super::daemon::start_log();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if let Err(error) = wait_until_well(session, &file) {
                crate::failure::report(&session.terminal, session.format, &error);
            }
        });
        // The parts end with the thread that starts them: this one, the main one.
        supervisor::run(&session.state, parts)
    })?;
    Ok(Status::Done)
}

/// Looks at the circle until it is well, telling what changes, then says what runs where.
fn wait_until_well(session: &Session, file: &CircleFile) -> anyhow::Result<Status> {
    let runtime = super::runtime()?;
    let deadline = Instant::now() + HEALTHY_WITHIN;
    let mut said = String::new();
    loop {
        let health = runtime.block_on(health::look(&session.state, file))?;
        if health.is_well() {
            announce(session, file, &health)?;
            return Ok(Status::Done);
        }
        let waiting = health.waiting_for();
        if waiting != said {
            session.terminal.progress(&waiting);
            said = waiting;
        }
        let dies = |part: &&health::PartHealth| !part.well && part.restarts >= DEATHS_TOLERATED;
        let hopeless = health.parts.iter().find(dies);
        if let Some(part) = hopeless {
            return Err(Advice::new(
                format!("{} keeps dying: {}", part.name, part.why.join("; ")),
                format!(
                    "its log says why: {}",
                    session.state.log(&part.name).display()
                ),
            )
            .with_status(Status::NotWell)
            .into());
        }
        if Instant::now() > deadline {
            return Err(Advice::new(
                format!(
                    "the circle is not well after {} s: {said}",
                    HEALTHY_WITHIN.as_secs()
                ),
                "`ringfort status` tells how each part is; it goes on meanwhile",
            )
            .with_status(Status::NotWell)
            .into());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Where the name node of an embedded circle answers over encrypted transports.
pub fn encrypted_dns(file: &CircleFile) -> Vec<String> {
    let ports = file
        .embedded
        .as_ref()
        .and_then(|embedded| Ports::above(embedded.base_port));
    let Some(ports) = ports else {
        return Vec::new();
    };
    let name = format!("{}.{}", wire::NAME_SERVER_LABEL, file.apex);
    vec![
        format!(
            "over TLS {}, over QUIC {}, as {name}",
            ports.names_tls(),
            ports.names_quic()
        ),
        format!("over HTTPS https://{}/dns-query", ports.names_https()),
    ]
}

fn announce(session: &Session, file: &CircleFile, health: &Health) -> anyhow::Result<()> {
    if session.format == Format::Json {
        println!("{}", serde_json::to_string(health)?);
        return Ok(());
    }
    let terminal = &session.terminal;
    let height = health
        .height
        .map_or_else(String::new, |height| format!(" at height {height}"));
    terminal.progress(&terminal.green(&format!("the circle {} is up{height}", file.name)));
    println!();
    println!(
        "Circle    {}  (development: its keys were dealt on this machine)",
        file.circle
    );
    println!("State     {}", session.state.root().display());
    println!("API       {}", file.nodes.join("  "));
    println!("DNS       {}  (zone {})", file.names, file.apex);
    for line in encrypted_dns(file) {
        println!("          {line}");
    }
    println!("CA root   {}", session.state.roots().display());
    println!(
        "Your key  {}",
        founding::user_key_file(&session.state).display()
    );
    println!(
        "          its passphrase was generated and lies beside it, readable by you alone: \
         fit for development only"
    );
    println!();
    println!("{}", terminal.bold("Try next:"));
    let ringfort = session.invocation();
    println!("  {ringfort} status");
    println!(
        "  {ringfort} run target/components/hello.wasm --name hello.{}",
        file.apex
    );
    println!("  {ringfort} down");
    Ok(())
}
