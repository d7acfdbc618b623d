//! Datagrams in batches: many with one system call, in and out.
//!
//! The calls are `nix`', which are safe; the buffers are taken once and used
//! again. An answer leaves from the address that was asked, also where the
//! socket is bound to all: the kernel says which that was, and is told.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
};

use nix::{
    cmsg_space,
    errno::Errno,
    libc,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn,
        SockaddrIn6, SockaddrLike, recvmmsg, sendmmsg, sendmsg, setsockopt, sockopt,
    },
};
use tracing::debug;

use crate::names::answer::MAX_UDP_RESPONSE;

/// Datagrams of a batch: beyond it more of them share a system call, but
/// their buffers no longer fit the processor's nearest cache.
pub(super) const BATCH: usize = 64;

/// Octets of a query that are read: stock clients send a few hundred at most,
/// and larger updates over TCP. What is longer is cut off, and so malformed.
const MAX_QUERY: usize = 4096;

/// Octets from one buffer to the next: more than they need, so that their
/// beginnings do not meet in one place of the processor's cache.
const INBOX_STRIDE: usize = MAX_QUERY + 192;
const OUTBOX_STRIDE: usize = MAX_UDP_RESPONSE as usize + 112;

/// A client's address in the kernel's form.
pub(super) trait Client: SockaddrLike + Copy {
    /// The same as the library has it.
    fn address(&self) -> SocketAddr;
}

impl Client for SockaddrIn {
    fn address(&self) -> SocketAddr {
        (self.ip(), self.port()).into()
    }
}

impl Client for SockaddrIn6 {
    fn address(&self) -> SocketAddr {
        (self.ip(), self.port()).into()
    }
}

/// A datagram that arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram<'b, S> {
    /// What it holds.
    pub octets: &'b [u8],
    /// Who sent it.
    pub client: S,
    /// Where to, if the socket is bound to all addresses.
    pub asked: Option<IpAddr>,
}

/// Room for messages about a datagram: where it was sent to.
fn control_room() -> Vec<u8> {
    cmsg_space!(libc::in6_pktinfo)
}

/// Makes the kernel say where each datagram was sent to.
pub(super) fn want_asked(socket: &UdpSocket) -> io::Result<()> {
    if socket.local_addr()?.is_ipv4() {
        setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
    } else {
        setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    }
    Ok(())
}

/// Datagrams that arrived together.
pub(super) struct Inbox<S> {
    storage: Vec<u8>,
    headers: MultiHeaders<S>,
    arrived: Vec<(usize, S, Option<IpAddr>)>,
}

impl<S: Client> Inbox<S> {
    /// Room for a batch; `wants_asked` for a socket of which [`want_asked`] was.
    pub fn new(wants_asked: bool) -> Self {
        Self {
            storage: vec![0; BATCH * INBOX_STRIDE],
            headers: MultiHeaders::preallocate(BATCH, wants_asked.then(control_room)),
            arrived: Vec::with_capacity(BATCH),
        }
    }

    /// Waits for a datagram, and takes all that are there.
    ///
    /// Errors: the socket's; `WouldBlock` when its time to wait is over.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.arrived.clear();
        let mut buffers = self.storage.chunks_exact_mut(INBOX_STRIDE);
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] = std::array::from_fn(|_| {
            let buffer = buffers.next().unwrap_or_default();
            let length = buffer.len().min(MAX_QUERY);
            [IoSliceMut::new(&mut buffer[..length])]
        });
        let received = recvmmsg(
            socket.as_raw_fd(),
            &mut self.headers,
            &mut slices,
            MsgFlags::MSG_WAITFORONE,
            None,
        )?;
        for message in received {
            let asked = asked(&message);
            let (length, client) = (message.bytes, message.address);
            // Every datagram has a sender.
            let Some(client) = client else { break };
            self.arrived.push((length.min(MAX_QUERY), client, asked));
        }
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.arrived.len()
    }

    /// The datagrams, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = Datagram<'_, S>> {
        self.storage
            .chunks_exact(INBOX_STRIDE)
            .zip(&self.arrived)
            .map(|(buffer, (length, client, asked))| Datagram {
                octets: &buffer[..*length],
                client: *client,
                asked: *asked,
            })
    }
}

/// Where a datagram was sent to, if the kernel says so.
fn asked<S>(message: &RecvMsg<'_, '_, S>) -> Option<IpAddr> {
    message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into())
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into())
        }
        _ => None,
    })
}

/// Datagrams that leave together.
pub(super) struct Outbox<S> {
    storage: Vec<u8>,
    lengths: [usize; BATCH],
    clients: [Option<S>; BATCH],
    asked: [Option<IpAddr>; BATCH],
    count: usize,
    headers: MultiHeaders<S>,
}

