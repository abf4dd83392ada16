//! A server's stream, read by two decoders at once.

use std::collections::HashMap;
use std::sync::Arc;

use mysql_common::binlog::events::{EventData, TableMapEvent};
use mysql_common::binlog::row::BinlogRow;
use mysql_common::binlog::{EventStreamReader, consts::BinlogVersion};
use mysync_binlog::connection::{ConnectionSettings, EventStream};
use mysync_binlog::decode::{Change, KeySpans, RowsEvent};
use mysync_binlog::event::{CHECKSUM_BYTES, Cursor, Event, EventKind, HEADER_BYTES};
use mysync_binlog::payload::PayloadReader;
use mysync_binlog::plan::{Plan, Plans, Selection, Table};
use mysync_change::position::FilePosition;

use crate::compare::frightens_the_oracle;

/// One row change, decoded twice.
pub struct Decoded {
    pub plan: Arc<Plan>,
    pub change: Change,
    pub before: Option<Vec<u8>>,
    pub after: Option<Vec<u8>>,
    pub key_changed: bool,
    /// The last image's key, each of its parts behind its length.
    pub key: Vec<u8>,
    pub oracle: TheirRow,
}

type TheirRow = (Option<BinlogRow>, Option<BinlogRow>);

/// Everything of one database, except columns whose name says so.
pub struct Database<'a>(pub &'a str);

impl Selection for Database<'_> {
    fn table(&self, database: &str, _: &str) -> bool {
        database == self.0
    }

    fn column(&self, _: &str, _: &str, column: &str) -> bool {
        !column.starts_with("excluded")
    }
}

/// Nothing at all: rows are only counted.
struct Nothing;

impl Selection for Nothing {
    fn table(&self, _: &str, _: &str) -> bool {
        false
    }

    fn column(&self, _: &str, _: &str, _: &str) -> bool {
        false
    }
}

/// Hands every row of `database` up to `until` to `each`.
pub async fn read((mut stream, until): (EventStream, FilePosition), database: &str, mut each: impl FnMut(Decoded)) {
    let mut cursor = Cursor::new(FilePosition { file: "".into(), offset: 4 });
    let mut payloads = PayloadReader::new(ConnectionSettings::EVENT_BYTES_MAX).unwrap();
    let mut decoders = Decoders::new(database);
    while cursor.position() < until {
        let Some(event) = stream.next_event().unwrap() else {
            stream.fill().await.unwrap();
            continue;
        };
        cursor.follow(&event).unwrap();
        if event.header.kind == EventKind::TransactionPayload {
            payloads.open(&event).unwrap();
            while let Some(event) = payloads.next_event().unwrap() {
                decoders.take(&event, &mut each);
            }
        } else {
            decoders.take(&event, &mut each);
        }
    }
}

struct Decoders<'a> {
    selection: Database<'a>,
    plans: Plans,
    counting: Plans,
    oracle: EventStreamReader,
    maps: HashMap<u64, TableMapEvent<'static>>,
}

impl<'a> Decoders<'a> {
    fn new(database: &'a str) -> Self {
        let oracle = EventStreamReader::new(BinlogVersion::Version4);
        let (plans, counting) = (Plans::default(), Plans::default());
        Self { selection: Database(database), plans, counting, oracle, maps: HashMap::new() }
    }

    fn take(&mut self, event: &Event<'_>, each: &mut impl FnMut(Decoded)) {
        match event.header.kind {
            EventKind::Query => {
                self.plans.begin_transaction();
                self.counting.begin_transaction();
            }
            EventKind::FormatDescription => {
                self.oracle.read(&*whole(event)).unwrap();
            }
            EventKind::TableMap => {
                self.plans.map(event.body, &self.selection).unwrap();
                self.counting.map(event.body, &Nothing).unwrap();
                let theirs = self.oracle.read(&*whole(event)).unwrap().unwrap();
                let Ok(Some(EventData::TableMapEvent(map))) = theirs.read_data() else { panic!("no table") };
                self.maps.insert(map.table_id(), map.into_owned());
            }
            EventKind::WriteRows | EventKind::UpdateRows | EventKind::DeleteRows => self.rows(event, each),
            _ => {}
        }
    }

    fn rows(&mut self, event: &Event<'_>, each: &mut impl FnMut(Decoded)) {
        let ours = RowsEvent::parse(event.header.kind, event.body).unwrap();
        let Table::Captured(plan) = self.plans.get(ours.table_id).unwrap() else { return };
        let Table::Other(widths) = self.counting.get(ours.table_id).unwrap() else { panic!("captured") };
        let theirs = self.oracle.read(&*whole(event)).unwrap().unwrap();
        let Some(EventData::RowsEvent(theirs)) = theirs.read_data().unwrap() else { panic!("no rows") };
        let readable = !plan.shape().columns.iter().any(frightens_the_oracle);
        let map = &self.maps[&ours.table_id];
        let mut theirs = readable.then(|| theirs.rows(map).map(|row| row.unwrap()));
        let mut count = 0;
        let mut rows = ours.rows(plan).unwrap();
        let mut skipped = ours.rows(plan).unwrap();
        let (mut before_key, mut after_key) = (KeySpans::default(), KeySpans::default());
        while !rows.is_empty() {
            let mut out = Vec::new();
            if ours.change != Change::Insert {
                rows.before(&mut out, &mut before_key).unwrap_or_else(|e| panic!("{e}"));
            }
            let middle = out.len();
            if ours.change != Change::Delete {
                rows.after(&mut out, &mut after_key).unwrap_or_else(|e| panic!("{e}: {:02x?}", event.body));
            }
            skipped.skip().unwrap();
            each(Decoded {
                plan: plan.clone(),
                change: ours.change,
                before: (middle > 0).then(|| out[..middle].to_vec()),
                after: (middle < out.len()).then(|| out[middle..].to_vec()),
                key: key(if middle < out.len() { &after_key } else { &before_key }, &out),
                key_changed: ours.change == Change::Update && before_key.changed(&after_key, &out),
                oracle: theirs.as_mut().map(|rows| rows.next().unwrap()).unwrap_or_default(),
            });
            count += 1;
        }
        assert!(theirs.is_none_or(|mut rows| rows.next().is_none()) && skipped.is_empty());
        assert_eq!(ours.count(widths), count);
    }
}

fn key(spans: &KeySpans, out: &[u8]) -> Vec<u8> {
    spans
        .parts(out)
        .flat_map(|part| (part.len() as u32).to_le_bytes().into_iter().chain(part.iter().copied()))
        .collect()
}

/// An event as it stands in a file with checksums.
fn whole(event: &Event<'_>) -> Vec<u8> {
    let header = &event.header;
    let size = (HEADER_BYTES + event.body.len() + CHECKSUM_BYTES) as u32;
    let mut bytes = header.timestamp.to_le_bytes().to_vec();
    bytes.push(header.kind as u8);
    for word in [header.server_id, size, header.end] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(&header.flags.to_le_bytes());
    bytes.extend_from_slice(event.body);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}
