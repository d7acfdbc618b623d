//! What does a validator's own machine do to it?
//!
//! A [`Machine`] is the deterministic runtime as one validator sees it: a clock
//! that may be wrong, and disks that lose what was not synced when the power
//! goes ([`Power`]). Everything else is passed on. With [`Mutation::DropFlush`]
//! its disks say that they have synced and have not.

use std::{
    convert::Infallible,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use commonware_runtime::{
    Blob, BlobVersion, Clock, Error, Handle, IoBufs, IoBufsMut, Metrics, Name, ReadOptions,
    Spawner, Storage, Supervisor, WriteOptions, deterministic, signal,
    telemetry::metrics::{Metric, Registered},
};
use rand_core::{TryCryptoRng, TryRng};

use super::{Mutation, Power};

/// The archives of final blocks, from which a chain's store is made whole.
const ARCHIVES: [&str; 2] = ["-blocks", "-finalizations"];

/// See the file's documentation.
pub(super) struct Machine {
    inner: deterministic::Context,
    power: Power,
    /// How far the clock is ahead.
    skew: Duration,
    mutation: Option<Mutation>,
    /// The next file's number.
    files: Arc<AtomicU64>,
}

impl Machine {
    pub(super) fn new(
        inner: deterministic::Context,
        power: Power,
        skew: Duration,
        mutation: Option<Mutation>,
    ) -> Self {
        Self {
            inner,
            power,
            skew,
            mutation,
            files: Arc::default(),
        }
    }

    fn with(&self, inner: deterministic::Context) -> Self {
        Self {
            inner,
            power: self.power.clone(),
            skew: self.skew,
            mutation: self.mutation,
            files: self.files.clone(),
        }
    }
}

impl Supervisor for Machine {
    fn name(&self) -> Name {
        self.inner.name()
    }

    fn child(&self, label: &'static str) -> Self {
        self.with(self.inner.child(label))
    }

    fn with_attribute(mut self, key: &'static str, value: impl std::fmt::Display) -> Self {
        self.inner = self.inner.with_attribute(key, value);
        self
    }
}

impl Spawner for Machine {
    fn shared(mut self, blocking: bool) -> Self {
        self.inner = self.inner.shared(blocking);
        self
    }

    fn dedicated(mut self) -> Self {
        self.inner = self.inner.dedicated();
        self
    }

    fn spawn<F, Fut, T>(self, f: F) -> Handle<T>
    where
        F: FnOnce(Self) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let Self {
            inner,
            power,
            skew,
            mutation,
            files,
        } = self;
        inner.spawn(move |inner| {
            f(Self {
                inner,
                power,
                skew,
                mutation,
                files,
            })
        })
    }

    async fn stop(self, value: i32, timeout: Option<Duration>) -> Result<(), Error> {
        self.inner.stop(value, timeout).await
    }

    fn stopped(&self) -> signal::Signal {
        self.inner.stopped()
    }
}

impl Metrics for Machine {
    fn register<N: Into<String>, H: Into<String>, M: Metric>(
        &self,
        name: N,
        help: H,
        metric: M,
    ) -> Registered<M> {
        self.inner.register(name, help, metric)
    }

    fn encode(&self) -> String {
        self.inner.encode()
    }
}

impl governor::clock::Clock for Machine {
    type Instant = SystemTime;

    fn now(&self) -> SystemTime {
        self.current()
    }
}

impl governor::clock::ReasonablyRealtime for Machine {}

impl Clock for Machine {
    fn current(&self) -> SystemTime {
        self.inner.current() + self.skew
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.inner.sleep(duration)
    }

    fn sleep_until(
        &self,
        deadline: SystemTime,
    ) -> impl Future<Output = ()> + Send + 'static + use<> {
        // What lies before the runtime's beginning has passed.
        let deadline = deadline.checked_sub(self.skew);
        let past = self.inner.current();
        self.inner.sleep_until(deadline.unwrap_or(past))
    }
}

impl TryRng for Machine {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.inner.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.inner.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.inner.try_fill_bytes(bytes)
    }
}

impl TryCryptoRng for Machine {}

impl Storage for Machine {
    type Blob = File;

    async fn open_versioned(
        &self,
        partition: &str,
        name: &[u8],
        versions: RangeInclusive<BlobVersion>,
    ) -> Result<(File, u64, BlobVersion), Error> {
        self.alive().await;
        let (blob, size, version) = self.inner.open_versioned(partition, name, versions).await?;
        let is_archive = ARCHIVES.iter().any(|archive| partition.contains(archive));
        let file = File {
            blob: Arc::new(blob),
            number: self.files.fetch_add(1, Ordering::Relaxed),
            power: self.power.clone(),
            flushes: !(is_archive && self.mutation == Some(Mutation::DropFlush)),
        };
        Ok((file, size, version))
    }

    async fn remove(&self, partition: &str, name: Option<&[u8]>) -> Result<(), Error> {
        self.alive().await;
        if !self.power.step() {
            futures::future::pending::<()>().await;
        }
        self.inner.remove(partition, name).await
    }

    async fn scan(&self, partition: &str) -> Result<Vec<Vec<u8>>, Error> {
        self.inner.scan(partition).await
    }
}

impl Machine {
    /// Without power nothing ever returns.
    async fn alive(&self) {
        if !self.power.is_on() {
            futures::future::pending::<()>().await;
        }
    }
}

/// A blob on a machine's disk.
pub(super) struct File {
    blob: Arc<deterministic::Blob>,
    number: u64,
    power: Power,
    flushes: bool,
}

impl File {
    /// Counts a step; where the power goes with it, nothing ever returns.
    async fn step(&self) {
        if !self.power.step() {
            futures::future::pending::<()>().await;
        }
    }
}

impl Blob for File {
    async fn read_at_buf(
        &self,
        offset: u64,
        len: usize,
        bufs: impl Into<IoBufsMut> + Send,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        self.blob.read_at_buf(offset, len, bufs, options).await
    }

    async fn read_at(
        &self,
        offset: u64,
        len: usize,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        self.blob.read_at(offset, len, options).await
    }

    async fn write_at(
        &self,
        offset: u64,
        bufs: impl Into<IoBufs> + Send,
        options: WriteOptions,
    ) -> Result<(), Error> {
        let bytes = bufs.into().coalesce();
        if !self.power.step() {
            // The last write is under way when the power goes.
            self.power
                .wrote(self.number, &self.blob, offset, bytes.as_ref());
            futures::future::pending::<()>().await;
        }
        let syncs = options.contains(WriteOptions::SYNC) && self.flushes;
        if !syncs && self.flushes {
            self.power
                .wrote(self.number, &self.blob, offset, bytes.as_ref());
        }
        let options = if syncs {
            options
        } else {
            options.without(WriteOptions::SYNC)
        };
        self.blob.write_at(offset, bytes, options).await
    }

    async fn resize(&self, len: u64) -> Result<(), Error> {
        self.step().await;
        self.power.resized(self.number, len);
        self.blob.resize(len).await
    }

    async fn sync(&self) -> Result<(), Error> {
        self.step().await;
        if !self.flushes {
            return Ok(());
        }
        self.blob.sync().await?;
        self.power.synced(self.number);
        Ok(())
    }

    async fn start_sync(&self) -> Handle<()> {
        Handle::ready(self.sync().await)
    }
}
