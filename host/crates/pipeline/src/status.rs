//! What the loops tell of themselves: read by `/metrics`, `/healthz`, `/readyz` and `mysync status`.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use mysync_change::position::Checkpoint;
use tokio::sync::watch;

use crate::dump::DumpStatus;
use crate::failure::Failure;
use crate::feed::Prepared;
use crate::timeline::{Standing, Timelines};

/// What a loop is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum State {
    #[default]
    Starting,
    /// Another process does this work; this one would take over.
    Standby,
    /// Another process does this work, and this one never will.
    Elsewhere,
    Running,
    /// Trying again after a transient failure, for as long as it takes.
    Retrying(Failure),
    /// Waiting for the operator.
    Stopped(Failure),
    Ended,
}

impl State {
    pub fn name(&self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Standby => "standby",
            State::Elsewhere => "elsewhere",
            State::Running => "running",
            State::Retrying(_) => "retrying",
            State::Stopped(_) => "stopped",
            State::Ended => "ended",
        }
    }

    fn has_started(&self, has_run: bool) -> bool {
        match self {
            State::Starting => false,
            // What was there once comes back; what never was is still being waited for.
            State::Retrying(_) => has_run,
            State::Standby | State::Elsewhere | State::Running | State::Stopped(_) | State::Ended => true,
        }
    }

    pub fn failure(&self) -> Option<&Failure> {
        match self {
            State::Retrying(failure) | State::Stopped(failure) => Some(failure),
            _ => None,
        }
    }
}

/// What ran this long without a failure has recovered; what failed again before it got any further has not.
const STEADY_US: u64 = 5_000_000;

/// A state, and since when it holds.
#[derive(Debug)]
struct Held(watch::Sender<Since>);

#[derive(Debug)]
struct Since {
    state: State,
    since_us: u64,
    /// When it last began to try again, and where it was.
    trouble: Option<(u64, u64)>,
}

impl Default for Held {
    fn default() -> Self {
        Self(watch::Sender::new(Since { state: State::default(), since_us: now_us(), trouble: None }))
    }
}

impl Held {
    fn get(&self) -> State {
        self.0.borrow().state.clone()
    }

    /// `seq`: how far it has come.
    fn set(&self, state: State, seq: u64, now_us: u64) {
        self.0.send_if_modified(|held| {
            if held.state == state {
                return false;
            }
            let retrying = matches!(state, State::Retrying(_));
            if discriminant(&held.state) != discriminant(&state) {
                let is_short = held.state == State::Running && now_us.saturating_sub(held.since_us) < STEADY_US;
                held.since_us = match held.trouble {
                    // A store that lets us in and fails at the first batch was never back.
                    Some((since_us, was_at)) if retrying && is_short && seq <= was_at => since_us,
                    _ => now_us,
                };
            }
            if retrying {
                held.trouble = Some((held.since_us, seq));
            }
            held.state = state;
            true
        });
    }

    fn since(&self, now_us: u64) -> (State, u64) {
        let held = self.0.borrow();
        (held.state.clone(), now_us.saturating_sub(held.since_us))
    }
}

/// Capture's own figures. Times are microseconds since 1970; 0: not yet.
#[derive(Debug, Default)]
pub struct CaptureStatus {
    state: Held,
    has_run: AtomicBool,
    /// The last sequence number in the log.
    pub seq: AtomicU64,
    timelines: Mutex<Timelines>,
    /// When the source was last heard, be it only a heartbeat.
    pub heard_us: AtomicU64,
    pub rows: AtomicU64,
    pub bytes: AtomicU64,
    pub blocks: AtomicU64,
    pub errors: AtomicU64,
    position: Mutex<Option<Checkpoint>>,
    dumps: Mutex<Vec<DumpStatus>>,
    leader: Mutex<Option<String>>,
}

/// One writer's figures in one partition.
#[derive(Debug, Default)]
pub struct DeliverStatus {
    state: Held,
    has_run: AtomicBool,
    /// The last sequence number in effect in the store.
    pub seq: AtomicU64,
    /// Commit time of the last transaction in effect.
    pub committed_us: AtomicU64,
    pub rows: AtomicU64,
    pub batches: AtomicU64,
    pub bytes: AtomicU64,
    pub errors: AtomicU64,
    /// Transactions that were larger than a batch and became visible in parts.
    pub split: AtomicU64,
    latency: Latency,
}

/// Bucket bounds of the commit-to-store latency, in microseconds.
pub const LATENCY_BOUNDS_US: [u64; 16] = [
    100, 200, 300, 500, 750, 1_000, 1_500, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_000_000,
    10_000_000,
];

/// Counts by bucket, the last for everything above the bounds, and their sum.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Latency {
    pub fn record(&self, micros: u64, rows: u64) {
        let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(rows, Relaxed);
        self.sum_us.fetch_add(micros.saturating_mul(rows), Relaxed);
    }

    fn successor(&self) -> Self {
        Self { buckets: std::array::from_fn(|i| copied(&self.buckets[i])), sum_us: copied(&self.sum_us) }
    }

    /// Counts by bucket, and the sum in microseconds.
    pub fn read(&self) -> (Vec<u64>, u64) {
        (self.buckets.iter().map(|count| count.load(Relaxed)).collect(), self.sum_us.load(Relaxed))
    }
}

