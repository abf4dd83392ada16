//! What tests do with topics and see in them, past all proxies and rights.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Header, Headers, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, ClientContext};

use super::{ASK_TIME, Kafka};
use crate::waiting::{PATIENCE, until};

/// What a message is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    pub key: Option<Vec<u8>>,
    /// None: a tombstone.
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// A message where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub message: Message,
}

impl Kafka {
    /// Makes a topic, and returns when every partition has a leader. The settings are the topic's own.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        copies: i32,
        settings: &[(&str, &str)],
    ) -> Result<()> {
        let new = NewTopic::new(name, partitions, TopicReplication::Fixed(copies));
        let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
        for made in self.admin()?.create_topics([&new], &options()).await? {
            made.map_err(|(_, code)| KafkaError::AdminOp(code)).with_context(|| format!("topic {name} is not made"))?;
        }
        self.await_leaders(name, usize::try_from(partitions)?).await
    }

    /// Gives a topic more partitions, so many in all, and returns when each has a leader.
    pub async fn add_partitions(&self, name: &str, partitions: usize) -> Result<()> {
        for made in self.admin()?.create_partitions([&NewPartitions::new(name, partitions)], &options()).await? {
            made.map_err(|(_, code)| KafkaError::AdminOp(code))
                .with_context(|| format!("topic {name} stays as it is"))?;
        }
        self.await_leaders(name, partitions).await
    }

    async fn await_leaders(&self, topic: &str, partitions: usize) -> Result<()> {
        until("the topic is led", async || {
            let leaders = self.leaders(topic).await?;
            ensure!(leaders.len() == partitions && leaders.iter().all(|node| *node > 0), "{leaders:?}");
            Ok(())
        })
        .await
    }

    pub async fn delete_topic(&self, name: &str) -> Result<()> {
        for deleted in self.admin()?.delete_topics(&[name], &options()).await? {
            deleted.map_err(|(_, code)| KafkaError::AdminOp(code)).with_context(|| format!("topic {name} stays"))?;
        }
        Ok(())
    }

    /// All settings of a topic, with those that are not its own.
    pub async fn topic_settings(&self, name: &str) -> Result<BTreeMap<String, String>> {
        self.settings_of(name, |_| true).await
    }

    /// Changes settings of a topic; its others stay.
    pub async fn alter_topic(&self, name: &str, settings: &[(&str, &str)]) -> Result<()> {
        // The request replaces them all.
        let mut all = self.settings_of(name, |source| *source == ConfigSource::DynamicTopic).await?;
        all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let alter = AlterConfig::new(ResourceSpecifier::Topic(name));
        let alter = all.iter().fold(alter, |alter, (name, value)| alter.set(name, value));
        for altered in self.admin()?.alter_configs([&alter], &options()).await? {
            altered
                .map_err(|(_, code)| KafkaError::AdminOp(code))
                .with_context(|| format!("topic {name} stays as it is"))?;
        }
        Ok(())
    }

    async fn settings_of(&self, name: &str, take: impl Fn(&ConfigSource) -> bool) -> Result<BTreeMap<String, String>> {
        let topic = ResourceSpecifier::Topic(name);
        let mut settings = BTreeMap::new();
        for told in self.admin()?.describe_configs([&topic], &options()).await? {
            let told = told.map_err(KafkaError::AdminOp).with_context(|| format!("topic {name}"))?;
            let taken = told.entries.into_iter().filter(|entry| take(&entry.source));
            settings.extend(taken.filter_map(|entry| Some((entry.name, entry.value?))));
        }
        Ok(settings)
    }

    /// Deletes what is before this offset.
    pub async fn delete_records(&self, topic: &str, partition: i32, before: i64) -> Result<()> {
        let mut places = TopicPartitionList::new();
        places.add_partition_offset(topic, partition, Offset::Offset(before))?;
        let deleted = self.admin()?.delete_records(&places, &options()).await?;
        deleted.elements().iter().try_for_each(|place| Ok(place.error()?))
    }

    /// The node that leads each partition; 0: none.
    pub async fn leaders(&self, topic: &str) -> Result<Vec<usize>> {
        let topic = topic.to_owned();
        self.blocking(ClientConfig::new(), move |consumer| leaders(consumer, &topic)).await
    }

    /// The first offset of each partition, and the one behind its last message, committed or not.
    pub async fn offsets(&self, topic: &str) -> Result<Vec<(i64, i64)>> {
        self.watermarks(topic, "read_uncommitted").await
    }

    /// The offset of each partition behind which nothing is committed yet.
    pub async fn committed_ends(&self, topic: &str) -> Result<Vec<i64>> {
        Ok(self.watermarks(topic, "read_committed").await?.into_iter().map(|(_, end)| end).collect())
    }

    async fn watermarks(&self, topic: &str, isolation: &str) -> Result<Vec<(i64, i64)>> {
        let topic = topic.to_owned();
        let mut config = ClientConfig::new();
        config.set("isolation.level", isolation);
        let look = move |consumer: &BaseConsumer| {
            let partitions = i32::try_from(leaders(consumer, &topic)?.len())?;
            (0..partitions).map(|partition| Ok(consumer.fetch_watermarks(&topic, partition, ASK_TIME)?)).collect()
        };
        self.blocking(config, look).await
    }

    /// Everything that is committed in a topic now: each partition in order, one after the other.
    pub async fn read(&self, topic: &str) -> Result<Vec<Record>> {
        self.read_as(topic, "read_committed").await
    }

    /// [`Kafka::read`] with what is not committed, or never will be.
    pub async fn read_uncommitted(&self, topic: &str) -> Result<Vec<Record>> {
        self.read_as(topic, "read_uncommitted").await
    }

    async fn read_as(&self, topic: &str, isolation: &str) -> Result<Vec<Record>> {
        let topic = topic.to_owned();
        let mut config = ClientConfig::new();
        config.set("isolation.level", isolation).set("enable.partition.eof", "true");
        self.blocking(config, move |consumer| read_to_end(consumer, &topic)).await
    }

    /// Puts messages at the end of a partition. All of them are there when this returns.
    pub async fn produce(&self, topic: &str, partition: i32, messages: Vec<Message>) -> Result<()> {
        let (config, topic) = (self.inner_client(), topic.to_owned());
        tokio::task::spawn_blocking(move || produce(config, &topic, partition, &messages)).await?
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        Ok(self.inner_client().create()?)
    }

    /// Looks with a consumer of its own, on a thread where that may take its time.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        settings: ClientConfig,
        look: impl FnOnce(&BaseConsumer) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut config = self.inner_client();
        // It joins no group: a name is demanded all the same.
        config.set("group.id", "none").set("enable.auto.commit", "false");
        settings.config_map().iter().for_each(|(name, value)| _ = config.set(*name, *value));
        tokio::task::spawn_blocking(move || look(&config.create()?)).await?
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

