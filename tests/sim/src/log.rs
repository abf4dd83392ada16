//! A log in memory whose unsynced tail a power cut can take, and which deletes what its reader has done with.

use std::sync::{Arc, Mutex, MutexGuard};

use mysync_change::batch::BlockReader;
use mysync_change::block::BlockBuilder;
use mysync_change::envelope::LogId;
use mysync_change::fence::Place;
use mysync_change::position::Checkpoint;
use mysync_change::schema::{Fingerprint, TableShape};
use mysync_change::topics::Topics;
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::{Found, Lead, LogReader, LogWriter};
use tokio::sync::watch;

use crate::Mutant;
use crate::random::Random;

#[derive(Clone, Debug)]
struct Block {
    partition: usize,
    first: u64,
    last: u64,
    bytes: Vec<u8>,
}

/// What one append brought.
#[derive(Clone, Debug)]
struct Append {
    blocks: Vec<Block>,
    checkpoint: Option<Checkpoint>,
}

#[derive(Debug)]
struct State {
    id: LogId,
    appends: Vec<Append>,
    /// How many appends a power cut leaves.
    synced: usize,
    /// The first number of each leader.
    starts: Vec<u64>,
    /// How many appends there were when the last one started.
    led: usize,
    /// Nothing is deleted.
    kept: bool,
    shapes: Vec<(Fingerprint, Arc<TableShape>)>,
    advanced: Vec<Option<u64>>,
    /// The last record that was deleted in each partition.
    trimmed: Vec<u64>,
}

/// The log; clones see the same one.
#[derive(Clone, Debug)]
pub struct SimLog {
    state: Arc<Mutex<State>>,
    partitions: usize,
    random: Random,
    grown: watch::Sender<u64>,
    mutant: Option<Mutant>,
}

impl SimLog {
    pub fn new(partitions: usize, random: Random, mutant: Option<Mutant>) -> Self {
        let state = State {
            id: LogId([1; 16]),
            appends: Vec::new(),
            synced: 0,
            starts: Vec::new(),
            led: 0,
            kept: false,
            shapes: Vec::new(),
            advanced: vec![None; partitions],
            trimmed: vec![0; partitions],
        };
        Self { state: Arc::new(Mutex::new(state)), partitions, random, grown: watch::Sender::new(0), mutant }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The power goes: some of what was not synced is lost, from the end.
    pub fn cut_power(&self) {
        let mut state = self.lock();
        let unsynced = state.appends.len() - state.synced;
        let kept = state.synced + self.random.below(unsynced as u64 + 1) as usize;
        state.appends.truncate(kept);
        state.synced = kept;
    }

    /// From here on nothing is deleted.
    pub fn keep(&self) {
        self.lock().kept = true;
    }

    /// The power goes before anything of the last leader was synced.
    pub fn lose_last_leader(&self) {
        let mut state = self.lock();
        let led = state.led;
        state.appends.truncate(led);
        state.synced = led;
    }

    /// Another log takes its place, as when the directory is wiped.
    pub fn replace(&self) {
        let mut state = self.lock();
        state.id = LogId([2; 16]);
        state.appends.clear();
        state.synced = 0;
        state.advanced.fill(None);
        state.trimmed.fill(0);
    }

    pub fn reader(&self, partition: usize) -> SimLogReader {
        SimLogReader { log: self.clone(), partition, grown: self.grown.subscribe() }
    }

    pub fn partitions(&self) -> usize {
        self.partitions
    }

    pub fn last_seq(&self, partition: usize) -> u64 {
        self.lock().last(partition)
    }
}

impl State {
    fn blocks(&self, partition: usize) -> impl Iterator<Item = &Block> {
        self.appends.iter().flat_map(|append| &append.blocks).filter(move |block| block.partition == partition)
    }

    fn last(&self, partition: usize) -> u64 {
        self.blocks(partition).last().map_or(self.trimmed[partition], |block| block.last)
    }

    /// Deletes synced blocks of a partition that end at or before `seq`.
    fn trim(&mut self, partition: usize, seq: u64) {
        let synced = if self.kept { 0 } else { self.synced };
        for append in &mut self.appends[..synced] {
            append.blocks.retain(|block| {
                let goes = block.partition == partition && block.last <= seq;
                if goes {
                    self.trimmed[partition] = block.last;
                }
                !goes
            });
        }
    }
}

impl LogWriter for SimLog {
    async fn lead(&mut self) -> Result<Lead, Failure> {
        self.random.may_fail("leading")?;
        let mut state = self.lock();
        // As with the clock in a real log: numbers never come back, not even those of a lost tail.
        let next_seq = (state.starts.len() as u64 + 1) << 20;
        state.starts.push(next_seq);
        state.led = state.appends.len();
        // Its start is on the disk, and with it all that was stored before.
        state.synced = state.led;
        Ok(Lead {
            log_id: state.id,
            next_seq,
            prevs: (0..self.partitions).map(|partition| state.last(partition)).collect(),
            topics: Topics::one("", self.partitions as u32),
            checkpoint: state.appends.iter().rev().find_map(|append| append.checkpoint.clone()),
        })
    }

