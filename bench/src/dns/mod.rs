//! Authoritative answers over UDP, one core served: beside Knot DNS, NSD and a
//! bare echo, on the same zone file, in alternating rounds.

mod load;
mod serve;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

pub use self::load::echo;
pub use self::serve::run as serve;
use crate::statistics::Samples;

/// The zone.
pub const APEX: &str = "internal";

/// The core that servers run on; the loader has the other.
const SERVER_CORE: &str = "0";
const LOADER_CORE: &str = "1";

/// How long a server may take to load the zone.
const LOADING: Duration = Duration::from_secs(120);

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Workload {
    /// A of names that exist.
    Positive,
    /// The same, one in ten of a name that does not.
    Mixed,
    /// A with DO.
    Signed,
    /// A with DO of names that do not exist.
    SignedNegative,
}

impl Workload {
    const ALL: [Self; 4] = [
        Self::Positive,
        Self::Mixed,
        Self::Signed,
        Self::SignedNegative,
    ];

    fn describe(self) -> &'static str {
        match self {
            Self::Positive => "A",
            Self::Mixed => "A, 10 % of no such name",
            Self::Signed => "A with DO",
            Self::SignedNegative => "A with DO, of no such name",
        }
    }

    /// Ratio to Knot and NSD that we hold ourselves to.
    fn goal(self) -> f64 {
        match self {
            Self::SignedNegative => 1.0,
            _ => 2.0,
        }
    }

    fn queries(self, names: usize) -> Vec<Vec<u8>> {
        // A stride that is coprime to any count of names visits all, in an
        // order that no cache likes.
        (0..names.min(200_000))
            .map(|index| {
                let exists = match self {
                    Self::Positive | Self::Signed => true,
                    Self::Mixed => index % 10 != 0,
                    Self::SignedNegative => false,
                };
                let at = index.wrapping_mul(7_368_787) % names;
                let name = serve::name_of(at).to_string();
                let name = if exists { name } else { format!("x{name}") };
                query(&name, matches!(self, Self::Signed | Self::SignedNegative))
            })
            .collect()
    }
}

/// An A query in wire form (RFC 1035 §4.1), with DO if asked.
fn query(name: &str, dnssec_ok: bool) -> Vec<u8> {
    let mut octets = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(dnssec_ok)];
    for label in name.split('.') {
        octets.push(label.len() as u8);
        octets.extend_from_slice(label.as_bytes());
    }
    octets.extend_from_slice(&[0, 0, 1, 0, 1]);
    if dnssec_ok {
        octets.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0]);
    }
    octets
}

/// A server that is measured.
struct Server {
    name: &'static str,
    process: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start(
        name: &'static str,
        address: SocketAddr,
        program: &Path,
        arguments: &[&str],
    ) -> Result<Self> {
        let process = Command::new("taskset")
            .args(["-c", SERVER_CORE])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start {name}: script/setup installs it"))?;
        Ok(Self {
            name,
            process,
            address,
        })
    }

    /// Waits until it answers for the zone.
    fn wait(&self) -> Result<()> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(self.address)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let deadline = Instant::now() + LOADING;
        let probe = query(serve::name_of(0).as_str(), false);
        let mut response = [0; 512];
        while Instant::now() < deadline {
            let _ = socket.send(&probe);
            if let Ok(length) = socket.recv(&mut response)
                && length > 12
                && response[3] & 0x0f == 0
            {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("{} does not answer", self.name)
    }

    /// Its process and all that it started.
    fn processes(&self) -> Vec<u32> {
        let mut all = vec![self.process.id()];
        let mut at = 0;
        while at < all.len() {
            let path = format!("/proc/{0}/task/{0}/children", all[at]);
            let children = fs::read_to_string(path).unwrap_or_default();
            all.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
            at += 1;
        }
        all
    }

    /// Processor time that it has used, nanoseconds.
    fn processor_ns(&self) -> u64 {
        let mut sum = 0;
        for pid in self.processes() {
            let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
                continue;
            };
            for task in tasks.flatten() {
                let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
                let first = text.split_whitespace().next();
                sum += first.and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
            }
        }
        sum
    }

    /// Memory that it holds, MiB.
    fn resident_mib(&self) -> f64 {
        let of = |pid: u32| {
            let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = text
                .lines()
                .find(|line| line.starts_with("VmRSS:"))?
                .to_owned();
            line.split_whitespace().nth(1)?.parse::<f64>().ok()
        };
        self.processes().into_iter().filter_map(of).sum::<f64>() / 1024.0
    }
}

fn free() -> Result<SocketAddr> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?)
}

fn ours(name: &'static str, names: usize, changes: bool, file: &Path) -> Result<Server> {
    let address = free()?;
    let program = std::env::current_exe()?;
    let (at, count) = (address.to_string(), names.to_string());
    let mut arguments = vec!["dns-server", &at, "--names", &count, "--file"];
    arguments.push(file.to_str().context("a path in UTF-8")?);
    if changes {
        arguments.push("--changes");
    }
    let mut server = Server::start(name, address, &program, &arguments)?;
    let output = server.process.stdout.take().context("its output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    if line != "ready\n" {
        bail!("{name} did not start");
    }
    Ok(server)
}

fn knot(directory: &Path) -> Result<Server> {
    let address = free()?;
    let at = directory.display();
    let text = format!(
        "server:\n  listen: 127.0.0.1@{}\n  rundir: {at}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         log:\n  - target: stderr\n    any: error\ndatabase:\n  storage: {at}/db\n\
         zone:\n  - domain: {APEX}\n    storage: {at}\n    file: zone\n    semantic-checks: off\n    zonefile-sync: -1\n",
        address.port()
    );
    let path = directory.join("knot.conf");
    fs::write(&path, text)?;
    let path = path.to_string_lossy().into_owned();
    Server::start("knot", address, Path::new("knotd"), &["-c", &path])
}

