//! How a cluster is to be, and what that means for the settings of its nodes.

use std::io::Read;
use std::path::Path;

use anyhow::Result;

use super::{Kafka, Ports, Secure};

/// How a cluster is to be.
#[derive(Debug, Clone, Default)]
pub struct KafkaPlan {
    pub(super) nodes: usize,
    pub(super) settings: Vec<String>,
    pub(super) proxied: bool,
    /// Names and passwords.
    pub(super) users: Vec<(String, String)>,
    pub(super) rights: bool,
    pub(super) fast: bool,
}

impl KafkaPlan {
    /// 1 or 3 nodes. Topics have a copy on each, of which 1 or 2 must be up to date to be written to.
    pub fn new(nodes: usize) -> Self {
        Self { nodes, ..Self::default() }
    }

    /// Settings of every node, `name=value`. They come last, so they win.
    pub fn settings(mut self, settings: &[&str]) -> Self {
        self.settings.extend(settings.iter().map(|setting| (*setting).to_owned()));
        self
    }

    /// Clients reach each node through a [`crate::Proxy`] only.
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// One more listener, which demands TLS and one of these names with its password (SCRAM-SHA-256, SCRAM-SHA-512 or PLAIN).
    pub fn users(mut self, users: &[(&str, &str)]) -> Self {
        self.users.extend(users.iter().map(|(name, password)| ((*name).to_owned(), (*password).to_owned())));
        self
    }

    /// Users may do what they are allowed ([`Kafka::allow`]), and nothing else. Those without a name, at the plain listener, may do all.
    pub fn rights(mut self) -> Self {
        self.rights = true;
        self
    }

    /// For benches: slower to start, with more memory, and fast.
    pub fn fast(mut self) -> Self {
        self.fast = true;
        self
    }

    /// Starts it: see [`Kafka::start`].
    pub fn start(self) -> Result<Kafka> {
        Kafka::start_plan(self)
    }

    pub(super) fn jvm(&self) -> Vec<&'static str> {
        let mut jvm = vec![
            "-XX:MaxDirectMemorySize=128m",
            "-Djava.net.preferIPv4Stack=true",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        ];
        jvm.extend(match self.fast {
            true => ["-Xms1g", "-Xmx1g", "-XX:+UseSerialGC", "-XX:+TieredCompilation"],
            false => ["-Xms256m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"],
        });
        jvm
    }

    /// What the tool that makes a data folder is told: passwords are among what it writes.
    pub(super) fn format_arguments(&self) -> Vec<String> {
        let scram = |(name, password): &(String, String)| {
            ["SCRAM-SHA-256", "SCRAM-SHA-512"]
                .map(|kind| ["--add-scram".to_owned(), format!("{kind}=[name={name},password={password}]")])
        };
        self.users.iter().flat_map(scram).flatten().collect()
    }

    /// The settings of one node.
    pub(super) fn node(&self, id: usize, dir: &Path, ports: &[Ports], secure: Option<&Secure>) -> String {
        let Some(here) = ports.get(id - 1) else { return String::new() };
        let voters = (1..).zip(ports).map(|(id, ports)| format!("{id}@127.0.0.1:{}", ports.controller));
        let copies = self.nodes;
        let enough = copies.div_ceil(2);
        // So long after its kill a node is not let in again. One that is alone is not late because others were quicker.
        let session = if copies == 1 { 1000 } else { 3000 };
        let tls = if secure.is_some() { format!(",SECURE://127.0.0.1:{}", here.secure) } else { String::new() };
        let mut settings = format!(
            "process.roles=broker,controller\n\
             node.id={id}\n\
             controller.quorum.voters={}\n\
             listeners=CLIENTS://127.0.0.1:{},INNER://127.0.0.1:{},CONTROLLER://127.0.0.1:{}{tls}\n\
             advertised.listeners=CLIENTS://127.0.0.1:{},INNER://127.0.0.1:{}{tls}\n\
             controller.listener.names=CONTROLLER\n\
             inter.broker.listener.name=INNER\n\
             listener.security.protocol.map=CLIENTS:PLAINTEXT,INNER:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL\n\
             log.dirs={}\n\
             default.replication.factor={copies}\n\
             min.insync.replicas={enough}\n\
             offsets.topic.replication.factor={copies}\n\
             transaction.state.log.replication.factor={copies}\n\
             transaction.state.log.min.isr={enough}\n\
             share.coordinator.state.topic.replication.factor={copies}\n\
             share.coordinator.state.topic.min.isr={enough}\n\
             broker.session.timeout.ms={session}\n\
             broker.heartbeat.interval.ms={}\n",
            voters.collect::<Vec<_>>().join(","),
            here.clients,
            here.inner,
            here.controller,
            here.advertised,
            here.inner,
            dir.join("data").display(),
            session / 6,
        );
        settings.push_str(SETTINGS);
        settings.push_str(&secure.map_or(String::new(), |secure| secure.settings(&self.users)));
        if self.rights {
            settings.push_str(
                "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\nsuper.users=User:ANONYMOUS\n",
            );
        }
        self.settings.iter().for_each(|setting| settings.extend([setting, "\n"]));
        settings
    }
}

/// A dead node is noticed in 3 s instead of 9, a group forms at once, what is due for deletion or compaction is looked for each second,
/// and nothing is larger than a test needs.
const SETTINGS: &str = "\
auto.create.topics.enable=false
replica.lag.time.max.ms=3000
group.initial.rebalance.delay.ms=0
log.initial.task.delay.ms=500
log.retention.check.interval.ms=1000
log.cleaner.backoff.ms=500
log.cleaner.dedupe.buffer.size=16777216
log.segment.bytes=16777216
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
share.coordinator.state.topic.num.partitions=1
num.network.threads=1
num.io.threads=4
";

/// A name as Kafka gives clusters and folders: 16 bytes in base 64.
pub(super) fn unique_name() -> Result<String> {
    let mut bytes = [0; 21];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef";
    let name = bytes.iter().map(|byte| char::from(letters[usize::from(byte % 32)]));
    // The last letter has two bits only that count.
    Ok(name.chain(['A']).collect())
}
