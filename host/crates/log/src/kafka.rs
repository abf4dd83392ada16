//! The log on a Kafka cluster, for more than one machine.
//!
//! **Promise.** What `append` has stored is there whole for readers, once and in order, with the checkpoint that covers it; nothing that a
//! former leader still sends is ever read. It is as durable as the topics are: preflight refuses settings that would break that.
//! **Topics.** `PREFIX` holds the records, or topics of tables do, which are made with the first row of each. `PREFIX.control` says which log
//! this is, how far it has come, and which topics it has.
//! **Who works at what.** Groups say who may try: to capture (`PREFIX.capture`), to deliver a partition (`PREFIX.writer.NAME`). Whose writing
//! counts is decided elsewhere: by the brokers for capture, by the store's fence for delivery.
//! **Retention** is Kafka's: by time, whether or not a writer has read the records. Who comes too late is told.

mod admin;
mod client;
mod control;
mod error;
mod follower;
mod group;
mod metrics;
mod orders;
mod outside;
mod preflight;
mod producer;
mod reader;
mod search;
mod seen;
mod settings;
mod tail;
mod writer;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use mysync_change::envelope::{self, LogId};
use mysync_change::pattern::Pattern;
use mysync_change::routing::{Layout, Routing};
use mysync_change::topics::{Topic, Topics};
use mysync_pipeline::assignment::Changes;
use mysync_pipeline::dump::{Order, OrderBook};
use mysync_pipeline::status::Board;
use rdkafka::topic_partition_list::Offset;
use tokio::sync::{Mutex, mpsc, watch};
use tracing::{info, warn};

pub use error::KafkaError;
pub use group::Member;
pub use metrics::describe;
pub use outside::{Outside, look};
pub use preflight::Breach;
pub use reader::KafkaReader;
pub use settings::{Cleanup, Compression, KafkaSettings, Sasl, Tls};
pub use writer::KafkaWriter;

use admin::Admin;
use control::{Control, Identity, State};
use preflight::{Facts, Limits};
use producer::Outgoing;
use reader::Reading;
use settings::TRANSACTION_TIMEOUT;
use tail::{Asker, Tail};

/// What is waited between two looks at what another process does.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a process that ends waits for its groups.
const LEAVE_TIME: Duration = Duration::from_secs(5);

/// The cluster's side of a log, checked.
struct Cluster {
    settings: KafkaSettings,
    routing: Routing,
    /// The largest message that each topic takes which this process has looked at.
    limits: StdMutex<Limits>,
    /// The log that it began with.
    log: OnceLock<LogId>,
    /// The cluster's own name.
    name: String,
    /// Those that hold records, as far as this process knows.
    topics: watch::Sender<Topics>,
    /// Whether this process leads.
    leads: watch::Sender<bool>,
    /// Asks about offsets of what is committed, and of all there is.
    asker: Arc<Asker>,
    uncommitted: Arc<Asker>,
    /// Held by every member of a group until it has left that.
    members: mpsc::Sender<()>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("settings", &self.settings).field("name", &self.name).finish_non_exhaustive()
    }
}

/// A log, as one process uses it.
#[derive(Debug)]
pub struct KafkaLog {
    cluster: Arc<Cluster>,
    readers: KafkaReaders,
    /// Ends when no member is left.
    left: mpsc::Receiver<()>,
}

impl KafkaLog {
    /// Connects, makes the topics that are missing, and checks that all of it keeps the log's promises.
    pub async fn open(settings: KafkaSettings) -> Result<Self, KafkaError> {
        let admin = Admin::new(&settings)?;
        let (members, left) = mpsc::channel(1);
        let Survey { mut facts, cluster, log } = survey(&admin, settings, members).await?;
        preflight::refuse(&facts.refused)?;
        let (settings, added) = (&cluster.settings, cluster.topics().added().to_vec());
        if log.is_some() {
            cluster.check_kept(&facts.missing)?;
        }
        if !facts.missing.is_empty() {
            preflight::make_missing(&admin, settings, &added, &facts.missing).await?;
            facts = preflight::look(&admin, settings, &added).await?;
            preflight::refuse(&facts.refused)?;
        }
        for Breach { what, .. } in &facts.allowed {
            warn!(code = "KAFKA_SETTING", "allowed by log.allow: {what}");
        }
        *cluster.limits() = facts.limits;
        let readers = KafkaReaders { cluster: cluster.clone(), known: Arc::new(Mutex::new(log)) };
        Ok(Self { cluster, readers, left })
    }

    /// Tells this log apart from others, before there is one: of its cluster and its prefix.
    pub fn name(&self) -> String {
        format!("kafka:{}/{}", self.cluster.name, self.cluster.settings.prefix)
    }

    /// For capture.
    pub fn writer(&self, board: Arc<Board>) -> KafkaWriter {
        KafkaWriter::new(self.cluster.clone(), board)
    }

    /// Of this log, as soon as there is one.
    pub fn readers(&self) -> KafkaReaders {
        self.readers.clone()
    }

