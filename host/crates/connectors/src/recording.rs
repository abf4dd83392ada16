//! A store in memory: a connector that records what is applied, and fails when told to.
//!
//! It keeps the promises of the real ones: a batch and its fence take effect together, and only if the fence is the one that this
//! connection last read or wrote. Several connectors may share one store, as processes do.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mysync_change::fence::Fence;
use mysync_change::operations::RedisCommands;
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::Connector;

/// What happens to one call of a connector instead of success.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The store cannot be reached; nothing takes effect.
    Away,
    /// The connection ends before the batch takes effect.
    LostBefore,
    /// The connection ends after the batch has taken effect.
    LostAfter,
    /// One command of the batch is refused; the others and the fence take effect.
    CommandRefused { command: usize },
    /// The whole batch is refused with this; nothing takes effect.
    Refused(Failure),
    /// The store loses everything, then goes on.
    Emptied,
}

/// A batch that took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub commands: RedisCommands,
    pub fence: Fence,
}

/// What several connectors may share.
#[derive(Debug, Clone, Default)]
pub struct Store(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    fence: Option<Fence>,
    /// Moves with every write of the fence, as WATCH sees it.
    version: u64,
    applied: Vec<Applied>,
    open_faults: VecDeque<Option<Fault>>,
    apply_faults: VecDeque<Option<Fault>>,
}

impl Store {
    /// What the next calls of `open` shall meet, in turn; none: nothing.
    pub fn script_open(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.contents().open_faults.extend(faults);
    }

    /// What the next calls of `apply` shall meet, in turn; none: nothing.
    pub fn script_apply(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.contents().apply_faults.extend(faults);
    }

    /// Loses everything, as FLUSHALL does.
    pub fn empty(&self) {
        self.contents().empty();
    }

    pub fn fence(&self) -> Option<Fence> {
        self.contents().fence.clone()
    }

    /// Puts a fence there, as an operator or another process would.
    pub fn set_fence(&self, fence: Option<Fence>) {
        let mut contents = self.contents();
        contents.fence = fence;
        contents.version += 1;
    }

    /// Batches that took effect since the store was last empty, in order. Commands that were refused are left out.
    pub fn applied(&self) -> Vec<Applied> {
        self.contents().applied.clone()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    fn empty(&mut self) {
        self.fence = None;
        self.version += 1;
        self.applied.clear();
    }

    fn write(&mut self, commands: RedisCommands, fence: &Fence) -> u64 {
        self.fence = Some(fence.clone());
        self.version += 1;
        self.applied.push(Applied { commands, fence: fence.clone() });
        self.version
    }
}

/// One partition's way into a [`Store`].
#[derive(Debug)]
pub struct Recording {
    store: Store,
    /// The fence's version as this connection last read or wrote it; none without a connection.
    watched: Option<u64>,
}

impl Recording {
    pub fn new(store: &Store) -> Self {
        Self { store: store.clone(), watched: None }
    }
}

impl Connector for Recording {
    async fn open(&mut self) -> Result<Option<Fence>, Failure> {
        self.watched = None;
        let mut contents = self.store.contents();
        match contents.open_faults.pop_front().flatten() {
            None => {}
            Some(Fault::Emptied) => contents.empty(),
            Some(Fault::Refused(failure)) => return Err(failure),
            Some(_) => return Err(away()),
        }
        self.watched = Some(contents.version);
        Ok(contents.fence.clone())
    }

    async fn apply(&mut self, commands: &RedisCommands, fence: &Fence) -> Result<(), Failure> {
        // Gone unless everything goes well.
        let watched = self.watched.take().ok_or_else(away)?;
        let mut contents = self.store.contents();
        let fault = contents.apply_faults.pop_front().flatten();
        match &fault {
            Some(Fault::Away | Fault::LostBefore) => return Err(lost()),
            Some(Fault::Refused(failure)) => return Err(failure.clone()),
            Some(Fault::Emptied) => contents.empty(),
            _ => {}
        }
        if contents.version != watched {
            return Err(overtaken(contents.fence.as_ref(), &fence.owner));
        }
        let refused = match fault {
            Some(Fault::CommandRefused { command }) => Some(command),
            _ => None,
        };
        let version = contents.write(without(commands, refused), fence);
        if matches!(fault, Some(Fault::LostAfter)) {
            return Err(lost());
        }
        if let Some(command) = refused {
            return Err(Failure::definite(
                "REDIS_COMMAND_REFUSED",
                format!("command {command} was refused, as scripted"),
            ));
        }
        self.watched = Some(version);
        Ok(())
    }
}

fn away() -> Failure {
    Failure::transient("REDIS_UNREACHABLE", "the store cannot be reached, as scripted")
}

fn lost() -> Failure {
    Failure::transient("REDIS_LOST_ANSWER", "the connection to the store ended, as scripted")
}

fn overtaken(found: Option<&Fence>, owner: &str) -> Failure {
    match found {
        None => Failure::definite("STORE_EMPTIED", "the fence is gone from the store"),
        Some(fence) if fence.owner == owner => {
            Failure::transient("REDIS_LATE_WRITE", "a batch of an earlier connection came late")
        }
        Some(fence) => Failure::definite("FENCE_TAKEN", format!("{} has written the fence", fence.owner)),
    }
}

/// The commands but one.
fn without(commands: &RedisCommands, refused: Option<usize>) -> RedisCommands {
    let mut kept = RedisCommands::default();
    let mut ends = commands.values.ends.iter();
    let mut from = 0;
    for (at, (row, count)) in commands.rows.iter().zip(&commands.arguments).enumerate() {
        let taken = Some(at) != refused;
        for end in ends.by_ref().take(*count as usize) {
            let end = *end as usize;
            if taken {
                kept.values.push(commands.values.data.get(from..end).unwrap_or_default());
            }
            from = end;
        }
        if taken {
            kept.rows.push(*row);
            kept.arguments.push(*count);
        }
    }
    kept
}
