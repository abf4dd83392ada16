//! What the running process tells: the JSON of `/api/status`, and the verdicts of `/healthz` and `/readyz`.

pub mod dump;

use std::sync::atomic::Ordering::Relaxed;

use mysync_pipeline::failure::Failure;
use mysync_pipeline::status::{Board, DeliverStatus, LATENCY_BOUNDS_US, State};
use serde::{Deserialize, Serialize};

use super::Observed;
pub use dump::DumpReport;

/// How long trouble may last before it turns health red: a server's restart takes less.
pub const PATIENCE_US: u64 = 30_000_000;
/// How long a start may take: the largest component compiles in less.
const START_PATIENCE_US: u64 = 60_000_000;

/// Everything, at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    pub version: String,
    pub source: String,
    /// `run`, `capture` or `deliver`: what this process does.
    pub role: String,
    pub healthy: bool,
    pub ready: bool,
    /// Why it is not healthy or not ready.
    pub reasons: Vec<Reason>,
    pub capture: CaptureReport,
    pub writers: Vec<WriterReport>,
    /// Those that are not over, and those that have ended since the process started.
    pub dumps: Vec<DumpReport>,
}

/// Something that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// `capture`, `writer NAME/PARTITION`, or `dump NUMBER`.
    pub of: String,
    pub code: String,
    pub message: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CaptureReport {
    pub state: String,
    /// With the log on Kafka: the process that captures, as MACHINE:NUMBER. None: not known.
    pub leader: Option<String>,
    pub code: Option<String>,
    pub message: Option<String>,
    pub seq: u64,
    pub position: Option<String>,
    pub silence_seconds: f64,
    pub rows: u64,
    pub bytes: u64,
    pub blocks: u64,
    pub errors: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WriterReport {
    pub writer: String,
    pub partition: u32,
    pub state: String,
    pub code: Option<String>,
    pub message: Option<String>,
    pub seq: u64,
    /// None: not known yet.
    pub lag_seconds: Option<f64>,
    pub rows: u64,
    pub batches: u64,
    pub bytes: u64,
    pub errors: u64,
    pub split_transactions: u64,
    /// Upper bounds of the latency of half of all rows, and of 99 in 100.
    pub commit_to_store_p50_seconds: Option<f64>,
    pub commit_to_store_p99_seconds: Option<f64>,
}

impl Report {
    pub fn new(observed: &Observed, now_us: u64) -> Self {
        let board = &observed.board;
        let (writers, dumps) = (board.writers(), board.capture.dumps());
        let reasons: Vec<Reason> = observed
            .capture_trouble(now_us)
            .into_iter()
            .chain(writers.iter().filter_map(|(name, partition, status)| {
                observed.writer_trouble(*partition, status, now_us).map(|(code, message)| Reason {
                    of: format!("writer {name}/{partition}"),
                    code,
                    message,
                })
            }))
            .chain(dumps.iter().filter_map(|status| dump::trouble(status, now_us)))
            .collect();
        let ready = board.has_started();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            source: observed.source.clone(),
            role: observed.role.name().to_owned(),
            healthy: reasons.is_empty(),
            ready,
            reasons,
            capture: CaptureReport::new(observed, now_us),
            writers: writers
                .iter()
                .map(|(name, partition, status)| WriterReport::new(board, name, *partition, status, now_us))
                .collect(),
            dumps: dumps.iter().map(DumpReport::new).collect(),
        }
    }
}

impl CaptureReport {
    fn new(observed: &Observed, now_us: u64) -> Self {
        let capture = &observed.board.capture;
        let state = capture.state();
        Self {
            state: state.name().to_owned(),
            leader: capture.leader(),
            code: state.failure().map(|failure| failure.code.to_owned()),
            message: state.failure().map(|failure| failure.message.clone()),
            seq: capture.seq.load(Relaxed),
            position: capture.position().map(|checkpoint| checkpoint.position.to_string()),
            silence_seconds: seconds(observed.silence_us(now_us)),
            rows: capture.rows.load(Relaxed),
            bytes: capture.bytes.load(Relaxed),
            blocks: capture.blocks.load(Relaxed),
            errors: capture.errors.load(Relaxed),
        }
    }
}

