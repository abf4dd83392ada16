//! Topics: looked up, made, and held to what the log relies on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mysync_pipeline::failure::Kind;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use rdkafka::metadata::Metadata;

use super::client::Told;
use super::error::KafkaError;
use super::settings::KafkaSettings;

const ANSWER_TIME: Duration = Duration::from_secs(15);

/// How often it is tried to make a topic, and what is waited in between: as long as a broker may be late.
const MAKE_TRIES: u32 = 15;
const MAKE_PAUSE: Duration = Duration::from_millis(200);

/// What a client says while it tries for so long is less.
const EVENTS_MAX: usize = 100;

/// Settings of a topic or broker by name.
pub type Values = BTreeMap<String, String>;

/// A topic that is to be there.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub name: String,
    pub partitions: u32,
    /// Settings that it is made with.
    pub settings: Vec<(&'static str, String)>,
}

/// A topic that is there.
#[derive(Debug, Clone)]
pub struct Found {
    pub partitions: u32,
    /// Replicas of the partition that has the fewest.
    pub replicas: usize,
    pub settings: Values,
}

pub struct Admin {
    client: AdminClient<Told>,
    /// Asks about the cluster, and hears why nobody is let in.
    asker: Arc<BaseConsumer<Told>>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Admin")
    }
}

impl Admin {
    pub fn new(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        let failed = |error| KafkaError::of("connecting", &error);
        let client = settings.client().create_with_context(Told::default()).map_err(failed)?;
        let asker = settings.client().create_with_context(Told::default()).map_err(failed)?;
        Ok(Self { client, asker: Arc::new(asker) })
    }

    /// The cluster's name, and its brokers by number.
    pub async fn cluster(&self) -> Result<(String, Vec<i32>), KafkaError> {
        let brokers = self.metadata(None, |metadata| metadata.brokers().iter().map(|broker| broker.id()).collect());
        let brokers = brokers.await?;
        let asker = self.asker.clone();
        let named = tokio::task::spawn_blocking(move || asker.client().fetch_cluster_id(ANSWER_TIME)).await;
        Ok((named.map_err(|_| KafkaError::Ending)?.unwrap_or_default(), brokers))
    }

    /// Those of the topics that are there, by name.
    pub async fn find(&self, topics: &[&str]) -> Result<BTreeMap<String, Found>, KafkaError> {
        let mut found = BTreeMap::new();
        for topic in topics {
            if let Some((partitions, replicas)) = self.partitions(topic).await? {
                found.insert((*topic).to_owned(), Found { partitions, replicas, settings: Values::new() });
            }
        }
        let names: Vec<String> = found.keys().cloned().collect();
        let asked: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        for (of, settings) in self.settings(&asked).await? {
            if let OwnedResourceSpecifier::Topic(topic) = of
                && let Some(found) = found.get_mut(&topic)
            {
                found.settings = settings;
            }
        }
        Ok(found)
    }

    /// How many partitions a topic has, and how often the one that is there the least; none: there is no such topic.
    async fn partitions(&self, topic: &str) -> Result<Option<(u32, usize)>, KafkaError> {
        let name = topic.to_owned();
        let looked = self.metadata(Some(topic), move |metadata| {
            let Some(known) = metadata.topics().iter().find(|known| known.name() == name) else { return Ok(None) };
            match known.error().map(Code::from) {
                None => {}
                Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => return Ok(None),
                Some(code) => return Err(ClientError::MetadataFetch(code)),
            }
            let partitions = known.partitions();
            let replicas = partitions.iter().map(|partition| partition.replicas().len()).min();
            Ok(replicas.map(|replicas| (partitions.len() as u32, replicas)))
        });
        looked.await?.map_err(|error| KafkaError::of(&format!("looking at topic {topic}"), &error))
    }

    /// Makes a topic, unless another process has just done so.
    pub async fn make(&self, wanted: &Wanted, copies: u16) -> Result<(), KafkaError> {
        let replication = TopicReplication::Fixed(i32::from(copies));
        let mut topic = NewTopic::new(&wanted.name, wanted.partitions as i32, replication);
        for (name, value) in &wanted.settings {
            topic = topic.set(name, value);
        }
        let mut tries = 1;
        loop {
            let made = self.client.create_topics([&topic], &options()).await;
            let made = made.map_err(|error| KafkaError::of(&format!("making topic {}", wanted.name), &error))?;
            match made.into_iter().next() {
                Some(Err((_, Code::TopicAlreadyExists))) | Some(Ok(_)) | None => return Ok(()),
                // A broker that has just come, or was late to say that it is there, does not count yet.
                Some(Err((_, Code::InvalidReplicationFactor))) if tries < MAKE_TRIES => {
                    tries += 1;
                    tokio::time::sleep(MAKE_PAUSE).await;
                }
                Some(Err((topic, Code::InvalidReplicationFactor))) => {
                    return Err(KafkaError::FewBrokers { topic, replication: copies });
                }
                Some(Err((topic, code))) => {
                    let error = KafkaError::of_code(&format!("making topic {topic}"), Some(code), code.to_string());
                    return Err(match error.kind() {
                        Kind::Transient => error,
                        Kind::Definite => KafkaError::TopicMissing { topic, reason: code.to_string() },
                    });
                }
            }
        }
    }

    /// A broker's settings.
    pub async fn broker(&self, id: i32) -> Result<Values, KafkaError> {
        let described = self.settings(&[ResourceSpecifier::Broker(id)]).await?;
        Ok(described.into_iter().map(|(_, settings)| settings).next().unwrap_or_default())
    }

    async fn settings(
        &self,
        of: &[ResourceSpecifier<'_>],
    ) -> Result<Vec<(OwnedResourceSpecifier, Values)>, KafkaError> {
        let doing = "reading settings";
        if of.is_empty() {
            return Ok(Vec::new());
        }
        let described = self.client.describe_configs(of, &options()).await;
        let described = described.map_err(|error| KafkaError::of(doing, &error))?;
        let one = |resource: ConfigResource| {
            let values = resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
            (resource.specifier, values.collect())
        };
        let failed = |code: Code| KafkaError::of_code(doing, Some(code), code.to_string());
        described.into_iter().map(|resource| resource.map(one).map_err(failed)).collect()
    }

    async fn metadata<T: Send + 'static>(
        &self,
        topic: Option<&str>,
        look: impl FnOnce(Metadata) -> T + Send + 'static,
    ) -> Result<T, KafkaError> {
        let (asker, topic) = (self.asker.clone(), topic.map(str::to_owned));
        let asked = move || match asker.fetch_metadata(topic.as_deref(), ANSWER_TIME) {
            Ok(metadata) => Ok(look(metadata)),
            Err(error) => Err(refusal(&asker).unwrap_or(error)),
        };
        let fetched = tokio::task::spawn_blocking(asked).await.map_err(|_| KafkaError::Ending)?;
        fetched.map_err(|error| KafkaError::of("looking at the cluster", &error))
    }
}

/// Why brokers let nobody in, if that is it: whoever asked only hears that none answers.
fn refusal(asker: &BaseConsumer<Told>) -> Option<ClientError> {
    // Each may be a line for the log alone.
    (0..EVENTS_MAX).find_map(|_| {
        let error = asker.poll(Duration::ZERO)?.err()?;
        let code = error.rdkafka_error_code();
        matches!(code, Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL)).then_some(error)
    })
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER_TIME)).operation_timeout(Some(ANSWER_TIME))
}
