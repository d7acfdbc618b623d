//! The UDP front: one thread and one socket per core, which the kernel shares
//! datagrams out to (`SO_REUSEPORT`).
//!
//! A worker holds no lock and waits for nobody: it takes the datagrams that
//! are there, answers from the newest image and sends.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use nix::sys::socket::{SockaddrIn, SockaddrIn6};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::Handle;
use tracing::debug;

use super::{
    batch::Questions,
    datagrams::{Client, Datagram, Inbox, Outbox, send_late, want_asked},
    service::Service,
};
use crate::names::updates::Pending;

/// How long a worker rests after an error of its socket, so that a lasting one
/// costs no core.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// How long a worker waits for datagrams before it looks whether it is to end.
const WAIT: Duration = Duration::from_millis(100);

/// Octets that the kernel holds for a worker that the scheduler keeps waiting.
const SOCKET_BUFFER: usize = 1 << 20;

/// Running UDP workers; they end when this is dropped.
#[derive(Debug)]
pub(super) struct UdpFront {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

impl UdpFront {
    /// Binds `address` and starts a thread for each of `services`.
    ///
    /// Shape:  port 0 takes a free one; see [`UdpFront::address`]. To be called
    ///         within a runtime, which waits for what the ledger is asked.
    /// Errors: those of binding.
    pub fn start(address: SocketAddr, services: Vec<Service>) -> io::Result<Self> {
        let mut front = Self {
            address,
            stop: Arc::default(),
            workers: Vec::new(),
        };
        for service in services {
            let socket = Arc::new(bind(front.address)?);
            front.address = socket.local_addr()?;
            let is_wildcard = front.address.ip().is_unspecified();
            if is_wildcard {
                want_asked(&socket)?;
            }
            let stop = Arc::clone(&front.stop);
            let runtime = Handle::current();
            let thread = std::thread::Builder::new().name("dns-udp".to_owned());
            let worker = if front.address.is_ipv4() {
                let serve = serve::<SockaddrIn>;
                thread.spawn(move || serve(&socket, &service, is_wildcard, &runtime, &stop))
            } else {
                let serve = serve::<SockaddrIn6>;
                thread.spawn(move || serve(&socket, &service, is_wildcard, &runtime, &stop))
            };
            front.workers.push(worker?);
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
        self.stop.store(true, Ordering::Relaxed);
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
    socket.set_read_timeout(Some(WAIT))?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Answers until it is told to stop.
fn serve<S: Client + Send + 'static>(
    socket: &Arc<UdpSocket>,
    service: &Service,
    is_wildcard: bool,
    runtime: &Handle,
    stop: &AtomicBool,
) {
    let later = |pending: Pending, datagram: Datagram<'_, S>| {
        let (socket, client, asked) = (Arc::clone(socket), datagram.client, datagram.asked);
        runtime.spawn(async move {
            // There is none if the server ends.
            if let Ok(response) = pending.await {
                send_late(&socket, &response, client, asked);
            }
        });
    };
    let (mut inbox, mut outbox) = (Inbox::<S>::new(is_wildcard), Outbox::new(is_wildcard));
    let mut questions = Questions::default();
    while !stop.load(Ordering::Relaxed) {
        match inbox.receive(socket) {
            Ok(()) => {
                service.answer_batch(&inbox, &mut outbox, &mut questions, later);
                outbox.send(socket);
            }
            Err(error) if is_idle(&error) => {}
            Err(error) => {
                debug!(%error, "receiving datagrams failed");
                std::thread::sleep(ERROR_PAUSE);
            }
        }
    }
}

fn is_idle(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
