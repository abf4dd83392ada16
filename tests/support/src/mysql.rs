//! Real MySQL servers, one for each test.

use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::{FromRow, Queryable};
use tempfile::TempDir;

use crate::process::{Process, free_port, wait_until_up};

/// A start repairs what a kill left; on a busy machine that takes its time.
const START_TIME: Duration = Duration::from_secs(120);
/// Somebody else may take a port between its choice and its use.
const STARTS_MAX: u32 = 3;

/// An installed MySQL: its launcher, the flags that every start needs, and a fresh data folder to copy.
#[derive(Debug, Clone)]
pub struct Home {
    dir: PathBuf,
    flags: Vec<String>,
}

/// The installed MySQLs that `MYSYNC_MYSQL_HOMES` names, newest first.
pub fn homes() -> Result<Vec<Home>> {
    let Some(dirs) = std::env::var_os("MYSYNC_MYSQL_HOMES") else { return Ok(Vec::new()) };
    std::env::split_paths(&dirs).filter(|dir| !dir.as_os_str().is_empty()).map(Home::open).collect()
}

impl Home {
    /// The newest, if there is any.
    pub fn newest() -> Result<Option<Self>> {
        Ok(homes()?.into_iter().next())
    }

    fn open(dir: PathBuf) -> Result<Self> {
        let flags = dir.join("flags");
        let text = std::fs::read_to_string(&flags).with_context(|| format!("no MySQL home: {}", flags.display()))?;
        Ok(Self { dir, flags: text.lines().map(str::to_owned).collect() })
    }

    /// What it is called where it is installed, such as `mysql-9.7`.
    pub fn name(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// A server of its own: GTIDs, full rows and full metadata, unless its flags say otherwise. Root has no password.
pub struct Mysql {
    pub port: u16,
    /// None: somebody else runs it.
    own: Option<Own>,
}

struct Own {
    home: Home,
    flags: Vec<String>,
    /// Ends before its folder goes.
    process: Option<Process>,
    dir: TempDir,
}

impl Mysql {
    /// Starts a fresh server. The flags come last, so they win. Blocks for about a second.
    pub fn start(home: &Home, flags: &[&str]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("mysql-").tempdir()?;
        copy_folder(&home.dir.join("template"), &dir.path().join("data"))?;
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut mysql = Self { port: 0, own: Some(Own { home: home.clone(), flags, process: None, dir }) };
        let mut starts = 0;
        loop {
            mysql.port = free_port();
            starts += 1;
            match mysql.restart() {
                Err(error) if starts < STARTS_MAX && mysql.said().contains("Address already in use") => drop(error),
                other => return other.map(|()| mysql),
            }
        }
    }

    /// One that somebody else runs on this machine, first in `MYSYNC_TEST_MYSQL`, if there is any.
    pub fn given() -> Result<Option<Self>> {
        let Ok(addresses) = std::env::var("MYSYNC_TEST_MYSQL") else { return Ok(None) };
        let address = addresses.split(',').next().unwrap_or_default();
        let port = address.strip_prefix("127.0.0.1:").and_then(|port| port.parse().ok());
        let port = port.with_context(|| format!("MYSYNC_TEST_MYSQL is no 127.0.0.1:PORT: {addresses}"))?;
        greets(port).with_context(|| format!("no MySQL answers on port {port}"))?;
        Ok(Some(Self { port, own: None }))
    }

    /// Ends it like a power cut, if it runs, and starts it again on its files and its port.
    pub fn restart(&mut self) -> Result<()> {
        let port = self.port;
        self.own.as_mut().context("a server that somebody else runs is not restarted")?.restart(port)
    }

    /// [`Mysql::restart`] with other flags in place of those it was started with.
    pub fn restart_with(&mut self, flags: &[&str]) -> Result<()> {
        if let Some(own) = &mut self.own {
            own.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        }
        self.restart()
    }

    /// Ends it like a power cut, unless somebody else runs it.
    pub fn kill(&mut self) {
        if let Some(own) = &mut self.own {
            own.process = None;
        }
    }

    pub fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}", self.port)
    }

    /// A connection as root.
    pub async fn conn(&self) -> Result<Conn> {
        Conn::from_url(self.url()).await.with_context(|| format!("cannot connect to {}", self.url()))
    }

    /// Runs statements, which are separated by semicolons, on a connection of their own.
    pub async fn exec(&self, statements: &str) -> Result<()> {
        let mut conn = self.conn().await?;
        conn.query_drop(statements).await.with_context(|| statements.to_owned())?;
        Ok(conn.disconnect().await?)
    }

    /// Asks, on a connection of its own.
    pub async fn query<T: FromRow + Send + 'static>(&self, query: &str) -> Result<Vec<T>> {
        let mut conn = self.conn().await?;
        let rows = conn.query(query).await.with_context(|| query.to_owned())?;
        conn.disconnect().await?;
        Ok(rows)
    }

    /// What it has said since its last start.
    pub fn said(&self) -> String {
        let said = self.own.as_ref().and_then(|own| std::fs::read(own.error_log()).ok());
        said.map_or(String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Own {
    fn restart(&mut self, port: u16) -> Result<()> {
        self.process = None;
        std::fs::write(self.error_log(), "")?;
        let data = self.dir.path().join("data");
        let mut command = Command::new(self.home.dir.join("mysqld"));
        command.current_dir(&data).args(&self.home.flags).args([
            format!("--datadir={}", data.display()),
            format!("--port={port}"),
            format!("--server-id={port}"),
            format!("--log-error={}", self.error_log().display()),
            // Beside the data: the name of a socket may not be long.
            "--socket=mysql.sock".to_owned(),
            "--pid-file=mysqld.pid".to_owned(),
        ]);
        command.args(&self.flags);
        let mut process = Process::start(command, &self.error_log())?;
        let what = format!("{} on port {port}", self.home.name());
        wait_until_up(&mut process, &what, &self.error_log(), START_TIME, || greets(port))?;
        self.process = Some(process);
        Ok(())
    }

    fn error_log(&self) -> PathBuf {
        self.dir.path().join("error.log")
    }
}

/// A server that listens may not be of use yet; one that greets is.
fn greets(port: u16) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut greeting = [0; 5];
    stream.read_exact(&mut greeting)?;
    ensure!(greeting[4] == 10, "it greets with {greeting:?}");
    Ok(())
}

pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
