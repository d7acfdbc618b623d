//! How do consensus' questions reach the chain, and when is a block proposed?
//!
//! Consensus asks to propose on a parent or to verify a block, and offers the
//! ancestors as a stream. This file walks the stream back to the first block
//! that the chain knows, paces proposals, and abstains (stays pending) while
//! an answer cannot be stable yet.

use std::time::{Duration, UNIX_EPOCH};

use commonware_consensus::{
    Application as ConsensusApplication, marshal::ancestry::Ancestry, simplex::types::Context,
};
use commonware_cryptography::{Digestible, ed25519, sha256::Digest as EngineDigest};
use commonware_macros::select;
use commonware_runtime::{Clock, Metrics, Spawner};
use commonware_utils::channel::oneshot;
use futures::StreamExt as _;
use wire::Digest;

use crate::{
    block::OrderedBlock,
    certificate::Scheme,
    config::{Pacing, millis},
    driver::{DriverMailbox, Ordered, Request, Verdict},
    lineage::Standing,
};

/// Unfinalized blocks that are held to answer one question. A validator that
/// is further behind waits until finalized blocks have been delivered.
const MAX_UNFINALIZED: usize = 64;

/// Consensus' view of the chain.
#[derive(Clone)]
pub(crate) struct Application {
    driver: DriverMailbox,
    pacing: Pacing,
}

/// Where a walk along the ancestors ended.
enum Walk {
    /// Oldest first, from a known block on.
    Path(Vec<Ordered>),
    /// An ancestor conflicts with a finalized block.
    Dead,
    /// Too far, or an ancestor could not be had.
    Beyond,
}

impl Application {
    pub(crate) fn new(driver: DriverMailbox, pacing: Pacing) -> Self {
        Self { driver, pacing }
    }

    async fn walk(&self, mut ancestry: impl Ancestry<OrderedBlock>) -> Walk {
        let mut path = Vec::new();
        while let Some(block) = ancestry.next().await {
            let height = block.inner().block().header.height;
            let digest = Digest(block.digest().0);
            let standing = self.driver.lineage.lock().standing(height, digest);
            path.push(block);
            match standing {
                Standing::Dead => return Walk::Dead,
                Standing::Known => {
                    path.reverse();
                    return Walk::Path(path);
                }
                Standing::Unknown if path.len() > MAX_UNFINALIZED => return Walk::Beyond,
                Standing::Unknown => {}
            }
        }
        Walk::Beyond
    }

    /// Waits until a child of a block of time `parent_ms` may be proposed.
    ///
    /// All waits count from now at the most, so a parent whose proposer's
    /// clock was ahead cannot make this leader miss its own timeout.
    async fn pace<E: Clock>(&self, context: &E, parent_ms: u64) {
        let start = now_ms(context);
        let after = |interval| {
            parent_ms
                .saturating_add(interval)
                .min(start.saturating_add(interval))
        };
        let earliest = after(self.pacing.min_block_interval_ms);
        let latest = after(self.pacing.idle_block_interval_ms).max(earliest);
        context.sleep(until(start, earliest)).await;
        loop {
            let now = now_ms(context);
            if now >= latest || self.has_work().await {
                return;
            }
            select! {
                _ = self.driver.shared.wake.notified() => {},
                _ = context.sleep(until(now, latest)) => {},
            }
        }
    }

    async fn has_work(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        self.driver.send(Request::HasWork { reply });
        answer.await.unwrap_or(false)
    }
}

impl<E: Clock + Metrics + Spawner> ConsensusApplication<E> for Application {
    type SigningScheme = Scheme;
    type Context = Context<EngineDigest, ed25519::PublicKey>;
    type Block = OrderedBlock;
    type Input = ();

    async fn propose(
        &mut self,
        (context, _): (E, Self::Context),
        ancestry: impl Ancestry<OrderedBlock>,
        _: (),
    ) -> Option<Ordered> {
        let Walk::Path(path) = self.walk(ancestry).await else {
            return None;
        };
        let parent_ms = path.last()?.inner().block().header.time_ms;
        self.pace(&context, parent_ms).await;
        let (reply, answer) = oneshot::channel();
        let now_ms = now_ms(&context);
        self.driver.send(Request::Propose {
            path,
            now_ms,
            reply,
        });
        answer.await.ok().flatten()
    }

    async fn verify(
        &mut self,
        (context, _): (E, Self::Context),
        ancestry: impl Ancestry<OrderedBlock>,
    ) -> bool {
        loop {
            // Marked before the walk, so that progress during it is noticed.
            self.driver.delivered.mark_unchanged();
            match self.walk(ancestry.clone()).await {
                Walk::Dead => return false,
                Walk::Beyond => {}
                Walk::Path(path) => {
                    let (reply, answer) = oneshot::channel();
                    let now_ms = now_ms(&context);
                    self.driver.send(Request::Verify {
                        path,
                        now_ms,
                        reply,
                    });
                    match answer.await {
                        Ok(Verdict::Valid) => return true,
                        Ok(Verdict::Invalid) => return false,
                        // The engine stops: abstain.
                        Err(_) => futures::future::pending::<()>().await,
                        // Finality moved under the walk, so it has changed already.
                        Ok(Verdict::Stale) => continue,
                    }
                }
            }
            self.driver.progress().await;
        }
    }
}

/// Unix time of the runtime's clock, in milliseconds.
pub(crate) fn now_ms(context: &impl Clock) -> u64 {
    let since = context
        .current()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn until(now_ms: u64, then_ms: u64) -> Duration {
    millis(then_ms.saturating_sub(now_ms))
}
