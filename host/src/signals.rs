//! SIGTERM and SIGINT: the first ends the loops between two steps, the second ends the process.

use std::io;

use mysync_pipeline::shutdown::Shutdown;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

/// Begins the end at the first signal. A second one exits at once, with 128 and the signal's number, as shells say it.
pub fn end_on_signal(shutdown: Shutdown) -> io::Result<()> {
    let mut signals =
        Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
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

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) -> (&'static str, SignalKind) {
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", SignalKind::terminate()),
            _ = self.interrupt.recv() => ("SIGINT", SignalKind::interrupt()),
        }
    }
}
