//! Events into a block: what a transaction leaves there, and what is never gone past.

use mysync_binlog::event::{Checksum, EventKind, Framing};
use mysync_binlog::source::{EventReader, Selected, Step, StreamError, XA_BYTES_MAX};
use mysync_change::block::{BLOCK_BYTES, BlockBuilder};
use mysync_change::envelope::{self, Kind, LogId, TableEvent};
use mysync_change::pattern::Pattern;
use mysync_change::position::{Checkpoint, FilePosition, GtidSet, SourcePosition};
use mysync_change::routing::Layout;
use mysync_change::rows;

use crate::bytes::plain_event;

const GTID: u8 = EventKind::Gtid as u8;
const QUERY: u8 = EventKind::Query as u8;
const XID: u8 = EventKind::Xid as u8;
const XA_PREPARE: u8 = EventKind::XaPrepare as u8;
const TABLE_MAP: u8 = EventKind::TableMap as u8;
const WRITE_ROWS: u8 = EventKind::WriteRows as u8;
const ROTATE: u8 = EventKind::Rotate as u8;
const PAYLOAD: u8 = EventKind::TransactionPayload as u8;

/// A record that was stored: what it is, and whether delivery knows behind it that no more comes.
type Stored = (String, bool);

pub struct Stream {
    reader: EventReader,
    pub block: BlockBuilder,
    stored: Vec<Stored>,
    transactions: u64,
    end: u32,
}

impl Stream {
    fn from(rows_of_next: u64) -> Self {
        Self::into_log(1, Layout::Runs, rows_of_next)
    }

    /// Captures tables of `shop`, not those of others.
    pub fn into_log(partitions: usize, layout: Layout, rows_of_next: u64) -> Self {
        let file = FilePosition { file: "binlog.000001".into(), offset: 4 };
        let position = SourcePosition { gtids: Some(GtidSet::default()), file };
        let from = Checkpoint { rows_of_next, ..Checkpoint::new(position, String::new()) };
        let selected = Selected { tables: vec![Pattern::new("shop.*")], ..Selected::default() };
        Self {
            reader: EventReader::new(selected, 1 << 30, &from, true).unwrap(),
            block: BlockBuilder::new(LogId([7; 16]), 1, &vec![0; partitions]).in_layout(layout),
            stored: Vec::new(),
            transactions: 0,
            end: 4,
        }
    }

    pub fn take(&mut self, kind: u8, body: &[u8]) -> Result<(), StreamError> {
        self.end += 19 + body.len() as u32;
        let bytes = plain_event(kind, body, self.end);
        let event = Framing::new(Checksum::None).event(&bytes).unwrap();
        let mut step = self.reader.take(&event, &mut self.block)?;
        while step == Step::Full {
            self.store();
            step = self.reader.go_on(&mut self.block)?;
        }
        Ok(())
    }

    fn store(&mut self) {
        self.block.seal();
        let bytes = &self.block.partitions()[0].bytes;
        let mut at = 0;
        while let Some((envelope, next)) = envelope::read(bytes, at).unwrap() {
            at = next;
            if envelope.header.kind == Kind::TableEvent {
                let event: TableEvent = serde_json::from_slice(envelope.body).unwrap();
                self.stored.push((format!("{} {}.{}", event.what, event.database, event.table), true));
                continue;
            }
            let mut row_at = 0;
            while let Some((row, next)) = rows::read(&envelope, row_at).unwrap() {
                row_at = next;
                self.stored.push((format!("row {}", row.number), row.ends_transaction));
            }
        }
        self.block.stored();
    }

    pub fn begin(&mut self, statement: &str) -> Result<(), StreamError> {
        self.transactions += 1;
        let mut body = vec![0];
        body.extend_from_slice(&[0xa2; 16]);
        body.extend_from_slice(&self.transactions.to_le_bytes());
        body.resize(42, 0);
        self.take(GTID, &body)?;
        self.query("shop", statement.as_bytes())
    }

    fn query(&mut self, database: &str, statement: &[u8]) -> Result<(), StreamError> {
        self.take(QUERY, &query(database, statement))
    }

    /// A row of `bytes` bytes or a little more, of table `t` in `database`.
    fn row(&mut self, database: &str, bytes: usize) -> Result<(), StreamError> {
        self.take(TABLE_MAP, &table_map(database))?;
        self.take(WRITE_ROWS, &write_rows(database, bytes))
    }

