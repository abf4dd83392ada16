//! A block of the log, and how far it has been read.

use crate::envelope::{self, EnvelopeError, Kind};
use crate::fence::Place;
use crate::rows::{self, Operation};

/// What a search for a place has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Again {
    At(Place),
    /// A dump's chunk lies before it: it may not be the one that was there.
    Chunk,
}

/// A block of the log that is being read, and how far.
#[derive(Debug, Default)]
pub struct BlockReader {
    pub(super) bytes: Vec<u8>,
    /// Where the next envelope begins, and the next row inside of it.
    pub(super) envelope: usize,
    pub(super) row: usize,
}

impl BlockReader {
    /// The buffer for the next block, empty. What was left of the former one is forgotten.
    pub fn refill(&mut self) -> &mut Vec<u8> {
        self.bytes.clear();
        (self.envelope, self.row) = (0, 0);
        &mut self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.envelope >= self.bytes.len()
    }

    /// All envelopes of the block, also those that were taken.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The last record's number, if the block has one.
    pub fn last_seq(&self) -> Option<u64> {
        let (mut at, mut last) = (0, None);
        while let Ok(Some((envelope, next))) = envelope::read(&self.bytes, at) {
            at = next;
            last = Some(envelope.header.first_seq);
            let mut row_at = 0;
            while let Ok(Some((row, next))) = rows::read(&envelope, row_at) {
                (last, row_at) = (Some(row.seq), next);
            }
        }
        last
    }

    /// Looks behind `base` for the row that has the identity of `place`, whatever its number. `checked` counts the records looked at.
    pub fn find(&self, base: u64, place: &Place, checked: &mut u64) -> Result<Option<Again>, EnvelopeError> {
        let mut at = 0;
        while let Some((envelope, next)) = envelope::read(&self.bytes, at)? {
            at = next;
            let header = &envelope.header;
            let same_transaction = header.transaction.is_named(&place.transaction);
            if header.kind == Kind::TableEvent {
                *checked += u64::from(header.first_seq > base);
                if same_transaction && header.first_row == place.row {
                    return Ok(Some(Again::At(Place { seq: header.first_seq, ..place.clone() })));
                }
                continue;
            }
            let mut row_at = 0;
            while let Some((row, next)) = rows::read(&envelope, row_at)? {
                row_at = next;
                if row.seq <= base {
                    continue;
                }
                if header.kind == Kind::DumpChunk {
                    return Ok(Some(Again::Chunk));
                }
                *checked += 1;
                let second = row.operation == Operation::MoveIn;
                if same_transaction && row.number == place.row && second == place.second {
                    return Ok(Some(Again::At(Place { seq: row.seq, ..place.clone() })));
                }
            }
        }
        Ok(None)
    }

    /// The record before the first one behind `base`; none: there is none behind it.
    pub fn before(&self, base: u64) -> Result<Option<u64>, EnvelopeError> {
        let mut at = 0;
        while let Some((envelope, next)) = envelope::read(&self.bytes, at)? {
            at = next;
            let (mut row_at, mut prev) = (0, envelope.header.prev);
            if envelope.header.kind == Kind::TableEvent {
                if envelope.header.first_seq > base {
                    return Ok(Some(prev));
                }
                continue;
            }
            while let Some((row, next)) = rows::read(&envelope, row_at)? {
                if row.seq > base {
                    return Ok(Some(prev));
                }
                (row_at, prev) = (next, row.seq);
            }
        }
        Ok(None)
    }
}
