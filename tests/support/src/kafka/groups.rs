//! What tests see of consumer groups, and tell them.

use anyhow::{Context, Result};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::topics::leaders;
use super::{ASK_TIME, Kafka};

impl Kafka {
    /// How many members a group has, once it is settled. None: it is not, or there is no such group.
    pub async fn group_members(&self, group: &str) -> Result<Option<usize>> {
        let group = group.to_owned();
        let look = move |consumer: &BaseConsumer| {
            let list = consumer.fetch_group_list(Some(&group), ASK_TIME)?;
            let settled = list.groups().iter().find(|found| found.name() == group && found.state() == "Stable");
            Ok(settled.map(|found| found.members().len()))
        };
        self.blocking(ClientConfig::new(), look).await
    }

    /// What a group has committed for each partition of a topic.
    pub async fn group_offsets(&self, group: &str, topic: &str) -> Result<Vec<Option<i64>>> {
        let topic = topic.to_owned();
        let look = move |consumer: &BaseConsumer| {
            let mut places = TopicPartitionList::new();
            places.add_partition_range(&topic, 0, i32::try_from(leaders(consumer, &topic)?.len())? - 1);
            let committed = consumer.committed_offsets(places, ASK_TIME)?;
            let mut committed = committed.elements_for_topic(&topic);
            committed.sort_by_key(|place| place.partition());
            Ok(committed.iter().map(|place| place.offset().to_raw().filter(|offset| *offset >= 0)).collect())
        };
        self.blocking(member(group), look).await
    }

    /// Commits in the name of a group that has no members now.
    pub async fn set_group_offset(&self, group: &str, topic: &str, partition: i32, offset: i64) -> Result<()> {
        let (topic, name) = (topic.to_owned(), group.to_owned());
        let commit = move |consumer: &BaseConsumer| {
            let mut places = TopicPartitionList::new();
            places.add_partition_offset(&topic, partition, Offset::Offset(offset))?;
            consumer
                .commit(&places, CommitMode::Sync)
                .with_context(|| format!("group {name} is not told {topic}-{partition}"))
        };
        self.blocking(member(group), commit).await
    }
}

fn member(group: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("group.id", group);
    config
}
