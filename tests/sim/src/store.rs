//! A store that keeps entries and fences together, and a judge that looks at it after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use mysync_change::fence::Fence;
use mysync_change::operations::RedisCommands;
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::Connector;
use tokio::time::Instant;

use crate::Mutant;
use crate::faults::{Faults, Host, Moment};
use crate::history::{History, Step};
use crate::random::Random;

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
        *state = State { starts: state.starts + 1, ..saved };
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

pub struct SimConnector {
    store: SimStore,
    partition: usize,
    /// The fence as this connection last read or wrote it.
    seen: Option<String>,
    /// The store's start that the connection belongs to; none: it is not open.
    start: Option<u64>,
    /// None: nothing befalls its process.
    host: Option<Host>,
    revoked: Option<Arc<AtomicBool>>,
}

/// A store that is slow now and then: longer than a group waits for who gives up a partition.
const SLOW_MS: u64 = 2000;

impl SimConnector {
    async fn at(&self, moment: Moment) -> Result<(), Failure> {
        match &self.host {
            Some(host) => host.at(moment).await,
            None => Ok(()),
        }
    }

    fn faults(&self) -> Option<&Faults> {
        self.host.as_ref().map(|host| &host.faults)
    }

    /// Whether the mistake is made of not fencing a task whose partition was given away.
    fn is_compared(&self) -> bool {
        let is_revoked = || self.revoked.as_ref().is_some_and(|revoked| revoked.load(Ordering::Relaxed));
        self.store.mutant != Some(Mutant::RevokedNotFenced) || !is_revoked()
    }

    async fn send(&self, start: u64, sent: Sent) -> Result<(), Failure> {
        let Self { store, partition, .. } = self;
        let slow = self.host.is_some() && store.random.one_in_while_failing(30);
        let way_us = store.random.below(if slow { SLOW_MS * 1000 } else { 2000 });
        let (partition, seen, is_compared) = (*partition, self.seen.clone(), self.is_compared());
        let arrival = {
            let store = store.clone();
            async move {
                tokio::time::sleep(Duration::from_micros(way_us)).await;
                store.take(partition, start, seen.as_ref(), is_compared, &sent)
            }
        };
        // What a process has sent arrives, whatever becomes of the process.
        let taken = if self.host.is_some() { tokio::spawn(arrival).await.unwrap() } else { arrival.await };
        if self.host.is_none() {
            store.check();
        }
        taken
    }
}

impl Connector for SimConnector {
    async fn open(&mut self) -> Result<Option<Fence>, Failure> {
        self.store.random.may_fail("connecting to the store")?;
        {
            let state = self.store.state();
            self.seen = state.fences.get(&self.partition).cloned();
            self.start = Some(state.starts);
        }
        self.at(Moment::Claiming).await?;
        Ok(self.seen.as_deref().map(|text| Fence::parse(text).unwrap()))
    }

    async fn apply(&mut self, commands: &RedisCommands, fence: &Fence) -> Result<(), Failure> {
        let start = self.start.take().expect("a connection that failed must be opened again");
        let cut = self.store.random.may_fail("applying, before it took effect");
        match self.store.mutant {
            Some(Mutant::EntriesWithoutFence) if cut.is_err() => {
                self.store.write(&mut self.store.state(), self.partition, commands);
                self.store.check();
                return cut;
            }
            Some(Mutant::AnsweredTooEarly) if cut.is_err() => {
                self.start = Some(start);
                return Ok(());
            }
            _ => cut?,
        }
        let sent = Sent { commands: commands.clone(), fence: fence.to_text() };
        let taken = self.send(start, sent).await;
        if let (Err(Failure { code: "FENCE_TAKEN", .. }), Some(faults)) = (&taken, self.faults()) {
            faults.count(Moment::BatchRefused);
        }
        taken?;
        if let (Some(seen), Some(faults)) = (&self.seen, self.faults())
            && rebuilds(seen)
            && fence.rebuild.is_none()
        {
            faults.count(Moment::Rebuilt);
        }
        self.at(Moment::AppliedNotAnswered).await?;
        self.store.random.may_fail("applying, after it took effect")?;
        self.seen = Some(fence.to_text());
        self.start = Some(start);
        Ok(())
    }
}
