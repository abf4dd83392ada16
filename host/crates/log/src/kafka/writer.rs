//! The log on Kafka as capture sees it.
//!
//! **Promise.** An append is one transaction: its records, its shapes and its checkpoint are all there for readers, or none of them.
//! **Leading.** The group of capture says who may try. The brokers decide: whoever takes over the log's transactions last is the leader, and
//! nothing that a former one still sends is ever committed.
//! **Errors.** After any error the producer is given up, and capture leads again: a new producer ends the last transaction, whichever way, and
//! the control topic then says how far the log has come. Who was fenced joins the group anew, and waits until it is given the lead.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mysync_change::block::{BlockBuilder, Message};
use mysync_change::dump::Dumps;
use mysync_change::envelope::{self, LogId};
use mysync_change::position::Checkpoint;
use mysync_change::routing::Layout;
use mysync_change::topics::Topics;
use mysync_pipeline::assignment::{Change, Changes};
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::{Lead, LogWriter};
use mysync_pipeline::status::{Board, State as Shown, now_us};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::Cluster;
use super::admin::Admin;
use super::control::{self, Added, CHECKPOINT, Control, Covered, DUMPS, Identity, LEADER, LOG, Leader, TOPICS};
use super::error::KafkaError;
use super::group::Member;
use super::preflight;
use super::producer::{Outgoing, Producer};
use super::{process_name, random_id};
use crate::sequence;

/// How often a candidate that was given the lead asks whether it still has it, and how long it waits in between: longer than others take to
/// join the group or to leave it.
const CONFIRM_TRIES: u32 = 10;
const CONFIRM_PAUSE: Duration = Duration::from_millis(300);
/// What each transaction costs is shared by so many bytes, as long as more is at hand: some ten thousand rows.
const TRANSACTION_BYTES: usize = 4 << 20;
/// How often a leader without anything to store says that it is there. Silence of five seconds counts as lag.
const BEAT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct KafkaWriter {
    cluster: Arc<Cluster>,
    board: Arc<Board>,
    candidate: Option<Candidate>,
    leading: Option<Leading>,
}

/// A member of the group of those who may capture.
#[derive(Debug)]
struct Candidate {
    member: Member,
    changes: Changes,
    /// Whether the group has said anything yet.
    answered: bool,
    /// Whether it has given this process the lead.
    chosen: bool,
}

#[derive(Debug)]
struct Leading {
    producer: Producer,
    id: LogId,
    /// The last number in each partition.
    lasts: Vec<u64>,
    /// As they were last stored.
    dumps: Arc<Dumps>,
    /// When the last transaction began.
    began: Option<Instant>,
}

impl KafkaWriter {
    pub(super) fn new(cluster: Arc<Cluster>, board: Arc<Board>) -> Self {
        Self { cluster, board, candidate: None, leading: None }
    }

    /// Waits until the group gives this process the lead, and says so if it has to wait.
    async fn wait_chosen(&mut self) -> Result<(), KafkaError> {
        let settings = &self.cluster.settings;
        let candidate = match &mut self.candidate {
            Some(candidate) => candidate,
            None => {
                let (group, members) = (settings.capture_name(), self.cluster.members.clone());
                let topics = watch::Sender::new(Topics::one(settings.control_topic(), 1)).subscribe();
                let (member, changes) = Member::join(settings, &group, topics, Vec::new(), members)?;
                self.candidate.insert(Candidate { member, changes, answered: false, chosen: false })
            }
        };
        let mut tries = 0;
        loop {
            candidate.hear()?;
            while !candidate.chosen {
                if candidate.answered && self.board.capture.state() != Shown::Standby {
                    self.board.capture.set_state(Shown::Standby);
                    info!("standing by: another process captures");
                }
                let change = candidate.changes.recv().await.ok_or(KafkaError::Ending)?;
                candidate.take(change)?;
            }
            // It may have been told so long ago, before it stood still. While others join or leave, nobody is asked.
            let confirmed = candidate.member.confirm(0).await;
            candidate.hear()?;
            match confirmed {
                Ok(()) if candidate.chosen => return Ok(()),
                Ok(()) => {}
                Err(error) if tries == CONFIRM_TRIES => {
                    self.candidate = None;
                    return Err(error);
                }
                Err(error) => {
                    debug!(target: "mysync_log::kafka", %error, "the lead is not confirmed yet");
                    tries += 1;
                    tokio::time::sleep(CONFIRM_PAUSE).await;
                }
            }
        }
    }

