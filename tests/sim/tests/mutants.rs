//! The judge can fail: each mistake of a store, a log or a source is found by some history, and most of them by many.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};

use mysync_sim_tests::Mutant::{self, *};
use mysync_sim_tests::scenario::{Scenario, play};

/// A mistake that so many histories do not show is not looked for.
const SEEDS: u64 = 400;

#[test]
fn every_mistake_is_found() {
    // What each panic says is of no interest here.
    set_hook(Box::new(|_| {}));
    let faults = Scenario { partitions: 1, failing: 40, ..Scenario::default() };
    let pauses = Scenario { failing: 80, pauses: true, ..faults };
    let large = Scenario { failing: 10_000, large: true, ..faults };
    let power = Scenario { failing: 60, power: true, ..faults };
    let loads = Scenario { loads: true, ..faults };
    let mutants: [(Mutant, Scenario); 11] = [
        (FenceNotCompared, pauses),
        (FenceComparedTooLate, pauses),
        (EntriesWithoutFence, Scenario { pauses: true, ..faults }),
        (AnsweredTooEarly, faults),
        (CheckpointWithoutRecords, faults),
        (RecordsWithoutCheckpoint, faults),
        (RowsReadAgain, large),
        (TrimmedUnread, faults),
        (TailForgotten, power),
        (StaleChunk, loads),
        (ProgressKept, loads),
    ];
    let missed = mutants.into_iter().filter(|(mutant, scenario)| {
        let scenario = Scenario { mutant: Some(*mutant), ..*scenario };
        let found = (0..SEEDS).find(|seed| catch_unwind(AssertUnwindSafe(|| play(*seed, scenario))).is_err());
        println!("{mutant:?}: {found:?}");
        found.is_none()
    });
    assert_eq!(missed.map(|(mutant, _)| mutant).collect::<Vec<_>>(), []);
}
