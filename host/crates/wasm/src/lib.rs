//! Writers as WebAssembly components: loading them, running them, and holding them to what the operator granted.
//!
//! A component gets nothing from this crate but the imports of `mysync:writer`: it hands commands over and emits messages. Every call is
//! bounded in time, memory and output. What it hands over is collected, and leaves this crate only after `write` has returned well and every
//! command has been checked. After a trap, a limit or an abandoned call the store is dropped; a new instance starts from nothing.

mod bindings;
mod cache;
mod collect;
mod component;
mod diagnostics;
mod engine;
mod error;
mod grant;
mod inspect;
mod instance;
mod limits;
mod plugin;

pub use component::Component;
pub use engine::{Engine, EngineSettings};
pub use error::{Problem, WasmError};
pub use grant::Grant;
pub use instance::Instance;
pub use limits::Limits;
pub use plugin::{Plugin, PluginSettings};
