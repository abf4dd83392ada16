//! Steps: said with the time since the start, done by programs that end with this one, and alone where two would disturb each other.

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::{File, TryLockError};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often something that depends on other machines is tried.
const TRIES: u32 = 3;

/// Says what is being done.
pub fn say(what: impl Display) {
    eprintln!("[{:6.1} s] {what}", started().elapsed().as_secs_f64());
}

fn started() -> Instant {
    static STARTED: OnceLock<Instant> = OnceLock::new();
    *STARTED.get_or_init(Instant::now)
}

/// A program that the kernel ends when this one ends, however it does: nothing is left behind by Ctrl-C.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let arm = || {
        // SAFETY: a plain system call, allowed between fork and exec.
        #[allow(unsafe_code)]
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        }
        Ok(())
    };
    // SAFETY: `arm` makes a system call only: it takes no lock and no memory.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(arm);
    }
    command
}

/// Runs it with its output shown.
pub fn show(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", named(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", named(command));
    }
    Ok(())
}

/// Runs it, and answers what it printed. What it said is part of the error if it fails.
pub fn read(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {}", named(command)))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let said = text + &String::from_utf8_lossy(&output.stderr);
        bail!("{} failed ({}):\n{}", named(command), output.status, last_lines(&said));
    }
    Ok(text)
}

/// Runs what asks other machines: they may be slow or busy.
pub fn read_patiently(command: &mut Command) -> Result<String> {
    let mut tries = 1;
    loop {
        match read(command) {
            Err(error) if tries < TRIES => say(format!("try {tries} of {TRIES}: {error:#}")),
            done => return done,
        }
        std::thread::sleep(Duration::from_secs(2 * u64::from(tries)));
        tries += 1;
    }
}

/// The end of what a program said.
pub fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn named(command: &Command) -> String {
    Path::new(command.get_program()).file_name().unwrap_or_default().display().to_string()
}

/// Held by one process at a time; the kernel gives it back when the process ends.
pub struct Lock(#[expect(dead_code, reason = "held, not used")] File);

impl Lock {
    pub fn take(file: &Path) -> Result<Self> {
        std::fs::create_dir_all(file.parent().unwrap_or(Path::new("/")))?;
        let lock = File::create(file).with_context(|| file.display().to_string())?;
        match lock.try_lock() {
            Ok(()) => return Ok(Self(lock)),
            Err(TryLockError::WouldBlock) => say(format!("waiting for another process with {}", file.display())),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        lock.lock()?;
        Ok(Self(lock))
    }
}