impl WriterReport {
    fn new(board: &Board, writer: &str, partition: u32, status: &DeliverStatus, now_us: u64) -> Self {
        let state = status.state();
        let (counts, _) = status.latency().read();
        Self {
            writer: writer.to_owned(),
            partition,
            state: state.name().to_owned(),
            code: state.failure().map(|failure| failure.code.to_owned()),
            message: state.failure().map(|failure| failure.message.clone()),
            seq: status.seq.load(Relaxed),
            lag_seconds: board.lag_us(partition, status, now_us).map(seconds),
            rows: status.rows.load(Relaxed),
            batches: status.batches.load(Relaxed),
            bytes: status.bytes.load(Relaxed),
            errors: status.errors.load(Relaxed),
            split_transactions: status.split.load(Relaxed),
            commit_to_store_p50_seconds: quantile_us(&counts, 50).map(seconds),
            commit_to_store_p99_seconds: quantile_us(&counts, 99).map(seconds),
        }
    }
}

impl Observed {
    fn capture_trouble(&self, now_us: u64) -> Option<Reason> {
        let silence_us = self.silence_us(now_us);
        let (state, held_us) = self.board.capture.held(now_us);
        let (code, message) = match state {
            State::Stopped(failure) => told(&failure),
            State::Retrying(failure) if held_us.max(silence_us) > PATIENCE_US => told(&failure),
            State::Starting if held_us > START_PATIENCE_US => slow_start(held_us),
            State::Ended => ("CAPTURE_ENDED".to_owned(), "capture has ended".to_owned()),
            // The process that captures tells of its source.
            State::Standby | State::Elsewhere => return None,
            _ if silence_us > PATIENCE_US => (
                "SOURCE_SILENT".to_owned(),
                format!("nothing was heard of the source for {} s, not even a heartbeat", silence_us / 1_000_000),
            ),
            _ => return None,
        };
        Some(Reason { of: "capture".to_owned(), code, message })
    }

    /// Why a delivery is dead. A lag alone is none: it has much to do.
    fn writer_trouble(&self, partition: u32, status: &DeliverStatus, now_us: u64) -> Option<(String, String)> {
        let lag_us = || self.board.lag_us(partition, status, now_us).unwrap_or(0);
        let (state, held_us) = status.held(now_us);
        match state {
            State::Stopped(failure) => Some(told(&failure)),
            State::Retrying(failure) if held_us.max(lag_us()) > PATIENCE_US => Some(told(&failure)),
            State::Starting if held_us > START_PATIENCE_US => Some(slow_start(held_us)),
            State::Ended => Some(("DELIVERY_ENDED".to_owned(), "delivery has ended".to_owned())),
            _ => self.retention_us.filter(|retention_us| lag_us() > retention_us / 2).map(|retention_us| {
                let message = format!(
                    "it is {} s behind, and the log deletes records after {} s, read or not: find out why it is slow, or give the log's topic \
                     more time (retention.ms, and log.retention)",
                    lag_us() / 1_000_000,
                    retention_us / 1_000_000
                );
                ("RETENTION_NEAR".to_owned(), message)
            }),
        }
    }
}

fn slow_start(held_us: u64) -> (String, String) {
    let message = format!("it has been starting for {} s, and neither runs nor has failed", held_us / 1_000_000);
    ("START_SLOW".to_owned(), message)
}

fn told(failure: &Failure) -> (String, String) {
    (failure.code.to_owned(), failure.message.clone())
}