    /// Joins the group of a writer's delivery: it says which partitions of the topics of its tables are this process's.
    pub fn join(&self, writer: &str, tables: &[Pattern]) -> Result<(Member, Changes), KafkaError> {
        let settings = &self.cluster.settings;
        let (topics, tables) = (self.cluster.topics.subscribe(), tables.to_vec());
        Member::join(settings, &settings.writer_group(writer), topics, tables, self.cluster.members.clone())
    }

    /// Keeps the board of a process that does not lead as the leader's is: how far the log has come, when the source was heard, and its dumps.
    /// Until it is dropped.
    pub fn follow(&self, board: Arc<Board>) -> impl Future<Output = ()> + Send + use<> {
        follower::follow(self.cluster.clone(), board)
    }

    /// Takes this process's orders to whoever leads, and carries out those of all processes while it leads itself. Until it is dropped.
    pub fn carry_orders(&self, given: OrderBook, book: mpsc::Sender<Order>) -> impl Future<Output = ()> + Send + use<> {
        orders::carry(self.cluster.clone(), given, book)
    }

    /// Waits until its members have left their groups, so that others need not wait for their silence. Everything else of it has ended.
    pub async fn close(mut self) {
        drop((self.cluster, self.readers));
        let _ = tokio::time::timeout(LEAVE_TIME, self.left.recv()).await;
    }
}

/// What is there of a log.
struct Survey {
    facts: Facts,
    cluster: Arc<Cluster>,
    /// None: there is no log yet.
    log: Option<Known>,
}

/// Looks at everything, and changes nothing.
async fn survey(admin: &Admin, settings: KafkaSettings, members: mpsc::Sender<()>) -> Result<Survey, KafkaError> {
    let facts = preflight::look(admin, &settings, &[]).await?;
    let has_control = !facts.missing.contains(&settings.control_topic());
    let cluster = Arc::new(Cluster::new(settings, facts.limits.clone(), facts.cluster.clone(), members));
    if !has_control {
        return Ok(Survey { facts, cluster, log: None });
    }
    let mut control = Control::new(&cluster, &cluster.settings.capture_name())?;
    let Some(id) = cluster.learn(control.catch_up().await?)? else {
        return Ok(Survey { facts, cluster, log: None });
    };
    let added = cluster.topics().added().to_vec();
    let facts = if added.is_empty() { facts } else { preflight::look(admin, &cluster.settings, &added).await? };
    Ok(Survey { facts, cluster, log: Some(Known { id, control: Arc::new(Mutex::new(control)) }) })
}

/// Makes readers of a log's partitions.
#[derive(Debug, Clone)]
pub struct KafkaReaders {
    cluster: Arc<Cluster>,
    /// The log, once it is known that there is one.
    known: Arc<Mutex<Option<Known>>>,
}

#[derive(Debug, Clone)]
struct Known {
    id: LogId,
    control: Arc<Mutex<Control>>,
}

impl KafkaReaders {
    /// For a writer's delivery in one partition; waits until there is a log. Without a member it looks and never advances.
    pub async fn open(
        &self,
        writer: &str,
        partition: u32,
        member: Option<Arc<Member>>,
    ) -> Result<KafkaReader, KafkaError> {
        let Known { id, control } = self.current().await?;
        let cluster = self.cluster.clone();
        let group = cluster.settings.writer_group(writer);
        KafkaReader::new(Reading { cluster, id, control, member }, &group, partition)
    }

    /// Those that may hold rows of these tables, as far as is known.
    pub fn partitions(&self, tables: &[Pattern]) -> Vec<u32> {
        let topics = self.cluster.topics.borrow();
        topics.of(tables).flat_map(|topic| topic.first..topic.first + topic.partitions).collect()
    }

    /// Learns of topics that the log has added since, for those who follow no leader.
    pub async fn look_again(&self) -> Result<(), KafkaError> {
        let Known { control, .. } = self.current().await?;
        self.cluster.learn(control.lock().await.catch_up().await?)?;
        Ok(())
    }

    /// The log that is there now.
    async fn current(&self) -> Result<Known, KafkaError> {
        let mut known = self.known.lock().await;
        if let Some(Known { id, control }) = &*known
            && control.lock().await.catch_up().await?.identity.as_ref().is_some_and(|(now, _)| now == id)
        {
            return Ok(Known { id: *id, control: control.clone() });
        }
        Ok(known.insert(self.wait().await?).clone())
    }

