//! What one instance may use.

use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::error::Stop;

/// Bounds of one instance of a writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory, in bytes. Room for the largest batch (8 MiB, or one row of any size up to 32 MiB), what is made of it, and the guest's
    /// allocator, which does not return what it has taken.
    pub memory_bytes: usize,
    /// What one call may hand over, in bytes: commands with their lengths, or an answer. Eight times the largest batch, for mappings that make
    /// several entries of a row.
    pub output_bytes: usize,
    /// Time one call may run, waiting for a thread not counted. A batch takes a millisecond; a second is a mistake.
    pub deadline: Duration,
    /// Messages a second that appear in the log lines: as many as a person can read.
    pub messages: u32,
    /// Length of a message, in bytes: a long line of a terminal or two.
    pub message_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 128 << 20,
            output_bytes: 64 << 20,
            deadline: Duration::from_secs(1),
            messages: 20,
            message_bytes: 1024,
        }
    }
}

/// Linear memories of one component: one of its own; the glue around it has none.
const MEMORIES_MAX: usize = 1;
/// Tables of one component: its own, and one of the glue for its imports.
const TABLES_MAX: usize = 4;
/// Core instances of one component: the module, and the glue around it.
const INSTANCES_MAX: usize = 16;
/// Elements of a table: as many as a module of the allowed size has functions worth pointing to.
const TABLE_ELEMENTS_MAX: usize = 20_000;

/// Holds a store to its memory. Growing beyond it ends the call at once, because a guest that is merely told "no" dies in its own words.
#[derive(Debug)]
pub(crate) struct Ceiling {
    pub memory_bytes: usize,
}

impl ResourceLimiter for Ceiling {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.memory_bytes { Err(Stop::Memory.into()) } else { Ok(true) }
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > TABLE_ELEMENTS_MAX { Err(Stop::Memory.into()) } else { Ok(true) }
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}
