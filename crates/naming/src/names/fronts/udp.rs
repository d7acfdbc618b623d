//! The UDP front: one thread and one socket per core, which the kernel shares
//! datagrams out to (`SO_REUSEPORT`).
//!
//! A worker holds no lock and waits for nobody: it takes the datagrams that
//! are there, answers from the newest image and sends. An answer leaves from
//! the address that was asked, also where the socket is bound to all.

use std::{
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    thread::JoinHandle,
    time::Duration,
};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::Interest,
    sync::{mpsc, watch},
};
use tracing::{debug, error};

use super::service::Service;

/// Octets for what the kernel gives at once: where it joins datagrams of one
/// sender, up to 64 KiB. The 192 more set the buffers' beginnings apart in the
/// processor's cache.
const BUFFER: usize = (1 << 16) + 192;

/// How long a worker rests after an error of its socket, so that a lasting one
/// costs no core.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Octets that the kernel holds for a worker that the scheduler keeps waiting.
const SOCKET_BUFFER: usize = 1 << 20;

/// Running UDP workers; they end when this is dropped.
#[derive(Debug)]
pub(super) struct UdpFront {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    workers: Vec<JoinHandle<()>>,
}

impl UdpFront {
    /// Binds `address` and starts a thread for each of `services`.
    ///
    /// Shape:  port 0 takes a free one; see [`UdpFront::address`].
    /// Errors: those of binding.
    pub fn start(address: SocketAddr, services: Vec<Service>) -> io::Result<Self> {
        let mut front = Self {
            address,
            stop: watch::Sender::new(false),
            workers: Vec::new(),
        };
        for service in services {
            let socket = bind(front.address)?;
            front.address = socket.local_addr()?;
            let mut stop = front.stop.subscribe();
            let state = UdpSocketState::new((&socket).into())?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .build()?;
            let worker = std::thread::Builder::new()
                .name("dns-udp".to_owned())
                .spawn(move || {
                    runtime.block_on(async {
                        tokio::select! {
                            // A sender that is gone means the same.
                            _ = stop.wait_for(|stop| *stop) => {}
                            Err(error) = serve(socket, &state, &service) => {
                                error!(%error, "a UDP worker cannot work");
                            }
                        }
                    });
                })?;
            front.workers.push(worker);
        }
        Ok(front)
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for UdpFront {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for worker in self.workers.drain(..) {
            // A worker that panicked has said so on its own.
            let _ = worker.join();
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The kernel may grant less than it is asked for.
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Answers until the socket cannot be used.
async fn serve(
    socket: UdpSocket,
    state: &UdpSocketState,
    service: &Service,
) -> io::Result<std::convert::Infallible> {
    let is_wildcard = socket.local_addr()?.ip().is_unspecified();
    let socket = tokio::net::UdpSocket::from_std(socket)?;
    let mut storage = vec![0; BATCH_SIZE * BUFFER];
    let mut metas = [RecvMeta::default(); BATCH_SIZE];
    let (later, mut late) = mpsc::unbounded_channel();
    loop {
        let received = socket.async_io(Interest::READABLE, || {
            let mut chunks = storage.chunks_exact_mut(BUFFER);
            let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
                std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
            state.recv((&socket).into(), &mut slices, &mut metas)
        });
        let received = tokio::select! {
            received = received => received,
            Some(Late { response, meta }) = late.recv() => {
                send(&socket, state, &response, &meta, is_wildcard);
                continue;
            }
        };
        let count = match received {
            Ok(count) => count,
            Err(error) => {
                debug!(%error, "receiving datagrams failed");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        for (buffer, meta) in storage.chunks_exact(BUFFER).zip(&metas).take(count) {
            // Nobody asks from port 0; an answer there could only serve a forger.
            if meta.addr.port() == 0 || meta.len == 0 {
                continue;
            }
            for query in buffer[..meta.len].chunks(meta.stride.max(1)) {
                if let Some(pending) = service.update(query) {
                    let (later, meta) = (later.clone(), *meta);
                    tokio::spawn(async move {
                        if let Ok(response) = pending.await {
                            // The worker is gone otherwise, and so is the client's server.
                            let _ = later.send(Late { response, meta });
                        }
                    });
                    continue;
                }
                let Some(response) = service.answer_datagram(query, meta.addr.ip()) else {
                    continue;
                };
                send(&socket, state, &response, meta, is_wildcard);
            }
        }
    }
}

/// A response that the ledger had to be asked for.
struct Late {
    response: Vec<u8>,
    meta: RecvMeta,
}

/// Sends a response to where its query came from.
fn send(
    socket: &tokio::net::UdpSocket,
    state: &UdpSocketState,
    response: &[u8],
    meta: &RecvMeta,
    is_wildcard: bool,
) {
    let transmit = Transmit {
        destination: meta.addr,
        ecn: None,
        contents: response,
        segment_size: None,
        src_ip: meta.dst_ip.filter(|_| is_wildcard),
    };
    // What does not fit the socket's buffer is lost, as on any other stretch of
    // its way.
    if let Err(error) = state.try_send(socket.into(), &transmit) {
        debug!(%error, client = %meta.addr, "sending a response failed");
    }
}
