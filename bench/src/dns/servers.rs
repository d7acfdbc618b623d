//! The servers that are measured, each a process on one core: ours, Knot DNS,
//! NSD, and the echo.

use std::{
    fs,
    io::Write as _,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{APEX, ledger, query};

/// The core that servers run on; the loader, and our signer, have the other.
pub const SERVER_CORE: &str = "0";
/// The loader's core.
pub const LOADER_CORE: &str = "1";

/// What our threads that answer over UDP are called.
const ANSWERING_THREAD: &str = "dns-udp";

/// How long a server may take to load the zone; ours verifies every signature.
const LOADING: Duration = Duration::from_secs(900);

/// A process that ends with this.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(name: &str, core: &str, program: &Path, arguments: &[&str]) -> Result<Process> {
    let child = Command::new("taskset")
        .args(["-c", core])
        .arg(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("start {name}: script/setup installs it"))?;
    Ok(Process(child))
}

/// A server that is measured.
pub struct Server {
    /// What it is called.
    pub name: &'static str,
    /// Where it answers.
    pub address: SocketAddr,
    /// Makes the names it holds change, if they can.
    pub changes: Option<Changes>,
    process: Process,
    /// The server behind a proxy, whose work counts as its own.
    behind: Option<Process>,
    _signer: Option<Process>,
}

impl Server {
    fn start(
        name: &'static str,
        address: SocketAddr,
        program: &Path,
        arguments: &[&str],
    ) -> Result<Self> {
        Ok(Self {
            name,
            address,
            changes: None,
            process: start(name, SERVER_CORE, program, arguments)?,
            behind: None,
            _signer: None,
        })
    }

    /// Waits until it answers for the zone; gives how long that took.
    pub fn wait(&self) -> Result<Duration> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(self.address)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let begin = Instant::now();
        let probe = query(ledger::name_of(0).as_str(), false);
        let mut response = [0; 512];
        while begin.elapsed() < LOADING {
            let _ = socket.send(&probe);
            if let Ok(length) = socket.recv(&mut response)
                && length > 12
                && response[3] & 0x0f == 0
            {
                return Ok(begin.elapsed());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("{} does not answer", self.name)
    }

    /// Waits until it accepts connections at `address`.
    pub fn wait_for_connections(&self, address: SocketAddr) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < LOADING {
            if TcpStream::connect(address).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("{} accepts no connection at {address}", self.name)
    }

    /// Its processes and all that they started.
    fn processes(&self) -> Vec<u32> {
        let own = std::iter::once(&self.process).chain(&self.behind);
        let mut all: Vec<u32> = own.map(|process| process.0.id()).collect();
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

    /// Processor time that it has used, nanoseconds; and what of it went to
    /// threads that answer over UDP, if they have a name of their own.
    pub fn processor_ns(&self) -> (u64, u64) {
        let (mut sum, mut answering) = (0, 0);
        for pid in self.processes() {
            let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
                continue;
            };
            for task in tasks.flatten() {
                let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
                let first = text.split_whitespace().next();
                let used = first.and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
                let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
                if name.trim() == ANSWERING_THREAD {
                    answering += used;
                }
                sum += used;
            }
        }
        (sum, answering)
    }

    /// Memory that it holds alone or in share, MiB: the sum of the processes'
    /// proportional sets, so that what forked processes share counts once.
    pub fn resident_mib(&self) -> f64 {
        let of = |pid: u32| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let line = text
                .lines()
                .find(|line| line.starts_with("Pss:"))?
                .to_owned();
            line.split_whitespace().nth(1)?.parse::<f64>().ok()
        };
        self.processes().into_iter().filter_map(of).sum::<f64>() / 1024.0
    }
}

/// Tells our processes how high their ledger is.
pub struct Changes {
    running: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Changes {
    fn of(mut inputs: Vec<ChildStdin>) -> Self {
        let (running, ended) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (is_running, has_ended) = (Arc::clone(&running), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            let mut height = ledger::FIRST.0;
            let pause = Duration::from_secs(1) / ledger::BLOCKS_PER_SECOND;
            while !has_ended.load(Ordering::Relaxed) {
                std::thread::sleep(pause);
                if !is_running.load(Ordering::Relaxed) {
                    continue;
                }
                height += 1;
                for input in &mut inputs {
                    // One that has gone shows in its rounds.
                    let _ = writeln!(input, "{height}");
                }
            }
        });
        Self {
            running,
            ended,
            thread: Some(thread),
        }
    }

