//! A source: the history, read as a binlog is read.

use std::sync::Arc;
use std::time::Duration;

use mysync_change::block::{BlockBuilder, RowBuilder};
use mysync_change::dump::{After, Dump, DumpState, Dumps, Progress};
use mysync_change::envelope::chunk_id;
use mysync_change::image::{self, Value};
use mysync_change::position::{Checkpoint, FilePosition, SourcePosition, TransactionId};
use mysync_change::rows::Operation;
use mysync_change::schema::{Column, Fingerprint, Storage, TableShape};
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::Source;

use crate::Mutant;
use crate::history::{Change, History, partition};
use crate::random::Random;

pub struct SimSource {
    history: History,
    random: Random,
    mutant: Option<Mutant>,
    /// Rows of a block at most.
    block_rows: u64,
    /// Next transaction, and how many of its rows are behind us.
    at: usize,
    rows: u64,
    /// Whether a log begins with what is committed from then on, and a dump of what was before.
    loads: bool,
    dumps: Arc<Dumps>,
    /// Whether the connection has just been made: a server that passes over what the log has says first that it is alive.
    is_new: bool,
}

/// Keys in a dump's chunk at most.
const CHUNK_KEYS: u64 = 3;

impl SimSource {
    pub fn new(history: History, random: Random, block_rows: u64, mutant: Option<Mutant>) -> Self {
        Self { history, random, mutant, block_rows, at: 0, rows: 0, loads: false, dumps: Arc::default(), is_new: false }
    }

    pub fn loading(self, loads: bool) -> Self {
        Self { loads, ..self }
    }

    /// What a new log begins with.
    fn begin(&mut self) {
        (self.at, self.rows) = (0, 0);
        if self.loads {
            self.at = self.history.len();
            let dump = Dump {
                number: 1,
                writer: Some("w".into()),
                tables: vec!["sim.t".to_owned()],
                state: DumpState::Open,
                rows_per_second: None,
                from: Vec::new(),
                begun: true,
                asked_us: 1,
                progress: Progress::default(),
            };
            self.dumps = Arc::new(Dumps { last: 1, list: vec![dump] });
        }
    }

    /// Writes a chunk of the dump, as a SELECT finds it that sees what was streamed.
    fn load(&mut self, block: &mut BlockBuilder) {
        let Some(dump) = Arc::make_mut(&mut self.dumps).list.first_mut().filter(|dump| dump.is_open()) else { return };
        let behind = dump.progress.after.as_ref().map(|after| after.values[0].parse::<i64>().unwrap());
        let seen = if self.mutant == Some(Mutant::StaleChunk) { self.at.saturating_sub(1) } else { self.at };
        let found = self.history.entries(seen).into_iter().filter(|(key, _)| behind.is_none_or(|behind| *key > behind));
        let chunk: Vec<(i64, String)> = found.take(1 + self.random.below(CHUNK_KEYS) as usize).collect();
        let Some((last, _)) = chunk.last() else {
            dump.state = DumpState::Done;
            return;
        };
        block.begin_chunk(chunk_id(1, dump.progress.chunks), 1_000_000, dump.writer.clone());
        dump.progress.chunks += 1;
        dump.progress.after = Some(After { key: "id".to_owned(), values: vec![last.to_string()] });
        for (number, (key, value)) in (0..).zip(&chunk) {
            let fingerprint = shape().fingerprint();
            let mut row = start(block, *key, fingerprint, Operation::Read, number);
            image(row.images(), *key, value);
            row.finish(true);
        }
        block.end();
    }

    fn checkpoint(&self) -> Checkpoint {
        let file = FilePosition { file: "sim.000001".into(), offset: self.at as u64 };
        let position = SourcePosition { gtids: None, file };
        Checkpoint { rows_of_next: self.rows, dumps: self.dumps.clone(), ..Checkpoint::new(position, "sim".into()) }
    }
}

/// Of its one table.
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

/// A row under its key.
fn start(block: &mut BlockBuilder, key: i64, shape: Fingerprint, operation: Operation, number: u64) -> RowBuilder<'_> {
    let partition = partition(key, block.partitions().len());
    block.keyed_row(partition, &key.to_be_bytes(), shape, operation, number).unwrap()
}

fn emit(block: &mut BlockBuilder, number: u64, change: &Change) {
    let shape = shape().fingerprint();
    match change {
        Change::Put { key, value } => {
            let mut row = start(block, *key, shape, Operation::Insert, number);
            image(row.images(), *key, value);
            row.finish(true);
        }
        Change::Remove { key } => {
            let mut row = start(block, *key, shape, Operation::Delete, number);
            image(row.images(), *key, "");
            row.end_before();
            row.finish(false);
        }
        Change::Move { from, to, value } => {
            for (key, half) in [(from, Operation::MoveOut), (to, Operation::MoveIn)] {
                let mut row = start(block, *key, shape, half, number);
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
        match from {
            Some(from) => {
                (self.at, self.rows) = (from.position.file.offset as usize, from.rows_of_next);
                if self.mutant != Some(Mutant::ProgressKept) || self.dumps.list.is_empty() {
                    self.dumps = from.dumps.clone();
                }
            }
            None => self.begin(),
        }
        if self.mutant == Some(Mutant::RowsReadAgain) {
            self.rows = 0;
        }
        self.is_new = true;
        Ok(self.checkpoint())
    }

    async fn fill(&mut self, block: &mut BlockBuilder) -> Result<Checkpoint, Failure> {
        if std::mem::take(&mut self.is_new) {
            return Ok(self.checkpoint());
        }
        let is_loading = self.dumps.list.iter().any(Dump::is_open);
        if self.history.transaction(self.at).is_none() && !is_loading {
            let mut growth = self.history.growth();
            tokio::select! {
                biased;
                () = growth.rung() => {}
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
        block.shape(shape().fingerprint(), shape());
        if self.rows == 0 && self.random.one_in(2) {
            self.load(block);
        }
        let mut room = 1 + self.random.below(self.block_rows);
        while let Some(changes) = self.history.transaction(self.at).filter(|_| room > 0) {
            let file = format!("sim.{:06}", self.history.server()).into();
            let id = TransactionId { gtid: None, file, offset: self.at as u64 };
            block.begin(id, 1_000_000 + self.at as u64);
            for number in self.rows..changes.len() as u64 {
                if room == 0 {
                    // A large transaction goes on in the next block.
                    let mut checkpoint = self.checkpoint();
                    if self.mutant == Some(Mutant::PositionMovedAtBegin) {
                        (checkpoint.position.file.offset, checkpoint.rows_of_next) = (self.at as u64 + 1, 0);
                    }
                    return Ok(checkpoint);
                }
                self.random.may_fail("reading an event")?;
                emit(block, number, &changes[number as usize]);
                room -= 1;
                self.rows = number + 1;
            }
            block.end();
            (self.at, self.rows) = (self.at + 1, 0);
        }
        Ok(self.checkpoint())
    }
}
