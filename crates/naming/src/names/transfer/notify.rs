//! Telling secondaries that a zone changed (RFC 1996).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use domain::{
    base::{
        Message, MessageBuilder, Rtype,
        iana::{Class, Opcode},
    },
    rdata::tsig::Time48,
    tsig::ClientTransaction,
};
use tokio::{net::UdpSocket, task::JoinSet, time::timeout};
use tracing::{debug, warn};

use super::{SharedKey, Transfers, journal::soa};
use crate::names::{published::Published, zone::OwnerName};

/// How often it is looked whether a zone changed: changes of a second are
/// told together.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long a secondary is waited for, twice as long each time (RFC 1996 §3.6).
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// How often one is told before it is left to its own refresh.
const TRIES: u32 = 4;

/// Tells secondaries of changes; it ends with its caller.
pub(in crate::names) async fn notify(
    transfers: Arc<Transfers>,
    published: Arc<Published>,
) -> std::convert::Infallible {
    let mut told: Vec<u64> = Vec::new();
    let mut told_catalog = false;
    let mut under_way = JoinSet::new();
    loop {
        tokio::time::sleep(INTERVAL).await;
        while under_way.try_join_next().is_some() {}
        let versions = transfers.versions(&published);
        let Some(zone) = published.zone().filter(|_| !versions.is_empty()) else {
            continue;
        };
        let changed = |index: usize| told.get(index) != versions.get(index);
        let mut names: Vec<OwnerName> = (0..)
            .zip(zone.apexes())
            .filter(|(index, apex)| changed(*index) && soa(apex).is_some())
            .map(|(_, apex)| apex.name().clone())
            .collect();
        if let Some(catalog) = transfers.catalog.as_ref().filter(|_| !told_catalog) {
            names.insert(0, catalog.name().clone());
            told_catalog = true;
        }
        told = versions;
        for name in names {
            for (address, key) in &transfers.secondaries {
                under_way.spawn(tell(name.clone(), *address, Arc::clone(key)));
            }
        }
    }
}

async fn tell(name: OwnerName, address: SocketAddr, key: SharedKey) {
    let mut wait = FIRST_WAIT;
    for _ in 0..TRIES {
        match timeout(wait, exchange(&name, address, &key)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                debug!(%error, %address, "a secondary could not be told");
                tokio::time::sleep(wait).await;
            }
            Err(_) => {}
        }
        wait *= 2;
    }
    warn!(%address, zone = %name, "a secondary does not answer NOTIFY");
}

async fn exchange(name: &OwnerName, address: SocketAddr, key: &SharedKey) -> std::io::Result<()> {
    let (query, transaction) =
        message(name, key).ok_or_else(|| std::io::Error::other("the message cannot be made"))?;
    let any: SocketAddr = if address.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    socket.send(&query).await?;
    loop {
        let mut response = vec![0; 512];
        let length = socket.recv(&mut response).await?;
        response.truncate(length);
        let Ok(mut response) = Message::from_octets(response) else {
            continue;
        };
        // What is not signed may be forged: it is not heard.
        if transaction.answer(&mut response, Time48::now()).is_ok() {
            debug!(%address, rcode = %response.header().rcode(), "a secondary was told");
            return Ok(());
        }
    }
}

fn message(name: &OwnerName, key: &SharedKey) -> Option<(Vec<u8>, ClientTransaction<SharedKey>)> {
    let mut id = [0; 2];
    aws_lc_rs::rand::fill(&mut id).ok()?;
    let mut builder = MessageBuilder::new_vec();
    let header = builder.header_mut();
    header.set_id(u16::from_be_bytes(id));
    header.set_opcode(Opcode::NOTIFY);
    header.set_aa(true);
    let mut question = builder.question();
    question.push((name, Rtype::SOA, Class::IN)).ok()?;
    let mut additional = question.additional();
    let transaction =
        ClientTransaction::request(Arc::clone(key), &mut additional, Time48::now()).ok()?;
    Some((additional.finish(), transaction))
}
