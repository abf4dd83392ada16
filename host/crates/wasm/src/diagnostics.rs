//! Messages of a writer in the host's log lines.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use crate::bindings::diagnostics::{self, Level};
use crate::limits::Limits;

/// The messages of one instance: so many a second, and no longer than so many bytes.
#[derive(Debug)]
pub(crate) struct Diagnostics {
    writer: Arc<str>,
    per_second: u32,
    message_bytes: usize,
    second: Instant,
    left: u32,
    dropped: u64,
}

impl Diagnostics {
    pub fn new(writer: Arc<str>, limits: &Limits) -> Self {
        let Limits { messages, message_bytes, .. } = *limits;
        Self { writer, per_second: messages, message_bytes, second: Instant::now(), left: messages, dropped: 0 }
    }

    fn admit(&mut self) -> bool {
        if self.second.elapsed() >= Duration::from_secs(1) {
            self.report();
            (self.second, self.left) = (Instant::now(), self.per_second);
        }
        if self.left == 0 {
            self.dropped += 1;
            return false;
        }
        self.left -= 1;
        true
    }

    fn report(&mut self) {
        if self.dropped > 0 {
            warn!(
                writer = &*self.writer,
                dropped = self.dropped,
                "messages of a writer were dropped: too many a second"
            );
            self.dropped = 0;
        }
    }
}

impl Drop for Diagnostics {
    fn drop(&mut self) {
        self.report();
    }
}

impl diagnostics::Host for Diagnostics {
    fn emit(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        if self.admit() {
            let (writer, message) = (&*self.writer, printable(&message, self.message_bytes));
            match level {
                Level::Debug => debug!(writer, message, "writer says"),
                Level::Info => info!(writer, message, "writer says"),
                Level::Warn => warn!(writer, message, "writer says"),
                Level::Error => error!(writer, message, "writer says"),
            }
        }
        Ok(())
    }
}

/// A guest's text as it may stand in a log line, a terminal or an error: bounded, one line, no control characters.
pub(crate) fn printable(text: &str, max_bytes: usize) -> String {
    let end = text.floor_char_boundary(max_bytes);
    let mut clean: String = text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if end < text.len() {
        clean.push('…');
    }
    clean
}
