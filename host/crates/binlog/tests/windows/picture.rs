//! What stores have after each record, and what must never be put there.

use std::collections::HashMap;

use mysync_change::envelope::Kind;
use mysync_change::rows::Operation;

use crate::records::{Entry, Record};

/// What the log says last of a key.
#[derive(Debug, Clone)]
struct Last {
    /// None: it is gone.
    row: Option<Vec<String>>,
    version: u64,
    partition: usize,
}

/// Tables, each with what the records say of its keys. The version of a key only grows, over its being deleted and inserted as well.
#[derive(Debug, Default)]
pub struct Picture {
    tables: HashMap<String, HashMap<String, Last>>,
    /// Rows of dumps that are newer than what the stream had come to.
    pub ahead: u64,
}

impl Picture {
    /// True for a row of a dump.
    pub fn apply(&mut self, entry: &Entry) -> bool {
        match entry {
            Entry::Row(record) => self.row(record),
            Entry::Table(event) => {
                // Its rows are gone, or are dumped under another name.
                if let Some(keys) = self.tables.get_mut(&event.table) {
                    keys.values_mut().for_each(|last| last.row = None);
                }
                false
            }
        }
    }

    fn row(&mut self, record: &Record) -> bool {
        let is_dumped = record.kind == Kind::DumpChunk;
        assert_eq!(is_dumped, record.operation == Operation::Read);
        let (row, gone) = record.row();
        let key = match record.shape.primary_key.as_slice() {
            [] => row.join("|"),
            parts => parts.iter().map(|part| row[usize::from(*part)].as_str()).collect::<Vec<_>>().join("|"),
        };
        let has_version = record.shape.columns.iter().any(|column| column.name == "version");
        let version = if has_version { record.value("version").parse().unwrap() } else { 0 };
        let now = Last { row: (!gone).then(|| row.to_vec()), version, partition: record.partition };
        let keys = self.tables.entry(record.shape.name.clone()).or_default();
        if let Some(former) = keys.get(&key) {
            assert_eq!(former.partition, now.partition, "{key} is in two partitions: {record:?}");
            if is_dumped {
                let is_stale = match former.row {
                    Some(_) => now.version < former.version,
                    None => now.version <= former.version,
                };
                assert!(!is_stale, "a row of a dump is older than what the log had of it, {former:?}: {record:?}");
                self.ahead += u64::from(now.version > former.version);
            }
        }
        keys.insert(key, now);
        is_dumped
    }

    /// Whether a key is there.
    pub fn has(&self, table: &str, key: &str) -> bool {
        self.tables.get(table).and_then(|keys| keys.get(key)).is_some_and(|last| last.row.is_some())
    }

    /// The rows of a table, sorted.
    pub fn rows(&self, table: &str) -> Vec<Vec<String>> {
        let keys = self.tables.get(table).into_iter().flatten();
        let mut rows: Vec<_> = keys.filter_map(|(_, last)| last.row.clone()).collect();
        rows.sort();
        rows
    }
}
