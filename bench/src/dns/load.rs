//! A loader that sends and receives datagrams in batches, so that one core of
//! it outruns one core of any server here; and the echo that shows how much of
//! an answer's cost is the kernel's.

use std::{
    io::{IoSlice, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt, sockopt,
};

/// Sockets: enough that a server's batches are full.
const SOCKETS: usize = 16;

/// Queries outstanding on each socket.
const WINDOW: usize = 12;

/// The largest response, and more.
const BUFFER: usize = 2048;

/// Datagrams that the echo takes at once.
const ECHO_BATCH: usize = 64;

/// What sockets ask of the kernel; it may grant less.
const SOCKET_BUFFER: usize = 4 << 20;

/// After so long without an answer a socket's queries count as lost.
const LOST_AFTER: Duration = Duration::from_millis(50);

/// Not counted: the server's caches warm up.
const WARM_UP: Duration = Duration::from_millis(300);

/// Datagrams go without control messages.
const NO_CONTROL: &[ControlMessage<'static>] = &[];

/// What a round measured.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Answers a second.
    pub per_second: f64,
    /// Queries sent, the warm-up's too.
    pub sent: u64,
    /// Queries without an answer.
    pub lost: u64,
    /// The share of answers with records in the answer section.
    pub positive: f64,
}

struct Lane {
    socket: UdpSocket,
    outstanding: usize,
    heard: Instant,
}

impl Lane {
    fn open(server: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::RcvBuf, &SOCKET_BUFFER)?;
        setsockopt(&socket, sockopt::SndBuf, &SOCKET_BUFFER)?;
        Ok(Self {
            socket,
            outstanding: 0,
            heard: Instant::now(),
        })
    }
}

/// Buffers and headers of one direction.
struct Batch {
    storage: Vec<u8>,
    headers: MultiHeaders<SockaddrIn>,
}

impl Batch {
    fn new(count: usize) -> Self {
        Self {
            storage: vec![0; count * BUFFER],
            headers: MultiHeaders::preallocate(count, None),
        }
    }
}

/// Asks `server` the `queries` in turn for `length`, on one thread.
pub fn run(server: SocketAddr, queries: &[Vec<u8>], length: Duration) -> Result<Round> {
    let lanes: Result<Vec<Lane>> = (0..SOCKETS).map(|_| Lane::open(server)).collect();
    let mut lanes = lanes?;
    let (mut incoming, mut outgoing) = (Batch::new(WINDOW), Batch::new(WINDOW));
    let (mut next, mut sent, mut got, mut lost, mut positive) = (0, 0, 0, 0, 0);
    let begin = Instant::now();
    let mut counted_from = None;
    while begin.elapsed() < WARM_UP + length {
        if counted_from.is_none() && begin.elapsed() >= WARM_UP {
            counted_from = Some(Instant::now());
            (got, lost, positive) = (0, 0, 0);
        }
        for lane in &mut lanes {
            let (received, with_records) = receive(lane, &mut incoming);
            got += received as u64;
            positive += with_records as u64;
            lane.outstanding = lane.outstanding.saturating_sub(received);
            if received > 0 {
                lane.heard = Instant::now();
            } else if lane.outstanding > 0 && lane.heard.elapsed() > LOST_AFTER {
                lost += lane.outstanding as u64;
                lane.outstanding = 0;
                lane.heard = Instant::now();
            }
            let room = WINDOW - lane.outstanding;
            // Half a window at least, so that calls are worth their price.
            if room >= WINDOW / 2 {
                let count = send(lane, &mut outgoing, queries, &mut next, room);
                sent += count as u64;
                lane.outstanding += count;
            }
        }
    }
    let counted_from = counted_from.context("a round is longer than its warm-up")?;
    Ok(Round {
        per_second: got as f64 / counted_from.elapsed().as_secs_f64(),
        sent,
        lost,
        positive: positive as f64 / (got.max(1)) as f64,
    })
}

