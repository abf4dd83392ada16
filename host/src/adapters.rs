//! Settings of the adapters, made from the configuration.

use std::sync::Arc;
use std::time::Duration;

use mysync_binlog::connection::ConnectionSettings;
use mysync_binlog::source::{MysqlSettings, Selected, StartAt};
use mysync_binlog::tls::{TlsMode as BinlogTlsMode, TlsSettings};
use mysync_connectors::redis;
use mysync_log::kafka;
use mysync_log::{LogError, LogSettings as EmbeddedLogSettings, Seen};
use mysync_wasm::{Grant, Limits, PluginSettings};
use sha2::{Digest, Sha256};

use crate::config::{
    Cleanup, Compression, EmbeddedSettings, FirstLoad, KafkaSettings, LogSettings, RedisSettings, SaslMechanism,
    Secret, Settings, SourceSettings, Start, TlsMode, Topics, WriterSettings,
};
use crate::fault::Fault;

const MYSQL_PORT: u16 = 3306;
/// Silence of the source counts as lag after some of them.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Ids of servers are small numbers that people choose; made ones stay above them.
const MADE_SERVER_ID: u32 = 1 << 31;

/// The replica that this process is to the source. `log_id` tells it apart from others of the same source.
pub fn replica(source: &SourceSettings, log_id: &str) -> ConnectionSettings {
    let digest = Sha256::new().chain_update(&source.name).chain_update([0]).chain_update(log_id).finalize();
    let mut bytes = digest.iter().copied();
    let mut replica_uuid = [0; 16];
    replica_uuid.fill_with(|| bytes.next().unwrap_or(0));
    let made = u32::from_be_bytes([0; 4].map(|_: u8| bytes.next().unwrap_or(0))) | MADE_SERVER_ID;
    ConnectionSettings {
        host: source.url.host.clone(),
        port: source.url.port.unwrap_or(MYSQL_PORT),
        user: source.url.user.clone(),
        password: source.url.password.as_ref().map_or("", Secret::expose).to_owned(),
        tls: TlsSettings {
            mode: match source.tls.mode {
                TlsMode::Disabled => BinlogTlsMode::Disabled,
                TlsMode::Preferred => BinlogTlsMode::Preferred,
                TlsMode::Required => BinlogTlsMode::Required,
                TlsMode::VerifyCa => BinlogTlsMode::VerifyCa,
                TlsMode::VerifyIdentity => BinlogTlsMode::VerifyIdentity,
            },
            ca: source.tls.ca.clone(),
            identity: source.tls.cert.clone().zip(source.tls.key.clone()),
        },
        connect_timeout: ConnectionSettings::CONNECT_TIMEOUT,
        server_id: source.server_id.unwrap_or(made),
        replica_uuid,
        heartbeat: HEARTBEAT,
        event_bytes_max: ConnectionSettings::EVENT_BYTES_MAX,
    }
}

/// What is captured of the source. `elsewhere`: writers may work in other processes.
pub fn mysql(source: &SourceSettings, log_id: &str, elsewhere: bool) -> MysqlSettings {
    MysqlSettings {
        connection: replica(source, log_id),
        selected: Selected {
            tables: source.tables.clone(),
            exclude: source.exclude.clone(),
            exclude_columns: source.exclude_columns.clone(),
        },
        start: match &source.start {
            Start::Now => StartAt::Now,
            Start::File(file) => StartAt::File(file.clone()),
            Start::Gtids(gtids) => StartAt::Gtids(gtids.clone()),
        },
        chunk_rows_max: MysqlSettings::CHUNK_ROWS_MAX,
        writers_elsewhere: elsewhere,
    }
}

/// The log of this process.
pub fn embedded(settings: &Settings, embedded: &EmbeddedSettings) -> EmbeddedLogSettings {
    let LogSettings { dir, partitions, .. } = settings.log.clone();
    let EmbeddedSettings { max_bytes, retention } = *embedded;
    let writers = settings.writers.iter().map(|writer| writer.name.clone()).collect();
    let loaded = settings.writers.iter().filter(|writer| writer.dump == FirstLoad::Initial);
    let loaded = loaded.map(|writer| writer.name.clone()).collect();
    EmbeddedLogSettings { dir, partitions, max_bytes, retention, writers, loaded }
}

/// The log on a cluster.
pub fn kafka(log: &KafkaSettings, partitions: u32) -> kafka::KafkaSettings {
    let (topic, by_table) = match &log.topics {
        Topics::One(topic) => (topic.clone(), None),
        // What belongs to no table needs a place, too.
        Topics::PerTable(template) => (log.prefix.clone(), Some(template.clone())),
    };
    kafka::KafkaSettings {
        brokers: log.brokers.join(","),
        source: log.source.clone(),
        prefix: log.prefix.clone(),
        topic,
        by_table,
        partitions,
        replication: log.replication,
        cleanup: match log.cleanup {
            Cleanup::Delete => kafka::Cleanup::Delete,
            Cleanup::Compact => kafka::Cleanup::Compact,
        },
        retention: log.retention,
        group_time: log.group_time,
        compression: match log.compression {
            Compression::None => kafka::Compression::None,
            Compression::Lz4 => kafka::Compression::Lz4,
            Compression::Zstd => kafka::Compression::Zstd,
        },
        allow: log.allow.iter().map(|name| (*name).to_owned()).collect(),
        tls: log.tls.as_ref().map(|tls| kafka::Tls {
            ca: tls.ca.clone(),
            identity: tls.cert.clone().zip(tls.key.clone()),
            verify_hostname: tls.verify_hostname,
        }),
        sasl: log.sasl.as_ref().map(|sasl| kafka::Sasl {
            mechanism: match sasl.mechanism {
                SaslMechanism::Plain => "PLAIN",
                SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
                SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
            },
            user: sasl.user.clone(),
            password: sasl.password.expose().to_owned(),
        }),
    }
}

/// The embedded log as the configuration wants it, seen from outside.
pub fn look(log: &LogSettings) -> Result<Seen, LogError> {
    let seen = mysync_log::look(&log.dir)?;
    let (stored, configured) = (seen.partitions, log.partitions);
    if stored != configured {
        return Err(LogError::Partitions { dir: log.dir.clone(), stored, configured });
    }
    Ok(seen)
}

/// A Redis, with its certificates read.
pub fn redis(name: &str, settings: &RedisSettings) -> Result<Arc<redis::Settings>, Fault> {
    let RedisSettings { url, ca, cert, key } = settings;
    let files = redis::TlsFiles { ca: ca.clone(), certificate: cert.clone(), key: key.clone() };
    redis::Settings::new(url.expose(), &files)
        .map(Arc::new)
        .map_err(|error| Fault::unusable(error.code(), format!("connector {name}: {error}")))
}

/// A writer's component, mapping, grant and limits.
pub fn plugin(writer: &WriterSettings, partitions: u32) -> PluginSettings {
    let mut limits = Limits::default();
    if let Some(bytes) = writer.limits.memory {
        limits.memory_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    if let Some(bytes) = writer.limits.output {
        limits.output_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    limits.deadline = writer.limits.deadline.unwrap_or(limits.deadline);
    PluginSettings {
        name: writer.name.clone(),
        component: writer.component.clone(),
        mapping: writer.mapping.clone(),
        // What a writer wants was held to its folder's keys when it was read.
        grant: Grant::new(writer.keys.clone(), None),
        limits,
        partitions,
    }
}
