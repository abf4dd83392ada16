//! What decoding takes of memory: once a block has come to its size, nothing.
#![allow(clippy::unwrap_used)]

#[path = "../benches/workload/counting.rs"]
mod counting;
#[path = "../benches/workload/decoding.rs"]
mod decoding;
#[path = "../benches/workload/mod.rs"]
mod workload;

use decoding::{Decoding, Log};
use workload::Workload;

/// Allocations while `rest` is decoded behind `first`.
fn allocations(log: Log, first: &Workload, rest: &Workload) -> u64 {
    let (mut decoding, mut block) = (Decoding::new(), log.new_block());
    decoding.take(first, &mut block);
    let before = counting::allocations();
    assert_eq!(decoding.take(rest, &mut block), rest.rows as u64);
    counting::allocations() - before
}

#[test]
fn single_row_transactions_allocate_nothing() {
    assert_eq!(allocations(Log::EMBEDDED, &Workload::w2(1, 2000), &Workload::w2(2001, 2000)), 0);
}

/// Where a block is full inside of a transaction, one event waits for the next block.
#[test]
fn rows_allocate_nothing() {
    let transactions = 10;
    for log in [Log::EMBEDDED, Log::OF_KEYS] {
        let taken = allocations(log, &Workload::w1(1, transactions), &Workload::w1(11, transactions));
        assert!(taken <= transactions as u64, "{taken} allocations for {} rows", transactions * workload::W1_ROWS);
    }
}
