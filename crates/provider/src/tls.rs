//! Which service does a TLS connection ask for? The ClientHello says (RFC 6066
//! §3), and is passed on untouched: TLS ends inside the enclave.

use std::time::Duration;

use rustls::server::Acceptor;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A ClientHello, with room for post-quantum key shares and long ALPN lists.
const MAX_HELLO_BYTES: usize = 32 * 1024;

/// How long a client may take to send it.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// A fatal alert, `unrecognized_name` (RFC 6066 §3), as a TLS record.
const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];

/// Why a connection cannot be routed: the client's fault.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// The connection failed or ended.
    #[error("the connection ended before its ClientHello")]
    Connection(#[from] std::io::Error),
    /// It took too long.
    #[error("no ClientHello came within {HELLO_TIMEOUT:?}")]
    Slow,
    /// Over [`MAX_HELLO_BYTES`].
    #[error("the ClientHello has over {MAX_HELLO_BYTES} bytes")]
    TooLarge,
    /// No TLS.
    #[error("the bytes are no ClientHello: {0}")]
    NotTls(rustls::Error),
    /// A ClientHello without a server name.
    #[error("the ClientHello names no server")]
    NoName,
}

/// A ClientHello that was read from a connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Hello {
    /// The server name it asks for, lower case.
    pub name: String,
    /// The bytes that were read: all of them belong to the enclave.
    pub bytes: Vec<u8>,
}

/// Reads the ClientHello of a new connection.
///
/// Errors: [`HelloError`]; where TLS has an alert for it, it was sent.
pub async fn read_hello(client: &mut TcpStream) -> Result<Hello, HelloError> {
    tokio::time::timeout(HELLO_TIMEOUT, read(client))
        .await
        .unwrap_or(Err(HelloError::Slow))
}

async fn read(client: &mut TcpStream) -> Result<Hello, HelloError> {
    let mut acceptor = Acceptor::default();
    let mut bytes = Vec::with_capacity(2048);
    loop {
        let start = bytes.len();
        if start >= MAX_HELLO_BYTES {
            return Err(HelloError::TooLarge);
        }
        let limit = (MAX_HELLO_BYTES - start) as u64;
        if (&mut *client).take(limit).read_buf(&mut bytes).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        let mut fresh = &bytes[start..];
        while !fresh.is_empty() {
            acceptor.read_tls(&mut fresh)?;
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let name = accepted.client_hello().server_name().map(str::to_lowercase);
                    let Some(name) = name else {
                        refuse(client).await;
                        return Err(HelloError::NoName);
                    };
                    return Ok(Hello { name, bytes });
                }
                Err((error, mut alert)) => {
                    let mut reply = Vec::new();
                    if alert.write_all(&mut reply).is_ok() {
                        let _ = client.write_all(&reply).await;
                    }
                    return Err(HelloError::NotTls(error));
                }
            }
        }
    }
}

/// Tells a client that no service of that name is here.
pub async fn refuse(client: &mut TcpStream) {
    let _ = client.write_all(UNRECOGNIZED_NAME).await;
    let _ = client.shutdown().await;
}