impl<S: Client> Outbox<S> {
    /// Room for a batch; see [`Inbox::new`].
    pub fn new(wants_asked: bool) -> Self {
        Self {
            storage: vec![0; BATCH * OUTBOX_STRIDE],
            lengths: [0; BATCH],
            clients: [None; BATCH],
            asked: [None; BATCH],
            count: 0,
            headers: MultiHeaders::preallocate(BATCH, wants_asked.then(control_room)),
        }
    }

    /// Where the next answer is to be written; none if there is no more room.
    pub fn room(&mut self) -> Option<&mut [u8]> {
        let buffer = self
            .storage
            .chunks_exact_mut(OUTBOX_STRIDE)
            .nth(self.count)?;
        Some(&mut buffer[..usize::from(MAX_UDP_RESPONSE)])
    }

    /// Takes what was written: `length` octets in answer to `datagram`.
    pub fn push(&mut self, length: usize, datagram: Datagram<'_, S>) {
        if self.count < BATCH {
            self.lengths[self.count] = length.min(usize::from(MAX_UDP_RESPONSE));
            self.clients[self.count] = Some(datagram.client);
            self.asked[self.count] = datagram.asked;
            self.count += 1;
        }
    }

    /// Takes an answer to `datagram`.
    pub fn push_octets(&mut self, octets: &[u8], datagram: Datagram<'_, S>) {
        if let Some(room) = self.room().and_then(|room| room.get_mut(..octets.len())) {
            room.copy_from_slice(octets);
            self.push(octets.len(), datagram);
        }
    }

    /// Sends everything. What does not fit the socket's buffer is lost, as on
    /// any other stretch of its way.
    pub fn send(&mut self, socket: &UdpSocket) {
        let count = std::mem::take(&mut self.count);
        let mut from = 0;
        while from < count {
            // All of a call leave from one address.
            let asked = self.asked[from];
            let alike = self.asked[from..count]
                .iter()
                .take_while(|other| **other == asked);
            let to = from + alike.count();
            match self.send_some(socket, from..to, asked) {
                Ok(0) | Err(Errno::EAGAIN) => return,
                Ok(sent) => from += sent,
                Err(Errno::EINTR) => {}
                Err(error) => {
                    // The first of them cannot be sent; the others are not held up.
                    debug!(%error, client = ?self.clients[from].map(|client| client.address()), "sending a response failed");
                    from += 1;
                }
            }
        }
    }

    fn send_some(
        &mut self,
        socket: &UdpSocket,
        some: std::ops::Range<usize>,
        asked: Option<IpAddr>,
    ) -> Result<usize, Errno> {
        let mut buffers = self.storage.chunks_exact(OUTBOX_STRIDE).zip(self.lengths);
        let slices: [[IoSlice<'_>; 1]; BATCH] = std::array::from_fn(|_| {
            let (buffer, length) = buffers.next().unwrap_or_default();
            [IoSlice::new(&buffer[..length])]
        });
        let source = asked.map(Source::new);
        let control = source.as_ref().map(Source::control);
        let sent = sendmmsg(
            socket.as_raw_fd(),
            &mut self.headers,
            &slices[some.clone()],
            &self.clients[some],
            control.as_slice(),
            MsgFlags::MSG_DONTWAIT,
        )?;
        Ok(sent.count())
    }
}

/// Sends one answer, which is late.
pub(super) fn send_late<S: Client>(
    socket: &UdpSocket,
    octets: &[u8],
    client: S,
    asked: Option<IpAddr>,
) {
    let source = asked.map(Source::new);
    let control = source.as_ref().map(Source::control);
    let sent = sendmsg(
        socket.as_raw_fd(),
        &[IoSlice::new(octets)],
        control.as_slice(),
        MsgFlags::MSG_DONTWAIT,
        Some(&client),
    );
    if let Err(error) = sent {
        debug!(%error, client = %client.address(), "sending a response failed");
    }
}

/// The address that an answer leaves from, in the kernel's form.
enum Source {
    V4(libc::in_pktinfo),
    V6(libc::in6_pktinfo),
}

impl Source {
    fn new(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from(address).to_be(),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            }),
            IpAddr::V6(address) => Self::V6(libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: address.octets(),
                },
                ipi6_ifindex: 0,
            }),
        }
    }

    fn control(&self) -> ControlMessage<'_> {
        match self {
            Self::V4(info) => ControlMessage::Ipv4PacketInfo(info),
            Self::V6(info) => ControlMessage::Ipv6PacketInfo(info),
        }
    }
}
