//! When a cluster is of use: not when its ports are open, but when its nodes know each other and have what they are to have.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::Metadata;

use super::request::{API_VERSIONS, FIND_COORDINATOR, ask, string};
use super::{ASK_TIME, Kafka, START_TIME};
use crate::process::{Process, last_lines};
use crate::waiting::until_blocking;

/// What there are coordinators of, and the topic in which they note it.
const GROUPS: (u8, &str) = (0, "__consumer_offsets");
const TRANSACTIONS: (u8, &str) = (1, "__transaction_state");
/// Each question makes a broker try to make the topic.
const ASKED_AGAIN: Duration = Duration::from_secs(1);

impl Kafka {
    /// Waits until every node that runs is in the cluster, and up to date in every partition that it has a copy of and that has a leader.
    pub fn await_whole(&self) -> Result<()> {
        let client: BaseConsumer = self.inner_client().create()?;
        until_blocking("all nodes are up to date", START_TIME, || {
            self.is_whole(&client.fetch_metadata(None, ASK_TIME)?)
        })
    }

    /// Waits until these nodes, which were just started, are of use. One that ends instead is told with the last of what it said.
    pub(super) fn await_use(&mut self, ids: &[usize]) -> Result<()> {
        let most_run = self.running().count() * 2 > self.nodes.len();
        let mut client: Option<BaseConsumer> = None;
        let waited = until_blocking("Kafka is up", START_TIME, || {
            for id in ids {
                let node = self.node_mut(*id)?;
                if let Some(status) = node.process.as_mut().map(Process::exited).transpose()?.flatten() {
                    return Ok(Err(anyhow!("node {id} ended with {status}: {}", last_lines(&node.log()))));
                }
                match (most_run, &client) {
                    (false, _) => drop(TcpStream::connect(("127.0.0.1", node.ports.controller))?),
                    // It answers once the cluster has let it in. Before, the others may not have noticed that it was away.
                    (true, None) => drop(ask(node.ports.inner, API_VERSIONS, &[])?),
                    (true, Some(_)) => {}
                }
            }
            if most_run {
                let client = match &client {
                    Some(client) => client,
                    None => client.insert(self.inner_client().create()?),
                };
                self.is_whole(&client.fetch_metadata(None, ASK_TIME)?)?;
            }
            Ok(Ok(()))
        });
        let logs =
            || ids.iter().filter_map(|id| self.node(*id).ok()).map(|node| last_lines(&node.log())).collect::<Vec<_>>();
        waited.with_context(|| logs().join("\n"))?
    }

    fn is_whole(&self, metadata: &Metadata) -> Result<()> {
        let here = |id: &i32| metadata.brokers().iter().any(|broker| broker.id() == *id);
        let ids: Vec<i32> = self.running().map(|(id, _)| i32::try_from(id)).collect::<Result<_, _>>()?;
        ensure!(ids.iter().all(here), "only {:?} are in the cluster", metadata.brokers());
        for topic in metadata.topics() {
            for partition in topic.partitions() {
                let place = format!("{}-{}", topic.name(), partition.id());
                if partition.leader() < 0 {
                    // Only a node that is away may have all that was acknowledged.
                    ensure!(ids.len() < self.nodes.len(), "{place} has no leader");
                    continue;
                }
                let late = partition.replicas().iter().find(|id| ids.contains(id) && !partition.isr().contains(id));
                ensure!(late.is_none(), "{place}: node {late:?} is not up to date");
            }
        }
        Ok(())
    }

    /// Lets the topics of groups and transactions be made, which a cluster does when it is first asked for a coordinator.
    pub(super) fn coordinates(&self) -> Result<()> {
        let client: BaseConsumer = self.inner_client().create()?;
        let mut asked: Option<Instant> = None;
        until_blocking("Kafka coordinates groups and transactions", START_TIME, || {
            if asked.is_none_or(|asked| asked.elapsed() > ASKED_AGAIN) {
                for (kind, _) in [GROUPS, TRANSACTIONS] {
                    ask(self.node(1)?.ports.inner, FIND_COORDINATOR, &[&string("any")?[..], &[kind]].concat())?;
                }
                asked = Some(Instant::now());
            }
            let metadata = client.fetch_metadata(None, ASK_TIME)?;
            let made = |name| metadata.topics().iter().any(|topic| topic.name() == name);
            ensure!(made(GROUPS.1) && made(TRANSACTIONS.1), "their topics are not made");
            self.is_whole(&metadata)
        })
    }
}
