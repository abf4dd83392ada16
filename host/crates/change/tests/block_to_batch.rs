//! What capture writes into blocks is what writers are given, however batches are cut.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use mysync_change::batch::{
    Again, BatchBuilder, BlockReader, Limits, Plan, PlannedShape, Shapes, TakeError, Taken, Values,
};
use mysync_change::block::BlockBuilder;
use mysync_change::envelope::{self, LogId, TableEvent, chunk_id};
use mysync_change::fence::Place;
use mysync_change::image::{self, Value};
use mysync_change::position::TransactionId;
use mysync_change::rows::Operation;
use mysync_change::schema::{Column, Fingerprint, Storage, TableShape};
use proptest::prelude::*;

fn shape() -> Arc<TableShape> {
    let column = |name: &str, storage| Column {
        name: name.into(),
        kind: "any".into(),
        storage,
        nullable: true,
        attributes: vec![],
    };
    Arc::new(TableShape {
        database: "shop".into(),
        name: "users".into(),
        columns: vec![
            column("id", Storage::Signed),
            column("name", Storage::Text),
            column("score", Storage::Double),
            column("n", Storage::Unsigned),
            column("raw", Storage::Bytes),
            column("f", Storage::Float),
        ],
        primary_key: vec![0],
    })
}

/// One change: its id, and its name unless NULL.
type Change = (i64, Option<String>);

fn images(out: &mut Vec<u8>, (id, name): &Change) {
    let name = name.as_deref().map_or(Value::Null, Value::Text);
    image::write(
        out,
        &[Value::Signed(*id), name, Value::Double(0.5), Value::Unsigned(u64::MAX), Value::Bytes(b"\0x"), Value::Absent],
    );
}

fn block(transactions: &[Vec<Change>]) -> BlockBuilder {
    let shape = shape();
    let fingerprint = shape.fingerprint();
    let mut block = BlockBuilder::new(LogId([7; 16]), 100, &[40]);
    block.shape(fingerprint, shape);
    for (i, changes) in transactions.iter().enumerate() {
        let id = TransactionId { gtid: None, file: "binlog.000001".into(), offset: i as u64 };
        block.begin(id, 1_000 + i as u64);
        for (number, change) in changes.iter().enumerate() {
            let mut row = block.row(0, fingerprint, Operation::Update, number as u64).unwrap();
            images(row.images(), change);
            row.end_before();
            images(row.images(), change);
            row.finish(true);
        }
        block.end();
    }
    block.seal();
    block
}

fn planned(columns: &[u16]) -> Shapes {
    let shape = shape();
    let plan = Plan { columns: columns.to_vec(), before: true, ..Plan::default() };
    let mut shapes = Shapes::default();
    shapes.add(PlannedShape::new(shape.fingerprint(), shape, plan));
    shapes
}

fn at(seq: u64) -> Place {
    Place { seq, ..Place::default() }
}

/// Every change in order with its transaction's commit time, and where batches ended.
fn deliver(block: &BlockBuilder, limits: Limits) -> (Vec<Change>, Vec<Place>, Vec<u64>) {
    let shapes = planned(&[1, 0]);
    let mut reader = BlockReader::default();
    reader.refill().extend_from_slice(&block.partitions()[0].bytes);
    let mut builder = BatchBuilder::new("w", limits);
    let (mut changes, mut ends, mut commits) = (vec![], vec![], vec![]);
    let mut last = at(40);
    loop {
        builder.start(&last);
        let taken = builder.take(&mut reader, None, &shapes).unwrap();
        let (batch, extent) = builder.finish();
        for table in &batch.tables {
            let (Values::Text(names), Values::Signed(ids)) =
                (&table.after.columns[0].values, &table.after.columns[1].values)
            else {
                panic!("columns in the plan's order");
            };
            assert_eq!(table.before.columns, table.after.columns);
            assert_eq!(table.numbers, (0..extent.rows).collect::<Vec<_>>());
            let mut from = 0;
            for (i, id) in ids.iter().enumerate() {
                let end = names.ends[i] as usize;
                let null = table.after.columns[0].nulls.get(i / 8).is_some_and(|b| b >> (i % 8) & 1 == 1);
                let name = String::from_utf8(names.data[from..end].to_vec()).unwrap();
                changes.push((*id, (!null).then_some(name)));
                from = end;
                let transaction = batch.transactions.starts.iter().rposition(|start| *start as usize <= i).unwrap();
                commits.push(batch.transactions.committed_us[transaction]);
            }
        }
        if extent.records > 0 {
            assert!(extent.whole || extent.rows >= limits.rows_max, "cut inside a transaction that fits");
            ends.push(extent.last.clone());
        }
        last = extent.last;
        if taken == Taken::Block {
            return (changes, ends, commits);
        }
    }
}

