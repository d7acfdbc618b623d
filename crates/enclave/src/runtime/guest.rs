//! One guest's state and its share of memory.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use handshake::LogSource;
use wasmtime::{Engine, ResourceLimiter, Store, component::ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    Error as HttpError, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
    WasiHttpView,
};
use wasmtime_wasi_io::IoView;

use super::CpuBudget;
use crate::{
    filesystem::{Filesystem, View},
    logs::Logs,
};

/// Elements of a guest's tables, at most: function pointers of the largest
/// interpreters are tens of thousands.
const MAX_TABLE_ELEMENTS: usize = 1 << 20;

/// Linear memory that all guests of a payload may have together.
pub struct MemoryBudget {
    limit: usize,
    used: AtomicUsize,
}

impl MemoryBudget {
    /// One of `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
        })
    }

    fn take(&self, bytes: usize) -> bool {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= self.limit)
            })
            .is_ok()
    }
}

/// What one guest holds of the budget.
struct MemoryShare {
    budget: Arc<MemoryBudget>,
    held: usize,
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.held, Ordering::Relaxed);
    }
}

impl ResourceLimiter for MemoryShare {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let granted = self.budget.take(more);
        if granted {
            self.held += more;
        }
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }
}

/// What a guest is started with.
pub struct GuestSettings<'a> {
    /// Arguments, the program's name first.
    pub args: &'a [String],
    /// Environment.
    pub env: &'a [(String, String)],
    /// Files.
    pub filesystem: Filesystem,
    /// Where its output goes.
    pub logs: &'a Arc<Logs>,
    /// The budget of its payload.
    pub memory: &'a Arc<MemoryBudget>,
    /// The payload's share of the processors.
    pub cpu: &'a Arc<CpuBudget>,
}

/// One guest's state.
pub struct Guest {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: NoOutgoing,
    table: ResourceTable,
    files: Filesystem,
    memory: MemoryShare,
}

impl Guest {
    /// A store for a guest, which yields to others at every tick.
    pub fn store(engine: &Engine, settings: GuestSettings<'_>) -> Store<Self> {
        let wasi = WasiCtx::builder()
            .args(settings.args)
            .envs(settings.env)
            .initial_cwd("/")
            .stdout(settings.logs.printer(LogSource::Stdout))
            .stderr(settings.logs.printer(LogSource::Stderr))
            // Refused by the interface: a call of `socket` would end the process.
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        let guest = Self {
            wasi,
            http: WasiHttpCtx::new(),
            hooks: NoOutgoing,
            table: ResourceTable::new(),
            files: settings.filesystem,
            memory: MemoryShare {
                budget: Arc::clone(settings.memory),
                held: 0,
            },
        };
        let mut store = Store::new(engine, guest);
        store.limiter(|guest| &mut guest.memory);
        settings.cpu.govern(&mut store);
        store
    }

    /// The guest's files.
    pub fn files(&self) -> &Filesystem {
        &self.files
    }

    pub(super) fn filesystem(&mut self) -> View<'_> {
        View {
            table: &mut self.table,
            filesystem: &self.files,
        }
    }
}

impl IoView for Guest {
    fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.hooks,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

type Exchange = (
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), HttpError>> + Send>,
);

/// Refuses requests to others: the enclave has no network.
struct NoOutgoing;

impl WasiHttpHooks for NoOutgoing {
    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ) -> Box<dyn Future<Output = Result<Exchange, HttpError>> + Send> {
        Box::new(async { Err(HttpError::HttpRequestDenied) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_share_one_budget_and_give_back_what_they_held() {
        let budget = MemoryBudget::new(100);
        let share = || MemoryShare {
            budget: Arc::clone(&budget),
            held: 0,
        };
        let (mut one, mut two) = (share(), share());
        assert!(one.memory_growing(0, 60, None).unwrap());
        assert!(!two.memory_growing(0, 60, None).unwrap());
        assert!(two.memory_growing(0, 40, None).unwrap());
        assert!(!one.memory_growing(60, 61, None).unwrap());
        drop(two);
        assert!(one.memory_growing(60, 100, None).unwrap());
        assert!(!one.table_growing(0, MAX_TABLE_ELEMENTS + 1, None).unwrap());
    }
}
