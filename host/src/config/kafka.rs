//! `[log]` with `kind = "kafka"`: the cluster, the topics, and how to log in.

use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{ConfigError, Mistake};
use super::secret::Secret;
use super::section::{Section, Value};
use super::units;
use super::url::address_of;

/// Keys that the embedded log does not have.
pub const KEYS: [&str; 10] =
    ["brokers", "prefix", "topic", "replication", "cleanup", "group_time", "compression", "allow", "tls", "sasl"];

const PORT: u16 = 9092;
/// Of a topic's name: Kafka's own bound.
const NAME_BYTES_MAX: usize = 249;
/// Topics of the log beside the one with changes. No other topic can have such a name.
const OWN_TOPICS: [&str; 2] = [".control", ".orders"];
/// One copy can be lost while another is out for maintenance.
const REPLICATION: u16 = 3;
/// Kafka's own bound.
const REPLICATION_MAX: u16 = i16::MAX as u16;
/// Kafka deletes by time and waits for nobody: long enough for a writer to be mended after days off.
const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);
/// The least that a restart of a writer fits into.
const RETENTION_MIN: Duration = Duration::from_secs(60);
/// A century: for ever, and yet a number of milliseconds that Kafka can count.
const RETENTION_MAX: Duration = Duration::from_secs(36_500 * 24 * 3600);
/// Brokers have half the work of transactions that follow each other at once, and the slowest changes of a steady stream are faster for it. One
/// that comes alone does not wait.
const GROUP_TIME: Duration = Duration::from_millis(5);
/// Each change waits for up to this long: whoever wants more wants something else.
const GROUP_TIME_MAX: Duration = Duration::from_secs(1);

/// Settings of brokers and topics that break a promise when they are wrong, as Kafka names them, and can be allowed by name.
const ALLOWABLE: [&str; 17] = [
    "min.insync.replicas",
    "unclean.leader.election.enable",
    "replication.factor",
    "cleanup.policy",
    "retention.ms",
    "retention.bytes",
    "min.compaction.lag.ms",
    "delete.retention.ms",
    "max.message.bytes",
    "transaction.state.log.replication.factor",
    "transaction.state.log.min.isr",
    "offsets.topic.replication.factor",
    "broker.version",
    "transaction.partition.verification.enable",
    "log.cleaner.enable",
    "group.min.session.timeout.ms",
    "foreign.records",
];

/// The log on Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `host:port` each, IPv6 in brackets; at least one.
    pub brokers: Vec<String>,
    /// The source's name.
    pub source: String,
    /// What the names of topics, groups and transactions begin with.
    pub prefix: String,
    pub topics: Topics,
    /// Copies of each partition, of topics that are created.
    pub replication: u16,
    pub cleanup: Cleanup,
    /// How long a record is kept, or, in a compacted topic, how long all of a key's records and its deletion are.
    pub retention: Duration,
    /// At most one transaction begins in this time.
    pub group_time: Duration,
    pub compression: Compression,
    /// Settings of brokers and topics that may be as they are, whatever the preflight finds of them.
    pub allow: Vec<&'static str>,
    /// None: not encrypted.
    pub tls: Option<KafkaTls>,
    /// None: no login.
    pub sasl: Option<Sasl>,
}

/// Which topics hold changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topics {
    /// All tables share the one of this name.
    One(String),
    /// Each table has its own: `{database}` and `{table}` stand in it once each.
    PerTable(String),
}

/// `cleanup.policy` of the topics with changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cleanup {
    /// Records go by age.
    #[default]
    Delete,
    /// The last record of each key stays.
    Compact,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    None,
    #[default]
    Lz4,
    Zstd,
}

/// How connections are encrypted. Files are PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaTls {
    /// Authorities to trust; none: those of the system.
    pub ca: Option<PathBuf>,
    /// Our own certificate, with `key`.
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Whether a broker's certificate has to name its host.
    pub verify_hostname: bool,
}

