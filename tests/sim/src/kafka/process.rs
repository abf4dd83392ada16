//! One process: capture with its membership, and delivery.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use mysync_pipeline::capture::capture;
use mysync_pipeline::dump::Beginning;
use mysync_pipeline::shutdown::Shutdown;
use mysync_pipeline::status::Board;
use tokio::time::Instant;

use super::assigned::Tasks;
use super::broker::Broker;
use super::leader::KafkaLeader;
use super::membership::Membership;
use crate::bell::Bell;
use crate::faults::{Gate, Host};
use crate::history::History;
use crate::source::SimSource;
use crate::store::SimStore;

/// Rows of a block at most: fewer than the largest transactions have.
const BLOCK_ROWS: u64 = 8;

/// What processes share.
#[derive(Debug, Clone)]
pub struct Shared {
    pub history: History,
    pub broker: Broker,
    pub store: SimStore,
    /// Partitions in which a task has stopped, and with which code.
    pub stops: Arc<Mutex<Vec<(usize, &'static str)>>>,
    /// An operator has stopped tasks go on.
    pub resumed: Bell,
    /// Whether a dump brings what was there before the log.
    pub loads: bool,
    /// Where the writer begins in a store that was never written to.
    pub beginning: Beginning,
    pub tasks: Arc<AtomicU64>,
    /// When the world began.
    pub began: Instant,
}

#[derive(Debug)]
pub struct Process {
    pub host: Host,
    /// For capture and delivery.
    shutdowns: [Shutdown; 2],
    /// Parts that have ended as they were asked to.
    ended: Arc<AtomicU64>,
}

impl Process {
    pub fn start(shared: &Shared) -> Self {
        let process = Self { host: shared.broker.faults.host(), shutdowns: Default::default(), ended: Arc::default() };
        process.capture(shared);
        process.deliver(shared);
        process
    }

    fn capture(&self, shared: &Shared) {
        let (host, broker) = (self.host.clone(), shared.broker.clone());
        let board = Arc::new(Board::default());
        let membership = Membership::new(broker.clone(), board.clone());
        let beating = membership.clone();
        let beats = Gate::default();
        host.spawn(beats.clone(), async move { beating.beat().await });
        let mut source = SimSource::new(shared.history.clone(), broker.random.clone(), BLOCK_ROWS, broker.mutant)
            .loading(shared.loads);
        let mut log = KafkaLeader::new(broker.clone(), membership.clone(), host.clone(), shared.began);
        let (ending, ended) = (self.shutdowns[0].ending(), self.ended.clone());
        host.spawn(Gate::default(), async move {
            let outcome = capture(&mut source, &mut log, &board.capture, ending).await;
            if let Err(failure) = outcome {
                broker.faults.wrong(format!("capture ended: {failure}"));
            }
            beats.kill();
            membership.leave().await;
            ended.fetch_add(1, Ordering::Relaxed);
        });
    }

    fn deliver(&self, shared: &Shared) {
        let tasks = Tasks::new(shared.clone(), self.host.clone());
        let (ending, ended, resumed) = (self.shutdowns[1].ending(), self.ended.clone(), shared.resumed.listen());
        self.host.spawn(Gate::default(), async move {
            tasks.serve(resumed, ending).await;
            ended.fetch_add(1, Ordering::Relaxed);
        });
    }

    /// Asks it to end.
    pub fn end(&self) {
        self.shutdowns.iter().for_each(Shutdown::begin);
    }

    pub fn has_ended(&self) -> bool {
        self.host.gate.is_dead() || self.ended.load(Ordering::Relaxed) == 2
    }
}
