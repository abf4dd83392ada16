//! Histories of several processes over the log on Kafka, by seed. `MYSYNC_SEED=N` plays one of each kind, `MYSYNC_SEEDS=N` so many of all kinds
//! together.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mysync_sim_tests::faults::{Moment, Tally};
use mysync_sim_tests::kafka::cluster::{Scenario, play};
use mysync_sim_tests::seeds::{each, share};

/// One process at a time, of which nothing but calls fail.
const CALLS: Scenario = Scenario {
    partitions: 1,
    processes: 1,
    failing: 30,
    faulting: 0,
    pauses: false,
    retention: false,
    losses: false,
    mutant: None,
};
const KILLS: Scenario = Scenario { processes: 2, faulting: 20, ..CALLS };
const PAUSES: Scenario = Scenario { partitions: 3, processes: 3, pauses: true, ..KILLS };

/// Plays one in so many of the seeds, and sees that none of these moments never came.
fn histories(scenario: Scenario, one_in: u64, moments: &[Moment]) {
    let mut tally = Tally::default();
    let played = each(share(one_in), &format!("{scenario:?}"), |seed| tally.add(&play(seed, scenario).tally));
    let counts = |moment: &Moment| (*moment, tally.of(*moment));
    let told: Vec<_> = Moment::FAULTS.iter().chain(&Moment::OUTCOMES).map(counts).filter(|(_, n)| *n > 0).collect();
    println!("{played} histories: {told:?}");
    let never: Vec<_> = moments.iter().filter(|moment| tally.of(**moment) == 0).collect();
    assert!(played < 100 || never.is_empty(), "these never came: {never:?}");
}

#[test]
fn a_seed_is_one_history() {
    let scenario = Scenario { losses: true, ..PAUSES };
    for seed in 0..20 {
        assert_eq!(play(seed, scenario), play(seed, scenario), "seed {seed}");
    }
}

#[test]
fn lost_and_late_requests_leave_each_change_once_and_in_order() {
    histories(CALLS, 8, &[Moment::CommitLate, Moment::SentTwice, Moment::OffsetLost, Moment::OffsetOld]);
}

#[test]
fn processes_die_wherever_they_are_and_others_go_on() {
    histories(KILLS, 8, &[]);
}

#[test]
fn paused_leaders_and_tasks_wake_up_beside_their_successors() {
    histories(PAUSES, 4, &[]);
}

#[test]
fn whole_transactions_whatever_leader_and_task() {
    histories(Scenario { partitions: 1, ..PAUSES }, 8, &[]);
}

#[test]
fn records_are_deleted_behind_every_writer() {
    histories(Scenario { retention: true, ..PAUSES }, 8, &[]);
}

#[test]
fn stores_and_logs_are_lost_and_an_operator_says_how_to_go_on() {
    histories(Scenario { losses: true, partitions: 2, ..PAUSES }, 8, &[]);
}