/// Who we are to the brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sasl {
    pub mechanism: SaslMechanism,
    pub user: String,
    pub password: Secret,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl KafkaSettings {
    /// Whether the password goes over the network as it is.
    pub fn shows_password(&self) -> bool {
        self.tls.is_none() && self.sasl.as_ref().is_some_and(|sasl| sasl.mechanism == SaslMechanism::Plain)
    }
}

pub fn read(mut section: Section<'_>, source: &str) -> Result<KafkaSettings, ConfigError> {
    const CLEANUPS: [(&str, Cleanup); 2] = [("delete", Cleanup::Delete), ("compact", Cleanup::Compact)];
    const COMPRESSIONS: [(&str, Compression); 3] =
        [("none", Compression::None), ("lz4", Compression::Lz4), ("zstd", Compression::Zstd)];
    if let Some(value) = section.foreign("max_bytes") {
        return Err(value.wrong(
            "belongs to the embedded log: retention of a Kafka topic is by time, whatever its size: set `retention`",
        ));
    }
    let brokers = section.required("brokers")?.parse(read_brokers)?;
    let prefix = match section.get("prefix") {
        Some(value) => value.parse(checked_prefix)?,
        None => checked_prefix(&format!("mysync.{source}")).map_err(|message| {
            let message = format!("`prefix` would be mysync.{source}, which {message}: set another");
            section.error(Mistake::Value, message)
        })?,
    };
    let topic = section.get("topic");
    let topics = topic.map_or(Ok(Topics::One(prefix.clone())), |value| value.parse(|text| topics(text, &prefix)))?;
    let kafka = KafkaSettings {
        brokers,
        source: source.to_owned(),
        prefix,
        topics,
        replication: section.get("replication").map_or(Ok(REPLICATION), |value| value.number(1, REPLICATION_MAX))?,
        cleanup: section.get("cleanup").map_or(Ok(Cleanup::default()), |value| value.one_of(&CLEANUPS))?,
        retention: section.get("retention").map_or(Ok(RETENTION), |value| value.parse(read_retention))?,
        group_time: section.get("group_time").map_or(Ok(GROUP_TIME), |value| value.parse(read_group_time))?,
        compression: section
            .get("compression")
            .map_or(Ok(Compression::default()), |value| value.one_of(&COMPRESSIONS))?,
        allow: section
            .get("allow")
            .map_or(Ok(Vec::new()), |value| value.each_one_of(&ALLOWABLE.map(|name| (name, name))))?,
        tls: section.get("tls").map(|value| read_tls(&value)).transpose()?,
        sasl: section.get("sasl").map(|value| read_sasl(&value)).transpose()?,
    };
    section.finish()?;
    Ok(kafka)
}

/// `host:port`, with commas between them.
fn read_brokers(text: &str) -> Result<Vec<String>, String> {
    text.split(',').map(|broker| read_broker(broker.trim())).collect()
}

fn read_broker(broker: &str) -> Result<String, String> {
    const EXPECTED: &str = "write \"host:port\", with commas between several, and IPv6 in brackets";
    let wrong = |message: &str| format!("has \"{broker}\", which {message}: {EXPECTED}");
    if broker.is_empty() {
        return Err(format!("names no broker, or has a comma too many: {EXPECTED}"));
    }
    let (host, port) = address_of(broker).map_err(|message| wrong(&message))?;
    let port = port.unwrap_or(PORT);
    if broker.starts_with('[') {
        let address: Ipv6Addr = host.parse().map_err(|_| wrong("has no IPv6 address in its brackets"))?;
        return Ok(format!("[{address}]:{port}"));
    }
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if host.chars().all(good) { Ok(format!("{host}:{port}")) } else { Err(wrong("names no host")) }
}

/// A name of a topic as Kafka takes it.
fn checked_topic(name: &str, most: usize) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.chars().all(good) {
        return Err("has characters that a name in Kafka cannot have: use letters, digits, '.', '_' and '-'".to_owned());
    }
    match name {
        "" => Err("is empty and must be a name".to_owned()),
        "." | ".." => Err("is a name that Kafka does not take".to_owned()),
        _ if name.len() > most => Err(format!(
            "is longer than {most} characters: with all that is added to it a name in Kafka has at most {NAME_BYTES_MAX}"
        )),
        _ => Ok(()),
    }
}

