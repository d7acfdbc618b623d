//! Four validators as four processes on loopback TCP: ordering, latency, a
//! killed validator, its return.
//!
//! A validator is this test binary again, running the ignored test
//! [`validator_process`]; it is told what to do on its standard input and
//! prints what it finalized. Killing it is a real SIGKILL.

use std::{
    collections::BTreeMap,
    env,
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use engine::{
    Certificate, EngineConfig, Office, Validator,
    certificate::DOMAIN_SEPARATION_TAG,
    keys::{development_dealer, public_key},
};
use wire::{Block, CircleId};

use crate::list_chain::{ListChain, Log, Pool};

const CIRCLE: CircleId = CircleId([0x7C; 32]);
const VALIDATORS: usize = 4;
/// How long anything may take on a loaded machine before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

fn seed(index: usize) -> [u8; 32] {
    [index as u8 + 1; 32]
}

/// Blocks in a file: length, then borsh; synced before `append` returns.
struct FileLog(File);

impl FileLog {
    fn open(path: &Path) -> Self {
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path);
        Self(file.unwrap())
    }
}

impl Log for FileLog {
    fn load(&mut self) -> Vec<Block> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).unwrap();
        let (mut rest, mut blocks) = (&bytes[..], Vec::new());
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            // A torn record at the end was never acknowledged.
            let Some(block) = tail.get(..length) else {
                break;
            };
            blocks.push(borsh::from_slice(block).unwrap());
            rest = &tail[length..];
        }
        let whole = bytes.len() - rest.len();
        self.0.set_len(whole as u64).unwrap();
        blocks
    }

    fn append(&mut self, block: &Block, certificate: Option<Certificate>) {
        let bytes = borsh::to_vec(block).unwrap();
        let record = [&(bytes.len() as u32).to_le_bytes()[..], &bytes].concat();
        self.0.write_all(&record).unwrap();
        self.0.sync_data().unwrap();
        let commands: Vec<_> = block.transactions.iter().map(hex::encode).collect();
        let certificate = certificate.map(|c| {
            format!(
                "{}:{}:{}:{}",
                c.epoch,
                c.view,
                c.parent_view,
                hex::encode(c.signature)
            )
        });
        // Above the test harness' own output, which other lines may be.
        println!(
            "\n@final {} {} {} {}",
            block.header.height.0,
            block.header.digest(),
            certificate.unwrap_or_else(|| "-".into()),
            commands.join(",")
        );
    }
}

#[test]
#[ignore = "a validator of the other tests in this file; they start it"]
fn validator_process() {
    let index: usize = env::var("VALIDATOR_INDEX")
        .expect("started by a test")
        .parse()
        .unwrap();
    let directory = PathBuf::from(env::var("VALIDATOR_DIRECTORY").unwrap());
    let ports: Vec<u16> = env::var("VALIDATOR_PORTS")
        .unwrap()
        .split(',')
        .map(|port| port.parse().unwrap())
        .collect();
    let keys: Vec<_> = (0..VALIDATORS).map(|i| public_key(&seed(i))).collect();
    let dealing = development_dealer(&keys, [0xDE; 32]).unwrap();
    let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let validators: Vec<_> = keys
        .iter()
        .zip(&ports)
        .map(|(&key, &port)| Validator {
            key,
            address: address(port).to_string(),
        })
        .collect();
    let config = EngineConfig::new(
        CIRCLE,
        seed(index),
        Some(dealing.shares[index].to_vec()),
        dealing.polynomial.clone(),
        validators,
        address(ports[index]),
        directory.join("engine"),
    );
    let pool = Pool::default();
    let log = FileLog::open(&directory.join("blocks"));
    let office = Office::founding(config.validators.clone(), dealing.polynomial);
    let chain = ListChain::new(CIRCLE, office, Box::new(log), pool.clone());
    let handle = engine::run(config, Box::new(chain)).unwrap();
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("submit", command) => {
                let command = hex::decode(command).unwrap();
                handle.broadcast(command.clone()).unwrap();
                pool.insert(command);
                handle.wake();
            }
            ("status", _) => {
                let status = handle.status();
                println!(
                    "\n@status {} {} {}",
                    status.connected.len(),
                    status.finalized_height.0,
                    status.view
                );
            }
            other => panic!("unknown request {other:?}"),
        }
    }
    handle.shutdown();
    handle.join().unwrap();
    println!("\n@stopped");
}

