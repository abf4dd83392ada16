//! Components, from a file to something that can be instantiated.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};
use tracing::{info, warn};
use wasmtime::component;

use crate::bindings::RedisWriterPre;
use crate::engine::Engine;
use crate::error::WasmError;
use crate::inspect::{self, COMPONENT_BYTES_MAX};
use crate::instance::State;

/// A component that fits the contract, compiled. Several writers may share it.
#[derive(Clone)]
pub struct Component {
    pub(crate) pre: RedisWriterPre<State>,
    sha256: [u8; 32],
}

impl Component {
    /// Reads, checks and compiles a component or core module, off the runtime's threads.
    pub async fn load(engine: &Engine, path: &Path) -> Result<Self, WasmError> {
        let (engine, path) = (engine.clone(), path.to_owned());
        let load = tokio::task::spawn_blocking(move || Self::load_blocking(&engine, &path));
        load.await.unwrap_or_else(|error| Err(WasmError::Engine { reason: error.to_string() }))
    }

    /// SHA-256 of the file.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    fn load_blocking(engine: &Engine, path: &Path) -> Result<Self, WasmError> {
        let bytes = read(path)?;
        let sha256: [u8; 32] = Sha256::digest(&bytes).into();
        let component = inspect::inspect(path, bytes)?;
        let component = match engine.cache() {
            Some(cache) => {
                let name = cache_name(engine, &sha256);
                let _turn = cache.turn();
                match cache.load(&name).and_then(|code| run_cached(engine, &code)) {
                    Some(component) => component,
                    None => {
                        let component = compile(engine, path, &component)?;
                        let stored = component.serialize().map_err(|error| format!("{error:#}"));
                        let stored =
                            stored.and_then(|code| cache.store(&name, &code).map_err(|error| error.to_string()));
                        if let Err(error) = stored {
                            warn!(component = %path.display(), error, "cannot keep the compiled component");
                        }
                        component
                    }
                }
            }
            None => compile(engine, path, &component)?,
        };
        let world = |error: wasmtime::Error| WasmError::World { path: path.to_owned(), reason: format!("{error:#}") };
        let pre = engine.linker().instantiate_pre(&component).map_err(world)?;
        Ok(Self { pre: RedisWriterPre::new(pre).map_err(world)?, sha256 })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, WasmError> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells that it is too large, and bounds what is read of it.
    let read = File::open(path).and_then(|file| file.take(COMPONENT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => Err(WasmError::Unreadable { path: path.to_owned(), reason: error.to_string() }),
    }
}

fn compile(engine: &Engine, path: &Path, bytes: &[u8]) -> Result<component::Component, WasmError> {
    let started = std::time::Instant::now();
    let compiled = component::Component::from_binary(engine.wasmtime(), bytes);
    let ms = started.elapsed().as_millis() as u64;
    info!(component = %path.display(), bytes = bytes.len(), ms, "component compiled");
    compiled.map_err(|error| WasmError::Invalid { path: path.to_owned(), reason: format!("{error:#}") })
}

/// Compiled code is good for one engine configuration and one component.
fn cache_name(engine: &Engine, sha256: &[u8; 32]) -> String {
    let mut hasher = DefaultHasher::new();
    engine.wasmtime().precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}-{}.code", hasher.finish(), hex(sha256))
}

#[allow(
    unsafe_code,
    reason = "machine code is believed: the cache has checked that this program wrote exactly these bytes"
)]
fn run_cached(engine: &Engine, code: &[u8]) -> Option<component::Component> {
    // SAFETY: `Cache::load` answers nothing but bytes that `Component::serialize` made, authenticated with the user's own key.
    unsafe { component::Component::deserialize(engine.wasmtime(), code) }
        .inspect_err(|error| {
            warn!(error = format!("{error:#}"), "a compiled component is of no use, compiling it again")
        })
        .ok()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
