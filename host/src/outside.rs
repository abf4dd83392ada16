//! The log, of either kind, as commands see it that take no part in it: they read, and move nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use mysync_change::batch::BlockReader;
use mysync_change::envelope::LogId;
use mysync_change::fence::Place;
use mysync_change::pattern::Pattern;
use mysync_change::schema::{Fingerprint, TableShape};
use mysync_log::kafka::{self, KafkaError, KafkaReader, KafkaReaders};
use mysync_log::{LogError, OutsideReader};
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::{Compaction, Found, LogReader};

use crate::adapters;
use crate::config::{LogKind, LogSettings};
use crate::fault::Fault;

/// A log that is there, with a reader for whoever wants one.
#[derive(Debug, Clone)]
pub enum Log {
    /// In this directory, with so many partitions.
    Embedded(PathBuf, u32),
    Kafka(KafkaReaders),
}

/// One partition of it.
#[derive(Debug)]
pub enum Reader {
    Embedded(Box<OutsideReader>),
    Kafka(Box<KafkaReader>),
}

/// A log in which places are looked for by something else than their numbers.
pub trait Searched: LogReader {
    /// A number behind which everything lies that the source committed at this time or later, in microseconds since 1970; none: nothing does.
    async fn before_time(&mut self, micros: u64) -> Result<Option<u64>, Failure>;

    /// The number behind which the partition goes on with what stands at this offset or next behind it; none: there is nothing.
    async fn before_offset(&mut self, offset: i64) -> Result<Option<u64>, Failure>;

    /// Fills `block` with the last records behind `after`; false: there are none.
    async fn read_last(&mut self, after: u64, block: &mut BlockReader) -> Result<bool, Failure>;
}

/// Every partition of the configured log that may hold rows of these tables, as `consumer` sees it.
pub async fn readers(
    settings: &LogSettings,
    consumer: &str,
    tables: &[Pattern],
) -> Result<BTreeMap<u32, Reader>, Fault> {
    let log = Log::open(settings).await?;
    let mut readers = BTreeMap::new();
    for partition in log.partitions(tables) {
        readers.insert(partition, log.reader(consumer, partition).await?);
    }
    Ok(readers)
}

impl Log {
    /// The one that is configured.
    pub async fn open(settings: &LogSettings) -> Result<Self, Fault> {
        match &settings.kind {
            LogKind::Embedded(_) => {
                let partitions = mysync_log::partitions(&settings.dir).map_err(Failure::from)?;
                Ok(Log::Embedded(settings.dir.clone(), partitions))
            }
            LogKind::Kafka(kafka) => {
                let settings = adapters::kafka(kafka, settings.partitions);
                let topic = settings.control_topic();
                let found = kafka::look(settings).await.map_err(Failure::from)?;
                let (_, readers) = found.log.ok_or_else(|| Failure::from(KafkaError::Absent { topic }))?;
                Ok(Log::Kafka(readers))
            }
        }
    }

    /// Learns of partitions that it has got meanwhile.
    pub async fn look_again(&self) -> Result<(), Failure> {
        match self {
            Log::Embedded(..) => Ok(()),
            Log::Kafka(readers) => Ok(readers.look_again().await?),
        }
    }

    /// Those that may hold rows of these tables.
    pub fn partitions(&self, tables: &[Pattern]) -> Vec<u32> {
        match self {
            Log::Embedded(_, partitions) => (0..*partitions).collect(),
            Log::Kafka(readers) => readers.partitions(tables),
        }
    }

    pub async fn reader(&self, consumer: &str, partition: u32) -> Result<Reader, Failure> {
        Ok(match self {
            Log::Embedded(dir, _) => Reader::Embedded(Box::new(mysync_log::read_only(dir, consumer, partition)?)),
            Log::Kafka(readers) => Reader::Kafka(Box::new(readers.open(consumer, partition, None).await?)),
        })
    }
}

impl Reader {
    /// The offset of what was last read, as Kafka counts.
    pub fn offset(&self) -> Option<i64> {
        match self {
            Reader::Embedded(_) => None,
            Reader::Kafka(log) => log.offset(),
        }
    }
}

impl Searched for Reader {
    async fn before_time(&mut self, micros: u64) -> Result<Option<u64>, Failure> {
        match self {
            // It has no index of times: everything is looked at.
            Reader::Embedded(log) => Ok(Some(match log.find(&Place::default()).await? {
                Found::Trimmed { start } => start,
                Found::Next | Found::Repeated { .. } => 0,
            })),
            Reader::Kafka(log) => Ok(log.before_time(micros).await?),
        }
    }

    async fn before_offset(&mut self, offset: i64) -> Result<Option<u64>, Failure> {
        match self {
            Reader::Embedded(_) => Ok(None),
            Reader::Kafka(log) => Ok(log.before_offset(offset).await?),
        }
    }

    async fn read_last(&mut self, after: u64, block: &mut BlockReader) -> Result<bool, Failure> {
        match self {
            Reader::Embedded(log) => log.read(after, block).await,
            Reader::Kafka(log) => Ok(log.read_last(after, block).await?),
        }
    }
}

impl LogReader for Reader {
    fn log_id(&self) -> LogId {
        match self {
            Reader::Embedded(log) => log.log_id(),
            Reader::Kafka(log) => log.log_id(),
        }
    }

    async fn compaction(&mut self) -> Result<Option<Compaction>, Failure> {
        match self {
            Reader::Embedded(log) => log.compaction().await,
            Reader::Kafka(log) => log.compaction().await,
        }
    }

    async fn find(&mut self, place: &Place) -> Result<Found, Failure> {
        match self {
            Reader::Embedded(log) => log.find(place).await,
            Reader::Kafka(log) => log.find(place).await,
        }
    }

    async fn read(&mut self, after: u64, block: &mut BlockReader) -> Result<bool, Failure> {
        match self {
            Reader::Embedded(log) => log.read(after, block).await,
            Reader::Kafka(log) => log.read(after, block).await,
        }
    }

    async fn wait(&mut self, after: u64) {
        match self {
            Reader::Embedded(log) => log.wait(after).await,
            Reader::Kafka(log) => log.wait(after).await,
        }
    }

    async fn shape(&mut self, fingerprint: Fingerprint) -> Result<Arc<TableShape>, Failure> {
        match self {
            Reader::Embedded(log) => log.shape(fingerprint).await,
            Reader::Kafka(log) => log.shape(fingerprint).await,
        }
    }

    async fn shapes(&mut self) -> Result<Vec<(Fingerprint, Arc<TableShape>)>, Failure> {
        match self {
            Reader::Embedded(log) => log.shapes().await,
            Reader::Kafka(log) => log.shapes().await,
        }
    }

    async fn has_advanced(&mut self) -> Result<bool, Failure> {
        match self {
            Reader::Embedded(log) => log.has_advanced().await,
            Reader::Kafka(log) => log.has_advanced().await,
        }
    }

    async fn advance(&mut self, _seq: u64) -> Result<(), Failure> {
        Err(LogError::Outside.into())
    }
}
