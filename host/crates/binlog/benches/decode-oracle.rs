//! `bench-decode-oracle`: the same bytes through mysql_common's decoder, up to one value for each column. It checks no checksums.
#![allow(clippy::unwrap_used)]

#[path = "workload/report.rs"]
mod report;
#[path = "workload/mod.rs"]
mod workload;

use std::collections::HashMap;
use std::hint::black_box;

use mysql_common::binlog::events::{EventData, TableMapEvent};
use mysql_common::binlog::{EventStreamReader, consts::BinlogVersion};
use report::{RUNS, Run};
use workload::{Workload, format_description};

fn take(reader: &mut EventStreamReader, workload: &Workload) {
    let mut maps: HashMap<u64, TableMapEvent<'static>> = HashMap::new();
    for bytes in workload.events() {
        let event = reader.read(bytes).unwrap().unwrap();
        match event.read_data().unwrap() {
            Some(EventData::TableMapEvent(map)) => {
                maps.insert(map.table_id(), map.into_owned());
            }
            Some(EventData::RowsEvent(rows)) => {
                for row in rows.rows(&maps[&rows.table_id()]) {
                    black_box(row.unwrap());
                }
            }
            data => drop(black_box(data)),
        }
    }
}

fn bench(name: &str, workload: &Workload) {
    let mut reader = EventStreamReader::new(BinlogVersion::Version4);
    reader.read(format_description()).unwrap();
    let runs = (0..RUNS).map(|_| Run::measure(|| take(&mut reader, workload))).collect();
    report::print("decode-oracle", name, runs, workload.transactions, workload.rows);
}

fn main() {
    bench("W1", &Workload::w1(1, 5));
    bench("W2", &Workload::w2(1, 1500));
}