    fn stored(mut self) -> Vec<Stored> {
        self.store();
        self.stored
    }
}

fn query(database: &str, statement: &[u8]) -> Vec<u8> {
    let mut body = vec![0; 8];
    body.push(database.len() as u8);
    body.extend_from_slice(&[0, 0, 0, 0]);
    body.extend_from_slice(database.as_bytes());
    body.push(0);
    body.extend_from_slice(statement);
    body
}

fn table_id(database: &str) -> [u8; 6] {
    [database.len() as u8, 0, 0, 0, 0, 0]
}

/// A table with one JSON column.
fn table_map(database: &str) -> Vec<u8> {
    let mut body = table_id(database).to_vec();
    body.extend_from_slice(&[0, 0, database.len() as u8]);
    body.extend_from_slice(database.as_bytes());
    body.extend_from_slice(b"\0\x01t\0");
    body.extend_from_slice(&[1, 245, 1, 4, 1]);
    body.extend_from_slice(b"\x04\x02\x01c");
    body
}

/// One row, whose value is a string.
fn write_rows(database: &str, bytes: usize) -> Vec<u8> {
    let mut document = vec![0x0c];
    let mut left = bytes;
    while left >= 0x80 {
        document.push(left as u8 | 0x80);
        left >>= 7;
    }
    document.push(left as u8);
    document.resize(document.len() + bytes, b'x');
    let mut body = table_id(database).to_vec();
    body.extend_from_slice(&[0, 0, 2, 0, 1, 0xff, 0]);
    body.extend_from_slice(&(document.len() as u32).to_le_bytes());
    body.extend_from_slice(&document);
    body
}

fn row(number: u64, ends: bool) -> Stored {
    (format!("row {number}"), ends)
}

#[test]
fn a_full_block_followed_by_rows_of_another_table_ends_its_transaction() {
    let mut stream = Stream::from(0);
    stream.begin("BEGIN").unwrap();
    stream.row("shop", BLOCK_BYTES).unwrap();
    stream.row("others", 10).unwrap();
    // What ends a statement and has no rows.
    stream.take(WRITE_ROWS, &[0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 2, 0, 1, 0xff]).unwrap();
    stream.take(XID, &[1; 8]).unwrap();
    assert_eq!(stream.stored(), [row(0, true)]);
}

#[test]
fn a_transaction_larger_than_a_block_has_its_end_at_its_last_captured_row() {
    let mut stream = Stream::from(0);
    stream.begin("BEGIN").unwrap();
    for database in ["shop", "others", "shop", "others"] {
        stream.row(database, BLOCK_BYTES).unwrap();
    }
    stream.take(XID, &[1; 8]).unwrap();
    assert_eq!(stream.stored(), [row(0, false), row(2, true)]);
}

#[test]
fn an_xa_transaction_of_one_phase_may_be_larger_than_a_block() {
    let mut stream = Stream::from(0);
    stream.begin("XA START X'61',X'',1").unwrap();
    for _ in 0..3 {
        stream.row("shop", BLOCK_BYTES).unwrap();
    }
    stream.query("shop", b"XA END X'61',X'',1").unwrap();
    stream.take(XA_PREPARE, &[1, 0, 0, 0, 0]).unwrap();
    assert_eq!(stream.stored(), [row(0, false), row(1, false), row(2, true)]);
}

