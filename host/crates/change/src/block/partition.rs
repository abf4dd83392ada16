//! One partition's part of a block, and the messages that it is made of.

use super::MESSAGE_BYTES;
use crate::envelope;
use crate::routing::Layout;
use crate::rows::{self, ENDS_TRANSACTION};
use crate::schema::Fingerprint;

/// One partition's part of a block.
#[derive(Debug, Default)]
pub struct PartitionBlock {
    /// Envelopes, end to end.
    pub bytes: Vec<u8>,
    pub first_seq: u64,
    pub last_seq: u64,
    pub rows: u64,
    /// Of the youngest transaction in it: microseconds since 1970.
    pub committed_us: u64,
    /// Of the oldest one.
    pub oldest_us: u64,
    /// Last sequence number ever given in this partition.
    pub(super) prev: u64,
    pub(super) open: Option<OpenEnvelope>,
    /// Where the flags of the last row of the current transaction stand.
    pub(super) last_flags: Option<usize>,
    /// Keys of messages, end to end.
    pub(super) keys: Vec<u8>,
    ends: Vec<MessageEnd>,
}

/// The envelope being written.
#[derive(Debug)]
pub(super) struct OpenEnvelope {
    pub start: usize,
    /// Where its first row begins; none: it is a table event.
    pub row: Option<usize>,
    pub transaction: u64,
    pub shape: Fingerprint,
    pub first_seq: u64,
    pub first_row: u64,
}

/// A message's end in the bytes and the keys of its partition, and what is known of it without reading it.
#[derive(Debug)]
struct MessageEnd {
    start: usize,
    end: usize,
    key_end: usize,
    first_seq: u64,
    last_seq: u64,
    removes: bool,
}

/// What a log that is made of messages keeps as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// None in [`Layout::Runs`].
    pub key: Option<&'a [u8]>,
    /// Envelopes, end to end; one in [`Layout::Keyed`].
    pub bytes: &'a [u8],
    pub first_seq: u64,
    pub last_seq: u64,
    /// After it nothing is left under its key.
    pub is_tombstone: bool,
}

impl PartitionBlock {
    pub(super) fn behind(prev: u64) -> Self {
        Self { prev, ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// A sealed block's messages, in order. In [`Layout::Runs`] one is larger than [`MESSAGE_BYTES`] by less than a row.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = Message<'_>> {
        let mut key_start = 0;
        self.ends.iter().map(move |message| {
            let key = &self.keys[key_start..message.key_end];
            key_start = message.key_end;
            Message {
                key: (!key.is_empty()).then_some(key),
                bytes: &self.bytes[message.start..message.end],
                first_seq: message.first_seq,
                last_seq: message.last_seq,
                is_tombstone: message.removes,
            }
        })
    }

    pub(super) fn close(&mut self, layout: Layout) {
        let Some(envelope) = self.open.take() else { return };
        envelope::close(&mut self.bytes, envelope.start);
        let (end, last_seq) = (self.bytes.len(), self.last_seq);
        let (joins, removes) = match layout {
            Layout::Runs => (self.ends.last_mut().filter(|last| end - last.start <= MESSAGE_BYTES), false),
            Layout::Keyed => (None, envelope.row.is_some_and(|row| rows::removes(&self.bytes[row..]))),
        };
        match joins {
            Some(last) => (last.end, last.last_seq) = (end, last_seq),
            None => {
                let OpenEnvelope { start, first_seq, .. } = envelope;
                let key_end = self.keys.len();
                self.ends.push(MessageEnd { start, end, key_end, first_seq, last_seq, removes });
            }
        }
    }

    pub(super) fn end(&mut self) {
        if let Some(at) = self.last_flags.take() {
            self.bytes[at] |= ENDS_TRANSACTION;
        }
    }

    pub(super) fn count(&mut self, seq: u64, committed_us: u64) {
        if self.rows == 0 {
            self.first_seq = seq;
            self.oldest_us = committed_us;
        }
        self.rows += 1;
        self.last_seq = seq;
        self.prev = seq;
        self.committed_us = committed_us;
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.keys.clear();
        self.ends.clear();
        self.rows = 0;
        self.open = None;
        self.last_flags = None;
    }
}
