//! The log as capture sees it: an append is one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mysync_change::block::{self, BlockBuilder, PartitionBlock};
use mysync_change::envelope::{self, LogId};
use mysync_change::position::Checkpoint;
use mysync_change::routing::Layout;
use mysync_change::rows;
use mysync_change::topics::Topics;
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::{Lead, LogWriter};
use tokio::time::{Instant, sleep, timeout};

use super::broker::{Broker, Epoch, Refusal};
use super::membership::Membership;
use super::topic::{Content, Control, Covered, Message};
use crate::Mutant;
use crate::faults::{Host, Moment};

/// How often a client sends by itself what is not acknowledged.
const RETRANSMISSIONS: u32 = 3;

/// What was committed is visible by then.
const READ: Duration = Duration::from_secs(5);
/// How often a leader says that it is there.
const BEAT: Duration = Duration::from_secs(1);

/// A producer that has begun, and which topics it writes to.
#[derive(Debug)]
struct Producer {
    epoch: Epoch,
    made: usize,
    sequences: BTreeMap<usize, u64>,
}

pub struct KafkaLeader {
    broker: Broker,
    membership: Membership,
    host: Host,
    /// None: lead first.
    producer: Option<Producer>,
    log_id: LogId,
    lasts: Vec<u64>,
    /// When something was stored last.
    stored: Instant,
    /// When the world began.
    began: Instant,
}

impl KafkaLeader {
    pub fn new(broker: Broker, membership: Membership, host: Host, began: Instant) -> Self {
        Self {
            broker,
            membership,
            host,
            producer: None,
            log_id: LogId::default(),
            lasts: Vec::new(),
            stored: began,
            began,
        }
    }

