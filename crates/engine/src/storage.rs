//! Where does the engine keep finalized blocks, and what does it give back at
//! the next start?
//!
//! Two append-only archives hold finalized blocks and finalizations by height,
//! from the height on that the chain wants kept: a peer that was down for long
//! repairs itself from them, and a chain that lost the end of its own store is
//! replayed from them. What is older goes, a section of heights at a time.
//! Their index is read at start and held in memory, some fifty bytes a block.

use std::{
    num::{NonZeroU64, NonZeroUsize},
    sync::Arc,
};

use commonware_consensus::simplex::types::Finalization;
use commonware_cryptography::{Digested, Digestible as _, sha256::Digest as EngineDigest};
use commonware_runtime::{Clock, Metrics, Storage, Supervisor, buffer::paged};
use commonware_storage::{
    archive::{self, Archive as _, Identifier, prunable},
    translator::EightCap,
};
use commonware_utils::{NZU64, NZUsize};
use tracing::info;
use wire::{Digest, Height};

use crate::{Certificate, Chain, block::OrderedBlock, certificate::Scheme, lineage::Lineage};

/// Bytes of a page on disk.
const PAGE_BYTES: u32 = 4_096;
/// Bytes that are read at a time when journals are replayed at start.
pub(crate) const REPLAY_BUFFER: NonZeroUsize = NZUsize!(1024 * 1024);
/// Bytes that are collected before they are written.
pub(crate) const WRITE_BUFFER: NonZeroUsize = NZUsize!(256 * 1024);
/// Heights below the chain's own that are read at start, so that questions
/// about the latest blocks can be answered.
const REMEMBERED_HEIGHTS: u64 = 64;

/// What differs between a machine and a simulated one.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// Pages that are held in memory, allocated at start.
    pub cached_pages: NonZeroUsize,
    /// Heights of a section, which is forgotten as a whole. Fixed for the life
    /// of a directory.
    pub heights_per_section: NonZeroU64,
}

impl Sizes {
    /// 16 MiB of cache; sections of some minutes of a busy circle.
    pub(crate) const PRODUCTION: Self = Self {
        cached_pages: NZUsize!(4_096),
        heights_per_section: NZU64!(1_024),
    };

    /// Little, since a simulation has many validators with many lives.
    #[cfg(feature = "simulation")]
    pub(crate) const SMALL: Self = Self {
        cached_pages: NZUsize!(64),
        heights_per_section: NZU64!(8),
    };
}

/// The blocks by height and digest.
pub(crate) type Blocks<E> = prunable::Archive<EightCap, E, EngineDigest, Arc<OrderedBlock>>;
/// The finalizations by height and the digest of their block.
pub(crate) type Finalizations<E> =
    prunable::Archive<EightCap, E, EngineDigest, Finalization<Scheme, EngineDigest>>;

/// The engine's archives, open.
pub(crate) struct Archives<E: Storage + Metrics + Clock> {
    pub blocks: Blocks<E>,
    pub finalizations: Finalizations<E>,
}

/// The cache of pages that all of the engine's files share.
pub(crate) fn page_cache(sizes: Sizes) -> paged::CacheRef {
    paged::CacheRef::new(paged::page_size(PAGE_BYTES), sizes.cached_pages)
}

impl<E: Storage + Metrics + Clock + Supervisor> Archives<E> {
    /// Opens the archives, or makes empty ones.
    pub(crate) async fn open(
        context: &E,
        partition: &str,
        cache: &paged::CacheRef,
        sizes: Sizes,
    ) -> Result<Self, archive::Error> {
        // A threshold certificate has one size, so its codec takes no limits.
        let name = format!("{partition}-finalizations");
        let finalizations = prunable::Archive::init(
            context.child("finalizations"),
            configuration(&name, cache, sizes),
        )
        .await?;
        let name = format!("{partition}-blocks");
        let blocks =
            prunable::Archive::init(context.child("blocks"), configuration(&name, cache, sizes))
                .await?;
        Ok(Self {
            blocks,
            finalizations,
        })
    }

