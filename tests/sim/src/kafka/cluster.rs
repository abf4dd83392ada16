//! One history of several processes over one broker: commits, faults, kills, pauses, rebalances; then calm, and everything must have arrived.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use mysync_change::fence::{Fence, Place, Rebuild};
use mysync_change::routing::Layout;
use mysync_pipeline::dump::Beginning;
use mysync_pipeline::feed::LIMITS;
use mysync_pipeline::status::now_us;
use tokio::time::{Instant, sleep, timeout};

use super::broker::{Broker, DELIVER, KEPT};
use super::judge;
use super::process::{Process, Shared};
use crate::Mutant;
use crate::bell::Bell;
use crate::faults::{Faults, Moment, Tally};
use crate::history::{Change, History};
use crate::random::Random;
use crate::scenario::{rows_from_before, simulated};
use crate::store::{self, SimStore, in_the_end};

/// What a history may hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scenario {
    pub partitions: usize,
    /// At most so many at a time.
    pub processes: usize,
    /// One call in so many fails, or more seldom.
    pub failing: u64,
    /// At one moment in so many something befalls the process, or more seldom.
    pub faulting: u64,
    /// Whether processes may stand still, and wake up beside their successors.
    pub pauses: bool,
    /// Whether records are deleted that the group has passed.
    pub retention: bool,
    /// Whether processes come and go all the time, so that partitions move about.
    pub storms: bool,
    /// Whether rows were there before the log, and are loaded by a dump.
    pub loads: bool,
    /// Whether the topic keeps only the last record of each key.
    pub compacts: bool,
    /// Whether the store may be emptied, lose a fence, or go back, or the log be replaced.
    pub losses: bool,
    pub mutant: Option<Mutant>,
}

/// What came of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Played {
    pub tally: Tally,
    /// Steps it took: of two runs of a seed the same.
    pub steps: u64,
}

/// How long anything may take once nothing fails any more.
const CALM: Duration = Duration::from_secs(120);
/// Keys that rows have: few, so that they meet.
const KEYS: u64 = 6;

/// Everything that outlives a process, and the processes.
pub struct Cluster {
    pub shared: Shared,
    random: Random,
    pub faults: Faults,
    scenario: Scenario,
    pub processes: Vec<Process>,
    /// A copy of the store.
    saved: Option<store::State>,
}

/// Plays the history of a seed, and panics where a promise is broken.
pub fn play(seed: u64, scenario: Scenario) -> Played {
    simulated(async {
        let mut cluster = Cluster::new(seed, scenario);
        if scenario.loads {
            cluster.shared.history.commit(rows_from_before());
        }
        cluster.live().await;
        cluster.come_to_rest().await;
        Played { tally: cluster.faults.tally(), steps: cluster.random.steps() }
    })
}

impl Cluster {
    pub fn new(seed: u64, scenario: Scenario) -> Self {
        let Scenario { partitions, failing, faulting, pauses, mutant, .. } = scenario;
        // Some worlds are worse than others: where everything fails nothing gets far.
        let mildness = 1 + Random::new(seed, 0).below(8);
        let random = Random::new(seed, failing * mildness);
        let faults = Faults::new(random.clone(), faulting * mildness, pauses);
        let layout = if scenario.compacts { Layout::Keyed } else { Layout::Runs };
        let history = History::new(partitions, LIMITS.rows_max as usize);
        let shared = Shared {
            broker: Broker::new(partitions, layout, random.clone(), faults.clone(), mutant),
            store: SimStore::new(history.clone(), random.clone(), partitions, mutant, scenario.loads),
            history,
            stops: Arc::default(),
            resumed: Bell::default(),
            loads: scenario.loads,
            beginning: Beginning::Log,
            tasks: Arc::new(AtomicU64::new(1)),
            began: Instant::now(),
        };
        Self { shared, random, faults, scenario, processes: Vec::new(), saved: None }
    }

    async fn live(&mut self) {
        for _ in 0..10 + self.random.below(30) {
            if self.running() == 0 {
                self.start();
            }
            self.happen();
            sleep(Duration::from_micros(1000 + self.random.below(350_000))).await;
            self.look();
        }
    }

