//! `[log]`: where changes are kept between MySQL and the stores.

use std::path::PathBuf;
use std::time::Duration;

use super::error::ConfigError;
use super::kafka::{self, KafkaSettings, Topics};
use super::section::{Origin, Section};
use super::units;

/// A day of changes on disk at most; a store that is away longer is a matter for people.
const RETENTION: Duration = Duration::from_secs(24 * 3600);
/// Fits on any disk and holds hours of a busy source.
const LOG_BYTES: u64 = 10 << 30;
/// The least that lets capture run ahead of delivery: some blocks.
const LOG_BYTES_MIN: u64 = 64 << 20;
/// Each partition is a task with its own connection for every writer.
const PARTITIONS_MAX: u32 = 256;

/// The log between the two loops.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// The embedded log itself; components that were compiled, with either kind.
    pub dir: PathBuf,
    pub partitions: u32,
    pub kind: LogKind,
}

impl LogSettings {
    /// How many partitions a new log has; tables may add topics of their own.
    pub fn partitions_at_first(&self) -> u32 {
        match &self.kind {
            LogKind::Kafka(kafka) if matches!(kafka.topics, Topics::PerTable(_)) => 1,
            _ => self.partitions,
        }
    }
}

#[derive(Debug, Clone)]
pub enum LogKind {
    /// A file of this process.
    Embedded(EmbeddedSettings),
    /// Topics of a cluster, which several processes share.
    Kafka(Box<KafkaSettings>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddedSettings {
    /// At this size capture pauses rather than delete what a writer has not passed.
    pub max_bytes: u64,
    /// How long records are kept that every writer has passed.
    pub retention: Duration,
}

impl Default for EmbeddedSettings {
    fn default() -> Self {
        Self { max_bytes: LOG_BYTES, retention: RETENTION }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Embedded,
    Kafka,
}

/// Reads the section; names on Kafka are made of the source's.
pub fn read(origin: Origin<'_>, section: Option<Section<'_>>, source: &str) -> Result<LogSettings, ConfigError> {
    const KINDS: [(&str, Kind); 2] = [("embedded", Kind::Embedded), ("kafka", Kind::Kafka)];
    let mut log = LogSettings {
        dir: origin.base().join("data"),
        partitions: 1,
        kind: LogKind::Embedded(EmbeddedSettings::default()),
    };
    let Some(mut section) = section else { return Ok(log) };
    let kind = section.get("kind").map_or(Ok(Kind::Embedded), |value| value.one_of(&KINDS))?;
    if let Some(value) = section.get("dir") {
        log.dir = value.path()?;
    }
    if let Some(value) = section.get("partitions") {
        log.partitions = value.number(1, PARTITIONS_MAX)?;
    }
    log.kind = match kind {
        Kind::Embedded => LogKind::Embedded(read_embedded(section)?),
        Kind::Kafka => LogKind::Kafka(Box::new(kafka::read(section, source)?)),
    };
    Ok(log)
}

fn read_embedded(mut section: Section<'_>) -> Result<EmbeddedSettings, ConfigError> {
    if let Some(value) = kafka::KEYS.iter().find_map(|key| section.foreign(key)) {
        return Err(value.wrong("belongs to the log on Kafka: set kind = \"kafka\" as well, or leave it out"));
    }
    let mut embedded = EmbeddedSettings::default();
    if let Some(value) = section.get("max_bytes") {
        embedded.max_bytes = value.parse(units::bytes)?;
        if embedded.max_bytes < LOG_BYTES_MIN {
            return Err(value.wrong("is too small for a log: give it at least 64MiB"));
        }
    }
    if let Some(value) = section.get("retention") {
        embedded.retention = value.parse(units::duration)?;
    }
    section.finish()?;
    Ok(embedded)
}
