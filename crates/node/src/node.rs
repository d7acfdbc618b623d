//! How do the parts of a node start together and end together?
//!
//! The store is opened first and closed last. The engine's threads own the
//! chain; the API's tasks see the tip and the mempool only. Whatever ends by
//! itself ends the node.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use engine::{EngineError, EngineHandle};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};
use tracing_subscriber::EnvFilter;

use crate::{
    api::{self, Api},
    attesting::{Attesting, EvidenceSource, Task},
    care::{self, Notice},
    chain::{self, ChainError, NodeChain},
    checkpoint::{Shelf, sync},
    config::{ConfigError, LogConfig, NodeConfig, Setup},
    healing,
    mempool::{Gate, Intake, Mempool},
    store::{Store, StoreError},
    tip::Tip,
};

/// How long requests that are under way may take to end with the node.
const GRACE: Duration = Duration::from_secs(5);

/// How often it is seen whether the engine's threads are up.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// Why a node cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The ledger's store cannot be used.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The engine cannot start, or has stopped by itself.
    #[error("the engine has failed")]
    Engine(#[from] EngineError),
    /// A folder, an address or a thread was refused.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

impl From<StoreError> for NodeError {
    fn from(error: StoreError) -> Self {
        Self::Chain(error.into())
    }
}

fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> NodeError {
    let what = what.into();
    move |source| NodeError::System { what, source }
}

/// A running node. Dropping it does not stop it; [`Node::stop`] does.
pub struct Node {
    api_address: SocketAddr,
    engine: EngineHandle,
    stop: watch::Sender<bool>,
    api: JoinHandle<()>,
    attesting: JoinHandle<()>,
}

impl Node {
    /// Starts a node on the present tokio runtime.
    ///
    /// Errors: [`NodeError`]; nothing is left running then.
    pub async fn start(config: &NodeConfig) -> Result<Self, NodeError> {
        Self::start_with(config, None).await
    }

    /// As [`Node::start`], with what makes evidence of this machine's code.
    ///
    /// Errors: [`NodeError`]; nothing is left running then.
    pub async fn start_with(
        config: &NodeConfig,
        source: Option<Arc<dyn EvidenceSource>>,
    ) -> Result<Self, NodeError> {
        let setup = config.check()?;
        let listener = TcpListener::bind(setup.api)
            .await
            .map_err(system(format!("listen on {}", setup.api)))?;
        let api_address = listener
            .local_addr()
            .map_err(system("read the API's address"))?;
        let circle = setup.genesis.circle();
        let data_dir = setup.data_dir.clone();
        blocking(move || healing::set_damaged_aside(&data_dir, circle))
            .await?
            .map_err(system("set damaged files aside"))?;
        fetch_state(&setup).await;
        let (api, task) = blocking(move || open(setup, source)).await??;
        let engine = api.engine.clone();
        let (stop, stopped) = watch::channel(false);
        tracing::info!(%api_address, "the node is up");
        Ok(Self {
            api_address,
            engine,
            stop,
            api: tokio::spawn(api::serve(listener, api, stopped)),
            attesting: tokio::spawn(task.run()),
        })
    }

    /// Where the API is served.
    pub fn api_address(&self) -> SocketAddr {
        self.api_address
    }

    /// The engine that it runs.
    pub(crate) fn engine(&self) -> &EngineHandle {
        &self.engine
    }

    /// Waits until the engine or the API ends by itself, which neither should.
    pub async fn ended(&mut self) {
        while self.engine.is_running() && !self.api.is_finished() {
            tokio::time::sleep(WATCH_INTERVAL).await;
        }
    }

    /// Ends requests, engine and store, in this order, and waits for them.
    ///
    /// Errors: what had ended the node before, if anything had.
    pub async fn stop(mut self) -> Result<(), NodeError> {
        self.stop.send_replace(true);
        self.attesting.abort();
        // It holds the store's tip until it is gone; that it was cancelled is no error.
        let _ = (&mut self.attesting).await;
        let served = tokio::time::timeout(GRACE, &mut self.api).await;
        self.engine.shutdown();
        let engine = self.engine;
        blocking(move || engine.join()).await??;
        match served {
            Ok(served) => served
                .map_err(std::io::Error::other)
                .map_err(system("serve the API")),
            Err(_) => {
                tracing::warn!("some requests did not end in time");
                self.api.abort();
                Ok(())
            }
        }
    }
}

/// Runs a node until it is told to end (SIGTERM, SIGINT) or fails.
///
/// Errors: [`NodeError`].
pub async fn run(config: NodeConfig) -> Result<(), NodeError> {
    run_with(config, None).await
}

/// As [`run`], with what makes evidence of this machine's code.
///
/// Errors: [`NodeError`].
pub async fn run_with(
    config: NodeConfig,
    source: Option<Arc<dyn EvidenceSource>>,
) -> Result<(), NodeError> {
    log(&config.log);
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    let (mut terminate, mut interrupt) = match signals {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(source), _) | (_, Err(source)) => return Err(system("watch for signals")(source)),
    };
    lend_descriptors();
    loop {
        let told = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        if !live(&config, &source, told).await? {
            return Ok(());
        }
    }
}