    fn running(&self) -> usize {
        self.processes.iter().filter(|process| !process.has_ended()).count()
    }

    pub fn start(&mut self) {
        self.processes.retain(|process| !process.has_ended());
        self.processes.push(Process::start(&self.shared));
    }

    /// Some process that runs.
    fn any(&self) -> Option<&Process> {
        let running: Vec<&Process> = self.processes.iter().filter(|process| !process.has_ended()).collect();
        running.get(self.random.below(running.len() as u64) as usize).copied()
    }

    fn happen(&mut self) {
        let Scenario { processes, pauses, retention, losses, storms, compacts, .. } = self.scenario;
        if storms && self.random.one_in(4) {
            match self.any() {
                Some(process) if self.random.one_in(2) => process.end(),
                _ if self.running() < processes => self.start(),
                _ => {}
            }
        }
        match self.random.below(24) {
            0 => self.any().into_iter().for_each(|process| process.host.gate.kill()),
            1 | 2 if pauses => {
                let standing = 1 + self.random.below(3000);
                self.any().into_iter().for_each(|process| process.host.stand_for(standing));
            }
            3 | 4 if self.running() < processes => self.start(),
            5 => self.any().into_iter().for_each(Process::end),
            6 => self.forget_offset(),
            7 if retention => self.shared.broker.delete_records(),
            7 | 10 | 11 if compacts => self.compact(),
            8 => self.shared.store.cut(),
            9 if losses => self.lose(),
            _ => self.commit(),
        }
    }

    /// Some transactions over few keys, so that they meet.
    pub fn commit(&self) {
        for _ in 0..1 + self.random.below(2) {
            let change = |_| {
                let key = self.random.below(KEYS) as i64;
                let value = format!("v{}", self.random.below(1 << 40));
                match self.random.below(5) {
                    0 => Change::Remove { key },
                    1 => Change::Move { from: key, to: (key + 1) % KEYS as i64, value },
                    _ => Change::Put { key, value },
                }
            };
            self.shared.history.commit((0..1 + self.random.below(8)).map(change).collect());
        }
    }

    /// The group's offset of a partition is lost, or is an old one.
    fn forget_offset(&self) {
        let partition = self.random.below(self.scenario.partitions as u64) as usize;
        let is_lost = self.random.one_in(2);
        // One that is lost together with the fence is no fault of anybody's: nothing tells then that there was one.
        let is_fenced = self.shared.store.state().fences.contains_key(&partition);
        let group = &mut self.shared.broker.state().groups[DELIVER];
        let hint = if is_lost { None } else { group.former_hints[partition] };
        if is_fenced && hint != group.hints[partition] {
            group.hints[partition] = hint;
            self.faults.count(if is_lost { Moment::OffsetLost } else { Moment::OffsetOld });
        }
    }

    /// Whether a store takes too long to be made anew: it is told so by a clock that stands still here.
    fn is_late(&self, partition: usize) -> bool {
        let time = self.shared.store.rebuilding(partition);
        time.is_some_and(|time| time > KEPT)
    }

    pub fn compact(&self) {
        let Shared { store, broker, .. } = &self.shared;
        for partition in 0..self.scenario.partitions {
            if !self.is_late(partition) && broker.compact(partition) {
                store.expect_holes(partition);
            }
        }
    }

    fn lose(&mut self) {
        let Shared { store, broker, .. } = &self.shared;
        match self.random.below(6) {
            0 => {
                store.empty();
                self.faults.count(Moment::StoreEmptied);
            }
            1 => {
                let partition = self.random.below(self.scenario.partitions as u64) as usize;
                let is_noted = broker.state().groups[DELIVER].hints[partition].is_some();
                if is_noted && store.state().fences.remove(&partition).is_some() {
                    store.forgive(partition);
                    self.faults.count(Moment::FenceEvicted);
                }
            }
            2 => {
                broker.replace();
                self.faults.count(Moment::LogReplaced);
            }
            _ => match self.saved.take() {
                Some(saved) => {
                    store.restore(saved);
                    self.faults.count(Moment::StoreRestored);
                }
                // What is late now would be later then.
                None if (0..self.scenario.partitions).any(|partition| self.is_late(partition)) => {}
                None => self.saved = Some(store.state().clone()),
            },
        }
    }

