//! One partition of the log on Kafka as deliver sees it.
//!
//! **Promise.** Committed records of this log, in order, from behind any number on; nothing is passed over silently. A record that cannot be one
//! of this log is an error.
//! **Finding a place.** Numbers grow with offsets: the offset that the group last committed is tried first, then the partition is halved again
//! and again.
//! **Progress.** Nothing depends on what is committed to the group. It is where the next search begins, and what Kafka's tools show.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysync_change::batch::BlockReader;
use mysync_change::envelope::LogId;
use mysync_change::fence::Place;
use mysync_change::schema::{Fingerprint, TableShape};
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::{Compaction, Found, LogReader};
use rdkafka::topic_partition_list::Offset;
use tokio::sync::Mutex;
use tracing::warn;

use super::Cluster;
use super::control::{Control, State};
use super::error::KafkaError;
use super::group::Member;
use super::search::{Behind, Search};
use super::seen::Seen;
use super::settings::Cleanup;
use super::tail::{Next, Tail};

/// The shape of rows that can be read is in the control topic, which may be read a moment later.
const SHAPE_TIME: Duration = Duration::from_secs(30);
/// How long the control topic may say something else than the partition does.
const AGREE_TIME: Duration = Duration::from_secs(5);
const AGREE_PAUSE: Duration = Duration::from_millis(100);
/// What `log.allow` calls records that are none of the log.
const FOREIGN: &str = "foreign.records";
/// How often a first offset is committed while a group is busy with its members.
const COMMIT_TRIES: u32 = 10;
const COMMIT_PAUSE: Duration = Duration::from_millis(300);
/// Who has heard nothing for so long asks whether there is more.
const STUCK_TIME: Duration = Duration::from_secs(5);
const SHAPE_PAUSE: Duration = Duration::from_millis(20);
/// Messages that were read and have not been passed: offsets to commit. More than any batch has; what is lost of them is a hint.
const PASSED_MAX: usize = 10_000;

/// What a reader needs beside its partition.
#[derive(Debug, Clone)]
pub struct Reading {
    pub(super) cluster: Arc<Cluster>,
    pub(super) id: LogId,
    pub(super) control: Arc<Mutex<Control>>,
    /// None: it looks, and is of no group.
    pub(super) member: Option<Arc<Member>>,
}

impl Reading {
    /// The control topic still holds the log that is read.
    fn check(&self, state: &State) -> Result<(), KafkaError> {
        match &state.identity {
            Some((id, _)) if *id != self.id => {
                self.cluster.check_numbers(*id)?;
                Err(KafkaError::Replaced { former: self.id.to_string(), now: id.to_string() })
            }
            Some(_) => Ok(()),
            // Somebody has made it anew, and whoever captures sees what that means.
            None => Err(KafkaError::Absent { topic: self.cluster.settings.control_topic() }),
        }
    }
}

#[derive(Debug)]
pub struct KafkaReader {
    reading: Reading,
    group: String,
    /// Of the log.
    partition: u32,
    /// The topic that it is in, and which one it is there.
    topic: String,
    there: u32,
    /// Reads on from a place that was found; none: it has no place.
    stream: Option<Tail>,
    /// Whether everything was read that was there when it was last looked at.
    at_end: bool,
    /// The last number of what was read since the last search; none: nothing was looked for yet.
    at: Option<u64>,
    /// Last numbers of messages that were read, and the offset behind each.
    passed: VecDeque<(u64, i64)>,
    /// Whether it is known that the group has a committed offset.
    has_committed: bool,
    /// When something was last heard, or asked for.
    heard: Instant,
}

impl KafkaReader {
    pub fn new(reading: Reading, group: &str, partition: u32) -> Result<Self, KafkaError> {
        let (topic, there) = reading.cluster.place(partition)?;
        Ok(Self {
            reading,
            group: group.to_owned(),
            partition,
            topic,
            there,
            stream: None,
            at_end: false,
            at: None,
            passed: VecDeque::new(),
            has_committed: false,
            heard: Instant::now(),
        })
    }

    /// Looks for places. Made when it is needed, which is seldom.
    pub(super) fn search(&self) -> Result<Search, KafkaError> {
        Search::new(&self.reading.cluster, self.reading.id, &self.group, &self.topic, self.there)
    }

    /// Where the group last was: the search begins there.
    async fn hint(&self) -> Result<Option<i64>, KafkaError> {
        match &self.reading.member {
            Some(member) => member.committed(self.partition).await,
            None => Ok(None),
        }
    }

