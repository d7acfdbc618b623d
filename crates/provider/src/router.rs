//! The services' door: TLS connections come in here and go to the enclave that
//! serves their name.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use wire::{ContractId, DomainName};

use crate::{streams::Streams, tls};

/// The pause after the system refuses to accept: out of files, usually.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A service that runs.
#[derive(Clone)]
struct Service {
    contract: ContractId,
    streams: Arc<Streams>,
}

/// Running services by name.
#[derive(Default)]
pub struct Router {
    services: RwLock<HashMap<String, Vec<Service>>>,
    /// Takes replicas of one name in turn.
    turn: AtomicUsize,
    accepted: AtomicU64,
    refused: AtomicU64,
}

/// What the door has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RouterCounts {
    /// Connections accepted.
    pub accepted: u64,
    /// Of them, those that no service here took.
    pub refused: u64,
    /// Names served.
    pub names: usize,
}

impl Router {
    /// Routes `name` to a contract's enclave, among others of the same name.
    pub fn add(&self, name: &DomainName, contract: ContractId, streams: Arc<Streams>) {
        let mut services = self.services.write().unwrap_or_else(|e| e.into_inner());
        let replicas = services.entry(name.as_str().to_owned()).or_default();
        replicas.retain(|service| service.contract != contract);
        replicas.push(Service { contract, streams });
    }

    /// Ceases to route to a contract's enclave.
    pub fn remove(&self, contract: ContractId) {
        let mut services = self.services.write().unwrap_or_else(|e| e.into_inner());
        services.retain(|_, replicas| {
            replicas.retain(|service| service.contract != contract);
            !replicas.is_empty()
        });
    }

    /// Counters for status and tests.
    pub fn counts(&self) -> RouterCounts {
        let services = self.services.read().unwrap_or_else(|e| e.into_inner());
        RouterCounts {
            accepted: self.accepted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            names: services.len(),
        }
    }

    fn find(&self, name: &str) -> Option<Arc<Streams>> {
        let services = self.services.read().unwrap_or_else(|e| e.into_inner());
        let replicas = services.get(name)?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        Some(replicas.get(turn % replicas.len())?.streams.clone())
    }

    /// Accepts connections until the future is dropped; those that are under
    /// way go on.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        max_connections: usize,
        idle: Duration,
    ) {
        let places = Arc::new(Semaphore::new(max_connections));
        loop {
            // Without a place the kernel's queue holds the next client.
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((client, from)) => {
                    let router = self.clone();
                    tokio::spawn(async move {
                        router.connection(client, from, idle).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(&self, mut client: TcpStream, from: SocketAddr, idle: Duration) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let _ = client.set_nodelay(true);
        let hello = match tls::read_hello(&mut client).await {
            Ok(hello) => hello,
            Err(error) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%from, %error, "refused a connection");
                return;
            }
        };
        let Some(streams) = self.find(&hello.name) else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%from, name = hello.name, "no such service runs here");
            tls::refuse(&mut client).await;
            return;
        };
        if let Err(error) = streams.carry(client, hello.bytes, idle).await {
            tracing::debug!(%from, name = hello.name, %error, "a connection broke");
        }
    }
}

#[cfg(test)]
mod tests;