proptest! {
    #[test]
    fn rows_arrive_once_in_order_however_batches_are_cut(
        transactions in prop::collection::vec(prop::collection::vec((any::<i64>(), prop::option::of(".{0,12}")), 1..9), 0..20),
        rows in 1u32..12, more in 0u32..12,
    ) {
        let block = block(&transactions);
        let limits = Limits { rows, bytes: usize::MAX, rows_max: rows + more, bytes_max: usize::MAX };
        let (changes, ends, commits) = deliver(&block, limits);
        prop_assert_eq!(&changes, &transactions.concat());
        let expected: Vec<u64> = transactions.iter().enumerate().flat_map(|(i, t)| vec![1_000 + i as u64; t.len()]).collect();
        prop_assert_eq!(commits, expected);
        prop_assert_eq!(ends.last().map_or(40, |place| place.seq), if changes.is_empty() { 40 } else { 99 + changes.len() as u64 });
    }

    #[test]
    fn damaged_blocks_are_errors(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>()) {
        let block = block(&[vec![(1, None), (2, Some("b".into()))], vec![(3, Some("c".into()))]]);
        let mut bytes = block.partitions()[0].bytes.clone();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let mut reader = BlockReader::default();
        reader.refill().extend_from_slice(&bytes);
        let mut builder = BatchBuilder::new("w", Limits { rows: 9, bytes: 1 << 20, rows_max: 9, bytes_max: 1 << 20 });
        builder.start(&at(40));
        // Any answer will do, as long as it is one.
        let _ = builder.take(&mut reader, None, &planned(&[0, 1, 2, 3, 4, 5]));
        builder.finish();
    }
}

#[test]
fn an_event_of_a_table_shares_its_batch_with_no_row() {
    let (shapes, shape) = (planned(&[0]), shape());
    let mut block = BlockBuilder::new(LogId([7; 16]), 100, &[40]);
    let row = |block: &mut BlockBuilder, offset| {
        block.begin(TransactionId { gtid: None, file: "binlog.000001".into(), offset }, 1);
        let mut row = block.row(0, shape.fingerprint(), Operation::Insert, 0).unwrap();
        images(row.images(), &(1, None));
        row.finish(true);
        block.end();
    };
    row(&mut block, 1);
    block.begin(TransactionId { gtid: None, file: "binlog.000001".into(), offset: 2 }, 1);
    let event = |table: &str| TableEvent {
        database: "shop".into(),
        table: table.into(),
        what: "drop".into(),
        statement: "DROP TABLE a, b".into(),
    };
    block.table_event(Fingerprint([0; 16]), 0, &event("a")).unwrap();
    block.table_event(Fingerprint([0; 16]), 0, &event("b")).unwrap();
    block.end();
    row(&mut block, 3);
    block.seal();
    let mut reader = BlockReader::default();
    reader.refill().extend_from_slice(&block.partitions()[0].bytes);
    let mut builder = BatchBuilder::new("w", Limits { rows: 9, bytes: 1 << 20, rows_max: 9, bytes_max: 1 << 20 });
    let (mut batches, mut last) = (Vec::new(), at(40));
    loop {
        builder.start(&last);
        let taken = builder.take(&mut reader, None, &shapes).unwrap();
        let (batch, extent) = builder.finish();
        batches.push((batch.tables.len(), batch.events.len(), extent.last.seq));
        last = extent.last;
        if taken == Taken::Block {
            break;
        }
    }
    assert_eq!(batches, [(1, 0, 100), (0, 1, 101), (0, 1, 102), (1, 0, 103)]);
}

#[test]
fn a_hole_in_the_chain_is_found() {
    let block = block(&[vec![(1, None)]]);
    let mut reader = BlockReader::default();
    reader.refill().extend_from_slice(&block.partitions()[0].bytes);
    let mut builder = BatchBuilder::new("w", Limits { rows: 9, bytes: 1 << 20, rows_max: 9, bytes_max: 1 << 20 });
    builder.start(&at(39));
    let Err(TakeError::Chain(broken)) = builder.take(&mut reader, None, &planned(&[0])) else {
        panic!("no hole found")
    };
    assert_eq!((broken.expected, broken.found, broken.at), (39, 40, 100));
}

