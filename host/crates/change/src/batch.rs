//! Batches: rows by column, as writers are given them.
//!
//! Built straight from the bytes of the log, one copy for each value. A batch is cut at the end of a transaction where it can be.

mod build;
mod read;
mod shapes;
mod taken;
mod transaction;

use std::io::Write as _;

use crate::envelope::TableEvent;
use crate::fence::Place;
use crate::rows::Operation;

pub use build::BatchBuilder;
pub use read::{Again, BlockReader};
pub use shapes::{Plan, PlannedShape, Shapes};
pub use taken::{ChainBroken, TakeError, Taken};

/// Values of varying length, end to end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packed {
    pub ends: Vec<u32>,
    pub data: Vec<u8>,
}

impl Packed {
    #[inline]
    pub fn push(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        self.ends.push(self.data.len() as u32);
    }

    fn push_display(&mut self, value: &impl std::fmt::Display) {
        // Writing into memory cannot fail.
        let _ = write!(self.data, "{value}");
        self.ends.push(self.data.len() as u32);
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    Signed(Vec<i64>),
    Unsigned(Vec<u64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Text(Packed),
    Bytes(Packed),
}

/// One column of some images; a bitmap that is empty has no bit set.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnValues {
    pub values: Values,
    pub nulls: Vec<u8>,
    pub absent: Vec<u8>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Images {
    pub rows: Vec<u32>,
    pub columns: Vec<ColumnValues>,
}

/// All rows of one shape in a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct TableRows {
    /// Place of the shape in the writer's list of shapes.
    pub schema: u32,
    pub numbers: Vec<u32>,
    pub sequences: Vec<u64>,
    pub operations: Vec<Operation>,
    pub before: Images,
    pub after: Images,
}

#[derive(Debug, Clone, PartialEq)]
pub struct NumberedEvent {
    pub number: u32,
    pub event: TableEvent,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transactions {
    pub starts: Vec<u32>,
    pub committed_us: Vec<u64>,
    pub ids: Packed,
    pub first_continues: bool,
    pub last_continues: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    pub tables: Vec<TableRows>,
    pub events: Vec<NumberedEvent>,
    pub transactions: Transactions,
}

/// Where batches are cut.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From here on a batch ends with the transaction it is in …
    pub rows: u32,
    pub bytes: usize,
    /// … and here in any case.
    pub rows_max: u32,
    pub bytes_max: usize,
}

/// Which records a batch covers, also those that its writer does not take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extent {
    /// The last record it covers.
    pub last: Place,
    /// Records it covers.
    pub records: u64,
    /// Rows the writer gets.
    pub rows: u32,
    /// Bytes of log it covers.
    pub bytes: usize,
    /// Commit times of its oldest and youngest transaction: microseconds since 1970; 0: it has rows of dumps alone.
    pub oldest_us: u64,
    pub youngest_us: u64,
    /// Whether it ends where a transaction ends.
    pub whole: bool,
}

impl ColumnValues {
    fn push_nothing(&mut self, index: usize, null: bool) {
        match &mut self.values {
            Values::Signed(list) => list.push(0),
            Values::Unsigned(list) => list.push(0),
            Values::Float(list) => list.push(0.0),
            Values::Double(list) => list.push(0.0),
            Values::Text(packed) | Values::Bytes(packed) => packed.push(b""),
        }
        let bitmap = if null { &mut self.nulls } else { &mut self.absent };
        if bitmap.len() <= index / 8 {
            bitmap.resize(index / 8 + 1, 0);
        }
        bitmap[index / 8] |= 1 << (index % 8);
    }
}

impl Images {
    /// Bitmaps with any bit set get their full length.
    fn finish(&mut self) {
        let len = self.rows.len().div_ceil(8);
        for column in &mut self.columns {
            for bitmap in [&mut column.nulls, &mut column.absent] {
                if !bitmap.is_empty() {
                    bitmap.resize(len, 0);
                }
            }
        }
    }
}
