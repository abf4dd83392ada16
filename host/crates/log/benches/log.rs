//! `bench-log`: what it costs to put a block into the log and to read it again. The directory lies where `TMPDIR` says.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use mysync_change::batch::BlockReader;
use mysync_change::block::BlockBuilder;
use mysync_change::image::{self, Value};
use mysync_change::position::{Checkpoint, FilePosition, GtidSet, SourcePosition, TransactionId};
use mysync_change::rows::Operation;
use mysync_change::schema::Fingerprint;
use mysync_log::{EmbeddedLog, EmbeddedReader, EmbeddedWriter, LogSettings};
use mysync_pipeline::ports::{LogReader, LogWriter};

/// Runs of a workload, of which the median counts.
const RUNS: usize = 3;
/// Blocks made ready at a time, outside of what is measured.
const READY: usize = 32;

#[derive(Clone, Copy)]
struct Workload {
    name: &'static str,
    unit: &'static str,
    blocks: usize,
    rows: usize,
    /// Bytes of a row's image.
    bytes: usize,
    /// Two images each.
    update: bool,
    max_bytes: u64,
}

const WORKLOADS: [Workload; 3] = [
    Workload { name: "W1", unit: "row", blocks: 1_000, rows: 1_000, bytes: 190, update: false, max_bytes: 8 << 30 },
    // A log that has reached its size, so that each block has to make room for the next.
    Workload {
        name: "W1-full",
        unit: "row",
        blocks: 4_000,
        rows: 1_000,
        bytes: 190,
        update: false,
        max_bytes: 256 << 20,
    },
    Workload {
        name: "W2",
        unit: "transaction",
        blocks: 100_000,
        rows: 1,
        bytes: 190,
        update: true,
        max_bytes: 8 << 30,
    },
];

