//! A store that keeps entries and fences together, and a judge that looks at it after every step.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use mysync_change::fence::Fence;
use mysync_change::operations::RedisCommands;
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::Connector;

use crate::Mutant;
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
}

/// Follows one partition's entries: they are what the source's were at some time, and no earlier one than before.
#[derive(Debug, Default, Clone)]
struct Judge {
    /// Steps of the history behind the state last shown, and that state.
    shown: usize,
    entries: Entries,
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
        SimConnector { store: self.clone(), partition, seen: None, start: None }
    }

    /// Loses everything, as with FLUSHALL.
    pub fn empty(&self) {
        let mut state = self.state();
        state.entries.clear();
        state.fences.clear();
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
        state.judges[partition].look(&now, partition, &self.history);
    }
}

impl Judge {
    fn look(&mut self, now: &Entries, partition: usize, history: &History) {
        let mut at = self.clone();
        let mut visible = true;
        while !visible || at.entries != *now {
            let Some(step) = history.step(partition, at.shown) else {
                panic!(
                    "partition {partition} shows {now:?}, which the source never held after step {}: {self:?}",
                    self.shown
                );
            };
            visible = step.visible;
            take(&mut at.entries, step);
            at.shown += 1;
        }
        *self = at;
    }
}

pub struct SimConnector {
    store: SimStore,
    partition: usize,
    /// The fence as this connection last read or wrote it.
    seen: Option<String>,
    /// The store's start that the connection belongs to; none: it is not open.
    start: Option<u64>,
}

impl Connector for SimConnector {
    async fn open(&mut self) -> Result<Option<Fence>, Failure> {
        self.store.random.may_fail("connecting to the store")?;
        let state = self.store.state();
        self.seen = state.fences.get(&self.partition).cloned();
        self.start = Some(state.starts);
        Ok(self.seen.as_deref().map(|text| Fence::parse(text).unwrap()))
    }

    async fn apply(&mut self, commands: &RedisCommands, fence: &Fence) -> Result<(), Failure> {
        let start = self.start.take().expect("a connection that failed must be opened again");
        let Self { store, partition, .. } = self;
        let cut = store.random.may_fail("applying, before it took effect");
        match store.mutant {
            Some(Mutant::EntriesWithoutFence) if cut.is_err() => {
                store.write(&mut store.state(), *partition, commands);
                return cut;
            }
            Some(Mutant::AnsweredTooEarly) if cut.is_err() => {
                self.start = Some(start);
                return Ok(());
            }
            _ => cut?,
        }
        tokio::time::sleep(Duration::from_micros(store.random.below(2000))).await;
        {
            let mut state = store.state();
            if state.starts != start {
                return Err(Failure::transient("SIM_CUT", "the store has started again"));
            }
            let taken = state.fences.get(partition) != self.seen.as_ref();
            let refused = || Failure::definite("FENCE_TAKEN", "somebody else wrote");
            match store.mutant {
                Some(Mutant::FenceNotCompared) => {}
                Some(Mutant::FenceComparedTooLate) if taken => {
                    store.write(&mut state, *partition, commands);
                    return Err(refused());
                }
                _ if taken => return Err(refused()),
                _ => {}
            }
            store.write(&mut state, *partition, commands);
            state.fences.insert(*partition, fence.to_text());
        }
        store.random.may_fail("applying, after it took effect")?;
        self.seen = Some(fence.to_text());
        self.start = Some(start);
        Ok(())
    }
}
