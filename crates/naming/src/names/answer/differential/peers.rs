//! Stock name servers that serve a zone of ours out of its zone file.

use std::{
    net::UdpSocket,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::question;
use crate::names::zone::Zone;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Knot,
    Nsd,
    Bind,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Knot, Self::Nsd, Self::Bind];

    /// As the list of differences calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Knot => "knot",
            Self::Nsd => "nsd",
            Self::Bind => "bind",
        }
    }

    /// The program, its configuration's text and its arguments before and
    /// after the configuration's path.
    fn setup(self, port: u16, at: &Path, zones: &[String]) -> (&'static str, String, Vec<String>) {
        let path = at.display();
        let list =
            |one: &dyn Fn(&str) -> String| zones.iter().map(|zone| one(zone)).collect::<String>();
        match self {
            Self::Knot => {
                let zones = list(&|zone| {
                    format!(
                        "  - domain: {zone}\n    storage: {path}\n    file: {zone}.zone\n    \
                         semantic-checks: off\n    zonefile-sync: -1\n"
                    )
                });
                let text = format!(
                    "server:\n  listen: 127.0.0.1@{port}\n  rundir: {path}\n\
                     log:\n  - target: stderr\n    any: warning\n\
                     database:\n  storage: {path}/db\nzone:\n{zones}"
                );
                ("knotd", text, vec!["-c".into()])
            }
            Self::Nsd => {
                let zones =
                    list(&|zone| format!("zone:\n  name: {zone}\n  zonefile: {zone}.zone\n"));
                let text = format!(
                    "server:\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  chroot: \"\"\n  \
                     zonesdir: \"{path}\"\n  database: \"\"\n  pidfile: \"\"\n  \
                     xfrdfile: \"{path}/xfrd\"\n  xfrdir: \"{path}\"\n  zonelistfile: \"{path}/list\"\n  \
                     rrl-ratelimit: 0\n  server-count: 1\nremote-control:\n  control-enable: no\n{zones}"
                );
                ("nsd", text, vec!["-d".into(), "-c".into()])
            }
            Self::Bind => {
                let zones = list(&|zone| {
                    format!(
                        "zone \"{zone}\" {{ type primary; file \"{zone}.zone\"; notify no; \
                         check-names ignore; check-integrity no; }};\n"
                    )
                });
                let text = format!(
                    "options {{ directory \"{path}\"; listen-on port {port} {{ 127.0.0.1; }}; \
                     listen-on-v6 {{ none; }}; recursion no; pid-file none; lock-file none; \
                     session-keyfile \"{path}/session.key\"; managed-keys-directory \"{path}\"; \
                     minimal-responses no-auth; minimal-any yes; dnssec-validation no; \
                     max-udp-size 1232; edns-udp-size 1232; notify no; }};\n\
                     controls {{ }};\n{zones}"
                );
                (
                    "named",
                    text,
                    vec!["-f".into(), "-n".into(), "1".into(), "-c".into()],
                )
            }
        }
    }
}

/// A running server.
pub struct Peer {
    pub kind: Kind,
    process: Child,
    socket: UdpSocket,
    _directory: tempfile::TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Peer {
    /// Starts a server with every zone of `zone`.
    pub fn serve(kind: Kind, zone: &Zone) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = UdpSocket::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .unwrap()
            .port();
        let mut zones = Vec::new();
        for apex in zone.apexes() {
            let file = format!("{}.zone", apex.text());
            std::fs::write(directory.path().join(file), apex.zone_file()).unwrap();
            zones.push(apex.text().to_string());
        }
        let (program, text, arguments) = kind.setup(port, directory.path(), &zones);
        let path = directory.path().join("server.conf");
        std::fs::write(&path, text).unwrap();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let process = Command::new(program)
            .args(arguments)
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program} cannot be run ({error}): run script/setup, which installs it")
            });
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        let peer = Self {
            kind,
            process,
            socket,
            _directory: directory,
        };
        peer.wait();
        peer
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let short = Some(Duration::from_millis(200));
        self.socket.set_read_timeout(short).unwrap();
        for apex in ["internal", "corp.example"] {
            let probe = question(u16::MAX, apex, 6, Some(1232), false);
            while self
                .try_ask(&probe)
                .is_none_or(|octets| octets[3] & 0x0f != 0)
            {
                let log = std::fs::read_to_string(self._directory.path().join("log"));
                assert!(
                    Instant::now() < deadline,
                    "{} did not come up: {log:?}",
                    self.kind.name()
                );
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let long = Some(Duration::from_secs(5));
        self.socket.set_read_timeout(long).unwrap();
    }

    /// Its response; none if it is silent.
    pub fn try_ask(&self, query: &[u8]) -> Option<Vec<u8>> {
        self.socket.send(query).ok()?;
        let mut response = vec![0; 4096];
        loop {
            let length = self.socket.recv(&mut response).ok()?;
            // Late answers to earlier probes are passed over.
            if response[..2] == query[..2] {
                response.truncate(length);
                return Some(response);
            }
        }
    }
}