    async fn append(&mut self, block: &BlockBuilder, checkpoint: &Checkpoint) -> Result<(), Failure> {
        let mut appended = Append { blocks: Vec::new(), checkpoint: Some(checkpoint.clone()) };
        for (partition, part) in block.partitions().iter().enumerate().filter(|(_, part)| !part.is_empty()) {
            let (first, last, bytes) = (part.first_seq, part.last_seq, part.bytes.clone());
            appended.blocks.push(Block { partition, first, last, bytes });
        }
        let before = self.random.may_fail("appending, before it is stored");
        match self.mutant {
            Some(Mutant::CheckpointWithoutRecords) if before.is_err() => appended.blocks.clear(),
            Some(Mutant::RecordsWithoutCheckpoint) if before.is_err() => appended.checkpoint = None,
            _ => before.clone()?,
        }
        {
            let mut state = self.lock();
            for (fingerprint, shape) in block.shapes() {
                if !state.shapes.iter().any(|(known, _)| known == fingerprint) {
                    state.shapes.push((*fingerprint, shape.clone()));
                }
            }
            // Where a log begins, and that there is a new dump, is on the disk before anybody relies on it.
            let former = state.appends.iter().rev().find_map(|append| append.checkpoint.as_ref());
            let is_new = former.is_none_or(|former| former.dumps.last < checkpoint.dumps.last);
            state.appends.push(appended);
            if self.random.one_in(4) || is_new {
                state.synced = state.appends.len();
            }
        }
        before?;
        self.grown.send_modify(|n| *n += 1);
        self.random.may_fail("appending, after it is stored")
    }
}

pub struct SimLogReader {
    log: SimLog,
    partition: usize,
    grown: watch::Receiver<u64>,
}

impl LogReader for SimLogReader {
    fn log_id(&self) -> LogId {
        self.log.lock().id
    }

    async fn find(&mut self, place: &Place) -> Result<Found, Failure> {
        let state = self.log.lock();
        let start = state.trimmed[self.partition];
        if place.seq < start {
            return Ok(Found::Trimmed { start });
        }
        let here = state.blocks(self.partition).any(|block| block.first <= place.seq && place.seq <= block.last);
        if place.seq == start || here || self.log.mutant == Some(Mutant::TailForgotten) {
            return Ok(Found::Next);
        }
        let before = state.blocks(self.partition).filter(|block| block.last < place.seq).last();
        let leader = state.starts.iter().rev().find(|first| **first <= place.seq);
        let base = before.map_or(start, |block| block.last).max(leader.map_or(0, |first| first - 1));
        Ok(Found::Repeated { base })
    }

    async fn read(&mut self, after: u64, block: &mut BlockReader) -> Result<bool, Failure> {
        self.log.random.may_fail("reading the log")?;
        self.grown.mark_unchanged();
        let mut state = self.log.lock();
        if self.log.mutant == Some(Mutant::TrimmedUnread) && self.log.random.one_in(20) {
            state.trim(self.partition, u64::MAX);
        }
        let Some(found) = state.blocks(self.partition).find(|block| block.last > after) else { return Ok(false) };
        block.refill().extend_from_slice(&found.bytes);
        Ok(true)
    }

    async fn wait(&mut self, _after: u64) {
        // The log outlives its readers.
        let _ = self.grown.changed().await;
    }

    async fn shape(&mut self, fingerprint: Fingerprint) -> Result<Arc<TableShape>, Failure> {
        let shapes = self.shapes().await?;
        let found = shapes.into_iter().find(|(known, _)| *known == fingerprint);
        found.map(|(_, shape)| shape).ok_or_else(|| Failure::definite("SIM_SHAPE", "a row came before its shape"))
    }

    async fn shapes(&mut self) -> Result<Vec<(Fingerprint, Arc<TableShape>)>, Failure> {
        Ok(self.log.lock().shapes.clone())
    }

    async fn has_advanced(&mut self) -> Result<bool, Failure> {
        Ok(self.log.lock().advanced[self.partition].is_some())
    }

    async fn advance(&mut self, seq: u64) -> Result<(), Failure> {
        let mut state = self.log.lock();
        state.advanced[self.partition] = Some(seq);
        if self.log.random.one_in(4) {
            state.trim(self.partition, seq);
        }
        Ok(())
    }
}
