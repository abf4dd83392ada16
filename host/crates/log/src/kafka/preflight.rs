//! What the cluster and its topics have to be like, so that the log keeps its promises; each finding names its setting and the way on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mysync_change::topics::Topic;

use super::admin::{Admin, Found, Values, Wanted};
use super::error::KafkaError;
use super::settings::{Cleanup, KafkaSettings, SESSION_TIMEOUT};

/// Of the control topic: small pieces, compacted soon, so that a leader reads little at its start.
const CONTROL_SEGMENT_BYTES: u64 = 16 << 20;
const CONTROL_SEGMENT_MS: u64 = 600_000;
/// Of the orders' topic: long enough to see what somebody ordered lately.
const ORDERS_MS: u64 = 24 * 3600 * 1000;
/// What a topic is made to take: more than any block of rows, and rows that are large for a database.
const MESSAGE_BYTES: usize = 8 << 20;
/// Less than this refuses what is no large row by anybody's measure: messages are made up to a quarter of it.
const MESSAGE_BYTES_LEAST: usize = 1 << 20;
/// What a broker takes unless it is told otherwise.
const MESSAGE_BYTES_DEFAULT: usize = 1_048_588;

/// How long a topic that was just made may be unknown to some broker, or to one that was just started.
const FIND_TRIES: u32 = 50;
const FIND_PAUSE: Duration = Duration::from_millis(200);

/// The largest message that a topic takes, by its name.
pub type Limits = BTreeMap<String, usize>;

/// What was found of a cluster.
#[derive(Debug)]
pub struct Facts {
    pub cluster: String,
    /// Topics that are not there.
    pub missing: Vec<String>,
    /// What the operator has allowed.
    pub allowed: Vec<Breach>,
    pub refused: Vec<Breach>,
}

/// Something that breaks a promise.
#[derive(Debug, Clone)]
pub struct Breach {
    /// As Kafka names it, and `log.allow`.
    pub setting: &'static str,
    /// With the way on.
    pub what: String,
    /// Nothing works with it: it cannot be allowed.
    pub is_fatal: bool,
}

/// Checks everything that is there of a log that has added these topics. What is not there would be made as it has to be.
pub async fn look(admin: &Admin, settings: &KafkaSettings, added: &[Topic]) -> Result<Facts, KafkaError> {
    let (cluster, brokers) = admin.cluster().await?;
    let Looked { missing, mut breaches, .. } = check_all(admin, settings, &wanted(settings, added)).await?;
    if let Some(id) = brokers.first() {
        check_broker(&admin.broker(*id).await?, brokers.len(), &mut breaches);
    }
    let (refused, allowed) = breaches.into_iter().partition(|breach| breach.is_refused(settings));
    Ok(Facts { cluster, missing, allowed, refused })
}

/// Makes those of the log's topics that are missing.
pub async fn make_missing(
    admin: &Admin,
    settings: &KafkaSettings,
    added: &[Topic],
    missing: &[String],
) -> Result<(), KafkaError> {
    for wanted in wanted(settings, added).iter().filter(|wanted| missing.contains(&wanted.name)) {
        make(admin, settings, wanted).await?;
    }
    Ok(())
}

/// Checks the topics of a log once more, which are all there. Answers the largest message that each takes.
pub async fn look_again(admin: &Admin, settings: &KafkaSettings, added: &[Topic]) -> Result<Limits, KafkaError> {
    let all = wanted(settings, added);
    let mut tries = 0;
    loop {
        let Looked { limits, missing, breaches } = check_all(admin, settings, &all).await?;
        let Some(topic) = missing.into_iter().next() else {
            refuse_unless_allowed(settings, breaches)?;
            return Ok(limits);
        };
        // A broker that was just started knows of it a moment later.
        if tries == FIND_TRIES {
            return Err(KafkaError::TopicGone { topic });
        }
        tries += 1;
        tokio::time::sleep(FIND_PAUSE).await;
    }
}

/// Makes a topic for a table, unless it is there, and checks it. Answers the largest message that it takes.
pub async fn make_records(admin: &Admin, settings: &KafkaSettings, topic: &Topic) -> Result<usize, KafkaError> {
    let wanted = records_in(settings, &topic.name, topic.partitions);
    let found = match admin.find(&[&topic.name]).await?.remove(&topic.name) {
        Some(found) => found,
        None => make(admin, settings, &wanted).await?,
    };
    let mut breaches = Vec::new();
    let max = check(settings, &wanted, &found, &mut breaches)?;
    refuse_unless_allowed(settings, breaches)?;
    Ok(max)
}

