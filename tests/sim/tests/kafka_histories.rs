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
    storms: false,
    loads: false,
    compacts: false,
    losses: false,
    mutant: None,
};
const KILLS: Scenario = Scenario { processes: 2, faulting: 20, ..CALLS };
const PAUSES: Scenario = Scenario { partitions: 3, processes: 3, pauses: true, ..KILLS };

/// What each of many histories of kills comes to.
const AROUND_KILLS: [Moment; 16] = [
    Moment::DecodedNotSent,
    Moment::SentNotCommitted,
    Moment::CommitNotSent,
    Moment::CommitLate,
    Moment::CommitUnanswered,
    Moment::AppliedNotAnswered,
    Moment::AnsweredNotNoted,
    Moment::Revoking,
    Moment::TakingOver,
    Moment::Claiming,
    Moment::LeaderFenced,
    Moment::TransactionAborted,
    Moment::TransactionCompleted,
    Moment::TransactionTimedOut,
    Moment::SentTwice,
    Moment::RevokedUnended,
];

/// And with processes that stand still.
const AROUND_PAUSES: [Moment; 4] =
    [Moment::MemberLost, Moment::FalseHolder, Moment::BatchRefused, Moment::FenceRetaken];

/// Of fewer histories nobody can say what they come to.
const MANY: u64 = 400;

/// Plays one in so many of the seeds, and sees that none of these moments never came.
fn histories(scenario: Scenario, one_in: u64, moments: &[Moment]) {
    let mut tally = Tally::default();
    let played = each(share(one_in), &format!("{scenario:?}"), |seed| tally.add(&play(seed, scenario).tally));
    let counts = |moment: &Moment| (*moment, tally.of(*moment));
    let told: Vec<_> = Moment::FAULTS.iter().chain(&Moment::OUTCOMES).map(counts).filter(|(_, n)| *n > 0).collect();
    println!("{played} histories: {told:?}");
    let never: Vec<_> = moments.iter().filter(|moment| tally.of(**moment) == 0).collect();
    assert!(played < MANY || never.is_empty(), "these never came: {never:?}");
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
    histories(KILLS, 8, &AROUND_KILLS);
}

#[test]
fn paused_leaders_and_tasks_wake_up_beside_their_successors() {
    histories(PAUSES, 8, &[&AROUND_KILLS[..], &AROUND_PAUSES].concat());
}

#[test]
fn transactions_stay_whole_whichever_leader_and_task() {
    histories(Scenario { partitions: 1, ..PAUSES }, 8, &AROUND_PAUSES);
}

#[test]
fn partitions_move_about_among_processes_that_come_and_go() {
    let moments = [&AROUND_PAUSES[..], &[Moment::Revoking, Moment::RevokedUnended]].concat();
    histories(Scenario { partitions: 4, processes: 4, storms: true, ..PAUSES }, 8, &moments);
}

#[test]
fn records_are_deleted_that_every_writer_has_passed() {
    let moments = [Moment::RecordsDeleted, Moment::ResumedBehindStart, Moment::OffsetLost, Moment::OffsetOld];
    histories(Scenario { retention: true, ..PAUSES }, 8, &moments);
}

#[test]
fn stores_and_logs_are_lost_and_a_person_says_how_to_go_on() {
    let moments = [Moment::StoreEmptied, Moment::FenceEvicted, Moment::StoreRestored, Moment::LogReplaced];
    histories(Scenario { losses: true, partitions: 2, ..PAUSES }, 8, &moments);
}

#[test]
fn a_dump_goes_on_under_another_leader() {
    histories(Scenario { loads: true, ..PAUSES }, 8, &[Moment::TransactionAborted, Moment::LeaderFenced]);
}

#[test]
fn a_compacted_log_makes_stores_anew_and_tells_who_was_away_too_long() {
    let moments = [Moment::RecordsCompacted, Moment::Rebuilt, Moment::AwayTooLong, Moment::StoreRestored];
    histories(Scenario { compacts: true, losses: true, partitions: 2, ..PAUSES }, 8, &moments);
}
