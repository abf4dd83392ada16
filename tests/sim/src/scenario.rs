//! One history from its seed: commits, faults, kills, pauses, power cuts; then calm, and everything must have arrived.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use mysync_change::fence::Fence;
use mysync_change::pattern::Pattern;
use mysync_pipeline::capture::capture;
use mysync_pipeline::deliver::Delivery;
use mysync_pipeline::dump::Beginning;
use mysync_pipeline::failure::Failure;
use mysync_pipeline::feed::LIMITS;
use mysync_pipeline::shutdown::Shutdown;
use mysync_pipeline::status::Board;

use crate::Mutant;
use crate::history::{Change, History};
use crate::log::SimLog;
use crate::random::Random;
use crate::source::SimSource;
use crate::store::{SimStore, in_the_end};
use crate::writer::SimPlugin;

/// What a history may hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scenario {
    pub partitions: usize,
    /// One call in so many fails.
    pub failing: u64,
    /// Whether kills may be power cuts.
    pub power: bool,
    /// Whether processes may be paused, and wake up beside their successors.
    pub pauses: bool,
    /// Whether there are transactions larger than a batch.
    pub large: bool,
    /// Whether rows were there before the log, and are loaded by a dump.
    pub loads: bool,
    pub mutant: Option<Mutant>,
}

/// How long anything may take once nothing fails any more.
const CALM: Duration = Duration::from_secs(120);

/// Rows that are there before a log; the first of them change later.
const KEYS_BEFORE: i64 = 30;

/// A loop that runs.
type Task = Pin<Box<dyn Future<Output = Result<(), Failure>>>>;

/// Everything that outlives a process.
pub struct World {
    pub history: History,
    pub log: SimLog,
    pub store: SimStore,
    random: Random,
    scenario: Scenario,
    owners: Mutex<u64>,
}

/// The loops of one process.
struct Process {
    shutdown: Shutdown,
    capture: Task,
    deliveries: Vec<Task>,
}

/// Runs something in simulated time.
pub fn simulated<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(future)
}

/// Plays the history of a seed, and panics where a promise is broken. Answers how many steps it took.
pub fn play(seed: u64, scenario: Scenario) -> u64 {
    simulated(async {
        let world = World::new(seed, scenario);
        if scenario.loads {
            world.history.commit(rows_from_before());
        }
        let mut paused: Vec<Task> = Vec::new();
        for _ in 0..1 + world.random.below(5) {
            world.commit();
            world.live(&mut paused).await;
            if scenario.power && world.random.one_in(2) {
                world.log.cut_power();
            }
        }
        drop(paused);
        world.come_to_rest().await;
        world.random.steps()
    })
}

pub fn rows_from_before() -> Vec<Change> {
    (0..KEYS_BEFORE).map(|key| Change::Put { key, value: format!("before {key}") }).collect()
}

impl World {
    pub fn new(seed: u64, scenario: Scenario) -> Self {
        let Scenario { partitions, failing, mutant, .. } = scenario;
        let random = Random::new(seed, failing);
        let history = History::new(partitions, LIMITS.rows_max as usize);
        Self {
            log: SimLog::new(partitions, random.clone(), mutant),
            store: SimStore::new(history.clone(), random.clone(), partitions, mutant, scenario.loads),
            history,
            random,
            scenario,
            owners: Mutex::new(0),
        }
    }

    /// Some transactions over few keys, so that they meet.
    pub fn commit(&self) {
        let Self { random, scenario, .. } = self;
        for _ in 0..random.below(8) {
            let large = scenario.large && random.one_in(8);
            let rows = if large { u64::from(LIMITS.rows_max) + random.below(5000) } else { 1 + random.below(8) };
            let change = |_| {
                let key = random.below(6) as i64;
                let value = format!("v{}", random.below(1 << 40));
                match random.below(5) {
                    0 => Change::Remove { key },
                    1 => Change::Move { from: key, to: (key + 1) % 6, value },
                    _ => Change::Put { key, value },
                }
            };
            self.history.commit((0..rows).map(change).collect());
        }
    }

