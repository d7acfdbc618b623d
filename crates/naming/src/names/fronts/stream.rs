//! DNS over a stream, plain (RFC 7766) or within TLS (RFC 7858): messages
//! behind two octets of length.
//!
//! Queries may be pipelined. Each is answered from memory in microseconds, so
//! answering in the order of arrival keeps nobody waiting, and responses that
//! are ready together leave together. A client that is idle, takes long over
//! a message, or does not read, is cut.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::service::{Answers, Service};

/// How long a connection may be idle (RFC 7766 §6.2.3 asks for seconds).
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The same in tenths of a second, as clients that ask are told (RFC 7828).
pub(super) const IDLE_TENTHS: u16 = 100;

/// How long a begun query, or a response, may take to cross.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the ledger may take with an update.
pub(super) const LEDGER_TIMEOUT: Duration = Duration::from_secs(15);

/// How long TLS may take to begin.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Octets of responses that wait for each other at most.
const FLUSH_AT: usize = 1 << 15;

/// Answers on a plain connection until it ends.
pub(super) async fn plain(
    stream: TcpStream,
    client: SocketAddr,
    service: Service,
) -> io::Result<()> {
    converse(stream, client, &service).await
}

/// Answers on a connection within TLS until it ends.
pub(super) async fn within_tls(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    client: SocketAddr,
    service: Service,
) -> io::Result<()> {
    let stream = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??;
    converse(stream, client, &service).await
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    client: SocketAddr,
    service: &Service,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut query = Vec::new();
    let mut responses = Vec::new();
    while let Ok(length) = timeout(IDLE_TIMEOUT, stream.read_u16()).await {
        let length = match length {
            Ok(length) => length,
            // The client is done.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        };
        query.resize(usize::from(length), 0);
        timeout(MESSAGE_TIMEOUT, stream.read_exact(&mut query)).await??;
        service.prepare(&query).await;
        match service.answer_stream(&query, client.ip()) {
            Some(Answers::One(response)) => frame(&response, &mut responses)?,
            Some(Answers::Many(replies)) => {
                for response in replies {
                    frame(&response, &mut responses)?;
                    send(stream.get_mut(), &mut responses).await?;
                }
            }
            Some(Answers::Later(pending)) => match timeout(LEDGER_TIMEOUT, pending).await {
                Ok(Ok(response)) => frame(&response, &mut responses)?,
                // The client asks again, and a message counts once.
                Ok(Err(_)) | Err(_) => break,
            },
            None => {
                debug!(%client, "what arrived is no query");
                break;
            }
        }
        if holds_message(stream.buffer()) && responses.len() < FLUSH_AT {
            continue;
        }
        send(stream.get_mut(), &mut responses).await?;
    }
    send(stream.get_mut(), &mut responses).await?;
    // TLS says goodbye, so that the client knows that nothing was cut off.
    timeout(MESSAGE_TIMEOUT, stream.get_mut().shutdown()).await?
}

/// Puts a message behind its length.
fn frame(message: &[u8], framed: &mut Vec<u8>) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    Ok(())
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), responses: &mut Vec<u8>) -> io::Result<()> {
    if responses.is_empty() {
        return Ok(());
    }
    timeout(MESSAGE_TIMEOUT, async {
        stream.write_all(responses).await?;
        stream.flush().await
    })
    .await??;
    responses.clear();
    Ok(())
}

/// Whether a whole message has arrived already.
fn holds_message(buffer: &[u8]) -> bool {
    buffer
        .split_first_chunk()
        .is_some_and(|(length, rest)| rest.len() >= usize::from(u16::from_be_bytes(*length)))
}