    async fn take_lead(&mut self) -> Result<Lead, KafkaError> {
        self.set_leading(None);
        self.wait_chosen().await?;
        let cluster = &self.cluster;
        cluster.check_topics(cluster.topics().added()).await?;
        let limits = cluster.limits().clone();
        let mut producer = Producer::take_over(&cluster.settings, &limits).await?;
        // Read back, this tells that everything from before was read.
        let leader = Leader { token: random_id().to_string(), name: process_name() };
        let topic = cluster.settings.control_topic();
        write(&mut producer, &topic, &[(LEADER, control::to_json(&topic, LEADER, &leader)?)]).await?;
        let mut control = Control::new(cluster, &cluster.settings.capture_name())?;
        let state = control.read_to(&leader.token).await?;
        let has_more = state.topics.len() > cluster.topics().added().len();
        let (id, mut lasts) = match cluster.learn(state)? {
            Some(id) => (id, state.covered.as_ref().map_or(Vec::new(), |covered| covered.lasts.clone())),
            None => {
                cluster.check_empty().await?;
                let id = random_id();
                let (source, routing) = (cluster.settings.source.clone(), cluster.routing.clone());
                let identity = Identity { id: id.to_string(), source, routing, created_us: now_us() };
                write(&mut producer, &topic, &[(LOG, control::to_json(&topic, LOG, &identity)?)]).await?;
                // Not before: one that was not stored is not the log that this process began with.
                cluster.check_numbers(id)?;
                info!(log = %id, prefix = cluster.settings.prefix, "a new log begins");
                (id, Vec::new())
            }
        };
        let topics = cluster.topics();
        if has_more {
            cluster.check_topics(topics.added()).await?;
            check_limits(&producer, cluster)?;
        }
        lasts.resize(topics.partitions() as usize, 0);
        let next_seq = sequence::first(lasts.iter().copied().max().unwrap_or(0), now_us());
        let (checkpoint, dumps) = (state.checkpoint(), state.dumps.clone());
        self.set_leading(Some(Leading { producer, id, lasts: lasts.clone(), dumps, began: None }));
        info!(log = %id, "leading: this process captures");
        Ok(Lead { log_id: id, next_seq, prevs: lasts, topics, checkpoint })
    }

    async fn store(&mut self, block: Option<&BlockBuilder>, checkpoint: &Checkpoint) -> Result<(), KafkaError> {
        let (cluster, candidate) = (&self.cluster, &mut self.candidate);
        let leading = self.leading.as_mut().ok_or(KafkaError::Fenced)?;
        if !*cluster.leads.borrow() {
            let reason = "the control topic was made anew before it began".to_owned();
            return Err(KafkaError::Transaction { reason });
        }
        if let Some(candidate) = candidate {
            candidate.hear()?;
            // Somebody else has been chosen, and takes over sooner or later: better now, with nothing on the way.
            if !candidate.chosen {
                return Err(KafkaError::Fenced);
            }
        }
        if leading.producer.was_cut() {
            let reason = "a connection to a broker was lost before it began".to_owned();
            return Err(KafkaError::Transaction { reason });
        }
        match block {
            Some(block) => leading.append(cluster, block, checkpoint).await,
            None => leading.beat(cluster, checkpoint).await,
        }
    }
}

