//! One process: capture with its membership, and the layer that runs a task for each partition that the writer's group gives it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mysync_change::pattern::Pattern;
use mysync_pipeline::capture::capture;
use mysync_pipeline::deliver::{Delivery, FENCE_TAKEN};
use mysync_pipeline::dump::Beginning;
use mysync_pipeline::failure::Failure;
use mysync_pipeline::shutdown::{Ending, Shutdown};
use mysync_pipeline::status::Board;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::broker::{Broker, DELIVER};
use super::group::MemberId;
use super::leader::KafkaLeader;
use super::membership::{BEAT, Membership};
use super::reader::KafkaReader;
use crate::Mutant;
use crate::bell::{Bell, Ear};
use crate::faults::{Gate, Host, Moment};
use crate::history::History;
use crate::source::SimSource;
use crate::store::SimStore;
use crate::writer::SimPlugin;

/// A task that was told to end has this long before its partition is given up all the same: the fence protects.
const REVOCATION: Duration = Duration::from_millis(700);
/// Rows of a block at most: fewer than the largest transactions have.
const BLOCK_ROWS: u64 = 8;

/// What processes share.
#[derive(Debug, Clone)]
pub struct Shared {
    pub history: History,
    pub broker: Broker,
    pub store: SimStore,
    /// Partitions in which a task has stopped, and with which code.
    pub stops: Arc<Mutex<Vec<(usize, &'static str)>>>,
    /// An operator has stopped tasks go on.
    pub resumed: Bell,
    /// Whether a dump brings what was there before the log.
    pub loads: bool,
    pub tasks: Arc<AtomicU64>,
    /// When the world began.
    pub began: Instant,
}

#[derive(Debug)]
pub struct Process {
    pub host: Host,
    /// For capture and delivery.
    shutdowns: [Shutdown; 2],
    /// Parts that have ended as they were asked to.
    ended: Arc<AtomicU64>,
}

impl Process {
    pub fn start(shared: &Shared) -> Self {
        let process = Self { host: shared.broker.faults.host(), shutdowns: Default::default(), ended: Arc::default() };
        process.capture(shared);
        process.deliver(shared);
        process
    }

    fn capture(&self, shared: &Shared) {
        let (host, broker) = (self.host.clone(), shared.broker.clone());
        let membership = Membership::new(broker.clone());
        let beating = membership.clone();
        let beats = Gate::default();
        host.spawn(beats.clone(), async move { beating.beat().await });
        let mut source = SimSource::new(shared.history.clone(), broker.random.clone(), BLOCK_ROWS, broker.mutant)
            .loading(shared.loads);
        let mut log = KafkaLeader::new(broker.clone(), membership.clone(), host.clone(), shared.began);
        let (ending, ended) = (self.shutdowns[0].ending(), self.ended.clone());
        host.spawn(Gate::default(), async move {
            let outcome = capture(&mut source, &mut log, &Board::default().capture, ending).await;
            if let Err(failure) = outcome {
                broker.faults.wrong(format!("capture ended: {failure}"));
            }
            beats.kill();
            membership.leave().await;
            ended.fetch_add(1, Ordering::Relaxed);
        });
    }

    fn deliver(&self, shared: &Shared) {
        let (sender, outcomes) = mpsc::unbounded_channel();
        let tasks = Tasks {
            shared: shared.clone(),
            host: self.host.clone(),
            member: None,
            known_member: Arc::default(),
            slots: BTreeMap::new(),
            sender,
        };
        let (ending, ended, resumed) = (self.shutdowns[1].ending(), self.ended.clone(), shared.resumed.listen());
        self.host.spawn(Gate::default(), async move {
            tasks.serve(outcomes, resumed, ending).await;
            ended.fetch_add(1, Ordering::Relaxed);
        });
    }

    /// Asks it to end.
    pub fn end(&self) {
        self.shutdowns.iter().for_each(Shutdown::begin);
    }

    pub fn has_ended(&self) -> bool {
        self.host.gate.is_dead() || self.ended.load(Ordering::Relaxed) == 2
    }
}

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

/// What works at one partition.
struct Task {
    shared: Shared,
    host: Host,
    member: Arc<AtomicU64>,
    revoked: Arc<AtomicBool>,
    partition: usize,
}

impl Task {
    /// Delivers until it is told to end or has to stop. Who has written last may have been paused, or this process was: a task whose fence was
    /// taken begins anew if the partition is still its own.
    async fn run(&self, mut ending: Ending) -> Result<(), Failure> {
        let Shared { broker, store, tasks, .. } = &self.shared;
        let partition = self.partition;
        loop {
            let log = tokio::select! {
                biased;
                () = ending.begun() => return Ok(()),
                log = KafkaReader::open(broker.clone(), self.host.clone(), self.member.clone(), partition) => log,
            };
            let mut delivery = Delivery {
                writer: "w".into(),
                tables: vec![Pattern::new("sim.*")],
                log,
                plugin: SimPlugin::new(broker.random.clone(), broker.mutant),
                connector: store.connector_of(partition, self.host.clone(), self.revoked.clone()),
                status: Board::default().writer("w", partition as u32),
                owner: format!("{}.{partition}", tasks.fetch_add(1, Ordering::Relaxed)),
                partition: partition as u32,
                beginning: Beginning::Log,
            };
            match delivery.run(ending.clone()).await {
                Err(failure) if failure.code == FENCE_TAKEN => {}
                ended => return ended,
            }
            if !self.is_mine(&mut ending).await {
                return Ok(());
            }
            broker.faults.count(Moment::FenceRetaken);
        }
    }

    /// Asks until the group confirms it, or takes the partition away: silence says nothing.
    async fn is_mine(&self, ending: &mut Ending) -> bool {
        let broker = &self.shared.broker;
        while !ending.has_begun() {
            let member = self.member.load(Ordering::Relaxed);
            let confirmed = broker.ask("confirming", move |broker| broker.state().groups[DELIVER].confirms(member));
            match confirmed.await {
                Ok(true) => return true,
                _ if broker.is(Mutant::SilenceTakenForLoss) => ending.begun().await,
                _ => ending.sleep(BEAT).await,
            }
        }
        false
    }
}

struct Tasks {
    shared: Shared,
    host: Host,
    member: Option<MemberId>,
    /// The same for its tasks; 0: none.
    known_member: Arc<AtomicU64>,
    slots: BTreeMap<usize, Slot>,
    sender: mpsc::UnboundedSender<Outcome>,
}

impl Tasks {
    async fn serve(mut self, mut outcomes: mpsc::UnboundedReceiver<Outcome>, mut resumed: Ear, mut ending: Ending) {
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
                Some(outcome) = outcomes.recv() => self.ended(outcome),
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
