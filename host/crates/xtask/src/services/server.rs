//! Servers of either kind: installed whole or not at all, started in a folder of their own, found again there, and stopped.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::step::{command, last_lines, read, say};

/// A start repairs what a kill left.
const START_TIME: Duration = Duration::from_secs(120);
/// A stop writes what is in memory.
const STOP_TIME: Duration = Duration::from_secs(60);
/// Below those that the kernel gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 12_000..32_000;
const PAUSE: Duration = Duration::from_millis(50);

/// A running server.
pub struct Server {
    id: u32,
    dir: PathBuf,
    url: String,
    /// It was started for as long as this value lives.
    bound: bool,
}

impl Server {
    /// The one that runs in this folder, if one does.
    pub fn running(dir: &Path) -> Result<Option<Self>> {
        let Ok(text) = std::fs::read_to_string(dir.join("server")) else { return Ok(None) };
        let (id, url) = text.trim().split_once(' ').with_context(|| format!("{}/server is damaged", dir.display()))?;
        let server = Self { id: id.parse()?, dir: dir.to_owned(), url: url.to_owned(), bound: false };
        Ok(server.runs().then_some(server))
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> &str {
        self.url.rsplit(['@', '/']).next().unwrap_or_default()
    }

    /// A process may have taken the number of one that ended, so it must also work in the server's folder.
    fn runs(&self) -> bool {
        let works_in = std::fs::read_link(format!("/proc/{}/cwd", self.id));
        works_in.is_ok_and(|cwd| self.dir.canonicalize().is_ok_and(|dir| cwd.starts_with(dir)))
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&self) -> Result<()> {
        let deadline = Instant::now() + STOP_TIME;
        let mut asked = Instant::now() - Duration::from_secs(1);
        while self.runs() {
            if Instant::now() > deadline {
                bail!("process {} does not end", self.id);
            }
            // Again each second: Redis forgets it while it writes its first file.
            if asked.elapsed() >= Duration::from_secs(1) {
                self.signal("TERM");
                asked = Instant::now();
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn signal(&self, signal: &str) {
        // It may end at any time, so it may not be there any more.
        let _ = read(Command::new("kill").args(["-s", signal, &self.id.to_string()]));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.bound {
            self.signal("KILL");
        }
    }
}

/// Fills a folder, unless that was done to its end before. What an interrupted one left is removed.
pub fn install(dir: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let complete = dir.join("complete");
    if complete.exists() {
        return Ok(());
    }
    let name = dir.file_name().unwrap_or_default().display();
    say(format!("{name}: installing into {}", dir.display()));
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    std::fs::create_dir_all(dir)?;
    fill(dir)?;
    std::fs::write(complete, "")?;
    say(format!("{name}: installed"));
    Ok(())
}

/// Starts a server whose data is in `dir/data`, and waits until it is `up`.
pub fn start(
    dir: &Path,
    url: String,
    program: &Path,
    arguments: &[String],
    lasting: bool,
    up: impl Fn() -> Result<()>,
) -> Result<Server> {
    let (log, began) = (dir.join("log"), Instant::now());
    let output = std::fs::File::create(&log)?;
    let mut command = if lasting { Command::new(program) } else { command(program) };
    if lasting {
        // Ctrl-C is for this process, not for what outlives it.
        command.process_group(0);
    }
    command.current_dir(dir.join("data")).args(arguments);
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
    let server = Server { id: child.id(), dir: dir.to_owned(), url, bound: !lasting };
    std::fs::write(dir.join("server"), format!("{} {}\n", server.id, server.url))?;
    loop {
        let said = || last_lines(&std::fs::read_to_string(&log).unwrap_or_default());
        if let Some(status) = child.try_wait()? {
            bail!("{} ended with {status}:\n{}", program.display(), said());
        }
        match up() {
            Ok(()) => break,
            Err(error) if began.elapsed() > START_TIME => {
                return Err(error.context(format!("{} does not start:\n{}", program.display(), said())));
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
    say(format!("{}: up after {:.1} s", server.url, began.elapsed().as_secs_f64()));
    Ok(server)
}

/// The port of a folder's server: the same at every start.
pub fn port(dir: &Path) -> Result<u16> {
    let [port] = ports(dir)?;
    Ok(port)
}

/// The same for one that needs several.
pub fn ports<const N: usize>(dir: &Path) -> Result<[u16; N]> {
    let file = dir.join("port");
    let list = |ports: Vec<u16>| <[u16; N]>::try_from(ports).ok();
    if let Ok(text) = std::fs::read_to_string(&file) {
        let ports = text.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok().and_then(list);
        return ports.with_context(|| format!("{} is damaged", file.display()));
    }
    let from = u16::try_from(std::process::id() % u32::from(PORTS.end - PORTS.start))?;
    let free =
        (PORTS.start + from..PORTS.end).chain(PORTS).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let ports = list(free.take(N).collect()).context("every port is taken")?;
    std::fs::write(file, ports.map(|port| port.to_string()).join(" "))?;
    Ok(ports)
}

/// The first bytes that a server says to this.
pub fn ask(port: u16, question: &str, bytes: usize) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(question.as_bytes())?;
    let mut answer = vec![0; bytes];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// mysqld runs as root only if it is told to.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