impl Candidate {
    /// Takes what the group has decided meanwhile.
    fn hear(&mut self) -> Result<(), KafkaError> {
        while let Ok(change) = self.changes.try_recv() {
            self.take(change)?;
        }
        Ok(())
    }

    fn take(&mut self, change: Change) -> Result<(), KafkaError> {
        match change {
            // The first partition is the lead, whatever else somebody has made.
            Change::Given(partitions) => self.chosen |= partitions.contains(&0),
            // Nothing is waited for: the brokers see to it that only one writes.
            Change::Taken(partitions, _) => self.chosen &= !partitions.contains(&0),
            Change::Refused(failure) => return Err(KafkaError::Group(failure)),
        }
        self.answered = true;
        Ok(())
    }
}

impl Leading {
    async fn append(
        &mut self,
        cluster: &Cluster,
        block: &BlockBuilder,
        checkpoint: &Checkpoint,
    ) -> Result<(), KafkaError> {
        let Self { producer, id, lasts, dumps, began } = self;
        let pace = began.map_or(Duration::ZERO, |began| cluster.settings.group_time.saturating_sub(began.elapsed()));
        if !pace.is_zero() {
            tokio::time::sleep(pace).await;
        }
        let topic = cluster.settings.control_topic();
        let mut controls: Vec<(String, Vec<u8>)> = Vec::new();
        let topics = block.topics();
        if block.has_new_topics() {
            make_new(cluster, topics).await?;
            check_limits(producer, cluster)?;
            let added = Added { topics: topics.added().to_vec() };
            controls.push((TOPICS.to_owned(), control::to_json(&topic, TOPICS, &added)?));
        }
        *began = Some(Instant::now());
        for (fingerprint, shape) in block.shapes() {
            controls.push((control::shape_key(*fingerprint), envelope::write_schema(*id, shape)?));
        }
        let new_dumps = !Arc::ptr_eq(dumps, &checkpoint.dumps) && *dumps != checkpoint.dumps;
        if new_dumps {
            controls.push((DUMPS.to_owned(), control::to_json(&topic, DUMPS, &*checkpoint.dumps)?));
        }
        let parts = block.partitions();
        let former = lasts.iter().copied().chain(std::iter::repeat(0));
        let now: Vec<u64> =
            parts.iter().zip(former).map(|(part, last)| if part.is_empty() { last } else { part.last_seq }).collect();
        let committed = parts.iter().map(|part| (!part.is_empty()).then_some((part.oldest_us, part.committed_us)));
        let covered = Covered {
            checkpoint: checkpoint.clone(),
            lasts: now,
            committed_us: committed.collect(),
            heard_us: now_us(),
        };
        controls.push((CHECKPOINT.to_owned(), control::to_json(&topic, CHECKPOINT, &covered)?));

        producer.begin()?;
        let places = topics.list().iter().flat_map(|topic| (0..topic.partitions).map(|there| (&*topic.name, there)));
        for ((topic, partition), part) in places.zip(parts) {
            for message in part.messages() {
                let Message { key, bytes, is_tombstone, .. } = message;
                let message = Outgoing { topic, partition, key, bytes, is_tombstone };
                cluster.check_size(&message)?;
                producer.send(message).await?;
            }
        }
        for (key, bytes) in &controls {
            let key = Some(key.as_bytes());
            let message = Outgoing { topic: &topic, partition: 0, key, bytes, is_tombstone: false };
            cluster.check_size(&message)?;
            producer.send(message).await?;
        }
        producer.commit().await?;
        *lasts = covered.lasts;
        dumps.clone_from(&checkpoint.dumps);
        cluster.know(topics.added());
        Ok(())
    }

