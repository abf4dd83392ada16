//! The cluster's side of a log: what this process knows of it, and what has to hold there before it reads or writes.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use mysync_change::envelope::{self, LogId};
use mysync_change::routing::{Layout, Routing};
use mysync_change::topics::{Topic, Topics};
use rdkafka::topic_partition_list::Offset;
use tokio::sync::{mpsc, watch};

use super::LOOK_EVERY;
use super::admin::Admin;
use super::control::{Identity, State};
use super::error::KafkaError;
use super::preflight::{self, Limits};
use super::producer::Outgoing;
use super::settings::{Cleanup, KafkaSettings, TRANSACTION_TIMEOUT};
use super::tail::{Asker, Tail};

/// Kafka's own bound.
const NAME_BYTES_MAX: usize = 249;
/// What Kafka adds to a message, at most, beside its key and value: headers of batch and record.
const MESSAGE_OVERHEAD: usize = 512;

pub struct Cluster {
    pub(super) settings: KafkaSettings,
    pub(super) routing: Routing,
    /// The largest message that each topic takes, as it was when this process began to lead.
    limits: Mutex<Limits>,
    /// The log that it began with.
    log: OnceLock<LogId>,
    /// The cluster's own name.
    pub(super) name: String,
    /// Those that hold records, as far as this process knows.
    pub(super) topics: watch::Sender<Topics>,
    /// Whether this process leads.
    pub(super) leads: watch::Sender<bool>,
    /// Asks about offsets of what is committed, and of all there is.
    pub(super) asker: Arc<Asker>,
    uncommitted: Arc<Asker>,
    /// Held by every member of a group until it has left that.
    pub(super) members: mpsc::Sender<()>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("settings", &self.settings).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Cluster {
    pub(super) fn new(settings: KafkaSettings, name: String, members: mpsc::Sender<()>) -> Self {
        let layout = match settings.cleanup {
            Cleanup::Delete => Layout::Runs,
            Cleanup::Compact => Layout::Keyed,
        };
        let topic = settings.by_table.as_ref().unwrap_or(&settings.topic);
        let routing = Routing::new(settings.partitions, layout, Some(topic.clone()));
        let topics = watch::Sender::new(settings.topics());
        let (asker, uncommitted) = (Arc::new(Asker::new(&settings)), Arc::new(Asker::uncommitted(&settings)));
        Self {
            settings,
            routing,
            limits: Mutex::default(),
            log: OnceLock::new(),
            name,
            topics,
            leads: watch::Sender::new(false),
            asker,
            uncommitted,
            members,
        }
    }

    pub(super) fn topics(&self) -> Topics {
        self.topics.borrow().clone()
    }

    /// The log has added these. What is read late may be of before: it only ever adds tables.
    pub(super) fn know(&self, added: &[Topic]) {
        let tables = |topics: &[Topic]| topics.iter().map(|topic| topic.tables.len()).sum::<usize>();
        self.topics.send_if_modified(|topics| {
            let is_news = tables(added) > tables(topics.added());
            if is_news {
                *topics = self.settings.topics().with(added.iter().cloned());
            }
            is_news
        });
    }

    /// The topic that a partition of the log is in, and which one it is there.
    pub(super) fn place(&self, partition: u32) -> Result<(String, u32), KafkaError> {
        place(&self.topics.borrow(), partition)
    }

    /// Takes in what the control topic says: it is the log that is meant, and has these topics. None: there is no log yet.
    pub(super) fn learn(&self, state: &State) -> Result<Option<LogId>, KafkaError> {
        let Some((id, identity)) = &state.identity else { return Ok(None) };
        self.check_identity(identity)?;
        self.check_numbers(*id)?;
        self.know(&state.topics);
        Ok(Some(*id))
    }

    pub(super) fn limits(&self) -> MutexGuard<'_, Limits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In another log than the one that this process began with the partitions of tables have other numbers.
    pub(super) fn check_numbers(&self, id: LogId) -> Result<(), KafkaError> {
        let former = *self.log.get_or_init(|| id);
        if former == id || self.settings.by_table.is_none() {
            return Ok(());
        }
        Err(KafkaError::Renumbered { former: former.to_string(), now: id.to_string() })
    }

    /// It is of this source, and laid out as is configured.
    fn check_identity(&self, identity: &Identity) -> Result<(), KafkaError> {
        let KafkaSettings { source, prefix, .. } = &self.settings;
        if &identity.source != source {
            let (stored, configured, prefix) = (identity.source.clone(), source.clone(), prefix.clone());
            return Err(KafkaError::OtherSource { prefix, stored, configured });
        }
        let (stored, configured) = (&identity.routing, &self.routing);
        if stored == configured {
            return Ok(());
        }
        Err(KafkaError::Routing { stored: stored.to_string(), configured: configured.to_string() })
    }

    /// A compacted topic that was made anew would pass for one whose older records were replaced by newer ones.
    pub(super) fn check_kept(&self, missing: &[String]) -> Result<(), KafkaError> {
        let topics = self.topics();
        let gone = topics.list().iter().find(|topic| missing.contains(&topic.name));
        match (self.settings.cleanup, gone) {
            (Cleanup::Compact, Some(gone)) => Err(KafkaError::RecordsGone { topic: gone.name.clone() }),
            _ => Ok(()),
        }
    }

    /// All topics are there, these that were added among them, and as they have to be.
    pub(super) async fn check_topics(&self, added: &[Topic]) -> Result<(), KafkaError> {
        let admin = Admin::new(&self.settings)?;
        let limits = preflight::look_again(&admin, &self.settings, added).await?;
        *self.limits() = limits;
        Ok(())
    }

    /// Waits until everything that was sent to a partition by now is committed or not, for as long as a transaction may take: what is not seen
    /// then is not there. False: something is still open.
    pub(super) async fn settle(&self, topic: &str, partition: u32) -> Result<bool, KafkaError> {
        let deadline = Instant::now() + TRANSACTION_TIMEOUT;
        let asked = async {
            let (_, all) = self.uncommitted.bounds(topic, partition).await?;
            loop {
                let (_, committed) = self.asker.bounds(topic, partition).await?;
                if committed >= all || Instant::now() > deadline {
                    return Ok(committed >= all);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        asked.await.map_err(|error| KafkaError::of("looking into the log", &error))
    }

    /// Nothing is left of a log: one that loses its control topic must not begin anew under what it has written.
    pub(super) async fn check_empty(&self) -> Result<(), KafkaError> {
        for topic in self.settings.topics().list() {
            for partition in 0..topic.partitions {
                let asked = self.asker.bounds(&topic.name, partition).await;
                let (_, end) = asked.map_err(|error| KafkaError::of("looking into the log", &error))?;
                if end > 0 {
                    let control = self.settings.control_topic();
                    return Err(KafkaError::ControlLost { topic: topic.name.clone(), control });
                }
            }
        }
        Ok(())
    }

    /// Whether anything was ever committed to a topic and is still there.
    pub(super) async fn has_records(&self, topic: &Topic) -> Result<bool, KafkaError> {
        for partition in 0..topic.partitions {
            let tail = Tail::from(self, &self.settings.capture_name(), &topic.name, partition, Offset::Beginning)?;
            if tail.next().await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A table's topic is none of those that the log has anyway, and can be called so.
    pub(super) fn check_name(&self, topic: &Topic) -> Result<(), KafkaError> {
        let (settings, name) = (&self.settings, &topic.name);
        let own = [settings.topic.clone(), settings.control_topic(), settings.orders_topic()];
        match name {
            name if own.contains(name) => Err(self.bad_name(topic, "is another topic of this log")),
            name if name.len() > NAME_BYTES_MAX => Err(self.bad_name(topic, "is longer than Kafka takes")),
            _ => Ok(()),
        }
    }

    pub(super) fn bad_name(&self, topic: &Topic, what: &'static str) -> KafkaError {
        let table = topic.tables.first().map(|(database, table)| format!("{database}.{table}"));
        KafkaError::TopicName { topic: topic.name.clone(), table: table.unwrap_or_default(), what }
    }

    /// Tells which message is too large before Kafka says that one is.
    pub(super) fn check_size(&self, message: &Outgoing<'_>) -> Result<(), KafkaError> {
        let bytes = message.bytes.len() + message.key.map_or(0, <[u8]>::len) + MESSAGE_OVERHEAD;
        let max = self.limits().get(message.topic).copied().unwrap_or(usize::MAX);
        if bytes <= max {
            return Ok(());
        }
        let topic = message.topic.to_owned();
        // What is no row's is the log's own, by its key.
        let what = match envelope::read(message.bytes, 0) {
            Ok(Some((envelope, _))) => format!("transaction {}", envelope.header.transaction.to_id()),
            _ => format!("record {}", String::from_utf8_lossy(message.key.unwrap_or_default())),
        };
        Err(KafkaError::TooLarge { topic, what, bytes, max })
    }
}

/// Where a partition of the log is.
pub(super) fn place(topics: &Topics, partition: u32) -> Result<(String, u32), KafkaError> {
    let found = topics.place(partition).map(|(topic, there)| (topic.name.clone(), there));
    found.ok_or(KafkaError::Untold { partition })
}
