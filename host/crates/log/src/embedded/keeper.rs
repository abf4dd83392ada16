//! What keeps the log in order, on a thread of its own: deletes what nobody needs, and moves the WAL into the file. It takes the
//! writing connection for short steps only, so that appends do not wait long.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use metrics::gauge;
use mysync_pipeline::status::now_us;
use tracing::warn;

use super::Shared;
use super::file::{self, Database, WAL_BYTES_MAX};
use super::partition::Stored;
use super::room::State;
use super::store::Store;
use crate::error::{Holder, LogError};
use crate::metrics::{LOG_BYTES, LOG_MAX_BYTES, LOG_OLDEST, LOG_PAUSED};

/// How late old records are deleted.
const TICK: Duration = Duration::from_millis(500);
/// Deleted in one step at most; an append waits no longer than this takes.
const STEP_BLOCKS: u32 = 64;
const STEP_BYTES: u64 = 4 << 20;
/// Appends wait while this much of the WAL is moved into the file, not more.
const WAL_REST_BYTES: u64 = 4 << 20;
/// Rounds in which the WAL is moved beside appends.
const WAL_ROUNDS: usize = 4;
/// A WAL of so many times its size is one that somebody keeps from beginning anew.
const WAL_HELD: u64 = 4;

#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
    /// For moving the WAL beside appends.
    database: Database,
    /// The file that was opened: device and number.
    file: (u64, u64),
    /// The WAL could not begin anew last time.
    wal_held: bool,
    /// What it could not do last time.
    failing: Option<&'static str>,
}

impl Keeper {
    pub fn new(shared: Arc<Shared>, database: Database) -> Result<Self, LogError> {
        let file = file::number(&shared.path).ok_or_else(|| LogError::Absent { path: shared.path.clone() })?;
        Ok(Self { shared, database, file, wal_held: false, failing: None })
    }

    /// Until the log is closed.
    pub fn run(mut self) {
        loop {
            let ending = self.shared.ending.load(Relaxed);
            let outcome = self.look().and(self.trim()).and(self.judge()).and(self.move_wal(ending));
            let code = outcome.as_ref().err().map(LogError::code);
            if let Err(error) = outcome
                && code != self.failing
            {
                warn!(code, "the log cannot be kept in order: {error}");
            }
            self.failing = code;
            if ending {
                return;
            }
            thread::park_timeout(TICK);
        }
    }

    /// Whether the file is still where it was.
    fn look(&self) -> Result<(), LogError> {
        let gone = file::number(&self.shared.path) != Some(self.file);
        self.shared.gone.store(gone, Relaxed);
        self.shared.check()
    }

    /// Deletes, oldest first and step by step, what every configured writer has passed and is old or in the way.
    fn trim(&self) -> Result<(), LogError> {
        loop {
            let store = self.shared.store.blocking_lock();
            self.shared.room.correct(store.used_bytes()?);
            let Some(partition) = self.oldest_deletable(&store)? else { return Ok(()) };
            let passed = self.passed(partition);
            let mut bytes = 0;
            let blocks = store.oldest(partition, 0, STEP_BLOCKS)?;
            let step = blocks.iter().take_while(|block| {
                let fits = bytes == 0 || bytes + block.bytes <= STEP_BYTES;
                bytes += block.bytes;
                fits && self.is_deletable(block, passed)
            });
            let Some(last) = step.last() else { return Ok(()) };
            store.delete(partition, last.last_seq)?;
        }
    }

    fn oldest_deletable(&self, store: &Store) -> Result<Option<usize>, LogError> {
        let mut oldest: Option<(u64, usize)> = None;
        for partition in 0..self.shared.grown.len() {
            let Some(block) = store.oldest(partition, 0, 1)?.pop() else { continue };
            if self.is_deletable(&block, self.passed(partition)) {
                let candidate = (block.stored_us, partition);
                oldest = Some(oldest.map_or(candidate, |oldest| oldest.min(candidate)));
            }
        }
        Ok(oldest.map(|(_, partition)| partition))
    }

    /// How far all configured writers have come.
    fn passed(&self, partition: usize) -> u64 {
        let consumers = &self.shared.consumers;
        consumers.slowest(partition as u32, self.shared.room.is_tight()).map_or(u64::MAX, |(_, seq)| seq)
    }

    fn is_deletable(&self, block: &Stored, passed: u64) -> bool {
        let old_us = now_us().saturating_sub(self.shared.retention_us);
        block.last_seq <= passed && (block.stored_us <= old_us || self.shared.room.is_tight())
    }

    /// Says whether there is room, and if not, who is behind.
    fn judge(&self) -> Result<(), LogError> {
        let shared = &self.shared;
        let (mut oldest_us, mut holder): (Option<u64>, Option<Holder>) = (None, None);
        {
            let store = shared.store.blocking_lock();
            for partition in 0..shared.grown.len() {
                oldest_us = oldest_us.into_iter().chain(store.since_us(partition)?).min();
                let Some((writer, seq)) = shared.consumers.slowest(partition as u32, true) else { continue };
                let Some(block) = store.oldest(partition, seq, 1)?.pop() else { continue };
                if holder.as_ref().is_none_or(|holder| block.stored_us < holder.since_us) {
                    let (writer, partition) = (writer.to_owned(), partition as u32);
                    holder = Some(Holder { writer, partition, seq, since_us: block.stored_us });
                }
            }
        }
        let since = oldest_us.map(|since| now_us().saturating_sub(since));
        shared.oldest_us.store(oldest_us.unwrap_or(0), Relaxed);
        // Where nobody is behind, only blocks are left that are never deleted: waiting would not help.
        let holder = holder.filter(|_| shared.room.is_exceeded());
        gauge!(LOG_BYTES).set(shared.room.used() as f64);
        gauge!(LOG_MAX_BYTES).set(shared.room.max_bytes() as f64);
        gauge!(LOG_OLDEST).set(since.unwrap_or(0) as f64 / 1e6);
        gauge!(LOG_PAUSED).set(if holder.is_some() { 1.0 } else { 0.0 });
        shared.room.set(holder.map_or(State::Free, State::Held));
        Ok(())
    }

    /// Moves the WAL into the file when it is large, and lets it begin anew.
    fn move_wal(&mut self, ending: bool) -> Result<(), LogError> {
        let wal = &self.shared.wal;
        if !wal.is_large() && !self.wal_held && !ending {
            return Ok(());
        }
        // Each round leaves what was appended during it.
        for _ in 0..WAL_ROUNDS {
            let unmoved = wal.unmoved();
            self.database.number("PRAGMA wal_checkpoint(PASSIVE)", [])?;
            wal.moved(unmoved);
            if wal.unmoved() <= WAL_REST_BYTES {
                break;
            }
        }
        let store = self.shared.store.blocking_lock();
        self.wal_held = !store.restart_wal()?;
        let bytes = file::wal_bytes(&self.shared.path);
        if self.wal_held && bytes >= WAL_HELD * WAL_BYTES_MAX {
            return Err(LogError::WalHeld { bytes });
        }
        wal.moved(wal.unmoved());
        Ok(())
    }
}
