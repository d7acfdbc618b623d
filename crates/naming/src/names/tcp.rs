//! The TCP front (RFC 7766): queries may be pipelined on a connection and are
//! answered in their order.
//!
//! Every client gets bounded room and bounded time: connections are limited in
//! all and for each address, and one that is idle, or takes long over a
//! message, is closed.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tracing::debug;

use super::{
    answer::Transport,
    published::{Counters, Published},
};

/// Connections at a time: each may hold a message of 64 KiB, and so all of
/// them 64 MiB.
const MAX_CONNECTIONS: usize = 1024;

/// Connections at a time from one address: room for a busy resolver, none for
/// one client to take the rest.
const MAX_CONNECTIONS_PER_ADDRESS: usize = 64;

/// How long a connection may be idle (RFC 7766 §6.2.3 asks for seconds).
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a begun query, or a response, may take to cross.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait after an error of the listener, for instance when the
/// process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Open connections by address.
#[derive(Debug, Default)]
struct Connections(Mutex<HashMap<IpAddr, usize>>);

impl Connections {
    /// Room for one more connection from `address`, given back on drop.
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.values().sum::<usize>() >= MAX_CONNECTIONS {
            return None;
        }
        let from_here = open.entry(address).or_default();
        if *from_here >= MAX_CONNECTIONS_PER_ADDRESS {
            return None;
        }
        *from_here += 1;
        Some(Place {
            connections: Arc::clone(self),
            address,
        })
    }
}

struct Place {
    connections: Arc<Connections>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self
            .connections
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(from_here) = open.get_mut(&self.address) {
            *from_here -= 1;
            if *from_here == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// Accepts and answers on `listener`; it ends with its caller.
pub async fn serve(
    listener: TcpListener,
    published: Arc<Published>,
    counters: Arc<Counters>,
) -> std::convert::Infallible {
    let connections = Arc::<Connections>::default();
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = connections.enter(client.ip()) else {
            debug!(%client, "no room for another connection");
            continue;
        };
        let (published, counters) = (Arc::clone(&published), Arc::clone(&counters));
        tasks.spawn(async move {
            let _place = place;
            if let Err(error) = converse(stream, client, &published, &counters).await {
                debug!(%error, %client, "a connection ended");
            }
        });
    }
}

async fn converse(
    stream: TcpStream,
    client: SocketAddr,
    published: &Published,
    counters: &Counters,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut query = Vec::new();
    while let Ok(length) = timeout(IDLE_TIMEOUT, stream.read_u16()).await {
        query.resize(usize::from(length?), 0);
        timeout(MESSAGE_TIMEOUT, stream.read_exact(&mut query)).await??;
        let Some(response) = published.answer(&query, Transport::Tcp, counters) else {
            debug!(%client, "what arrived is no query");
            return Ok(());
        };
        let length = u16::try_from(response.octets.len()).map_err(io::Error::other)?;
        let mut framed = Vec::with_capacity(response.octets.len() + 2);
        framed.extend_from_slice(&length.to_be_bytes());
        framed.extend_from_slice(&response.octets);
        timeout(MESSAGE_TIMEOUT, stream.write_all(&framed)).await??;
    }
    Ok(())
}
