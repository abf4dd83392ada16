//! The rows in the body of a change record.
//!
//! ```text
//! row := length:u32  seq:u32  row:u32  operation:u8  flags:u8  before:u32  image*       length counts what follows it
//! ```
//! `seq` and `row` count from the header's `first_seq` and `first_row`; `before` is the length of the before image, which stands first.
//! Flags: 1 = last row of its transaction, 2 = there is a before image, 4 = there is an after image.

use crate::envelope::{Envelope, EnvelopeError};

/// Bytes of a row before its images.
pub const ROW_HEADER_LEN: usize = 18;
/// Where its operation and its flags stand among them.
pub(crate) const OPERATION_AT: usize = 12;
pub(crate) const FLAGS_AT: usize = 13;

/// With several partitions: nothing more of the transaction is sure to come in this one.
pub const ENDS_TRANSACTION: u8 = 1;
pub const HAS_BEFORE: u8 = 2;
pub const HAS_AFTER: u8 = 4;

/// What happened to a row. The order is that of `operation` in the writer contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Operation {
    Insert,
    Update,
    Delete,
    /// Found by a dump.
    Read,
    /// The old half of a changed key.
    MoveOut,
    /// The new half of a changed key.
    MoveIn,
}

impl Operation {
    pub fn from_u8(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Operation::Insert,
            1 => Operation::Update,
            2 => Operation::Delete,
            3 => Operation::Read,
            4 => Operation::MoveOut,
            5 => Operation::MoveIn,
            _ => return None,
        })
    }
}

/// A row of the log, its images not looked at.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    pub seq: u64,
    /// Place in its transaction, counted before any filter; both halves of a changed key have the same.
    pub number: u64,
    pub operation: Operation,
    pub ends_transaction: bool,
    pub before: Option<&'a [u8]>,
    pub after: Option<&'a [u8]>,
}

/// Whether the row that `bytes` begin with leaves nothing under its key; the old half of a changed key leaves something under another.
pub fn removes(bytes: &[u8]) -> bool {
    let operation = bytes.get(OPERATION_AT).copied().and_then(Operation::from_u8);
    matches!(operation, Some(Operation::Delete | Operation::MoveOut))
}

/// Reads the row at `at` in a body, and where the next one begins; `None` at the end.
#[inline]
pub fn read<'a>(envelope: &Envelope<'a>, at: usize) -> Result<Option<(Row<'a>, usize)>, EnvelopeError> {
    let rest = envelope.body.get(at..).unwrap_or_default();
    if rest.is_empty() {
        return Ok(None);
    }
    let damaged = |what| EnvelopeError::damaged(at, what);
    let (head, rest) = rest.split_first_chunk::<ROW_HEADER_LEN>().ok_or_else(|| damaged("a row ends in its header"))?;
    let word = |i: usize| u32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
    let images_len = (word(0) as usize).checked_sub(ROW_HEADER_LEN - 4).ok_or_else(|| damaged("a row is too short"))?;
    let images = rest.get(..images_len).ok_or_else(|| damaged("a row is longer than its record"))?;
    let operation = Operation::from_u8(head[OPERATION_AT]).ok_or_else(|| damaged("a row has an unknown operation"))?;
    let flags = head[FLAGS_AT];
    let (before, after) =
        images.split_at_checked(word(14) as usize).ok_or_else(|| damaged("a before image is longer than its row"))?;
    let row = Row {
        seq: envelope.header.first_seq + u64::from(word(4)),
        number: envelope.header.first_row + u64::from(word(8)),
        operation,
        ends_transaction: flags & ENDS_TRANSACTION != 0,
        before: (flags & HAS_BEFORE != 0).then_some(before),
        after: (flags & HAS_AFTER != 0).then_some(after),
    };
    Ok(Some((row, at + ROW_HEADER_LEN + images_len)))
}