/// What was found of topics.
struct Looked {
    /// The largest message that each takes.
    limits: Limits,
    missing: Vec<String>,
    breaches: Vec<Breach>,
}

async fn check_all(admin: &Admin, settings: &KafkaSettings, all: &[Wanted]) -> Result<Looked, KafkaError> {
    let mut found = admin.find(&all.iter().map(|wanted| &*wanted.name).collect::<Vec<_>>()).await?;
    let mut looked = Looked { limits: Limits::new(), missing: Vec::new(), breaches: Vec::new() };
    for wanted in all {
        let found = found.remove(&wanted.name).unwrap_or_else(|| {
            looked.missing.push(wanted.name.clone());
            wanted.as_made(settings.replication)
        });
        let max = check(settings, wanted, &found, &mut looked.breaches)?;
        looked.limits.insert(wanted.name.clone(), max);
    }
    Ok(looked)
}

impl Breach {
    fn is_refused(&self, settings: &KafkaSettings) -> bool {
        self.is_fatal || !settings.allows(self.setting)
    }
}

fn refuse_unless_allowed(settings: &KafkaSettings, mut breaches: Vec<Breach>) -> Result<(), KafkaError> {
    breaches.retain(|breach| breach.is_refused(settings));
    refuse(&breaches)
}

/// Says all of them in one error.
pub fn refuse(breaches: &[Breach]) -> Result<(), KafkaError> {
    if breaches.is_empty() {
        return Ok(());
    }
    let all: Vec<&str> = breaches.iter().map(|breach| breach.what.as_str()).collect();
    let can_be_allowed = breaches.iter().filter(|breach| !breach.is_fatal);
    let names: BTreeSet<String> = can_be_allowed.map(|breach| format!("\"{}\"", breach.setting)).collect();
    let way_out = if names.is_empty() {
        String::new()
    } else {
        let names = Vec::from_iter(names).join(", ");
        format!(". Whoever can live with that says so by name: log.allow = [{names}]")
    };
    Err(KafkaError::Setting(format!("{}{way_out}", all.join(". "))))
}

async fn make(admin: &Admin, settings: &KafkaSettings, wanted: &Wanted) -> Result<Found, KafkaError> {
    admin.make(wanted, settings.replication).await?;
    for _ in 0..FIND_TRIES {
        if let Some(found) = admin.find(&[&wanted.name]).await?.remove(&wanted.name) {
            return Ok(found);
        }
        tokio::time::sleep(FIND_PAUSE).await;
    }
    Err(KafkaError::Unreachable {
        doing: format!("looking at topic {}", wanted.name),
        reason: "it was made, and not every broker knows of it yet".to_owned(),
    })
}

/// The topics that every log has, and those that this one has added.
fn wanted(settings: &KafkaSettings, added: &[Topic]) -> Vec<Wanted> {
    let control = vec![
        ("cleanup.policy", "compact".to_owned()),
        ("segment.bytes", CONTROL_SEGMENT_BYTES.to_string()),
        ("segment.ms", CONTROL_SEGMENT_MS.to_string()),
        ("min.cleanable.dirty.ratio", "0.2".to_owned()),
    ];
    // Nobody looks at orders of before.
    let orders = vec![("cleanup.policy", "delete".to_owned()), ("retention.ms", ORDERS_MS.to_string())];
    let topics = settings.topics().with(added.iter().cloned());
    let records = topics.list().iter().map(|topic| records_in(settings, &topic.name, topic.partitions));
    let beside = [(settings.control_topic(), control), (settings.orders_topic(), orders)];
    let beside = beside.map(|(name, more)| Wanted { name, partitions: 1, settings: always(settings, more) });
    records.chain(beside).collect()
}

/// A topic with records.
fn records_in(settings: &KafkaSettings, name: &str, partitions: u32) -> Wanted {
    let retention = settings.retention.as_millis().to_string();
    let more = match settings.cleanup {
        Cleanup::Delete => vec![
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", retention),
            ("retention.bytes", "-1".to_owned()),
        ],
        Cleanup::Compact => vec![
            ("cleanup.policy", "compact".to_owned()),
            ("min.compaction.lag.ms", retention.clone()),
            ("delete.retention.ms", retention),
        ],
    };
    Wanted { name: name.to_owned(), partitions, settings: always(settings, more) }
}

