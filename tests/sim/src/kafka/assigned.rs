//! The layer that runs a task for each partition that the writer's group gives its process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mysync_pipeline::failure::Failure;
use mysync_pipeline::shutdown::{Ending, Shutdown};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::broker::DELIVER;
use super::group::MemberId;
use super::membership::BEAT;
use super::process::Shared;
use super::task::Task;
use crate::Mutant;
use crate::bell::Ear;
use crate::faults::{Gate, Host, Moment};

/// A task that was told to end has this long before its partition is given up all the same: the fence protects.
const REVOCATION: Duration = Duration::from_millis(700);

/// How a task ended: of which partition, which task, and how.
type Outcome = (usize, u64, Result<(), Failure>);

/// A partition that the group has given this process.
struct Slot {
    task: u64,
    gate: Gate,
    shutdown: Shutdown,
    revoked: Arc<AtomicBool>,
    turn: Turn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Running,
    /// It is told to end; after that time nobody waits for it.
    Revoked(Instant),
    /// Until an operator has it go on.
    Stopped,
    /// An operator had it go on.
    Resumed,
}

/// The tasks of a process.
pub struct Tasks {
    shared: Shared,
    host: Host,
    member: Option<MemberId>,
    /// The same for its tasks; 0: none.
    known_member: Arc<AtomicU64>,
    slots: BTreeMap<usize, Slot>,
    sender: mpsc::UnboundedSender<Outcome>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
}

impl Tasks {
    pub fn new(shared: Shared, host: Host) -> Self {
        let (sender, outcomes) = mpsc::unbounded_channel();
        Self { shared, host, member: None, known_member: Arc::default(), slots: BTreeMap::new(), sender, outcomes }
    }

    /// Runs until the end begins and everything has ended.
    pub async fn serve(mut self, mut resumed: Ear, mut ending: Ending) {
        loop {
            let is_ending = ending.has_begun();
            if is_ending {
                self.revoke_all().await;
            }
            self.beat(is_ending).await;
            if is_ending && self.slots.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                Some(outcome) = self.outcomes.recv() => self.ended(outcome),
                () = resumed.rung() => self.resume(),
                () = ending.begun(), if !is_ending => {}
                () = sleep(BEAT) => {}
            }
            self.give_up_late();
        }
        if let Some(member) = self.member {
            // If that is lost the others wait a little.
            let left = self.shared.broker.ask("leaving", move |broker| broker.state().groups[DELIVER].leave(member));
            let _ = left.await;
        }
    }

    /// Tells the group what this process holds, and hears what it may hold.
    async fn beat(&mut self, is_ending: bool) {
        let (member, held) = (self.member, self.slots.keys().copied().collect::<Vec<_>>());
        let beat =
            self.shared.broker.ask("a heartbeat", move |broker| broker.state().groups[DELIVER].beat(member, &held));
        match beat.await {
            Ok(Some((member, may_hold))) => {
                self.member = Some(member);
                self.known_member.store(member, Ordering::Relaxed);
                let lost: Vec<usize> = self.slots.keys().copied().filter(|p| !may_hold.contains(p)).collect();
                for partition in lost {
                    self.revoke(partition).await;
                }
                for partition in may_hold.into_iter().filter(|_| !is_ending) {
                    if self.slots.get(&partition).is_none_or(|slot| slot.turn == Turn::Resumed) {
                        self.start(partition);
                    }
                }
            }
            Ok(None) => {
                self.shared.broker.faults.count(Moment::MemberLost);
                self.member = None;
                // Others may hold them by now: nothing is ended in good order any more.
                std::mem::take(&mut self.slots).into_values().for_each(|slot| slot.gate.kill());
            }
            // The next one may arrive.
            Err(_) => {}
        }
    }

    fn start(&mut self, partition: usize) {
        let number = self.shared.tasks.fetch_add(1, Ordering::Relaxed);
        let (gate, shutdown, revoked) = (Gate::default(), Shutdown::default(), Arc::new(AtomicBool::new(false)));
        let (host, sender, ending) = (self.host.clone(), self.sender.clone(), shutdown.ending());
        let (member, revocation) = (self.known_member.clone(), revoked.clone());
        let task = Task { shared: self.shared.clone(), host: host.clone(), member, revoked: revocation, partition };
        host.spawn(gate.clone(), async move {
            let outcome = task.run(ending).await;
            // Nobody listens any more where the process has lost its membership.
            let _ = sender.send((partition, number, outcome));
        });
        self.slots.insert(partition, Slot { task: number, gate, shutdown, revoked, turn: Turn::Running });
    }

    async fn revoke(&mut self, partition: usize) {
        let Some(slot) = self.slots.get_mut(&partition) else { return };
        match slot.turn {
            Turn::Running if self.shared.broker.is(Mutant::RevokedNotFenced) => {
                slot.revoked.store(true, Ordering::Relaxed);
                if let Some(slot) = self.slots.remove(&partition) {
                    // Its task goes on for a while.
                    tokio::spawn(async move {
                        sleep(REVOCATION).await;
                        slot.shutdown.begin();
                    });
                }
            }
            Turn::Running => {
                slot.shutdown.begin();
                slot.turn = Turn::Revoked(Instant::now() + REVOCATION);
                // An error here is one that nobody sees.
                let _ = self.host.at(Moment::Revoking).await;
            }
            Turn::Revoked(_) => {}
            Turn::Stopped | Turn::Resumed => _ = self.slots.remove(&partition),
        }
    }

    async fn revoke_all(&mut self) {
        for partition in self.slots.keys().copied().collect::<Vec<_>>() {
            self.revoke(partition).await;
        }
    }

    fn give_up_late(&mut self) {
        let late = |slot: &Slot| matches!(slot.turn, Turn::Revoked(until) if until <= Instant::now());
        self.slots.retain(|_, slot| {
            let is_late = late(slot);
            if is_late {
                self.shared.broker.faults.count(Moment::RevokedUnended);
                slot.gate.kill();
            }
            !is_late
        });
    }

    fn ended(&mut self, (partition, task, outcome): Outcome) {
        let Some(slot) = self.slots.get_mut(&partition).filter(|slot| slot.task == task) else { return };
        match outcome {
            Err(failure) if slot.turn == Turn::Running => {
                self.shared.stops.lock().unwrap().push((partition, failure.code));
                slot.turn = Turn::Stopped;
            }
            _ => _ = self.slots.remove(&partition),
        }
    }

    fn resume(&mut self) {
        let stopped = self.slots.values_mut().filter(|slot| slot.turn == Turn::Stopped);
        stopped.for_each(|slot| slot.turn = Turn::Resumed);
    }
}