fn checked_prefix(prefix: &str) -> Result<String, String> {
    let longest = OWN_TOPICS.map(str::len).into_iter().max().unwrap_or(0);
    checked_topic(prefix, NAME_BYTES_MAX - longest)?;
    match OWN_TOPICS.iter().find(|suffix| prefix.ends_with(**suffix)) {
        Some(suffix) => Err(format!("ends in {suffix}, as only topics beside a log do")),
        None => Ok(prefix.to_owned()),
    }
}

fn topics(template: &str, prefix: &str) -> Result<Topics, String> {
    const HOLES: [&str; 2] = ["{database}", "{table}"];
    let template = template.replace("{prefix}", prefix);
    let fixed = HOLES.iter().fold(template.clone(), |text, hole| text.replacen(hole, "", 1));
    if let Some((_, rest)) = fixed.split_once('{') {
        let hole = rest.split_once('}').map_or(rest, |(name, _)| name);
        return Err(format!(
            "has {{{hole}}}, and may have {{prefix}}, and one {{database}} together with one {{table}}"
        ));
    }
    match HOLES.map(|hole| template.contains(hole)) {
        [false, false] => {
            checked_topic(&template, NAME_BYTES_MAX)?;
            match OWN_TOPICS.iter().find(|suffix| template == format!("{prefix}{suffix}")) {
                Some(_) => Err("is the name of another topic of this log: choose another".to_owned()),
                None => Ok(Topics::One(template)),
            }
        }
        [true, true] => {
            // At least one letter for each of both.
            checked_topic(&format!("x{fixed}x"), NAME_BYTES_MAX)?;
            match template.contains("}{") {
                true => {
                    Err("needs a '.' or the like between {database} and {table}: two tables could share a topic"
                        .to_owned())
                }
                false => Ok(Topics::PerTable(template)),
            }
        }
        [database, _] => {
            let (has, lacks) = if database { ("{database}", "{table}") } else { ("{table}", "{database}") };
            Err(format!("has {has} without {lacks}: write both for a topic of each table, or neither"))
        }
    }
}

fn read_retention(text: &str) -> Result<Duration, String> {
    match units::duration(text)? {
        retention if retention < RETENTION_MIN => Err(format!(
            "is \"{text}\", and Kafka deletes what is older whether writers have passed it or not: at least 1m"
        )),
        retention if retention > RETENTION_MAX => Err(format!("is \"{text}\", and may be 36500d at most")),
        retention => Ok(retention),
    }
}

fn read_group_time(text: &str) -> Result<Duration, String> {
    match units::duration(text)? {
        time if time > GROUP_TIME_MAX => Err(format!("is \"{text}\", and every change waits for as long: at most 1s")),
        time => Ok(time),
    }
}

fn read_tls(value: &Value<'_>) -> Result<KafkaTls, ConfigError> {
    let mut section = value.section("[log.tls]")?;
    let tls = KafkaTls {
        ca: section.get("ca").map(|value| value.path()).transpose()?,
        cert: section.get("cert").map(|value| value.path()).transpose()?,
        key: section.get("key").map(|value| value.path()).transpose()?,
        verify_hostname: section.get("verify_hostname").map_or(Ok(true), |value| value.flag())?,
    };
    super::check_pair(&section, &tls.cert, &tls.key)?;
    section.finish()?;
    Ok(tls)
}

fn read_sasl(value: &Value<'_>) -> Result<Sasl, ConfigError> {
    const MECHANISMS: [(&str, SaslMechanism); 3] = [
        ("plain", SaslMechanism::Plain),
        ("scram-sha-256", SaslMechanism::ScramSha256),
        ("scram-sha-512", SaslMechanism::ScramSha512),
    ];
    let mut section = value.section("[log.sasl]")?;
    let sasl = Sasl {
        mechanism: section.required("mechanism")?.one_of(&MECHANISMS)?,
        user: section.required("user")?.filled()?,
        password: Secret::new(section.required("password")?.filled()?),
    };
    section.finish()?;
    Ok(sasl)
}
