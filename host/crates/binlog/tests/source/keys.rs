//! Rows under their keys: which partition keeps them, and what a log of keys is given.

use mysync_binlog::event::EventKind;
use mysync_change::envelope;
use mysync_change::key;
use mysync_change::routing::{self, Layout};
use mysync_change::rows::{self, Operation};

use crate::reader::Stream;

const TABLE: [u8; 6] = [9, 0, 0, 0, 0, 0];

/// `shop.t (id INT PRIMARY KEY, n INT NOT NULL)`.
fn table_map() -> Vec<u8> {
    let mut body = TABLE.to_vec();
    body.extend_from_slice(b"\0\0\x04shop\0\x01t\0");
    body.extend_from_slice(&[2, 3, 3, 0, 0]);
    // Names of the columns, and that the first one is the primary key.
    body.extend_from_slice(b"\x04\x05\x02id\x01n\x08\x01\0");
    body
}

/// A row; the after image of `minimal` holds the second column alone.
fn rows_event(images: &[[i32; 2]], minimal: bool) -> Vec<u8> {
    let mut body = TABLE.to_vec();
    body.extend_from_slice(&[0, 0, 2, 0, 2, 0xff]);
    if images.len() == 2 {
        body.push(if minimal { 0b10 } else { 0xff });
    }
    for (at, image) in images.iter().enumerate() {
        body.push(0);
        for number in &image[usize::from(minimal && at == 1)..] {
            body.extend_from_slice(&number.to_le_bytes());
        }
    }
    body
}

fn key(id: i64) -> Vec<u8> {
    let mut key = Vec::new();
    key::write("shop", "t", [&id.to_le_bytes()[..]].into_iter(), &mut key);
    key
}

/// What happens to a row of one key, then of another.
const EXPECTED: [(Operation, i64); 6] = [
    (Operation::Insert, 1),
    (Operation::Update, 1),
    (Operation::Update, 1),
    (Operation::MoveOut, 1),
    (Operation::MoveIn, 2),
    (Operation::Delete, 2),
];

fn stream(partitions: usize, layout: Layout) -> Stream {
    let mut stream = Stream::into_log(partitions, layout, 0);
    stream.begin("BEGIN").unwrap();
    stream.take(EventKind::TableMap as u8, &table_map()).unwrap();
    let (write, update, delete) = (EventKind::WriteRows, EventKind::UpdateRows, EventKind::DeleteRows);
    for (kind, images, minimal) in [
        (write, vec![[1, 1]], false),
        (update, vec![[1, 1], [1, 2]], false),
        // A log of keys takes whole rows alone.
        (update, vec![[1, 2], [1, 3]], layout == Layout::Runs),
        (update, vec![[1, 3], [2, 3]], false),
        (delete, vec![[2, 3]], false),
    ] {
        stream.take(kind as u8, &rows_event(&images, minimal)).unwrap();
    }
    stream.take(EventKind::Xid as u8, &[1; 8]).unwrap();
    stream.block.seal();
    stream
}

#[test]
fn a_row_is_kept_where_a_java_client_would_look_for_its_key() {
    for (partitions, layout) in [(1, Layout::Runs), (3, Layout::Runs), (3, Layout::Keyed)] {
        let (stream, mut found) = (stream(partitions, layout), Vec::new());
        for (partition, part) in stream.block.partitions().iter().enumerate() {
            let mut at = 0;
            while let Some((envelope, next)) = envelope::read(&part.bytes, at).unwrap() {
                at = next;
                let mut row_at = 0;
                while let Some((row, next)) = rows::read(&envelope, row_at).unwrap() {
                    row_at = next;
                    found.push((row.seq, row.operation, partition));
                }
            }
        }
        found.sort_unstable_by_key(|(seq, ..)| *seq);
        let found: Vec<_> = found.into_iter().map(|(_, operation, partition)| (operation, partition)).collect();
        let place = |(operation, id)| (operation, routing::partition(&key(id), partitions));
        assert_eq!(found, EXPECTED.map(place), "{partitions} partitions, {layout:?}");
    }
}

#[test]
fn a_log_of_keys_has_each_row_under_its_key_and_none_where_it_is_gone() {
    for partitions in [1, 3] {
        let (stream, mut found) = (stream(partitions, Layout::Keyed), Vec::new());
        for part in stream.block.partitions() {
            found.extend(part.messages().map(|m| (m.first_seq, m.key.unwrap().to_vec(), m.is_tombstone)));
        }
        found.sort_unstable();
        let found: Vec<_> = found.into_iter().map(|(_, key, is_tombstone)| (key, is_tombstone)).collect();
        let removes = |operation| matches!(operation, Operation::MoveOut | Operation::Delete);
        assert_eq!(found, EXPECTED.map(|(operation, id)| (key(id), removes(operation))), "{partitions} partitions");
    }
}

#[test]
fn an_update_that_would_replace_more_than_it_holds_stops_a_log_of_keys() {
    let update = |layout| {
        let mut stream = Stream::into_log(1, layout, 0);
        stream.begin("BEGIN").unwrap();
        stream.take(EventKind::TableMap as u8, &table_map()).unwrap();
        stream.take(EventKind::UpdateRows as u8, &rows_event(&[[1, 2], [1, 3]], true))
    };
    assert!(update(Layout::Runs).is_ok());
    let refused = update(Layout::Keyed).unwrap_err();
    assert!(refused.to_string().contains("shop.t comes without all of its columns"), "{refused}");
}
