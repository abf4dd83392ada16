//! One partition's part of a block, and the messages that it is made of.

use super::MESSAGE_BYTES;
use crate::envelope::{self, Header};
use crate::routing::Layout;
use crate::rows::{self, ENDS_TRANSACTION, FLAGS_AT};
use crate::schema::Fingerprint;

/// About what an envelope takes beside its rows.
const HEADER_BYTES: usize = 256;

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
    /// Whether it has got something since the block was last emptied.
    pub(super) is_used: bool,
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
#[derive(Debug, Clone, Copy)]
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

    /// A sealed block's messages, in order. One that is larger than twice [`MESSAGE_BYTES`] is one row, which fits nowhere else.
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
        let Some(OpenEnvelope { start, row, first_seq, .. }) = self.open.take() else { return };
        envelope::close(&mut self.bytes, start);
        let (end, last_seq, key_end) = (self.bytes.len(), self.last_seq, self.keys.len());
        let envelope = MessageEnd { start, end, key_end, first_seq, last_seq, removes: false };
        match layout {
            Layout::Keyed => {
                let removes = row.is_some_and(|row| rows::removes(&self.bytes[row..]));
                self.ends.push(MessageEnd { removes, ..envelope });
            }
            Layout::Runs if row.is_some() && end - start > 2 * MESSAGE_BYTES => match self.split(start) {
                Some((cut, before)) => {
                    self.ends.push(MessageEnd { end: cut, last_seq: before, ..envelope });
                    self.ends.push(MessageEnd { start: cut, end: self.bytes.len(), first_seq: last_seq, ..envelope });
                }
                None => self.ends.push(envelope),
            },
            Layout::Runs => match self.ends.last_mut().filter(|last| end - last.start <= MESSAGE_BYTES) {
                Some(last) => (last.end, last.last_seq) = (end, last_seq),
                None => self.ends.push(envelope),
            },
        }
    }

    /// Gives a large last row an envelope of its own. Answers where that begins, and the number of the row before it; none: there is no other
    /// row.
    #[cold]
    fn split(&mut self, start: usize) -> Option<(usize, u64)> {
        let (run, _) = envelope::read(&self.bytes, start).ok()??;
        let (mut at, mut before, mut last) = (0, None, None);
        while let Some((row, next)) = rows::read(&run, at).ok()? {
            before = last.replace((at, row));
            at = next;
        }
        let ((at, row), (_, before)) = (last?, before?);
        let header = Header { first_seq: row.seq, prev: before.seq, first_row: row.number, ..run.header };
        let moved = &run.body[at..];
        let mut own = Vec::with_capacity(moved.len() + HEADER_BYTES);
        envelope::open(&mut own, &header).ok()?;
        let row_at = own.len();
        own.extend_from_slice(moved);
        // What it counts from is itself.
        own[row_at + 4..row_at + 12].fill(0);
        envelope::close(&mut own, 0);
        let (cut, before) = (self.bytes.len() - moved.len(), before.seq);
        self.bytes.truncate(cut);
        envelope::close(&mut self.bytes, start);
        self.bytes.extend_from_slice(&own);
        self.last_flags = self.last_flags.map(|_| cut + row_at + FLAGS_AT);
        Some((cut, before))
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

    /// Keeps so many bytes of memory for each of what it is made of.
    pub(super) fn clear(&mut self, keep: usize) {
        self.is_used = false;
        self.bytes.clear();
        self.bytes.shrink_to(keep);
        self.keys.clear();
        self.keys.shrink_to(keep);
        self.ends.clear();
        self.ends.shrink_to(keep / size_of::<MessageEnd>());
        self.rows = 0;
        self.open = None;
        self.last_flags = None;
    }
}
