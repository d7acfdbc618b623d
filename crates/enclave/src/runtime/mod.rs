//! The WebAssembly runtime: how payloads are compiled and what they are given.
//!
//! A guest gets clocks, entropy, its arguments, its files in memory and its
//! standard streams. Sockets and outgoing requests are refused here, before the
//! system-call filter would end the process for them.

mod cpu;
mod guest;

use std::{sync::Arc, thread, time::Duration};

use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy,
    component::{Component, Linker},
};
use wasmtime_wasi::{
    WasiView as _, cli::WasiCliView as _, clocks::WasiClocksView as _,
    sockets::WasiSocketsView as _,
};
use wire::PayloadKind;

pub use cpu::CpuBudget;
pub use guest::{Guest, GuestSettings, MemoryBudget};

use crate::filesystem::HasFilesystem;

/// How often guests are interrupted: often enough that one that computes does
/// not keep others from a processor, seldom enough to cost nothing.
pub const TICK: Duration = Duration::from_millis(10);

/// Requests that a service works on at the same time: what the pool holds
/// instances for.
pub const MAX_CONCURRENT_REQUESTS: u32 = 64;

/// A memory cannot be larger: WebAssembly's addresses have 32 bits.
const MAX_MEMORY_BYTES: usize = 4 << 30;

/// Memory of an instance that is cleared rather than given back between
/// requests: small services then cause no page faults.
const RESIDENT_BYTES: usize = 512 * 1024;

/// Components above this are compiled by the baseline compiler: an interpreter
/// of 16 MB then starts in 4 seconds instead of 30, and such a payload spends
/// its time in an interpreter's loop that optimisation helps little.
const BASELINE_COMPILE_BYTES: usize = 8 * 1024 * 1024;

/// Why a payload does not run.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// This machine cannot run the runtime.
    #[error("the runtime cannot be set up: {0}")]
    Setup(String),
    /// The bytes are no component, or use what the runtime does not have.
    #[error("the component does not compile: {0}")]
    Compile(String),
    /// The component wants imports that there are not, lacks the export of its
    /// kind, or is over a limit.
    #[error("the component does not fit its kind: {0}")]
    Link(String),
}

/// An error with its causes, in one line.
pub(crate) fn describe(error: &wasmtime::Error) -> String {
    format!("{error:#}")
}

/// A payload, compiled, with the linker that will give it its imports.
pub struct Compiled {
    /// The runtime.
    pub engine: Engine,
    /// The component.
    pub component: Component,
    /// Its imports.
    pub linker: Linker<Guest>,
}

/// Compiles a payload. It takes seconds for a large one and keeps every
/// processor busy: not for a thread that others wait for.
///
/// Errors: [`RuntimeError`].
pub fn compile(kind: PayloadKind, component: &[u8]) -> Result<Compiled, RuntimeError> {
    if component.len() > BASELINE_COMPILE_BYTES {
        // The baseline compiler lacks some instructions; the other knows all.
        let baseline = compile_with(Strategy::Winch, kind, component);
        if baseline.is_ok() {
            return baseline;
        }
    }
    compile_with(Strategy::Cranelift, kind, component)
}

fn compile_with(
    strategy: Strategy,
    kind: PayloadKind,
    component: &[u8],
) -> Result<Compiled, RuntimeError> {
    let setup = |error: wasmtime::Error| RuntimeError::Setup(describe(&error));
    let mut config = configuration(kind);
    config.strategy(strategy);
    let engine = Engine::new(&config).map_err(setup)?;
    let component = Component::from_binary(&engine, component)
        .map_err(|error| RuntimeError::Compile(describe(&error)))?;
    let mut linker = Linker::new(&engine);
    add_imports(&mut linker).map_err(setup)?;
    if kind == PayloadKind::Service {
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).map_err(setup)?;
    }
    start_ticking(&engine);
    Ok(Compiled {
        engine,
        component,
        linker,
    })
}

