//! Batches of any changes, on the way that they take in the program: written into a block, read out of it by column.

use std::sync::Arc;

use mysync_change::batch::{Batch, BatchBuilder, BlockReader, Limits, Plan, PlannedShape, Shapes, Taken};
use mysync_change::block::BlockBuilder;
use mysync_change::envelope::{LogId, TableEvent};
use mysync_change::fence::Place;
use mysync_change::image::{self, Value};
use mysync_change::position::TransactionId;
use mysync_change::rows::Operation;
use mysync_change::schema::TableShape;

/// When everything here was committed: microseconds since 1970.
pub const COMMITTED_US: u64 = 1_790_000_000_000_000;

pub type Values<'a> = Vec<Value<'a>>;

/// What happens in a transaction of its own.
#[derive(Debug, Clone)]
pub enum Change<'a> {
    Insert(Values<'a>),
    Update(Values<'a>, Values<'a>),
    Delete(Values<'a>),
    /// A changed key: two rows, the halves.
    Move(Values<'a>, Values<'a>),
    /// Of a table of the shape's database, or with `*` of all of them.
    Event(&'a str, &'a str),
}

/// The changes of a table, whose id is 0, as its plan asks for them: rows, or one event.
pub fn batch(shape: &TableShape, plan: &Plan, changes: &[Change<'_>]) -> Batch {
    let shape = Arc::new(shape.clone());
    let fingerprint = shape.fingerprint();
    let mut block = BlockBuilder::new(LogId([1; 16]), 1, &[0]);
    let row = |block: &mut BlockBuilder, operation, before: Option<&Values<'_>>, after: Option<&Values<'_>>| {
        let mut row = block.row(0, fingerprint, operation, 0).expect("a row");
        if let Some(before) = before {
            image::write(row.images(), before);
            row.end_before();
        }
        if let Some(after) = after {
            image::write(row.images(), after);
        }
        row.finish(after.is_some());
    };
    for (offset, change) in changes.iter().enumerate() {
        block.begin(TransactionId { gtid: None, file: "binlog.000001".into(), offset: offset as u64 }, COMMITTED_US);
        match change {
            Change::Insert(after) => row(&mut block, Operation::Insert, None, Some(after)),
            Change::Update(before, after) => row(&mut block, Operation::Update, Some(before), Some(after)),
            Change::Delete(before) => row(&mut block, Operation::Delete, Some(before), None),
            Change::Move(before, after) => {
                row(&mut block, Operation::MoveOut, Some(before), Some(after));
                row(&mut block, Operation::MoveIn, Some(before), Some(after));
            }
            Change::Event(table, what) => {
                let (database, table) = (shape.database.clone(), (*table).to_owned());
                let event = TableEvent { database, table, what: (*what).to_owned(), statement: String::new() };
                block.table_event(fingerprint, 0, &event).expect("an event");
            }
        }
        block.end();
    }
    block.seal();

    let mut shapes = Shapes::default();
    shapes.add(PlannedShape::new(fingerprint, shape, plan.clone()));
    let mut reader = BlockReader::default();
    reader.refill().extend_from_slice(&block.partitions()[0].bytes);
    let all = Limits { rows: u32::MAX, bytes: usize::MAX, rows_max: u32::MAX, bytes_max: usize::MAX };
    let mut builder = BatchBuilder::new("w", all);
    builder.start(&Place::default());
    let taken = builder.take(&mut reader, None, &shapes).expect("records that can be read");
    assert_eq!(taken, Taken::Block, "these are no single batch: an event is alone in its own");
    builder.finish().0
}
