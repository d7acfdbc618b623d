//! Where does the engine keep finalized blocks, and what does it give back at
//! the next start?
//!
//! Two append-only archives hold every finalized block and every finalization
//! by height. They are kept whole: a peer that was down for long repairs
//! itself from them, and a chain that lost its own store is replayed from
//! them. They are opened from a table on disk, so opening does not read them.

use std::{num::NonZeroUsize, sync::Arc};

use commonware_consensus::simplex::types::Finalization;
use commonware_cryptography::{Digested, Digestible as _, sha256::Digest as EngineDigest};
use commonware_runtime::{Clock, Metrics, Storage, Supervisor, buffer::paged};
use commonware_storage::archive::{self, Archive as _, Identifier, immutable};
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
/// Bytes of one file of values.
const VALUE_FILE_BYTES: u64 = 256 * 1024 * 1024;
/// Heights per section of the index. Fixed for the life of a directory.
const HEIGHTS_PER_SECTION: u64 = 4_096;
/// Heights below the chain's own that are read at start, so that questions
/// about the latest blocks can be answered.
const REMEMBERED_HEIGHTS: u64 = 64;

/// What differs between a machine and a simulated one.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// Pages that are held in memory, allocated at start.
    pub cached_pages: NonZeroUsize,
    /// Slots of a new archive's table; it doubles as it fills.
    pub table_slots: u32,
}

impl Sizes {
    /// 16 MiB of cache; a table for some ten thousand blocks.
    pub(crate) const PRODUCTION: Self = Self {
        cached_pages: NZUsize!(4_096),
        table_slots: 16 * 1024,
    };

    /// Little, since a simulation has many validators with many lives.
    #[cfg(feature = "simulation")]
    pub(crate) const SMALL: Self = Self {
        cached_pages: NZUsize!(64),
        table_slots: 64,
    };
}

/// The blocks by height and digest.
pub(crate) type Blocks<E> = immutable::Archive<E, EngineDigest, Arc<OrderedBlock>>;
/// The finalizations by height and the digest of their block.
pub(crate) type Finalizations<E> =
    immutable::Archive<E, EngineDigest, Finalization<Scheme, EngineDigest>>;

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
        let finalizations = immutable::Archive::init(
            context.child("finalizations"),
            configuration(&name, cache, sizes),
        )
        .await?;
        let name = format!("{partition}-blocks");
        let blocks =
            immutable::Archive::init(context.child("blocks"), configuration(&name, cache, sizes))
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

fn configuration(prefix: &str, cache: &paged::CacheRef, sizes: Sizes) -> immutable::Config<()> {
    immutable::Config {
        metadata_partition: format!("{prefix}-metadata"),
        freezer_table_partition: format!("{prefix}-table"),
        freezer_table_initial_size: sizes.table_slots,
        freezer_table_resize_frequency: 4,
        freezer_table_resize_chunk_size: sizes.table_slots.min(1_024),
        freezer_key_partition: format!("{prefix}-keys"),
        freezer_key_page_cache: cache.clone(),
        freezer_value_partition: format!("{prefix}-values"),
        freezer_value_target_size: VALUE_FILE_BYTES,
        freezer_value_compression: None,
        ordinal_partition: format!("{prefix}-ordinal"),
        items_per_section: NZU64!(HEIGHTS_PER_SECTION),
        codec_config: (),
        replay_buffer: REPLAY_BUFFER,
        freezer_key_write_buffer: WRITE_BUFFER,
        freezer_value_write_buffer: WRITE_BUFFER,
        ordinal_write_buffer: WRITE_BUFFER,
    }
}

/// The genesis block as the engine anchors on it.
pub(crate) fn anchor(genesis: OrderedBlock) -> Digested<OrderedBlock> {
    let digest = genesis.digest();
    Digested::precomputed(genesis, digest)
}
