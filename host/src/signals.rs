//! SIGTERM and SIGINT. For what runs, the first ends the loops between two steps, and the second ends the process.

use std::io;

use mysync_pipeline::shutdown::Shutdown;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

/// Begins the end at the first signal. A second one exits at once, with 128 and the signal's number, as shells say it.
pub fn end_on_signal(shutdown: Shutdown) -> io::Result<()> {
    let mut signals = Signals::new()?;
    tokio::spawn(async move {
        let (name, _) = signals.next().await;
        info!(signal = name, "ending: what was begun is finished first");
        shutdown.begin();
        let (name, kind) = signals.next().await;
        warn!(signal = name, "ending at once");
        std::process::exit(128 + kind.as_raw_value());
    });
    Ok(())
}

/// Ends the process at the first signal, with these words: what it follows goes on without it.
pub fn leave_on_signal(words: String) -> io::Result<()> {
    let mut signals = Signals::new()?;
    tokio::spawn(async move {
        let (_, kind) = signals.next().await;
        println!("{words}");
        std::process::exit(128 + kind.as_raw_value());
    });
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> (&'static str, SignalKind) {
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", SignalKind::terminate()),
            _ = self.interrupt.recv() => ("SIGINT", SignalKind::interrupt()),
        }
    }
}