fn main() {
    let only = std::env::args().nth(1).filter(|name| !name.starts_with('-'));
    for workload in WORKLOADS.into_iter().filter(|workload| only.as_ref().is_none_or(|only| only == workload.name)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut runs: Vec<Vec<(&str, f64, &str)>> = (0..RUNS).map(|_| runtime.block_on(run(workload))).collect();
        for at in 0..runs[0].len() {
            runs.sort_by(|a, b| a[at].1.total_cmp(&b[at].1));
            let (figure, value, unit) = runs[RUNS / 2][at];
            print(workload.name, figure, value, unit);
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    for (figure, value) in runtime.block_on(handover()) {
        print("W2", figure, value, "us");
    }
}

fn print(workload: &str, figure: &str, value: f64, unit: &str) {
    println!(r#"{{"bench":"log","workload":"{workload}","figure":"{figure}","value":{value:.3},"unit":"{unit}"}}"#);
}

fn open(dir: &Path, max_bytes: u64) -> EmbeddedLog {
    let retention = Duration::from_secs(86_400);
    let settings = LogSettings {
        dir: dir.to_owned(),
        partitions: 1,
        max_bytes,
        retention,
        writers: vec!["w".into()],
        loaded: vec![],
    };
    EmbeddedLog::open(&settings).unwrap()
}

/// A leader that makes blocks ahead.
struct Leader {
    writer: EmbeddedWriter,
    log_id: mysync_change::envelope::LogId,
    next_seq: u64,
    prev: u64,
    transaction: u64,
    checkpoint: Checkpoint,
}

impl Leader {
    async fn new(log: &EmbeddedLog) -> Self {
        let mut writer = log.writer();
        let lead = writer.lead().await.unwrap();
        let gtids: GtidSet = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-123456789".parse().unwrap();
        let file = FilePosition { file: "binlog.000001".into(), offset: 4 };
        let position = SourcePosition { gtids: Some(gtids), file };
        let checkpoint = Checkpoint::new(position, "3e11fa47-71ca-11e1-9e33-c80aa9429562".into());
        Self { writer, log_id: lead.log_id, next_seq: lead.next_seq, prev: lead.prevs[0], transaction: 0, checkpoint }
    }

    fn block(&mut self, workload: Workload) -> BlockBuilder {
        let mut block = BlockBuilder::new(self.log_id, self.next_seq, &[self.prev]);
        let pad = "x".repeat(workload.bytes);
        self.transaction += 1;
        block.begin(
            TransactionId { gtid: None, file: "binlog.000001".into(), offset: self.transaction },
            self.transaction,
        );
        for number in 0..workload.rows {
            let mut row = block.row(0, Fingerprint([1; 16]), Operation::Update, number as u64).unwrap();
            for last in [false, true].into_iter().filter(|last| *last || workload.update) {
                image::write(row.images(), &[Value::Signed(number as i64), Value::Text(&pad)]);
                if !last {
                    row.end_before();
                }
            }
            row.finish(true);
        }
        block.end();
        block.seal();
        self.next_seq = block.next_seq();
        self.prev = self.next_seq - 1;
        block
    }

    async fn store(&mut self, block: &BlockBuilder) {
        self.checkpoint.position.file.offset += 1000;
        self.writer.append(block, &self.checkpoint).await.unwrap();
    }
}

async fn run(workload: Workload) -> Vec<(&'static str, f64, &'static str)> {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), workload.max_bytes);
    let mut leader = Leader::new(&log).await;
    let mut reader = log.reader("w", 0).unwrap();
    let (cpu_started, mut making, mut wall) = (cpu(), 0.0, Duration::ZERO);
    let (mut latencies, mut bytes) = (Vec::new(), 0);
    for _ in 0..workload.blocks / READY {
        let made = thread_cpu();
        let ready: Vec<BlockBuilder> = (0..READY).map(|_| leader.block(workload)).collect();
        making += thread_cpu() - made;
        let started = Instant::now();
        for block in &ready {
            let started = Instant::now();
            leader.store(block).await;
            latencies.push(started.elapsed());
            bytes += block.len();
        }
        wall += started.elapsed();
        reader.advance(leader.prev).await.unwrap();
    }
    let appended = cpu() - cpu_started - making;
    let blocks = latencies.len();
    let rows = (blocks * workload.rows) as f64;
    latencies.sort();
    let percentile = |of: f64| latencies[(blocks as f64 * of) as usize].as_secs_f64() * 1e6;
    let per = |name: &'static str, of_row: &'static str| if workload.unit == "row" { of_row } else { name };
    let mut figures = vec![
        (per("append_ns_per_transaction", "append_ns_per_row"), wall.as_nanos() as f64 / rows, "ns"),
        ("append_cpu_s_per_million", appended / rows * 1e6, "s"),
        ("append_mb_per_s", bytes as f64 / 1e6 / wall.as_secs_f64(), "MB/s"),
        ("append_p50", percentile(0.5), "us"),
        ("append_p99", percentile(0.99), "us"),
        ("append_p999", percentile(0.999), "us"),
        ("append_max", percentile(1.0 - 1e-9), "us"),
    ];
    if workload.max_bytes > 1 << 30 {
        let (started, cpu_started) = (Instant::now(), cpu());
        let read = read_all(&mut reader).await;
        assert_eq!(read, bytes);
        let (wall, cpu) = (started.elapsed(), cpu() - cpu_started);
        figures.push((per("read_ns_per_transaction", "read_ns_per_row"), wall.as_nanos() as f64 / rows, "ns"));
        figures.push(("read_cpu_s_per_million", cpu / rows * 1e6, "s"));
        figures.push(("read_mb_per_s", bytes as f64 / 1e6 / wall.as_secs_f64(), "MB/s"));
    }
    figures
}

async fn read_all(reader: &mut EmbeddedReader) -> usize {
    let (mut block, mut after, mut bytes) = (BlockReader::default(), 0, 0);
    while reader.read(after, &mut block).await.unwrap() {
        bytes += black_box(block.bytes()).len();
        after = block.last_seq().unwrap();
    }
    bytes
}

/// From the beginning of an append until a reader, another task, has the block: 1,000 small ones a second.
async fn handover() -> Vec<(&'static str, f64)> {
    const APPENDS: usize = 5_000;
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 8 << 30);
    let mut leader = Leader::new(&log).await;
    let mut reader = log.reader("w", 0).unwrap();
    let (began, started) = std::sync::mpsc::channel::<Instant>();
    let reading = tokio::spawn(async move {
        let (mut block, mut after, mut latencies) = (BlockReader::default(), 0, Vec::new());
        while latencies.len() < APPENDS {
            reader.wait(after).await;
            if reader.read(after, &mut block).await.unwrap() {
                let now = Instant::now();
                after = block.last_seq().unwrap();
                latencies.extend(started.try_iter().map(|started: Instant| now - started));
                reader.advance(after).await.unwrap();
            }
        }
        latencies
    });
    let writing = tokio::spawn(async move {
        let workload = WORKLOADS[2];
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        for _ in 0..APPENDS {
            ticks.tick().await;
            let block = leader.block(workload);
            began.send(Instant::now()).unwrap();
            leader.store(&block).await;
        }
        // The last one's number must not be lost with its task.
        leader
    });
    let mut latencies = reading.await.unwrap();
    writing.await.unwrap();
    latencies.sort();
    let percentile = |of: f64| latencies[(latencies.len() as f64 * of) as usize].as_secs_f64() * 1e6;
    vec![
        ("append_to_read_p50", percentile(0.5)),
        ("append_to_read_p99", percentile(0.99)),
        ("append_to_read_p999", percentile(0.999)),
    ]
}

/// CPU seconds of all threads of this process that live.
fn cpu() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.map(|task| schedstat(&task.unwrap().path().join("schedstat"))).sum()
}

fn thread_cpu() -> f64 {
    schedstat(Path::new("/proc/thread-self/schedstat"))
}

fn schedstat(path: &Path) -> f64 {
    let text = std::fs::read_to_string(path).unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}
