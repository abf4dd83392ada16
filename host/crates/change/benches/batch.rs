//! `bench-batch`: from blocks of the log to batches as writers are given them, one core.
//!
//! W1: rows inserted 1,000 per transaction. W2: single-row updates, one transaction each, both images. The batches are made ready for a writer
//! that wants every column, and before images.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysync_change::batch::{BatchBuilder, BlockReader, Limits, Plan, PlannedShape, Shapes, Taken};
use mysync_change::block::BlockBuilder;
use mysync_change::envelope::LogId;
use mysync_change::fence::Place;
use mysync_change::image::{self, Value};
use mysync_change::position::{Gtid, GtidSource, TransactionId};
use mysync_change::rows::Operation;
use mysync_change::schema::{Column, Storage, TableShape};

/// As capture cuts blocks and delivery cuts batches.
const BLOCK_BYTES: usize = 256 << 10;
const LIMITS: Limits = Limits { rows: 1000, bytes: 1 << 20, rows_max: 10_000, bytes_max: 8 << 20 };
const BLOCKS: usize = 16;
/// Runs of a workload, of which the median counts.
const RUNS: usize = 15;
const ROUNDS: usize = 20;

fn shape() -> TableShape {
    let column = |name: &str, kind: &str, storage| Column {
        name: name.into(),
        kind: kind.into(),
        storage,
        nullable: false,
        attributes: vec![],
    };
    TableShape {
        database: "bench".into(),
        name: "rows".into(),
        columns: vec![
            column("id", "int", Storage::Signed),
            column("k", "int", Storage::Signed),
            column("c", "char", Storage::Text),
            column("pad", "char", Storage::Text),
        ],
        primary_key: vec![0],
    }
}

/// Blocks of transactions with so many rows each. Answers also with how many rows there are.
fn blocks(rows: u64, operation: Operation) -> (Vec<Vec<u8>>, u64) {
    let shape = Arc::new(shape());
    let (fingerprint, source) = (shape.fingerprint(), GtidSource::untagged([0xa7; 16]));
    let (c, pad) = ("c".repeat(119), "p".repeat(59));
    let mut block = BlockBuilder::new(LogId([1; 16]), 1, &[0]);
    let (mut all, mut number, mut count) = (Vec::new(), 0, 0);
    while all.len() < BLOCKS {
        number += 1;
        let gtid = Some(Gtid { source: source.clone(), number });
        block.begin(TransactionId { gtid, file: "binlog.000042".into(), offset: 1000 * number }, 1_800_000_000_000_000);
        for row in 0..rows {
            let mut builder = block.row(0, fingerprint, operation, row).unwrap();
            let values = |k| [Value::Signed(count as i64), Value::Signed(k), Value::Text(&c), Value::Text(&pad)];
            if operation == Operation::Update {
                image::write(builder.images(), &values(1));
                builder.end_before();
            }
            image::write(builder.images(), &values(2));
            builder.finish(true);
            count += 1;
        }
        block.end();
        if block.len() >= BLOCK_BYTES {
            block.seal();
            all.push(block.partitions()[0].bytes.clone());
            block.stored();
        }
    }
    (all, count)
}

/// Takes all blocks into batches, as a delivery does; answers with the rows in them.
fn deliver(blocks: &[Vec<u8>], shapes: &Shapes, builder: &mut BatchBuilder, reader: &mut BlockReader) -> u64 {
    let mut rows = 0;
    builder.start(&Place::default());
    let mut finish = |builder: &mut BatchBuilder| {
        let (batch, extent) = builder.finish();
        rows += u64::from(extent.rows);
        black_box(&batch);
        builder.start(&extent.last);
    };
    for block in blocks {
        reader.refill().extend_from_slice(block);
        while builder.take(reader, None, shapes).unwrap() == Taken::Full {
            finish(builder);
        }
    }
    finish(builder);
    rows
}

/// What this thread has used.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn bench(workload: &str, figure: &str, rows: u64, operation: Operation) {
    let (blocks, count) = blocks(rows, operation);
    let mut shapes = Shapes::default();
    let plan = Plan { columns: vec![0, 1, 2, 3], before: true, ..Plan::default() };
    shapes.add(PlannedShape::new(shape().fingerprint(), Arc::new(shape()), plan));
    let (mut builder, mut reader) = (BatchBuilder::new("bench", LIMITS), BlockReader::default());
    let mut runs: Vec<(f64, f64)> = (0..RUNS)
        .map(|_| {
            let (started, cpu) = (Instant::now(), cpu_time());
            for _ in 0..ROUNDS {
                assert_eq!(deliver(black_box(&blocks), &shapes, &mut builder, &mut reader), count);
            }
            let each = |time: Duration| time.as_nanos() as f64 / (count * ROUNDS as u64) as f64;
            (each(started.elapsed()), each(cpu_time() - cpu))
        })
        .collect();
    let mut median = |of: fn(&(f64, f64)) -> f64| {
        runs.sort_by(|a, b| of(a).total_cmp(&of(b)));
        of(&runs[RUNS / 2])
    };
    let (wall, cpu) = (median(|run| run.0), median(|run| run.1));
    let line = |figure: &str, value: f64, unit: &str| {
        println!(
            r#"{{"bench":"batch","workload":"{workload}","figure":"{figure}","value":{value:.3},"unit":"{unit}"}}"#
        );
    };
    line(figure, wall, "ns");
    line("cpu_s_per_million", cpu / 1000.0, "s");
    line("rows_per_s", 1e9 / wall, "1/s");
}

fn main() {
    bench("W1", "ns_per_row", 1000, Operation::Insert);
    bench("W2", "ns_per_transaction", 1, Operation::Update);
}
