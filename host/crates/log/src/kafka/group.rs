//! Membership of a consumer group: which partitions this process may work at.
//!
//! **Promise.** What the group gives and takes is told in order. A partition that is taken is given back to the group once whoever works at it
//! has ended, or after a while: that it may go on to work a moment longer is a matter of the store's fence.
//! **No lock.** A member that was paused believes in what it had until it hears of the group again. [`Member::confirm`] asks.
//! **Reading** is not the group's business: its partitions are paused, and nothing is fetched.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self as blocking, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mysync_change::pattern::Pattern;
use mysync_change::topics::Topics;
use mysync_pipeline::assignment::{self, Change, Changes};
use mysync_pipeline::failure::Kind;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use super::client::{self, Parting};
use super::cluster::place;
use super::error::KafkaError;
use super::settings::KafkaSettings;

/// How long the group waits for those who work at partitions that it takes: a batch, and its fence.
const DRAIN: Duration = Duration::from_secs(10);
/// How often offsets are committed, which are hints, and what Kafka's tools show; and how soon new topics are taken part in.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How soon the thread sees that it is to end.
const POLL: Duration = Duration::from_millis(100);
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// A member, as long as it lives.
pub struct Member {
    topics: watch::Receiver<Topics>,
    tables: watch::Sender<Vec<Pattern>>,
    consumer: Arc<BaseConsumer<Context>>,
    _parting: Parting<BaseConsumer<Context>>,
    ending: Arc<AtomicBool>,
}

/// What the group calls back.
struct Context {
    changes: mpsc::Sender<Change>,
    topics: watch::Receiver<Topics>,
    /// Offsets that are to be committed.
    noted: Mutex<BTreeMap<u32, i64>>,
    ending: Arc<AtomicBool>,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").finish_non_exhaustive()
    }
}

impl Member {
    /// Joins `group`, whose members share the partitions of the topics of `tables`, also of those that are added later. `left` is dropped once it
    /// has left the group.
    pub fn join(
        settings: &KafkaSettings,
        group: &str,
        topics: watch::Receiver<Topics>,
        tables: Vec<Pattern>,
        left: mpsc::Sender<()>,
    ) -> Result<(Self, Changes), KafkaError> {
        let doing = || format!("joining group {group}");
        let (changes, told) = assignment::channel();
        let ending = Arc::new(AtomicBool::new(false));
        let context = Context { changes, topics: topics.clone(), noted: Mutex::default(), ending: ending.clone() };
        let consumer: BaseConsumer<Context> =
            settings.member(group).create_with_context(context).map_err(|error| KafkaError::of(&doing(), &error))?;
        let tables = watch::Sender::new(tables);
        let mut subscription = Subscription { topics: topics.clone(), tables: tables.subscribe(), names: Vec::new() };
        subscription.follow(&consumer).map_err(|error| KafkaError::of(&doing(), &error))?;
        let consumer = Arc::new(consumer);
        let parting = Parting::of(&consumer);
        let (polled, group) = (consumer.clone(), group.to_owned());
        let keeping = ending.clone();
        let thread = std::thread::Builder::new().name("mysync-group".to_owned());
        thread
            .spawn(move || {
                keep(polled, &group, subscription, &keeping);
                drop(left);
            })
            .map_err(|error| KafkaError::Unreachable { doing: doing(), reason: error.to_string() })?;
        Ok((Self { topics, tables, consumer, _parting: parting, ending }, told))
    }

    /// Takes part in the topics of these tables from now on.
    pub fn want(&self, tables: &[Pattern]) {
        self.tables.send_replace(tables.to_vec());
    }

    /// Asks the group whether this process is still one of it: a commit is refused to who is not. What is committed stays.
    pub async fn confirm(&self, partition: u32) -> Result<(), KafkaError> {
        let committed = self.committed(partition).await?.unwrap_or(0);
        self.commit(partition, committed).await
    }

    /// Commits an offset, and waits for the answer.
    pub async fn commit(&self, partition: u32, offset: i64) -> Result<(), KafkaError> {
        let (consumer, (topic, there)) = (self.consumer.clone(), place(&self.topics.borrow(), partition)?);
        self.blocking("committing an offset", move || {
            let mut offsets = TopicPartitionList::new();
            offsets.add_partition_offset(&topic, there as i32, Offset::Offset(offset))?;
            consumer.commit(&offsets, CommitMode::Sync)
        })
        .await
    }

    /// The offset that was last committed; none: never, or so long ago that the group was forgotten.
    pub async fn committed(&self, partition: u32) -> Result<Option<i64>, KafkaError> {
        let (consumer, (topic, there)) = (self.consumer.clone(), place(&self.topics.borrow(), partition)?);
        self.blocking("reading a committed offset", move || {
            let mut asked = TopicPartitionList::new();
            asked.add_partition(&topic, there as i32);
            let committed = consumer.committed_offsets(asked, ANSWER_TIME)?;
            let found = committed.find_partition(&topic, there as i32).map(|element| element.offset());
            Ok(match found {
                Some(Offset::Offset(offset)) => Some(offset),
                _ => None,
            })
        })
        .await
    }

    /// An offset to be committed soon.
    pub fn note(&self, partition: u32, offset: i64) {
        self.consumer.context().noted().insert(partition, offset);
    }

