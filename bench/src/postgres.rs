//! PostgreSQL with one synchronous replica on loopback, and its own load generator.
//!
//! Every write is durable on both before it is acknowledged: `fsync` is on,
//! `synchronous_commit` is `on` (the replica has flushed it) and the replica is named in
//! `synchronous_standby_names`. All else is the distribution's default but for the number
//! of connections. `pgbench` runs the closed loops: one connection each, a prepared
//! statement, the value sent with every write.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

/// Where Debian has each version's programs.
const VERSIONS: &str = "/usr/lib/postgresql";

/// The replica's name, by which the primary waits for it.
const REPLICA: &str = "replica";

/// What the files begin with in which pgbench logs its writes.
const LATENCIES: &str = "latencies";

/// Above the loops of a round.
const MAX_CONNECTIONS: usize = 600;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server, which ends when it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // SIGQUIT ends the server's own processes too; what is left is nobody's.
        let _ = Command::new("kill")
            .args(["-QUIT", &self.0.id().to_string()])
            .status();
        let _ = self.0.wait();
    }
}

/// A primary and its replica; stopped and removed when dropped.
pub struct Pair {
    programs: Programs,
    port: u16,
    // Stopped before the primary, which would wait for it.
    _replica: Server,
    _primary: Server,
    directory: TempDir,
}

/// The programs of the newest version here, and whom they run as.
struct Programs {
    folder: PathBuf,
    /// The servers refuse to be root's: then they are this user's, with this id.
    user: Option<(&'static str, u32)>,
}

impl Programs {
    fn find() -> Result<Self> {
        let newest = fs::read_dir(VERSIONS)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
            .max();
        let version =
            newest.context("PostgreSQL is not installed: install it (script/setup --bench)")?;
        let id = |arguments: &[&str]| -> Result<u32> {
            let output = Command::new("id").args(arguments).output()?;
            Ok(String::from_utf8(output.stdout)?.trim().parse()?)
        };
        let user = match id(&["-u"])? {
            0 => Some(("postgres", id(&["-u", "postgres"])?)),
            _ => None,
        };
        Ok(Self {
            folder: Path::new(VERSIONS).join(version.to_string()).join("bin"),
            user,
        })
    }

