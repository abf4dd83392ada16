//! Real Kafka, one node or three, for each test: killed, paused and started again node by node.
//!
//! Clients use one listener, which may lie behind a [`Proxy`] for each node; nodes among themselves, and the helpers here, use another, so
//! that a test can look at a cluster whose clients are cut off.

mod access;
mod groups;
mod plan;
mod ready;
mod request;
mod security;
mod topics;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rdkafka::ClientConfig;
use tempfile::TempDir;

use crate::Proxy;
use crate::process::{Process, free_port};
use crate::waiting::until_blocking;
pub use access::{Operation, Resource};
pub use plan::KafkaPlan;
pub use security::Secure;
pub use topics::{Message, Record};

/// Three JVMs that start at once on a busy machine.
const START_TIME: Duration = Duration::from_secs(120);
/// Somebody else may take a port between its choice and its use.
const STARTS_MAX: u32 = 3;
/// For one question, which is asked again.
const ASK_TIME: Duration = Duration::from_secs(2);
const PORT_TAKEN: &str = "Address already in use";

/// A cluster of its own. Its nodes are numbered from 1, as Kafka says it too; each is a broker and a controller.
pub struct Kafka {
    plan: KafkaPlan,
    home: PathBuf,
    nodes: Vec<Node>,
    secure: Option<Secure>,
    /// Goes after its nodes have ended.
    dir: TempDir,
}

struct Node {
    dir: PathBuf,
    ports: Ports,
    proxy: Option<Proxy>,
    process: Option<Process>,
    paused: bool,
}

/// Who listens where.
#[derive(Clone, Copy)]
struct Ports {
    clients: u16,
    /// Other nodes, and the helpers here.
    inner: u16,
    controller: u16,
    secure: u16,
    /// Where clients are told that this node is.
    advertised: u16,
}

impl Kafka {
    /// The installed Kafka that `MYSYNC_KAFKA_HOME` names: a folder with its jars in `libs`.
    pub fn home() -> Option<PathBuf> {
        std::env::var_os("MYSYNC_KAFKA_HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
    }

    /// Starts a fresh cluster of 1 or 3 nodes, with settings (`name=value`) that come last, so they win. It is of use when this returns:
    /// all nodes are in it, and the topics of groups and transactions exist. Blocks for some seconds.
    pub fn start(nodes: usize, settings: &[&str]) -> Result<Self> {
        KafkaPlan::new(nodes).settings(settings).start()
    }

    fn start_plan(plan: KafkaPlan) -> Result<Self> {
        let home = Self::home().context("MYSYNC_KAFKA_HOME names no Kafka")?;
        let dir = tempfile::Builder::new().prefix("kafka-").tempdir()?;
        let secure = if plan.users.is_empty() { None } else { Some(Secure::make(dir.path())?) };
        let mut kafka = Self { plan, home, nodes: Vec::new(), secure, dir };
        let mut starts = 0;
        loop {
            starts += 1;
            match kafka.start_all() {
                Err(error) if starts < STARTS_MAX && format!("{error:#}").contains(PORT_TAKEN) => drop(error),
                other => return other.map(|()| kafka),
            }
        }
    }

    fn start_all(&mut self) -> Result<()> {
        self.nodes.clear();
        for id in 1..=self.plan.nodes {
            let dir = self.dir.path().join(id.to_string());
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir(&dir)?;
            let clients = free_port();
            let proxy = self.plan.proxied.then(|| Proxy::start(clients)).transpose()?;
            let advertised = proxy.as_ref().map_or(clients, |proxy| proxy.port);
            let [inner, controller, secure] = [free_port(), free_port(), free_port()];
            let ports = Ports { clients, inner, controller, secure, advertised };
            self.nodes.push(Node { dir, ports, proxy, process: None, paused: false });
        }
        let ports: Vec<Ports> = self.nodes.iter().map(|node| node.ports).collect();
        for (id, node) in (1..).zip(&self.nodes) {
            let settings = self.plan.node(id, &node.dir, &ports, self.secure.as_ref());
            std::fs::write(node.dir.join("server.properties"), settings)?;
        }
        if let Some(secure) = &mut self.secure {
            secure.brokers =
                ports.iter().map(|ports| format!("127.0.0.1:{}", ports.secure)).collect::<Vec<_>>().join(",");
        }
        self.format()?;
        self.restart_all()?;
        self.coordinates()
    }

    /// Makes the data folders of all nodes, by the tool for one of them: the others' are alike but for their names.
    fn format(&self) -> Result<()> {
        let first = &self.nodes[0].dir;
        let mut tool = self.java();
        tool.args(["kafka.tools.StorageTool", "format", "--cluster-id", &plan::unique_name()?, "--config"]);
        tool.arg(first.join("server.properties")).args(self.plan.format_arguments());
        let output = tool.output().context("cannot run java")?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            bail!("Kafka's storage cannot be formatted: {}", String::from_utf8_lossy(&said));
        }
        let names = std::fs::read_to_string(first.join("data/meta.properties"))?;
        for (id, node) in (1..).zip(&self.nodes).skip(1) {
            crate::mysql::copy_folder(&first.join("data"), &node.dir.join("data"))?;
            let names = names.lines().map(|line| match line.split_once('=') {
                Some(("node.id", _)) => Ok(format!("node.id={id}\n")),
                Some(("directory.id", _)) => Ok(format!("directory.id={}\n", plan::unique_name()?)),
                _ => Ok(format!("{line}\n")),
            });
            std::fs::write(node.dir.join("data/meta.properties"), names.collect::<Result<String>>()?)?;
        }
        Ok(())
    }