#[test]
fn an_xa_transaction_that_memory_should_not_hold_stops_by_name() {
    let mut stream = Stream::from(0);
    stream.begin("XA START X'61',X'',1").unwrap();
    let mut rows = 0;
    let error = loop {
        match stream.row("shop", 8 << 20) {
            Ok(()) => rows += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(rows, XA_BYTES_MAX / (8 << 20));
    assert!(error.code() == "SOURCE_XA" && error.to_string().contains("64 MiB"), "{error}");
    assert_eq!(stream.stored.len(), 0);
}

#[test]
fn rows_stored_before_a_restart_are_not_taken_back_unseen() {
    for statement in ["ROLLBACK", "ROLLBACK TO `sp`"] {
        let mut stream = Stream::from(1);
        stream.begin("BEGIN").unwrap();
        stream.row("shop", 10).unwrap();
        let error = stream.query("shop", statement.as_bytes()).unwrap_err();
        assert_eq!(error.code(), "SOURCE_ROLLBACK", "{statement}: {error}");
    }
}

#[test]
fn a_compressed_transaction_with_what_has_no_place_in_one_stops_by_name() {
    // Not compressed; its size is not said.
    let payload = |events: &[u8]| {
        let len = (events.len() as u64).to_le_bytes();
        [&[2, 3, 0xfc, 0xff, 0, 1, 9, 0xfe], &len[..], &[0], events].concat()
    };
    for (kind, name) in [(PAYLOAD, "TRANSACTION_PAYLOAD_EVENT"), (GTID, "GTID_LOG_EVENT"), (ROTATE, "ROTATE_EVENT")] {
        let mut stream = Stream::from(0);
        stream.begin("BEGIN").unwrap();
        let inner = [plain_event(TABLE_MAP, &table_map("shop"), 0), plain_event(kind, &[0; 8], 0)].concat();
        let error = stream.take(PAYLOAD, &payload(&inner)).unwrap_err();
        assert!(error.code() == "BINLOG_MALFORMED" && error.to_string().contains(name), "{error}");
    }
    let mut stream = Stream::from(0);
    stream.begin("BEGIN").unwrap();
    let inner = [(TABLE_MAP, table_map("shop")), (WRITE_ROWS, write_rows("shop", 10)), (XID, vec![1; 8])];
    let inner: Vec<u8> = inner.iter().flat_map(|(kind, body)| plain_event(*kind, body, 0)).collect();
    stream.take(PAYLOAD, &payload(&inner)).unwrap();
    assert_eq!(stream.stored(), [row(0, true)]);
}

#[test]
fn a_table_named_in_capitals_is_the_one_where_names_have_no_case() {
    for (lowers, told) in [(true, &["truncate shop.users", "drop shop.*"][..]), (false, &[])] {
        let mut stream = Stream::from(0);
        stream.reader = stream.reader.lowering_names(lowers);
        stream.begin("TRUNCATE TABLE Shop.USERS").unwrap();
        stream.begin("DROP DATABASE SHOP").unwrap();
        let stored: Vec<String> = stream.stored().into_iter().map(|(event, _)| event).collect();
        assert_eq!(stored, told);
    }
}

#[test]
fn a_name_that_is_not_utf_8_may_be_any_table_of_its_database() {
    let mut stream = Stream::from(0);
    stream.begin("BEGIN").unwrap();
    stream.query("shop", b"TRUNCATE TABLE `caf\xe9`").unwrap();
    stream.query("others", b"DROP TABLE caf\xe9").unwrap();
    stream.take(XID, &[1; 8]).unwrap();
    assert_eq!(stream.stored(), [("truncate shop.*".to_owned(), true)]);
}

#[test]
fn a_statement_that_names_many_tables_is_kept_once_for_each_captured_one_and_cut() {
    let mut stream = Stream::from(0);
    let names: Vec<String> = (0..20_000).map(|at| format!("others.table{at}")).collect();
    stream.begin(&format!("DROP TABLE {}, a, b", names.join(", "))).unwrap();
    assert!(stream.block.len() < 4 << 10, "{} bytes", stream.block.len());
    assert_eq!(stream.stored(), [("drop shop.a".to_owned(), true), ("drop shop.b".to_owned(), true)]);
}

#[test]
fn a_transaction_whose_rest_is_excluded_before_a_restart_is_known_to_be_over() {
    let mut stream = Stream::from(1);
    stream.begin("BEGIN").unwrap();
    stream.row("others", 10).unwrap();
    stream.row("others", 10).unwrap();
    stream.take(XID, &[1; 8]).unwrap();
    stream.begin("BEGIN").unwrap();
    stream.take(XID, &[1; 8]).unwrap();
    assert_eq!(stream.stored(), [("end .".to_owned(), true)]);

    let mut stream = Stream::from(1);
    stream.begin("BEGIN").unwrap();
    stream.row("shop", 10).unwrap();
    stream.row("shop", 10).unwrap();
    stream.take(XID, &[1; 8]).unwrap();
    assert_eq!(stream.stored(), [row(1, true)]);
}