/// What a validator said, and when.
enum Event {
    Final {
        height: u64,
        digest: String,
        certificate: Option<Certificate>,
        commands: Vec<Vec<u8>>,
    },
    Status {
        connected: usize,
        height: u64,
    },
    Stopped,
}

fn parse(line: &str) -> Option<Event> {
    let mut words = line.strip_prefix('@')?.split(' ');
    match words.next()? {
        "final" => {
            let height = words.next()?.parse().ok()?;
            let digest = words.next()?.to_string();
            let certificate = words.next()?;
            let commands = words.next()?.split(',').filter(|hex| !hex.is_empty());
            Some(Event::Final {
                height,
                digest,
                certificate: parse_certificate(certificate),
                commands: commands
                    .map(|command| hex::decode(command).unwrap())
                    .collect(),
            })
        }
        "status" => Some(Event::Status {
            connected: words.next()?.parse().ok()?,
            height: words.next()?.parse().ok()?,
        }),
        "stopped" => Some(Event::Stopped),
        _ => None,
    }
}

fn parse_certificate(text: &str) -> Option<Certificate> {
    let mut words = text.split(':');
    let mut number = || words.next()?.parse().ok();
    let (epoch, view, parent_view) = (number()?, number()?, number()?);
    let signature = hex::decode(words.next()?).ok()?.try_into().ok()?;
    Some(Certificate {
        epoch,
        view,
        parent_view,
        signature,
    })
}

struct Process {
    child: Child,
    stdin: ChildStdin,
}

/// Four validators and what they have said so far.
struct Circle {
    directory: tempfile::TempDir,
    ports: String,
    processes: Vec<Option<Process>>,
    events: mpsc::Receiver<(usize, Instant, Event)>,
    sender: mpsc::Sender<(usize, Instant, Event)>,
    /// Digest by height, the same from everybody.
    agreed: BTreeMap<u64, String>,
    heights: [u64; VALIDATORS],
    /// When a command was first seen final at each validator.
    seen: BTreeMap<(usize, Vec<u8>), Instant>,
    certified: usize,
    connected: [usize; VALIDATORS],
    stopped: usize,
}

impl Circle {
    fn start() -> Self {
        // Reserved until all are known, so that no two are the same.
        let listeners: Vec<_> = (0..VALIDATORS)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let ports: Vec<_> = listeners
            .iter()
            .map(|l| l.local_addr().unwrap().port().to_string())
            .collect();
        drop(listeners);
        let (sender, events) = mpsc::channel();
        let mut circle = Self {
            directory: tempfile::tempdir().unwrap(),
            ports: ports.join(","),
            processes: (0..VALIDATORS).map(|_| None).collect(),
            events,
            sender,
            agreed: BTreeMap::new(),
            heights: [0; VALIDATORS],
            seen: BTreeMap::new(),
            certified: 0,
            connected: [0; VALIDATORS],
            stopped: 0,
        };
        for index in 0..VALIDATORS {
            circle.launch(index);
        }
        circle
    }

