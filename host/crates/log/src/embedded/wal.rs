//! How much of the WAL has not been moved into the file.
//!
//! Whoever appends faster than the disk takes it has to wait, or the WAL would grow for ever.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::Notify;

#[derive(Debug)]
pub struct Wal {
    unmoved: AtomicU64,
    /// From here on the keeper moves it; at twice as much, appends wait.
    max_bytes: u64,
    moved: Notify,
}

impl Wal {
    pub fn new(max_bytes: u64, unmoved: u64) -> Self {
        Self { unmoved: unmoved.into(), max_bytes, moved: Notify::new() }
    }

    pub fn unmoved(&self) -> u64 {
        self.unmoved.load(Relaxed)
    }

    pub fn is_large(&self) -> bool {
        self.unmoved() >= self.max_bytes
    }

    pub fn add(&self, bytes: u64) {
        self.unmoved.fetch_add(bytes, Relaxed);
    }

    /// So much of it is in the file now.
    pub fn moved(&self, bytes: u64) {
        self.unmoved.fetch_sub(bytes, Relaxed);
        self.moved.notify_waiters();
    }

    /// Waits while the keeper is behind.
    pub async fn wait(&self) {
        loop {
            let moved = self.moved.notified();
            if self.unmoved() < 2 * self.max_bytes {
                return;
            }
            moved.await;
        }
    }
}