fn always(settings: &KafkaSettings, more: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    let in_sync = if settings.replication > 1 { 2 } else { 1 };
    let mut all = vec![
        // What is old enough to go is told by one clock, and not by each leader's.
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        ("min.insync.replicas", in_sync.to_string()),
        ("unclean.leader.election.enable", "false".to_owned()),
        ("max.message.bytes", MESSAGE_BYTES.to_string()),
    ];
    all.extend(more);
    all
}

impl Wanted {
    /// What it would be if it was made now.
    fn as_made(&self, replication: u16) -> Found {
        let settings = self.settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Found { partitions: self.partitions, replicas: replication.into(), settings }
    }
}

fn number(values: &Values, name: &str) -> Option<i64> {
    values.get(name)?.parse().ok()
}

/// Answers the largest message that the topic takes.
fn check(
    settings: &KafkaSettings,
    wanted: &Wanted,
    found: &Found,
    breaches: &mut Vec<Breach>,
) -> Result<usize, KafkaError> {
    let topic = &wanted.name;
    if found.partitions != wanted.partitions {
        return Err(KafkaError::Routing {
            stored: format!("{} partitions of topic {topic}", found.partitions),
            configured: format!("{} partitions", wanted.partitions),
        });
    }
    let mut find = |setting, what: String| breaches.push(Breach { setting, what, is_fatal: false });
    let values = &found.settings;
    let cure = |setting: &str, value: &str| {
        format!("kafka-configs --alter --topic {topic} --add-config {setting}={value} mends that")
    };
    if found.replicas < 2 || found.replicas < usize::from(settings.replication) {
        find(
            "replication.factor",
            format!(
                "topic {topic} has {} replicas and log.replication says {}: with a single one a lost disk loses acknowledged changes. Make it \
                 anew with more, or set log.replication",
                found.replicas, settings.replication
            ),
        );
    }
    if number(values, "min.insync.replicas").is_some_and(|least| least < 2) && found.replicas > 1 {
        find(
            "min.insync.replicas",
            format!(
                "topic {topic} has min.insync.replicas=1: what one broker has acknowledged is lost with it. {}",
                cure("min.insync.replicas", "2")
            ),
        );
    }
    if values.get("unclean.leader.election.enable").is_some_and(|value| value == "true") {
        find(
            "unclean.leader.election.enable",
            format!(
                "topic {topic} has unclean.leader.election.enable=true: a broker that missed acknowledged changes may become its leader. {}",
                cure("unclean.leader.election.enable", "false")
            ),
        );
    }
    let in_runs = wanted.settings.iter().any(|(name, _)| *name == "retention.bytes");
    if let Some(bytes) = number(values, "retention.bytes").filter(|bytes| in_runs && *bytes >= 0) {
        find(
            "retention.bytes",
            format!(
                "topic {topic} has retention.bytes={bytes}: it deletes records by size, whether writers have read them or not, and however young \
                 they are. {}",
                cure("retention.bytes", "-1")
            ),
        );
    }
    for name in ["retention.ms", "min.compaction.lag.ms", "delete.retention.ms"] {
        let Some((setting, value)) = wanted.settings.iter().find(|(setting, _)| *setting == name) else { continue };
        let (has, wants) = (number(values, name), value.parse::<i64>().unwrap_or(0));
        // A negative one means: for ever.
        if has.is_some_and(|has| (0..wants).contains(&has)) {
            find(
                setting,
                format!(
                    "topic {topic} has {name}={}, and log.retention wants {wants}: a writer that is away longer loses changes. {}",
                    has.unwrap_or(0),
                    cure(name, value)
                ),
            );
        }
    }
    let policy = values.get("cleanup.policy").map_or("delete", String::as_str);
    let asked = wanted.settings.iter().find(|(name, _)| *name == "cleanup.policy").map_or("delete", |(_, value)| value);
    if policy != asked {
        let what = format!(
            "topic {topic} has cleanup.policy={policy}, and it has to be {asked}: {}",
            cure("cleanup.policy", asked)
        );
        // Rows that share a message have no key, and a compacted topic takes nothing without one.
        breaches.push(Breach { setting: "cleanup.policy", what, is_fatal: in_runs });
    }
    let max = number(values, "max.message.bytes").map_or(MESSAGE_BYTES_DEFAULT, |max| max as usize);
    if max < MESSAGE_BYTES_LEAST {
        let what = format!(
            "topic {topic} has max.message.bytes={max}, which is less than many rows in one message take: set it to {MESSAGE_BYTES}"
        );
        breaches.push(Breach { setting: "max.message.bytes", what, is_fatal: false });
    }
    Ok(max)
}

