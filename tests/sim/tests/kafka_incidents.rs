//! What befalls processes of the log on Kafka one by one: each at each moment, and what no history comes to by chance.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use mysync_change::pattern::Pattern;
use mysync_pipeline::deliver::Delivery;
use mysync_pipeline::dump::{Beginning, Order, Request, orders};
use mysync_pipeline::failure::Failure;
use mysync_pipeline::shutdown::Shutdown;
use mysync_pipeline::status::Board;
use mysync_sim_tests::faults::{Fault, Moment};
use mysync_sim_tests::kafka::cluster::{Cluster, Scenario};
use mysync_sim_tests::kafka::process::{Process, Shared};
use mysync_sim_tests::kafka::reader::KafkaReader;
use mysync_sim_tests::scenario::simulated;
use mysync_sim_tests::writer::SimPlugin;
use tokio::time::sleep;

/// Nothing happens here but what is planned.
const QUIET: Scenario = Scenario {
    partitions: 2,
    processes: 3,
    failing: 0,
    faulting: 0,
    pauses: false,
    retention: false,
    storms: false,
    loads: false,
    compacts: false,
    losses: false,
    mutant: None,
};

/// Long enough that the group and the broker have gone on without it.
const LONG_MS: u64 = 4000;

async fn commit_for(cluster: &Cluster, times: u64) {
    for _ in 0..times {
        cluster.commit();
        sleep(Duration::from_millis(150)).await;
    }
}

/// Three processes, one after the other; the first ends in good order, so that leader and partitions move.
async fn come_and_go(cluster: &mut Cluster) {
    cluster.start();
    commit_for(cluster, 6).await;
    cluster.start();
    commit_for(cluster, 8).await;
    cluster.processes.first().into_iter().for_each(Process::end);
    cluster.start();
    commit_for(cluster, 12).await;
}

#[test]
fn a_process_fails_dies_or_stands_still_at_each_moment_in_turn() {
    // Each as often as it comes at least.
    let moments: [(Moment, &[u64]); 9] = [
        (Moment::DecodedNotSent, &[1, 2, 5, 9]),
        (Moment::SentNotCommitted, &[1, 2, 5, 9]),
        (Moment::CommitNotSent, &[1, 2, 5, 9]),
        (Moment::CommitUnanswered, &[1, 2, 3, 5, 9]),
        (Moment::AppliedNotAnswered, &[1, 2, 3, 5, 9]),
        (Moment::AnsweredNotNoted, &[1, 2, 5, 9]),
        (Moment::Revoking, &[1]),
        (Moment::TakingOver, &[1, 2, 3, 4, 5, 6]),
        (Moment::Claiming, &[1, 2]),
    ];
    for (partitions, (moment, times)) in [1, 3].into_iter().flat_map(|n| moments.map(|moment| (n, moment))) {
        for fault in [Fault::Error, Fault::Kill, Fault::Pause(100), Fault::Pause(LONG_MS)] {
            for time in times {
                let what = format!("{fault:?} at {moment:?}, time {time}, {partitions} partitions");
                println!("{what}");
                simulated(async {
                    let mut cluster = Cluster::new(*time, Scenario { partitions, ..QUIET });
                    cluster.faults.plan(moment, *time, fault);
                    come_and_go(&mut cluster).await;
                    assert_eq!(cluster.faults.tally().of(moment), 1, "{what}: it never came");
                    cluster.come_to_rest().await;
                });
            }
        }
    }
}

/// One process whose leader stands still at a moment, and a standby: what becomes of the leader's transaction.
fn successor_of_one_who_stands_still_at(moment: Moment) -> [u64; 3] {
    simulated(async {
        let mut cluster = Cluster::new(1, QUIET);
        cluster.start();
        commit_for(&cluster, 10).await;
        cluster.start();
        commit_for(&cluster, 4).await;
        cluster.faults.plan(moment, 1, Fault::Pause(LONG_MS));
        // The standby leads, and the former leader wakes up beside it.
        commit_for(&cluster, 50).await;
        cluster.come_to_rest().await;
        let tally = cluster.faults.tally();
        [Moment::LeaderFenced, Moment::TransactionAborted, Moment::TransactionCompleted].map(|moment| tally.of(moment))
    })
}

