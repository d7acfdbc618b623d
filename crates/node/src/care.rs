//! When does a running node stop and start again by itself?
//!
//! When the circle is so far ahead that its state is fetched sooner than its
//! blocks (the state can take the ledger's place only while the node is down),
//! and when the disk is about to be full: a node that cannot store must not
//! vote. It then stops in order, says at its API what it waits for, and starts
//! again once there is room. What peers claim of their heights is not believed:
//! only a state that the circle has certified makes a node stop.

use std::{io, path::Path, time::Duration};

use engine::EngineHandle;
use rustix::fs::statvfs;
use tokio::{net::TcpListener, sync::oneshot, time::Instant};
use wire::Height;

use crate::{
    api,
    checkpoint::sync,
    config::{NodeConfig, read_genesis},
    node::Node,
};

/// How often the disk and the distance to the head are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// For how long a node must be far behind before it asks for a state: blocks that
/// come in order may be quicker.
const BEHIND_PATIENCE: Duration = Duration::from_secs(3);

/// The wait after a question for states to which nobody had an answer.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// How much more than the reserve must be free before a node starts again, in
/// percent of it: else it would stop at once.
const RESUME_PERCENT: u64 = 125;

/// Why a node should not go on as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Its engine or API has ended by itself.
    Ended,
    /// A certified state of this height is far ahead.
    Behind(Height),
    /// The disk is full, or nearly so.
    Full,
}

/// Waits until there is something to notice.
pub(crate) async fn notice(node: &mut Node, config: &NodeConfig) -> Notice {
    let engine = node.engine().clone();
    tokio::select! {
        () = node.ended() => {}
        () = until_full(config) => return Notice::Full,
        height = until_behind(&engine, config) => return Notice::Behind(height),
    }
    // A write that failed for want of room ends the engine before it is seen here.
    match lacks_room(config, 100) {
        Ok(true) => Notice::Full,
        _ => Notice::Ended,
    }
}

async fn until_full(config: &NodeConfig) {
    loop {
        match lacks_room(config, 100) {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "cannot ask how full the disk is"),
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Waits until a state is far ahead of a node that does not come nearer by blocks
/// in time, or gets none from anybody.
async fn until_behind(engine: &EngineHandle, config: &NodeConfig) -> Height {
    if config.sync.peers.is_empty() {
        return std::future::pending().await;
    }
    let mut since = None;
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let status = engine.status();
        let head = status.tip_height.max(status.peer_height);
        let own = status.finalized_height;
        // Who hears no validator cannot know how far behind it is.
        let hears = !status.connected.is_empty();
        if hears && head.since(own) < config.sync.min_blocks_behind {
            since = None;
            continue;
        }
        if since.get_or_insert_with(Instant::now).elapsed() < BEHIND_PATIENCE {
            continue;
        }
        match state_ahead(config, own).await {
            Some(height) => return height,
            None => tokio::time::sleep(ASK_AGAIN).await,
        }
    }
}

/// The height of a certified state that is far ahead of `own`.
async fn state_ahead(config: &NodeConfig, own: Height) -> Option<Height> {
    let genesis = read_genesis(&config.genesis).ok()?;
    let wanted = sync::Wanted {
        circle: genesis.circle(),
        key: &genesis.circle_key,
        config: &config.sync,
        data_dir: &config.data_dir,
    };
    let ahead = sync::ahead(&wanted, own).await;
    ahead.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot ask for a state");
        None
    })
}

/// Whether less than `percent` of the reserve is free.
///
/// Errors: the system's.
fn lacks_room(config: &NodeConfig, percent: u64) -> io::Result<bool> {
    let reserve = config.disk.reserve_mb.saturating_mul(1024 * 1024);
    if reserve == 0 {
        return Ok(false);
    }
    Ok(free_bytes(&config.data_dir)? < reserve / 100 * percent)
}

/// Bytes that this process may still write to the file system of `path`, or of
/// its closest parent that is there.
fn free_bytes(path: &Path) -> io::Result<u64> {
    let there = path.ancestors().find(|path| path.exists());
    let system = statvfs(there.unwrap_or(Path::new(".")))?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

/// Waits until the disk has room, and says so at the API meanwhile.
///
/// Errors: the system's, where the API's address cannot be used.
pub(crate) async fn wait_for_room(config: &NodeConfig) -> io::Result<()> {
    if !lacks_room(config, 100)? {
        return Ok(());
    }
    let (folder, reserve_mb) = (config.data_dir.display(), config.disk.reserve_mb);
    tracing::error!(
        %folder, reserve_mb,
        "the disk is full: the node waits until there is room, and then goes on"
    );
    let listener = TcpListener::bind(config.api).await?;
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(api::serve_nothing(
        listener,
        format!("the disk of {folder} has less than {reserve_mb} MB left"),
        stopped,
    ));
    while lacks_room(config, RESUME_PERCENT)? {
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    drop(stop);
    server.await.map_err(io::Error::other)?;
    tracing::info!(%folder, "the disk has room again");
    Ok(())
}
