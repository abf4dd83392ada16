//! `bench-decode`: event bytes in memory → checked, decoded, in blocks that are ready for the log. One core. `W1-keyed` and `W2-keyed`: for a log of
//! four partitions that keeps each row under its key.
#![allow(clippy::unwrap_used)]

#[path = "workload/counting.rs"]
mod counting;
#[path = "workload/decoding.rs"]
mod decoding;
#[path = "workload/report.rs"]
mod report;
#[path = "workload/mod.rs"]
mod workload;

use decoding::{Decoding, Log};
use report::{RUNS, Run};
use workload::Workload;

/// Streams that are made ready before they are measured, one after the other.
const READY: usize = 50;

fn bench(name: &str, log: Log, make: fn(usize, usize) -> Workload, transactions: usize) {
    let (first, rest) = (make(1, transactions), make(1 + transactions, transactions));
    let mut block = log.new_block();
    let mut warm = || {
        let mut decoding = Decoding::new();
        // The first transactions bring the table's plan.
        decoding.take(&first, &mut block);
        decoding
    };
    let mut ready: Vec<Vec<Decoding>> = (0..RUNS).map(|_| (0..READY).map(|_| warm()).collect()).collect();
    let mut allocations = 0;
    let mut runs = Vec::new();
    for ready in &mut ready {
        runs.push(Run::measure(|| {
            let before = counting::allocations();
            for decoding in ready {
                assert_eq!(decoding.take(&rest, &mut block), rest.rows as u64);
            }
            allocations += counting::allocations() - before;
        }));
    }
    report::print("decode", name, runs, rest.transactions * READY, rest.rows * READY);
    let per_row = allocations as f64 / (RUNS * READY * rest.rows) as f64;
    report::line("decode", name, "allocations_per_row", per_row, "1");
}

fn main() {
    for (w1, w2, log) in [("W1", "W2", Log::EMBEDDED), ("W1-keyed", "W2-keyed", Log::OF_KEYS)] {
        bench(w1, log, Workload::w1, 5);
        bench(w2, log, Workload::w2, 1500);
    }
}
