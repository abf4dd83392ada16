//! The status board as Prometheus text, made when it is asked for: the loops count in atomics and know no metrics library.

use std::fmt::{Display, Write};
use std::sync::atomic::Ordering::Relaxed;

use mysync_pipeline::dump::DumpStatus;
use mysync_pipeline::status::{DeliverStatus, LATENCY_BOUNDS_US};

use super::{names, seconds};
use crate::admin::Observed;

const STATES: [&str; 5] = ["starting", "running", "retrying", "stopped", "ended"];
const DUMP_STATES: [&str; 7] = ["waiting", "running", "paused", "retrying", "stopped", "done", "cancelled"];

/// All figures of the board at `now_us`.
pub fn render(observed: &Observed, now_us: u64) -> String {
    let mut text = Exposition(String::with_capacity(8 << 10));
    text.family(names::BUILD, "gauge", "1 for the version that runs");
    text.sample(names::BUILD, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.capture(observed, now_us);
    text.writers(observed, now_us);
    text.dumps(&observed.board.capture.dumps());
    text.0
}

struct Exposition(String);

type Labels<'a> = &'a [(&'a str, &'a str)];

impl Exposition {
    fn capture(&mut self, observed: &Observed, now_us: u64) {
        let capture = &observed.board.capture;
        self.family(names::CAPTURE_STATE, "gauge", "1 for the state capture is in");
        self.states(names::CAPTURE_STATE, &[], &STATES, capture.state().name());
        self.family(names::CAPTURE_SILENCE, "gauge", "Time since the source was last heard");
        self.sample(names::CAPTURE_SILENCE, &[], seconds(observed.silence_us(now_us)));
        self.family(names::CAPTURE_SEQ, "gauge", "Last sequence number in the log");
        self.sample(names::CAPTURE_SEQ, &[], capture.seq.load(Relaxed));
        for (name, help, value) in [
            (names::CAPTURE_ROWS, "Row changes stored in the log", &capture.rows),
            (names::CAPTURE_BYTES, "Bytes stored in the log", &capture.bytes),
            (names::CAPTURE_BLOCKS, "Blocks stored in the log", &capture.blocks),
            (names::CAPTURE_ERRORS, "Failures of capture", &capture.errors),
        ] {
            self.family(name, "counter", help);
            self.sample(name, &[], value.load(Relaxed));
        }
    }

    fn writers(&mut self, observed: &Observed, now_us: u64) {
        let board = &observed.board;
        let writers = board.writers();
        let lags: Vec<_> =
            writers.iter().map(|(_, partition, status)| board.lag_us(*partition, status, now_us)).collect();
        let writers: Vec<_> = writers.into_iter().map(|(w, p, s)| (w, p.to_string(), s)).collect();
        self.family(names::WRITER_STATE, "gauge", "1 for the state a writer is in");
        for (writer, partition, status) in &writers {
            let labels = [("writer", writer.as_str()), ("partition", partition)];
            self.states(names::WRITER_STATE, &labels, &STATES, status.state().name());
        }
        self.family(names::WRITER_LAG, "gauge", "How far the store is behind the source");
        for ((writer, partition, _), lag_us) in writers.iter().zip(lags) {
            if let Some(lag_us) = lag_us {
                self.sample(names::WRITER_LAG, &[("writer", writer), ("partition", partition)], seconds(lag_us));
            }
        }
        type Figure = fn(&DeliverStatus) -> u64;
        let figures: [(&str, &str, &str, Figure); 6] = [
            (names::WRITER_SEQ, "gauge", "Last sequence number in effect", |status| status.seq.load(Relaxed)),
            (names::WRITER_ROWS, "counter", "Rows in effect", |status| status.rows.load(Relaxed)),
            (names::WRITER_BATCHES, "counter", "Batches in effect", |status| status.batches.load(Relaxed)),
            (names::WRITER_BYTES, "counter", "Bytes of rows in effect", |status| status.bytes.load(Relaxed)),
            (names::WRITER_ERRORS, "counter", "Failures of delivery", |status| status.errors.load(Relaxed)),
            (names::WRITER_SPLIT, "counter", "Transactions larger than a batch", |status| status.split.load(Relaxed)),
        ];
        for (name, kind, help, figure) in figures {
            self.family(name, kind, help);
            for (writer, partition, status) in &writers {
                self.sample(name, &[("writer", writer), ("partition", partition)], figure(status));
            }
        }
        self.family(
            names::COMMIT_TO_STORE,
            "histogram",
            "Time from commit in the source to being in effect in the store",
        );
        for (writer, partition, status) in &writers {
            self.latency(writer, partition, status);
        }
    }

    fn latency(&mut self, writer: &str, partition: &str, status: &DeliverStatus) {
        let (counts, sum_us) = status.latency().read();
        let bounds = LATENCY_BOUNDS_US.iter().map(|bound| seconds(*bound).to_string()).chain(["+Inf".to_owned()]);
        let mut below = 0;
        let bucket = format!("{}_bucket", names::COMMIT_TO_STORE);
        for (count, bound) in counts.iter().zip(bounds) {
            below += count;
            self.sample(&bucket, &[("writer", writer), ("partition", partition), ("le", &bound)], below);
        }
        let labels = [("writer", writer), ("partition", partition)];
        self.sample(&format!("{}_sum", names::COMMIT_TO_STORE), &labels, seconds(sum_us));
        self.sample(&format!("{}_count", names::COMMIT_TO_STORE), &labels, below);
    }

    fn dumps(&mut self, dumps: &[DumpStatus]) {
        let numbers: Vec<String> = dumps.iter().map(|dump| dump.number.to_string()).collect();
        let dumps: Vec<_> = dumps
            .iter()
            .zip(&numbers)
            .map(|(dump, number)| (dump, [("dump", number.as_str()), ("writer", dump.writer.as_deref().unwrap_or(""))]))
            .collect();
        self.family(names::DUMP_STATE, "gauge", "1 for the state a dump is in");
        for (dump, labels) in &dumps {
            self.states(names::DUMP_STATE, labels, &DUMP_STATES, dump.stage.name());
        }
        type Figure = fn(&DumpStatus) -> Option<u64>;
        let figures: [(&str, &str, &str, Figure); 9] = [
            (names::DUMP_ROWS, "counter", "Rows of a dump in the log", |dump| Some(dump.rows)),
            (names::DUMP_ROWS_ESTIMATED, "gauge", "Rows that a dump is expected to have", |dump| dump.rows_estimated),
            (names::DUMP_ROWS_LEFT_OUT, "counter", "Rows that were changed meanwhile", |dump| Some(dump.rows_left_out)),
            (names::DUMP_CHUNKS, "counter", "Chunks of a dump in the log", |dump| Some(dump.chunks)),
            (names::DUMP_CHUNKS_AGAIN, "counter", "Chunks that were read again", |dump| Some(dump.chunks_again)),
            (names::DUMP_TABLES_DONE, "gauge", "Tables that a dump is done with", |dump| Some(dump.tables_done)),
            (names::DUMP_TABLES, "gauge", "Tables of a dump", |dump| dump.tables),
            (names::DUMP_RATE, "gauge", "Rows that a dump reads in a second", |dump| dump.rows_per_second),
            (names::DUMP_SECONDS_LEFT, "gauge", "Seconds until a dump is done at its rate", |dump| {
                dump.seconds_left().map(|left| left.ceil() as u64)
            }),
        ];
        for (name, kind, help, figure) in figures {
            self.family(name, kind, help);
            for (dump, labels) in &dumps {
                if let Some(value) = figure(dump) {
                    self.sample(name, labels, value);
                }
            }
        }
    }

    fn states(&mut self, name: &str, labels: Labels<'_>, states: &[&'static str], state: &str) {
        for known in states {
            let labels: Vec<_> = labels.iter().copied().chain([("state", *known)]).collect();
            self.sample(name, &labels, u8::from(*known == state));
        }
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.0.push_str(name);
        for (i, (label, text)) in labels.iter().enumerate() {
            // Names of writers and states have no characters that need escaping.
            let _ = write!(self.0, "{}{label}=\"{text}\"", if i == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mysync_pipeline::dump::Stage;
    use mysync_pipeline::failure::Failure;
    use mysync_pipeline::status::{Board, State};

    use super::*;
    use crate::admin::report::dump::tests::status;
    use crate::role::Role;

    #[test]
    fn the_histogram_is_cumulative_and_the_stop_is_seen() {
        let board = Arc::new(Board::default());
        let status = board.writer("users-cache", 0);
        status.latency().record(90, 2);
        status.latency().record(2_000, 3);
        status.latency().record(60_000_000, 1);
        status.set_state(State::Stopped(Failure::definite("WASM_TRAP", "trapped")));
        let observed = Observed::new("shop".to_owned(), Role::Run, board);
        let text = render(&observed, observed.started_us);
        for line in [
            "mysync_commit_to_store_seconds_bucket{writer=\"users-cache\",partition=\"0\",le=\"0.0001\"} 2",
            "mysync_commit_to_store_seconds_bucket{writer=\"users-cache\",partition=\"0\",le=\"0.0025\"} 5",
            "mysync_commit_to_store_seconds_bucket{writer=\"users-cache\",partition=\"0\",le=\"+Inf\"} 6",
            "mysync_commit_to_store_seconds_count{writer=\"users-cache\",partition=\"0\"} 6",
            "mysync_commit_to_store_seconds_sum{writer=\"users-cache\",partition=\"0\"} 60.00618",
            "mysync_writer_state{writer=\"users-cache\",partition=\"0\",state=\"stopped\"} 1",
            "mysync_capture_state{state=\"starting\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let helps = text.lines().filter(|line| line.starts_with("# TYPE")).count();
        assert_eq!(helps, 27, "every family once");
    }

    #[test]
    fn figures_of_dumps_stand_beside_each_other_and_what_is_unknown_is_absent() {
        let board = Arc::new(Board::default());
        let waiting = DumpStatus { writer: None, tables: None, rows_estimated: None, ..status(4, Stage::Waiting) };
        board.capture.set_dumps(vec![status(3, Stage::Running), waiting]);
        let observed = Observed::new("shop".to_owned(), Role::Run, board);
        let text = render(&observed, observed.started_us);
        for line in [
            "mysync_dump_rows_total{dump=\"3\",writer=\"users-cache\"} 450000",
            "mysync_dump_rows_estimated{dump=\"3\",writer=\"users-cache\"} 1000500",
            "mysync_dump_rows_left_out_total{dump=\"3\",writer=\"users-cache\"} 500",
            "mysync_dump_chunks_total{dump=\"3\",writer=\"users-cache\"} 46",
            "mysync_dump_chunks_again_total{dump=\"3\",writer=\"users-cache\"} 2",
            "mysync_dump_rows_per_second{dump=\"3\",writer=\"users-cache\"} 50000",
            "mysync_dump_left_seconds{dump=\"3\",writer=\"users-cache\"} 11",
            "mysync_dump_tables_done{dump=\"4\",writer=\"\"} 1",
            "mysync_dump_tables{dump=\"3\",writer=\"users-cache\"} 3",
            "mysync_dump_state{dump=\"3\",writer=\"users-cache\",state=\"running\"} 1",
            "mysync_dump_state{dump=\"4\",writer=\"\",state=\"running\"} 0",
            "mysync_dump_state{dump=\"4\",writer=\"\",state=\"waiting\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        for absent in ["mysync_dump_tables{dump=\"4\"", "mysync_dump_rows_estimated{dump=\"4\""] {
            assert!(!text.contains(absent), "{absent}\n{text}");
        }
    }
}
