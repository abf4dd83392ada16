//! A log in memory whose unsynced tail a power cut can take.

use std::sync::{Arc, Mutex};

use mysync_change::batch::BlockReader;
use mysync_change::block::BlockBuilder;
use mysync_change::envelope::LogId;
use mysync_change::fence::Place;
use mysync_change::position::Checkpoint;
use mysync_change::schema::{Fingerprint, TableShape};
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::{Found, Lead, LogReader, LogWriter};
use tokio::sync::watch;

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
    checkpoint: Checkpoint,
}

#[derive(Debug, Default)]
struct State {
    id: LogId,
    appends: Vec<Append>,
    /// How many appends a power cut leaves.
    synced: usize,
    leaders: u64,
    shapes: Vec<(Fingerprint, Arc<TableShape>)>,
    advanced: Vec<bool>,
}

/// The log; clones see the same one.
#[derive(Clone, Debug)]
pub struct SimLog {
    state: Arc<Mutex<State>>,
    partitions: usize,
    random: Random,
    grown: watch::Sender<u64>,
}

impl SimLog {
    pub fn new(partitions: usize, random: Random) -> Self {
        let state = State { id: LogId([1; 16]), advanced: vec![false; partitions], ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), partitions, random, grown: watch::Sender::new(0) }
    }

    /// The power goes: some of what was not synced is lost, from the end.
    pub fn cut_power(&self) {
        let mut state = self.state.lock().unwrap();
        let unsynced = state.appends.len() - state.synced;
        let kept = state.synced + self.random.below(unsynced as u64 + 1) as usize;
        state.appends.truncate(kept);
        state.synced = kept;
    }

    pub fn reader(&self, partition: usize) -> SimLogReader {
        SimLogReader { log: self.clone(), partition, grown: self.grown.subscribe() }
    }

    pub fn partitions(&self) -> usize {
        self.partitions
    }

    pub fn last_seq(&self, partition: usize) -> u64 {
        last(&self.state.lock().unwrap(), partition)
    }
}

fn blocks(state: &State, partition: usize) -> impl Iterator<Item = &Block> {
    state.appends.iter().flat_map(|append| &append.blocks).filter(move |block| block.partition == partition)
}

fn last(state: &State, partition: usize) -> u64 {
    blocks(state, partition).last().map_or(0, |block| block.last)
}

impl LogWriter for SimLog {
    async fn lead(&mut self) -> Result<Lead, Failure> {
        self.random.may_fail("leading")?;
        let mut state = self.state.lock().unwrap();
        state.leaders += 1;
        let prevs: Vec<u64> = (0..self.partitions).map(|partition| last(&state, partition)).collect();
        // As with the clock in a real log: numbers never come back, not even those of a lost tail.
        let next_seq = state.leaders << 20;
        Ok(Lead {
            log_id: state.id,
            next_seq,
            prevs,
            checkpoint: state.appends.last().map(|append| append.checkpoint.clone()),
        })
    }

    async fn append(&mut self, block: &BlockBuilder, checkpoint: &Checkpoint) -> Result<(), Failure> {
        self.random.may_fail("appending, before it is stored")?;
        {
            let mut state = self.state.lock().unwrap();
            for (fingerprint, shape) in block.shapes() {
                if !state.shapes.iter().any(|(known, _)| known == fingerprint) {
                    state.shapes.push((*fingerprint, shape.clone()));
                }
            }
            let parts = block.partitions().iter().enumerate().filter(|(_, part)| !part.is_empty());
            let blocks = parts
                .map(|(partition, part)| Block {
                    partition,
                    first: part.first_seq,
                    last: part.last_seq,
                    bytes: part.bytes.clone(),
                })
                .collect();
            state.appends.push(Append { blocks, checkpoint: checkpoint.clone() });
            if self.random.one_in(4) {
                state.synced = state.appends.len();
            }
        }
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
        self.log.state.lock().unwrap().id
    }

    async fn find(&mut self, place: &Place) -> Result<Found, Failure> {
        let state = self.log.state.lock().unwrap();
        if place.seq == 0 || blocks(&state, self.partition).any(|b| b.first <= place.seq && place.seq <= b.last) {
            return Ok(Found::Next);
        }
        let base = blocks(&state, self.partition).filter(|b| b.last < place.seq).last().map_or(0, |b| b.last);
        Ok(Found::Repeated { base })
    }

    async fn read(&mut self, after: u64, block: &mut BlockReader) -> Result<bool, Failure> {
        self.log.random.may_fail("reading the log")?;
        self.grown.mark_unchanged();
        let state = self.log.state.lock().unwrap();
        let Some(found) = blocks(&state, self.partition).find(|b| b.last > after) else { return Ok(false) };
        block.refill().extend_from_slice(&found.bytes);
        Ok(true)
    }

    async fn wait(&mut self, _after: u64) {
        let _ = self.grown.changed().await;
    }

    async fn shape(&mut self, fingerprint: Fingerprint) -> Result<Arc<TableShape>, Failure> {
        let shapes = self.shapes().await?;
        let found = shapes.into_iter().find(|(known, _)| *known == fingerprint);
        found.map(|(_, shape)| shape).ok_or_else(|| Failure::definite("SIM_SHAPE", "a row came before its shape"))
    }

    async fn shapes(&mut self) -> Result<Vec<(Fingerprint, Arc<TableShape>)>, Failure> {
        Ok(self.log.state.lock().unwrap().shapes.clone())
    }

    async fn has_advanced(&mut self) -> Result<bool, Failure> {
        Ok(self.log.state.lock().unwrap().advanced[self.partition])
    }

    async fn advance(&mut self, _seq: u64) -> Result<(), Failure> {
        self.log.state.lock().unwrap().advanced[self.partition] = true;
        Ok(())
    }
}
