//! What becomes of topics: retention, compaction, and losses.

use std::sync::Arc;

use super::{Broker, DELIVER, KEPT, Topics};
use crate::Mutant;
use crate::bell::Bell;
use crate::faults::Moment;
use crate::kafka::group::{Group, Hint};
use crate::kafka::topic::Message;

impl Broker {
    /// The topics are deleted and made anew. What groups noted of them may outlive them.
    pub fn replace(&self) {
        let mut state = self.state();
        let topics = std::mem::replace(&mut state.topics, Topics::new(self.partitions));
        state.former.push(topics);
        state.made += 1;
        state.transaction = None;
        state.sequences.clear();
        if self.random.one_in(2) {
            state.groups[DELIVER].hints.fill(None);
        }
        drop(state);
        self.grown.iter().for_each(Bell::ring);
    }

    /// An unclean election: a partition's last message is gone, and with it the checkpoints that cover it, or not.
    pub fn lose_last_message(&self, partition: usize, with_checkpoint: bool) {
        let mut state = self.state();
        let isolation = self.isolation();
        let log = &mut state.topics.partitions[partition];
        let last = log.messages(0, isolation).last().map(|(offset, _)| offset).expect("there is one");
        log.records.truncate(last);
        let left = log.messages(0, isolation).last().map_or(0, |(_, message)| message.last);
        let control = self.partitions;
        while with_checkpoint && state.covered(isolation).is_some_and(|covered| covered.lasts[partition] > left) {
            state.topics.partitions[control].records.pop();
        }
    }

    /// The writer's group is one that never was.
    pub fn forget_group(&self) {
        self.state().groups[DELIVER] = Group::new(self.partitions);
    }

    /// Retention deletes everything, whoever has read it.
    pub fn delete_all(&self, partition: usize) {
        let log = &mut self.state().topics.partitions[partition];
        log.start = log.records.len();
    }

    /// Compaction of a partition. Answers whether it left any hole.
    pub fn compact(&self, partition: usize) -> bool {
        let has_removed = self.state().topics.partitions[partition].compact(KEPT);
        if has_removed {
            self.faults.count(Moment::RecordsCompacted);
        }
        has_removed
    }

    /// Retention: deletes what is old, and what the group has passed.
    pub fn delete_records(&self) {
        let mut state = self.state();
        for partition in 0..self.partitions {
            let Some(Hint { seq, .. }) = state.groups[DELIVER].hints[partition] else { continue };
            let seq = if self.is(Mutant::TrimmedUnread) { u64::MAX } else { seq };
            let isolation = self.isolation();
            let log = &mut state.topics.partitions[partition];
            let passed = |(_, message): &(usize, &Arc<Message>)| message.last <= seq;
            let last = log.messages(0, isolation).take_while(passed).last().map(|(offset, _)| offset + 1);
            if let Some(start) = last.filter(|start| *start > log.start) {
                log.start = start;
                self.faults.count(Moment::RecordsDeleted);
            }
        }
    }
}
