//! Which port does each part of an embedded circle listen on, and who holds
//! one that is taken?
//!
//! Every port follows from one base, so that circles can stand side by side.
//! All addresses are loopback: the whole of 127.0.0.0/8 is, on Linux.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
};

use anyhow::Context as _;

/// The base port of a circle that was given none.
pub const DEFAULT_BASE: u16 = 26_700;

/// Ports above the base that a circle may take.
pub const SPAN: u16 = 300;

/// The most validators of an embedded circle: their ports end before the next kind's begin.
pub const MAX_VALIDATORS: u16 = 50;

/// The most providers of an embedded circle: one loopback address each.
pub const MAX_PROVIDERS: u16 = 100;

const API: u16 = 100;
const NAMES: u16 = 153;
const NAMES_HTTP: u16 = 154;
const NAMES_TLS: u16 = 155;
const NAMES_HTTPS: u16 = 156;
const NAMES_QUIC: u16 = 157;
const ZONE_FEED: u16 = 158;
const CERTIFICATE_AUTHORITY: u16 = 160;
const CONTROL: u16 = 201;
const SERVICE: u16 = 243;

/// The port on which services answer in a circle on the default base: what
/// people expect to type.
const DEFAULT_SERVICE: u16 = 8443;

/// Where the parts of one embedded circle listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    base: u16,
}

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Ports {
    /// The ports above `base`; none if they would leave the range of ports.
    pub fn above(base: u16) -> Option<Self> {
        (base >= 1024 && base.checked_add(SPAN).is_some()).then_some(Self { base })
    }

    /// Where validator `index` hears its peers.
    pub fn peer(self, index: u16) -> SocketAddr {
        SocketAddr::new(LOCAL, self.base + index)
    }

    /// Where validator `index` answers the API.
    pub fn api(self, index: u16) -> SocketAddr {
        SocketAddr::new(LOCAL, self.base + API + index)
    }

    /// Where the name node answers DNS, over UDP and TCP.
    pub fn names(self) -> SocketAddr {
        SocketAddr::new(LOCAL, self.base + NAMES)
    }

    /// Where the name node tells how it is.
    pub fn names_http(self) -> SocketAddr {
        SocketAddr::new(LOCAL, self.base + NAMES_HTTP)
    }

    /// Where the name node answers DNS over TLS.
    pub fn names_tls(self) -> SocketAddr {
        SocketAddr::new(LOCAL, self.base + NAMES_TLS)
    }

    /// Where the name node answers DNS over HTTPS.
    pub fn names_https(self) -> SocketAddr {
        SocketAddr::new(LOCAL, self.base + NAMES_HTTPS)
    }

    /// Where the name node answers DNS over QUIC.
    pub fn names_quic(self) -> SocketAddr {
        SocketAddr::new(LOCAL, self.base + NAMES_QUIC)
    }

    /// Where the zone signer tells name nodes.
    pub fn zone_feed(self) -> SocketAddr {
        SocketAddr::new(LOCAL, self.base + ZONE_FEED)
    }

    /// Where the certificate authority serves its root.
    pub fn certificate_authority(self) -> SocketAddr {
        SocketAddr::new(LOCAL, self.base + CERTIFICATE_AUTHORITY)
    }

    /// The loopback address of provider `index`: providers share a port, as
    /// they would on machines of their own.
    pub fn provider_address(self, index: u16) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(
            127,
            0,
            1,
            u8::try_from(index + 1).unwrap_or(u8::MAX),
        ))
    }

    /// Where provider `index` serves the ciphertext of logs and results.
    pub fn control(self, index: u16) -> SocketAddr {
        SocketAddr::new(self.provider_address(index), self.base + CONTROL)
    }

    /// Where services of provider `index` answer.
    pub fn service(self, index: u16) -> SocketAddr {
        let port = if self.base == DEFAULT_BASE {
            DEFAULT_SERVICE
        } else {
            self.base + SERVICE
        };
        SocketAddr::new(self.provider_address(index), port)
    }
}

/// How a port is listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A TCP listener.
    Tcp,
    /// A UDP socket.
    Udp,
}