fn configuration(kind: PayloadKind) -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    if kind == PayloadKind::Service {
        let mut pool = PoolingAllocationConfig::new();
        let instances = MAX_CONCURRENT_REQUESTS;
        pool.total_component_instances(instances)
            .total_core_instances(instances * 16)
            .total_memories(instances * 2)
            .total_tables(instances * 8)
            .total_stacks(instances)
            .max_core_instances_per_component(16)
            .max_memories_per_component(2)
            .max_tables_per_component(8)
            .max_memory_size(MAX_MEMORY_BYTES)
            .linear_memory_keep_resident(RESIDENT_BYTES)
            .table_keep_resident(64 * 1024)
            .async_stack_keep_resident(64 * 1024);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

/// Advances the engine's clock for as long as the engine lives.
fn start_ticking(engine: &Engine) {
    let engine = engine.weak();
    thread::spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    });
}

/// Everything of `wasi:cli/imports`, with our own files.
fn add_imports(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use wasmtime_wasi::{
        cli::WasiCli, clocks::WasiClocks, p2::bindings, random::WasiRandom, sockets::WasiSockets,
    };
    wasmtime_wasi_io::add_to_linker_async(linker)?;
    bindings::clocks::wall_clock::add_to_linker::<Guest, WasiClocks>(linker, Guest::clocks)?;
    bindings::clocks::monotonic_clock::add_to_linker::<Guest, WasiClocks>(linker, Guest::clocks)?;
    bindings::random::random::add_to_linker::<Guest, WasiRandom>(linker, |guest| {
        guest.ctx().ctx.random()
    })?;
    bindings::random::insecure::add_to_linker::<Guest, WasiRandom>(linker, |guest| {
        guest.ctx().ctx.random()
    })?;
    bindings::random::insecure_seed::add_to_linker::<Guest, WasiRandom>(linker, |guest| {
        guest.ctx().ctx.random()
    })?;
    bindings::cli::exit::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    bindings::cli::environment::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    bindings::cli::stdin::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    bindings::cli::stdout::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    bindings::cli::stderr::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    bindings::cli::terminal_input::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    bindings::cli::terminal_output::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    bindings::cli::terminal_stdin::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    bindings::cli::terminal_stdout::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    bindings::cli::terminal_stderr::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    bindings::filesystem::preopens::add_to_linker::<Guest, HasFilesystem>(
        linker,
        Guest::filesystem,
    )?;
    bindings::filesystem::types::add_to_linker::<Guest, HasFilesystem>(linker, Guest::filesystem)?;
    let options = bindings::LinkOptions::default();
    bindings::sockets::instance_network::add_to_linker::<Guest, WasiSockets>(
        linker,
        Guest::sockets,
    )?;
    bindings::sockets::network::add_to_linker::<Guest, WasiSockets>(
        linker,
        &(&options).into(),
        Guest::sockets,
    )?;
    bindings::sockets::ip_name_lookup::add_to_linker::<Guest, WasiSockets>(linker, Guest::sockets)?;
    bindings::sockets::tcp::add_to_linker::<Guest, WasiSockets>(linker, Guest::sockets)?;
    bindings::sockets::tcp_create_socket::add_to_linker::<Guest, WasiSockets>(
        linker,
        Guest::sockets,
    )?;
    bindings::sockets::udp::add_to_linker::<Guest, WasiSockets>(linker, Guest::sockets)?;
    bindings::sockets::udp_create_socket::add_to_linker::<Guest, WasiSockets>(
        linker,
        Guest::sockets,
    )?;
    Ok(())
}

/// The limits of a launch.
pub struct Limits {
    /// Linear memory of all instances together.
    pub memory: Arc<MemoryBudget>,
    /// Processor time of the payload.
    pub cpu: Arc<CpuBudget>,
    /// Bytes of a job's `/output`.
    pub output_bytes: u64,
    /// Time that one request may take, waiting included.
    pub request_time: Duration,
}
