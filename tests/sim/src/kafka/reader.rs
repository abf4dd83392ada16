//! One partition of the log as deliver sees it: read by hand from where the store's fence says. The group's offset is a hint.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mysync_change::batch::BlockReader;
use mysync_change::envelope::{self, Header, LogId};
use mysync_change::fence::Place;
use mysync_change::routing::Layout;
use mysync_change::schema::{Fingerprint, TableShape};
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::{Compaction, Found, LogReader};
use tokio::time::{Instant, sleep, timeout};

use super::broker::{Broker, DELIVER};
use super::group::Hint;
use super::topic::{Control, Message, Partition};
use crate::Mutant;
use crate::bell::Ear;
use crate::faults::{Host, Moment};

/// What is committed in one topic is visible in the other at most so much later.
const VISIBLE: Duration = Duration::from_secs(10);

pub struct KafkaReader {
    broker: Broker,
    host: Host,
    /// Of the group; 0: of none.
    member: Arc<AtomicU64>,
    partition: usize,
    log_id: LogId,
    made: usize,
    /// Where the next fetch begins, and behind which record.
    at: Option<(usize, u64)>,
    noted: bool,
    grown: Ear,
    control_grown: Ear,
}

impl KafkaReader {
    /// Waits until there is a log.
    pub async fn open(broker: Broker, host: Host, member: Arc<AtomicU64>, partition: usize) -> Self {
        let (grown, mut control_grown) = (broker.growth(partition), broker.growth(broker.control()));
        let (made, log_id) = loop {
            control_grown.hush();
            let made = broker.state().made;
            if let Some(id) = broker.log_id() {
                break (made, id);
            }
            control_grown.rung().await;
        };
        Self { broker, host, member, partition, log_id, made, at: None, noted: false, grown, control_grown }
    }

    fn replaced(&self) -> Failure {
        Failure::definite("LOG_REPLACED", format!("the topics of log {} are gone", self.log_id))
    }

    /// The offset at which to go on behind a record.
    fn locate(&self, log: &Partition, hint: Option<Hint>, after: u64) -> usize {
        if let Some(hint) = hint.filter(|_| self.broker.is(Mutant::OffsetTrusted)) {
            return hint.offset;
        }
        // Also a hint that is true was written some time ago: it helps if the place lies behind it.
        let from = hint.map_or(0, |hint| hint.offset).max(log.start);
        let isolation = self.broker.isolation();
        let is_before = log.messages(from, isolation).next().is_some_and(|(_, message)| message.prev <= after);
        let from = if is_before { from } else { log.start };
        let found = log.messages(from, isolation).find(|(_, message)| message.last > after);
        found.map_or(log.stable_end(isolation), |(offset, _)| offset)
    }

    /// How the partition goes on behind a place; none: that is not known yet.
    fn look_for(&mut self, place: &Place, is_late: bool) -> Result<Option<Found>, Failure> {
        let state = self.broker.state();
        if state.made != self.made {
            return Err(self.replaced());
        }
        let isolation = self.broker.isolation();
        let log = &state.topics.partitions[self.partition];
        let (first, mut behind) = (log.messages(0, isolation).next(), log.messages(0, isolation));
        let found = match behind.find(|(_, message)| message.last > place.seq) {
            // Whether it follows the place is seen when it is read.
            Some((_, message))
                if first.is_some_and(|(_, first)| first.prev > place.seq)
                    && !self.broker.is(Mutant::HolesPassedOver) =>
            {
                Some(Found::Trimmed { start: message.prev })
            }
            Some(_) => Some(Found::Next),
            None => {
                let last = state.covered(isolation).map_or(0, |covered| covered.lasts[self.partition]);
                match place.seq.cmp(&last) {
                    std::cmp::Ordering::Equal => Some(Found::Next),
                    std::cmp::Ordering::Greater if is_late => {
                        let message = format!("partition {} ends with {last}", self.partition);
                        return Err(Failure::definite("SIM_TAIL_LOST", message));
                    }
                    // All of it was deleted, unless one of the two topics still has the end of a transaction to come.
                    std::cmp::Ordering::Less if is_late => Some(Found::Trimmed { start: last }),
                    _ => None,
                }
            }
        };
        if found == Some(Found::Next) {
            if log.start > 0 {
                self.broker.faults.count(Moment::ResumedBehindStart);
            }
            let offset = self.locate(log, state.groups[DELIVER].hints[self.partition], place.seq);
            self.at = Some((offset, place.seq));
        }
        Ok(found)
    }

    async fn note(&mut self, seq: u64) -> Result<(), Failure> {
        let (partition, made, member) = (self.partition, self.made, self.member.load(Ordering::Relaxed));
        let isolation = self.broker.isolation();
        let noted = self.broker.ask("committing the offset", move |broker| {
            let state = &mut *broker.state();
            if state.made != made {
                return true;
            }
            if !state.groups[DELIVER].confirms(member) {
                return false;
            }
            let log = &state.topics.partitions[partition];
            let next = log.messages(0, isolation).find(|(_, message)| message.last > seq);
            let offset = next.map_or(log.stable_end(isolation), |(offset, _)| offset);
            state.groups[DELIVER].commit(partition, Hint { offset, seq });
            true
        });
        if !noted.await? {
            return Err(Failure::transient("SIM_MEMBER", "the group has decided anew"));
        }
        self.noted = true;
        Ok(())
    }
}