#[test]
fn a_leader_that_wakes_up_before_its_commit_is_refused_and_what_it_sent_is_never_seen() {
    let [fenced, aborted, completed] = successor_of_one_who_stands_still_at(Moment::SentNotCommitted);
    assert!(fenced > 0 && aborted + completed <= 1, "{fenced} {aborted} {completed}");
}

#[test]
fn a_leader_that_wakes_up_after_its_commit_was_taken_does_not_send_it_again() {
    let [fenced, aborted, _] = successor_of_one_who_stands_still_at(Moment::CommitUnanswered);
    assert_eq!((fenced > 0, aborted), (true, 0));
}

/// What each of two processes comes to of which the first leads and then fails at a moment each time, and the second too if `both` do: how often
/// it tried, each second for so long, and how many turns have ended then.
fn tried_by_leader_and_standby(moment: Moment, both: bool, seconds: u64) -> (Vec<[u64; 2]>, u64) {
    simulated(async {
        let mut cluster = Cluster::new(4, QUIET);
        cluster.start();
        commit_for(&cluster, 10).await;
        cluster.start();
        commit_for(&cluster, 4).await;
        let hosts: Vec<_> = cluster.processes.iter().map(|process| process.host.clone()).collect();
        hosts[..if both { 2 } else { 1 }].iter().for_each(|host| host.lack(Some(moment)));
        // What it was doing fails as well: somebody has to lead anew.
        if moment == Moment::TakingOver {
            cluster.faults.plan(Moment::CommitNotSent, 1, Fault::Error);
        }
        let mut tried = Vec::new();
        for _ in 0..seconds {
            cluster.commit();
            sleep(Duration::from_secs(1)).await;
            tried.push([hosts[0].has_lacked(), hosts[1].has_lacked()]);
        }
        let turns = cluster.faults.tally().of(Moment::SteppedDown);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(cluster.is_at_rest(), !both, "whether everything has arrived");
        hosts.iter().for_each(|host| host.lack(None));
        cluster.come_to_rest().await;
        (tried, turns)
    })
}

/// Where a leader cannot take over, or cannot append: the coordinator of transactions is out of its reach, or the leader of a partition.
const OUT_OF_REACH: [Moment; 2] = [Moment::TakingOver, Moment::DecodedNotSent];

#[test]
fn a_standby_takes_over_from_a_leader_that_reaches_its_group_and_not_the_rest() {
    for moment in OUT_OF_REACH {
        println!("{moment:?}");
        let (tried, _) = tried_by_leader_and_standby(moment, false, 60);
        let [soon, later] = [40, 59].map(|second| tried[second][0]);
        assert!(soon > 1 && soon == later, "it has stood by since: {tried:?}");
    }
}

#[test]
fn while_nobody_gets_anything_through_each_has_its_turn() {
    for moment in OUT_OF_REACH {
        let (tried, turns) = tried_by_leader_and_standby(moment, true, 300);
        let tried = tried[299];
        println!("{moment:?}: {turns} turns, {tried:?}");
        assert!((6..=10).contains(&turns), "one each thirty seconds, and a while in between");
        assert!(tried.iter().all(|tried| (20..100).contains(tried)), "with pauses");
    }
}

#[test]
fn a_leader_that_is_interrupted_now_and_then_keeps_the_lead_though_no_row_comes() {
    simulated(async {
        let mut cluster = Cluster::new(5, QUIET);
        cluster.start();
        commit_for(&cluster, 10).await;
        cluster.start();
        for _ in 0..5 {
            cluster.faults.plan(Moment::CommitNotSent, 1, Fault::Error);
            sleep(Duration::from_secs(40)).await;
        }
        let tally = cluster.faults.tally();
        assert_eq!((tally.of(Moment::CommitNotSent), tally.of(Moment::SteppedDown)), (5, 0));
        cluster.come_to_rest().await;
    });
}