fn nsd(directory: &Path) -> Result<Server> {
    let address = free()?;
    let at = directory.display();
    let text = format!(
        "server:\n  ip-address: 127.0.0.1@{}\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{at}\"\n  \
         database: \"\"\n  pidfile: \"\"\n  xfrdfile: \"{at}/xfrd\"\n  xfrdir: \"{at}\"\n  zonelistfile: \"{at}/list\"\n  \
         rrl-ratelimit: 0\n  server-count: 1\nremote-control:\n  control-enable: no\n\
         zone:\n  name: {APEX}\n  zonefile: zone\n",
        address.port()
    );
    let path = directory.join("nsd.conf");
    fs::write(&path, text)?;
    let path = path.to_string_lossy().into_owned();
    Server::start("nsd", address, Path::new("nsd"), &["-d", "-c", &path])
}

/// One server's rounds of one workload.
struct Figures {
    name: &'static str,
    per_second: Vec<f64>,
    ns_per_query: Vec<f64>,
    lost: u64,
    positive: f64,
}

/// Measures every workload.
pub fn run(names: usize, rounds: usize, length: Duration) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file: PathBuf = directory.path().join("zone");
    println!("a signed zone of {names} names; one core served, the other loads");
    let changing = directory.path().join("changing");
    let mut servers = vec![
        ours("ringfort", names, false, &file)?,
        ours("ringfort, changing", names, true, &changing)?,
        knot(directory.path())?,
        nsd(directory.path())?,
    ];
    let address = free()?;
    let (program, at) = (std::env::current_exe()?, address.to_string());
    servers.push(Server::start(
        "echo",
        address,
        &program,
        &["dns-echo", &at],
    )?);
    for server in &servers {
        server.wait()?;
    }
    pin_loader()?;
    for server in &servers {
        println!(
            "  {:<20} {:>8.1} MiB resident",
            server.name,
            server.resident_mib()
        );
    }
    for workload in Workload::ALL {
        measure(workload, &servers, names, rounds, length)?;
    }
    for server in &servers {
        println!(
            "  {:<20} {:>8.1} MiB resident afterwards",
            server.name,
            server.resident_mib()
        );
    }
    Ok(())
}

/// Keeps this process off the servers' core.
fn pin_loader() -> Result<()> {
    let status = Command::new("taskset")
        .args([
            "-a",
            "-c",
            "-p",
            LOADER_CORE,
            &std::process::id().to_string(),
        ])
        .stdout(Stdio::null())
        .status()
        .context("taskset, of util-linux")?;
    if !status.success() {
        bail!("taskset failed: two cores are needed");
    }
    Ok(())
}

fn measure(
    workload: Workload,
    servers: &[Server],
    names: usize,
    rounds: usize,
    length: Duration,
) -> Result<()> {
    let queries = workload.queries(names);
    let mut all: Vec<Figures> = servers
        .iter()
        .map(|server| Figures {
            name: server.name,
            per_second: Vec::new(),
            ns_per_query: Vec::new(),
            lost: 0,
            positive: 0.0,
        })
        .collect();
    for round in 0..rounds {
        // Another one begins each round.
        for turn in 0..servers.len() {
            let at = (round + turn) % servers.len();
            let before = servers[at].processor_ns();
            let measured = load::run(servers[at].address, &queries, length)?;
            let used = servers[at].processor_ns() - before;
            let figures = &mut all[at];
            figures.per_second.push(measured.per_second);
            figures
                .ns_per_query
                .push(used as f64 / measured.sent.max(1) as f64);
            figures.lost += measured.lost;
            figures.positive = measured.positive;
        }
    }
    print(workload, &all);
    Ok(())
}

fn print(workload: Workload, all: &[Figures]) {
    let rounds = all.first().map_or(0, |figures| figures.per_second.len());
    println!(
        "\n{}: medians of {rounds} alternating rounds",
        workload.describe()
    );
    let median = |samples: &[f64]| Samples::new(samples.to_vec()).median();
    for figures in all {
        println!(
            "  {:<20} {:>9.0} answers/s  {:>6.0} ns of processor a query   {:.0} % with records, {} lost",
            figures.name,
            median(&figures.per_second),
            median(&figures.ns_per_query),
            figures.positive * 100.0,
            figures.lost
        );
    }
    let Some((ours, others)) = all.split_first() else {
        return;
    };
    for other in others {
        let ratios: Vec<f64> = ours
            .per_second
            .iter()
            .zip(&other.per_second)
            .map(|(ours, other)| ours / other)
            .collect();
        let ratio = median(&ratios);
        let goal = match other.name {
            "knot" | "nsd" => workload.goal(),
            "echo" => 0.9,
            _ => 1.0,
        };
        let verdict = if ratio >= goal { "reached" } else { "missed" };
        println!(
            "  ringfort / {:<20} {ratio:>5.2}   goal {goal:.2}: {verdict}",
            other.name
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_what_they_are_called() {
        let negative = Workload::SignedNegative.queries(10);
        assert!(
            negative
                .iter()
                .all(|query| query[13] == b'x' && query[11] == 1)
        );
        let mixed = Workload::Mixed.queries(100);
        let absent = mixed.iter().filter(|query| query[13] == b'x').count();
        assert_eq!((mixed.len(), absent), (100, 10));
        let mut all = Workload::Positive.queries(1000);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 1000, "every name is asked for");
    }
}
