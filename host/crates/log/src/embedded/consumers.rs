//! How far writers have come: what retention may delete, and whether a store was ever written.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// One writer in one partition. Before it has said where it stands it has passed nothing: it may have been rewound while no process ran.
#[derive(Debug, Default)]
pub struct Progress {
    seq: AtomicU64,
    /// Whether the file has a row of it.
    noted: AtomicBool,
}

impl Progress {
    /// Everything up to `seq` is in effect. It goes back when a writer is rewound.
    pub fn advance(&self, seq: u64) {
        self.seq.store(seq, Relaxed);
    }

    pub fn is_noted(&self) -> bool {
        self.noted.load(Relaxed)
    }

    pub fn set_noted(&self) {
        self.noted.store(true, Relaxed);
    }
}

#[derive(Debug)]
pub struct Consumers {
    known: Mutex<BTreeMap<(String, u32), Arc<Progress>>>,
    /// Those that are configured; others hold nothing.
    writers: Vec<String>,
}

impl Consumers {
    pub fn new(noted: Vec<(String, u32)>, writers: Vec<String>) -> Self {
        let consumers = Self { known: Mutex::default(), writers };
        noted.iter().for_each(|(name, partition)| consumers.progress(name, *partition).set_noted());
        consumers
    }

    pub fn progress(&self, name: &str, partition: u32) -> Arc<Progress> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry((name.to_owned(), partition)).or_default().clone()
    }

    /// The configured writer that has come least far in a partition, and how far; none: no writer is configured.
    pub fn slowest(&self, partition: u32) -> Option<(&str, u64)> {
        let passed = self.writers.iter().map(|name| (name.as_str(), self.progress(name, partition).seq.load(Relaxed)));
        passed.min_by_key(|(_, seq)| *seq)
    }
}
