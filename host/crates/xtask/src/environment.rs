//! What tests, the demo and benches find in their environment.
//!
//! | variable | says |
//! |---|---|
//! | `MYSYNC_TEST_MYSQL` | `HOST:PORT[,HOST:PORT]`: running servers, newest first; root without a password, to be changed at will |
//! | `MYSYNC_MYSQL_HOMES` | `DIR[:DIR]`: installed MySQLs, newest first, each with `mysqld`, `flags` (one a line) and `template/` (a fresh data folder) |
//! | `MYSYNC_REDIS_SERVER` | a redis-server to start |
//! | `MYSYNC_KAFKA_HOME` | an installed Kafka: its jars in `libs/`, and `broker.jsa` if it starts the quicker by it; for Java of `JAVA_HOME` or `PATH` |
//! | `MYSYNC_PLUGINS_DIR` | the built writers, `NAME.wasm` |
//! | `MYSYNC_BIN` | the built `mysync` |
//! | `TMPDIR` | on the disk that the servers are on; removed afterwards |

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::places::cache;
use crate::services::Server;

#[derive(Default)]
pub struct Environment {
    variables: Vec<(&'static str, OsString)>,
    /// End with this value, before their folder is removed.
    servers: Vec<Server>,
    scratch: Option<Scratch>,
}

impl Environment {
    /// With a scratch folder.
    pub fn new() -> Result<Self> {
        let scratch = Scratch::new()?;
        let mut environment = Self::default();
        let temporary = scratch.0.join("tmp");
        std::fs::create_dir(&temporary)?;
        environment.set("TMPDIR", temporary);
        environment.scratch = Some(scratch);
        Ok(environment)
    }

    pub fn set(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.variables.push((name, value.into()));
    }

    pub fn set_mysql_homes(&mut self, homes: &[PathBuf]) -> Result<()> {
        self.set("MYSYNC_MYSQL_HOMES", std::env::join_paths(homes)?);
        Ok(())
    }

    /// Starts a server of each home, unless somebody says which servers to use.
    pub fn start_shared_mysqls(&mut self, homes: &[PathBuf]) -> Result<()> {
        if std::env::var_os("MYSYNC_TEST_MYSQL").is_some() {
            return Ok(());
        }
        for (number, home) in homes.iter().enumerate() {
            let dir = self.scratch().join(format!("mysql-{number}"));
            self.servers.push(crate::services::start_mysql(home, &dir)?);
        }
        if !self.servers.is_empty() {
            let addresses: Vec<&str> = self.servers.iter().map(Server::address).collect();
            self.set("MYSYNC_TEST_MYSQL", addresses.join(","));
        }
        Ok(())
    }

    pub fn apply<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.envs(self.variables.iter().map(|(name, value)| (name, value)))
    }

    /// Lets a program take the place of this one, so that Ctrl-C is its own affair. Returns only if that fails; the scratch folder is
    /// removed by the next run.
    pub fn hand_over(&self, command: &mut Command) -> Result<ExitCode> {
        Err(self.apply(command).exec()).with_context(|| format!("cannot run {}", command.get_program().display()))
    }

    fn scratch(&self) -> &Path {
        self.scratch.as_ref().map_or(Path::new("/nonexistent"), |scratch| &scratch.0)
    }
}

/// A folder for this run, removed with the value; those of runs that could not are removed by the next.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let runs = cache()?.join("run");
        std::fs::create_dir_all(&runs)?;
        for entry in std::fs::read_dir(&runs)? {
            let entry = entry?;
            let name = entry.file_name();
            let process = name.to_str().and_then(|name| name.strip_prefix("scratch-"));
            if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
                // Another process may be removing it as well.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let dir = runs.join(format!("scratch-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
