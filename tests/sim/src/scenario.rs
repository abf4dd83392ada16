//! One history from its seed: commits, faults, kills, power cuts; then calm, and everything must have arrived.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mysync_change::fence::Fence;
use mysync_change::pattern::Pattern;
use mysync_pipeline::capture::capture;
use mysync_pipeline::deliver::Delivery;
use mysync_pipeline::shutdown::Shutdown;
use mysync_pipeline::status::Board;

use crate::log::SimLog;
use crate::random::Random;
use crate::source::{Change, History, SimSource};
use crate::store::{SimStore, replay};
use crate::writer::SimPlugin;

/// What a history may hold.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    pub partitions: usize,
    /// One call in so many fails.
    pub failing: u64,
    /// Whether kills may be power cuts.
    pub power: bool,
}

/// Plays the history of a seed, and panics where a promise is broken.
pub fn play(seed: u64, scenario: Scenario) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let random = Random::new(seed, scenario.failing);
        let history: History = Arc::default();
        let log = SimLog::new(scenario.partitions, random.clone());
        // A power cut replays a batch whose answer was lost with the log's tail: states may then repeat.
        let store = SimStore::new(history.clone(), random.clone(), scenario.partitions == 1 && !scenario.power);
        let owners = Arc::new(Mutex::new(0));

        for _ in 0..1 + random.below(5) {
            commit(&history, &random);
            let life = Duration::from_millis(1 + random.below(3000));
            // Dropped in the middle of whatever it does: a kill.
            let _ = tokio::time::timeout(life, process(&history, &log, &store, &random, &owners)).await;
            if scenario.power && random.one_in(2) {
                log.cut_power();
            }
        }
        random.calm();
        let _ = tokio::time::timeout(Duration::from_secs(60), process(&history, &log, &store, &random, &owners)).await;

        let history = history.lock().unwrap();
        let state = store.state.lock().unwrap();
        assert_eq!(state.entries, replay(&history, history.len()), "the store differs from the source");
        for (partition, text) in &state.fences {
            let fence = Fence::parse(text).unwrap();
            assert_eq!(fence.began, fence.applied, "partition {partition} has not settled");
            assert_eq!(fence.applied.seq, log.last_seq(*partition), "partition {partition} has not come to the end");
        }
    });
}

/// Some transactions over few keys, so that they meet.
fn commit(history: &History, random: &Random) {
    for _ in 0..random.below(12) {
        let mut changes = Vec::new();
        for _ in 0..1 + random.below(8) {
            let key = random.below(6) as i64;
            let value = format!("v{}", random.below(1 << 40));
            changes.push(match random.below(5) {
                0 => Change::Remove { key },
                1 => Change::Move { from: key, to: (key + 1) % 6, value },
                _ => Change::Put { key, value },
            });
        }
        history.lock().unwrap().push(changes);
    }
}

/// A process: capture and every delivery, until it is dropped.
async fn process(history: &History, log: &SimLog, store: &SimStore, random: &Random, owners: &Arc<Mutex<u64>>) {
    let shutdown = Shutdown::default();
    let board = Board::default();
    let mut source = SimSource::new(history.clone(), random.clone());
    let mut writer_log = log.clone();
    let owner = {
        let mut owners = owners.lock().unwrap();
        *owners += 1;
        owners.to_string()
    };
    let partitions = (0..).take_while(|p| *p < log.partitions());
    let deliveries = partitions.map(|partition| {
        let mut delivery = Delivery {
            writer: "w".into(),
            tables: vec![Pattern::new("sim.*")],
            log: log.reader(partition),
            plugin: SimPlugin(random.clone()),
            connector: store.connector(partition),
            status: board.writer("w", partition as u32),
            owner: owner.clone(),
        };
        let ending = shutdown.ending();
        async move { delivery.run(ending).await }
    });
    let mut deliveries: Vec<_> = deliveries.map(Box::pin).collect();
    let all = std::future::poll_fn(|context| {
        for delivery in &mut deliveries {
            if let std::task::Poll::Ready(outcome) = delivery.as_mut().poll(context) {
                panic!("a delivery ended: {outcome:?}");
            }
        }
        std::task::Poll::<()>::Pending
    });
    tokio::select! {
        outcome = capture(&mut source, &mut writer_log, &board.capture, shutdown.ending()) => panic!("capture ended: {outcome:?}"),
        () = all => {}
    }
}
