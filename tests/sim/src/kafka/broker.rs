//! The broker: topics, the coordinator of the one transactional producer, the coordinator of groups.
//!
//! A request is on its way for a while, and takes effect whether or not whoever sent it is still there. It may be lost, come late, or be
//! answered in vain. What the broker does by itself goes on whatever becomes of the processes.

mod topics;
mod transactions;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use mysync_change::envelope::LogId;
use mysync_change::routing::Layout;
use mysync_pipeline::failure::Failure;
use tokio::time::sleep;

use super::group::Group;
use super::topic::{Control, Covered, Isolation, Partition};
use crate::Mutant;
use crate::bell::{Bell, Ear};
use crate::faults::Faults;
use crate::random::Random;

/// How long a compacted topic keeps what was replaced, and that something was removed.
pub const KEPT: Duration = Duration::from_millis(700);
/// Between a request and its effect, at most.
const WAY_US: u64 = 800;
/// What came late came by then.
const LATE_MS: u64 = 1500;

/// The group of capture, on the control topic.
pub const CAPTURE: usize = 0;
/// The group of the writer.
pub const DELIVER: usize = 1;

pub type Epoch = u64;

/// Why a producer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Another producer has the name now.
    Fenced,
    /// The former transaction is being ended: ask again.
    Concurrent,
    /// The topic is not the one it was, or there is no transaction.
    Invalid,
}

#[derive(Debug)]
struct Transaction {
    touched: Vec<usize>,
    /// How it is being ended.
    ending: Option<bool>,
    /// Tells it from every other.
    number: u64,
}

/// The topics of a log, made together; the last partition is the control topic's.
#[derive(Debug, Clone, Default)]
pub struct Topics {
    pub partitions: Vec<Partition>,
}

#[derive(Debug)]
pub struct State {
    /// How often the topics were made.
    pub made: usize,
    pub topics: Topics,
    /// Those that are gone.
    pub former: Vec<Topics>,
    epoch: Epoch,
    transaction: Option<Transaction>,
    transactions: u64,
    /// The last message of the producer in each partition: what comes again is not taken again.
    sequences: BTreeMap<usize, u64>,
    pub groups: [Group; 2],
}

/// The broker; clones see the same one.
#[derive(Debug, Clone)]
pub struct Broker {
    state: Arc<Mutex<State>>,
    partitions: usize,
    /// Whether its topic is compacted.
    pub layout: Layout,
    pub random: Random,
    pub faults: Faults,
    pub mutant: Option<Mutant>,
    grown: Arc<[Bell]>,
}

impl State {
    pub fn covered(&self, isolation: Isolation) -> Option<Covered> {
        self.topics.control().controls(isolation).rev().find_map(|control| match control {
            Control::Checkpoint(covered) => Some((**covered).clone()),
            _ => None,
        })
    }
}

impl Topics {
    fn new(partitions: usize) -> Self {
        Self { partitions: vec![Partition::default(); partitions + 1] }
    }

    pub fn control(&self) -> &Partition {
        &self.partitions[self.partitions.len() - 1]
    }
}

impl Broker {
    pub fn new(partitions: usize, layout: Layout, random: Random, faults: Faults, mutant: Option<Mutant>) -> Self {
        let state = State {
            made: 0,
            topics: Topics::new(partitions),
            former: Vec::new(),
            epoch: 0,
            transaction: None,
            transactions: 0,
            sequences: BTreeMap::new(),
            groups: [Group::new(1), Group::new(partitions)],
        };
        let grown = (0..=partitions).map(|_| Bell::default()).collect();
        Self { state: Arc::new(Mutex::new(state)), partitions, layout, random, faults, mutant, grown }
    }

    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// The control topic's one partition.
    pub fn control(&self) -> usize {
        self.partitions
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Told of everything that may be new to a reader of a partition.
    pub fn growth(&self, partition: usize) -> Ear {
        self.grown[partition].listen()
    }

    /// Whether what a reader asks for is still on its way to it; it is told when it comes.
    pub fn is_on_its_way(&self, partition: usize) -> bool {
        // What is made anew takes its time, or nothing would happen meanwhile.
        let (one_in, long) = if self.layout == Layout::Keyed { (3, 4) } else { (10, 8) };
        if !self.random.one_in_while_failing(one_in) {
            return false;
        }
        let most_us = if self.random.one_in(long) { 500_000 } else { 1000 };
        let (broker, way) = (self.clone(), Duration::from_micros(self.random.below(most_us)));
        tokio::spawn(async move {
            sleep(way).await;
            broker.grown[partition].ring();
        });
        true
    }

    /// What readers are shown, which read committed.
    pub fn isolation(&self) -> Isolation {
        Isolation { open: self.is(Mutant::ReadUncommitted), aborted: self.is(Mutant::ReadAborted) }
    }

    /// Sends a request and waits for its answer.
    pub async fn ask<R: Send + 'static>(
        &self,
        what: &'static str,
        effect: impl FnOnce(&Broker) -> R + Send + 'static,
    ) -> Result<R, Failure> {
        let lost = self.random.may_fail(what).map_err(|failure| (failure, self.random.below(3)));
        match lost {
            Err((failure, 0)) => return Err(failure),
            Err((failure, 1)) => {
                self.send_late(effect);
                return Err(failure);
            }
            _ => {}
        }
        let (broker, way) = (self.clone(), Duration::from_micros(self.random.below(WAY_US)));
        // Its effect does not depend on who waits for it.
        let arrived = tokio::spawn(async move {
            sleep(way).await;
            effect(&broker)
        });
        let answer = arrived.await.unwrap();
        sleep(Duration::from_micros(self.random.below(WAY_US))).await;
        lost.map_err(|(failure, _)| failure)?;
        Ok(answer)
    }

    /// Whoever sent it has given it up when it arrives.
    pub fn send_late<R>(&self, effect: impl FnOnce(&Broker) -> R + Send + 'static) {
        let (broker, way) = (self.clone(), Duration::from_millis(self.random.below(LATE_MS)));
        tokio::spawn(async move {
            sleep(way).await;
            effect(&broker);
        });
    }
}

/// What readers ask.
impl Broker {
    /// Which log it is; none: there is none yet.
    pub fn log_id(&self) -> Option<LogId> {
        let state = self.state();
        let mut controls = state.topics.control().controls(self.isolation()).rev();
        controls.find_map(|control| match control {
            Control::Log(id) => Some(*id),
            _ => None,
        })
    }

    /// Whether a leader's first record can be read back: then everything from before its start can.
    pub fn is_led_by(&self, token: u64) -> bool {
        let state = self.state();
        let mut controls = state.topics.control().controls(self.isolation());
        controls.any(|control| matches!(control, Control::Leader(known) if *known == token))
    }

    /// The checkpoint of the log as it is now; none: nothing was ever stored.
    pub fn covered(&self) -> Option<Covered> {
        self.state().covered(self.isolation())
    }

    /// The last record of a partition that is committed.
    pub fn last_seq(&self, partition: usize) -> u64 {
        let state = self.state();
        let messages = state.topics.partitions[partition].messages(0, Isolation::default());
        let last = messages.last().map(|(_, message)| message.last);
        last.unwrap_or_else(|| state.covered(Isolation::default()).map_or(0, |covered| covered.lasts[partition]))
    }
}
