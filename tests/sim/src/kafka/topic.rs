//! Partitions: records at offsets, and which of them a read_committed reader sees.

use std::sync::Arc;

use mysync_change::envelope::LogId;
use mysync_change::position::Checkpoint;
use mysync_change::schema::{Fingerprint, TableShape};

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
        self.records.push(Record { standing, content });
    }

    /// Ends the open transaction here.
    pub fn mark(&mut self, commit: bool) {
        let standing = if commit { Standing::Committed } else { Standing::Aborted };
        let open = self.open.take().unwrap_or(self.records.len());
        for record in self.records[open..].iter_mut().filter(|record| record.standing == Standing::Open) {
            record.standing = standing;
        }
        self.records.push(Record { standing, content: Content::Marker });
    }

    /// Behind the last record that a reader may come to: what is open holds up those that want what is committed.
    pub fn stable_end(&self, isolation: Isolation) -> usize {
        self.open.filter(|_| !isolation.open).unwrap_or(self.records.len())
    }

    fn is_shown(record: &Record, isolation: Isolation) -> bool {
        match record.standing {
            Standing::Open => isolation.open,
            Standing::Committed => true,
            Standing::Aborted => isolation.aborted,
        }
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