pub(super) fn leaders(consumer: &BaseConsumer, topic: &str) -> Result<Vec<usize>> {
    let metadata = consumer.fetch_metadata(Some(topic), ASK_TIME)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic).context("no word of the topic")?;
    if let Some(error) = found.error() {
        bail!("topic {topic}: {}", RDKafkaErrorCode::from(error));
    }
    let mut leaders: Vec<_> = found.partitions().iter().map(|partition| (partition.id(), partition.leader())).collect();
    leaders.sort_unstable();
    Ok(leaders.into_iter().map(|(_, node)| usize::try_from(node).unwrap_or_default()).collect())
}

fn read_to_end(consumer: &BaseConsumer, topic: &str) -> Result<Vec<Record>> {
    let partitions = leaders(consumer, topic)?.len();
    let mut places = TopicPartitionList::new();
    for partition in 0..i32::try_from(partitions)? {
        places.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&places)?;
    let mut read: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
    let (mut ended, deadline) = (0, Instant::now() + PATIENCE);
    while ended < partitions {
        ensure!(Instant::now() < deadline, "{ended} of {partitions} partitions of {topic} were read to their end");
        match consumer.poll(ASK_TIME) {
            Some(Ok(message)) => read.entry(message.partition()).or_default().push(record(&message)),
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            // It connects again by itself.
            Some(Err(KafkaError::MessageConsumption(code))) if is_passing(code) => {}
            Some(Err(error)) => return Err(error).with_context(|| format!("reading {topic}")),
            None => {}
        }
    }
    Ok(read.into_values().flatten().collect())
}

fn is_passing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut};
    matches!(code, AllBrokersDown | BrokerTransportFailure | OperationTimedOut)
}

fn record(message: &BorrowedMessage) -> Record {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let headers = headers.map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()));
    Record {
        partition: message.partition(),
        offset: message.offset(),
        message: Message {
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.collect(),
        },
    }
}

/// Remembers what a message failed by.
#[derive(Default)]
struct Failure(Mutex<Option<KafkaError>>);

impl ClientContext for Failure {}

impl ProducerContext for Failure {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult, (): ()) {
        if let (Err((error, _)), Ok(mut failed)) = (result, self.0.lock()) {
            failed.get_or_insert(error.clone());
        }
    }
}

fn produce(mut config: ClientConfig, topic: &str, partition: i32, messages: &[Message]) -> Result<()> {
    config.set("enable.idempotence", "true").set("linger.ms", "1");
    config.set("message.timeout.ms", PATIENCE.as_millis().to_string());
    // What is refused is refused by brokers.
    config.set("message.max.bytes", "100000000");
    let producer: BaseProducer<Failure> = config.create_with_context(Failure::default())?;
    for message in messages {
        let headers = message
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).headers(headers);
        record.key = message.key.as_deref();
        record.payload = message.value.as_deref();
        while let Err((error, again)) = producer.send(record) {
            ensure!(error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull), "{topic}: {error}");
            producer.poll(Duration::from_millis(1));
            record = again;
        }
    }
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::from_millis(1));
    }
    let failed = producer.context().0.lock().map_or(None, |mut failed| failed.take());
    failed.map_or(Ok(()), |error| Err(error).with_context(|| format!("a message of {topic} is not written")))
}