    /// Java with Kafka's jars; a class and its arguments follow.
    fn java(&self) -> Command {
        let named = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java"));
        let mut java = Command::new(named.filter(|java| java.is_file()).unwrap_or_else(|| "java".into()));
        let classes = self.home.join("broker.jsa");
        if classes.exists() {
            java.arg(format!("-XX:SharedArchiveFile={}", classes.display()));
        }
        java.args(self.plan.jvm()).arg("-cp").arg(self.home.join("libs/*"));
        java
    }

    /// Where clients begin: every node, behind its proxy if it has one.
    pub fn brokers(&self) -> String {
        let addresses = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.ports.advertised));
        addresses.collect::<Vec<_>>().join(",")
    }

    /// The listener that demands TLS and a password, if the cluster was planned with users.
    pub fn secure(&self) -> Result<&Secure> {
        self.secure.as_ref().context("this cluster was not planned with users")
    }

    /// What lies between a node and its clients, if the cluster was planned with proxies.
    pub fn proxy(&self, id: usize) -> Result<&Proxy> {
        self.node(id)?.proxy.as_ref().context("this cluster was not planned with proxies")
    }

    /// All nodes' numbers.
    pub fn ids(&self) -> std::ops::RangeInclusive<usize> {
        1..=self.nodes.len()
    }

    /// Those that run, and are not paused.
    pub fn running_ids(&self) -> Vec<usize> {
        self.running().map(|(id, _)| id).collect()
    }

    /// Ends a node like a power cut of its process: what it has written stays.
    pub fn kill(&mut self, id: usize) -> Result<()> {
        let node = self.node_mut(id)?;
        (node.process, node.paused) = (None, false);
        Ok(())
    }

    /// Ends it like a power cut, if it runs, and starts it again. Returns when it has caught up with all its partitions; if most nodes are
    /// away, so that there is no cluster, when it has started.
    pub fn restart(&mut self, id: usize) -> Result<()> {
        self.kill(id)?;
        self.launch(id)?;
        self.await_use(&[id])
    }

    /// The same for all nodes at once.
    pub fn restart_all(&mut self) -> Result<()> {
        let ids: Vec<usize> = self.ids().collect();
        ids.iter().try_for_each(|id| self.kill(*id))?;
        ids.iter().try_for_each(|id| self.launch(*id))?;
        self.await_use(&ids)
    }

    /// Lets a node stand still: it neither answers nor closes a connection.
    pub fn pause(&mut self, id: usize) -> Result<()> {
        let node = self.node_mut(id)?;
        node.process.as_ref().context("it does not run")?.pause()?;
        node.paused = true;
        Ok(())
    }

    /// Lets it go on after a pause. It catches up by itself: [`Kafka::await_whole`] waits for that.
    pub fn go_on(&mut self, id: usize) -> Result<()> {
        let node = self.node_mut(id)?;
        node.process.as_ref().context("it does not run")?.go_on()?;
        node.paused = false;
        Ok(())
    }

    /// The node that leads the others: the active controller.
    pub fn controller(&self) -> Result<usize> {
        until_blocking("a controller is elected", START_TIME, || {
            let known = self.running().filter_map(|(_, node)| node.elected()).max();
            let leader = known.and_then(|(_, leader)| usize::try_from(leader).ok()).context("none is known")?;
            ensure!(self.running().any(|(id, _)| id == leader), "{leader} was, and is away");
            Ok(leader)
        })
    }

    /// What a node has said since its first start.
    pub fn said(&self, id: usize) -> Result<String> {
        let log = self.node(id)?.log();
        Ok(String::from_utf8_lossy(&std::fs::read(&log).with_context(|| log.display().to_string())?).into_owned())
    }

    /// What all nodes that run have used of the processors since their last start.
    pub fn cpu_seconds(&self) -> Result<f64> {
        self.nodes.iter().filter_map(|node| node.process.as_ref()).map(Process::cpu_seconds).sum()
    }

    fn node(&self, id: usize) -> Result<&Node> {
        self.nodes.get(id.wrapping_sub(1)).with_context(|| format!("there is no node {id}"))
    }

    fn node_mut(&mut self, id: usize) -> Result<&mut Node> {
        self.nodes.get_mut(id.wrapping_sub(1)).with_context(|| format!("there is no node {id}"))
    }

    fn running(&self) -> impl Iterator<Item = (usize, &Node)> {
        (1..).zip(&self.nodes).filter(|(_, node)| node.process.is_some() && !node.paused)
    }

    fn launch(&mut self, id: usize) -> Result<()> {
        let mut command = self.java();
        let node = self.node_mut(id)?;
        command.current_dir(&node.dir).args(["kafka.Kafka", "server.properties"]);
        node.process = Some(Process::start(command, &node.log())?);
        Ok(())
    }

    /// A client that no proxy disturbs and nobody's rights bind.
    fn inner_client(&self) -> ClientConfig {
        let addresses: Vec<String> =
            self.running().map(|(_, node)| format!("127.0.0.1:{}", node.ports.inner)).collect();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", addresses.join(",")).set("reconnect.backoff.max.ms", "200");
        config
    }
}

impl Node {
    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Who leads by this node's knowledge, behind the number of the election.
    fn elected(&self) -> Option<(i64, i64)> {
        let text = std::fs::read(self.dir.join("data/__cluster_metadata-0/quorum-state")).ok()?;
        let state: serde_json::Value = serde_json::from_slice(&text).ok()?;
        Some((state["leaderEpoch"].as_i64()?, state["leaderId"].as_i64()?))
    }
}
