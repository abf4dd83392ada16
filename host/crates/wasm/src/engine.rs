//! The one engine of a process.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tracing::{debug, warn};
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::bindings::{diagnostics, redis, types};
use crate::cache::Cache;
use crate::collect::Collected;
use crate::diagnostics::Diagnostics;
use crate::error::WasmError;
use crate::instance::State;

/// How long a guest may hold a thread before others get their turn; deadlines are counted in it.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Instances that may run at the same time in the pool: writers times partitions, twice while a plugin is exchanged. Each reserves 4 GiB of
/// addresses, no memory.
pub(crate) const INSTANCES_MAX: u32 = 1024;
/// Core instances and tables of a component are its own and those of the glue around it.
const GLUE_MAX: u32 = 4;
/// Depth of a guest's own calls, in bytes of stack.
const GUEST_STACK_BYTES: usize = 512 << 10;
/// A guest's stack, and on top of it the host functions that it calls.
const STACK_BYTES: usize = GUEST_STACK_BYTES + (512 << 10);
/// Frames of a trap's trace: only its cause is shown.
const TRACE_FRAMES: usize = 1;

/// How a process runs components.
#[derive(Debug, Clone, Default)]
pub struct EngineSettings {
    /// Where compiled components are kept; without it each start compiles.
    pub cache_dir: Option<PathBuf>,
}

/// Compiles and runs components. One for each process: types of two engines do not mix. Clones are the same engine.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    engine: wasmtime::Engine,
    linker: Linker<State>,
    cache: Option<Cache>,
}

impl Engine {
    pub fn new(settings: &EngineSettings) -> Result<Self, WasmError> {
        let failed = |error: wasmtime::Error| WasmError::Engine { reason: format!("{error:#}") };
        let engine = wasmtime::Engine::new(config().allocation_strategy(pool())).or_else(|error| {
            warn!(error = format!("{error:#}"), "no address space for pooled instances, each is allocated on demand");
            wasmtime::Engine::new(config().allocation_strategy(InstanceAllocationStrategy::OnDemand))
        });
        let engine = engine.map_err(failed)?;
        let linker = linker(&engine).map_err(failed)?;
        tick(&engine)?;
        let cache = settings.cache_dir.as_ref().and_then(|dir| {
            Cache::open(dir)
                .inspect_err(
                    |error| warn!(dir = %dir.display(), %error, "cannot use the directory of compiled components"),
                )
                .ok()
        });
        Ok(Self(Arc::new(Inner { engine, linker, cache })))
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.0.engine
    }

    pub(crate) fn linker(&self) -> &Linker<State> {
        &self.0.linker
    }

    pub(crate) fn cache(&self) -> Option<&Cache> {
        self.0.cache.as_ref()
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config
        // Plain functions called on a fiber of their own: half the cost of a call.
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .async_stack_size(STACK_BYTES)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(TRACE_FRAMES))
        // What no compiler for wasm32-unknown-unknown asks for stays out of reach.
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .wasm_relaxed_simd(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false);
    config
}

fn pool() -> InstanceAllocationStrategy {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(INSTANCES_MAX)
        .total_memories(INSTANCES_MAX)
        .total_stacks(INSTANCES_MAX)
        .total_tables(INSTANCES_MAX * GLUE_MAX)
        .total_core_instances(INSTANCES_MAX * GLUE_MAX);
    InstanceAllocationStrategy::Pooling(pool)
}

/// Everything that a component can reach.
fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    types::add_to_linker::<State, HasSelf<Collected>>(&mut linker, |state| &mut state.collected)?;
    redis::add_to_linker::<State, HasSelf<Collected>>(&mut linker, |state| &mut state.collected)?;
    diagnostics::add_to_linker::<State, HasSelf<Diagnostics>>(&mut linker, |state| &mut state.diagnostics)?;
    Ok(linker)
}

/// Moves the engine's clock for as long as there is one.
fn tick(engine: &wasmtime::Engine) -> Result<(), WasmError> {
    let engine = engine.weak();
    let run = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
        debug!("the engine's clock has ended");
    };
    match thread::Builder::new().name("wasm-clock".to_owned()).spawn(run) {
        Ok(_) => Ok(()),
        Err(error) => Err(WasmError::Engine { reason: format!("cannot start its clock: {error}") }),
    }
}
