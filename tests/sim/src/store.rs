//! A store that keeps entries and fences together, and a judge that looks at it after every step.

mod connector;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use mysync_change::fence::Fence;
use mysync_change::operations::RedisCommands;
use mysync_pipeline::failure::Failure;
use tokio::time::Instant;

use crate::Mutant;
use crate::faults::Host;
use crate::history::{History, Step};
use crate::random::Random;

pub use connector::SimConnector;

pub type Entries = BTreeMap<i64, String>;

#[derive(Debug, Default, Clone)]
pub struct State {
    pub entries: Entries,
    pub fences: BTreeMap<usize, String>,
    judges: Vec<Judge>,
    /// How often it started: connections are cut then.
    starts: u64,
    /// The first broken promise.
    wrong: Option<String>,
    /// Partitions that are made anew from a log with holes, and since when.
    rebuilds: BTreeMap<usize, Instant>,
    /// Partitions whose log has holes.
    holes: BTreeSet<usize>,
}

/// Follows one partition's entries: they are what the source's were at some time, and no earlier one than before.
#[derive(Debug, Default, Clone)]
struct Judge {
    /// Steps of the history behind the state last shown, and that state.
    shown: usize,
    entries: Entries,
    /// An operator had everything written again over what was there: only the end counts.
    rests: bool,
}

/// The store; clones see the same one.
#[derive(Clone, Debug)]
pub struct SimStore {
    state: Arc<Mutex<State>>,
    history: History,
    random: Random,
    partitions: usize,
    mutant: Option<Mutant>,
    /// Whether it is filled by a dump: what it holds meanwhile is nothing that the source ever held, and only the end counts.
    loads: bool,
}

fn take(entries: &mut Entries, step: Step) {
    match step.value {
        Some(value) => _ = entries.insert(step.key, value),
        None => _ = entries.remove(&step.key),
    }
}

/// What the source holds in the end.
pub fn in_the_end(history: &History) -> Entries {
    let mut entries = Entries::new();
    history.steps().into_iter().for_each(|step| take(&mut entries, step));
    entries
}

impl SimStore {
    pub fn new(history: History, random: Random, partitions: usize, mutant: Option<Mutant>, loads: bool) -> Self {
        let state = State { judges: vec![Judge::default(); partitions], ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), history, random, partitions, mutant, loads }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn connector(&self, partition: usize) -> SimConnector {
        SimConnector { store: self.clone(), partition, seen: None, start: None, host: None, revoked: None }
    }

    /// A connector of a process that something may befall. `revoked`: its task's partition was given away.
    pub fn connector_of(&self, partition: usize, host: Host, revoked: Arc<AtomicBool>) -> SimConnector {
        SimConnector { host: Some(host), revoked: Some(revoked), ..self.connector(partition) }
    }

    /// Loses everything, as with FLUSHALL.
    pub fn empty(&self) {
        let mut state = self.state();
        state.entries.clear();
        state.fences.clear();
        state.judges.iter_mut().for_each(|judge| *judge = Judge { rests: judge.rests, ..Judge::default() });
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        self.state().starts += 1;
    }

    /// An operator puts another fence there, after which everything is written again.
    pub fn rewrite(&self, partition: usize, fence: &Fence, over_what_is_there: bool) {
        let mut state = self.state();
        state.fences.insert(partition, fence.to_text());
        state.judges[partition].rests |= over_what_is_there;
    }

    /// A partition's entries are removed.
    pub fn clear(&self, partition: usize) {
        let partitions = self.partitions;
        self.state().entries.retain(|key, _| crate::history::partition(*key, partitions) != partition);
    }

    /// For how long a partition has been made anew; none: it is not.
    pub fn rebuilding(&self, partition: usize) -> Option<Duration> {
        self.state().rebuilds.get(&partition).map(Instant::elapsed)
    }

    /// Compaction left holes: what is made anew from there on shows states that the source never had, until it is done.
    pub fn expect_holes(&self, partition: usize) {
        let state = &mut *self.state();
        state.holes.insert(partition);
        state.judges[partition].rests |= state.fences.get(&partition).is_none_or(|fence| rebuilds(fence));
    }

