//! What a topic with rows under their keys holds, message by message, and how it is made to be compacted now.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mysync_change::envelope::{self, Kind};
use mysync_change::rows::{self, Operation};
use mysync_e2e_tests::World;
use mysync_e2e_tests::world::PATIENCE;
use mysync_test_support::{Kafka, Message, Record, until_within};

use crate::scene::mark;

/// What a topic is made with that can be compacted at any time.
const ROLLED: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.ms", "100"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("max.message.bytes", "8388608"),
];
/// Longer than any test takes, and nothing at all.
const KEEPS: &str = "3600000";
const GOES: &str = "0";
/// What breaks a promise while it is compacted.
pub const ALLOWED: [&str; 2] = ["min.compaction.lag.ms", "delete.retention.ms"];
/// Messages that stay for each partition though there are newer ones: those that roll its pieces.
const YOUNG: usize = 60;
/// How long the cleaner is waited for before there is more for it to do.
const CLEANER_TIME: Duration = Duration::from_secs(1);

/// A message of a row.
#[derive(Debug, Clone)]
pub struct Row {
    pub partition: i32,
    pub key: Vec<u8>,
    pub operation: Operation,
    pub is_tombstone: bool,
    pub seq: u64,
    pub prev: u64,
}

impl Row {
    pub fn read(record: &Record) -> Result<Self> {
        let Message { key, value, headers } = &record.message;
        let key = key.clone().context("a message has no key")?;
        let beside: Vec<&(String, Vec<u8>)> = headers.iter().filter(|(name, _)| name == "mysync").collect();
        let bytes = match (value, beside.as_slice()) {
            (Some(value), []) => value,
            (None, [(_, beside)]) => beside,
            (value, beside) => bail!("a message has value {value:?} and headers {beside:?}"),
        };
        let (read, next) = envelope::read(bytes, 0)?.context("a message is empty")?;
        ensure!(next == bytes.len(), "a message has more than one envelope");
        ensure!(matches!(read.header.kind, Kind::Change | Kind::DumpChunk), "a message of kind {:?}", read.header.kind);
        let (row, next) = rows::read(&read, 0)?.context("an envelope has no row")?;
        ensure!(rows::read(&read, next)?.is_none(), "an envelope has more than one row");
        Ok(Self {
            partition: record.partition,
            key,
            operation: row.operation,
            is_tombstone: value.is_none(),
            seq: row.seq,
            prev: read.header.prev,
        })
    }

    /// Database, table and primary key, if that is a number: by the format, not by the program.
    pub fn names(&self) -> Result<(String, String, i64)> {
        let (mut parts, mut rest) = (Vec::new(), self.key.as_slice());
        while let Some((length, behind)) = rest.split_first_chunk() {
            let (part, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize).context("cut off")?;
            parts.push(part);
            rest = behind;
        }
        ensure!(rest.is_empty(), "{:?} is followed by {rest:?}", parts);
        let [database, table, id] = parts[..] else { bail!("{} parts", parts.len()) };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((text(database), text(table), i64::from_le_bytes(id.try_into()?)))
    }
}

/// All of a topic, partition by partition.
pub async fn rows(kafka: &Kafka, topic: &str) -> Result<Vec<Row>> {
    kafka.read(topic).await?.iter().map(Row::read).collect()
}

/// What compaction has made of a topic.
#[derive(Debug, Default)]
pub struct Shrunk {
    pub rows: usize,
    pub tombstones: usize,
    /// Rows for whose key there is a newer one.
    pub replaced: usize,
    /// Places where a row is missing, by partition.
    pub holes: HashMap<i32, usize>,
}

impl Shrunk {
    /// Of what is missing, only what was behind the number `after` counts.
    pub fn of(rows: &[Row], after: u64) -> Self {
        let mut shrunk = Self { rows: rows.len(), ..Self::default() };
        let mut last: HashMap<i32, u64> = HashMap::new();
        for row in rows {
            let last = last.entry(row.partition).or_default();
            *shrunk.holes.entry(row.partition).or_default() += usize::from(row.prev != *last && row.prev > after);
            *last = row.seq;
            shrunk.tombstones += usize::from(row.is_tombstone);
        }
        let keys: HashSet<(i32, &[u8])> = rows.iter().map(|row| (row.partition, row.key.as_slice())).collect();
        shrunk.replaced = rows.len() - keys.len();
        shrunk
    }
}

/// Writes until every partition has been compacted: next to nothing is left for which there is something newer. Tombstones go as well once
/// there is more to do.
pub async fn compact(world: &World, kafka: &Kafka, topic: &str) -> Result<Shrunk> {
    compact_behind(world, kafka, topic, 0).await
}

/// The same, and something is gone that was behind this number, in each partition.
pub async fn compact_behind(world: &World, kafka: &Kafka, topic: &str, after: u64) -> Result<Shrunk> {
    keep(kafka, topic, GOES).await?;
    let shrunk = shrink(world, kafka, topic, after).await;
    keep(kafka, topic, KEEPS).await?;
    shrunk
}

/// Makes a topic in which nothing goes before [`compact`].
pub async fn make(kafka: &Kafka, topic: &str, partitions: i32) -> Result<()> {
    kafka.create_topic(topic, partitions, 1, &ROLLED).await?;
    keep(kafka, topic, KEEPS).await
}

async fn keep(kafka: &Kafka, topic: &str, millis: &str) -> Result<()> {
    kafka.alter_topic(topic, &[("min.compaction.lag.ms", millis), ("delete.retention.ms", millis)]).await
}

async fn shrink(world: &World, kafka: &Kafka, topic: &str, after: u64) -> Result<Shrunk> {
    let partitions = kafka.leaders(topic).await?.len();
    let before = Shrunk::of(&rows(kafka, topic).await?, after);
    let shrunk = until_within(PATIENCE, "the topic is compacted", async || {
        mark(world).await?;
        tokio::time::sleep(CLEANER_TIME).await;
        let shrunk = Shrunk::of(&rows(kafka, topic).await?, after);
        let holes = shrunk.holes.values().filter(|holes| **holes > 0).count();
        ensure!(holes == partitions && shrunk.replaced <= YOUNG * partitions, "{before:?} has become {shrunk:?}");
        Ok(shrunk)
    })
    .await?;
    println!(
        "{} rows, {} of them tombstones, have become {}, {}",
        before.rows, before.tombstones, shrunk.rows, shrunk.tombstones
    );
    Ok(shrunk)
}