fn copied(figure: &AtomicU64) -> AtomicU64 {
    AtomicU64::new(figure.load(Relaxed))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CaptureStatus {
    pub fn state(&self) -> State {
        self.state.get()
    }

    /// The state, and for how many microseconds it has been of that kind.
    pub fn held(&self, now_us: u64) -> (State, u64) {
        self.state.since(now_us)
    }

    pub fn set_state(&self, state: State) {
        self.has_run.fetch_or(state == State::Running, Relaxed);
        self.state.set(state, self.seq.load(Relaxed), now_us());
    }

    /// Whether it is past its start: it has run, or will not without the operator.
    pub fn has_started(&self) -> bool {
        self.state().has_started(self.has_run.load(Relaxed))
    }

    /// When the source committed what the log was given.
    pub fn timelines(&self) -> MutexGuard<'_, Timelines> {
        lock(&self.timelines)
    }

    pub fn position(&self) -> Option<Checkpoint> {
        lock(&self.position).clone()
    }

    pub fn set_position(&self, position: &Checkpoint) {
        lock(&self.position).get_or_insert_with(|| position.clone()).clone_from(position);
    }

    /// The process that captures, by its machine and number; none: it is not known, or there can be no other.
    pub fn leader(&self) -> Option<String> {
        lock(&self.leader).clone()
    }

    pub fn set_leader(&self, name: String) {
        *lock(&self.leader) = Some(name).filter(|name| !name.is_empty());
    }

    /// Every dump that is not over, and those that have ended since this process started.
    pub fn dumps(&self) -> Vec<DumpStatus> {
        lock(&self.dumps).clone()
    }

    pub fn set_dumps(&self, dumps: Vec<DumpStatus>) {
        *lock(&self.dumps) = dumps;
    }
}

impl DeliverStatus {
    pub fn state(&self) -> State {
        self.state.get()
    }

    /// The state, and for how many microseconds it has been of that kind.
    pub fn held(&self, now_us: u64) -> (State, u64) {
        self.state.since(now_us)
    }

    pub fn set_state(&self, state: State) {
        self.has_run.fetch_or(state == State::Running, Relaxed);
        self.state.set(state, self.seq.load(Relaxed), now_us());
    }

    /// Whether it is past its start: it has run, or will not without the operator.
    pub fn has_started(&self) -> bool {
        self.state().has_started(self.has_run.load(Relaxed))
    }

    /// Waits until it is no longer starting.
    pub async fn settled(&self) {
        let _ = self.state.0.subscribe().wait_for(|held| held.state != State::Starting).await;
    }

    /// For the writer's next task: it starts, and goes on counting.
    fn successor(&self) -> Self {
        Self {
            state: Held::default(),
            has_run: AtomicBool::new(self.has_run.load(Relaxed)),
            seq: copied(&self.seq),
            committed_us: copied(&self.committed_us),
            rows: copied(&self.rows),
            batches: copied(&self.batches),
            bytes: copied(&self.bytes),
            errors: copied(&self.errors),
            split: copied(&self.split),
            latency: self.latency.successor(),
        }
    }

    /// A batch is in effect. The latency counted is that of its oldest transaction. One that was in effect before counts once.
    pub fn note(&self, prepared: &Prepared) {
        let extent = &prepared.extent;
        if extent.last.seq <= self.seq.load(Relaxed) {
            return;
        }
        self.seq.store(extent.last.seq, Relaxed);
        self.commit(extent.youngest_us);
        self.rows.fetch_add(u64::from(extent.rows), Relaxed);
        self.batches.fetch_add(1, Relaxed);
        self.bytes.fetch_add(extent.bytes as u64, Relaxed);
        self.split.fetch_add(u64::from(!extent.whole && extent.oldest_us > 0), Relaxed);
        if extent.oldest_us > 0 {
            self.latency.record(now_us().saturating_sub(extent.oldest_us), u64::from(extent.rows));
        }
    }

    fn commit(&self, youngest_us: u64) {
        if youngest_us > 0 {
            self.committed_us.store(youngest_us, Relaxed);
        }
    }

    /// Where a session begins: everything up to `applied` is in effect, and a batch up to `redo` may be.
    pub fn begin(&self, applied: u64, redo: Option<u64>) {
        if redo != Some(self.seq.load(Relaxed)) {
            self.seq.store(applied, Relaxed);
        }
    }

    /// Records went by that are not for this writer.
    pub fn pass(&self, prepared: &Prepared) {
        self.seq.store(prepared.extent.last.seq, Relaxed);
        self.commit(prepared.extent.youngest_us);
    }

    pub fn latency(&self) -> &Latency {
        &self.latency
    }
}

/// Everything that runs in this process.
#[derive(Debug, Default)]
pub struct Board {
    pub capture: CaptureStatus,
    writers: Mutex<BTreeMap<(String, u32), Arc<DeliverStatus>>>,
    /// Writers of which it is not known yet which partitions are this process's.
    awaited: Mutex<BTreeSet<String>>,
}