#[test]
fn a_leader_that_stood_by_in_between_begins_a_turn_of_its_own() {
    simulated(async {
        let mut cluster = Cluster::new(6, QUIET);
        cluster.start();
        commit_for(&cluster, 10).await;
        cluster.start();
        commit_for(&cluster, 4).await;
        // It is overtaken, which is its first failure, and stands by.
        cluster.processes[0].host.stand_for(LONG_MS);
        sleep(Duration::from_secs(60)).await;
        assert!(cluster.faults.tally().of(Moment::LeaderFenced) > 0);
        cluster.processes[0].host.lack(Some(Moment::TakingOver));
        cluster.processes[1].end();
        sleep(Duration::from_secs(3)).await;
        assert!(cluster.processes[0].host.has_lacked() > 1);
        assert_eq!(cluster.faults.tally().of(Moment::SteppedDown), 0);
        cluster.processes[0].host.lack(None);
        cluster.come_to_rest().await;
    });
}

#[test]
fn a_task_that_stood_still_is_not_stopped_by_what_is_gone_since_then() {
    for (compacts, is_new) in [(false, true), (false, false), (true, false)] {
        println!("compacted: {compacts}, without a fence: {is_new}");
        simulated(async {
            let mut cluster = Cluster::new(2, Scenario { partitions: 1, compacts, ..QUIET });
            if !is_new {
                cluster.start();
                commit_for(&cluster, 10).await;
                cluster.processes.first().into_iter().for_each(Process::end);
            }
            // It has asked for the fence, and stands still until others have gone on.
            cluster.faults.plan(Moment::Claiming, 1, Fault::Pause(LONG_MS));
            cluster.start();
            commit_for(&cluster, 4).await;
            cluster.start();
            commit_for(&cluster, 10).await;
            for _ in 0..40 {
                commit_for(&cluster, 1).await;
                if compacts {
                    cluster.compact();
                } else {
                    cluster.shared.broker.delete_records();
                }
            }
            let gone = if compacts { Moment::RecordsCompacted } else { Moment::RecordsDeleted };
            assert!([gone, Moment::MemberLost].iter().all(|moment| cluster.faults.tally().of(*moment) > 0));
            assert_eq!(*cluster.shared.stops.lock().unwrap(), []);
            cluster.come_to_rest().await;
        });
    }
}

/// With which codes delivery stops after something happened to a log that was at rest, and more was committed then. `was_away`: the store is as
/// it was some time before.
fn stops_after(was_away: bool, happens: impl FnOnce(&Cluster)) -> Vec<&'static str> {
    simulated(async {
        let mut cluster = Cluster::new(3, Scenario { partitions: 1, ..QUIET });
        let Shared { broker, store, stops, .. } = cluster.shared.clone();
        cluster.start();
        commit_for(&cluster, 10).await;
        sleep(Duration::from_secs(5)).await;
        let saved = store.state().clone();
        commit_for(&cluster, 10).await;
        sleep(Duration::from_secs(5)).await;
        cluster.processes.iter().for_each(Process::end);
        sleep(Duration::from_secs(5)).await;
        if was_away {
            store.restore(saved);
        }
        happens(&cluster);
        let before = broker.last_seq(0);
        cluster.start();
        sleep(Duration::from_secs(15)).await;
        cluster.commit();
        sleep(Duration::from_secs(15)).await;
        assert!(broker.last_seq(0) > before, "capture goes on");
        cluster.faults.check();
        store.check();
        let stops = stops.lock().unwrap();
        stops.iter().map(|(_, code)| *code).collect()
    })
}

#[test]
fn the_broker_lost_the_last_records_of_a_partition() {
    let lost = |cluster: &Cluster| cluster.shared.broker.lose_last_message(0, false);
    // The store has what is gone.
    assert!(stops_after(false, lost).is_empty());
    assert_eq!(stops_after(true, lost), ["CHAIN_BROKEN"]);
    // All of it is read again under other numbers, and the store is at one that is gone.
    let lost = |cluster: &Cluster| cluster.shared.broker.lose_last_message(0, true);
    assert_eq!(stops_after(false, lost), ["CHAIN_BROKEN"]);
}

