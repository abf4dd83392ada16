//! How far writers have come: what retention may delete, and whether a store was ever written.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use mysync_change::dump::Dumps;

/// One writer in one partition. Before it has said where it stands it has passed nothing: it may have been rewound while no process ran.
#[derive(Debug, Default)]
pub struct Progress {
    seq: AtomicU64,
    /// Whether the file has a row of it.
    noted: AtomicBool,
    /// Whether it is known where it begins, or has begun.
    begun: AtomicBool,
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
        self.begun.store(true, Relaxed);
    }
}

#[derive(Debug)]
pub struct Consumers {
    known: Mutex<BTreeMap<(String, u32), Arc<Progress>>>,
    /// Those that are configured; others hold nothing.
    writers: Vec<String>,
    /// Of those the ones that begin with a dump: until then they need nothing that is in the log.
    loaded: Vec<String>,
}

impl Consumers {
    pub fn new(noted: Vec<(String, u32)>, writers: Vec<String>, loaded: Vec<String>) -> Self {
        let consumers = Self { known: Mutex::default(), writers, loaded };
        noted.iter().for_each(|(name, partition)| consumers.progress(name, *partition).set_noted());
        consumers
    }

    pub fn progress(&self, name: &str, partition: u32) -> Arc<Progress> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry((name.to_owned(), partition)).or_default().clone()
    }

    /// Writers begin where the log ended when their dumps were ordered.
    pub fn begin(&self, dumps: &Dumps) {
        for dump in &dumps.list {
            let Some(writer) = &dump.writer else { continue };
            for (partition, from) in (0..).zip(&dump.from) {
                let progress = self.progress(writer, partition);
                if !progress.begun.swap(true, Relaxed) {
                    progress.advance(*from);
                }
            }
        }
    }

    /// The configured writer that has come least far in a partition, and how far; none: there is none. `short_of_room`: who has yet to order
    /// the dump that it begins with does not count. It may never get that far, and it begins at the log's end.
    pub fn slowest(&self, partition: u32, short_of_room: bool) -> Option<(&str, u64)> {
        let passed = self.writers.iter().filter_map(|name| {
            let progress = self.progress(name, partition);
            let counts = !short_of_room || progress.begun.load(Relaxed) || !self.loaded.contains(name);
            counts.then(|| (name.as_str(), progress.seq.load(Relaxed)))
        });
        passed.min_by_key(|(_, seq)| *seq)
    }
}
