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
mod cluster;
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

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use mysync_change::envelope::LogId;
use mysync_change::pattern::Pattern;
use mysync_pipeline::assignment::Changes;
use mysync_pipeline::dump::{Order, OrderBook};
use mysync_pipeline::status::Board;
use tokio::sync::{Mutex, mpsc};
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
use cluster::Cluster;
use control::Control;
use preflight::Facts;
use reader::Reading;

/// What is waited between two looks at what another process does.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a process that ends waits for its groups.
const LEAVE_TIME: Duration = Duration::from_secs(5);

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
    let cluster = Arc::new(Cluster::new(settings, facts.cluster.clone(), members));
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
