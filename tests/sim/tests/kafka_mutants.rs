//! The judge can fail, also for the log on Kafka: each mistake is found by some history of several processes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};

use mysync_sim_tests::Mutant::{self, *};
use mysync_sim_tests::kafka::cluster::{Scenario, play};

/// A mistake that so many histories do not show is not looked for.
const SEEDS: u64 = 600;

#[test]
fn every_mistake_around_kafka_is_found() {
    // What each panic says is of no interest here.
    set_hook(Box::new(|_| {}));
    let kills = Scenario { partitions: 1, processes: 2, failing: 30, faulting: 20, ..Scenario::default() };
    let pauses = Scenario { partitions: 3, processes: 3, pauses: true, ..kills };
    let whole = Scenario { partitions: 1, ..pauses };
    let compacts = Scenario { compacts: true, losses: true, partitions: 2, ..pauses };
    let mutants: [(Mutant, Scenario); 20] = [
        (CheckpointOutsideTransaction, kills),
        (CommitOnPartialBatch, kills),
        (CommitRetried, kills),
        (LeaderNotFenced, whole),
        (CheckpointReadTooEarly, kills),
        (ReadUncommitted, kills),
        (ReadAborted, kills),
        (RetransmittedTwice, kills),
        (OffsetTrusted, Scenario { losses: true, ..pauses }),
        (RevokedNotFenced, pauses),
        (SequencesBeginAnew, Scenario { losses: true, ..pauses }),
        (HolesPassedOver, compacts),
        (ShapeNotAwaited, kills),
        (SilenceTakenForLoss, Scenario { partitions: 4, processes: 4, storms: true, ..pauses }),
        (TrimmedUnread, Scenario { retention: true, ..pauses }),
        (PositionMovedAtBegin, kills),
        (NewHalfFromOldKey, pauses),
        (FenceNotCompared, pauses),
        (FenceComparedTooLate, pauses),
        (AnsweredTooEarly, kills),
    ];
    let missed = mutants.into_iter().filter(|(mutant, scenario)| {
        let scenario = Scenario { mutant: Some(*mutant), ..*scenario };
        let found = (0..SEEDS).find(|seed| catch_unwind(AssertUnwindSafe(|| play(*seed, scenario))).is_err());
        println!("{mutant:?}: {}", found.map_or("missed".to_owned(), |seed| format!("after {} seeds", seed + 1)));
        found.is_none()
    });
    assert_eq!(missed.map(|(mutant, _)| mutant).collect::<Vec<_>>(), []);
}
