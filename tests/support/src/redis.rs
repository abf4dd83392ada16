//! Real Redis servers, one for each test.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ::redis::{Client, Connection, FromRedisValue};
use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::process::{Process, free_port, wait_until_up};

/// A start loads what was kept.
const START_TIME: Duration = Duration::from_secs(60);

/// A server of its own; it keeps nothing over a restart unless its flags say so.
pub struct RedisServer {
    pub port: u16,
    program: PathBuf,
    flags: Vec<String>,
    /// Ends before its folder goes.
    process: Option<Process>,
    dir: TempDir,
}

impl RedisServer {
    /// The executable that `MYSYNC_REDIS_SERVER` names.
    pub fn program() -> Option<PathBuf> {
        std::env::var_os("MYSYNC_REDIS_SERVER").map(PathBuf::from)
    }

    /// Starts a fresh server. The flags come last, so they win.
    pub fn start(flags: &[&str]) -> Result<Self> {
        let program = Self::program().context("MYSYNC_REDIS_SERVER names no redis-server")?;
        let dir = tempfile::Builder::new().prefix("redis-").tempdir()?;
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut redis = Self { port: free_port(), program, flags, process: None, dir };
        redis.restart()?;
        Ok(redis)
    }

    /// Ends it like a power cut, if it runs, and starts it again on its files and its port.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let mut command = Command::new(&self.program);
        command.current_dir(self.dir.path()).args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no", "--daemonize", "no"]).args(&self.flags);
        let output = self.dir.path().join("redis.log");
        let mut process = Process::start(command, &output)?;
        let what = format!("Redis on port {}", self.port);
        wait_until_up(&mut process, &what, &output, START_TIME, || answers(self.port))?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends it like a power cut.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Lets it stand still: it neither answers nor closes a connection.
    pub fn pause(&self) -> Result<()> {
        self.process.as_ref().context("it does not run")?.pause()
    }

    /// Lets it go on after a pause.
    pub fn go_on(&self) -> Result<()> {
        self.process.as_ref().context("it does not run")?.go_on()
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn conn(&self) -> Result<Connection> {
        Client::open(self.url())?.get_connection().with_context(|| format!("cannot connect to {}", self.url()))
    }

    /// Asks with one command, on a connection of its own.
    pub fn ask<T: FromRedisValue>(&self, command: &[&str]) -> Result<T> {
        let mut asked = ::redis::Cmd::new();
        command.iter().for_each(|word| _ = asked.arg(word));
        asked.query(&mut self.conn()?).with_context(|| command.join(" "))
    }
}

/// A server that listens may still be loading. One that asks for a password is of use.
fn answers(port: u16) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    ensure!(answer.starts_with("+PONG") || answer.starts_with("-NOAUTH"), "it answers {answer:?}");
    Ok(())
}
