//! One command to a TPM and its answer.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::{fs::FileTypeExt as _, net::UnixStream},
    time::Duration,
};

use tpm2_protocol::basic::TpmUint32;
use tpm2_protocol::{
    TpmMarshal, TpmWriter,
    constant::TPM_MAX_COMMAND_SIZE,
    data::{TpmSt, TpmaSession, TpmsAuthCommand},
    frame::{TpmFrame, TpmResponse, TpmUnmarshalBody, tpm_marshal_command},
};

use super::PASSWORD;

/// How long a socket's TPM may take for a command: making an RSA key is the
/// longest, and a software TPM does it within seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Octets of an answer's header: tag, length, code.
const HEADER_BYTES: usize = 10;

/// Why a TPM did not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// The device or socket.
    #[error("the TPM at {path}: {source}")]
    Io {
        /// Where the TPM is.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// The TPM answered with an error; part 2, §6.6 tells its meaning.
    #[error("the TPM refused {command} with code {code:#x}")]
    Refused {
        /// The command.
        command: String,
        /// The TPM's response code.
        code: u32,
    },
    /// What was sent or answered is not a TPM's structure.
    #[error("{what}: {reason}")]
    Malformed {
        /// What was being read or written.
        what: &'static str,
        /// Why it failed.
        reason: String,
    },
}

impl TpmError {
    pub(super) fn malformed(what: &'static str, reason: impl std::fmt::Debug) -> Self {
        Self::Malformed {
            what,
            reason: format!("{reason:?}"),
        }
    }
}

enum Channel {
    /// A device takes one command with each write, and gives its answer whole.
    Device(File),
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// A connection to a TPM. A software TPM serves one at a time.
pub struct Tpm {
    path: String,
    channel: Channel,
}

/// `structure` in the TPM's encoding.
pub(super) fn marshal<T: TpmMarshal>(structure: &T) -> Result<Vec<u8>, TpmError> {
    let mut bytes = vec![0; TPM_MAX_COMMAND_SIZE];
    let length = {
        let mut writer = TpmWriter::new(&mut bytes);
        structure
            .marshal(&mut writer)
            .map_err(|error| TpmError::malformed("a structure", error))?;
        writer.len()
    };
    bytes.truncate(length);
    Ok(bytes)
}

/// The authorization of an object without a password.
pub(super) fn empty_authorization() -> TpmsAuthCommand {
    session_authorization(TpmUint32::from(PASSWORD))
}

/// The authorization that a policy session gives.
pub(super) fn session_authorization(session: TpmUint32) -> TpmsAuthCommand {
    TpmsAuthCommand {
        session_handle: session,
        nonce: Default::default(),
        session_attributes: TpmaSession::CONTINUE_SESSION,
        hmac: Default::default(),
    }
}

impl Tpm {
    /// Connects to `path`: a device such as `/dev/tpmrm0`, a unix socket, or
    /// HOST:PORT.
    ///
    /// Errors: [`TpmError::Io`].
    pub fn open(path: &str) -> Result<Self, TpmError> {
        let channel = Self::connect(path).map_err(|source| TpmError::Io {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            channel,
        })
    }

    fn connect(path: &str) -> io::Result<Channel> {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.file_type().is_socket() => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(ANSWER_WITHIN))?;
                stream.set_write_timeout(Some(ANSWER_WITHIN))?;
                Ok(Channel::Unix(stream))
            }
            Ok(_) => {
                let file = OpenOptions::new().read(true).write(true).open(path)?;
                Ok(Channel::Device(file))
            }
            // A path names a file that is not there; only the rest is an address.
            Err(error) if path.contains('/') => Err(error),
            Err(_) => {
                let stream = TcpStream::connect(path)?;
                stream.set_read_timeout(Some(ANSWER_WITHIN))?;
                stream.set_write_timeout(Some(ANSWER_WITHIN))?;
                Ok(Channel::Tcp(stream))
            }
        }
    }

    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        fn over_stream(stream: &mut (impl Read + Write), command: &[u8]) -> io::Result<Vec<u8>> {
            stream.write_all(command)?;
            let mut answer = vec![0; HEADER_BYTES];
            stream.read_exact(&mut answer)?;
            let length = u32::from_be_bytes([answer[2], answer[3], answer[4], answer[5]]);
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if !(HEADER_BYTES..=TPM_MAX_COMMAND_SIZE).contains(&length) {
                return Err(io::Error::other("an answer of an impossible length"));
            }
            answer.resize(length, 0);
            stream.read_exact(&mut answer[HEADER_BYTES..])?;
            Ok(answer)
        }
        match &mut self.channel {
            Channel::Device(file) => {
                file.write_all(command)?;
                let mut answer = vec![0; TPM_MAX_COMMAND_SIZE];
                let length = file.read(&mut answer)?;
                answer.truncate(length);
                Ok(answer)
            }
            Channel::Unix(stream) => over_stream(stream, command),
            Channel::Tcp(stream) => over_stream(stream, command),
        }
    }

    /// Sends `command` under `authorizations` and reads its answer.
    pub(super) fn command<C: TpmFrame, R: TpmUnmarshalBody>(
        &mut self,
        command: &C,
        authorizations: &[TpmsAuthCommand],
    ) -> Result<R, TpmError> {
        let tag = if authorizations.is_empty() {
            TpmSt::NoSessions
        } else {
            TpmSt::Sessions
        };
        let mut bytes = vec![0; TPM_MAX_COMMAND_SIZE];
        let length = {
            let mut writer = TpmWriter::new(&mut bytes);
            tpm_marshal_command(command, tag, authorizations, &mut writer)
                .map_err(|error| TpmError::malformed("a command", error))?;
            writer.len()
        };
        let answer = self
            .exchange(&bytes[..length])
            .map_err(|source| TpmError::Io {
                path: self.path.clone(),
                source,
            })?;
        let name = format!("{:?}", command.cc());
        let code = answer
            .get(6..HEADER_BYTES)
            .and_then(|code| code.try_into().ok())
            .map(u32::from_be_bytes)
            .ok_or_else(|| TpmError::malformed("an answer", "too short"))?;
        if code != 0 {
            return Err(TpmError::Refused {
                command: name,
                code,
            });
        }
        TpmResponse::cast(&answer)
            .and_then(|response| response.unmarshal::<R>())
            .map_err(|error| TpmError::malformed("an answer", error))
    }
}
