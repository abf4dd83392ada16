//! Processes that end with the value that stands for them, and with this process, however it ends.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};

/// Linux counts a process's time in hundredths.
const TICKS_PER_SECOND: f64 = 100.0;
/// Below the ports that the kernel gives to outgoing connections: a server that was killed finds its own free again.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

pub struct Process(Child);

impl Process {
    /// Starts it with what it says going to the end of `output`.
    pub fn start(mut command: Command, output: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(output).context(output.display().to_string())?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        end_with_this_process(&mut command);
        let program = command.get_program().display().to_string();
        spawn(command)?.map(Self).with_context(|| format!("cannot start {program}"))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// None while it runs.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }

    /// Ends it like a power cut, and waits until nothing is left of it.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Asks it to end.
    pub fn ask_to_end(&self) -> Result<()> {
        self.signal(libc::SIGTERM)
    }

    pub fn pause(&self) -> Result<()> {
        self.signal(libc::SIGSTOP)
    }

    pub fn go_on(&self) -> Result<()> {
        self.signal(libc::SIGCONT)
    }

    fn signal(&self, signal: i32) -> Result<()> {
        let id = i32::try_from(self.id())?;
        // SAFETY: a plain system call. The child has not been waited for, so the number is still its own.
        #[allow(unsafe_code)]
        let sent = unsafe { libc::kill(id, signal) };
        if sent != 0 {
            bail!("cannot send signal {signal} to {id}: {}", std::io::Error::last_os_error());
        }
        Ok(())
    }

    /// What it has used of the processors until now.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // Behind the name, which may hold anything: state is the first word, user and system time the twelfth and thirteenth.
        let words: Vec<&str> = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks = |word: usize| words.get(word).and_then(|word| word.parse::<u64>().ok());
        let ticks = ticks(11).zip(ticks(12)).ok_or_else(|| anyhow!("/proc/{}/stat is unlike any known", self.id()))?;
        Ok((ticks.0 + ticks.1) as f64 / TICKS_PER_SECOND)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The kernel ends a child when the thread that started it ends, and a test's thread may end before its server should. So one thread,
/// which lives as long as this process, starts them all.
fn spawn(command: Command) -> Result<std::io::Result<Child>> {
    type Order = (Command, Sender<std::io::Result<Child>>);
    static ORDERS: OnceLock<Sender<Order>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (orders, received) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in received {
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, answered) = channel();
    orders.send((command, answer)).map_err(|_| anyhow!("the thread that starts processes has ended"))?;
    Ok(answered.recv()?)
}

fn end_with_this_process(command: &mut Command) {
    let parent = std::process::id();
    let arm = move || {
        // SAFETY: plain system calls, allowed between fork and exec.
        #[allow(unsafe_code)]
        let parent_now = unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::getppid()
        };
        // The parent may have ended before this was armed.
        if parent_now.cast_unsigned() == parent { Ok(()) } else { Err(std::io::ErrorKind::NotFound.into()) }
    };
    // SAFETY: `arm` makes system calls only: it takes no lock and no memory.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(arm);
    }
}

/// A port that nobody listens on, and that this process gives out once.
pub fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        AtomicU16::new((nanos ^ std::process::id().rotate_left(7)) as u16)
    });
    loop {
        let port = PORTS.start + next.fetch_add(1, Relaxed) % (PORTS.end - PORTS.start);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until a process that was just started is of use. An end before that is told with the last of what it said.
pub fn wait_until_up(
    process: &mut Process,
    what: &str,
    output: &Path,
    patience: Duration,
    mut up: impl FnMut() -> Result<()>,
) -> Result<()> {
    crate::waiting::until_blocking(what, patience, || match process.exited()? {
        Some(status) => Ok(Err(anyhow!("{what} ended with {status}: {}", last_lines(output)))),
        None => up().map(Ok),
    })?
}

/// The end of a file, for messages.
pub fn last_lines(file: &Path) -> String {
    let text = std::fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    format!("{}:\n{}", file.display(), lines[lines.len().saturating_sub(20)..].join("\n"))
}

/// A file of the build that this program is part of: in its folder or in one above it.
pub fn beside_this_program(file: &Path) -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    program.ancestors().skip(1).take(3).map(|dir| dir.join(file)).find(|path| path.exists())
}