    /// Lets names change, or stand still.
    pub fn set_running(&self, running: bool) {
        self.running.store(running, Ordering::Relaxed);
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How often an address is sought before there is none.
const TRIES: usize = 100;

/// An address that nobody has, over UDP or TCP.
pub fn free() -> Result<SocketAddr> {
    for _ in 0..TRIES {
        let address = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no port is free");
}

/// Our signer and name server; `more` options go to the latter.
pub fn ours(names: u32, keys: &Path, more: &[(&str, String)]) -> Result<Server> {
    let (feed, address) = (free()?, free()?);
    let program = std::env::current_exe()?;
    let (names, feed, listen) = (names.to_string(), feed.to_string(), address.to_string());
    let keys = keys.to_str().context("a path in UTF-8")?;
    let with = |command| {
        [
            command, "--names", &names, "--keys", keys, "--feed", &feed, "--listen", &listen,
        ]
    };
    let mut signer = start("signer", LOADER_CORE, &program, &with("dns-signer"))?;
    let mut arguments = with("dns-server").to_vec();
    for (option, value) in more {
        arguments.extend([*option, value.as_str()]);
    }
    let mut server = Server::start("ringfort", address, &program, &arguments)?;
    let inputs = [signer.0.stdin.take(), server.process.0.stdin.take()];
    server.changes = Some(Changes::of(inputs.into_iter().flatten().collect()));
    server._signer = Some(signer);
    Ok(server)
}

/// Knot DNS with the zone file in `directory`.
pub fn knot(directory: &Path) -> Result<Server> {
    let address = free()?;
    let at = directory.display();
    let text = format!(
        "server:\n  listen: 127.0.0.1@{}\n  rundir: {at}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         log:\n  - target: stderr\n    any: error\ndatabase:\n  storage: {at}/db\n\
         zone:\n  - domain: {APEX}\n    storage: {at}\n    file: zone\n    semantic-checks: off\n    zonefile-sync: -1\n    \
         journal-content: none\n",
        address.port()
    );
    let path = directory.join("knot.conf");
    fs::write(&path, text)?;
    let path = path.to_string_lossy().into_owned();
    Server::start("knot", address, Path::new("knotd"), &["-c", &path])
}

/// NSD with the zone file in `directory`.
pub fn nsd(directory: &Path) -> Result<Server> {
    nsd_with(directory, "")
}

/// NSD that answers over TLS at `tls` too.
pub fn nsd_with_tls(
    directory: &Path,
    tls: SocketAddr,
    key: &Path,
    certificate: &Path,
) -> Result<Server> {
    let more = format!(
        "  ip-address: {}@{}\n  tls-service-key: \"{}\"\n  tls-service-pem: \"{}\"\n  tls-port: {}\n  \
         tcp-count: 1000\n",
        tls.ip(),
        tls.port(),
        key.display(),
        certificate.display(),
        tls.port()
    );
    nsd_with(directory, &more)
}

fn nsd_with(directory: &Path, more: &str) -> Result<Server> {
    let address = free()?;
    let at = directory.display();
    let text = format!(
        "server:\n  ip-address: 127.0.0.1@{}\n{more}  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{at}\"\n  \
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

/// dnsdist, with a cache of every name, before Knot DNS: all on the servers' core.
pub fn dnsdist(
    directory: &Path,
    tls: SocketAddr,
    https: SocketAddr,
    (key, certificate): (&Path, &Path),
    names: u32,
) -> Result<Server> {
    let behind = knot(directory)?;
    behind.wait()?;
    let address = free()?;
    let (key, certificate) = (key.display(), certificate.display());
    let text = format!(
        "setLocal('{address}')\naddTLSLocal('{tls}', '{certificate}', '{key}')\n\
         addDOHLocal('{https}', '{certificate}', '{key}', '/dns-query')\n\
         setMaxTCPClientThreads(1)\nsetMaxTCPConnectionsPerClient(0)\n\
         newServer({{address='{}'}}):setUp()\n\
         getPool(''):setCache(newPacketCache({}, {{maxTTL=86400}}))\n",
        behind.address,
        u64::from(names) * 2 + 1000,
    );
    let path = directory.join("dnsdist.conf");
    fs::write(&path, text)?;
    let path = path.to_string_lossy().into_owned();
    let arguments = ["--supervised", "--disable-syslog", "-C", &path];
    let mut server = Server::start("dnsdist+knot", address, Path::new("dnsdist"), &arguments)?;
    server.behind = Some(behind.process);
    Ok(server)
}

/// The echo.
pub fn echo() -> Result<Server> {
    let address = free()?;
    let (program, at) = (std::env::current_exe()?, address.to_string());
    Server::start("echo", address, &program, &["dns-echo", &at])
}
