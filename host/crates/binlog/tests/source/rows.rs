//! TABLE_MAP and rows events of every type, whole and damaged: an error names what is wrong, and nothing worse comes of it.
//!
//! `every-type.binlog` is a file of MySQL 9.7 with one table that has a column of every type (two of the 31 are computed or hidden): two rows
//! are inserted, one of them all NULL, both updated, one updated with a minimal image, both deleted.

use mysync_binlog::decode::{Change, KeySpans, RowsEvent};
use mysync_binlog::event::{Checksum, EventKind, Framing};
use mysync_binlog::plan::{Plans, Selection, Table};
use mysync_change::image::Image;

use crate::bytes::{Random, runs};

const FILE: &[u8] = include_bytes!("every-type.binlog");

struct All(bool);

impl Selection for All {
    fn table(&self, _: &str, _: &str) -> bool {
        self.0
    }

    fn column(&self, _: &str, _: &str, _: &str) -> bool {
        self.0
    }
}

/// Bodies of the TABLE_MAP and rows events, in order.
fn bodies() -> Vec<(EventKind, Vec<u8>)> {
    let mut framing = Framing::new(Checksum::None);
    let mut rest = &FILE[4..];
    let mut bodies = Vec::new();
    while rest.len() >= 19 {
        let size = u32::from_le_bytes(rest[9..13].try_into().unwrap()) as usize;
        let event = framing.event(&rest[..size]).unwrap();
        use EventKind as K;
        if matches!(event.header.kind, K::TableMap | K::WriteRows | K::UpdateRows | K::DeleteRows) {
            bodies.push((event.header.kind, event.body.to_vec()));
        }
        rest = &rest[size..];
    }
    bodies
}

/// What became of an event's rows: how many, and the bytes of their images.
struct Outcome {
    rows: usize,
    bytes: usize,
}

/// Reads every row of an event as far as it goes. Images that come out are whole.
fn decode(plans: &Plans, kind: EventKind, body: &[u8], out: &mut Vec<u8>) -> Result<Outcome, String> {
    let code = |e: mysync_binlog::decode::DecodeError| format!("{} {e}", e.code());
    let event = RowsEvent::parse(kind, body).map_err(code)?;
    let Table::Captured(plan) = plans.get(event.table_id).map_err(code)? else { panic!("all are captured") };
    let (columns, mut keys) = (&plan.shape().columns, KeySpans::default());
    let (mut rows, mut skipped) = (event.rows(plan).map_err(code)?, event.rows(plan).map_err(code)?);
    let mut outcome = Outcome { rows: 0, bytes: 0 };
    while !rows.is_empty() {
        for before in [true, false] {
            if event.change == if before { Change::Insert } else { Change::Delete } {
                continue;
            }
            out.clear();
            let read = if before { rows.before(out, &mut keys) } else { rows.after(out, &mut keys) };
            outcome.bytes += out.len();
            read.map_err(code)?;
            let image = Image::new(out, columns.len()).unwrap();
            assert!(image.values(columns).all(|value| value.is_ok()), "an image that cannot be read");
            keys.parts(out).for_each(drop);
        }
        skipped.skip().map_err(code)?;
        outcome.rows += 1;
    }
    assert!(skipped.is_empty(), "what is skipped is as long as what is read");
    Ok(outcome)
}

/// Bytes that an image can have beyond eight for each byte of its event: what fixed widths and labels of the 31 columns add.
const ADDED: usize = 31 * 300;

#[test]
fn every_type_is_read_from_a_file() {
    let (mut plans, mut counting, mut out) = (Plans::default(), Plans::default(), Vec::new());
    let mut rows = 0;
    for (kind, body) in bodies() {
        if kind == EventKind::TableMap {
            plans.map(&body, &All(true)).unwrap();
            counting.map(&body, &All(false)).unwrap();
            continue;
        }
        let outcome = decode(&plans, kind, &body, &mut out).unwrap();
        let event = RowsEvent::parse(kind, &body).unwrap();
        let Table::Other(widths) = counting.get(event.table_id).unwrap() else { panic!("nothing is captured") };
        assert_eq!(event.count(widths), outcome.rows as u64);
        rows += outcome.rows;
    }
    assert_eq!(rows, 7);
}

#[test]
fn rows_cut_anywhere_are_an_error() {
    let (mut plans, mut out) = (Plans::default(), Vec::new());
    for (kind, body) in bodies() {
        if kind == EventKind::TableMap {
            plans.map(&body, &All(true)).unwrap();
            continue;
        }
        let whole = decode(&plans, kind, &body, &mut out).unwrap().rows;
        // Between two rows an event can end; its size and checksum say that it did not.
        let short = (0..body.len()).filter_map(|end| decode(&plans, kind, &body[..end], &mut out).ok());
        assert_eq!(short.map(|outcome| outcome.rows).collect::<Vec<_>>(), (1..whole).collect::<Vec<_>>());
    }
}

