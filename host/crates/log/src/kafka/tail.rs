//! One partition of a topic, read committed, from any offset to where it ends for now.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::Notify;

use super::Cluster;
use super::client::{Parting, Told};
use super::error::KafkaError;
use super::settings::KafkaSettings;

/// The header that holds the record of a message without a value.
pub const RECORD_HEADER: &str = "mysync";
/// A broker that has not said anything by then, not even that there is nothing, cannot be reached.
const PATIENCE: Duration = Duration::from_secs(5);
/// Brokers tell what is new at once, and otherwise are asked again after this long …
const STREAM_WAIT: Duration = Duration::from_millis(500);
/// … or after this long by who is about to look elsewhere.
const SEARCH_WAIT: Duration = Duration::from_millis(5);
/// Questions that are answered by one broker at once.
pub const ANSWER_TIME: Duration = Duration::from_secs(10);

/// What stands next in the partition.
#[derive(Debug)]
pub enum Next<'a> {
    Message(Record<'a>),
    /// Nothing more that is committed, for now.
    End,
    /// It is not known yet.
    Nothing,
}

/// A message that was read.
#[derive(Debug)]
pub struct Record<'a> {
    pub offset: i64,
    message: BorrowedMessage<'a>,
}

impl Record<'_> {
    pub fn key(&self) -> &[u8] {
        self.message.key().unwrap_or_default()
    }

    /// The value, or of a tombstone the record that stands beside it.
    pub fn bytes(&self) -> &[u8] {
        let beside = || {
            let headers = self.message.headers()?;
            headers.iter().find(|header| header.key == RECORD_HEADER).and_then(|header| header.value)
        };
        self.message.payload().or_else(beside).unwrap_or_default()
    }
}

/// A reader of one partition, of no group.
///
/// A client that has failed may have lost its way for good: the next place is gone to with a new one.
pub struct Tail {
    pub topic: String,
    pub partition: u32,
    config: ClientConfig,
    consumer: Arc<BaseConsumer<Told>>,
    _parting: Parting<BaseConsumer<Told>>,
    /// Told whenever something has come.
    came: Arc<Notify>,
    has_failed: AtomicBool,
    asker: Arc<Asker>,
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").field("topic", &self.topic).field("partition", &self.partition).finish_non_exhaustive()
    }
}

impl Tail {
    /// Reads from an offset on, or behind it where nothing stands there.
    pub fn from(
        cluster: &Cluster,
        group: &str,
        topic: &str,
        partition: u32,
        offset: Offset,
    ) -> Result<Self, KafkaError> {
        let mut tail = Self::stream(cluster, group, topic, partition)?;
        tail.seek(offset)?;
        Ok(tail)
    }

    /// Reads on from wherever it is told to begin.
    pub fn stream(cluster: &Cluster, group: &str, topic: &str, partition: u32) -> Result<Self, KafkaError> {
        Self::new(cluster, group, topic, partition, STREAM_WAIT)
    }

    /// Looks here and there.
    pub fn search(cluster: &Cluster, group: &str, topic: &str, partition: u32) -> Result<Self, KafkaError> {
        Self::new(cluster, group, topic, partition, SEARCH_WAIT)
    }

    fn new(cluster: &Cluster, group: &str, topic: &str, partition: u32, wait: Duration) -> Result<Self, KafkaError> {
        let config = cluster.settings.reader(group, wait);
        let came = Arc::new(Notify::new());
        let (consumer, parting) = client(&config, &came)?;
        let (topic, asker, has_failed) = (topic.to_owned(), cluster.asker.clone(), AtomicBool::new(false));
        Ok(Self { topic, partition, config, consumer, _parting: parting, came, has_failed, asker })
    }

    /// Goes on at an offset, or behind it where nothing stands there.
    pub fn seek(&mut self, offset: Offset) -> Result<(), KafkaError> {
        if self.has_failed.swap(false, Relaxed) {
            (self.consumer, self._parting) = client(&self.config, &self.came)?;
        }
        let mut list = TopicPartitionList::new();
        let assigned = list
            .add_partition_offset(&self.topic, self.partition as i32, offset)
            .and_then(|()| self.consumer.assign(&list));
        assigned.map_err(|error| self.failed(&error))
    }