#[test]
fn a_shape_that_was_not_shown_is_asked_for_and_nothing_is_taken_before() {
    let block = block(&[vec![(1, None), (2, None)]]);
    let mut reader = BlockReader::default();
    reader.refill().extend_from_slice(&block.partitions()[0].bytes);
    let mut builder = BatchBuilder::new("w", Limits { rows: 9, bytes: 1 << 20, rows_max: 9, bytes_max: 1 << 20 });
    builder.start(&at(40));
    assert!(matches!(builder.take(&mut reader, None, &Shapes::default()), Err(TakeError::Shape(_))));
    builder.take(&mut reader, None, &planned(&[0])).unwrap();
    let (batch, extent) = builder.finish();
    assert_eq!((extent.rows, batch.transactions.starts), (2, vec![0]));
    assert!(!batch.transactions.first_continues && !batch.transactions.last_continues);
}

/// One transaction: an update, a changed key, an update; the table is also there as one that the writer does not take.
fn a_changed_key(sent: bool) -> (BlockBuilder, Shapes) {
    let shape = shape();
    let fingerprint = shape.fingerprint();
    let mut block = BlockBuilder::new(LogId([7; 16]), 100, &[40]);
    block.shape(fingerprint, shape.clone());
    block.begin(TransactionId { gtid: None, file: "binlog.000001".into(), offset: 4 }, 1_000);
    let operations = [(Operation::Update, 0), (Operation::MoveOut, 1), (Operation::MoveIn, 1), (Operation::Update, 2)];
    for (operation, number) in operations {
        let mut row = block.row(0, fingerprint, operation, number).unwrap();
        images(row.images(), &(1, None));
        row.end_before();
        images(row.images(), &(2, None));
        row.finish(true);
    }
    block.end();
    block.seal();
    let mut shapes = Shapes::default();
    let plan = Plan { columns: vec![0], before: true, ignore: !sent, ..Plan::default() };
    shapes.add(PlannedShape::new(fingerprint, shape, plan));
    (block, shapes)
}

#[test]
fn the_halves_of_a_changed_key_are_never_cut_apart() {
    let (block, shapes) = a_changed_key(true);
    let mut ends = Vec::new();
    let mut reader = BlockReader::default();
    reader.refill().extend_from_slice(&block.partitions()[0].bytes);
    let mut builder = BatchBuilder::new("w", Limits { rows: 1, bytes: 1, rows_max: 1, bytes_max: 1 });
    builder.start(&at(40));
    while builder.take(&mut reader, None, &shapes).unwrap() == Taken::Full {
        ends.push(builder.extent().last.seq);
        let last = builder.extent().last.clone();
        builder.start(&last);
    }
    assert_eq!((ends, builder.extent().last.seq), (vec![100, 102], 103));
}

#[test]
fn rows_of_others_do_not_tear_a_transaction() {
    let (block, shapes) = a_changed_key(false);
    let mut reader = BlockReader::default();
    reader.refill().extend_from_slice(&block.partitions()[0].bytes);
    let mut builder = BatchBuilder::new("w", Limits { rows: 1, bytes: 1, rows_max: 1, bytes_max: 1 });
    builder.start(&at(40));
    assert_eq!(builder.take(&mut reader, None, &shapes).unwrap(), Taken::Block);
    assert_eq!(builder.extent().last.seq, 103);
}

#[test]
fn where_the_whole_transactions_of_a_batch_end_is_known() {
    let block = block(&[vec![(1, None), (2, None)], vec![(3, None), (4, None)]]);
    let mut builder = BatchBuilder::new("w", Limits { rows: 9, bytes: 1 << 20, rows_max: 9, bytes_max: 1 << 20 });
    for (start, end, boundary) in
        [(40, 40, 40), (40, 100, 40), (40, 101, 101), (40, 102, 101), (40, 103, 103), (100, 102, 101), (102, 103, 103)]
    {
        let mut reader = BlockReader::default();
        reader.refill().extend_from_slice(&block.partitions()[0].bytes);
        builder.start(&at(start));
        builder.take(&mut reader, Some(end), &planned(&[0])).unwrap();
        assert_eq!((builder.extent().last.seq, builder.boundary()), (end, boundary), "from {start}");
    }
}

#[test]
fn a_replay_ends_where_the_batch_ended_before() {
    let block = block(&[vec![(1, None), (2, None)], vec![(3, None), (4, None)]]);
    let mut reader = BlockReader::default();
    reader.refill().extend_from_slice(&block.partitions()[0].bytes);
    let mut builder = BatchBuilder::new("w", Limits { rows: 1, bytes: 1 << 20, rows_max: 9, bytes_max: 1 << 20 });
    builder.start(&at(100));
    assert_eq!(builder.take(&mut reader, Some(102), &planned(&[0])).unwrap(), Taken::Full);
    assert_eq!(builder.finish().1.last.seq, 102, "whatever the limits");
}