#[test]
fn everything_was_deleted_that_a_writer_has_not_read() {
    let deleted = |cluster: &Cluster| cluster.shared.broker.delete_all(0);
    assert!(stops_after(false, deleted).is_empty());
    assert_eq!(stops_after(true, deleted), ["LOG_TRIMMED"]);
    let never_there = |cluster: &Cluster| {
        cluster.shared.broker.delete_all(0);
        cluster.shared.broker.forget_group();
        cluster.shared.store.empty();
    };
    assert_eq!(stops_after(false, never_there), ["LOG_INCOMPLETE"]);
}

/// A writer's dump that was ordered before there was this partition.
fn after_its_dump() -> Beginning {
    let (orders, mut book) = orders();
    tokio::spawn(async move {
        while let Some(Order { answer, .. }) = book.recv().await {
            let _ = answer.send(Ok(Vec::new()));
        }
    });
    Beginning::Dump { orders, request: Request { writer: None, tables: Vec::new(), rows_per_second: None } }
}

/// What a new writer is told that begins so with a log whose first records were deleted.
fn told_of_deleted_records(beginning: fn() -> Beginning) -> Failure {
    simulated(async {
        let mut cluster = Cluster::new(3, Scenario { partitions: 1, ..QUIET });
        cluster.start();
        commit_for(&cluster, 10).await;
        cluster.processes.iter().for_each(Process::end);
        sleep(Duration::from_secs(5)).await;
        let Shared { broker, store, .. } = cluster.shared.clone();
        broker.delete_all(0);
        broker.forget_group();
        store.empty();
        let host = broker.faults.host();
        let mut delivery = Delivery {
            writer: "w".into(),
            tables: vec![Pattern::new("sim.*")],
            log: KafkaReader::open(broker.clone(), host.clone(), Arc::new(AtomicU64::new(0)), 0).await,
            plugin: SimPlugin::new(broker.random.clone(), None),
            connector: store.connector_of(0, host, Arc::default()),
            status: Board::default().writer("w", 0),
            owner: "late".into(),
            partition: 0,
            first: None,
            beginning: beginning(),
        };
        let shutdown = Shutdown::default();
        delivery.run(shutdown.ending()).await.expect_err("it stops")
    })
}

#[test]
fn a_new_writer_is_told_how_to_begin_by_how_it_was_to_begin() {
    let told = told_of_deleted_records(|| Beginning::Log);
    assert!(told.code == "LOG_INCOMPLETE" && told.message.contains("dump = \"never\""), "{told}");
    let told = told_of_deleted_records(after_its_dump);
    assert!(told.code == "LOG_INCOMPLETE" && !told.message.contains("dump = "), "{told}");
    assert!(told.message.contains("rebase w --to start"), "{told}");
}

#[test]
fn a_partition_that_came_after_the_dump_may_have_lost_its_beginning_to_compaction() {
    simulated(async {
        let mut cluster = Cluster::new(3, Scenario { partitions: 1, compacts: true, ..QUIET });
        let Shared { broker, store, stops, .. } = cluster.shared.clone();
        cluster.start();
        let isolation = broker.isolation();
        let has_lost = || {
            let state = broker.state();
            state.topics.partitions[0].messages(0, isolation).next().is_some_and(|(_, message)| message.prev > 0)
        };
        while !has_lost() {
            commit_for(&cluster, 2).await;
            cluster.compact();
        }
        cluster.processes.iter().for_each(Process::end);
        sleep(Duration::from_secs(5)).await;
        broker.forget_group();
        store.empty();
        cluster.shared.beginning = after_its_dump();
        cluster.start();
        commit_for(&cluster, 10).await;
        sleep(Duration::from_secs(5)).await;
        assert_eq!(*stops.lock().unwrap(), []);
        cluster.come_to_rest().await;
    });
}
