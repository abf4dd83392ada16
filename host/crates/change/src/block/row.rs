//! A row that is being written.

use crate::rows::{FLAGS_AT, HAS_AFTER, HAS_BEFORE, OPERATION_AT, Operation, ROW_HEADER_LEN};

/// A row whose images are being written. Dropping it unfinished leaves a damaged block: give the block up.
#[must_use]
pub struct RowBuilder<'a> {
    pub(super) bytes: &'a mut Vec<u8>,
    pub(super) at: usize,
}

impl RowBuilder<'_> {
    /// Where images are appended: the before image first, if there is one.
    #[inline]
    pub fn images(&mut self) -> &mut Vec<u8> {
        self.bytes
    }

    /// The bytes appended so far are the before image.
    #[inline]
    pub fn end_before(&mut self) {
        let len = (self.bytes.len() - self.at - ROW_HEADER_LEN) as u32;
        self.bytes[self.at + FLAGS_AT] |= HAS_BEFORE;
        self.bytes[self.at + 14..self.at + 18].copy_from_slice(&len.to_le_bytes());
    }

    /// Corrects the operation, when the images have shown that it is another.
    pub fn operation(&mut self, operation: Operation) {
        self.bytes[self.at + OPERATION_AT] = operation as u8;
    }

    /// Everything after the before image is the after image; `after` says whether there is one.
    #[inline]
    pub fn finish(self, after: bool) {
        if after {
            self.bytes[self.at + FLAGS_AT] |= HAS_AFTER;
        }
        let len = (self.bytes.len() - self.at - 4) as u32;
        self.bytes[self.at..self.at + 4].copy_from_slice(&len.to_le_bytes());
    }
}