#[test]
fn a_place_is_found_again_under_its_new_number() {
    let block = block(&[vec![(1, None), (2, None)], vec![(3, None)]]);
    let mut reader = BlockReader::default();
    reader.refill().extend_from_slice(&block.partitions()[0].bytes);
    let place = Place { seq: 77, transaction: "binlog.000001:0".into(), row: 1, second: false };
    let mut checked = 0;
    let found = Place { seq: 101, ..place.clone() };
    assert_eq!(reader.find(40, &place, &mut checked).unwrap(), Some(Again::At(found)));
    let missing = Place { row: 9, ..place };
    checked = 0;
    assert_eq!((reader.find(40, &missing, &mut checked).unwrap(), checked), (None, 3));
    assert_eq!(
        (reader.last_seq(), reader.before(101).unwrap(), reader.before(102).unwrap()),
        (Some(102), Some(101), None)
    );
}

#[test]
fn a_chunk_of_a_dump_on_the_way_to_a_place_is_told() {
    let shape = shape();
    let mut block = BlockBuilder::new(LogId([7; 16]), 100, &[90]);
    block.begin_chunk(chunk_id(3, 7), 1_000, Some("w".into()));
    let mut row = block.row(0, shape.fingerprint(), Operation::Read, 0).unwrap();
    images(row.images(), &(1, None));
    row.finish(true);
    block.end();
    block.seal();
    let mut reader = BlockReader::default();
    reader.refill().extend_from_slice(&block.partitions()[0].bytes);
    let place = Place { seq: 77, transaction: "binlog.000001:0".into(), row: 1, second: false };
    assert_eq!(reader.find(95, &place, &mut 0).unwrap(), Some(Again::Chunk));
    assert_eq!(reader.before(95).unwrap(), Some(90));
    // The rows are for one writer alone; any other one passes over them.
    for (writer, rows) in [("w", 1), ("other", 0)] {
        reader.refill().extend_from_slice(&block.partitions()[0].bytes);
        let mut builder =
            BatchBuilder::new(writer, Limits { rows: 9, bytes: 1 << 20, rows_max: 9, bytes_max: 1 << 20 });
        builder.start(&at(90));
        assert_eq!(builder.take(&mut reader, None, &planned(&[0])).unwrap(), Taken::Block);
        let (batch, extent) = builder.finish();
        assert_eq!((extent.rows, extent.records, extent.whole), (rows, 1, true), "{writer}");
        assert!(batch.tables.iter().all(|table| table.operations == [Operation::Read]));
        assert!(extent.last.is_of_dump() && extent.last.transaction == "dump/3:7", "{:?}", extent.last);
    }
}

#[test]
fn every_partition_that_a_transaction_touched_knows_that_it_ended() {
    let shape = shape();
    let mut block = BlockBuilder::new(LogId([7; 16]), 100, &[0, 0, 0]);
    block.shape(shape.fingerprint(), shape.clone());
    block.begin(TransactionId { gtid: None, file: "binlog.000001".into(), offset: 4 }, 1_000);
    for (number, partition) in [0, 1, 0].into_iter().enumerate() {
        let mut row = block.row(partition, shape.fingerprint(), Operation::Insert, number as u64).unwrap();
        images(row.images(), &(number as i64, None));
        row.finish(true);
    }
    // Sealed inside the transaction: partition 1 may get nothing more of it, and must not wait for that.
    block.seal();
    for partition in [0, 1] {
        let mut reader = BlockReader::default();
        reader.refill().extend_from_slice(&block.partitions()[partition].bytes);
        let mut builder = BatchBuilder::new("w", Limits { rows: 9, bytes: 1 << 20, rows_max: 9, bytes_max: 1 << 20 });
        builder.start(&Place::default());
        builder.take(&mut reader, None, &planned(&[0])).unwrap();
        assert!(builder.extent().whole, "partition {partition} waits for ever");
    }
    assert!(block.partitions()[2].is_empty());
}

#[test]
fn discarded_rows_give_their_numbers_back() {
    let mut block = block(&[vec![(1, None), (2, None)]]);
    assert_eq!(block.next_seq(), 102);
    block.discard();
    assert_eq!((block.next_seq(), block.is_empty()), (100, true));
}

#[test]
fn a_record_from_the_future_is_refused() {
    let mut bytes = envelope::write_schema(LogId([1; 16]), &shape()).unwrap();
    assert_eq!(envelope::read_schema(&bytes).unwrap().1, *shape());
    bytes[4] = envelope::VERSION + 1;
    assert_eq!(envelope::read_schema(&bytes).unwrap_err().code(), "RECORD_VERSION");
}