/// Hides that something is missing between two records.
fn chain(bytes: &[u8], prev: u64, out: &mut Vec<u8>) {
    let (found, _) = envelope::read(bytes, 0).unwrap().unwrap();
    let start = out.len();
    envelope::open(out, &Header { prev, ..found.header }).unwrap();
    out.extend_from_slice(found.body);
    envelope::close(out, start);
}

impl LogReader for KafkaReader {
    fn log_id(&self) -> LogId {
        self.log_id
    }

    async fn compaction(&mut self) -> Result<Option<Compaction>, Failure> {
        self.broker.random.may_fail("asking how far the log has come")?;
        let last = self.broker.covered().map_or(0, |covered| covered.lasts[self.partition]);
        // The clock that a rebuild is timed by is the machine's, not this world's: nobody is late by it, however slow the machine.
        Ok((self.broker.layout == Layout::Keyed).then_some(Compaction { kept: Duration::MAX, last }))
    }

    async fn find(&mut self, place: &Place) -> Result<Found, Failure> {
        self.broker.random.may_fail("finding a place")?;
        let deadline = Instant::now() + VISIBLE;
        loop {
            if let Some(found) = self.look_for(place, Instant::now() > deadline)? {
                return Ok(found);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn read(&mut self, after: u64, block: &mut BlockReader) -> Result<bool, Failure> {
        self.broker.random.may_fail("fetching")?;
        self.grown.hush();
        if self.broker.is_on_its_way(self.partition) {
            return Ok(false);
        }
        let state = self.broker.state();
        if state.made != self.made {
            return Err(self.replaced());
        }
        let log = &state.topics.partitions[self.partition];
        let offset = match self.at {
            Some((offset, behind)) if behind <= after => offset,
            // A feed may go back to where its batch began.
            _ => self.locate(log, None, after),
        };
        let out = block.refill();
        let (mut next, mut last) = (offset, after);
        let several = 1 + self.broker.random.below(4) as usize;
        let behind = |(_, message): &(usize, &Arc<Message>)| message.last > after;
        for (offset, message) in log.messages(offset, self.broker.isolation()).filter(behind).take(several) {
            if message.log_id != self.log_id {
                return Err(self.replaced());
            }
            if self.broker.is(Mutant::HolesPassedOver) {
                chain(&message.bytes, last, out);
            } else {
                out.extend_from_slice(&message.bytes);
            }
            (next, last) = (offset + 1, message.last);
        }
        self.at = Some((next, last));
        Ok(!out.is_empty())
    }

    async fn wait(&mut self, _after: u64) {
        self.grown.rung().await;
    }

    async fn shape(&mut self, fingerprint: Fingerprint) -> Result<Arc<TableShape>, Failure> {
        let missing = || Failure::definite("SIM_SHAPE", "a row came before its shape");
        let awaited = async {
            loop {
                self.control_grown.hush();
                let shapes = self.shapes().await?;
                if let Some((_, shape)) = shapes.into_iter().find(|(known, _)| *known == fingerprint) {
                    return Ok(shape);
                }
                if self.broker.is(Mutant::ShapeNotAwaited) {
                    return Err(missing());
                }
                // The control topic's part of the transaction may end later than this partition's.
                self.control_grown.rung().await;
            }
        };
        timeout(VISIBLE, awaited).await.unwrap_or_else(|_| Err(missing()))
    }

    async fn shapes(&mut self) -> Result<Vec<(Fingerprint, Arc<TableShape>)>, Failure> {
        let state = self.broker.state();
        let mut shapes: Vec<(Fingerprint, Arc<TableShape>)> = Vec::new();
        for control in state.topics.control().controls(self.broker.isolation()) {
            if let Control::Shape(fingerprint, shape) = control {
                shapes.retain(|(known, _)| known != fingerprint);
                shapes.push((*fingerprint, shape.clone()));
            }
        }
        Ok(shapes)
    }

    async fn has_advanced(&mut self) -> Result<bool, Failure> {
        let partition = self.partition;
        let hint =
            self.broker.ask("asking for the offset", move |broker| broker.state().groups[DELIVER].hints[partition]);
        Ok(hint.await?.is_some())
    }

    async fn advance(&mut self, seq: u64) -> Result<(), Failure> {
        self.host.at(Moment::AnsweredNotNoted).await?;
        // From the first time on a store without a fence is one that was emptied: that must not wait.
        if !self.noted {
            return self.note(seq).await;
        }
        if self.broker.random.one_in(4) {
            // A hint.
            let _ = self.note(seq).await;
        }
        Ok(())
    }
}