/// Whether `address` can be listened on now.
///
/// Errors: that of the operating system, `AddrInUse` before all.
pub fn probe(protocol: Protocol, address: SocketAddr) -> std::io::Result<()> {
    match protocol {
        Protocol::Tcp => TcpListener::bind(address).map(drop),
        Protocol::Udp => UdpSocket::bind(address).map(drop),
    }
}

/// The process that listens on `address`, as `name (pid N)`; none where the
/// operating system does not tell us.
pub fn holder(protocol: Protocol, address: SocketAddr) -> Option<String> {
    let table = match protocol {
        Protocol::Tcp => "/proc/net/tcp",
        Protocol::Udp => "/proc/net/udp",
    };
    let inode = listening_inode(&std::fs::read_to_string(table).ok()?, protocol, address)?;
    let wanted = format!("socket:[{inode}]");
    let processes = std::fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        holds(&process.path(), &wanted).then(|| {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            format!("{} (pid {pid})", name.trim())
        })
    })
}

fn holds(process: &Path, socket: &str) -> bool {
    std::fs::read_dir(process.join("fd")).is_ok_and(|descriptors| {
        descriptors.flatten().any(|descriptor| {
            std::fs::read_link(descriptor.path()).is_ok_and(|target| target.as_os_str() == socket)
        })
    })
}

/// The inode of the socket that listens on `address`, from a table in the form of proc(5).
fn listening_inode(table: &str, protocol: Protocol, address: SocketAddr) -> Option<u64> {
    const TCP_LISTEN: &str = "0A";
    let IpAddr::V4(ip) = address.ip() else {
        return None;
    };
    let wanted = |ip: Ipv4Addr| {
        format!(
            "{:08X}:{:04X}",
            u32::from_ne_bytes(ip.octets()),
            address.port()
        )
    };
    let local = [wanted(ip), wanted(Ipv4Addr::UNSPECIFIED)];
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let listens = protocol == Protocol::Udp || columns.get(3) == Some(&TCP_LISTEN);
        let here = local
            .iter()
            .any(|local| columns.get(1) == Some(&local.as_str()));
        (listens && here).then(|| columns.get(9)?.parse().ok())?
    })
}

/// Refuses when a port that the circle needs is taken.
///
/// Errors: names the port, the part that needs it and, where known, who holds it.
pub fn check_free(needs: &[(String, Protocol, SocketAddr)]) -> anyhow::Result<()> {
    for (part, protocol, address) in needs {
        let Err(error) = probe(*protocol, *address) else {
            continue;
        };
        let by = holder(*protocol, *address).map_or_else(String::new, |who| format!(" by {who}"));
        return Err(error).with_context(|| {
            crate::failure::Advice::new(
                format!("{part} needs {address}, which is taken{by}"),
                "end that process, or give the circle other ports: `ringfort up --base-port N` \
                 with an N of its own",
            )
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_parts_share_an_address() {
        let ports = Ports::above(40_000).unwrap();
        let mut all = vec![
            ports.names(),
            ports.names_http(),
            ports.names_tls(),
            ports.names_https(),
            ports.names_quic(),
            ports.zone_feed(),
            ports.certificate_authority(),
        ];
        for index in 0..MAX_VALIDATORS {
            all.extend([ports.peer(index), ports.api(index)]);
        }
        for index in 0..MAX_PROVIDERS {
            all.extend([ports.control(index), ports.service(index)]);
        }
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(all.iter().all(|address| address.port() < 40_000 + SPAN));
    }

    #[test]
    fn refuses_a_base_whose_ports_leave_the_range() {
        assert!(Ports::above(65_300).is_none());
        assert!(Ports::above(80).is_none());
        assert!(Ports::above(DEFAULT_BASE).is_some());
    }

    #[test]
    fn names_the_process_that_holds_a_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let holder = holder(Protocol::Tcp, address).unwrap();
        assert!(
            holder.ends_with(&format!("(pid {})", std::process::id())),
            "{holder}"
        );
        let needs = [("node-0".to_owned(), Protocol::Tcp, address)];
        let error = check_free(&needs).unwrap_err().to_string();
        assert!(
            error.contains("node-0") && error.contains(&holder),
            "{error}"
        );
        drop(listener);
        check_free(&needs).unwrap();
    }
}