    async fn ask<R: Send + 'static>(
        &self,
        what: &'static str,
        effect: impl Fn(&Broker) -> Result<R, Refusal> + Clone + Send + 'static,
    ) -> Result<R, Failure> {
        let mut failed = 0;
        loop {
            match self.broker.ask(what, effect.clone()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(Refusal::Concurrent)) => sleep(Duration::from_millis(1)).await,
                Ok(Err(refusal)) => return Err(Failure::transient("SIM_PRODUCER", format!("{what}: {refusal:?}"))),
                Err(_) if failed < RETRANSMISSIONS && !self.broker.is(Mutant::CommitOnPartialBatch) => failed += 1,
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn send(&self, producer: &mut Producer, partition: usize, content: Content) -> Result<(), Failure> {
        let sequence = producer.sequences.get(&partition).copied().unwrap_or(0) + 1;
        let (made, epoch) = (producer.made, producer.epoch);
        let sent = self.ask("sending", move |broker| broker.take(made, epoch, (partition, sequence), content.clone()));
        match sent.await {
            Err(_) if self.broker.is(Mutant::CommitOnPartialBatch) => {}
            Err(failure) => return Err(failure),
            Ok(()) => _ = producer.sequences.insert(partition, sequence),
        }
        Ok(())
    }

    async fn send_all(
        &self,
        producer: &mut Producer,
        block: &BlockBuilder,
        checkpoint: &Checkpoint,
    ) -> Result<(), Failure> {
        let control = self.broker.control();
        for (fingerprint, shape) in block.shapes() {
            self.send(producer, control, Content::Control(Control::Shape(*fingerprint, shape.clone()))).await?;
        }
        let covered = Covered { lasts: block.lasts(), checkpoint: checkpoint.clone() };
        let covered = Content::Control(Control::Checkpoint(Box::new(covered)));
        if self.broker.is(Mutant::CheckpointOutsideTransaction) {
            self.send(producer, control, covered.clone()).await?;
        }
        for (partition, part) in block.partitions().iter().enumerate().filter(|(_, part)| !part.is_empty()) {
            for message in self.messages(part) {
                self.send(producer, partition, Content::Records(Arc::new(message))).await?;
            }
        }
        self.send(producer, control, covered).await
    }

    /// Cuts a part of a block: between envelopes as chance has it, or where rows are kept under their keys between them.
    fn messages(&self, part: &PartitionBlock) -> Vec<Message> {
        if self.broker.layout == Layout::Keyed {
            return part.messages().map(|message| self.keyed(&message)).collect();
        }
        let (mut messages, mut at): (Vec<Message>, usize) = (Vec::new(), 0);
        while let Some((envelope, next)) = envelope::read(&part.bytes, at).unwrap() {
            let (first, prev) = (envelope.header.first_seq, envelope.header.prev);
            let (mut last, mut row_at) = (first, 0);
            while let Some((row, next)) = rows::read(&envelope, row_at).unwrap() {
                (last, row_at) = (row.seq, next);
            }
            let bytes = &part.bytes[at..next];
            match messages.last_mut().filter(|_| !self.broker.random.one_in(3)) {
                Some(message) => {
                    message.last = last;
                    message.bytes.extend_from_slice(bytes);
                }
                None => messages.push(Message {
                    log_id: self.log_id,
                    first,
                    last,
                    prev,
                    bytes: bytes.to_vec(),
                    key: None,
                    is_tombstone: false,
                }),
            }
            at = next;
        }
        messages
    }

    fn keyed(&self, message: &block::Message<'_>) -> Message {
        let (envelope, _) = envelope::read(message.bytes, 0).unwrap().unwrap();
        Message {
            log_id: self.log_id,
            first: message.first_seq,
            last: message.last_seq,
            prev: envelope.header.prev,
            bytes: message.bytes.to_vec(),
            key: message.key.map(<[u8]>::to_vec),
            is_tombstone: message.is_tombstone,
        }
    }

    async fn commit(&self, producer: &Producer) -> Result<(), Failure> {
        let (made, epoch) = (producer.made, producer.epoch);
        self.host.at(Moment::CommitNotSent).await?;
        let commit = move |broker: &Broker| broker.commit(made, epoch);
        if let Err(failure) = self.broker.random.may_fail("committing") {
            self.broker.faults.count(Moment::CommitLate);
            self.broker.send_late(commit);
            return Err(failure);
        }
        // Never sent again: an error of it says nothing.
        match self.broker.ask("committing", commit).await? {
            Ok(()) => self.host.at(Moment::CommitUnanswered).await,
            Err(refusal) => Err(Failure::transient("SIM_PRODUCER", format!("committing: {refusal:?}"))),
        }
    }

    /// Writes a control record in a transaction of its own.
    async fn write(&self, producer: &mut Producer, control: Control) -> Result<(), Failure> {
        self.send(producer, self.broker.control(), Content::Control(control)).await?;
        self.commit(producer).await
    }

    async fn read_to(&self, token: u64) -> Result<(), Failure> {
        self.broker.random.may_fail("reading the control topic")?;
        let mut grown = self.broker.growth(self.broker.control());
        let read = async {
            while !self.broker.is_led_by(token) {
                grown.rung().await;
            }
        };
        let failed = |_| Failure::transient("SIM_CONTROL", "what was written cannot be read back");
        timeout(READ, read).await.map_err(failed)
    }

    /// A number that no leader has given, also not of another log: by the clock, which differs among machines.
    fn next_seq(&self, lasts: &[u64]) -> u64 {
        let last = lasts.iter().copied().max().unwrap_or(0);
        if self.broker.is(Mutant::SequencesBeginAnew) {
            return last + 1;
        }
        let slow = if last > 0 { self.broker.random.below(2000) } else { 0 };
        let now = (1 + self.began.elapsed().as_millis() as u64).saturating_sub(slow);
        (now << 12).max(last + 1)
    }
}

impl LogWriter for KafkaLeader {
    fn layout(&self) -> Layout {
        self.broker.layout
    }

    fn step_down(&mut self) -> bool {
        self.producer = None;
        self.membership.resign();
        self.broker.faults.count(Moment::SteppedDown);
        true
    }

    async fn lead(&mut self) -> Result<Lead, Failure> {
        self.producer = None;
        self.membership.won().await?;
        self.host.at(Moment::TakingOver).await?;
        let too_early = self.broker.covered();
        let made = self.broker.state().made;
        let epoch = self.broker.begin_producer(&self.host).await?;
        self.host.at(Moment::TakingOver).await?;
        let mut producer = Producer { epoch, made, sequences: BTreeMap::new() };
        let token = self.broker.random.below(u64::MAX);
        self.write(&mut producer, Control::Leader(token)).await?;
        self.read_to(token).await?;
        self.host.at(Moment::TakingOver).await?;
        let covered = if self.broker.is(Mutant::CheckpointReadTooEarly) { too_early } else { self.broker.covered() };
        let lasts = covered.as_ref().map_or_else(|| vec![0; self.broker.partitions()], |known| known.lasts.clone());
        self.log_id = match self.broker.log_id() {
            Some(id) => id,
            None => {
                let id = LogId((u128::from(self.broker.random.below(u64::MAX)) | 1).to_be_bytes());
                self.write(&mut producer, Control::Log(id)).await?;
                id
            }
        };
        self.producer = Some(producer);
        self.lasts.clone_from(&lasts);
        Ok(Lead {
            log_id: self.log_id,
            next_seq: self.next_seq(&lasts),
            topics: Topics::one("", lasts.len() as u32),
            prevs: lasts,
            checkpoint: covered.map(|known| known.checkpoint),
        })
    }

    async fn idle(&mut self, checkpoint: &Checkpoint) -> Result<(), Failure> {
        let mut producer = self.producer.take().ok_or_else(|| Failure::transient("SIM_PRODUCER", "given up"))?;
        if self.stored.elapsed() > BEAT {
            self.stored = Instant::now();
            let covered = Covered { lasts: self.lasts.clone(), checkpoint: checkpoint.clone() };
            self.write(&mut producer, Control::Checkpoint(Box::new(covered))).await?;
        }
        self.producer = Some(producer);
        Ok(())
    }

    async fn append(&mut self, block: &BlockBuilder, checkpoint: &Checkpoint) -> Result<(), Failure> {
        // Put back once everything went well: whatever an error leaves behind is the next producer's to end.
        let mut producer = self.producer.take().ok_or_else(|| Failure::transient("SIM_PRODUCER", "given up"))?;
        self.host.at(Moment::DecodedNotSent).await?;
        self.send_all(&mut producer, block, checkpoint).await?;
        self.host.at(Moment::SentNotCommitted).await?;
        let mut committed = self.commit(&producer).await;
        if committed.is_err() && self.broker.is(Mutant::CommitRetried) {
            sleep(Duration::from_millis(1)).await;
            self.send_all(&mut producer, block, checkpoint).await?;
            committed = self.commit(&producer).await;
        }
        committed?;
        self.producer = Some(producer);
        (self.lasts, self.stored) = (block.lasts(), Instant::now());
        Ok(())
    }
}
