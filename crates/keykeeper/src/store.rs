//! Where does a keykeeper keep its secret? Where its shell says.

use zeroize::Zeroizing;

/// A secret could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("the keykeeper's secret could not be kept: {0}")]
pub struct StoreError(pub String);

/// A keykeeper's memory: what [`threshold::Keeper::encode`] gives.
pub trait Store: Send + Sync + 'static {
    /// What was kept last; none before the first time.
    fn load(&self) -> Option<Zeroizing<Vec<u8>>>;

    /// Keeps `secret` in the place of what was there; durable when it returns.
    ///
    /// Errors: [`StoreError`], after which the keykeeper must not act.
    fn put(&self, secret: &[u8]) -> Result<(), StoreError>;
}
