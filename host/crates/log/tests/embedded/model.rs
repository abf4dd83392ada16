//! Whatever is done to a log, it answers as a list of records would.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use mysync_change::batch::BlockReader;
use mysync_change::fence::Place;
use mysync_log::{EmbeddedLog, LogSettings};
use mysync_pipeline::ports::{Found, LogReader};
use proptest::prelude::*;

use crate::support::{Leader, Record, checkpoint, place, records, settings};

const PARTITIONS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    /// Transactions in one block: partitions of the rows of each.
    Append(Vec<Vec<usize>>),
    /// Capture starts again, in the same process.
    Lead,
    /// The process starts again.
    Restart,
    /// Rows are decoded, and thrown away.
    Discard(Vec<usize>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let rows = || prop::collection::vec(0..PARTITIONS, 1..6);
    let step = prop_oneof![
        6 => prop::collection::vec(rows(), 0..4).prop_map(Step::Append),
        1 => Just(Step::Lead),
        1 => Just(Step::Restart),
        1 => rows().prop_map(Step::Discard),
    ];
    prop::collection::vec(step, 1..25)
}

/// What should be in the log: blocks of records of each partition.
#[derive(Default)]
struct Model {
    blocks: [Vec<Vec<Record>>; PARTITIONS],
    transactions: u64,
    covered: Option<u64>,
    /// The first number of each leader.
    starts: Vec<u64>,
}

impl Model {
    fn append(&mut self, first_seq: u64, transactions: &[Vec<usize>]) {
        let (mut seq, mut parts) = (first_seq, <[Vec<Record>; PARTITIONS]>::default());
        for (at, rows) in (self.transactions..).zip(transactions) {
            for (row, partition) in (0..).zip(rows) {
                parts[*partition].push(Record { seq, transaction: at, row });
                seq += 1;
            }
        }
        for (blocks, part) in self.blocks.iter_mut().zip(parts).filter(|(_, part)| !part.is_empty()) {
            blocks.push(part);
        }
        self.transactions += transactions.len() as u64;
        self.covered = Some(self.transactions);
    }
}

fn open(dir: &std::path::Path) -> EmbeddedLog {
    EmbeddedLog::open(&LogSettings { partitions: PARTITIONS as u32, ..settings(dir) }).unwrap()
}

async fn play(steps: Vec<Step>, probes: Vec<(usize, u64)>) {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    let mut leader = Leader::new(&log).await;
    let mut model = Model { starts: vec![leader.block.next_seq()], ..Model::default() };
    for step in steps {
        match step {
            Step::Append(transactions) => {
                let first_seq = leader.block.next_seq();
                for (at, rows) in (model.transactions..).zip(&transactions) {
                    leader.take(at, rows, 20);
                }
                model.append(first_seq, &transactions);
                leader.store(model.transactions - u64::from(model.transactions > 0)).await.unwrap();
            }
            Step::Discard(rows) => {
                leader.take(99, &rows, 20);
                leader.block.discard();
            }
            Step::Lead => {
                leader = Leader::new(&log).await;
                model.starts.push(leader.block.next_seq());
            }
            Step::Restart => {
                drop((leader, log));
                log = open(dir.path());
                leader = Leader::new(&log).await;
                model.starts.push(leader.block.next_seq());
            }
        }
        let expected = model.covered.map(|transactions| checkpoint(transactions.max(1)));
        assert_eq!(leader.checkpoint, expected);
    }
    for (partition, blocks) in model.blocks.iter().enumerate() {
        compare(&log, partition, blocks, &model.starts, &probes).await;
    }
}

async fn compare(log: &EmbeddedLog, partition: usize, blocks: &[Vec<Record>], starts: &[u64], probes: &[(usize, u64)]) {
    let mut reader = log.reader("w", partition as u32).unwrap();
    let all: Vec<&Record> = blocks.iter().flatten().collect();
    for after in [0].into_iter().chain(all.iter().map(|record| record.seq)) {
        let mut block = BlockReader::default();
        let found = reader.read(after, &mut block).await.unwrap();
        let behind: Vec<&Record> = all.iter().copied().filter(|record| record.seq > after).collect();
        assert_eq!(found, !behind.is_empty(), "behind {after}");
        if found {
            // A block that begins before the place is given whole.
            let first = blocks.iter().position(|block| block.last().is_some_and(|last| last.seq > after)).unwrap();
            let before = blocks[..first].iter().flatten().last().map_or(0, |record| record.seq);
            let read = records(&block, before);
            assert!(read.iter().filter(|record| record.seq > after).eq(behind), "behind {after}");
        }
    }
    for (at, off) in probes {
        let Some(record) = all.get(at % all.len().max(1)) else { continue };
        let place = place(record.seq + off, record.transaction, record.row);
        let lasts = blocks.iter().filter_map(|block| block.last()).map(|last| last.seq);
        let before_starts = starts.iter().map(|start| start - 1);
        let base = lasts.chain(before_starts).filter(|seq| *seq < place.seq).max();
        let expected = if *off == 0 { Found::Next } else { Found::Repeated { base: base.unwrap_or(0) } };
        assert_eq!(reader.find(&place).await.unwrap(), expected, "{place:?}");
    }
    assert_eq!(reader.find(&Place::default()).await.unwrap(), Found::Next);
}

#[test]
fn a_log_is_a_list_of_records() {
    static PLAYED: AtomicU64 = AtomicU64::new(0);
    let probes = prop::collection::vec((0..1000_usize, prop_oneof![Just(0_u64), 0..4_u64, Just(1 << 40)]), 20);
    proptest!(ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() }, |(steps in steps(), probes in probes)| {
        PLAYED.fetch_add(1, Relaxed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(play(steps, probes));
    });
    assert_eq!(PLAYED.load(Relaxed), 60);
}
