//! Dumps: loads of rows that were in their tables before the log began.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Every dump that the log knows of. Part of the checkpoint: a dump goes on where its last stored chunk ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dumps {
    /// How many there were: the last one's number.
    pub last: u64,
    pub list: Vec<Dump>,
}

/// One dump: some tables, one after the other in the order of their names, each in chunks in the order of its primary key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dump {
    pub number: u64,
    /// Only this writer takes its rows; none: every writer.
    pub writer: Option<Arc<str>>,
    /// Patterns of `database.table`.
    pub tables: Vec<String>,
    pub state: DumpState,
    /// Rows for each second at most; none: as fast as the writers take them.
    pub rows_per_second: Option<u64>,
    /// Where its writer began, or is going to, in each partition of the log: where that ended when the writer's first dump was asked for. In
    /// those that came later it begins with the first record.
    pub from: Vec<u64>,
    /// Whether its writer has begun by now.
    #[serde(default)]
    pub begun: bool,
    /// Microseconds since 1970.
    pub asked_us: u64,
    pub progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DumpState {
    /// It is its turn, or it waits for it.
    Open,
    Paused,
    Done,
    Cancelled,
}

/// How far a dump has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The last table that was worked at, as `database.table`; empty: none yet.
    pub table: String,
    /// In the middle of that table: what its next rows come behind. None: the table is done with.
    pub after: Option<After>,
    /// Chunks that are stored whole.
    pub chunks: u64,
    pub tables_done: u64,
    pub rows: u64,
}

/// A row's place in the order of its table's primary key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    /// The key's columns with their types: values mean nothing to another key.
    pub key: String,
    /// The row's values in those columns, as SQL literals.
    pub values: Vec<String>,
}

impl Dump {
    /// Whether there is anything left to do.
    pub fn is_open(&self) -> bool {
        matches!(self.state, DumpState::Open | DumpState::Paused)
    }
}

impl DumpState {
    pub fn name(self) -> &'static str {
        match self {
            DumpState::Open => "open",
            DumpState::Paused => "paused",
            DumpState::Done => "done",
            DumpState::Cancelled => "cancelled",
        }
    }
}

/// For people: `dump 3 for writer users-cache`.
impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.writer {
            Some(writer) => write!(f, "dump {} for writer {writer}", self.number),
            None => write!(f, "dump {} for every writer", self.number),
        }
    }
}