    fn process(&self) -> Process {
        let shutdown = Shutdown::default();
        let board = Arc::new(Board::default());
        let owner = {
            let mut owners = self.owners.lock().unwrap();
            *owners += 1;
            *owners
        };
        let block_rows = if self.scenario.large { 4000 } else { 6 };
        let mut source = SimSource::new(self.history.clone(), self.random.clone(), block_rows, self.scenario.mutant)
            .loading(self.scenario.loads);
        let (mut log, ending, status) = (self.log.clone(), shutdown.ending(), board.clone());
        let capture = Box::pin(async move { capture(&mut source, &mut log, &status.capture, ending).await });
        let delivery = |partition| {
            let mut delivery = Delivery {
                writer: "w".into(),
                tables: vec![Pattern::new("sim.*")],
                log: self.log.reader(partition),
                plugin: SimPlugin::new(self.random.clone(), self.scenario.mutant),
                connector: self.store.connector(partition),
                status: board.writer("w", partition as u32),
                owner: format!("{owner}.{partition}"),
                partition: partition as u32,
                first: None,
                beginning: Beginning::Log,
            };
            let shutdown = shutdown.clone();
            // A paused process keeps what could end it: without that it would only wake up to end.
            Box::pin(async move { delivery.run(shutdown.ending()).await }) as Task
        };
        let deliveries = (0..self.log.partitions()).map(delivery).collect();
        Process { shutdown, capture, deliveries }
    }

    /// A process from its start to its end, whichever that is, while the source commits and former processes wake up.
    async fn live(&self, paused: &mut Vec<Task>) {
        let mut process = self.process();
        let committing = async {
            loop {
                tokio::time::sleep(Duration::from_millis(1 + self.random.below(600))).await;
                self.commit();
            }
        };
        let life = Duration::from_millis(1 + self.random.below(3000));
        let alone = paused.is_empty();
        let beside = Duration::from_millis(self.random.below(1000));
        tokio::select! {
            biased;
            outcome = &mut process.capture => panic!("capture ended: {outcome:?}"),
            () = watch(&mut process.deliveries, alone) => {}
            () = async { tokio::time::sleep(beside).await; watch(paused, false).await } => {}
            () = committing => {}
            () = tokio::time::sleep(life) => {}
        }
        match self.random.below(4) {
            0 if alone => process.end().await,
            1 if self.scenario.pauses => paused.append(&mut process.deliveries),
            // Dropped in the middle of whatever it does: a kill.
            _ => {}
        }
    }

    /// Nothing fails any more: one process has to bring everything there.
    pub async fn come_to_rest(&self) {
        self.random.calm();
        let mut process = self.process();
        tokio::select! {
            biased;
            outcome = &mut process.capture => panic!("capture ended: {outcome:?}"),
            () = watch(&mut process.deliveries, true) => {}
            () = self.rest() => {}
        }
        process.end().await;
        assert!(self.is_at_rest(), "the end of a process undid something");
    }

    async fn rest(&self) {
        let rested = async {
            while !self.is_at_rest() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        if tokio::time::timeout(CALM, rested).await.is_err() {
            let state = self.store.state();
            panic!("the store has {state:?}, the source {:?}", in_the_end(&self.history));
        }
    }

    /// The store holds what the source holds, and its fences say so.
    fn is_at_rest(&self) -> bool {
        let state = self.store.state();
        let settled = |partition| {
            let fence = state.fences.get(&partition).map(|text| Fence::parse(text).unwrap());
            fence.is_some_and(|f| f.began == f.applied && f.applied.seq == self.log.last_seq(partition))
        };
        (0..self.log.partitions()).all(settled) && state.entries == in_the_end(&self.history)
    }

    /// A process that brings everything there, also after something has happened meanwhile; or the failure with which its delivery of the
    /// first partition stops.
    pub async fn survive(&self, happens: impl FnOnce()) -> Result<(), Failure> {
        self.random.calm();
        let mut process = self.process();
        let rested = async {
            self.rest().await;
            happens();
            self.rest().await;
        };
        tokio::select! {
            biased;
            outcome = &mut process.capture => panic!("capture ended: {outcome:?}"),
            outcome = &mut process.deliveries[0] => return outcome,
            () = rested => {}
        }
        process.end().await;
        Ok(())
    }
}

impl Process {
    /// Ends as it does when it is asked to.
    async fn end(mut self) {
        self.shutdown.begin();
        let ended = async {
            self.capture.await.unwrap();
            for delivery in &mut self.deliveries {
                delivery.await.unwrap();
            }
        };
        tokio::time::timeout(CALM, ended).await.expect("a process ends when it is asked to");
    }
}

/// Runs loops for ever. One that ends was overtaken by another process, which it must not be if it is `alone`.
async fn watch(tasks: &mut Vec<Task>, alone: bool) {
    poll_fn(|context| {
        tasks.retain_mut(|task| match task.as_mut().poll(context) {
            Poll::Ready(outcome) => {
                assert!(!alone, "a delivery ended: {outcome:?}");
                false
            }
            Poll::Pending => true,
        });
        Poll::<()>::Pending
    })
    .await;
}
