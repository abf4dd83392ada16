//! Blocks of generated changes in either layout, and the batches that are made of them.

use std::sync::Arc;

use mysync_change::batch::{
    Batch, BatchBuilder, BlockReader, Extent, Limits, Plan, PlannedShape, Shapes, TakeError, Taken,
};
use mysync_change::block::BlockBuilder;
use mysync_change::envelope::{self, Kind, LogId, TableEvent};
use mysync_change::fence::Place;
use mysync_change::image::{self, Value};
use mysync_change::key;
use mysync_change::position::TransactionId;
use mysync_change::routing::Layout;
use mysync_change::rows::{self, Operation};
use mysync_change::schema::{Column, Fingerprint, Storage, TableShape};
use proptest::prelude::*;

/// The number before the first one of a block.
pub const PREV: u64 = 40;
pub const FIRST: u64 = 100;

/// What happens to the rows of two tables, each a key and a text.
#[derive(Debug, Clone)]
pub enum Step {
    Put(Operation, usize, i64, String),
    Delete(usize, i64),
    /// From one key to another.
    Move(usize, i64, i64, String),
    Event(&'static str),
}

pub fn shape(table: usize) -> Arc<TableShape> {
    let column = |name: &str, storage| Column {
        name: name.into(),
        kind: "any".into(),
        storage,
        nullable: false,
        attributes: vec![],
    };
    Arc::new(TableShape {
        database: "shop".into(),
        name: ["users", "orders"][table].into(),
        columns: vec![column("id", Storage::Signed), column("name", Storage::Text)],
        primary_key: vec![0],
    })
}

pub fn key(table: usize, id: i64) -> Vec<u8> {
    let mut key = Vec::new();
    key::write("shop", &shape(table).name, [&id.to_le_bytes()[..]].into_iter(), &mut key);
    key
}

pub fn transaction(number: usize) -> TransactionId {
    TransactionId { gtid: None, file: "binlog.000001".into(), offset: number as u64 }
}

pub fn new_block(layout: Layout) -> BlockBuilder {
    BlockBuilder::new(LogId([7; 16]), FIRST, &[PREV]).in_layout(layout)
}

pub fn put(
    block: &mut BlockBuilder,
    operation: Operation,
    (table, id): (usize, i64),
    number: u64,
    before: Option<(i64, &str)>,
    after: Option<(i64, &str)>,
) {
    let image = |out: &mut Vec<u8>, (id, name): (i64, &str)| {
        image::write(out, &[Value::Signed(id), Value::Text(name)]);
    };
    let mut row = block.keyed_row(0, &key(table, id), shape(table).fingerprint(), operation, number).unwrap();
    if let Some(before) = before {
        image(row.images(), before);
        row.end_before();
    }
    if let Some(after) = after {
        image(row.images(), after);
    }
    row.finish(after.is_some());
}

pub fn take(block: &mut BlockBuilder, step: &Step, number: u64) {
    match step {
        Step::Put(operation, table, id, name) => {
            let before = (*operation == Operation::Update).then_some((*id, "former"));
            put(block, *operation, (*table, *id), number, before, Some((*id, name)));
        }
        Step::Delete(table, id) => put(block, Operation::Delete, (*table, *id), number, Some((*id, "former")), None),
        Step::Move(table, old, new, name) => {
            let (before, after) = (Some((*old, "former")), Some((*new, name.as_str())));
            put(block, Operation::MoveOut, (*table, *old), number, before, after);
            put(block, Operation::MoveIn, (*table, *new), number, before, after);
        }
        Step::Event(what) => {
            let (database, table, statement) = ("shop".into(), "users".into(), String::new());
            let event = TableEvent { database, table, what: (*what).into(), statement };
            block.table_event(Fingerprint([0; 16]), number, &event).unwrap();
        }
    }
}

pub fn block(layout: Layout, transactions: &[Vec<Step>]) -> BlockBuilder {
    let mut block = new_block(layout);
    for (i, steps) in transactions.iter().enumerate() {
        block.begin(transaction(i), 1_000 + i as u64);
        (0..).zip(steps).for_each(|(number, step)| take(&mut block, step, number));
        block.end();
    }
    block.seal();
    block
}

pub fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let (table, id, name) = (0..2usize, 0..5i64, ".{0,6}");
    let operation = prop_oneof![Just(Operation::Insert), Just(Operation::Update)];
    let step = prop_oneof![
        8 => (operation, table.clone(), id.clone(), name).prop_map(|(o, t, id, name)| Step::Put(o, t, id, name)),
        2 => (table.clone(), id.clone()).prop_map(|(table, id)| Step::Delete(table, id)),
        2 => (table, id.clone(), id, name).prop_filter("a move", |step| step.1 != step.2)
            .prop_map(|(table, old, new, name)| Step::Move(table, old, new, name)),
        1 => prop_oneof![Just("truncate"), Just("drop")].prop_map(Step::Event),
    ];
    prop::collection::vec(prop::collection::vec(step, 1..7), 0..12)
}

pub fn planned() -> Shapes {
    let mut shapes = Shapes::default();
    for table in [0, 1] {
        let plan = Plan { columns: vec![0, 1], before: true, transaction_ids: true, ..Plan::default() };
        shapes.add(PlannedShape::new(shape(table).fingerprint(), shape(table), plan));
    }
    shapes
}

pub fn at(seq: u64) -> Place {
    Place { seq, ..Place::default() }
}

/// Every batch of a part of a log, what is left over at its end included.
pub fn batches(bytes: &[u8], limits: Limits, holes_up_to: u64) -> Result<Vec<(Batch, Extent)>, TakeError> {
    let (shapes, mut reader, mut builder) = (planned(), BlockReader::default(), BatchBuilder::new("w", limits));
    reader.refill().extend_from_slice(bytes);
    builder.pass_holes(holes_up_to);
    let (mut all, mut last) = (Vec::new(), at(PREV));
    loop {
        builder.start(&last);
        let taken = builder.take(&mut reader, None, &shapes)?;
        let (batch, extent) = builder.finish();
        last = extent.last.clone();
        if extent.records > 0 {
            all.push((batch, extent));
        }
        if taken == Taken::Block {
            return Ok(all);
        }
    }
}

pub fn wide() -> Limits {
    Limits { rows: 5, bytes: usize::MAX, rows_max: 100, bytes_max: usize::MAX }
}

/// The numbers of the records in a message, its kind, and how many envelopes it has.
pub fn read(bytes: &[u8]) -> (Vec<u64>, Kind, usize) {
    let (mut at, mut numbers, mut kind, mut envelopes) = (0, Vec::new(), Kind::Heartbeat, 0);
    while let Some((envelope, next)) = envelope::read(bytes, at).unwrap() {
        (at, kind, envelopes) = (next, envelope.header.kind, envelopes + 1);
        if kind == Kind::TableEvent {
            numbers.push(envelope.header.first_seq);
            continue;
        }
        let mut row_at = 0;
        while let Some((row, next)) = rows::read(&envelope, row_at).unwrap() {
            (row_at, _) = (next, numbers.push(row.seq));
        }
    }
    (numbers, kind, envelopes)
}
