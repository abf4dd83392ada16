//! The control topic: which log this is, how far it has come, and what its records need to be read.
//!
//! One partition, compacted: the last record of each key counts. Each is written in the transaction of the records that it is about.
//!
//! ```text
//! log               JSON  Identity: made once, with the log
//! checkpoint        JSON  Covered: the checkpoint, and the last number in each partition, as of its transaction
//! leader            JSON  Leader: written by each before anything else
//! dumps             JSON  the checkpoint's dumps, when they have changed
//! topics            JSON  Added: the topics that tables were given, when there are more
//! shape/FINGERPRINT       a schema record (see the envelope); one that comes again is its table's newest again
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysync_change::dump::Dumps;
use mysync_change::envelope::{self, LogId};
use mysync_change::position::Checkpoint;
use mysync_change::routing::Routing;
use mysync_change::schema::{Fingerprint, TableShape};
use mysync_change::topics::Topic;
use rdkafka::topic_partition_list::Offset;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Cluster;
use super::error::KafkaError;
use super::tail::{Next, Record, Tail};

/// Behind the last record of a transaction stands the mark that it was committed. Waiting to be told that nothing follows takes much longer.
const AND_MARKER: i64 = 2;
/// A broker that has just become the topic's leader may take a while to know what was committed.
const READ_TIME: Duration = Duration::from_secs(30);
const READ_PAUSE: Duration = Duration::from_millis(10);
/// Of every JSON record in the topic.
const VERSION: u32 = 1;

pub const LOG: &str = "log";
pub const CHECKPOINT: &str = "checkpoint";
pub const DUMPS: &str = "dumps";
pub const LEADER: &str = "leader";
pub const TOPICS: &str = "topics";
const SHAPE: &str = "shape/";

/// A JSON record: what it is, and in which form.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    content: T,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// In hexadecimal.
    pub id: String,
    /// Whose changes it holds, by its name.
    pub source: String,
    pub routing: Routing,
    /// Microseconds since 1970.
    pub created_us: u64,
}

impl Identity {
    /// With the id that it tells.
    pub fn read(topic: &str, json: &[u8]) -> Result<(LogId, Self), KafkaError> {
        let identity: Self = parse(topic, LOG, json)?;
        let id = identity.id.parse().map_err(|reason: String| unreadable(topic, LOG, &reason))?;
        Ok((id, identity))
    }
}

/// A checkpoint, and where the log ended with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    pub checkpoint: Checkpoint,
    /// The last number in each partition; 0: none yet.
    pub lasts: Vec<u64>,
    /// When the first transaction was committed of what each partition got with it, and the last: microseconds since 1970; none: nothing.
    pub committed_us: Vec<Option<(u64, u64)>>,
    /// When the source was last heard, by the leader's clock.
    pub heard_us: u64,
}

/// The topics with records behind the first one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    pub topics: Vec<Topic>,
}

/// A process that has begun to capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// Random: who reads it back has read everything from before its start.
    pub token: String,
    /// Of the process, for people: its machine and number there.
    pub name: String,
}

/// A shape's key in the topic.
pub fn shape_key(fingerprint: Fingerprint) -> String {
    format!("{SHAPE}{fingerprint}")
}

/// A JSON record of the topic.
pub fn to_json(topic: &str, key: &str, content: &impl Serialize) -> Result<Vec<u8>, KafkaError> {
    serde_json::to_vec(&Versioned { version: VERSION, content }).map_err(|error| unreadable(topic, key, &error))
}

fn unreadable(topic: &str, key: &str, reason: &impl ToString) -> KafkaError {
    KafkaError::Control { topic: topic.to_owned(), key: key.to_owned(), reason: reason.to_string() }
}

/// What the topic has said so far.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub identity: Option<(LogId, Identity)>,
    pub covered: Option<Covered>,
    pub leader: Option<Leader>,
    pub dumps: Arc<Dumps>,
    pub topics: Vec<Topic>,
    /// With their places in the topic: the oldest first.
    shapes: BTreeMap<Fingerprint, (i64, Arc<TableShape>)>,
}

impl State {
    /// Every shape in the log, oldest first.
    pub fn shapes(&self) -> Vec<(Fingerprint, Arc<TableShape>)> {
        let mut shapes: Vec<_> = self.shapes.iter().map(|(known, (at, shape))| (*at, *known, shape.clone())).collect();
        shapes.sort_by_key(|(at, ..)| *at);
        shapes.into_iter().map(|(_, fingerprint, shape)| (fingerprint, shape)).collect()
    }

    pub fn shape(&self, fingerprint: Fingerprint) -> Option<Arc<TableShape>> {
        self.shapes.get(&fingerprint).map(|(_, shape)| shape.clone())
    }

    /// The checkpoint, with its dumps.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let covered = self.covered.as_ref()?;
        Some(Checkpoint { dumps: self.dumps.clone(), ..covered.checkpoint.clone() })
    }
}

/// The topic, as far as it was read.
#[derive(Debug)]
pub struct Control {
    tail: Tail,
    state: State,
    /// Those of the last checkpoint, dumps, topics and leader that were not looked at yet: most are replaced before.
    pending: BTreeMap<&'static str, Vec<u8>>,
    /// Where what was not taken yet begins.
    next: i64,
    /// Everything before this offset is known, marks of transactions and what was never committed included.
    known: i64,
    /// Whether reading has failed since.
    lost: bool,
}

