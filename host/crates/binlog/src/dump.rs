//! Dumps: rows that were in their tables before the log began.

pub mod chunk;
mod keys;

pub use chunk::Chunk;
