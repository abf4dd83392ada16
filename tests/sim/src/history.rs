//! What the source has committed, and what each partition's part of the store goes through by it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::bell::{Bell, Ear};

/// What one row of a transaction does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Put { key: i64, value: String },
    Remove { key: i64 },
    Move { from: i64, to: i64, value: String },
}

/// What becomes of one entry.
#[derive(Debug, Clone)]
pub struct Step {
    pub key: i64,
    pub value: Option<String>,
    /// A reader may see the state behind it: with one partition whole transactions only, unless they are larger than a batch.
    pub visible: bool,
}

#[derive(Debug, Default)]
struct State {
    transactions: Vec<Arc<[Change]>>,
    steps: Vec<Vec<Step>>,
    /// Transactions are named by its number.
    server: u32,
}

/// All that was ever committed; clones see the same.
#[derive(Debug, Clone)]
pub struct History {
    state: Arc<Mutex<State>>,
    grown: Bell,
    /// Transactions above this are split.
    batch_rows_max: usize,
}

/// Which partition holds a key.
pub fn partition(key: i64, partitions: usize) -> usize {
    key.rem_euclid(partitions as i64) as usize
}

impl History {
    pub fn new(partitions: usize, batch_rows_max: usize) -> Self {
        let state = State { steps: vec![Vec::new(); partitions], ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), grown: Bell::default(), batch_rows_max }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn commit(&self, changes: Vec<Change>) {
        let mut state = self.lock();
        let partitions = state.steps.len();
        let visible = partitions > 1 || changes.len() > self.batch_rows_max;
        for change in &changes {
            let steps = match change {
                Change::Put { key, value } => [Some((*key, Some(value))), None],
                Change::Remove { key } => [Some((*key, None)), None],
                Change::Move { from, to, value } => [Some((*from, None)), Some((*to, Some(value)))],
            };
            for (key, value) in steps.into_iter().flatten() {
                state.steps[partition(key, partitions)].push(Step { key, value: value.cloned(), visible });
            }
        }
        for steps in &mut state.steps {
            if let Some(last) = steps.last_mut() {
                last.visible = true;
            }
        }
        state.transactions.push(changes.into());
        drop(state);
        self.grown.ring();
    }

    pub fn transaction(&self, at: usize) -> Option<Arc<[Change]>> {
        self.lock().transactions.get(at).cloned()
    }

    /// How many transactions there are.
    pub fn len(&self) -> usize {
        self.lock().transactions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the source held behind its first transactions.
    pub fn entries(&self, transactions: usize) -> BTreeMap<i64, String> {
        let mut entries = BTreeMap::new();
        for change in self.lock().transactions.iter().take(transactions).flat_map(|changes| changes.iter()) {
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

    /// Another server takes the source's place and names the same transactions otherwise.
    pub fn replace_server(&self) {
        self.lock().server += 1;
    }

    pub fn server(&self) -> u32 {
        self.lock().server
    }

    pub fn growth(&self) -> Ear {
        self.grown.listen()
    }

    /// A step of a partition's part.
    pub fn step(&self, partition: usize, at: usize) -> Option<Step> {
        self.lock().steps[partition].get(at).cloned()
    }

    /// All steps, partition by partition.
    pub fn steps(&self) -> Vec<Step> {
        self.lock().steps.concat()
    }
}