    /// A partition's fence is gone and its entries are not.
    pub fn forgive(&self, partition: usize) {
        self.state().judges[partition].rests = true;
    }

    /// Panics if a promise was broken.
    pub fn check(&self) {
        let wrong = self.state().wrong.clone();
        if let Some(wrong) = wrong {
            panic!("{wrong}");
        }
    }

    /// Starts again with what it held at some time.
    pub fn restore(&self, saved: State) {
        let mut state = self.state();
        *state = State { starts: state.starts + 1, holes: std::mem::take(&mut state.holes), ..saved };
    }

    fn write(&self, state: &mut State, partition: usize, commands: &RedisCommands) {
        let mut arguments = commands.values.ends.iter().scan(0, |from, end| {
            let value = &commands.values.data[*from as usize..*end as usize];
            *from = *end;
            Some(String::from_utf8(value.to_vec()).unwrap())
        });
        for count in &commands.arguments {
            let command: Vec<String> = arguments.by_ref().take(*count as usize).collect();
            let key = command[1].parse().unwrap();
            take(&mut state.entries, Step { key, value: command.get(2).cloned(), visible: true });
        }
        if self.loads {
            return;
        }
        let mine = |(key, _): &(&i64, &String)| crate::history::partition(**key, self.partitions) == partition;
        let now: Entries = state.entries.iter().filter(mine).map(|(key, value)| (*key, value.clone())).collect();
        if let Err(wrong) = state.judges[partition].look(&now, partition, &self.history) {
            state.wrong.get_or_insert(wrong);
        }
    }

    /// What a write comes to when it arrives.
    fn take(
        &self,
        partition: usize,
        start: u64,
        seen: Option<&String>,
        is_compared: bool,
        sent: &Sent,
    ) -> Result<(), Failure> {
        let mut state = self.state();
        if state.starts != start {
            return Err(Failure::transient("SIM_CUT", "the store has started again"));
        }
        let fence = state.fences.get(&partition);
        let refused = match fence {
            None if seen.is_some() => Some(Failure::definite("STORE_EMPTIED", "the fence is gone")),
            _ if fence != seen => Some(Failure::definite("FENCE_TAKEN", "somebody else wrote")),
            _ => None,
        };
        match (refused, self.mutant) {
            (Some(_), Some(Mutant::FenceNotCompared)) => {}
            (Some(refused), Some(Mutant::FenceComparedTooLate)) => {
                self.write(&mut state, partition, &sent.commands);
                return Err(refused);
            }
            (Some(refused), _) if is_compared => return Err(refused),
            _ => {}
        }
        if rebuilds(&sent.fence) {
            state.rebuilds.entry(partition).or_insert_with(Instant::now);
            let has_holes = state.holes.contains(&partition);
            state.judges[partition].rests |= has_holes;
        } else {
            state.rebuilds.remove(&partition);
        }
        self.write(&mut state, partition, &sent.commands);
        state.fences.insert(partition, sent.fence.clone());
        Ok(())
    }
}

/// Whether a fence says that the store is being made anew.
fn rebuilds(fence: &str) -> bool {
    fence.contains("\"rebuild\"")
}

/// A batch and its fence on their way.
struct Sent {
    commands: RedisCommands,
    fence: String,
}

impl Judge {
    fn look(&mut self, now: &Entries, partition: usize, history: &History) -> Result<(), String> {
        if self.rests {
            return Ok(());
        }
        let mut at = self.clone();
        let mut visible = true;
        while !visible || at.entries != *now {
            let Some(step) = history.step(partition, at.shown) else {
                return Err(format!(
                    "partition {partition} shows {now:?}, which the source never held after step {}: {self:?}",
                    self.shown
                ));
            };
            visible = step.visible;
            take(&mut at.entries, step);
            at.shown += 1;
        }
        *self = at;
        Ok(())
    }
}
