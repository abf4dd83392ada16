//! Looks at what a read_committed reader of the log is shown: every change once, in the binlog's order, chained and numbered upwards.

use mysync_change::envelope::{self, Kind};
use mysync_change::image::{Image, Value};
use mysync_change::rows::{self, Operation, Row};

use super::broker::{Broker, Topics};
use super::topic::{Content, Control, Isolation, Message, Partition, Standing};
use crate::history::{Change, History, partition};
use crate::source::shape;

/// A row as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    transaction: u64,
    number: u64,
    operation: Operation,
    key: i64,
    value: Option<String>,
    /// Whether its transaction is said to end here: known where one partition holds all of it.
    ends: bool,
}

/// Panics unless the log holds all of the history from where it began, and those that it replaced a part of it.
pub fn judge(broker: &Broker, history: &History, loads: bool) {
    let state = broker.state();
    let partitions = broker.partitions();
    let mut highest = 0;
    for topics in state.former.iter().chain([&state.topics]) {
        let is_last = std::ptr::eq(topics, &state.topics);
        let above = highest;
        let mut found: Vec<_> =
            topics.partitions[..partitions].iter().map(|log| read(log, above, &mut highest)).collect();
        if partitions > 1 {
            found.iter_mut().flatten().for_each(|row| row.ends = false);
        }
        // A log that begins with a dump begins where the source was then.
        let first = found.iter().flatten().map(|row| row.transaction).min().unwrap_or(history.len() as u64);
        let begin = if loads { first } else { 0 };
        for (at, found) in found.iter().enumerate() {
            let expected = expected(history, begin, at, partitions);
            let whole = &expected[..if is_last { expected.len() } else { found.len().min(expected.len()) }];
            assert_eq!(found, whole, "partition {at}");
        }
    }
    covers(&state.topics, history);
}

/// The last checkpoint says what there is.
fn covers(topics: &Topics, history: &History) {
    let mut controls = topics.control().controls(Isolation::default()).rev();
    let last = controls.find_map(|control| match control {
        Control::Checkpoint(covered) => Some(covered),
        _ => None,
    });
    if let Some(covered) = last {
        assert!(covered.checkpoint.position.file.offset <= history.len() as u64, "{covered:?}");
        for (partition, last) in topics.partitions.iter().zip(&covered.lasts) {
            let found = committed(partition).last().map_or(0, |message| message.last);
            assert_eq!(found, *last, "the checkpoint covers exactly what is there");
        }
    }
}

/// Also what retention has deleted since.
fn committed(partition: &Partition) -> impl Iterator<Item = &Message> {
    partition.records.iter().filter(|record| record.standing == Standing::Committed).filter_map(|record| match &record
        .content
    {
        Content::Records(message) => Some(&**message),
        _ => None,
    })
}

fn read(log: &Partition, above: u64, highest: &mut u64) -> Vec<Found> {
    let (mut rows_found, mut last) = (Vec::new(), 0);
    for message in committed(log) {
        let mut at = 0;
        while let Some((envelope, next)) = envelope::read(&message.bytes, at).unwrap() {
            at = next;
            let header = envelope.header;
            assert_eq!(header.log_id, message.log_id.0);
            assert_eq!(header.prev, last, "record {} is chained to another than the one before it", header.first_seq);
            let mut row_at = 0;
            while let Some((row, next)) = rows::read(&envelope, row_at).unwrap() {
                assert!(row.seq > last && row.seq > above, "number {} was given before", row.seq);
                (row_at, last) = (next, row.seq);
                // Rows of a dump were found, not committed.
                if header.kind == Kind::Change {
                    rows_found.push(found(header.transaction.offset, &row));
                }
            }
        }
        assert_eq!(message.last, last);
    }
    *highest = (*highest).max(last);
    rows_found
}

fn found(transaction: u64, row: &Row<'_>) -> Found {
    let is_gone = matches!(row.operation, Operation::Delete | Operation::MoveOut);
    let bytes = if is_gone { row.before } else { row.after }.expect("each operation has its image");
    let shape = shape();
    let values: Vec<Value<'_>> =
        Image::new(bytes, shape.columns.len()).unwrap().values(&shape.columns).map(Result::unwrap).collect();
    let [Value::Signed(key), Value::Text(value)] = values[..] else { panic!("{values:?}") };
    let value = (!is_gone).then(|| value.to_owned());
    Found { transaction, number: row.number, operation: row.operation, key, value, ends: row.ends_transaction }
}

/// What a partition is to hold of the history.
fn expected(history: &History, begin: u64, at: usize, partitions: usize) -> Vec<Found> {
    let mut rows = Vec::new();
    for transaction in begin as usize..history.len() {
        let changes = history.transaction(transaction).unwrap();
        for (number, change) in (0..).zip(changes.iter()) {
            let halves = match change {
                Change::Put { key, value } => [Some((Operation::Insert, *key, Some(value))), None],
                Change::Remove { key } => [Some((Operation::Delete, *key, None)), None],
                Change::Move { from, to, value } => {
                    [Some((Operation::MoveOut, *from, None)), Some((Operation::MoveIn, *to, Some(value)))]
                }
            };
            for (operation, key, value) in halves.into_iter().flatten() {
                if partition(key, partitions) == at {
                    let (transaction, value) = (transaction as u64, value.cloned());
                    rows.push(Found { transaction, number, operation, key, value, ends: false });
                }
            }
        }
        if let Some(last) = rows.last_mut().filter(|_| partitions == 1) {
            last.ends = true;
        }
    }
    rows
}