    /// Goes to where the record behind `seq` is.
    async fn go_behind(&mut self, seq: u64) -> Result<(), KafkaError> {
        let behind = self.search()?.behind(seq, self.hint().await?).await?;
        self.go_to(seq, behind.start)
    }

    fn go_to(&mut self, seq: u64, offset: i64) -> Result<(), KafkaError> {
        let at = Offset::Offset(offset);
        let stream = Tail::from(&self.reading.cluster, &self.group, &self.topic, self.there, at)?;
        self.stream = Some(stream);
        self.passed.clear();
        self.passed.push_back((seq, offset));
        (self.at, self.at_end, self.heard) = (Some(seq), false, Instant::now());
        Ok(())
    }

    async fn find_place(&mut self, place: &Place) -> Result<Found, KafkaError> {
        let (mut search, hint) = (self.search()?, self.hint().await?);
        let deadline = Instant::now() + AGREE_TIME;
        let mut settled = false;
        loop {
            let Behind { start, next } = search.behind(place.seq, hint).await?;
            // The log goes on, or ends there; or what was behind it is gone, or it has lost its end.
            let last = match next {
                Some(_) => place.seq,
                None => self.stored_last().await?,
            };
            if last == place.seq {
                self.go_to(place.seq, start)?;
                // Who comes to another place than the one before the next record is told so when that is read.
                let gone = next.filter(|next| next.is_first && next.prev > place.seq);
                return Ok(gone.map_or(Found::Next, |next| Found::Trimmed { start: next.prev }));
            }
            // A transaction is seen in one topic a moment before it is in the other, or longer while brokers are away.
            if Instant::now() < deadline {
                tokio::time::sleep(AGREE_PAUSE).await;
                continue;
            }
            let (cluster, partition) = (&self.reading.cluster, self.there);
            let (topic, control) = (self.topic.clone(), cluster.settings.control_topic());
            match (settled, last > place.seq) {
                (true, true) => return Ok(Found::Trimmed { start: last }),
                (true, false) => return Err(KafkaError::TailLost { topic, partition, last, seq: place.seq }),
                // Whichever of them seems to be short may only be late.
                (false, true) => settled = cluster.settle(&topic, partition).await?,
                (false, false) => settled = cluster.settle(&control, 0).await?,
            }
            if !settled {
                return Err(KafkaError::Disagreeing { topic, partition });
            }
        }
    }

    /// The last number of the partition by the log's own account.
    async fn stored_last(&self) -> Result<u64, KafkaError> {
        let mut control = self.reading.control.lock().await;
        let state = control.catch_up().await?;
        self.reading.check(state)?;
        let lasts = state.covered.as_ref().map(|covered| &covered.lasts);
        Ok(lasts.and_then(|lasts| lasts.get(self.partition as usize)).copied().unwrap_or(0))
    }

    /// The offset of the message that was last read.
    pub fn offset(&self) -> Option<i64> {
        self.passed.back().map(|(_, next)| next - 1)
    }

    /// Wherever it is now, the next read looks anew.
    pub(super) fn lose_place(&mut self) {
        self.at = None;
    }

    fn note(&mut self, seen: Seen) {
        self.at = Some(seen.last);
        if self.passed.len() == PASSED_MAX {
            self.passed.pop_front();
        }
        self.passed.push_back((seen.last, seen.offset + 1));
    }

    pub(super) async fn read_next(&mut self, after: u64, block: &mut BlockReader) -> Result<bool, KafkaError> {
        if self.at.is_none_or(|at| at > after) {
            self.go_behind(after).await?;
        }
        loop {
            let Some(stream) = &self.stream else { return Ok(false) };
            let next = match stream.poll()? {
                // Who looks wants to know whether there is more; who delivers is told when something comes.
                Next::Nothing if self.reading.member.is_none() && !self.at_end => match stream.next().await? {
                    Some(record) => Next::Message(record),
                    None => Next::End,
                },
                next => next,
            };
            let seen = match next {
                Next::Message(record) => {
                    let seen = match Seen::of(&record, stream, self.reading.id) {
                        Err(foreign @ KafkaError::Foreign { .. }) if self.reading.cluster.settings.allows(FOREIGN) => {
                            warn!(code = foreign.code(), "allowed by log.allow: {foreign}");
                            continue;
                        }
                        seen => seen?,
                    };
                    if seen.last > after {
                        block.refill().extend_from_slice(record.bytes());
                    }
                    Some(seen)
                }
                Next::End => {
                    self.at_end = true;
                    continue;
                }
                Next::Nothing => None,
            };
            let Some(seen) = seen else {
                if !self.is_stuck().await? {
                    return Ok(false);
                }
                warn!(topic = self.topic, partition = self.there, "nothing comes though there is more");
                self.go_behind(after).await?;
                continue;
            };
            self.heard = Instant::now();
            self.at_end = false;
            self.note(seen);
            if seen.last > after {
                return Ok(true);
            }
        }
    }

