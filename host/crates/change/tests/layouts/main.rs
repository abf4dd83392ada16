//! The two layouts of a log hold the same rows: as messages, as batches, and after compaction.
#![allow(clippy::unwrap_used, clippy::panic)]

mod holes;
mod messages;
mod records;
mod store;