    /// Tells those who follow that the source was heard, and asks the brokers whether this process still leads.
    async fn beat(&mut self, cluster: &Cluster, checkpoint: &Checkpoint) -> Result<(), KafkaError> {
        if self.began.is_some_and(|began| began.elapsed() < BEAT) {
            return Ok(());
        }
        self.began = Some(Instant::now());
        let topic = cluster.settings.control_topic();
        let covered = Covered {
            checkpoint: checkpoint.clone(),
            lasts: self.lasts.clone(),
            committed_us: vec![None; self.lasts.len()],
            heard_us: now_us(),
        };
        let json = control::to_json(&topic, CHECKPOINT, &covered)?;
        write(&mut self.producer, &topic, &[(CHECKPOINT, json)]).await
    }
}

/// Makes topics that tables were given since, and checks them: the log knows of none of them yet.
async fn make_new(cluster: &Cluster, topics: &Topics) -> Result<(), KafkaError> {
    let known = cluster.topics().added().len();
    let new = topics.added().get(known..).unwrap_or_default();
    new.iter().try_for_each(|topic| cluster.check_name(topic))?;
    let admin = Admin::new(&cluster.settings)?;
    for topic in new {
        let max = preflight::make_records(&admin, &cluster.settings, topic).await?;
        cluster.limits().insert(topic.name.clone(), max);
        if cluster.has_records(topic).await? {
            return Err(cluster.bad_name(topic, "holds records that are none of this log"));
        }
        info!(topic = topic.name, partitions = topic.partitions, "a table has a topic of its own");
    }
    Ok(())
}

/// A producer that may send more at once than a topic takes that was added since makes room for another one.
fn check_limits(producer: &Producer, cluster: &Cluster) -> Result<(), KafkaError> {
    if producer.is_too_large(&cluster.limits()) {
        let reason = "a topic was added that takes less at once than the others".to_owned();
        return Err(KafkaError::Transaction { reason });
    }
    Ok(())
}

/// Writes control records in a transaction of their own.
async fn write(producer: &mut Producer, topic: &str, records: &[(&str, Vec<u8>)]) -> Result<(), KafkaError> {
    producer.begin()?;
    for (key, bytes) in records {
        let key = Some(key.as_bytes());
        producer.send(Outgoing { topic, partition: 0, key, bytes, is_tombstone: false }).await?;
    }
    producer.commit().await
}

impl LogWriter for KafkaWriter {
    fn layout(&self) -> Layout {
        self.cluster.routing.layout
    }

    async fn lead(&mut self) -> Result<Lead, Failure> {
        let led = self.take_lead().await;
        self.forget_if_fenced(led.as_ref().err());
        Ok(led?)
    }

    async fn append(&mut self, block: &BlockBuilder, checkpoint: &Checkpoint) -> Result<(), Failure> {
        self.stored(Some(block), checkpoint).await
    }

    fn block_bytes(&self) -> usize {
        TRANSACTION_BYTES
    }

    fn step_down(&mut self) -> bool {
        self.set_leading(None);
        self.candidate = None;
        true
    }

    async fn idle(&mut self, checkpoint: &Checkpoint) -> Result<(), Failure> {
        self.stored(None, checkpoint).await
    }
}

impl KafkaWriter {
    async fn stored(&mut self, block: Option<&BlockBuilder>, checkpoint: &Checkpoint) -> Result<(), Failure> {
        let stored = self.store(block, checkpoint).await;
        if let Err(error) = &stored {
            self.set_leading(None);
            self.forget_if_fenced(Some(error));
        }
        Ok(stored?)
    }

    /// Orders are taken by whoever leads.
    fn set_leading(&mut self, leading: Option<Leading>) {
        self.cluster.leads.send_replace(leading.is_some());
        self.leading = leading;
    }

    /// Who was fenced while it believed to be chosen is out of date: it joins anew, behind whoever leads now.
    fn forget_if_fenced(&mut self, error: Option<&KafkaError>) {
        if let Some(KafkaError::Fenced) = error {
            warn!(code = "KAFKA_FENCED", "another process captures into this log now: stepping down");
            self.candidate = None;
        }
    }
}
