//! The channel to a keykeeper's protected process, from the host's side.

use std::{
    io::{Read as _, Write as _},
    process::{Child, ChildStdin, ChildStdout},
    time::Duration,
};

use keykeeper::{
    channel::{FromCore, ToCore},
    recovery::{HandedOver, KeeperKey},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{self, Command},
};
use wire::{
    CircleId, CircleKey, Digest, PublicKey,
    channel::{FrameError, decode_frame, encode_frame, frame_length},
};
use zeroize::Zeroizing;

use crate::program::Program;

/// How long the core may think: an answer of a round for 64 keykeepers takes
/// seconds in a debug build.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Why the protected process cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It does not start, or its pipe broke.
    #[error("the protected process is not there")]
    Io(#[from] std::io::Error),
    /// What it says is no frame.
    #[error("the protected process breaks the channel's format")]
    Frame(#[from] FrameError),
    /// It said that it cannot go on.
    #[error("the protected process cannot go on: {0}")]
    Fault(String),
    /// It says something that was not asked.
    #[error("the protected process answers something else")]
    Order,
    /// It does not answer.
    #[error("the protected process does not answer")]
    Silent,
}

/// A protected process that runs.
pub(crate) struct Link {
    input: process::ChildStdin,
    output: process::ChildStdout,
    /// Killed with this.
    _child: process::Child,
}

impl Link {
    pub(crate) fn start(program: &Program) -> Result<Self, LinkError> {
        let mut child = Command::from(program.command())
            .kill_on_drop(true)
            .spawn()?;
        let missing = || std::io::Error::other("a pipe is missing");
        Ok(Self {
            input: child.stdin.take().ok_or_else(missing)?,
            output: child.stdout.take().ok_or_else(missing)?,
            _child: child,
        })
    }

    /// Says something and hears the answer.
    pub(crate) async fn ask(&mut self, message: &ToCore) -> Result<FromCore, LinkError> {
        let mut frame = Zeroizing::new(Vec::new());
        encode_frame(message, &mut frame)?;
        let answer = async {
            self.input.write_all(&frame).await?;
            let mut header = [0; 4];
            self.output.read_exact(&mut header).await?;
            let mut body = vec![0; frame_length(header)?];
            self.output.read_exact(&mut body).await?;
            Ok::<_, LinkError>(decode_frame(&body)?)
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Err(_) => Err(LinkError::Silent),
            Ok(Ok(FromCore::Fault(why))) => Err(LinkError::Fault(why)),
            Ok(answer) => answer,
        }
    }
}

/// A protected process that is talked to without a runtime, one call after the
/// other; killed with this.
pub(crate) struct BlockingLink {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl BlockingLink {
    pub(crate) fn start(program: &Program) -> Result<Self, LinkError> {
        let mut child = program.command().spawn()?;
        let missing = || std::io::Error::other("a pipe is missing");
        Ok(Self {
            input: child.stdin.take().ok_or_else(missing)?,
            output: child.stdout.take().ok_or_else(missing)?,
            child,
        })
    }

    /// Says something and hears the answer.
    pub(crate) fn ask(&mut self, message: &ToCore) -> Result<FromCore, LinkError> {
        let mut frame = Zeroizing::new(Vec::new());
        encode_frame(message, &mut frame)?;
        self.input.write_all(&frame)?;
        let mut header = [0; 4];
        self.output.read_exact(&mut header)?;
        let mut body = Zeroizing::new(vec![0; frame_length(header)?]);
        self.output.read_exact(&mut body)?;
        match decode_frame(&body)? {
            FromCore::Fault(why) => Err(LinkError::Fault(why)),
            answer => Ok(answer),
        }
    }

    /// Whether the process is there no more.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for BlockingLink {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and is waited for all the same.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts `program`, has it do one thing, and hears the answer; it then ends.
///
/// Errors: [`LinkError`].
fn once(program: &Program, message: &ToCore) -> Result<FromCore, LinkError> {
    BlockingLink::start(program)?.ask(message)
}

/// Has `program` make an identity: its public key, and the state sealed under
/// `sealing_key`.
///
/// Errors: [`LinkError`].
pub fn make(program: &Program, sealing_key: &[u8; 32]) -> Result<(PublicKey, Vec<u8>), LinkError> {
    let make = ToCore::Make {
        sealing_key: *sealing_key,
    };
    match once(program, &make)? {
        FromCore::Made { key, sealed } => Ok((key, sealed)),
        _ => Err(LinkError::Order),
    }
}

/// A key to which members hand the pieces of a lost keykeeper over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovering {
    /// The key.
    pub key: [u8; 32],
    /// What evidence of it must bind.
    pub report_data: Digest,
    /// Its secret half, sealed under the sealing key.
    pub sealed: Vec<u8>,
}

/// Has `program` make such a key.
///
/// Errors: [`LinkError`].
pub fn recover(
    program: &Program,
    sealing_key: &[u8; 32],
    circle: CircleId,
    keeper: KeeperKey,
) -> Result<Recovering, LinkError> {
    let recover = ToCore::Recover {
        circle,
        keeper,
        sealing_key: *sealing_key,
    };
    match once(program, &recover)? {
        FromCore::Recovering {
            key,
            report_data,
            sealed,
        } => Ok(Recovering {
            key,
            report_data,
            sealed,
        }),
        _ => Err(LinkError::Order),
    }
}

/// Has `program` become the keykeeper whose pieces were handed over to the key in
/// `sealed`: its public key, and the state sealed.
///
/// Shape:  `proofs` are of [`keykeeper::recovery::keys`].
/// Errors: [`LinkError`].
pub fn restore(
    program: &Program,
    sealing_key: &[u8; 32],
    circle_key: CircleKey,
    sealed: Vec<u8>,
    proofs: Vec<Vec<u8>>,
    pieces: Vec<HandedOver>,
) -> Result<(PublicKey, Vec<u8>), LinkError> {
    let restore = ToCore::Restore {
        circle_key,
        sealing_key: *sealing_key,
        sealed,
        proofs,
        pieces,
    };
    match once(program, &restore)? {
        FromCore::Made { key, sealed } => Ok((key, sealed)),
        _ => Err(LinkError::Order),
    }
}
