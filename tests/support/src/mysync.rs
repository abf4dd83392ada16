//! The program, as a process.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

use crate::process::{Process, beside_this_program, last_lines};
use crate::waiting::until;

/// What it says goes here, in the folder of its configuration.
const OUTPUT: &str = "mysync.out";
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// A running `mysync run`. Its configuration says `admin.listen = "127.0.0.1:0"`: the port it gets is read from what it says, so the
/// level of its log is `info` at least.
pub struct Mysync {
    process: Process,
    output: PathBuf,
    /// Where this start's output begins: the file is kept over starts.
    from: usize,
}

impl Mysync {
    /// `mysync` in this folder, which holds `mysync.toml`.
    pub fn command(dir: &Path, arguments: &[&str]) -> Result<Command> {
        let given = std::env::var_os("MYSYNC_BIN").map(PathBuf::from);
        let program = given.or_else(|| beside_this_program(Path::new("mysync")));
        let mut command = Command::new(program.context("there is no mysync: `cargo build --bin mysync` builds it")?);
        command.current_dir(dir).args(arguments).env_remove("MYSYNC_CONFIG").env_remove("MYSYNC_LOG");
        Ok(command)
    }

    /// Runs it to its end.
    pub fn run(dir: &Path, arguments: &[&str]) -> Result<Output> {
        Ok(Self::command(dir, arguments)?.stdin(Stdio::null()).output()?)
    }

    /// Starts `mysync run` in this folder, which holds `mysync.toml`.
    pub fn start(dir: &Path) -> Result<Self> {
        Self::spawn(Self::command(dir, &["run"])?, dir)
    }

    /// Starts a command made by [`Mysync::command`].
    pub fn spawn(command: Command, dir: &Path) -> Result<Self> {
        let output = dir.join(OUTPUT);
        let from = std::fs::metadata(&output).map_or(0, |file| file.len() as usize);
        Ok(Self { process: Process::start(command, &output)?, output, from })
    }

    /// Waits until everything that is configured has started.
    pub async fn wait_ready(&mut self) -> Result<()> {
        until("mysync is ready", async || {
            if let Some(status) = self.process.exited()? {
                return Ok(Err(anyhow!("mysync ended with {status}: {}", last_lines(&self.output))));
            }
            let (status, body) = self.get("/readyz")?;
            ensure!(status == 200, "{body}");
            Ok(Ok(()))
        })
        .await
        .with_context(|| last_lines(&self.output))?
    }

    /// What `/api/status` says.
    pub fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.get("/api/status")?.1)?)
    }

    /// What `/metrics` says.
    pub fn metrics(&self) -> Result<String> {
        Ok(self.get("/metrics")?.1)
    }

    /// Status and body of any of its pages.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        self.http("GET", path)
    }

    pub fn post(&self, path: &str) -> Result<(u16, String)> {
        self.http("POST", path)
    }

    fn http(&self, method: &str, path: &str) -> Result<(u16, String)> {
        let address = self.admin()?;
        let mut stream = TcpStream::connect(&address).with_context(|| address.clone())?;
        stream.set_read_timeout(Some(ANSWER_TIME))?;
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no HTTP: {text}"))?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.with_context(|| format!("no HTTP: {head}"))?, body.to_owned()))
    }

    /// Where it listens, `127.0.0.1:PORT`.
    pub fn admin(&self) -> Result<String> {
        let log = self.log();
        let Some(line) = log.lines().find(|line| line.contains("admin is listening")) else {
            bail!("it does not listen yet");
        };
        let port = line.split("127.0.0.1:").nth(1).context("it does not listen on 127.0.0.1")?;
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        Ok(format!("127.0.0.1:{port}"))
    }

    /// Ends it like a power cut.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Asks it to end, and waits until it has.
    pub async fn terminate(mut self) -> Result<ExitStatus> {
        self.ask_to_end()?;
        self.wait_exit().await
    }

    /// Asks it to end.
    pub fn ask_to_end(&self) -> Result<()> {
        self.process.ask_to_end()
    }

    /// Lets it stand still where it is, as a machine that is frozen does.
    pub fn pause(&self) -> Result<()> {
        self.process.pause()
    }

    /// Lets it go on after a pause.
    pub fn go_on(&self) -> Result<()> {
        self.process.go_on()
    }

    /// None while it runs.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.process.exited()
    }

    /// Waits until it ends by itself.
    pub async fn wait_exit(&mut self) -> Result<ExitStatus> {
        let ended = until("mysync ends", async || self.process.exited()?.context("it runs")).await;
        ended.with_context(|| last_lines(&self.output))
    }

    /// What it has said since this start.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.output).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(self.from..).unwrap_or_default()).into_owned()
    }

    pub fn cpu_seconds(&self) -> Result<f64> {
        self.process.cpu_seconds()
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }
}
