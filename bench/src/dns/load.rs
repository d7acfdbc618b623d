//! A loader that sends and receives datagrams in batches, so that one core of
//! it outruns one core of any server here.

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

/// The largest response.
const BUFFER: usize = 2048;

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

/// Asks `server` the `queries` in turn for `length`, on one thread.
pub fn run(server: SocketAddr, queries: &[Vec<u8>], length: Duration) -> Result<Round> {
    let mut lanes = Vec::new();
    for _ in 0..SOCKETS {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        // The kernel may grant less.
        setsockopt(&socket, sockopt::RcvBuf, &(4 << 20))?;
        setsockopt(&socket, sockopt::SndBuf, &(4 << 20))?;
        lanes.push(Lane {
            socket,
            outstanding: 0,
            heard: Instant::now(),
        });
    }
    let mut storage = vec![0; WINDOW * BUFFER];
    let mut outgoing: Vec<Vec<u8>> = vec![Vec::new(); WINDOW];
    let mut incoming_headers: MultiHeaders<SockaddrIn> = MultiHeaders::preallocate(WINDOW, None);
    let mut outgoing_headers: MultiHeaders<SockaddrIn> = MultiHeaders::preallocate(WINDOW, None);
    let (mut next, mut sent, mut got, mut lost, mut positive) = (0, 0, 0, 0, 0);
    let begin = Instant::now();
    let mut counted_from = None;
    while begin.elapsed() < WARM_UP + length {
        if counted_from.is_none() && begin.elapsed() >= WARM_UP {
            counted_from = Some(Instant::now());
            (got, lost, positive) = (0, 0, 0);
        }
        for lane in &mut lanes {
            let (received, with_records) = receive(lane, &mut storage, &mut incoming_headers);
            got += received as u64;
            positive += with_records;
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
            if room < WINDOW / 2 {
                continue;
            }
            for octets in &mut outgoing[..room] {
                octets.clear();
                octets.extend_from_slice(&queries[next % queries.len()]);
                octets[..2].copy_from_slice(&(next as u16).to_be_bytes());
                next += 1;
            }
            let slices: Vec<[IoSlice<'_>; 1]> = outgoing[..room]
                .iter()
                .map(|octets| [IoSlice::new(octets)])
                .collect();
            let results = sendmmsg(
                lane.socket.as_raw_fd(),
                &mut outgoing_headers,
                slices.iter(),
                vec![None::<SockaddrIn>; room],
                NO_CONTROL,
                MsgFlags::empty(),
            );
            if let Ok(results) = results {
                let count = results.count();
                sent += count as u64;
                lane.outstanding += count;
            }
        }
    }
    let elapsed = counted_from
        .context("a round is longer than its warm-up")?
        .elapsed();
    Ok(Round {
        per_second: got as f64 / elapsed.as_secs_f64(),
        sent,
        lost,
        positive: positive as f64 / (got.max(1)) as f64,
    })
}

/// Receives what is there: how many, and how many with an answer section.
fn receive(
    lane: &Lane,
    storage: &mut [u8],
    headers: &mut MultiHeaders<SockaddrIn>,
) -> (usize, u64) {
    let received = {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> = storage
            .chunks_mut(BUFFER)
            .map(|chunk| [IoSliceMut::new(chunk)])
            .collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        recvmmsg(
            lane.socket.as_raw_fd(),
            headers,
            slices.iter_mut(),
            flags,
            None,
        )
        .map_or(0, |results| results.count())
    };
    let with_records = storage
        .chunks(BUFFER)
        .take(received)
        .filter(|response| response[6..8] != [0, 0])
        .count();
    (received, with_records as u64)
}

/// Sends every datagram back, marked as a response: what the kernel's UDP
/// costs without any name server.
pub fn echo(address: SocketAddr) -> Result<std::convert::Infallible> {
    const BATCH: usize = 32;
    let socket = UdpSocket::bind(address)?;
    setsockopt(&socket, sockopt::RcvBuf, &(4 << 20))?;
    setsockopt(&socket, sockopt::SndBuf, &(4 << 20))?;
    let mut storage = vec![0; BATCH * BUFFER];
    let mut incoming: MultiHeaders<SockaddrIn> = MultiHeaders::preallocate(BATCH, None);
    let mut outgoing: MultiHeaders<SockaddrIn> = MultiHeaders::preallocate(BATCH, None);
    loop {
        let received: Vec<(usize, Option<SockaddrIn>)> = {
            let mut slices: Vec<[IoSliceMut<'_>; 1]> = storage
                .chunks_mut(BUFFER)
                .map(|chunk| [IoSliceMut::new(chunk)])
                .collect();
            let flags = MsgFlags::MSG_WAITFORONE;
            recvmmsg(
                socket.as_raw_fd(),
                &mut incoming,
                slices.iter_mut(),
                flags,
                None,
            )?
            .map(|message| (message.bytes, message.address))
            .collect()
        };
        for chunk in storage.chunks_mut(BUFFER).take(received.len()) {
            chunk[2] |= 0x80;
        }
        let slices: Vec<[IoSlice<'_>; 1]> = storage
            .chunks(BUFFER)
            .zip(&received)
            .map(|(chunk, (length, _))| [IoSlice::new(&chunk[..*length])])
            .collect();
        let addresses: Vec<Option<SockaddrIn>> = received.iter().map(|(_, from)| *from).collect();
        // A full buffer loses datagrams, as any server's does.
        let _ = sendmmsg(
            socket.as_raw_fd(),
            &mut outgoing,
            slices.iter(),
            addresses,
            NO_CONTROL,
            MsgFlags::empty(),
        );
    }
}
