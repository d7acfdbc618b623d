//! How do `status` and `down` speak with a running supervisor?
//!
//! One JSON line each way over a unix socket in the state directory, which
//! only its owner can open.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    os::fd::AsRawFd as _,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
};

use super::{Reports, life::PartReport};
use crate::state_directory::StateDirectory;

/// The longest request line: a word, not a document.
const MAX_REQUEST_BYTES: u64 = 1024;

/// How long a caller waits for an answer; the supervisor gives it at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

const SOCKET: &str = "supervisor.sock";

/// What can be asked of a supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// How is every part?
    Status,
    /// Stop every part, then end.
    Down,
}

/// A supervisor's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The supervisor's pid.
    pub pid: u32,
    /// Every part, in the order in which they are started.
    pub parts: Vec<PartReport>,
}

/// The socket's path through a descriptor of its directory: a unix socket's
/// path has room for 107 bytes (unix(7)), a state directory's may be longer.
fn socket_path(state: &StateDirectory) -> std::io::Result<(File, PathBuf)> {
    let directory = File::open(state.run())?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
    Ok((directory, path.into()))
}

/// Removes the socket.
pub fn remove(state: &StateDirectory) {
    let _ = std::fs::remove_file(state.run().join(SOCKET));
}

/// Asks the supervisor of `state`; none if none runs, or it was killed before it answered.
///
/// Errors: it runs and does not answer as it should.
pub fn ask(state: &StateDirectory, request: Request) -> anyhow::Result<Option<Answer>> {
    let connect = || {
        let (_directory, path) = socket_path(state)?;
        UnixStream::connect(path)
    };
    let mut stream = match connect() {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error).context("connect to the supervisor"),
    };
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    let mut answer = String::new();
    let exchanged = stream
        .write_all(&line)
        .and_then(|()| BufReader::new(stream).read_line(&mut answer));
    match exchanged {
        // It was killed with the connection still in its queue.
        Ok(0) => return Ok(None),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
            ) =>
        {
            return Ok(None);
        }
        Ok(_) => {}
        Err(error) => return Err(error).context("speak with the supervisor"),
    }
    serde_json::from_str(&answer)
        .map(Some)
        .context("the supervisor's answer is not one of this version")
}

/// The supervisor's end.
pub struct Server {
    listener: UnixListener,
}

impl Server {
    /// Listens; a socket that an earlier supervisor left is replaced, which the lock makes safe.
    ///
    /// Errors: the socket cannot be made.
    pub fn bind(state: &StateDirectory) -> anyhow::Result<Self> {
        remove(state);
        let (_directory, path) = socket_path(state).context("open the run directory")?;
        let listener = UnixListener::bind(&path).context("make the control socket")?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            .context("restrict the control socket")?;
        Ok(Self { listener })
    }

    /// Answers until it was asked to go down.
    pub async fn serve(&self, reports: Reports) {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            // One at a time: each is answered at once, and one that says
            // nothing is left after the timeout.
            let served = tokio::time::timeout(ANSWER_TIMEOUT, answer(stream, &reports)).await;
            if let Ok(Some(Request::Down)) = served {
                return;
            }
        }
    }
}

async fn answer(mut stream: tokio::net::UnixStream, reports: &Reports) -> Option<Request> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    tokio::io::BufReader::new(read.take(MAX_REQUEST_BYTES))
        .read_line(&mut line)
        .await
        .ok()?;
    let request: Request = serde_json::from_str(&line).ok()?;
    let answer = Answer {
        pid: std::process::id(),
        parts: reports
            .lock()
            .expect("no holder panics")
            .values()
            .cloned()
            .collect(),
    };
    let mut bytes = serde_json::to_vec(&answer).ok()?;
    bytes.push(b'\n');
    write.write_all(&bytes).await.ok()?;
    Some(request)
}
