//! How long to wait before the next attempt.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// The first wait: short, because most interruptions are a connection that was cut.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait: what a returned server may go unnoticed for.
const LONGEST: Duration = Duration::from_secs(5);

/// Doubling waits with jitter, so that many partitions do not come back at the same moment.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    state: u64,
}

impl Backoff {
    /// `name` tells tasks apart; the same one waits the same times, so that a simulation can be repeated.
    pub fn new(name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self { next: FIRST, state: hasher.finish() | 1 }
    }

    /// Something went well: the next failure is a new one.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }

    /// Between half of the current wait and all of it.
    pub fn wait(&mut self) -> Duration {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let wait = self.next / 2 + self.next.mul_f64((self.state % 1000) as f64 / 2000.0);
        self.next = (self.next * 2).min(LONGEST);
        wait
    }
}
