//! Telling name servers: the newest signed image, and every version after it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{broadcast, watch},
    task::JoinSet,
    time::timeout,
};
use tracing::{debug, info};

use super::signing::everything;
use crate::names::{
    feed::{GREETING, Version},
    zone::Zone,
};

/// Versions that a name server may be behind before it is cut off and begins
/// anew: some ten seconds at full speed.
const MAX_BEHIND: usize = 256;

/// Name servers at a time.
const MAX_CLIENTS: usize = 64;

/// How long a name server may take over a frame, or to greet.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Encoded frames of one version.
type Frames = Arc<Vec<Vec<u8>>>;

/// The newest image and who wants to hear of the next.
#[derive(Debug)]
pub struct Feed {
    newest: Mutex<Newest>,
    /// Counts images, so that who came before the first can wait for it.
    published: watch::Sender<u64>,
}

#[derive(Debug)]
struct Newest {
    zone: Option<Zone>,
    versions: broadcast::Sender<Frames>,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            newest: Mutex::new(Newest {
                zone: None,
                versions: broadcast::Sender::new(MAX_BEHIND),
            }),
            published: watch::Sender::new(0),
        }
    }
}

impl Feed {
    /// Whether there is an image.
    pub fn is_ready(&self) -> bool {
        self.lock().zone.is_some()
    }

    /// Forgets the image; name servers begin anew.
    pub fn reset(&self) {
        *self.lock() = Newest {
            zone: None,
            versions: broadcast::Sender::new(MAX_BEHIND),
        };
    }

    /// Tells everyone of `zone`, which `version` led to.
    pub fn publish(&self, zone: Zone, version: &Version) {
        let mut newest = self.lock();
        newest.zone = Some(zone);
        // Nobody may be listening.
        let _ = newest.versions.send(Arc::new(version.encode()));
        drop(newest);
        self.published.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest image and every version after it.
    async fn subscribe(&self) -> (Zone, broadcast::Receiver<Frames>) {
        let mut published = self.published.subscribe();
        loop {
            {
                let newest = self.lock();
                if let Some(zone) = &newest.zone {
                    return (zone.clone(), newest.versions.subscribe());
                }
            }
            // The sender lives as long as this feed.
            let _ = published.changed().await;
        }
    }
}

/// Accepts name servers on `listener`; it ends with its caller.
pub async fn serve(listener: TcpListener, feed: Arc<Feed>) -> std::convert::Infallible {
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(%error, "accepting a name server failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if clients.len() >= MAX_CLIENTS {
            debug!(%client, "no room for another name server");
            continue;
        }
        let feed = Arc::clone(&feed);
        clients.spawn(async move {
            if let Err(error) = tell(stream, client, &feed).await {
                info!(%client, %error, "a name server's feed ended");
            }
        });
    }
}

async fn tell(mut stream: TcpStream, client: SocketAddr, feed: &Feed) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut theirs = [0; GREETING.len()];
    timeout(CLIENT_TIMEOUT, stream.read_exact(&mut theirs)).await??;
    stream.write_all(GREETING).await?;
    if theirs != *GREETING {
        return Ok(());
    }
    let (zone, mut versions) = feed.subscribe().await;
    info!(%client, height = %zone.height(), "a name server follows");
    let whole = Version::new(zone.height(), true, Vec::new(), everything(&zone));
    drop(zone);
    send(&mut stream, &whole.encode()).await?;
    drop(whole);
    loop {
        let frames = versions.recv().await.map_err(std::io::Error::other)?;
        send(&mut stream, &frames).await?;
    }
}

async fn send(stream: &mut TcpStream, frames: &[Vec<u8>]) -> std::io::Result<()> {
    for frame in frames {
        timeout(CLIENT_TIMEOUT, stream.write_all(frame)).await??;
    }
    Ok(())
}