/// The bound that so many of a hundred are below.
fn quantile_us(counts: &[u64], percent: u64) -> Option<u64> {
    let total: u64 = counts.iter().sum();
    let mut left = (total * percent).div_ceil(100);
    let last = LATENCY_BOUNDS_US.len() - 1;
    for (i, count) in counts.iter().enumerate() {
        if left <= *count {
            return (total > 0).then(|| LATENCY_BOUNDS_US[i.min(last)]);
        }
        left -= count;
    }
    None
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mysync_pipeline::status::now_us;

    use super::*;
    use crate::role::Role;

    fn observed() -> (Observed, u64) {
        let observed = Observed::new("shop".to_owned(), Role::Run, Arc::new(Board::default()));
        let now = observed.started_us;
        observed.board.capture.set_state(State::Running);
        observed.board.capture.timelines().lead(&[0]);
        observed.board.capture.heard_us.store(now, Relaxed);
        observed.board.writer("users", 0).set_state(State::Running);
        (observed, now)
    }

    /// What is said after this time, in which the source was heard.
    fn after(observed: &Observed, elapsed_us: u64) -> Report {
        // States are set a little after the start.
        let now_us = now_us() + elapsed_us;
        observed.board.capture.heard_us.store(now_us, Relaxed);
        Report::new(observed, now_us)
    }

    fn refused() -> Failure {
        Failure::transient("REDIS_UNREACHABLE", "refused")
    }

    #[test]
    fn an_idle_source_is_no_lag_and_a_silent_one_is() {
        let (observed, now) = observed();
        assert_eq!(Report::new(&observed, now + 1_000_000).writers[0].lag_seconds, Some(0.0));
        let silent = Report::new(&observed, now + PATIENCE_US + 1);
        assert!(!silent.healthy && silent.reasons[0].code == "SOURCE_SILENT");
        assert!(silent.writers[0].lag_seconds.unwrap() > 30.0);
    }

    #[test]
    fn a_backlog_of_unknown_age_is_not_half_a_century() {
        let (observed, now) = observed();
        observed.board.capture.timelines().lead(&[10]);
        assert_eq!(Report::new(&observed, now).writers[0].lag_seconds, None);
        let writer = observed.board.writer("users", 0);
        writer.committed_us.store(now - 2_000_000, Relaxed);
        assert_eq!(Report::new(&observed, now).writers[0].lag_seconds, Some(2.0));
    }

    #[test]
    fn health_is_red_when_a_delivery_is_dead_and_green_while_it_recovers() {
        let (observed, now) = observed();
        let writer = observed.board.writer("users", 0);
        writer.set_state(State::Retrying(refused()));
        assert!(Report::new(&observed, now).healthy, "a store may restart");
        observed.board.capture.timelines().lead(&[10]);
        assert!(Report::new(&observed, now).healthy, "nobody knows yet");
        writer.committed_us.store(now - PATIENCE_US - 1, Relaxed);
        let report = Report::new(&observed, now);
        let expected = Reason {
            of: "writer users/0".to_owned(),
            code: "REDIS_UNREACHABLE".to_owned(),
            message: "refused".to_owned(),
        };
        assert_eq!(report.reasons, [expected]);
        writer.set_state(State::Stopped(Failure::definite("WASM_TRAP", "trapped")));
        assert_eq!(Report::new(&observed, now).reasons[0].code, "WASM_TRAP");
    }

    #[test]
    fn a_writer_that_is_about_to_miss_what_the_log_deletes_is_red_in_time() {
        let (observed, now) = observed();
        let observed = observed.deleting_after(std::time::Duration::from_secs(100));
        observed.board.capture.timelines().follow(&[7], &[Some((now, now))]);
        let told = |seconds: u64| {
            after(&observed, seconds * 1_000_000).reasons.into_iter().map(|reason| reason.code).collect()
        };
        let red: [Vec<String>; 2] = [told(40), told(60)];
        assert_eq!(red, [vec![], vec!["RETENTION_NEAR".to_owned()]]);
    }

    #[test]
    fn a_store_that_is_gone_for_long_is_red_even_if_there_is_nothing_to_write() {
        let (observed, _) = observed();
        let writer = observed.board.writer("users", 0);
        writer.set_state(State::Retrying(refused()));
        let report = after(&observed, PATIENCE_US - 1_000_000);
        assert!(report.healthy && report.writers[0].lag_seconds == Some(0.0), "{report:?}");
        writer.set_state(State::Retrying(Failure::transient("REDIS_LOST_ANSWER", "cut")));
        let report = after(&observed, PATIENCE_US + 1);
        assert_eq!(report.reasons[0].code, "REDIS_LOST_ANSWER", "{report:?}");
        assert_eq!(report.writers[0].lag_seconds, Some(0.0), "there is nothing to write");
        writer.set_state(State::Running);
        assert!(after(&observed, PATIENCE_US + 1).healthy, "it is back");
    }

    #[test]
    fn capture_that_tries_again_for_long_is_red_even_if_the_source_is_heard() {
        let (observed, _) = observed();
        observed.board.capture.set_state(State::Retrying(Failure::transient("LOG_FULL", "full")));
        assert!(after(&observed, PATIENCE_US - 1_000_000).healthy);
        assert_eq!(after(&observed, PATIENCE_US + 1).reasons[0].code, "LOG_FULL");
    }

    #[test]
    fn what_starts_and_never_gets_anywhere_is_red() {
        let observed = Observed::new("shop".to_owned(), Role::Run, Arc::new(Board::default()));
        observed.board.start("users", 0);
        assert!(after(&observed, START_PATIENCE_US - 1_000_000).healthy);
        let report = after(&observed, START_PATIENCE_US + 1);
        let told: Vec<(&str, &str)> = report.reasons.iter().map(|r| (r.of.as_str(), r.code.as_str())).collect();
        assert_eq!(told, [("capture", "START_SLOW"), ("writer users/0", "START_SLOW")]);
    }

    #[test]
    fn ready_once_everything_has_started() {
        let (observed, now) = observed();
        assert!(Report::new(&observed, now).ready);
        let orders = observed.board.writer("orders", 0);
        assert!(!Report::new(&observed, now).ready);
        orders.set_state(State::Retrying(refused()));
        assert!(!Report::new(&observed, now).ready, "its store was never there");
        orders.set_state(State::Running);
        orders.set_state(State::Retrying(refused()));
        assert!(Report::new(&observed, now).ready, "its store is away for a while");
    }

    #[test]
    fn a_dump_that_has_stopped_is_red_while_capture_and_writers_run() {
        use mysync_pipeline::dump::Stage;
        let (observed, now) = observed();
        let damaged = Stage::Stopped(Failure::definite("SOURCE_SERVER_ERROR", "denied"));
        let dumps = [Stage::Done, damaged, Stage::Waiting];
        observed.board.capture.set_dumps((1..).zip(dumps).map(|(n, stage)| dump::tests::status(n, stage)).collect());
        let report = Report::new(&observed, now);
        let told: Vec<(&str, &str)> = report.reasons.iter().map(|r| (r.of.as_str(), r.code.as_str())).collect();
        assert_eq!(told, [("dump 2", "SOURCE_SERVER_ERROR")]);
        assert_eq!(
            report.dumps.iter().map(|dump| dump.state.as_str()).collect::<Vec<_>>(),
            ["done", "stopped", "waiting"]
        );
    }

    #[test]
    fn quantiles_are_bounds_of_buckets() {
        let mut counts = vec![0; LATENCY_BOUNDS_US.len() + 1];
        assert_eq!(quantile_us(&counts, 50), None);
        (counts[1], counts[4]) = (98, 2);
        assert_eq!((quantile_us(&counts, 50), quantile_us(&counts, 99)), (Some(200), Some(750)));
    }
}