    fn launch(&mut self, index: usize) {
        let directory = self.directory.path().join(index.to_string());
        std::fs::create_dir_all(&directory).unwrap();
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "tcp::validator_process",
                "--ignored",
                "--nocapture",
            ])
            .env("VALIDATOR_INDEX", index.to_string())
            .env("VALIDATOR_DIRECTORY", directory)
            .env("VALIDATOR_PORTS", &self.ports)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let sender = self.sender.clone();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some(event) = parse(&line) {
                    let _ = sender.send((index, Instant::now(), event));
                }
            }
        });
        let stdin = child.stdin.take().unwrap();
        self.processes[index] = Some(Process { child, stdin });
    }

    fn tell(&mut self, index: usize, request: &str) {
        let process = self.processes[index].as_mut().expect("the validator is up");
        writeln!(process.stdin, "{request}").unwrap();
        process.stdin.flush().unwrap();
    }

    fn kill(&mut self, index: usize) {
        let mut process = self.processes[index].take().expect("the validator is up");
        process.child.kill().unwrap();
        process.child.wait().unwrap();
    }

    /// Takes what validators say until `done` holds.
    fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((index, at, event)) = self.events.recv_timeout(left) else {
                panic!("waited in vain until {what}; heights {:?}", self.heights);
            };
            match event {
                Event::Final {
                    height,
                    digest,
                    certificate,
                    commands,
                } => {
                    let agreed = self.agreed.entry(height).or_insert_with(|| digest.clone());
                    assert_eq!(*agreed, digest, "validator {index} forked at {height}");
                    self.heights[index] = self.heights[index].max(height);
                    for command in commands {
                        self.seen.entry((index, command)).or_insert(at);
                    }
                    if let Some(certificate) = certificate {
                        check(&certificate, &digest);
                        self.certified += 1;
                    }
                }
                Event::Status { connected, height } => {
                    self.connected[index] = connected;
                    self.heights[index] = self.heights[index].max(height);
                }
                Event::Stopped => self.stopped += 1,
            }
        }
    }

    /// Submits `command` to a validator and waits until those `at` have it;
    /// how long the first of them took.
    fn submit(&mut self, to: usize, command: &[u8], at: &[usize]) -> Duration {
        let start = Instant::now();
        self.tell(to, &format!("submit {}", hex::encode(command)));
        let at = at.to_vec();
        self.until("a command is final", |circle| {
            at.iter()
                .all(|index| circle.seen.contains_key(&(*index, command.to_vec())))
        });
        self.seen[&(to, command.to_vec())] - start
    }
}

impl Drop for Circle {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}

/// Verifies a certificate as a light client would, with blst alone.
fn check(certificate: &Certificate, digest: &str) {
    let keys: Vec<_> = (0..VALIDATORS).map(|i| public_key(&seed(i))).collect();
    let group_key = development_dealer(&keys, [0xDE; 32]).unwrap().group_key;
    let message = certificate.message(CIRCLE, digest.parse().unwrap());
    let key = blst::min_sig::PublicKey::key_validate(&group_key).unwrap();
    let signature = blst::min_sig::Signature::sig_validate(&certificate.signature, true).unwrap();
    let verdict = signature.verify(false, &message, DOMAIN_SEPARATION_TAG, &[], &key, false);
    assert_eq!(verdict, blst::BLST_ERROR::BLST_SUCCESS);
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() - 1) * percent / 100]
}

#[test]
fn four_processes_order_commands_and_survive_a_kill() {
    let mut circle = Circle::start();
    circle.until("all validators have finalized a block", |c| {
        c.heights.iter().all(|h| *h > 0)
    });

    let mut healthy: Vec<_> = (0..40u32)
        .map(|i| circle.submit(i as usize % VALIDATORS, &i.to_be_bytes(), &[0, 1, 2, 3]))
        .collect();
    println!(
        "submit to final, 4 of 4 up: p50 {:?}, p99 {:?}",
        percentile(&mut healthy, 50),
        percentile(&mut healthy, 99)
    );
    for index in 0..VALIDATORS {
        circle.tell(index, "status");
    }
    circle.until("everybody hears from everybody", |c| {
        c.connected
            .iter()
            .all(|connected| *connected == VALIDATORS - 1)
    });

    circle.kill(3);
    let mut degraded: Vec<_> = (100..140u32)
        .map(|i| circle.submit(i as usize % 3, &i.to_be_bytes(), &[0, 1, 2]))
        .collect();
    let worst = percentile(&mut degraded, 100);
    println!(
        "submit to final, 3 of 4 up: p50 {:?}, worst {worst:?}",
        percentile(&mut degraded, 50)
    );
    assert!(
        worst < Duration::from_secs(10),
        "a dead validator costs {worst:?}"
    );

    let (behind, target) = (circle.heights[3], circle.heights[0]);
    assert!(target > behind);
    let restart = Instant::now();
    circle.launch(3);
    circle.until("the killed validator has caught up", |c| {
        c.heights[3] >= target
    });
    println!(
        "restart to caught up ({} blocks): {:?}",
        target - behind,
        restart.elapsed()
    );
    let back = circle.submit(3, b"back", &[0, 1, 2, 3]);
    println!("submit to final at the one that came back: {back:?}");

    // Certificates were checked as they came; the tip's may come later.
    assert!(circle.certified > 0);

    // A clean end: standard input closes, the engine stops, the process says so.
    for process in circle.processes.iter_mut() {
        drop(process.take().map(|process| process.stdin));
    }
    circle.until("all have stopped", |c| c.stopped == VALIDATORS);
}