    /// What a person does who looks after it: sees that nothing is wrong, and mends what has stopped for a reason.
    fn look(&self) {
        self.faults.check();
        self.shared.store.check();
        let stops = std::mem::take(&mut *self.shared.stops.lock().unwrap());
        for (partition, code) in &stops {
            let is_meant = match *code {
                "STORE_EMPTIED" | "LOG_REPLACED" => self.scenario.losses,
                "REBUILD_NEEDED" => self.scenario.compacts,
                _ => false,
            };
            assert!(is_meant, "delivery of partition {partition} stopped: {code}");
        }
        if stops.is_empty() {
            return;
        }
        if self.mend(&stops) {
            self.shared.resumed.ring();
        } else {
            self.shared.stops.lock().unwrap().extend(stops);
        }
    }

    /// `mysync writer rewind` and `rebase`, where they are needed. False: there is no log yet to go on with.
    fn mend(&self, stops: &[(usize, &'static str)]) -> bool {
        let Shared { store, broker, .. } = &self.shared;
        let Some(log) = broker.log_id().map(|id| id.to_string()) else { return false };
        for partition in 0..self.scenario.partitions {
            let fence = store.state().fences.get(&partition).map(|text| Fence::parse(text).unwrap());
            let is_late = stops.contains(&(partition, "REBUILD_NEEDED"));
            if !is_late && fence.as_ref().is_some_and(|fence| fence.log == log) {
                continue;
            }
            if is_late {
                self.faults.count(Moment::AwayTooLong);
            }
            // Where the log does not tell of every removal any more nothing may be left of what it was.
            if self.scenario.compacts {
                store.clear(partition);
            }
            // Entries may be there that a former log has brought.
            let compacted = broker.covered().filter(|_| self.scenario.compacts);
            let rebuild = compacted.map(|covered| Rebuild::begin(covered.lasts[partition], now_us()));
            let new = Fence { rebuild, ..Fence::new(log.clone(), "operator".into(), "sim".into(), Place::default()) };
            store.rewrite(partition, &new, fence.is_some());
        }
        true
    }

    /// Nothing fails any more: whoever is left has to bring everything there.
    pub async fn come_to_rest(&mut self) {
        self.random.calm();
        self.faults.calm();
        for process in &self.processes {
            if self.random.one_in(2) { process.host.gate.kill() } else { process.host.gate.resume() }
        }
        self.commit();
        self.start();
        let rested = async {
            while !self.is_at_rest() {
                sleep(Duration::from_millis(200)).await;
                self.look();
            }
        };
        if timeout(CALM, rested).await.is_err() {
            let state = self.shared.store.state();
            let lasts = (0..self.scenario.partitions).map(|partition| self.shared.broker.last_seq(partition));
            let (lasts, end) = (lasts.collect::<Vec<_>>(), in_the_end(&self.shared.history));
            panic!("the store has {state:?}, the log {lasts:?}, the source {end:?}");
        }
        self.processes.iter().for_each(Process::end);
        let ended = async {
            while self.running() > 0 {
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(CALM, ended).await.expect("a process ends when it is asked to");
        self.look();
        assert!(self.is_at_rest(), "the end of a process undid something");
        judge::judge(&self.shared.broker, &self.shared.history, self.scenario.loads);
    }

    /// The store holds what the source holds, and its fences say so.
    pub fn is_at_rest(&self) -> bool {
        let Shared { store, broker, history, .. } = &self.shared;
        let state = store.state();
        let settled = |partition| {
            let fence = state.fences.get(&partition).map(|text| Fence::parse(text).unwrap());
            fence.is_some_and(|f| f.began == f.applied && f.applied.seq == broker.last_seq(partition))
        };
        // What changes nothing in the end has to arrive as well.
        let covered = broker.covered().map_or(0, |covered| covered.checkpoint.position.file.offset);
        covered == history.len() as u64
            && (0..self.scenario.partitions).all(settled)
            && state.entries == in_the_end(history)
    }
}