    async fn blocking<T: Send + 'static>(
        &self,
        doing: &str,
        work: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, KafkaError> {
        let done = tokio::time::timeout(ANSWER_TIME, tokio::task::spawn_blocking(work)).await.map_err(|_| {
            let reason = format!("no answer within {} s", ANSWER_TIME.as_secs());
            KafkaError::Unreachable { doing: doing.to_owned(), reason }
        })?;
        done.map_err(|_| KafkaError::Ending)?.map_err(|error| KafkaError::of(doing, &error))
    }
}

impl Drop for Member {
    /// Leaves the group, in the thread that serves it: it may have to wait for an answer.
    fn drop(&mut self) {
        self.ending.store(true, Relaxed);
    }
}

impl Context {
    fn noted(&self) -> MutexGuard<'_, BTreeMap<u32, i64>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn revoke(&self, partitions: Vec<u32>, lost: bool) {
        let (working, ended) = blocking::channel();
        if self.changes.blocking_send(Change::Taken(partitions, working)).is_err() {
            return;
        }
        // Another may have what was lost by now, so there is nothing to wait for.
        if !lost && !self.ending.load(Relaxed) && ended.recv_timeout(DRAIN) == Err(RecvTimeoutError::Timeout) {
            warn!(
                "a partition is given back while its last batch is on the way: the store's fence decides which one counts"
            );
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::tell(level, facility, message);
    }

    fn error(&self, error: ClientError, reason: &str) {
        debug!(target: "mysync_log::kafka", %error, "{reason}");
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        // One that somebody else has added to a topic is none of the log's.
        let number = |topic: &str, partition: i32| self.topics.borrow().number(topic, u32::try_from(partition).ok()?);
        let partitions: Vec<u32> =
            list.elements().iter().filter_map(|element| number(element.topic(), element.partition())).collect();
        let done = match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                // From some place, so that none is looked for; and paused, so that nothing is read there.
                let assigned = list.set_all_offsets(Offset::Offset(0)).and_then(|()| {
                    consumer.incremental_assign(list)?;
                    if list.count() == 0 { Ok(()) } else { consumer.pause(list) }
                });
                if assigned.is_ok() {
                    let _ = self.changes.blocking_send(Change::Given(partitions));
                }
                assigned
            }
            _ => {
                if !partitions.is_empty() {
                    self.revoke(partitions, consumer.assignment_lost());
                }
                consumer.incremental_unassign(list)
            }
        };
        if let Err(error) = done {
            warn!(target: "mysync_log::kafka", %error, "the group's decision could not be followed");
        }
    }

    fn commit_callback(&self, result: Result<(), ClientError>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            debug!(target: "mysync_log::kafka", %error, "offsets were not committed: they are hints");
        }
    }
}

/// Which topics a member takes part in.
struct Subscription {
    topics: watch::Receiver<Topics>,
    tables: watch::Receiver<Vec<Pattern>>,
    names: Vec<String>,
}

impl Subscription {
    /// Takes part in those that there are now.
    fn follow(&mut self, consumer: &BaseConsumer<Context>) -> Result<(), ClientError> {
        let names: Vec<String> =
            self.topics.borrow().of(&self.tables.borrow()).map(|topic| topic.name.clone()).collect();
        if names == self.names {
            return Ok(());
        }
        consumer.subscribe(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
        self.names = names;
        Ok(())
    }
}

/// Serves the member until it is to end; then it leaves the group.
fn keep(consumer: Arc<BaseConsumer<Context>>, group: &str, mut subscription: Subscription, ending: &AtomicBool) {
    let mut committed = Instant::now();
    while !ending.load(Relaxed) {
        if let Some(Err(error)) = consumer.poll(POLL) {
            debug!(target: "mysync_log::kafka", group, %error, "the group says");
            let failed = KafkaError::of(&format!("taking part in group {group}"), &error);
            // It goes on asking; whoever waits for it is told why it waits.
            if failed.kind() == Kind::Definite {
                let _ = consumer.context().changes.try_send(Change::Refused(failed.into()));
            }
        }
        if committed.elapsed() >= COMMIT_EVERY {
            committed = Instant::now();
            commit_noted(&consumer);
            if let Err(error) = subscription.follow(&consumer) {
                warn!(target: "mysync_log::kafka", group, %error, "the group is not told of new topics yet");
            }
        }
    }
    commit_noted(&consumer);
    info!(target: "mysync_log::kafka", group, "leaving the group");
    // Whoever asks it something at the moment lets go of it soon.
    drop(consumer);
}

fn commit_noted(consumer: &BaseConsumer<Context>) {
    let context = consumer.context();
    let noted = std::mem::take(&mut *context.noted());
    if noted.is_empty() {
        return;
    }
    let mut offsets = TopicPartitionList::new();
    for (partition, offset) in noted {
        if let Ok((topic, there)) = place(&context.topics.borrow(), partition) {
            let _ = offsets.add_partition_offset(&topic, there as i32, Offset::Offset(offset));
        }
    }
    if let Err(error) = consumer.commit(&offsets, CommitMode::Async) {
        debug!(target: "mysync_log::kafka", %error, "offsets were not committed: they are hints");
    }
}
