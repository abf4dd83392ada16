//! A source of small transactions that can tell what it has written.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mysync_change::batch::BlockReader;
use mysync_change::block::BlockBuilder;
use mysync_change::dump::{Dump, DumpState, Dumps, Progress};
use mysync_change::envelope;
use mysync_change::fence::Place;
use mysync_change::image::{self, Value};
use mysync_change::position::{Checkpoint, FilePosition, SourcePosition, TransactionId};
use mysync_change::rows::{self, Operation};
use mysync_change::schema::{Column, Fingerprint, Storage, TableShape};
use mysync_log::{EmbeddedLog, EmbeddedWriter, LogError, LogSettings};
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::{LogReader, LogWriter};

pub const FILE: &str = "binlog.000001";

pub fn settings(dir: &Path) -> LogSettings {
    LogSettings {
        dir: dir.to_owned(),
        partitions: 1,
        max_bytes: 1 << 30,
        retention: Duration::from_secs(3600),
        writers: vec!["w".to_owned()],
        loaded: vec![],
    }
}

pub fn open(dir: &Path) -> EmbeddedLog {
    EmbeddedLog::open(&settings(dir)).unwrap()
}

pub fn code<T: std::fmt::Debug>(outcome: Result<T, LogError>) -> &'static str {
    outcome.unwrap_err().code()
}

pub fn shape(name: &str) -> Arc<TableShape> {
    let column = |name: &str, storage| Column {
        name: name.into(),
        kind: "any".into(),
        storage,
        nullable: true,
        attributes: vec![],
    };
    let columns = vec![column("id", Storage::Signed), column("pad", Storage::Text)];
    Arc::new(TableShape { database: "shop".into(), name: name.into(), columns, primary_key: vec![0] })
}

pub fn checkpoint(offset: u64) -> Checkpoint {
    let file = FilePosition { file: FILE.into(), offset };
    Checkpoint::new(SourcePosition { gtids: None, file }, "server".into())
}

/// A dump that was ordered for a writer where the log's one partition had come to `from`.
pub fn one_dump(writer: &str, from: u64) -> Arc<Dumps> {
    let dump = Dump {
        number: 1,
        writer: Some(writer.into()),
        tables: vec!["shop.*".to_owned()],
        state: DumpState::Open,
        rows_per_second: None,
        from: vec![from],
        begun: true,
        asked_us: 1,
        progress: Progress::default(),
    };
    Arc::new(Dumps { last: 1, list: vec![dump] })
}

pub fn place(seq: u64, transaction: u64, row: u64) -> Place {
    Place { seq, transaction: format!("{FILE}:{transaction}"), row, second: false }
}

/// A record as it was given to the log, or read from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub seq: u64,
    pub transaction: u64,
    pub row: u64,
}

/// A leader, as capture is one.
pub struct Leader {
    pub writer: EmbeddedWriter,
    pub block: BlockBuilder,
    /// Of the last append.
    pub checkpoint: Option<Checkpoint>,
}

impl Leader {
    pub async fn new(log: &EmbeddedLog) -> Self {
        let mut writer = log.writer();
        let lead = writer.lead().await.unwrap();
        let block = BlockBuilder::new(lead.log_id, lead.next_seq, &lead.prevs);
        Self { writer, block, checkpoint: lead.checkpoint }
    }

    /// Takes a transaction: its rows' partitions, with `pad` bytes in each.
    pub fn take(&mut self, transaction: u64, partitions: &[usize], pad: usize) {
        let shape = shape("users");
        let fingerprint = shape.fingerprint();
        self.block.shape(fingerprint, shape);
        let id = TransactionId { gtid: None, file: FILE.into(), offset: transaction };
        self.block.begin(id, 1_000_000 + transaction);
        let pad = "x".repeat(pad);
        for (number, partition) in (0..).zip(partitions) {
            let mut row = self.block.row(*partition, fingerprint, Operation::Insert, number).unwrap();
            image::write(row.images(), &[Value::Signed(number as i64), Value::Text(&pad)]);
            row.finish(true);
        }
        self.block.end();
    }

    /// Stores what was taken, up to the end of a transaction.
    pub async fn store(&mut self, transaction: u64) -> Result<(), Failure> {
        self.block.seal();
        let checkpoint = checkpoint(transaction + 1);
        self.writer.append(&self.block, &checkpoint).await?;
        self.block.stored();
        self.checkpoint = Some(checkpoint);
        Ok(())
    }

    /// One transaction of so many rows in partition 0, stored; answers the last row's number.
    pub async fn append(&mut self, transaction: u64, rows: usize, pad: usize) -> u64 {
        self.take(transaction, &vec![0; rows], pad);
        self.store(transaction).await.unwrap();
        self.block.next_seq() - 1
    }
}

/// All records of a block, and that they are chained to `prev`.
pub fn records(block: &BlockReader, mut prev: u64) -> Vec<Record> {
    let mut records = Vec::new();
    let mut at = 0;
    while let Some((envelope, next)) = envelope::read(block.bytes(), at).unwrap() {
        at = next;
        assert_eq!(envelope.header.prev, prev, "the chain is broken");
        let mut row_at = 0;
        while let Some((row, next)) = rows::read(&envelope, row_at).unwrap() {
            (row_at, prev) = (next, row.seq);
            records.push(Record { seq: row.seq, transaction: envelope.header.transaction.offset, row: row.number });
        }
    }
    records
}

/// Everything behind a record.
pub async fn read_all<L: LogReader>(log: &mut L, after: u64) -> Vec<Record> {
    let (mut all, mut after) = (Vec::<Record>::new(), after);
    let mut block = BlockReader::default();
    while log.read(after, &mut block).await.unwrap() {
        all.extend(records(&block, after));
        after = block.last_seq().unwrap();
    }
    all
}

pub fn fingerprint(name: &str) -> Fingerprint {
    shape(name).fingerprint()
}

/// Waits until it is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), waiting).await.is_ok(), "waited a minute until {what}");
}

/// Numbers that follow from a seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Another seed each time, unless `MYSYNC_SEED` gives one; printed, so that a failure can be had again.
pub fn seed() -> u64 {
    let given = std::env::var("MYSYNC_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| mysync_pipeline::status::now_us() | 1);
    println!("MYSYNC_SEED={seed}");
    seed
}

/// This test program, running one test alone as a process of its own, told so by `variable`.
pub fn child(program: &str, test: &str, variable: &str, dir: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(variable, dir);
    command
}
