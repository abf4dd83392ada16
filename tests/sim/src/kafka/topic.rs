//! Partitions: records at offsets, and which of them a read_committed reader sees.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mysync_change::envelope::LogId;
use mysync_change::position::Checkpoint;
use mysync_change::schema::{Fingerprint, TableShape};
use tokio::time::Instant;

/// What stands in the control topic.
#[derive(Debug, Clone)]
pub enum Control {
    /// Which log it is.
    Log(LogId),
    /// A process that has begun to capture: the first that it writes.
    Leader(u64),
    Shape(Fingerprint, Arc<TableShape>),
    Checkpoint(Box<Covered>),
}

/// A checkpoint, and what it covers.
#[derive(Debug, Clone)]
pub struct Covered {
    pub lasts: Vec<u64>,
    pub checkpoint: Checkpoint,
}

/// One message of the data topic: envelopes, end to end.
#[derive(Debug)]
pub struct Message {
    pub log_id: LogId,
    pub first: u64,
    pub last: u64,
    /// The record before its first.
    pub prev: u64,
    pub bytes: Vec<u8>,
    /// None: it is no row under its key.
    pub key: Option<Vec<u8>>,
    /// After it nothing is left under its key.
    pub is_tombstone: bool,
}

#[derive(Debug, Clone)]
pub enum Content {
    Records(Arc<Message>),
    Control(Control),
    /// The end of a transaction: takes an offset that no reader sees.
    Marker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Open,
    Committed,
    Aborted,
}

#[derive(Debug, Clone)]
pub struct Record {
    pub standing: Standing,
    pub content: Content,
    at: Instant,
    /// Until when a tombstone is kept: known once it was compacted.
    horizon: Option<Instant>,
    /// It is gone: compaction leaves a hole.
    is_removed: bool,
}

impl Record {
    fn new(standing: Standing, content: Content) -> Self {
        Self { standing, content, at: Instant::now(), horizon: None, is_removed: false }
    }
}

/// What a reader is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Isolation {
    /// Also what is not committed yet.
    pub open: bool,
    /// Also what was aborted.
    pub aborted: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Partition {
    pub records: Vec<Record>,
    /// The first offset that has not been deleted.
    pub start: usize,
    /// The first record of the open transaction.
    open: Option<usize>,
}

impl Partition {
    pub fn push(&mut self, content: Content, standing: Standing) {
        if standing == Standing::Open {
            self.open.get_or_insert(self.records.len());
        }
        self.records.push(Record::new(standing, content));
    }

    /// Ends the open transaction here.
    pub fn mark(&mut self, commit: bool) {
        let standing = if commit { Standing::Committed } else { Standing::Aborted };
        let open = self.open.take().unwrap_or(self.records.len());
        for record in self.records[open..].iter_mut().filter(|record| record.standing == Standing::Open) {
            record.standing = standing;
        }
        self.records.push(Record::new(standing, Content::Marker));
    }

    /// Behind the last record that a reader may come to: what is open holds up those that want what is committed.
    pub fn stable_end(&self, isolation: Isolation) -> usize {
        self.open.filter(|_| !isolation.open).unwrap_or(self.records.len())
    }

    fn is_shown(record: &Record, isolation: Isolation) -> bool {
        !record.is_removed
            && match record.standing {
                Standing::Open => isolation.open,
                Standing::Committed => true,
                Standing::Aborted => isolation.aborted,
            }
    }

    /// Compaction: what is old enough makes way for newer records of its key, and so do tombstones that were seen for long enough. Answers
    /// whether there was any. The last message is in a segment that is still written to.
    pub fn compact(&mut self, kept: Duration) -> bool {
        let mut offsets: Vec<usize> = self.messages(0, Isolation::default()).map(|(offset, _)| offset).collect();
        offsets.pop();
        offsets.retain(|offset| self.records[*offset].at.elapsed() > kept);
        let mut newest = BTreeMap::new();
        for offset in &offsets {
            if let Content::Records(message) = &self.records[*offset].content {
                newest.insert(message.key.clone(), *offset);
            }
        }
        let mut has_removed = false;
        for offset in offsets {
            let record = &mut self.records[offset];
            let Content::Records(message) = &record.content else { continue };
            let is_replaced = newest.get(&message.key) != Some(&offset);
            let is_past = message.is_tombstone && record.horizon.is_some_and(|horizon| horizon < Instant::now());
            if is_replaced || is_past {
                (record.is_removed, has_removed) = (true, true);
            } else if message.is_tombstone {
                record.horizon.get_or_insert(Instant::now() + kept);
            }
        }
        has_removed
    }

    /// Messages from an offset on, each with its offset.
    pub fn messages(&self, from: usize, isolation: Isolation) -> impl Iterator<Item = (usize, &Arc<Message>)> {
        let end = self.stable_end(isolation);
        let from = from.max(self.start).min(end);
        (from..end).zip(&self.records[from..end]).filter_map(move |(offset, record)| match &record.content {
            Content::Records(message) if Self::is_shown(record, isolation) => Some((offset, message)),
            _ => None,
        })
    }

    pub fn controls(&self, isolation: Isolation) -> impl DoubleEndedIterator<Item = &Control> {
        let end = self.stable_end(isolation);
        self.records[..end].iter().filter_map(move |record| match &record.content {
            Content::Control(control) if Self::is_shown(record, isolation) => Some(control),
            _ => None,
        })
    }
}