    fn command(&self, program: &str) -> Command {
        let path = self.folder.join(program);
        match self.user {
            None => Command::new(path),
            Some((user, _)) => {
                let mut command = Command::new("setpriv");
                command
                    .args(["--reuid", user, "--regid", user, "--clear-groups", "--"])
                    .arg(path);
                command
            }
        }
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.command(program).args(arguments).output()?;
        ensure!(
            output.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    fn serve(&self, data: &Path, port: u16) -> Result<Server> {
        let log = fs::File::create(data.with_extension("log"))?;
        let settings = [
            format!("port={port}"),
            "listen_addresses=127.0.0.1".to_owned(),
            "unix_socket_directories=".to_owned(),
            "fsync=on".to_owned(),
            "synchronous_commit=on".to_owned(),
            format!("synchronous_standby_names={}", standby_names(data)),
            format!("max_connections={MAX_CONNECTIONS}"),
        ];
        let mut command = self.command("postgres");
        command.arg("-D").arg(data);
        for setting in settings {
            command.args(["-c", &setting]);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        Ok(Server(command.spawn()?))
    }
}

/// Whom the server at `data` waits for.
fn standby_names(data: &Path) -> &'static str {
    match data.ends_with("primary") {
        true => "FIRST 1 (replica)",
        false => "",
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Pair {
    /// Starts both, and waits until the primary waits for its replica.
    pub fn start() -> Result<Self> {
        let programs = Programs::find()?;
        let directory = tempfile::tempdir()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        if let Some((_, id)) = programs.user {
            chown(directory.path(), Some(id), None)?;
        }
        let (primary, replica) = (
            directory.path().join("primary"),
            directory.path().join(REPLICA),
        );
        let shown = |path: &Path| path.to_string_lossy().into_owned();
        let arguments = ["--auth=trust", "--username=postgres", "--pgdata"];
        programs.run("initdb", &[&arguments[..], &[&shown(&primary)]].concat())?;
        let (port, other) = (free_port()?, free_port()?);
        let first = programs.serve(&primary, port)?;
        wait_for(&primary, || query(&programs, port, "SELECT 1"))?;
        let connection =
            format!("host=127.0.0.1 port={port} user=postgres application_name={REPLICA}");
        let arguments = [
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--dbname",
            &connection,
        ];
        let to = ["--pgdata", &shown(&replica)];
        programs.run("pg_basebackup", &[&arguments[..], &to].concat())?;
        let second = programs.serve(&replica, other)?;
        let synchronous = "SELECT sync_state FROM pg_stat_replication";
        wait_for(&replica, || {
            let state = query(&programs, port, synchronous)?;
            ensure!(state.trim() == "sync", "the replica is {state:?}");
            Ok(state)
        })?;
        query(
            &programs,
            port,
            "CREATE TABLE held (key bigint PRIMARY KEY, value text NOT NULL)",
        )?;
        Ok(Self {
            programs,
            port,
            _replica: second,
            _primary: first,
            directory,
        })
    }

    /// `loops` closed loops of writes of `value_bytes` for `length`: writes a second, and
    /// the latency of each in milliseconds.
    pub fn writes(
        &self,
        loops: usize,
        value_bytes: usize,
        length: Duration,
    ) -> Result<(f64, Vec<f64>)> {
        let folder = self.directory.path();
        let script = folder.join("write.sql");
        // As etcd's: another key each time, and an earlier value replaced if there is one.
        fs::write(
            &script,
            "\\set key random(1, 9000000000000000)\n\
             INSERT INTO held VALUES (:key, :value)\n\
             ON CONFLICT (key) DO UPDATE SET value = excluded.value;\n",
        )?;
        let (port, loops) = (self.port.to_string(), loops.to_string());
        let value = format!("value={}", "v".repeat(value_bytes));
        let prefix = folder.join(LATENCIES).to_string_lossy().into_owned();
        let script = script.to_string_lossy().into_owned();
        let load = |bound: [&str; 2]| -> Result<String> {
            self.forget_latencies()?;
            let connection = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres"];
            let load = ["-n", "-M", "prepared", "-c", &loops, "-j", "2"];
            let told = ["-D", &value, "-f", &script, "-l", "--log-prefix", &prefix];
            let arguments = [&connection[..], &load, &told, &bound, &["postgres"]];
            self.programs.run("pgbench", &arguments.concat())
        };
        // Its clock runs while the loops connect, each to a process of its own, so that
        // is measured first and added.
        let connecting = figure(&load(["-t", "1"])?, "initial connection time = ")? / 1e3;
        let seconds = (length.as_secs_f64() + connecting).ceil().max(1.0) as u64;
        let output = load(["-T", &seconds.to_string()])?;
        // Its own figure, which leaves the time of connecting out.
        let per_second = figure(&output, "tps = ")?;
        let mut latencies = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !name.starts_with(LATENCIES) {
                continue;
            }
            // client, transaction, microseconds, script, time (pgbench's manual, --log).
            for line in fs::read_to_string(&path)?.lines() {
                let field = line.split(' ').nth(2).context("a line of pgbench's log")?;
                latencies.push(field.parse::<f64>()? / 1e3);
            }
        }
        Ok((per_second, latencies))
    }

    fn forget_latencies(&self) -> Result<()> {
        for entry in fs::read_dir(self.directory.path())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(LATENCIES) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

/// The figure that follows `label` in what pgbench prints.
fn figure(output: &str, label: &str) -> Result<f64> {
    let line = output.lines().find_map(|line| line.strip_prefix(label));
    let figure = line.and_then(|line| line.split(' ').next());
    let figure = figure.with_context(|| format!("pgbench gives no {label:?}: {output}"))?;
    Ok(figure.parse()?)
}

fn query(programs: &Programs, port: u16, text: &str) -> Result<String> {
    let port = port.to_string();
    let arguments = [
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-U",
        "postgres",
        "-At",
        "-c",
        text,
    ];
    programs.run("psql", &arguments)
}

/// Waits until `attempt` succeeds; the end of the server's log if it does not.
fn wait_for(data: &Path, attempt: impl Fn() -> Result<String>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                let log = fs::read_to_string(data.with_extension("log")).unwrap_or_default();
                bail!("PostgreSQL is not ready: {error:#}\n{log}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