/// Sends the next queries, at most `room`; gives how many went.
fn send(
    lane: &Lane,
    batch: &mut Batch,
    queries: &[Vec<u8>],
    next: &mut usize,
    room: usize,
) -> usize {
    let mut lengths = [0; WINDOW];
    for (buffer, length) in batch.storage.chunks_mut(BUFFER).zip(&mut lengths[..room]) {
        let query = &queries[*next % queries.len()];
        buffer[..query.len()].copy_from_slice(query);
        buffer[..2].copy_from_slice(&(*next as u16).to_be_bytes());
        *length = query.len();
        *next += 1;
    }
    let mut buffers = batch.storage.chunks(BUFFER).zip(lengths);
    let slices: [[IoSlice<'_>; 1]; WINDOW] = std::array::from_fn(|_| {
        let (buffer, length) = buffers.next().unwrap_or_default();
        [IoSlice::new(&buffer[..length])]
    });
    let sent = sendmmsg(
        lane.socket.as_raw_fd(),
        &mut batch.headers,
        &slices[..room],
        [None::<SockaddrIn>; WINDOW],
        NO_CONTROL,
        MsgFlags::empty(),
    );
    sent.map_or(0, Iterator::count)
}

/// Receives what is there: how many, and how many with an answer section.
fn receive(lane: &Lane, batch: &mut Batch) -> (usize, usize) {
    let received = {
        let mut buffers = batch.storage.chunks_mut(BUFFER);
        let mut slices: [[IoSliceMut<'_>; 1]; WINDOW] =
            std::array::from_fn(|_| [IoSliceMut::new(buffers.next().unwrap_or_default())]);
        let received = recvmmsg(
            lane.socket.as_raw_fd(),
            &mut batch.headers,
            &mut slices,
            MsgFlags::MSG_DONTWAIT,
            None,
        );
        received.map_or(0, Iterator::count)
    };
    let responses = batch.storage.chunks(BUFFER).take(received);
    let with_records = responses.filter(|response| response[6..8] != [0, 0]);
    (received, with_records.count())
}

/// Sends every datagram back, marked as a response: what the kernel's UDP
/// costs without any name server.
pub fn echo(address: SocketAddr) -> Result<std::convert::Infallible> {
    let socket = UdpSocket::bind(address)?;
    setsockopt(&socket, sockopt::RcvBuf, &SOCKET_BUFFER)?;
    setsockopt(&socket, sockopt::SndBuf, &SOCKET_BUFFER)?;
    let mut incoming = Batch::new(ECHO_BATCH);
    let mut outgoing: MultiHeaders<SockaddrIn> = MultiHeaders::preallocate(ECHO_BATCH, None);
    let mut lengths = [0; ECHO_BATCH];
    let mut addresses = [None; ECHO_BATCH];
    loop {
        let mut count = 0;
        {
            let mut buffers = incoming.storage.chunks_mut(BUFFER);
            let mut slices: [[IoSliceMut<'_>; 1]; ECHO_BATCH] =
                std::array::from_fn(|_| [IoSliceMut::new(buffers.next().unwrap_or_default())]);
            let received = recvmmsg(
                socket.as_raw_fd(),
                &mut incoming.headers,
                &mut slices,
                MsgFlags::MSG_WAITFORONE,
                None,
            )?;
            for message in received {
                (lengths[count], addresses[count]) = (message.bytes, message.address);
                count += 1;
            }
        }
        for buffer in incoming.storage.chunks_mut(BUFFER).take(count) {
            buffer[2] |= 0x80;
        }
        let mut buffers = incoming.storage.chunks(BUFFER).zip(lengths);
        let slices: [[IoSlice<'_>; 1]; ECHO_BATCH] = std::array::from_fn(|_| {
            let (buffer, length) = buffers.next().unwrap_or_default();
            [IoSlice::new(&buffer[..length])]
        });
        // A full buffer loses datagrams, as any server's does.
        let _ = sendmmsg(
            socket.as_raw_fd(),
            &mut outgoing,
            &slices[..count],
            &addresses[..count],
            NO_CONTROL,
            MsgFlags::empty(),
        );
    }
}
