//! What tests, the demo and benches share: real servers and the program as processes of their own, and what lies between them.
//!
//! `cargo x test`, `cargo x demo` and `cargo x bench` say in the environment where everything is. Each server has its own folder and port,
//! and ends with the value that stands for it, and with the process that started it, however that ends.

mod kafka;
mod mysql;
mod mysync;
mod process;
mod proxy;
mod random;
mod redis;
mod waiting;

use std::io::Write;
use std::path::PathBuf;

pub use kafka::{Kafka, KafkaPlan, Message, Operation, Record, Resource, Secure};
pub use mysql::{Home, Mysql, homes};
pub use mysync::Mysync;
pub use process::free_port;
pub use proxy::Proxy;
pub use random::Random;
pub use redis::RedisServer;
pub use waiting::{PATIENCE, until, until_within};

/// Says that a test cannot be run here. `cargo x test` counts these lines, so they pass by the test harness, which shows nothing of a test
/// that went well.
pub fn skip(name: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {name}: {why}");
}

/// A built writer component, such as `redis-writer`. `cargo x plugins` builds them.
pub fn plugin(name: &str) -> anyhow::Result<PathBuf> {
    let file = format!("{name}.wasm");
    let path = match std::env::var_os("MYSYNC_PLUGINS_DIR") {
        Some(dir) => Some(PathBuf::from(dir).join(file)),
        None => process::beside_this_program(&PathBuf::from("plugins").join(file)),
    };
    path.filter(|path| path.exists())
        .ok_or_else(|| anyhow::anyhow!("there is no {name}.wasm: `cargo x plugins` builds it"))
}
