//! How much of the log's room is used, and whether capture has to wait.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::error::{Holder, LogError};

/// How long an append waits before it says that there is no room: a store that is merely slower than the source frees some by then.
const WAIT: Duration = Duration::from_secs(1);

/// Whether there is room for another block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Free,
    /// The log has reached its size, and what can be deleted has not been looked for yet.
    Unknown,
    /// Nothing can be deleted.
    Held(Holder),
}

#[derive(Debug)]
pub struct Room {
    max_bytes: u64,
    used: AtomicU64,
    state: watch::Sender<State>,
}

impl Room {
    pub fn new(max_bytes: u64, used: u64) -> Self {
        Self { max_bytes, used: used.into(), state: watch::Sender::new(State::Free) }
    }

    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    pub fn is_exceeded(&self) -> bool {
        self.used() >= self.max_bytes
    }

    /// Retention begins a little below the log's size, so that capture need not wait for it.
    pub fn is_tight(&self) -> bool {
        self.used() >= self.max_bytes - self.max_bytes / 16
    }

    /// Something was stored. True if the log has reached its size with it.
    pub fn add(&self, bytes: u64) -> bool {
        self.used.fetch_add(bytes, Relaxed);
        self.is_exceeded() && self.set(State::Unknown)
    }

    /// What the file says.
    pub fn correct(&self, used: u64) {
        self.used.store(used, Relaxed);
    }

    /// True if that is news. Who holds a full log is told once, and so is that it goes on.
    pub fn set(&self, state: State) -> bool {
        let former = self.state.send_replace(state.clone());
        match (&former, &state) {
            (State::Free | State::Unknown, State::Held(holder)) => {
                warn!(code = "LOG_FULL", "capture waits for room in the log: {holder}");
            }
            (State::Held(_), State::Free) => info!("the log has room again: capture goes on"),
            _ => {}
        }
        former != state
    }

    pub fn is_held(&self) -> bool {
        matches!(*self.state.borrow(), State::Held(_))
    }

    fn is_free(&self) -> bool {
        *self.state.borrow() == State::Free
    }

    /// Waits until there is room, for a while.
    pub async fn wait(&self) -> Result<(), LogError> {
        if self.is_free() {
            return Ok(());
        }
        let mut watched = self.state.subscribe();
        let freed = watched.wait_for(|state| *state == State::Free);
        if tokio::time::timeout(WAIT, freed).await.is_ok() {
            return Ok(());
        }
        match &*self.state.borrow() {
            State::Free => Ok(()),
            State::Unknown => Err(LogError::RoomUnknown),
            State::Held(holder) => {
                Err(LogError::Full { bytes: self.used(), max_bytes: self.max_bytes, holder: holder.clone() })
            }
        }
    }
}
