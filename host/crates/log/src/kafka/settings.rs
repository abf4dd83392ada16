//! Where the brokers are, what everything is called there, and how clients are set up.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use mysync_change::topics::Topics;
use rdkafka::ClientConfig;

/// librdkafka's own names for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Lz4,
    Zstd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// Records go when they are old.
    Delete,
    /// A key's records go when there is a newer one.
    Compact,
}

#[derive(Debug, Clone)]
pub struct Tls {
    /// None: the authorities that this machine trusts.
    pub ca: Option<PathBuf>,
    /// Certificate and key of this client.
    pub identity: Option<(PathBuf, PathBuf)>,
    pub verify_hostname: bool,
}

#[derive(Clone)]
pub struct Sasl {
    /// `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`.
    pub mechanism: &'static str,
    pub user: String,
    pub password: String,
}

/// Without the password.
impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl").field("mechanism", &self.mechanism).field("user", &self.user).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone)]
pub struct KafkaSettings {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// Whose changes the log holds.
    pub source: String,
    /// What every topic, group and transaction of this log is called after.
    pub prefix: String,
    /// Where the records are, unless tables have topics of their own.
    pub topic: String,
    /// What those are called, with `{database}` and `{table}` in it.
    pub by_table: Option<String>,
    /// Of each topic that tables' rows are in.
    pub partitions: u32,
    pub replication: u16,
    pub cleanup: Cleanup,
    /// How long records are kept; of a compacted topic: how long records are kept that a newer one has replaced.
    pub retention: Duration,
    /// At most one transaction begins in this time.
    pub group_time: Duration,
    pub compression: Compression,
    /// Settings of brokers and topics that may break a promise.
    pub allow: Vec<String>,
    pub tls: Option<Tls>,
    pub sasl: Option<Sasl>,
}

/// A leader that hangs keeps readers waiting for no longer than this.
pub const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(15);
/// Who is silent for this long has left its group: as short as brokers allow by default.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
/// A member hears of a rebalance with its next heartbeat.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// What a reader fetches ahead. Also the largest message there can be is taken, however little room is left.
const FETCH_BYTES: u64 = 8 << 20;
/// What librdkafka takes as the size of a message at most, whatever a topic takes.
const MESSAGE_BYTES_MAX: usize = 1_000_000_000;
/// What a producer holds: a block, and room to be filled meanwhile.
const PRODUCER_BYTES: u64 = 64 << 20;
/// Who leads a partition is looked up again this often, whatever happens.
const METADATA_EVERY: Duration = Duration::from_secs(10);
/// Of the figures that a client keeps.
const FIGURES_EVERY: Duration = Duration::from_secs(5);

impl KafkaSettings {
    /// Whether the operator can live with what this name stands for.
    pub fn allows(&self, name: &str) -> bool {
        self.allow.iter().any(|allowed| allowed == name)
    }

    /// The topics with records that a log begins with.
    pub fn topics(&self) -> Topics {
        match &self.by_table {
            None => Topics::one(&self.topic, self.partitions),
            Some(template) => Topics::by_table(&self.topic, template, self.partitions),
        }
    }

    pub fn control_topic(&self) -> String {
        format!("{}.control", self.prefix)
    }

    pub fn orders_topic(&self) -> String {
        format!("{}.orders", self.prefix)
    }

    /// The group of those who may capture, and the name of their transactions.
    pub fn capture_name(&self) -> String {
        format!("{}.capture", self.prefix)
    }

    pub fn writer_group(&self, writer: &str) -> String {
        format!("{}.writer.{writer}", self.prefix)
    }

    /// What all clients have in common.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config.set("client.id", &self.prefix);
        // Whoever merely asks for a topic makes none.
        config.set("allow.auto.create.topics", "false");
        config.set("socket.keepalive.enable", "true");
        config.set("socket.nagle.disable", "true");
        // A broker that comes back is found again soon.
        config.set("reconnect.backoff.ms", "50");
        config.set("reconnect.backoff.max.ms", "2000");
        config.set("socket.connection.setup.timeout.ms", "5000");
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            if let Some(ca) = &tls.ca {
                config.set("ssl.ca.location", ca.to_string_lossy());
            }
            if let Some((certificate, key)) = &tls.identity {
                config.set("ssl.certificate.location", certificate.to_string_lossy());
                config.set("ssl.key.location", key.to_string_lossy());
            }
            config.set("ssl.endpoint.identification.algorithm", if tls.verify_hostname { "https" } else { "none" });
        }
        if let Some(sasl) = &self.sasl {
            config.set("sasl.mechanism", sasl.mechanism);
            config.set("sasl.username", &sasl.user);
            config.set("sasl.password", &sasl.password);
        }
        config
    }

    /// The leader's producer. `batch_bytes_max`: what every topic takes; `message_bytes_max`: what some take.
    pub fn producer(&self, batch_bytes_max: usize, message_bytes_max: usize) -> ClientConfig {
        let mut config = self.client();
        config.set("transactional.id", self.capture_name());
        config.set("transaction.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string());
        config.set("enable.idempotence", "true");
        config.set("acks", "all");
        config.set("message.max.bytes", message_bytes_max.min(MESSAGE_BYTES_MAX).to_string());
        config.set("batch.size", batch_bytes_max.to_string());
        config.set("queue.buffering.max.kbytes", (PRODUCER_BYTES >> 10).to_string());
        // Everything of a transaction is sent at once and waited for: lingering would only add to the time that takes.
        config.set("linger.ms", "0");
        // librdkafka's own order is then enough; what is not delivered by then makes the transaction fail.
        config.set("message.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string());
        let compression = match self.compression {
            Compression::None => "none",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        };
        config.set("compression.type", compression);
        config.set("statistics.interval.ms", FIGURES_EVERY.as_millis().to_string());
        config
    }

    /// Reads where it is told to, without being of any group. `wait`: how long a broker that has nothing new holds its answer back; nobody goes
    /// to another place before it has come.
    pub fn reader(&self, group: &str, wait: Duration) -> ClientConfig {
        let mut config = self.client();
        // Named because librdkafka wants one; who is assigned by hand never joins it.
        config.set("group.id", group);
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("isolation.level", "read_committed");
        // A place that is gone is an error, never a reason to go on elsewhere.
        config.set("auto.offset.reset", "error");
        config.set("enable.partition.eof", "true");
        config.set("queued.max.messages.kbytes", (FETCH_BYTES >> 10).to_string());
        config.set("fetch.message.max.bytes", (FETCH_BYTES / 4).to_string());
        config.set("fetch.wait.max.ms", wait.as_millis().to_string());
        config.set("fetch.error.backoff.ms", "100");
        config.set("topic.metadata.refresh.interval.ms", METADATA_EVERY.as_millis().to_string());
        config.set("fetch.queue.backoff.ms", "10");
        config
    }

    /// A member of a group, who reads nothing.
    pub fn member(&self, group: &str) -> ClientConfig {
        let mut config = self.client();
        config.set("group.id", group);
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", "error");
        config.set("partition.assignment.strategy", "cooperative-sticky");
        config.set("session.timeout.ms", SESSION_TIMEOUT.as_millis().to_string());
        config.set("heartbeat.interval.ms", HEARTBEAT.as_millis().to_string());
        // Also a topic that was made lately is to be known soon.
        config.set("topic.metadata.refresh.interval.ms", METADATA_EVERY.as_millis().to_string());
        // It is polled by a thread of its own, whatever happens elsewhere.
        config.set("max.poll.interval.ms", "60000");
        config
    }
}
