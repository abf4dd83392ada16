//! Redis 7.0, of Debian's bookworm.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::debian::{self, With, write_launcher};
use super::server::{self, Server};
use crate::places::{cache, on_path};
use crate::step::{Lock, say};

const NAME: &str = "redis-7.0";

/// The redis-server that is named, installed on this machine, or fetched.
pub fn program() -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("MYSYNC_REDIS_SERVER") {
        return Ok(program.into());
    }
    if let Some(program) = on_path("redis-server") {
        say(format!("{}: used instead of one that is fetched", program.display()));
        return Ok(program);
    }
    let servers = cache()?.join("servers");
    let dir = servers.join(NAME);
    let _lock = Lock::take(&servers.join(format!("{NAME}.lock")))?;
    server::install(&dir, |dir| {
        let root = dir.join("root");
        debian::unpack("bookworm", &["redis-server"], With::Dependencies, &root)?;
        write_launcher(&root, "usr/bin/redis-server", &dir.join("redis-server"))
    })?;
    Ok(dir.join("redis-server"))
}

/// Starts one on its folder, where it keeps what it holds when it is stopped; a lasting one outlives this process.
pub fn start(program: &Path, dir: &Path, lasting: bool) -> Result<Server> {
    let data = dir.join("data");
    std::fs::create_dir_all(&data)?;
    let port = server::port(dir)?;
    let arguments =
        ["--port", &port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no", "--appendonly", "yes", "--save", ""]
            .map(str::to_owned);
    server::start(dir, format!("redis://127.0.0.1:{port}"), program, &arguments, lasting, || {
        let answer = server::ask(port, "PING\r\n", 5)?;
        if answer == b"+PONG" { Ok(()) } else { bail!("it answers {}", String::from_utf8_lossy(&answer)) }
    })
}