/// One life of a node: until it is told to end, or has a reason to start again,
/// which is told by true.
async fn live(
    config: &NodeConfig,
    source: &Option<Arc<dyn EvidenceSource>>,
    told: impl Future<Output = ()>,
) -> Result<bool, NodeError> {
    let mut told = std::pin::pin!(told);
    tokio::select! {
        roomy = care::wait_for_room(config) => roomy.map_err(system("wait for room"))?,
        () = &mut told => return Ok(false),
    }
    let mut node = Node::start_with(config, source.clone()).await?;
    let notice = tokio::select! {
        () = &mut told => None,
        notice = care::notice(&mut node, config) => Some(notice),
    };
    tracing::info!(?notice, "the node ends");
    let stopped = node.stop().await;
    match notice {
        None => stopped.map(|()| false),
        Some(Notice::Behind(_)) => stopped.map(|()| true),
        // What failed for want of room goes on when there is some.
        Some(Notice::Full) => Ok(true),
        Some(Notice::Ended) => {
            stopped?;
            Err(EngineError::Stopped("it ended without being asked".to_owned()).into())
        }
    }
}

/// Takes as many file descriptors as the system allows this process: the
/// usual soft limit of 1,024 is less than the API's connections need.
fn lend_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Logs to standard error, unless the process logs already.
fn log(config: &LogConfig) {
    let filter = EnvFilter::try_new(&config.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let set = if config.json {
        builder.json().try_init()
    } else {
        builder.try_init()
    };
    if set.is_err() {
        tracing::debug!("the process has a log already");
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NodeError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(std::io::Error::other)
        .map_err(system("open the node's files"))
}

/// Goes forward to a proven state, if the configuration says from whom. A node
/// that cannot goes on by executing blocks, as far as others have them.
async fn fetch_state(setup: &Setup) {
    let wanted = sync::Wanted {
        circle: setup.genesis.circle(),
        key: &setup.genesis.circle_key,
        config: &setup.sync,
        data_dir: &setup.data_dir,
    };
    if let Err(error) = sync::fast_forward(&wanted).await {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::error!(%error, cause, "cannot fetch the state; tries again at the next start");
    }
}

fn open(setup: Setup, source: Option<Arc<dyn EvidenceSource>>) -> Result<(Api, Task), NodeError> {
    let Setup {
        genesis,
        data_dir,
        engine,
        duty,
        key,
        checkpoints,
        history,
        access,
        ..
    } = setup;
    std::fs::create_dir_all(&data_dir)
        .map_err(system(format!("make the folder {}", data_dir.display())))?;
    let store = Arc::new(Store::open(&sync::ledger_file(&data_dir))?);
    store.keep(history.retention());
    let shelf = Shelf::open(&data_dir.join("checkpoints"), checkpoints)
        .map_err(system("open the checkpoints"))?;
    let shelf = Arc::new(shelf);
    chain::found(&genesis, &store)?;
    let tip = Arc::new(Tip::new(&store)?);
    let mempool = Arc::new(Mempool::default());
    let gate = Gate::new(genesis.circle(), mempool.clone(), tip.clone());
    let intake = Intake::start(gate).map_err(system("start the intake's threads"))?;
    let chain = NodeChain::open(
        &genesis,
        store,
        mempool.clone(),
        tip.clone(),
        Arc::new(intake.clone()),
    )?
    .with_duty(duty)
    .with_shelf(shelf.clone(), history.archive_blocks);
    let engine = engine::run(engine, Box::new(chain))?;
    intake
        .connect(engine.clone())
        .map_err(system("start the gossip's thread"))?;
    let attesting = Arc::new(Attesting::new(key.public()));
    let task = Task {
        circle: genesis.circle(),
        key: Arc::new(key),
        tip: tip.clone(),
        intake: intake.clone(),
        source,
        attesting: attesting.clone(),
    };
    let api = Api::new(genesis, tip, mempool, intake, engine, shelf, attesting);
    let api = api.guarded(access.operators.as_deref(), access.requests_per_second);
    Ok((api, task))
}