impl Control {
    /// From its beginning.
    pub fn new(cluster: &Cluster, group: &str) -> Result<Self, KafkaError> {
        let tail = Tail::from(cluster, group, &cluster.settings.control_topic(), 0, Offset::Beginning)?;
        Ok(Self { tail, state: State::default(), pending: BTreeMap::new(), next: 0, known: 0, lost: false })
    }

    /// Reads to where the topic ends for now, as far as its broker knows: one that has just become its leader may not know of the last
    /// transactions yet.
    pub async fn catch_up(&mut self) -> Result<&State, KafkaError> {
        if self.lost {
            self.tail.seek(Offset::Offset(self.next))?;
        }
        let mut read = self.read_on().await;
        if let Err(KafkaError::PlaceGone { .. }) = read {
            // The topic was made anew.
            (self.state, self.next, self.known) = (State::default(), 0, 0);
            self.pending.clear();
            self.tail.seek(Offset::Beginning)?;
            read = self.read_on().await;
        }
        self.lost = read.is_err();
        read.map(|()| &self.state)
    }

    async fn read_on(&mut self) -> Result<(), KafkaError> {
        let mut ended = false;
        loop {
            ended = match self.tail.poll()? {
                Next::Message(record) => {
                    take(&mut self.state, &mut self.pending, &self.tail.topic, &record)?;
                    self.next = record.offset + 1;
                    self.known = record.offset + AND_MARKER;
                    false
                }
                Next::End => true,
                Next::Nothing => break,
            }
        }
        let (_, end) = self.tail.bounds().await?;
        if ended && self.known < end {
            // That it ends there was told, and is not told again unless it is asked for.
            self.tail.seek(Offset::Offset(self.next))?;
        }
        while self.known < end {
            match self.tail.next().await? {
                Some(record) => {
                    take(&mut self.state, &mut self.pending, &self.tail.topic, &record)?;
                    self.next = record.offset + 1;
                    self.known = record.offset + AND_MARKER;
                }
                None => self.known = end,
            }
        }
        self.look()
    }

    /// Reads up to the record that this leader has written: everything that was committed before it.
    pub async fn read_to(&mut self, token: &str) -> Result<&State, KafkaError> {
        let deadline = Instant::now() + READ_TIME;
        loop {
            let state = self.catch_up().await?;
            if state.leader.as_ref().is_some_and(|leader| leader.token == token) {
                return Ok(&self.state);
            }
            if Instant::now() > deadline {
                let reason = "what was just written there cannot be read back".to_owned();
                return Err(KafkaError::Unreachable { doing: format!("reading topic {}", self.tail.topic), reason });
            }
            tokio::time::sleep(READ_PAUSE).await;
        }
    }

    fn look(&mut self) -> Result<(), KafkaError> {
        while let Some(entry) = self.pending.first_entry() {
            let (topic, key) = (&self.tail.topic, *entry.key());
            match key {
                CHECKPOINT => self.state.covered = Some(parse(topic, key, entry.get())?),
                LEADER => self.state.leader = Some(parse(topic, key, entry.get())?),
                TOPICS => self.state.topics = parse::<Added>(topic, key, entry.get())?.topics,
                _ => self.state.dumps = Arc::new(parse(topic, key, entry.get())?),
            }
            // What cannot be read is told each time.
            entry.remove();
        }
        Ok(())
    }

    pub fn state(&self) -> &State {
        &self.state
    }
}

fn take(
    state: &mut State,
    pending: &mut BTreeMap<&'static str, Vec<u8>>,
    topic: &str,
    record: &Record<'_>,
) -> Result<(), KafkaError> {
    let key = String::from_utf8_lossy(record.key()).into_owned();
    let bytes = record.bytes();
    match key.as_str() {
        LOG => {
            state.identity = Some(Identity::read(topic, bytes)?);
        }
        CHECKPOINT => _ = pending.insert(CHECKPOINT, bytes.to_vec()),
        LEADER => _ = pending.insert(LEADER, bytes.to_vec()),
        DUMPS => _ = pending.insert(DUMPS, bytes.to_vec()),
        TOPICS => _ = pending.insert(TOPICS, bytes.to_vec()),
        _ if key.starts_with(SHAPE) => {
            let (fingerprint, shape) = envelope::read_schema(bytes)?;
            state.shapes.insert(fingerprint, (record.offset, Arc::new(shape)));
        }
        _ => return Err(unreadable(topic, &key, &"this release does not know such a record")),
    }
    Ok(())
}

pub fn parse<T: DeserializeOwned>(topic: &str, key: &str, json: &[u8]) -> Result<T, KafkaError> {
    let Version { version } = serde_json::from_slice(json).map_err(|error| unreadable(topic, key, &error))?;
    if version != VERSION {
        return Err(unreadable(topic, key, &format!("it has version {version}, this program reads {VERSION}")));
    }
    let Versioned { content, .. } = serde_json::from_slice(json).map_err(|error| unreadable(topic, key, &error))?;
    Ok(content)
}
