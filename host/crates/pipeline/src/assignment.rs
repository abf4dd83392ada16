//! Which partitions of a writer this process may work at.
//!
//! An assignment is a hint, not a lock: whose writing counts is decided by the store's fence.

use std::sync::mpsc as blocking;

use tokio::sync::mpsc;

use crate::failure::Failure;

/// Changes that wait to be taken: those of one rebalance are two.
const CHANGES_MAX: usize = 16;

/// What those who share a writer's partitions have decided.
#[derive(Debug)]
pub enum Change {
    /// None at first: others have them all.
    Given(Vec<u32>),
    /// Work at them ends now; whoever waits for that sees the rest dropped.
    Taken(Vec<u32>, Working),
    /// This process may not take part, until somebody mends that.
    Refused(Failure),
}

/// Held by those who still work at partitions that were taken from them.
pub type Working = blocking::Sender<()>;

/// Where changes are told.
pub type Changes = mpsc::Receiver<Change>;

pub fn channel() -> (mpsc::Sender<Change>, Changes) {
    mpsc::channel(CHANGES_MAX)
}

/// Of a process that shares with nobody: it has all of them, and keeps them.
pub fn all(partitions: u32) -> Changes {
    let (given, changes) = channel();
    // There is room for the first.
    let _ = given.try_send(Change::Given((0..partitions).collect()));
    changes
}
