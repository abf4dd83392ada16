//! The workloads of the benches, as bytes of events.
//!
//! W1: rows `(id int primary key, k int, c char(120), pad char(60))` inserted 1,000 per transaction. W2: single-row updates of such a table, one
//! transaction each, full image. `transactions.binlog` is a file of MySQL 9.7 with a transaction that inserts 54 rows, in one event that is full
//! and one that is not, and one that updates a row. From these the transactions are made: what is changed is numbers and checksums.

/// Where events hold what is changed.
const SIZE_AT: usize = 9;
const END_AT: usize = 13;
const BODY_AT: usize = 19;
const CHECKSUM: usize = 4;
const GTID_NUMBER_AT: usize = BODY_AT + 17;
/// Before the first row stand table number, flags, extra bytes, the count of columns, and a bitmap for each image.
const INSERTS_AT: usize = BODY_AT + 12;
const UPDATES_AT: usize = BODY_AT + 13;
/// A row takes as many bytes as any other; its id stands behind the bitmap of NULLs.
const IMAGE: usize = 190;
const FULL_EVENT_ROWS: usize = 43;
const LAST_EVENT_ROWS: usize = 11;

pub const W1_ROWS: usize = 1000;
/// The file that the events are in.
#[allow(dead_code)]
pub const FILE: &str = "binlog.000001";

const RECORDED: &[u8] = include_bytes!("transactions.binlog");

/// Events, end to end.
#[derive(Default)]
pub struct Workload {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    pub transactions: usize,
    pub rows: usize,
}

impl Workload {
    pub fn events(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    /// Transactions that follow each other; the first has number `first`.
    pub fn w1(first: usize, transactions: usize) -> Self {
        let [_, _, gtid, query, map, full, last, xid, ..] = recorded();
        let mut workload = Self::default();
        for number in first..first + transactions {
            workload.begin(number, gtid, query, map);
            for event in 0..W1_ROWS / FULL_EVENT_ROWS {
                workload.inserts(full, number * W1_ROWS + event * FULL_EVENT_ROWS, FULL_EVENT_ROWS);
            }
            workload.inserts(last, (number + 1) * W1_ROWS - LAST_EVENT_ROWS, LAST_EVENT_ROWS);
            workload.commit(xid, W1_ROWS);
        }
        workload
    }

    pub fn w2(first: usize, transactions: usize) -> Self {
        let [.., gtid, query, map, update, xid] = recorded();
        let mut workload = Self::default();
        for number in first..first + transactions {
            workload.begin(number, gtid, query, map);
            workload.event(update, |event| {
                for at in [UPDATES_AT, UPDATES_AT + IMAGE] {
                    put(event, at + 1, number as u32);
                }
            });
            workload.commit(xid, 1);
        }
        workload
    }

    fn begin(&mut self, number: usize, gtid: &[u8], query: &[u8], map: &[u8]) {
        self.event(gtid, |event| event[GTID_NUMBER_AT..][..8].copy_from_slice(&(number as u64).to_le_bytes()));
        self.event(query, |_| {});
        self.event(map, |_| {});
    }

    fn inserts(&mut self, event: &[u8], first: usize, rows: usize) {
        self.event(event, |event| {
            (0..rows).for_each(|row| put(event, INSERTS_AT + row * IMAGE + 1, (first + row) as u32));
        });
    }

    fn commit(&mut self, xid: &[u8], rows: usize) {
        self.event(xid, |_| {});
        self.transactions += 1;
        self.rows += rows;
    }

    fn event(&mut self, recorded: &[u8], change: impl FnOnce(&mut [u8])) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(recorded);
        let event = &mut self.bytes[start..];
        change(event);
        put(event, END_AT, (start + event.len()) as u32);
        let (covered, sum) = event.split_at_mut(event.len() - CHECKSUM);
        sum.copy_from_slice(&crc32fast::hash(covered).to_le_bytes());
        self.ends.push(self.bytes.len());
    }
}

fn put(event: &mut [u8], at: usize, number: u32) {
    event[at..][..4].copy_from_slice(&number.to_le_bytes());
}

/// The file's events, without the one that names the next file.
fn recorded() -> [&'static [u8]; 13] {
    let mut rest = &RECORDED[4..];
    std::array::from_fn(|_| {
        let (event, tail) = rest.split_at(u32::from_le_bytes(rest[SIZE_AT..][..4].try_into().unwrap()) as usize);
        rest = tail;
        event
    })
}

/// The event that begins a file, which other decoders have to see first.
#[allow(dead_code)]
pub fn format_description() -> &'static [u8] {
    recorded()[0]
}
