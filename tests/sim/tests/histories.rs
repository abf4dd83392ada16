//! Histories over the embedded log, by seed. `MYSYNC_SEED=N` plays one of each kind, `MYSYNC_SEEDS=N` about so many of all kinds together.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mysync_sim_tests::scenario::{Scenario, World, play, simulated};
use mysync_sim_tests::seeds::{self, each};

const FAULTS: Scenario =
    Scenario { partitions: 1, failing: 40, power: false, pauses: false, large: false, loads: false, mutant: None };

/// Kinds of histories.
const KINDS: u64 = 12;

/// Plays a kind's histories, or one in `share` of them.
fn histories(scenario: Scenario, share: u64) {
    each(seeds::share(KINDS * share), &format!("{scenario:?}"), |seed| _ = play(seed, scenario));
}

#[test]
fn a_seed_is_one_history() {
    let scenario = Scenario { partitions: 3, power: true, pauses: true, ..FAULTS };
    for seed in 0..20 {
        assert_eq!(play(seed, scenario), play(seed, scenario), "seed {seed}");
    }
}

#[test]
fn nothing_fails_but_processes_end() {
    histories(Scenario { failing: 0, ..FAULTS }, 1);
}

#[test]
fn lost_answers_failed_calls_and_kills_show_no_state_the_source_never_had() {
    histories(FAULTS, 1);
}

#[test]
fn several_partitions_arrive_in_order_of_each_key() {
    histories(Scenario { partitions: 3, ..FAULTS }, 1);
}

#[test]
fn power_cuts_take_the_unsynced_tail_of_the_log_and_nothing_else() {
    histories(Scenario { failing: 60, power: true, ..FAULTS }, 1);
    histories(Scenario { partitions: 2, power: true, ..FAULTS }, 2);
}

#[test]
fn a_paused_process_wakes_up_beside_its_successor() {
    histories(Scenario { failing: 80, pauses: true, ..FAULTS }, 1);
    histories(Scenario { partitions: 3, failing: 0, pauses: true, ..FAULTS }, 2);
}

#[test]
fn a_transaction_larger_than_a_batch_arrives_in_parts_and_in_order() {
    histories(Scenario { failing: 20_000, large: true, ..FAULTS }, 40);
}

#[test]
fn rows_from_before_the_log_are_loaded_whatever_happens_meanwhile() {
    let loads = Scenario { loads: true, ..FAULTS };
    histories(loads, 2);
    histories(Scenario { partitions: 3, pauses: true, ..loads }, 2);
    histories(Scenario { failing: 60, power: true, ..loads }, 1);
    histories(Scenario { partitions: 2, power: true, ..loads }, 2);
}

/// A world that has been at rest once, with a log that keeps everything.
async fn rested() -> World {
    let world = World::new(7, FAULTS);
    world.log.keep();
    commit_some(&world);
    world.come_to_rest().await;
    world
}

fn commit_some(world: &World) {
    let before = (0..).find(|at| world.history.transaction(*at).is_none()).unwrap();
    while world.history.transaction(before + 3).is_none() {
        world.commit();
    }
}

/// With which code the next process' delivery stops after something happened.
fn after(happens: impl FnOnce(&World)) -> &'static str {
    simulated(async {
        let world = rested().await;
        happens(&world);
        world.survive(|| {}).await.expect_err("it stops with an error").code
    })
}

#[test]
fn the_store_was_emptied() {
    assert_eq!(after(|world| world.store.empty()), "STORE_EMPTIED");
}

#[test]
fn the_log_was_replaced() {
    assert_eq!(after(|world| world.log.replace()), "LOG_REPLACED");
}

#[test]
fn the_log_lost_all_of_a_leader_and_another_server_does_not_repeat_it() {
    let lost = |world: &World| {
        world.log.lose_last_leader();
        world.history.replace_server();
    };
    assert_eq!(after(lost), "PLACE_LOST");
}

#[test]
fn the_store_went_back_to_before_the_last_start_and_all_arrives_without_anybody() {
    simulated(async {
        let world = rested().await;
        let saved = world.store.state().clone();
        commit_some(&world);
        let outcome = world.survive(|| {
            world.store.restore(saved);
            commit_some(&world);
        });
        outcome.await.unwrap();
    });
}

#[test]
fn the_store_went_back_to_a_writer_of_long_ago() {
    simulated(async {
        let world = rested().await;
        let saved = world.store.state().clone();
        commit_some(&world);
        world.come_to_rest().await;
        commit_some(&world);
        let outcome = world.survive(|| {
            world.store.restore(saved);
            commit_some(&world);
        });
        assert_eq!(outcome.await.unwrap_err().code, "FENCE_TAKEN");
    });
}
