//! How far writers have come: what retention may delete, and whether a store was ever written.
//!
//! Kept in memory at once and in the file soon: it is a hint, the fence in the store decides.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A writer may have been rewound while no process ran. For this long after the start nothing counts as passed but what it says itself.
const GRACE: Duration = Duration::from_secs(60);

/// One writer in one partition.
#[derive(Debug, Default)]
pub struct Progress {
    seq: AtomicU64,
    /// Whether it has said so since the start.
    spoken: AtomicBool,
    /// Whether the file has a row of it.
    noted: AtomicBool,
    /// Whether the file's row is old.
    behind: AtomicBool,
}

impl Progress {
    /// Everything up to `seq` is in effect. It goes back when a writer is rewound.
    pub fn advance(&self, seq: u64) {
        self.seq.store(seq, Relaxed);
        self.spoken.store(true, Relaxed);
        self.behind.store(true, Relaxed);
    }

    pub fn is_noted(&self) -> bool {
        self.noted.load(Relaxed)
    }
}

#[derive(Debug)]
pub struct Consumers {
    known: Mutex<BTreeMap<(String, u32), Arc<Progress>>>,
    /// Those that are configured; others hold nothing.
    writers: Vec<String>,
    started: Instant,
}

impl Consumers {
    pub fn new(noted: Vec<(String, u32, u64)>, writers: Vec<String>) -> Self {
        let known = noted.into_iter().map(|(name, partition, seq)| {
            let progress = Progress { seq: seq.into(), noted: true.into(), ..Progress::default() };
            ((name, partition), Arc::new(progress))
        });
        Self { known: Mutex::new(known.collect()), writers, started: Instant::now() }
    }

    pub fn progress(&self, name: &str, partition: u32) -> Arc<Progress> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry((name.to_owned(), partition)).or_default().clone()
    }

    /// The configured writer that has come least far in a partition, and how far; none: no writer is configured.
    pub fn slowest(&self, partition: u32) -> Option<(&str, u64)> {
        let trusted = self.started.elapsed() > GRACE;
        let passed = self.writers.iter().map(|name| {
            let progress = self.progress(name, partition);
            let counts = trusted || progress.spoken.load(Relaxed);
            (name.as_str(), if counts { progress.seq.load(Relaxed) } else { 0 })
        });
        passed.min_by_key(|(_, seq)| *seq)
    }

    /// Hands what the file does not have to `note`.
    pub fn note<E>(&self, note: impl FnOnce(&[(String, u32, u64)]) -> Result<(), E>) -> Result<(), E> {
        let (mut rows, mut noted) = (Vec::new(), Vec::new());
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            for ((name, partition), progress) in known.iter() {
                if progress.behind.swap(false, Relaxed) {
                    rows.push((name.clone(), *partition, progress.seq.load(Relaxed)));
                    noted.push(progress.clone());
                }
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let outcome = note(&rows);
        for progress in noted {
            match outcome {
                Ok(()) => progress.noted.store(true, Relaxed),
                Err(_) => progress.behind.store(true, Relaxed),
            }
        }
        outcome
    }
}
