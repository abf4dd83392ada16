//! The two layouts of a log hold the same rows: as messages, as batches, and after compaction.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use mysync_change::batch::{Batch, BatchBuilder, BlockReader, Extent, Limits, Plan, PlannedShape, Shapes};
use mysync_change::batch::{TakeError, Taken, Values};
use mysync_change::block::{BlockBuilder, MESSAGE_BYTES, Message};
use mysync_change::envelope::{self, Kind, LogId, TableEvent, chunk_id};
use mysync_change::fence::Place;
use mysync_change::image::{self, Value};
use mysync_change::key;
use mysync_change::position::TransactionId;
use mysync_change::routing::Layout;
use mysync_change::rows::{self, Operation};
use mysync_change::schema::{Column, Fingerprint, Storage, TableShape};
use proptest::prelude::*;

/// The number before the first one of a block.
const PREV: u64 = 40;
const FIRST: u64 = 100;

/// What happens to the rows of two tables, each a key and a text.
#[derive(Debug, Clone)]
enum Step {
    Put(Operation, usize, i64, String),
    Delete(usize, i64),
    /// From one key to another.
    Move(usize, i64, i64, String),
    Event(&'static str),
}

fn shape(table: usize) -> Arc<TableShape> {
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

fn key(table: usize, id: i64) -> Vec<u8> {
    let mut key = Vec::new();
    key::write("shop", &shape(table).name, [&id.to_le_bytes()[..]].into_iter(), &mut key);
    key
}

fn transaction(number: usize) -> TransactionId {
    TransactionId { gtid: None, file: "binlog.000001".into(), offset: number as u64 }
}

fn new_block(layout: Layout) -> BlockBuilder {
    BlockBuilder::new(LogId([7; 16]), FIRST, &[PREV]).in_layout(layout)
}

fn put(
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

fn take(block: &mut BlockBuilder, step: &Step, number: u64) {
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

fn block(layout: Layout, transactions: &[Vec<Step>]) -> BlockBuilder {
    let mut block = new_block(layout);
    for (i, steps) in transactions.iter().enumerate() {
        block.begin(transaction(i), 1_000 + i as u64);
        (0..).zip(steps).for_each(|(number, step)| take(&mut block, step, number));
        block.end();
    }
    block.seal();
    block
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
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

fn planned() -> Shapes {
    let mut shapes = Shapes::default();
    for table in [0, 1] {
        let plan = Plan { columns: vec![0, 1], before: true, transaction_ids: true, ..Plan::default() };
        shapes.add(PlannedShape::new(shape(table).fingerprint(), shape(table), plan));
    }
    shapes
}

fn at(seq: u64) -> Place {
    Place { seq, ..Place::default() }
}

/// Every batch of a part of a log, what is left over at its end included.
fn batches(bytes: &[u8], limits: Limits, holes_up_to: u64) -> Result<Vec<(Batch, Extent)>, TakeError> {
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

fn wide() -> Limits {
    Limits { rows: 5, bytes: usize::MAX, rows_max: 100, bytes_max: usize::MAX }
}

/// What a store that is written from batches holds in the end: rows by table and key, without those that an event took.
fn store(batches: &[(Batch, Extent)]) -> BTreeMap<(u32, i64), String> {
    let mut rows: Vec<(u64, u32, i64, Option<String>)> = Vec::new();
    for (batch, extent) in batches {
        for table in &batch.tables {
            let texts = |images: &mysync_change::batch::Images| {
                let (Values::Signed(ids), Values::Text(names)) = (&images.columns[0].values, &images.columns[1].values)
                else {
                    panic!("columns in the plan's order")
                };
                let name = |i: usize| {
                    let from = i.checked_sub(1).map_or(0, |i| names.ends[i] as usize);
                    String::from_utf8(names.data[from..names.ends[i] as usize].to_vec()).unwrap()
                };
                let row = |(i, row): (usize, &u32)| (*row, (ids[i], name(i)));
                images.rows.iter().enumerate().map(row).collect::<BTreeMap<_, _>>()
            };
            let (before, after) = (texts(&table.before), texts(&table.after));
            for (row, (seq, operation)) in (0..).zip(table.sequences.iter().zip(&table.operations)) {
                let removes = matches!(operation, Operation::Delete | Operation::MoveOut);
                let (id, name) = if removes { &before[&row] } else { &after[&row] };
                rows.push((*seq, table.schema, *id, (!removes).then(|| name.clone())));
            }
        }
        if !batch.events.is_empty() {
            // Of the first table, all of it.
            rows.extend((0..5).map(|id| (extent.last.seq, 0, id, None)));
        }
    }
    rows.sort_by_key(|(seq, ..)| *seq);
    let mut store = BTreeMap::new();
    for (_, table, id, name) in rows {
        match name {
            Some(name) => _ = store.insert((table, id), name),
            None => _ = store.remove(&(table, id)),
        }
    }
    store
}

/// The messages that compaction leaves of a sealed block; tombstones behind the first `known` ones.
fn compacted(messages: &[Message<'_>], up_to: usize, tombstones_from: usize) -> Vec<u8> {
    let newest = |i: usize| messages[i + 1..up_to].iter().all(|later| later.key != messages[i].key);
    let stays = |i: usize| i >= up_to || newest(i) && (!messages[i].is_tombstone || i >= tombstones_from);
    let left = messages.iter().enumerate().filter(|(i, _)| stays(*i));
    left.flat_map(|(_, message)| message.bytes).copied().collect()
}

/// The numbers of the records in a message, its kind, and how many envelopes it has.
fn read(bytes: &[u8]) -> (Vec<u64>, Kind, usize) {
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

proptest! {
    #[test]
    fn both_layouts_give_the_same_batches(transactions in steps(), rows in 1u32..9, more in 0u32..9) {
        let limits = Limits { rows, bytes: usize::MAX, rows_max: rows + more, bytes_max: usize::MAX };
        let [runs, keyed] = [Layout::Runs, Layout::Keyed]
            .map(|layout| batches(&block(layout, &transactions).partitions()[0].bytes, limits, 0).unwrap());
        prop_assert_eq!(runs, keyed);
    }

    #[test]
    fn messages_hold_every_record_and_know_which(transactions in steps()) {
        for layout in [Layout::Runs, Layout::Keyed] {
            let block = block(layout, &transactions);
            let part = &block.partitions()[0];
            let messages: Vec<_> = part.messages().collect();
            let bytes: Vec<u8> = messages.iter().flat_map(|message| message.bytes).copied().collect();
            prop_assert_eq!(&bytes, &part.bytes);
            for message in &messages {
                let (numbers, kind, envelopes) = read(message.bytes);
                prop_assert_eq!(Some(&message.first_seq), numbers.first());
                prop_assert_eq!(Some(&message.last_seq), numbers.last());
                prop_assert_eq!(message.key.is_some(), layout == Layout::Keyed);
                prop_assert!(layout == Layout::Runs || numbers.len() == 1 && envelopes == 1);
                prop_assert!(!message.is_tombstone || layout == Layout::Keyed && kind == Kind::Change);
            }
            let expected = transactions.concat().iter().flat_map(|step| match step {
                Step::Put(_, table, id, _) => vec![(Some(key(*table, *id)), false)],
                Step::Delete(table, id) => vec![(Some(key(*table, *id)), true)],
                Step::Move(table, old, new, _) => vec![(Some(key(*table, *old)), true), (Some(key(*table, *new)), false)],
                Step::Event(_) => vec![(None, false)],
            }).collect::<Vec<_>>();
            if layout == Layout::Keyed {
                prop_assert_eq!(messages.len(), expected.len());
                for (message, (key, removes)) in messages.iter().zip(expected) {
                    prop_assert!(key.is_none_or(|key| Some(&*key) == message.key));
                    prop_assert_eq!(message.is_tombstone, removes);
                }
                let mut keys: Vec<_> = messages.iter().filter(|m| read(m.bytes).1 == Kind::TableEvent).map(|m| m.key).collect();
                let events = keys.len();
                keys.sort_unstable();
                keys.dedup();
                prop_assert_eq!(keys.len(), events, "two events have one key");
            }
        }
    }

    #[test]
    fn a_compacted_log_rebuilds_the_store(
        transactions in steps(), cut in any::<prop::sample::Index>(), tombstones in any::<prop::sample::Index>(), rows in 1u32..9,
    ) {
        let block = block(Layout::Keyed, &transactions);
        let part = &block.partitions()[0];
        let messages: Vec<_> = part.messages().collect();
        let limits = Limits { rows, ..wide() };
        let whole = batches(&part.bytes, limits, 0).unwrap();
        // Compaction has come to some message, and has forgotten tombstones up to an earlier one.
        let up_to = cut.index(messages.len() + 1);
        let left = compacted(&messages, up_to, tombstones.index(up_to + 1));
        let bound = messages[..up_to].last().map_or(0, |message| message.last_seq);
        let rebuilt = batches(&left, limits, bound).unwrap();
        prop_assert_eq!(store(&rebuilt), store(&whole));
        let is_split = |(_, extent): &(Batch, Extent)| !extent.whole && extent.last.seq <= bound;
        prop_assert!(!rebuilt.iter().any(is_split), "a batch waits for the end of a transaction that is gone");
    }
}

/// A block with one row in each of three transactions.
fn three() -> BlockBuilder {
    let row = |id| vec![Step::Put(Operation::Insert, 0, id, "x".into())];
    block(Layout::Keyed, &[row(1), row(2), row(3)])
}

/// The bytes of some of a block's messages.
fn some_of(block: &BlockBuilder, places: &[usize]) -> Vec<u8> {
    let messages: Vec<_> = block.partitions()[0].messages().collect();
    places.iter().flat_map(|place| messages[*place].bytes).copied().collect()
}

fn last_seq(taken: &[(Batch, Extent)]) -> u64 {
    taken.last().map_or(PREV, |(_, extent)| extent.last.seq)
}

#[test]
fn a_hole_stops_who_goes_on_and_not_who_rebuilds() {
    let bytes = some_of(&three(), &[0, 2]);
    // What is missing is the record 101.
    for (holes_up_to, taken) in [(0, false), (100, false), (101, true), (500, true)] {
        match batches(&bytes, wide(), holes_up_to) {
            Ok(batches) => assert!(taken && last_seq(&batches) == 102, "{holes_up_to}"),
            Err(TakeError::Chain(broken)) => {
                assert!(!taken, "{holes_up_to}");
                assert_eq!((broken.expected, broken.found, broken.at), (100, 101, 102));
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[test]
fn a_log_that_was_cut_and_grew_again_is_no_hole() {
    // The store has come to 101, and the log goes on behind 40.
    let (shapes, mut reader, mut builder) = (planned(), BlockReader::default(), BatchBuilder::new("w", wide()));
    let mut regrown = BlockBuilder::new(LogId([7; 16]), 200, &[PREV]).in_layout(Layout::Keyed);
    regrown.begin(transaction(9), 1);
    take(&mut regrown, &Step::Delete(0, 1), 0);
    regrown.end();
    regrown.seal();
    reader.refill().extend_from_slice(&regrown.partitions()[0].bytes);
    builder.pass_holes(u64::MAX);
    builder.start(&at(101));
    let taken = builder.take(&mut reader, None, &shapes);
    assert!(matches!(taken, Err(TakeError::Chain(broken)) if (broken.expected, broken.found) == (101, PREV)));
}

#[test]
fn an_event_behind_a_hole_is_taken_too() {
    let put = |id| Step::Put(Operation::Insert, 0, id, "x".into());
    let block = block(Layout::Keyed, &[vec![put(1)], vec![put(2)], vec![Step::Event("truncate")]]);
    let bytes = some_of(&block, &[0, 2]);
    assert!(matches!(batches(&bytes, wide(), 100), Err(TakeError::Chain(_))));
    let taken = batches(&bytes, wide(), 102).unwrap();
    assert_eq!((taken.len(), taken[1].0.events.len(), last_seq(&taken)), (2, 1, 102));
}

#[test]
fn a_transaction_whose_end_is_gone_does_not_hold_up_a_rebuild() {
    let put = |id| Step::Put(Operation::Insert, 0, id, "x".into());
    let block = block(Layout::Keyed, &[vec![put(1), put(2)]]);
    let bytes = some_of(&block, &[0]);
    assert!(!batches(&bytes, wide(), 0).unwrap()[0].1.whole, "its end is on its way");
    assert!(batches(&bytes, wide(), 101).unwrap()[0].1.whole, "its end may be gone");
}

#[test]
fn a_repair_for_one_writer_takes_no_row_from_the_others() {
    for (layout, rows) in [(Layout::Runs, 0), (Layout::Keyed, 1)] {
        let mut block = new_block(layout);
        block.begin_chunk(chunk_id(1, 1), 1, Some("another".into()));
        put(&mut block, Operation::Read, (0, 1), 0, None, Some((1, "x")));
        block.end();
        block.seal();
        let taken = batches(&block.partitions()[0].bytes, wide(), 0).unwrap();
        assert_eq!(taken[0].1.rows, rows, "{layout:?}");
    }
}

fn insert(bytes: usize) -> Step {
    Step::Put(Operation::Insert, 0, 1, "t".repeat(bytes))
}

/// How many records each message has.
fn shares(transactions: &[Vec<Step>]) -> Vec<usize> {
    let block = block(Layout::Runs, transactions);
    block.partitions()[0].messages().map(|message| read(message.bytes).0.len()).collect()
}

#[test]
fn small_envelopes_and_small_rows_share_messages() {
    for transactions in [vec![vec![insert(1000)]; 600], vec![vec![insert(1000); 600]]] {
        let block = block(Layout::Runs, &transactions);
        let sizes: Vec<usize> = block.partitions()[0].messages().map(|message| message.bytes.len()).collect();
        assert_eq!(sizes.len(), 3, "{sizes:?}");
        assert!(sizes.iter().all(|size| *size < MESSAGE_BYTES + 1100), "{sizes:?}");
    }
}

#[test]
fn a_large_row_is_not_refused_for_what_stands_before_it() {
    let large = || insert(2 * MESSAGE_BYTES);
    let few = |last: Vec<Step>| [vec![insert(10); 3], last].concat();
    for (transactions, expected) in [
        (vec![few(vec![large()])], vec![3, 1]),
        (vec![few(vec![large(), insert(10), insert(10)])], vec![3, 1, 2]),
        (vec![few(vec![]), vec![large()], vec![insert(10)]], vec![3, 1, 1]),
        // Its transaction's end is marked when its envelope is closed.
        (vec![few(vec![large(), Step::Event("drop")]), vec![insert(10)]], vec![3, 1, 2]),
        (vec![vec![large(), large()]], vec![1, 1]),
    ] {
        assert_eq!(shares(&transactions), expected);
        let [runs, keyed] = [Layout::Runs, Layout::Keyed]
            .map(|layout| batches(&block(layout, &transactions).partitions()[0].bytes, wide(), 0).unwrap());
        assert_eq!(runs, keyed);
    }
}

#[test]
fn what_is_discarded_leaves_no_message_behind() {
    for layout in [Layout::Runs, Layout::Keyed] {
        let mut block = block(layout, &[vec![Step::Event("drop"), Step::Delete(0, 1)]]);
        block.discard();
        assert_eq!(block.partitions()[0].messages().len(), 0);
        block.begin(transaction(1), 1);
        take(&mut block, &Step::Delete(1, 2), 0);
        block.end();
        block.seal();
        let message = block.partitions()[0].messages().next().unwrap();
        assert_eq!((message.first_seq, message.last_seq), (FIRST, FIRST));
        assert_eq!(message.key, (layout == Layout::Keyed).then_some(&*key(1, 2)));
    }
}
