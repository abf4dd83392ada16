//! A source: a list of transactions, read as a binlog is read.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mysync_change::block::BlockBuilder;
use mysync_change::image::{self, Value};
use mysync_change::position::{Checkpoint, FilePosition, SourcePosition, TransactionId};
use mysync_change::rows::Operation;
use mysync_change::schema::{Column, Storage, TableShape};
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::Source;

use crate::random::Random;

/// What one row of a transaction does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Put { key: i64, value: String },
    Remove { key: i64 },
    Move { from: i64, to: i64, value: String },
}

/// All that was ever committed.
pub type History = Arc<Mutex<Vec<Vec<Change>>>>;

pub struct SimSource {
    history: History,
    random: Random,
    /// Next transaction, and how many of its rows are behind us.
    at: usize,
    rows: u64,
    skip: u64,
}

impl SimSource {
    pub fn new(history: History, random: Random) -> Self {
        Self { history, random, at: 0, rows: 0, skip: 0 }
    }

    fn checkpoint(&self) -> Checkpoint {
        let file = FilePosition { file: "sim.000001".into(), offset: self.at as u64 };
        Checkpoint { position: SourcePosition { gtids: None, file }, rows_of_next: self.rows, server: "sim".into() }
    }
}

pub fn shape() -> Arc<TableShape> {
    let column = |name: &str, storage| Column {
        name: name.into(),
        kind: "any".into(),
        storage,
        nullable: false,
        attributes: vec![],
    };
    Arc::new(TableShape {
        database: "sim".into(),
        name: "t".into(),
        columns: vec![column("id", Storage::Signed), column("v", Storage::Text)],
        primary_key: vec![0],
    })
}

fn image(out: &mut Vec<u8>, key: i64, value: &str) {
    image::write(out, &[Value::Signed(key), Value::Text(value)]);
}

fn emit(block: &mut BlockBuilder, number: u64, change: &Change) {
    let shape = shape().fingerprint();
    let partitions = block.partitions().len();
    let partition = |key: i64| key.rem_euclid(partitions as i64) as usize;
    match change {
        Change::Put { key, value } => {
            let mut row = block.row(partition(*key), shape, Operation::Insert, number).unwrap();
            image(row.images(), *key, value);
            row.finish(true);
        }
        Change::Remove { key } => {
            let mut row = block.row(partition(*key), shape, Operation::Delete, number).unwrap();
            image(row.images(), *key, "");
            row.end_before();
            row.finish(false);
        }
        Change::Move { from, to, value } => {
            for (key, half) in [(from, Operation::MoveOut), (to, Operation::MoveIn)] {
                let mut row = block.row(partition(*key), shape, half, number).unwrap();
                image(row.images(), *from, "");
                row.end_before();
                image(row.images(), *to, value);
                row.finish(true);
            }
        }
    }
}

impl Source for SimSource {
    async fn open(&mut self, from: Option<&Checkpoint>) -> Result<Checkpoint, Failure> {
        self.random.may_fail("connecting to the source")?;
        (self.at, self.skip) = from.map_or((0, 0), |from| (from.position.file.offset as usize, from.rows_of_next));
        self.rows = self.skip;
        Ok(self.checkpoint())
    }

    async fn fill(&mut self, block: &mut BlockBuilder) -> Result<Checkpoint, Failure> {
        if block.is_empty() {
            block.shape(shape().fingerprint(), shape());
        }
        let mut room = 1 + self.random.below(6);
        loop {
            let Some(changes) = self.history.lock().unwrap().get(self.at).cloned() else { break };
            block.begin(
                TransactionId { gtid: None, file: "sim.000001".into(), offset: self.at as u64 },
                1_000_000 + self.at as u64,
            );
            for number in self.rows..changes.len() as u64 {
                self.random.may_fail("reading an event")?;
                if room == 0 {
                    // A large transaction goes on in the next block.
                    return Ok(self.checkpoint());
                }
                emit(block, number, &changes[number as usize]);
                room -= 1;
                self.rows = number + 1;
            }
            block.end();
            (self.at, self.rows) = (self.at + 1, 0);
            if room == 0 {
                break;
            }
        }
        if block.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(self.checkpoint())
    }
}
