//! DNS over dedicated QUIC connections (RFC 9250): each query on a stream of
//! its own, behind two octets of length as over TCP.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use quinn::{
    Connection, ConnectionError, Endpoint, EndpointConfig, Incoming, ReadToEndError, RecvStream,
    SendStream, ServerConfig, TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::QuicServerConfig,
};
use tokio::{task::JoinSet, time::timeout};
use tracing::debug;

use super::{connections::Connections, counters::add, service::Service, stream::LEDGER_TIMEOUT};

/// Streams that a client may have open at once.
const MAX_STREAMS: u32 = 100;

/// How long a connection may be idle.
const IDLE_TIMEOUT_MS: u32 = 30_000;

/// How long a query may take to arrive, or a response to be taken.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// Octets of a query with its length.
const MAX_QUERY: usize = 2 + u16::MAX as usize;

/// Octets of a connection that may be under way to us at once.
const RECEIVE_WINDOW: u32 = 1 << 18;

/// Octets of responses that wait for the client to take them.
const SEND_WINDOW: u64 = 1 << 20;

/// Open connections from which on newcomers prove their address first, so
/// that forged ones cost us nothing (RFC 9000 §8.1.2).
const RETRY_FROM: usize = 256;

// RFC 9250 §4.3.
const DOQ_NO_ERROR: VarInt = VarInt::from_u32(0);
const DOQ_PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
const DOQ_EXCESSIVE_LOAD: VarInt = VarInt::from_u32(4);

/// A client that does not keep to RFC 9250.
struct ProtocolError;

/// Binds `address` for QUIC.
///
/// Errors: those of binding, and of a TLS configuration without what QUIC needs.
pub(super) fn bind(address: SocketAddr, tls: rustls::ServerConfig) -> io::Result<Endpoint> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_STREAMS))
        // RFC 9250 §4.2: there are no others.
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT_MS).into()))
        .stream_receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None);
    let crypto = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    let socket = std::net::UdpSocket::bind(address)?;
    let runtime = Arc::new(TokioRuntime);
    Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime)
}

/// Accepts and answers on `endpoint`; it ends with its caller.
pub(super) async fn serve(endpoint: Endpoint, service: Service) -> Infallible {
    let connections = Arc::<Connections>::default();
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let Some(incoming) = endpoint.accept().await else {
            // The endpoint is only closed with this task.
            std::future::pending::<()>().await;
            continue;
        };
        if endpoint.open_connections() >= RETRY_FROM
            && !incoming.remote_address_validated()
            && incoming.may_retry()
        {
            // It fails only where a retry cannot be, which was asked.
            let _ = incoming.retry();
            continue;
        }
        let Some(place) = connections.enter(incoming.remote_address().ip()) else {
            add(&service.counters.refused);
            incoming.refuse();
            continue;
        };
        add(&service.counters.connections);
        let service = service.clone();
        tasks.spawn(async move {
            let _place = place;
            let client = incoming.remote_address();
            if let Err(error) = converse(incoming, service).await {
                debug!(%error, %client, "a connection ended");
            }
        });
    }
}

async fn converse(incoming: Incoming, service: Service) -> Result<(), ConnectionError> {
    let connection = incoming.await?;
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_bi() => {
                let (send, receive) = match stream {
                    Ok(stream) => stream,
                    Err(ConnectionError::ApplicationClosed(_) | ConnectionError::TimedOut) => {
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                };
                streams.spawn(exchange(connection.clone(), service.clone(), send, receive));
            }
            Some(Ok(Err(ProtocolError))) = streams.join_next() => {
                connection.close(DOQ_PROTOCOL_ERROR, b"");
                return Ok(());
            }
        }
    }
}

/// One query and its response.
async fn exchange(
    connection: Connection,
    service: Service,
    mut send: SendStream,
    mut receive: RecvStream,
) -> Result<(), ProtocolError> {
    let arrived = match timeout(MESSAGE_TIMEOUT, receive.read_to_end(MAX_QUERY)).await {
        Ok(Ok(arrived)) => arrived,
        Ok(Err(ReadToEndError::TooLong)) => return Err(ProtocolError),
        // The client gave up; RFC 9250 §4.3.1 asks for nothing in return.
        Ok(Err(ReadToEndError::Read(_))) => return Ok(()),
        Err(_) => {
            // They fail only where the stream is over.
            let _ = receive.stop(DOQ_EXCESSIVE_LOAD);
            let _ = send.reset(DOQ_EXCESSIVE_LOAD);
            return Ok(());
        }
    };
    let query = sole_message(&arrived).ok_or(ProtocolError)?;
    let client = connection.remote_address().ip();
    // RFC 9250 §4.5 keeps updates out of early data; none is taken here.
    let response = match service.update(query) {
        None => {
            service.prepare(query).await;
            service.answer(query, client).ok_or(ProtocolError)?.octets
        }
        Some(pending) => match timeout(LEDGER_TIMEOUT, pending).await {
            Ok(Ok(response)) => response,
            // The client sends it again, and a message counts once.
            Ok(Err(_)) | Err(_) => {
                let _ = send.reset(DOQ_EXCESSIVE_LOAD);
                return Ok(());
            }
        },
    };
    let Ok(length) = u16::try_from(response.len()) else {
        return Ok(());
    };
    let framed = [&length.to_be_bytes()[..], &response].concat();
    let sent = timeout(MESSAGE_TIMEOUT, async {
        send.write_all(&framed).await.ok()?;
        send.finish().ok()
    });
    if sent.await.ok().flatten().is_none() {
        let _ = send.reset(DOQ_NO_ERROR);
    }
    Ok(())
}

/// The one message of a stream (RFC 9250 §4.2): what its length says, and
/// nothing behind it.
pub(in crate::names) fn sole_message(arrived: &[u8]) -> Option<&[u8]> {
    let (length, message) = arrived.split_first_chunk()?;
    (usize::from(u16::from_be_bytes(*length)) == message.len()).then_some(message)
}
