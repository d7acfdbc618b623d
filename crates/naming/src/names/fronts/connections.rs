//! Accepting connections: how many, for how long, and from whom.
//!
//! Every client gets bounded room and bounded time: connections are limited in
//! all and for each address.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tracing::debug;

use super::{counters::add, service::Service};

/// Connections of a front at a time: each may hold a message of 64 KiB in and
/// one out, and so all of them 128 MiB.
const MAX_CONNECTIONS: usize = 1024;

/// Connections at a time from one address: room for a busy resolver, none for
/// one client to take the rest.
const MAX_CONNECTIONS_PER_ADDRESS: usize = 64;

/// How long to wait after an error of the listener, for instance when the
/// process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Open connections of a front.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Connections {
    /// Room for one more connection from `address`, given back on drop.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= MAX_CONNECTIONS {
            return None;
        }
        let from_here = open.by_address.entry(address).or_default();
        if *from_here >= MAX_CONNECTIONS_PER_ADDRESS {
            return None;
        }
        *from_here += 1;
        open.all += 1;
        Some(Place {
            connections: Arc::clone(self),
            address,
        })
    }
}

/// One connection's room.
pub(super) struct Place {
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
        open.all -= 1;
        if let Some(from_here) = open.by_address.get_mut(&self.address) {
            *from_here -= 1;
            if *from_here == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

/// Accepts on `listener` and has `converse` speak with each client; it ends
/// with its caller, and with it all connections.
pub(super) async fn accept<F>(
    listener: TcpListener,
    service: Service,
    converse: impl Fn(TcpStream, SocketAddr, Service) -> F,
) -> Infallible
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let connections = Arc::<Connections>::default();
    let mut tasks = JoinSet::new();
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
            add(&service.counters.refused);
            debug!(%client, "no room for another connection");
            continue;
        };
        add(&service.counters.connections);
        // Answers are small and whole: each leaves at once.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, %client, "a connection keeps small answers back");
        }
        let conversation = converse(stream, client, service.clone());
        tasks.spawn(async move {
            let _place = place;
            if let Err(error) = conversation.await {
                debug!(%error, %client, "a connection ended");
            }
        });
    }
}