impl Board {
    /// A writer that will be given partitions, or told that there are none for this process.
    pub fn expect(&self, name: &str) {
        lock(&self.awaited).insert(name.to_owned());
    }

    /// That is known now.
    pub fn assigned(&self, name: &str) {
        lock(&self.awaited).remove(name);
    }

    /// Whether capture and every partition of this process are past their start.
    pub fn has_started(&self) -> bool {
        self.capture.has_started()
            && lock(&self.awaited).is_empty()
            && lock(&self.writers).values().all(|status| status.has_started())
    }

    /// The status of a task that starts. Whatever is left of the one before it shows nowhere any more.
    pub fn start(&self, name: &str, partition: u32) -> Arc<DeliverStatus> {
        let mut writers = lock(&self.writers);
        let status = writers.entry((name.to_owned(), partition)).or_default();
        *status = Arc::new(status.successor());
        status.clone()
    }

    /// A partition is no longer this process's.
    pub fn end(&self, name: &str, partition: u32) {
        lock(&self.writers).remove(&(name.to_owned(), partition));
    }

    pub fn writer(&self, name: &str, partition: u32) -> Arc<DeliverStatus> {
        lock(&self.writers).entry((name.to_owned(), partition)).or_default().clone()
    }

    pub fn writers(&self) -> Vec<(String, u32, Arc<DeliverStatus>)> {
        lock(&self.writers)
            .iter()
            .map(|((name, partition), status)| (name.clone(), *partition, status.clone()))
            .collect()
    }

    /// How far a writer is behind the source in a partition, in microseconds, at `now_us`: the age of the oldest change that is not in effect.
    /// None: it has not written since this process started, so nobody here knows since when it is behind.
    ///
    /// Nothing to do means no lag, as long as the source has been heard of: silence of the source counts as lag, because nobody can tell
    /// what it has committed since.
    pub fn lag_us(&self, partition: u32, writer: &DeliverStatus, now_us: u64) -> Option<u64> {
        let heard_us = Some(self.capture.heard_us.load(Relaxed)).filter(|heard_us| *heard_us > 0)?;
        let silence = now_us.saturating_sub(heard_us);
        let since_us = match self.capture.timelines().standing(partition, writer.seq.load(Relaxed)) {
            Standing::Level => return Some(if silence > SILENCE_US { silence } else { 0 }),
            Standing::BehindSince(since_us) => since_us,
            // A backlog from before this start: what comes next in it is about as old as what came last.
            Standing::Unknown => Some(writer.committed_us.load(Relaxed)).filter(|since_us| *since_us > 0)?,
        };
        Some(now_us.saturating_sub(since_us).max(1))
    }
}

/// A source that sends a heartbeat each second and was not heard for this long is silent.
pub const SILENCE_US: u64 = 5_000_000;

/// Microseconds since 1970 in UTC, by this machine's clock.
pub fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut() -> State {
        State::Retrying(Failure::transient("REDIS_LOST_ANSWER", "cut"))
    }

    /// What a state is set to in these steps of (second, state, seq); answers for how many seconds the last one holds at the last step.
    fn held(steps: &[(u64, State, u64)]) -> u64 {
        let held = Held::default();
        let mut now_us = 0;
        for (second, state, seq) in steps {
            now_us = second * 1_000_000;
            held.set(state.clone(), *seq, now_us);
        }
        held.since(now_us).1 / 1_000_000
    }

    #[test]
    fn the_same_trouble_goes_on_and_another_begins_anew() {
        let other = State::Retrying(Failure::transient("REDIS_UNREACHABLE", "refused"));
        assert_eq!(held(&[(1, cut(), 5), (9, other, 5), (20, cut(), 5)]), 19);
        assert_eq!(held(&[(1, State::Running, 5), (9, State::Running, 6)]), 8);
        assert_eq!(held(&[(1, cut(), 5), (9, State::Running, 5)]), 0);
    }

    #[test]
    fn a_store_that_only_lets_us_in_was_never_back() {
        assert_eq!(
            held(&[(1, cut(), 5), (9, State::Running, 5), (10, cut(), 5), (11, State::Running, 5), (12, cut(), 5)]),
            11
        );
        assert_eq!(held(&[(1, cut(), 5), (9, State::Running, 5), (10, cut(), 6)]), 0, "it has taken a batch");
        assert_eq!(held(&[(1, cut(), 5), (9, State::Running, 5), (14, cut(), 5)]), 0, "it was there for long");
    }

    #[test]
    fn a_writer_that_starts_again_goes_on_counting() {
        let board = Board::default();
        let old = board.start("users", 0);
        old.set_state(State::Running);
        old.rows.store(7, Relaxed);
        old.latency().record(90, 2);
        let new = board.start("users", 0);
        old.set_state(State::Stopped(Failure::definite("FENCE_TAKEN", "taken")));
        let seen = board.writer("users", 0);
        assert_eq!((seen.state(), seen.rows.load(Relaxed), seen.latency().read().0[0]), (State::Starting, 7, 2));
        new.set_state(cut());
        assert!(seen.has_started(), "it has run before");
    }
}