    async fn block(&self, height: u64) -> Result<Option<Arc<OrderedBlock>>, archive::Error> {
        self.blocks.get(Identifier::Index(height)).await
    }

    async fn certificate(
        &self,
        height: u64,
        digest: Digest,
    ) -> Result<Option<Certificate>, archive::Error> {
        let found = self.finalizations.get(Identifier::Index(height)).await?;
        Ok(found
            .filter(|finalization| finalization.proposal.payload.0 == digest.0)
            .map(|finalization| Certificate::from_finalization(&finalization)))
    }

    /// Reads every block and certificate, and says what cannot be read: each has
    /// a checksum, and a block the digest under which it is kept.
    pub(crate) async fn verify(&self) -> Result<(), String> {
        for height in self.blocks.ranges().flat_map(|(from, to)| from..=to) {
            let block = self.block(height).await;
            let block = block.map_err(|error| format!("block {height}: {error}"))?;
            let found = block.map(|block| block.block().header.height.0);
            if found != Some(height) {
                return Err(format!("block {height}: another one is in its place"));
            }
        }
        for height in self.finalizations.ranges().flat_map(|(from, to)| from..=to) {
            let found = self.finalizations.get(Identifier::Index(height)).await;
            found.map_err(|error| format!("the certificate of block {height}: {error}"))?;
        }
        Ok(())
    }

    /// Adds the block from which the chain's state begins, where it is new, so
    /// that no peer has to have it.
    pub(crate) async fn hold(mut self, block: Arc<OrderedBlock>) -> Result<Self, archive::Error> {
        let (height, digest) = (block.block().header.height.0, block.digest());
        if !self.blocks.has(Identifier::Index(height)).await? {
            self.blocks = self.blocks.put_sync(height, digest, &block).await?;
        }
        Ok(self)
    }

    /// Gives the chain every archived block that it lacks.
    ///
    /// Marshal marks a block as delivered once the chain has called it
    /// durable. A chain that later loses blocks (its store was restored from a
    /// copy) gets them again here, before anything else happens.
    pub(crate) async fn replay(&self, chain: &mut dyn Chain) -> Result<Lineage, archive::Error> {
        let durable = chain.durable_height();
        let mut lineage = Lineage::new(durable);
        for height in durable.0.saturating_sub(REMEMBERED_HEIGHTS)..=durable.0 {
            if let Some(block) = self.block(height).await? {
                let digest = Digest(block.digest().0);
                let certified = self.certificate(height, digest).await?.is_some();
                lineage.remember(Height(height), digest, certified);
            }
        }
        while let Some(block) = self.block(lineage.delivered().0 + 1).await? {
            let height = lineage.delivered().plus(1);
            let digest = Digest(block.digest().0);
            let certificate = self.certificate(height.0, digest).await?;
            chain.finalized(block.block().clone(), certificate);
            lineage.finalized(height, digest, certificate.is_some());
        }
        let replayed = lineage.delivered().0 - durable.0;
        info!(durable = durable.0, replayed, "opened the archives");
        Ok(lineage)
    }
}

fn configuration(
    prefix: &str,
    cache: &paged::CacheRef,
    sizes: Sizes,
) -> prunable::Config<EightCap, ()> {
    prunable::Config {
        // Keys are digests: their first bytes are spread evenly.
        translator: EightCap,
        metadata_partition: format!("{prefix}-metadata"),
        key_partition: format!("{prefix}-keys"),
        key_page_cache: cache.clone(),
        value_partition: format!("{prefix}-values"),
        compression: None,
        codec_config: (),
        items_per_section: sizes.heights_per_section,
        key_write_buffer: WRITE_BUFFER,
        value_write_buffer: WRITE_BUFFER,
        replay_buffer: REPLAY_BUFFER,
    }
}

/// The genesis block as the engine anchors on it.
pub(crate) fn anchor(genesis: OrderedBlock) -> Digested<OrderedBlock> {
    let digest = genesis.digest();
    Digested::precomputed(genesis, digest)
}
