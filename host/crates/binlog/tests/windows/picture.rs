//! What stores have after each record, and what must never be put there.

use std::collections::HashMap;

use mysync_change::envelope::Kind;
use mysync_change::rows::Operation;

use crate::records::{Entry, Record};

/// What the log says last of a key.
#[derive(Debug)]
struct Last {
    record: Record,
    version: u64,
    gone: bool,
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
                let keys = self.tables.entry(event.table.clone()).or_default();
                match event.what.as_str() {
                    // Its rows may come back as they are.
                    "rename" => keys.clear(),
                    _ => keys.values_mut().for_each(|last| last.gone = true),
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
        let keys = self.tables.entry(record.shape.name.clone()).or_default();
        if let Some(former) = keys.get(&key) {
            assert_eq!(former.record.partition, record.partition, "{key} is in two partitions: {record:?}");
            assert_eq!(former.record.key, record.key, "{key} has two keys: {record:?}");
            if is_dumped {
                let is_stale = if former.gone { version <= former.version } else { version < former.version };
                assert!(
                    !is_stale,
                    "a row of a dump is older than what the log had of it: {record:?} behind {former:?}"
                );
                self.ahead += u64::from(version > former.version);
            }
        }
        keys.insert(key, Last { record: record.clone(), version, gone });
        is_dumped
    }

    /// Whether a key is there.
    pub fn has(&self, table: &str, key: &str) -> bool {
        self.tables.get(table).and_then(|keys| keys.get(key)).is_some_and(|last| !last.gone)
    }

    /// The rows of a table, sorted.
    pub fn rows(&self, table: &str, columns: [&str; 2]) -> Vec<[String; 2]> {
        let rows = self.tables.get(table).into_iter().flat_map(|keys| keys.values()).filter(|last| !last.gone);
        let mut rows: Vec<_> = rows.map(|last| columns.map(|column| last.record.value(column).to_owned())).collect();
        rows.sort();
        rows
    }
}