/// What tells of its age a broker says by what it can be set to.
fn check_broker(values: &Values, brokers: usize, breaches: &mut Vec<Breach>) {
    let mut find = |setting, what: String| breaches.push(Breach { setting, what, is_fatal: false });
    if values.contains_key("inter.broker.protocol.version") {
        find(
            "broker.version",
            "the brokers are older than Kafka 4.0, and a late request of a leader that was replaced may end a transaction of its \
             successor: use newer ones"
                .to_owned(),
        );
    }
    if values.get("transaction.partition.verification.enable").is_none_or(|value| value != "true") {
        find(
            "transaction.partition.verification.enable",
            "the brokers do not have transaction.partition.verification.enable=true: a late request may leave a transaction that nobody \
             ends, behind which nothing is read any more. Set it"
                .to_owned(),
        );
    }
    if values.get("log.cleaner.enable").is_some_and(|value| value == "false") {
        find(
            "log.cleaner.enable",
            "the brokers have log.cleaner.enable=false: compacted topics, the control topic among them, only grow. Set it to true".to_owned(),
        );
    }
    let session = SESSION_TIMEOUT.as_millis() as i64;
    if let Some(least) = number(values, "group.min.session.timeout.ms").filter(|least| *least > session) {
        find(
            "group.min.session.timeout.ms",
            format!(
                "the brokers have group.min.session.timeout.ms={least}, and let nobody into a group who wants to be missed after {session} \
                 ms: lower it"
            ),
        );
    }
    if brokers < 2 {
        return;
    }
    for name in [
        "transaction.state.log.replication.factor",
        "transaction.state.log.min.isr",
        "offsets.topic.replication.factor",
    ] {
        if let Some(value) = number(values, name).filter(|value| *value < 2) {
            find(
                name,
                format!(
                    "the brokers have {name}={value}: with one broker goes the record of what was committed. Set it to 2 or 3 (for the \
                     topic that is there: kafka-reassign-partitions)"
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found of brokers that have these settings beside the usual ones.
    fn found(more: &[(&str, &str)], brokers: usize) -> Vec<&'static str> {
        let usual = [
            ("transaction.partition.verification.enable", "true"),
            ("log.cleaner.enable", "true"),
            ("group.min.session.timeout.ms", "6000"),
            ("transaction.state.log.replication.factor", "3"),
            ("transaction.state.log.min.isr", "2"),
            ("offsets.topic.replication.factor", "3"),
        ];
        let values = usual.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut breaches = Vec::new();
        check_broker(&values, brokers, &mut breaches);
        breaches.into_iter().map(|breach| breach.setting).collect()
    }

    #[test]
    fn a_broker_is_known_by_its_settings() {
        assert_eq!(found(&[], 3), [""; 0]);
        assert_eq!(found(&[("inter.broker.protocol.version", "3.9-IV0")], 3), ["broker.version"]);
        for (name, value) in [
            ("transaction.partition.verification.enable", "false"),
            ("log.cleaner.enable", "false"),
            ("group.min.session.timeout.ms", "10000"),
            ("transaction.state.log.min.isr", "1"),
            ("offsets.topic.replication.factor", "1"),
        ] {
            assert_eq!(found(&[(name, value)], 3), [name]);
        }
        assert_eq!(found(&[("transaction.state.log.min.isr", "1")], 1), [""; 0], "one broker has no others");
    }

    #[test]
    fn brokers_of_before_the_setting_are_found_out_as_well() {
        let mut breaches = Vec::new();
        check_broker(&Values::new(), 1, &mut breaches);
        let settings: Vec<&str> = breaches.iter().map(|breach| breach.setting).collect();
        assert_eq!(settings, ["transaction.partition.verification.enable"]);
    }
}
