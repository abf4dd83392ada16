//! `kafka-transactions`: what transactions cost, against a plain idempotent producer with the same settings and the same messages.
//!
//! On one side the log's own writer: a transaction for each group of rows, and the next begins when it is committed. On the other side the
//! same messages, outside of transactions, in two ways: each group waited for like a transaction (what is lost is the price of the commit
//! alone), and one group after the other without waiting, with a linger of what a transaction takes (what is lost is the price of doing so at
//! an equal latency). The three take turns, so that what else the machine does meets them alike.

mod plain;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysync_change::block::BlockBuilder;
use mysync_change::image::{self, Value};
use mysync_change::position::{Checkpoint, FilePosition, SourcePosition, TransactionId};
use mysync_change::rows::Operation;
use mysync_change::schema::Fingerprint;
use mysync_e2e_tests::bench::{Figures, arguments, brokers, said};
use mysync_e2e_tests::figures::median;
use mysync_log::kafka::{Cleanup, Compression, KafkaLog, KafkaSettings, KafkaWriter};
use mysync_pipeline::ports::{Lead, LogWriter};
use mysync_test_support::{Kafka, Random};

use plain::Plain;

const USAGE: &str = "bench-kafka-transactions [--kib N,N,…] [--group-times N,N,…] [--runs N] [--millis N] [--nodes 1|3]
--kib: bytes a group; --group-times: at most one group in so many milliseconds, on all sides; --millis: of each run";

const GTIDS: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-123456789";
const TABLE: Fingerprint = Fingerprint([1; 16]);
/// As much as a topic of the log takes.
const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// Whoever waits for longer measures a machine that is too busy.
const LINGER_MAX: Duration = Duration::from_millis(100);

struct Options {
    kib: Vec<u32>,
    group_times: Vec<u32>,
    runs: u32,
    time: Duration,
    nodes: u32,
}

/// A side's groups in one run.
#[derive(Debug, Clone, Copy)]
struct Measured {
    groups: u32,
    wall: Duration,
}