    async fn wait(&self) -> Result<Known, KafkaError> {
        let mut control = Control::new(&self.cluster, &self.cluster.settings.capture_name())?;
        let mut waits = false;
        loop {
            if let Some(id) = self.cluster.learn(control.catch_up().await?)? {
                return Ok(Known { id, control: Arc::new(Mutex::new(control)) });
            }
            if !std::mem::replace(&mut waits, true) {
                info!(
                    topic = self.cluster.settings.control_topic(),
                    "waiting for a process that captures: there is no log yet"
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Cluster {
    fn new(settings: KafkaSettings, limits: Limits, name: String, members: mpsc::Sender<()>) -> Self {
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
            limits: StdMutex::new(limits),
            log: OnceLock::new(),
            name,
            topics,
            leads: watch::Sender::new(false),
            asker,
            uncommitted,
            members,
        }
    }

    fn topics(&self) -> Topics {
        self.topics.borrow().clone()
    }

    /// The log has added these. What is read late may be of before: it only ever adds tables.
    fn know(&self, added: &[Topic]) {
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
    fn place(&self, partition: u32) -> Result<(String, u32), KafkaError> {
        place(&self.topics.borrow(), partition)
    }

    /// Takes in what the control topic says: it is the log that is meant, and has these topics. None: there is no log yet.
    fn learn(&self, state: &State) -> Result<Option<LogId>, KafkaError> {
        let Some((id, identity)) = &state.identity else { return Ok(None) };
        self.check_identity(identity)?;
        self.check_numbers(*id)?;
        self.know(&state.topics);
        Ok(Some(*id))
    }

    fn limits(&self) -> MutexGuard<'_, Limits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In another log than the one that this process began with the partitions of tables have other numbers.
    fn check_numbers(&self, id: LogId) -> Result<(), KafkaError> {
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
        let (mut stored, configured) = (identity.routing.clone(), &self.routing);
        if stored.topic.is_none() {
            stored.topic.clone_from(&configured.topic);
        }
        if stored == *configured {
            return Ok(());
        }
        Err(KafkaError::Routing { stored: stored.to_string(), configured: configured.to_string() })
    }

    /// A compacted topic that was made anew would pass for one whose older records were replaced by newer ones.
    fn check_kept(&self, missing: &[String]) -> Result<(), KafkaError> {
        let topics = self.topics();
        let gone = topics.list().iter().find(|topic| missing.contains(&topic.name));
        match (self.settings.cleanup, gone) {
            (Cleanup::Compact, Some(gone)) => Err(KafkaError::RecordsGone { topic: gone.name.clone() }),
            _ => Ok(()),
        }
    }

    /// All topics are there, these that were added among them, and as they have to be.
    async fn check_topics(&self, added: &[Topic]) -> Result<(), KafkaError> {
        let admin = Admin::new(&self.settings)?;
        let limits = preflight::look_again(&admin, &self.settings, added).await?;
        *self.limits() = limits;
        Ok(())
    }

    /// Waits until everything that was sent to a partition by now is committed or not, for as long as a transaction may take: what is not seen
    /// then is not there. False: something is still open.
    async fn settle(&self, topic: &str, partition: u32) -> Result<bool, KafkaError> {
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
    async fn check_empty(&self) -> Result<(), KafkaError> {
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
    async fn has_records(&self, topic: &Topic) -> Result<bool, KafkaError> {
        for partition in 0..topic.partitions {
            let tail = Tail::from(self, &self.settings.capture_name(), &topic.name, partition, Offset::Beginning)?;
            if tail.next().await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A table's topic is none of those that the log has anyway, and can be called so.
    fn check_name(&self, topic: &Topic) -> Result<(), KafkaError> {
        let (settings, name) = (&self.settings, &topic.name);
        let own = [settings.topic.clone(), settings.control_topic(), settings.orders_topic()];
        match name {
            name if own.contains(name) => Err(self.bad_name(topic, "is another topic of this log")),
            name if name.len() > NAME_BYTES_MAX => Err(self.bad_name(topic, "is longer than Kafka takes")),
            _ => Ok(()),
        }
    }

    fn bad_name(&self, topic: &Topic, what: &'static str) -> KafkaError {
        let table = topic.tables.first().map(|(database, table)| format!("{database}.{table}"));
        KafkaError::TopicName { topic: topic.name.clone(), table: table.unwrap_or_default(), what }
    }

    /// Tells which message is too large before Kafka says that one is.
    fn check_size(&self, message: &Outgoing<'_>) -> Result<(), KafkaError> {
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
fn place(topics: &Topics, partition: u32) -> Result<(String, u32), KafkaError> {
    let found = topics.place(partition).map(|(topic, there)| (topic.name.clone(), there));
    found.ok_or(KafkaError::Untold { partition })
}

/// Kafka's own bound.
const NAME_BYTES_MAX: usize = 249;

/// What Kafka adds to a message, at most, beside its key and value: headers of batch and record.
const MESSAGE_OVERHEAD: usize = 512;

/// This process, as people know it: its machine, and its number there.
fn process_name() -> String {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine = if machine.trim().is_empty() { "unknown" } else { machine.trim() };
    format!("{machine}:{}", std::process::id())
}

/// Random enough to tell logs and leaders apart.
fn random_id() -> LogId {
    let chance = || RandomState::new().hash_one(std::process::id()).to_be_bytes();
    let mut id = [0; 16];
    id[..8].copy_from_slice(&chance());
    id[8..].copy_from_slice(&chance());
    LogId(id)
}
