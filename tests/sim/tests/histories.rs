//! Histories by seed. `MYSYNC_SIM_SEED=N` plays one, `MYSYNC_SIM_COUNT=N` so many of each kind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use mysync_sim_tests::scenario::{Scenario, play};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

fn histories(scenario: Scenario) {
    if let Some(seed) = number("MYSYNC_SIM_SEED") {
        return play(seed, scenario);
    }
    for seed in 0..number("MYSYNC_SIM_COUNT").unwrap_or(1000) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| play(seed, scenario))) {
            eprintln!("seed {seed} of {scenario:?}; play it again with MYSYNC_SIM_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn no_faults() {
    histories(Scenario { partitions: 1, failing: 0, power: false });
}

#[test]
fn lost_answers_failed_calls_and_kills_show_no_state_the_source_never_had() {
    histories(Scenario { partitions: 1, failing: 40, power: false });
}

#[test]
fn several_partitions_arrive_in_order_of_each_key() {
    histories(Scenario { partitions: 3, failing: 40, power: false });
}

#[test]
fn power_cuts_take_the_unsynced_tail_of_the_log_and_nothing_else() {
    histories(Scenario { partitions: 1, failing: 60, power: true });
}
