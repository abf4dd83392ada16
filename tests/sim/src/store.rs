//! A store that keeps entries and fences together, and a judge that looks at it after every step.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mysync_change::fence::Fence;
use mysync_change::operations::RedisCommands;
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::Connector;

use crate::random::Random;
use crate::source::{Change, History};

pub type Entries = BTreeMap<i64, String>;

#[derive(Debug, Default)]
pub struct State {
    pub entries: Entries,
    pub fences: BTreeMap<usize, String>,
    /// How much of the history the entries have shown, in whole transactions.
    shown: usize,
}

/// The store; clones see the same one.
#[derive(Clone, Debug)]
pub struct SimStore {
    pub state: Arc<Mutex<State>>,
    history: History,
    random: Random,
    /// With one partition every step shows a state that the source has had, and none goes back.
    judged: bool,
}

/// What the source's table holds after the first `n` transactions.
pub fn replay(history: &[Vec<Change>], n: usize) -> Entries {
    let mut entries = Entries::new();
    for change in history[..n].iter().flatten() {
        match change {
            Change::Put { key, value } => _ = entries.insert(*key, value.clone()),
            Change::Remove { key } => _ = entries.remove(key),
            Change::Move { from, to, value } => {
                entries.remove(from);
                entries.insert(*to, value.clone());
            }
        }
    }
    entries
}

impl SimStore {
    pub fn new(history: History, random: Random, judged: bool) -> Self {
        Self { state: Arc::default(), history, random, judged }
    }

    pub fn connector(&self, partition: usize) -> SimConnector {
        SimConnector { store: self.clone(), partition, seen: None, open: false }
    }
}

pub struct SimConnector {
    store: SimStore,
    partition: usize,
    /// The fence as this connection last read or wrote it.
    seen: Option<String>,
    open: bool,
}

impl Connector for SimConnector {
    async fn open(&mut self) -> Result<Option<Fence>, Failure> {
        self.store.random.may_fail("connecting to the store")?;
        self.seen = self.store.state.lock().unwrap().fences.get(&self.partition).cloned();
        self.open = true;
        Ok(self.seen.as_deref().map(|text| Fence::parse(text).unwrap()))
    }

    async fn apply(&mut self, commands: &RedisCommands, fence: &Fence) -> Result<(), Failure> {
        assert!(self.open, "a connection that failed must be opened again");
        self.open = false;
        self.store.random.may_fail("applying, before it took effect")?;
        tokio::time::sleep(Duration::from_micros(self.store.random.below(2000))).await;
        {
            let mut state = self.store.state.lock().unwrap();
            if state.fences.get(&self.partition) != self.seen.as_ref() {
                return Err(Failure::definite("FENCE_TAKEN", "somebody else wrote"));
            }
            let mut at = 0;
            let mut arguments = commands.values.ends.iter().scan(0, |from, end| {
                let value = &commands.values.data[*from as usize..*end as usize];
                *from = *end;
                Some(String::from_utf8(value.to_vec()).unwrap())
            });
            for count in &commands.arguments {
                let command: Vec<String> = arguments.by_ref().take(*count as usize).collect();
                at += command.len();
                let key = command[1].parse().unwrap();
                match command[0].as_str() {
                    "SET" => _ = state.entries.insert(key, command[2].clone()),
                    _ => _ = state.entries.remove(&key),
                }
            }
            assert_eq!(at, commands.values.ends.len());
            state.fences.insert(self.partition, fence.to_text());
            if self.store.judged {
                judge(&mut state, &self.store.history.lock().unwrap());
            }
        }
        self.store.random.may_fail("applying, after it took effect")?;
        self.seen = Some(fence.to_text());
        self.open = true;
        Ok(())
    }
}

/// The entries are what the source held after some transaction, and not before the one they last showed.
fn judge(state: &mut State, history: &[Vec<Change>]) {
    let shown = (state.shown..=history.len()).find(|n| replay(history, *n) == state.entries);
    state.shown = shown.unwrap_or_else(|| {
        let earlier = (0..state.shown).find(|n| replay(history, *n) == state.entries);
        panic!(
            "the store shows what the source never held after transaction {} (went back to: {earlier:?})",
            state.shown
        )
    });
}
