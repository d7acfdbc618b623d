//! The UDP front: one thread and one socket per core, which the kernel shares
//! datagrams out to (`SO_REUSEPORT`).
//!
//! A worker holds no lock and waits for nobody: it takes a datagram, answers
//! from the newest image and sends.

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

use socket2::{Domain, Protocol, Socket, Type};
use tracing::debug;

use super::{
    answer::Transport,
    published::{Counters, Published},
};

/// The largest query taken over UDP: a stock client's is below 512 octets, and
/// EDNS lets no one send more than we offer.
const MAX_QUERY: usize = 4096;

/// How often an idle worker looks whether it is to end.
const STOP_INTERVAL: Duration = Duration::from_millis(200);

/// How long a worker rests after an error of its socket, so that a lasting one
/// costs no core.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Octets that the kernel holds for a worker that the scheduler keeps waiting.
const SOCKET_BUFFER: usize = 1 << 20;

/// Running UDP workers; they end when this is dropped.
#[derive(Debug)]
pub struct UdpFront {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

impl UdpFront {
    /// Binds `address` and starts `workers` threads that answer there.
    ///
    /// Shape:  port 0 takes a free one; see [`UdpFront::address`].
    /// Errors: those of binding.
    pub fn start(
        address: SocketAddr,
        published: &Arc<Published>,
        counters: &[Arc<Counters>],
    ) -> io::Result<Self> {
        let mut front = Self {
            address,
            stop: Arc::default(),
            workers: Vec::new(),
        };
        for counters in counters {
            let socket = bind(front.address)?;
            front.address = socket.local_addr()?;
            let (published, counters) = (Arc::clone(published), Arc::clone(counters));
            let stop = Arc::clone(&front.stop);
            let worker = std::thread::Builder::new()
                .name("dns-udp".to_owned())
                .spawn(move || serve(&socket, &published, &counters, &stop))?;
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
    socket.set_read_timeout(Some(STOP_INTERVAL))?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn serve(socket: &UdpSocket, published: &Published, counters: &Counters, stop: &AtomicBool) {
    let mut query = [0; MAX_QUERY];
    while !stop.load(Ordering::Relaxed) {
        let (length, client) = match socket.recv_from(&mut query) {
            Ok(received) => received,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::TimedOut
                        | io::ErrorKind::Interrupted
                ) =>
            {
                continue;
            }
            Err(error) => {
                debug!(%error, "receiving a datagram failed");
                std::thread::sleep(ERROR_PAUSE);
                continue;
            }
        };
        // Nobody asks from port 0; an answer there could only serve a forger.
        if client.port() == 0 {
            continue;
        }
        let Some(response) = published.answer(&query[..length], Transport::Udp, counters) else {
            continue;
        };
        if let Err(error) = socket.send_to(&response.octets, client) {
            debug!(%error, %client, "sending a response failed");
        }
    }
}
