//! A world in memory for the two loops: a source, a log, a writer and a store that fail by a seed, and a judge that looks at every step.
//!
//! One seed makes one history: what is committed, which call fails and how (before it took effect, or after), when the process is killed, when
//! the power goes and takes the log's unsynced tail along. Time is simulated, so a history of minutes takes milliseconds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod log;
pub mod random;
pub mod scenario;
pub mod source;
pub mod store;
pub mod writer;