fn damage(random: &mut Random, body: &mut Vec<u8>) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(body.len());
        match random.below(6) {
            0 => body.truncate(at.max(1)),
            1 => body[at] = 0xff,
            2 => body[at] ^= 1 << random.below(8),
            3 => body.insert(at, random.next() as u8),
            4 => drop(body.remove(at)),
            _ => body[at] = random.next() as u8,
        }
        if body.is_empty() {
            body.push(0);
        }
    }
}

#[test]
fn damaged_rows_are_errors_and_take_no_more_memory_than_they_are_long() {
    let bodies = bodies();
    runs(3_000, |random: &mut Random| {
        let (mut plans, mut out) = (Plans::default(), Vec::new());
        for (kind, body) in &bodies {
            if *kind == EventKind::TableMap {
                plans.map(body, &All(true)).unwrap();
                continue;
            }
            let mut damaged = body.clone();
            damage(random, &mut damaged);
            if let Ok(outcome) = decode(&plans, *kind, &damaged, &mut out) {
                assert!(outcome.bytes <= 8 * damaged.len() + outcome.rows * 2 * ADDED, "{} bytes", outcome.bytes);
            }
            assert!(out.capacity() <= 32 * damaged.len() + 4 * ADDED, "{} bytes", out.capacity());
        }
    });
}

#[test]
fn damaged_table_maps_are_errors_and_their_rows_as_well() {
    let bodies = bodies();
    runs(3_000, |random: &mut Random| {
        let (mut plans, mut counting, mut out) = (Plans::default(), Plans::default(), Vec::new());
        for (kind, body) in &bodies {
            let mut body = body.clone();
            if *kind == EventKind::TableMap {
                damage(random, &mut body);
                let _ = counting.map(&body, &All(false));
                if let Err(error) = plans.map(&body, &All(true)) {
                    assert!(!error.code().is_empty() && !error.to_string().is_empty());
                }
                continue;
            }
            let _ = decode(&plans, *kind, &body, &mut out);
            let event = RowsEvent::parse(*kind, &body).unwrap();
            if let Ok(Table::Other(widths)) = counting.get(event.table_id) {
                assert!(event.count(widths) <= body.len() as u64);
            }
        }
    });
}

/// A rows event for the table of `json_map` with one row that holds `document`.
fn json_row(document: &[u8]) -> Vec<u8> {
    let mut body = vec![7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0xff, 0];
    body.extend_from_slice(&(document.len() as u32).to_le_bytes());
    body.extend_from_slice(document);
    body
}

/// A TABLE_MAP for one JSON column, with its name.
fn json_map() -> Vec<u8> {
    let mut body = vec![7, 0, 0, 0, 0, 0, 0, 0];
    body.extend_from_slice(b"\x01d\0\x01t\0");
    body.extend_from_slice(&[1, 245, 1, 4, 1]);
    body.extend_from_slice(b"\x04\x02\x01c");
    body
}

#[test]
fn a_json_document_that_refers_to_itself_again_and_again_is_an_error() {
    let (mut plans, mut out) = (Plans::default(), Vec::new());
    plans.map(&json_map(), &All(true)).unwrap();
    // Arrays of two, each of whose elements is the array behind it: twice as many with each level.
    let mut document = vec![0x02];
    let levels = 90u16;
    for level in 0..levels {
        let next = 10u16;
        document.extend_from_slice(&[2, 0]);
        document.extend_from_slice(&((levels - level) * 10 + 10).to_le_bytes());
        for _ in 0..2 {
            document.push(0x02);
            document.extend_from_slice(&next.to_le_bytes());
        }
    }
    document.extend_from_slice(&[0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
    let error = decode(&plans, EventKind::WriteRows, &json_row(&document), &mut out).err().unwrap();
    assert!(error.contains("again and again"), "{error}");
    assert!(out.len() < 16 * document.len(), "{} bytes", out.len());
    // An array that is its own element.
    let endless = [0x02, 1, 0, 7, 0, 0x02, 0, 0];
    let error = decode(&plans, EventKind::WriteRows, &json_row(&endless), &mut out).err().unwrap();
    assert!(error.contains("deeper"), "{error}");
}

#[test]
fn hostile_json_documents_are_text_or_an_error() {
    let mut plans = Plans::default();
    plans.map(&json_map(), &All(true)).unwrap();
    runs(20_000, |random: &mut Random| {
        let mut out = Vec::new();
        // Mostly small numbers, so that offsets and sizes often lead somewhere.
        let len = 1 + random.below(60);
        let mut document: Vec<u8> =
            (0..len).map(|_| if random.below(4) > 0 { random.below(16) as u8 } else { random.next() as u8 }).collect();
        document[0] = [0, 1, 2, 3, 4, 0x0b, 0x0c, 0x0f][random.below(8)];
        if decode(&plans, EventKind::WriteRows, &json_row(&document), &mut out).is_ok() {
            let text = std::str::from_utf8(&out[6..]).unwrap();
            serde_json::from_str::<serde_json::Value>(text)
                .unwrap_or_else(|e| panic!("{e}: {text} of {document:02x?}"));
        }
        assert!(out.len() <= 8 * document.len() + 300, "{} bytes of {}", out.len(), document.len());
    });
}