    /// The next message, if it is here.
    pub fn poll(&self) -> Result<Next<'_>, KafkaError> {
        loop {
            return match self.consumer.poll(Duration::ZERO) {
                None => Ok(Next::Nothing),
                Some(Ok(message)) => Ok(Next::Message(Record { offset: message.offset(), message })),
                Some(Err(ClientError::PartitionEOF(_))) => Ok(Next::End),
                Some(Err(error)) => match error.rdkafka_error_code() {
                    Some(Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::NoOffset | Code::LogTruncation) => {
                        Err(KafkaError::PlaceGone { topic: self.topic.clone(), partition: self.partition })
                    }
                    // One broker of several: the client looks for another way by itself.
                    Some(
                        Code::BrokerTransportFailure
                        | Code::Resolve
                        | Code::OperationTimedOut
                        | Code::NotLeaderForPartition
                        | Code::LeaderNotAvailable
                        | Code::WaitingForCoordinator,
                    ) => continue,
                    _ => Err(self.failed(&error)),
                },
            };
        }
    }

    /// The next message; none at the end.
    pub async fn next(&self) -> Result<Option<Record<'_>>, KafkaError> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.poll()? {
                Next::Message(record) => return Ok(Some(record)),
                Next::End => return Ok(None),
                Next::Nothing => {
                    if tokio::time::timeout_at(deadline, self.came.notified()).await.is_err() {
                        self.has_failed.store(true, Relaxed);
                        let reason = format!("no answer within {} s", PATIENCE.as_secs());
                        return Err(KafkaError::Unreachable { doing: self.doing(), reason });
                    }
                }
            }
        }
    }

    /// Returns once something may have come.
    pub async fn wait(&self) {
        self.came.notified().await;
    }

    /// The offsets of the first message there may be, and behind the last one that is committed.
    pub async fn bounds(&self) -> Result<(i64, i64), KafkaError> {
        let asked = self.asker.bounds(&self.topic, self.partition).await;
        asked.map_err(|error| self.failed(&error))
    }

    /// The offset that the group of this reader last committed; none: never, or so long ago that the group was forgotten.
    pub async fn committed(&self) -> Result<Option<i64>, KafkaError> {
        let (consumer, topic, partition) = (self.consumer.clone(), self.topic.clone(), self.partition as i32);
        let asked = move || {
            let mut asked = TopicPartitionList::new();
            asked.add_partition(&topic, partition);
            let found = consumer.committed_offsets(asked, ANSWER_TIME)?;
            Ok(found.find_partition(&topic, partition).map(|element| element.offset()))
        };
        let asked = tokio::task::spawn_blocking(asked).await.map_err(|_| KafkaError::Ending)?;
        Ok(match asked.map_err(|error| self.failed(&error))? {
            Some(Offset::Offset(offset)) => Some(offset),
            _ => None,
        })
    }

    /// The offset of the first message that was sent at this time or later, in milliseconds since 1970; none: there is none.
    pub async fn sent_since(&self, millis: i64) -> Result<Option<i64>, KafkaError> {
        let (topic, partition) = (self.topic.clone(), self.partition as i32);
        let asked = self.asker.ask(move |client| {
            let mut asked = TopicPartitionList::new();
            asked.add_partition_offset(&topic, partition, Offset::Offset(millis))?;
            client.offsets_for_times(asked, ANSWER_TIME)
        });
        let found = asked.await.map_err(|error| self.failed(&error))?;
        let found = found.find_partition(&self.topic, partition).map(|element| element.offset());
        Ok(match found {
            Some(Offset::Offset(offset)) => Some(offset),
            _ => None,
        })
    }

    fn failed(&self, error: &ClientError) -> KafkaError {
        self.has_failed.store(true, Relaxed);
        KafkaError::of(&self.doing(), error)
    }

    fn doing(&self) -> String {
        format!("reading topic {}, partition {}", self.topic, self.partition)
    }
}

type Client = (Arc<BaseConsumer<Told>>, Parting<BaseConsumer<Told>>);

fn client(config: &ClientConfig, came: &Arc<Notify>) -> Result<Client, KafkaError> {
    let told = Told { came: came.clone() };
    let mut consumer: BaseConsumer<Told> =
        config.create_with_context(told).map_err(|error| KafkaError::of("connecting", &error))?;
    let telling = came.clone();
    consumer.set_nonempty_callback(move || telling.notify_one());
    let consumer = Arc::new(consumer);
    let parting = Parting::of(&consumer);
    Ok((consumer, parting))
}

/// Asks about offsets: behind a question for records that are not there yet any other would wait for them, too.
pub struct Asker {
    config: ClientConfig,
    client: Mutex<Option<Client>>,
}

impl Asker {
    pub fn new(settings: &KafkaSettings) -> Self {
        Self::with(settings.reader(&settings.capture_name(), Duration::ZERO))
    }

    /// The same of what may never be committed.
    pub fn uncommitted(settings: &KafkaSettings) -> Self {
        let mut config = settings.reader(&settings.capture_name(), Duration::ZERO);
        config.set("isolation.level", "read_uncommitted");
        Self::with(config)
    }

    fn with(config: ClientConfig) -> Self {
        Self { config, client: Mutex::default() }
    }

    /// The offsets of the first message there may be, and behind the last one.
    pub async fn bounds(self: &Arc<Self>, topic: &str, partition: u32) -> Result<(i64, i64), ClientError> {
        let topic = topic.to_owned();
        self.ask(move |client| client.fetch_watermarks(&topic, partition as i32, ANSWER_TIME)).await
    }

    async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&BaseConsumer<Told>) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let asker = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let client = asker.client()?;
            // What it has to tell would pile up.
            while client.poll(Duration::ZERO).is_some() {}
            let answer = question(&client);
            if answer.is_err() {
                // It may have lost its way for good: the next question is asked by another.
                asker.lock().take_if(|(current, _)| Arc::ptr_eq(current, &client));
            }
            answer
        });
        asked.await.unwrap_or(Err(ClientError::Canceled))
    }

    fn client(&self) -> Result<Arc<BaseConsumer<Told>>, ClientError> {
        let mut client = self.lock();
        Ok(match &*client {
            Some((client, _)) => client.clone(),
            None => {
                let made: Arc<BaseConsumer<Told>> = Arc::new(self.config.create_with_context(Told::default())?);
                *client = Some((made.clone(), Parting::of(&made)));
                made
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