impl Measured {
    fn groups_per_s(self) -> f64 {
        f64::from(self.groups) / self.wall.as_secs_f64()
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::from_arguments()?;
    let figures = Figures::new("kafka-transactions").with("nodes", options.nodes).with("replication", options.nodes);
    figures.print_load("load_average")?;
    let kafka = brokers(options.nodes)?;
    for group_time in &options.group_times {
        let group_time = Duration::from_millis(u64::from(*group_time));
        let settings = settings(&kafka, group_time, options.nodes)?;
        let log = KafkaLog::open(settings.clone()).await?;
        let mut writer = log.writer(Arc::default());
        let lead = writer.lead().await.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
        let topics = ["plain", "plain.control"];
        for topic in topics {
            let copies = i32::try_from(options.nodes)?;
            let largest = MESSAGE_BYTES_MAX.to_string();
            kafka.create_topic(topic, 1, copies, &[("max.message.bytes", &largest)]).await?;
        }
        for kib in &options.kib {
            let figures = figures.with("group_time_ms", group_time.as_millis() as u64).with("group_kib", *kib);
            let block = block(&lead, *kib as usize * 1024)?;
            compare(&figures, &options, &settings, &mut writer, &block).await?;
        }
        drop(writer);
        log.close().await;
        for topic in topics {
            kafka.delete_topic(topic).await?;
        }
    }
    figures.print_load("load_average_after")
}

/// One size of groups, on every side, in turns; the first turn is not counted.
async fn compare(
    figures: &Figures,
    options: &Options,
    settings: &KafkaSettings,
    writer: &mut KafkaWriter,
    block: &BlockBuilder,
) -> Result<()> {
    let checkpoint = checkpoint()?;
    let warm = transactions(writer, block, &checkpoint, options.time).await?;
    let took = warm.wall / warm.groups.max(1);
    let linger = took.max(settings.group_time).clamp(Duration::from_millis(1), LINGER_MAX);
    let (waiting, streaming) =
        (Plain::new(settings, MESSAGE_BYTES_MAX, Duration::ZERO)?, Plain::new(settings, MESSAGE_BYTES_MAX, linger)?);
    waiting.groups(block, &checkpoint, settings.group_time, options.time, true).await?;
    let mut sides: [Vec<f64>; 3] = Default::default();
    for _ in 0..options.runs {
        let measured = [
            transactions(writer, block, &checkpoint, options.time).await?,
            waiting.groups(block, &checkpoint, settings.group_time, options.time, true).await?,
            streaming.groups(block, &checkpoint, settings.group_time, options.time, false).await?,
        ];
        sides.iter_mut().zip(measured).for_each(|(side, measured)| side.push(measured.groups_per_s()));
    }
    let [in_transactions, waited, streamed] = sides.map(median);
    let megabytes = block.len() as f64 / 1e6;
    let lost = |of: f64| (1.0 - in_transactions / of) * 100.0;
    said(&format!(
        "groups of {} KiB: {:.0} MB/s in transactions of {:.1} ms; waited for {:.0} MB/s, {:.1} % lost; streamed {:.0} MB/s, {:.1} % lost",
        block.len() / 1024,
        in_transactions * megabytes,
        1e3 / in_transactions,
        waited * megabytes,
        lost(waited),
        streamed * megabytes,
        lost(streamed)
    ));
    let figures = figures.with("linger_ms", linger.as_millis() as u64);
    for (workload, per_s) in [("transactions", in_transactions), ("waited", waited), ("streamed", streamed)] {
        figures.print(workload, "mb_per_s", per_s * megabytes, "MB/s");
        figures.print(workload, "ms_per_group", 1e3 / per_s, "ms");
    }
    figures.print("transactions", "lost_against_waited", lost(waited), "%");
    figures.print("transactions", "lost_against_streamed", lost(streamed), "%");
    Ok(())
}

/// One transaction after the other by the log's own writer, which paces them itself.
async fn transactions(
    writer: &mut KafkaWriter,
    block: &BlockBuilder,
    checkpoint: &Checkpoint,
    time: Duration,
) -> Result<Measured> {
    let (started, mut groups) = (Instant::now(), 0);
    while started.elapsed() < time {
        writer.append(block, checkpoint).await.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
        groups += 1;
    }
    Ok(Measured { groups, wall: started.elapsed() })
}

fn settings(kafka: &Kafka, group_time: Duration, nodes: u32) -> Result<KafkaSettings> {
    let prefix = format!("transactions-{}", group_time.as_millis());
    Ok(KafkaSettings {
        brokers: kafka.brokers(),
        source: "bench".to_owned(),
        topic: prefix.clone(),
        by_table: None,
        prefix,
        partitions: 1,
        replication: u16::try_from(nodes)?,
        cleanup: Cleanup::Delete,
        retention: Duration::from_secs(7 * 86_400),
        group_time,
        compression: Compression::Lz4,
        allow: vec!["replication.factor".to_owned()],
        tls: None,
        sasl: None,
    })
}

/// Rows of W1 of one transaction, so many bytes of them. It is sent again and again: nobody reads it.
fn block(lead: &Lead, bytes: usize) -> Result<BlockBuilder> {
    let mut block = BlockBuilder::new(lead.log_id, 1, &[0]).in_topics(lead.topics.clone());
    block.begin(TransactionId { gtid: None, file: "binlog.000001".into(), offset: 4 }, 1);
    let mut random = Random::new(4711);
    let mut hex = |words| (0..words).map(|_| format!("{:016x}", random.number())).collect::<String>();
    let mut number = 0;
    while block.len() < bytes {
        let (c, pad) = (hex(4).repeat(2), hex(4));
        let mut row = block.row(0, TABLE, Operation::Insert, number)?;
        let id = i64::try_from(number)?;
        image::write(
            row.images(),
            &[Value::Signed(id), Value::Signed(id), Value::Text(&c[..119]), Value::Text(&pad[..59])],
        );
        row.finish(true);
        number += 1;
    }
    block.end();
    block.seal();
    Ok(block)
}

fn checkpoint() -> Result<Checkpoint> {
    let gtids = GTIDS.parse().ok().context("a GTID set")?;
    let file = FilePosition { file: "binlog.000001".into(), offset: 4 };
    let server = GTIDS.split(':').next().unwrap_or_default().to_owned();
    Ok(Checkpoint::new(SourcePosition { gtids: Some(gtids), file }, server))
}

impl Options {
    fn from_arguments() -> Result<Self> {
        let (mut kib, mut group_times) = ("16,64,256,1024,4096".to_owned(), "0,5,10".to_owned());
        let (mut runs, mut millis, mut nodes) = (5, 2000, 1);
        let numbers = &mut [("--runs", &mut runs), ("--millis", &mut millis), ("--nodes", &mut nodes)];
        arguments(USAGE, numbers, &mut [("--kib", &mut kib), ("--group-times", &mut group_times)], &mut [])?;
        let list = |text: &str| -> Result<Vec<u32>> {
            text.split(',')
                .map(|number| number.parse().with_context(|| format!("{number} is no number\n{USAGE}")))
                .collect()
        };
        let (kib, group_times) = (list(&kib)?, list(&group_times)?);
        ensure!(!kib.contains(&0), "a group has some bytes\n{USAGE}");
        Ok(Self { kib, group_times, runs, time: Duration::from_millis(u64::from(millis)), nodes })
    }
}