    /// Whether nothing has come for a while of what the log says is there: a client may lose its way without a word.
    async fn is_stuck(&mut self) -> Result<bool, KafkaError> {
        if self.reading.member.is_none() || self.heard.elapsed() < STUCK_TIME {
            return Ok(false);
        }
        self.heard = Instant::now();
        let last = self.stored_last().await?;
        Ok(self.at.is_some_and(|at| at < last))
    }

    async fn shape_of(&self, fingerprint: Fingerprint) -> Result<Arc<TableShape>, KafkaError> {
        let deadline = Instant::now() + SHAPE_TIME;
        loop {
            let mut control = self.reading.control.lock().await;
            if let Some(shape) = control.state().shape(fingerprint) {
                return Ok(shape);
            }
            let state = control.catch_up().await?;
            self.reading.check(state)?;
            if let Some(shape) = state.shape(fingerprint) {
                return Ok(shape);
            }
            drop(control);
            if Instant::now() > deadline {
                return Err(KafkaError::ShapeMissing { fingerprint });
            }
            tokio::time::sleep(SHAPE_PAUSE).await;
        }
    }

    async fn commit(&mut self, seq: u64) -> Result<(), KafkaError> {
        let Some(member) = &self.reading.member else { return Ok(()) };
        let mut offset = None;
        while let Some((_, next)) = self.passed.front().copied().filter(|(last, _)| *last <= seq) {
            offset = Some(next);
            // The last one stays: it is where a writer stands to which nothing more comes.
            if self.passed.len() == 1 {
                break;
            }
            self.passed.pop_front();
        }
        let Some(offset) = offset else { return Ok(()) };
        // From the first time on, a store without a fence is one that was emptied: that must not wait.
        if self.has_committed {
            member.note(self.partition, offset);
        } else {
            let mut tries = 1;
            while let Err(error) = member.commit(self.partition, offset).await {
                // A group takes nothing while others join or leave it.
                if tries == COMMIT_TRIES {
                    return Err(error);
                }
                tries += 1;
                tokio::time::sleep(COMMIT_PAUSE).await;
            }
            self.has_committed = true;
        }
        Ok(())
    }
}

impl LogReader for KafkaReader {
    fn log_id(&self) -> LogId {
        self.reading.id
    }

    async fn compaction(&mut self) -> Result<Option<Compaction>, Failure> {
        let settings = &self.reading.cluster.settings;
        let kept = settings.retention;
        match settings.cleanup {
            Cleanup::Delete => Ok(None),
            Cleanup::Compact => Ok(Some(Compaction { kept, last: self.stored_last().await? })),
        }
    }

    async fn find(&mut self, place: &Place) -> Result<Found, Failure> {
        Ok(self.find_place(place).await?)
    }

    async fn read(&mut self, after: u64, block: &mut BlockReader) -> Result<bool, Failure> {
        let read = self.read_next(after, block).await;
        if read.is_err() {
            self.lose_place();
        }
        // What is none of this log may be of another one, which has taken its place.
        if let Err(KafkaError::Foreign { .. }) = read {
            self.stored_last().await?;
        }
        Ok(read?)
    }

    async fn wait(&mut self, _after: u64) {
        // Who has no place yet finds one with the next read.
        if let Some(stream) = &self.stream {
            let _ = tokio::time::timeout(STUCK_TIME, stream.wait()).await;
        }
    }

    async fn shape(&mut self, fingerprint: Fingerprint) -> Result<Arc<TableShape>, Failure> {
        Ok(self.shape_of(fingerprint).await?)
    }

    async fn shapes(&mut self) -> Result<Vec<(Fingerprint, Arc<TableShape>)>, Failure> {
        let mut control = self.reading.control.lock().await;
        let state = control.catch_up().await?;
        self.reading.check(state)?;
        Ok(state.shapes())
    }

    async fn has_advanced(&mut self) -> Result<bool, Failure> {
        let committed = match &self.reading.member {
            Some(member) => member.committed(self.partition).await?,
            None => self.search()?.committed().await?,
        };
        Ok(committed.is_some())
    }

    async fn advance(&mut self, seq: u64) -> Result<(), Failure> {
        Ok(self.commit(seq).await?)
    }
}
