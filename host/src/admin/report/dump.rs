//! What is told of one dump.

use mysync_pipeline::dump::{DumpStatus, Stage};
use serde::{Deserialize, Serialize};

use super::{PATIENCE_US, Reason, told};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DumpReport {
    pub number: u64,
    /// None: every writer.
    pub writer: Option<String>,
    pub state: String,
    pub code: Option<String>,
    pub message: Option<String>,
    /// What keeps it from going on at the moment.
    pub waits_for: Option<String>,
    /// The table that is being read.
    pub table: Option<String>,
    pub tables_done: u64,
    /// None: not known yet.
    pub tables: Option<u64>,
    /// Rows in the log.
    pub rows: u64,
    /// All rows, as the server estimates them.
    pub rows_estimated: Option<u64>,
    /// Rows that the stream had changed meanwhile.
    pub rows_left_out: u64,
    pub chunks: u64,
    pub chunks_again: u64,
    pub rows_per_second: Option<u64>,
    pub rows_per_second_max: Option<u64>,
    pub seconds_left: Option<f64>,
    /// Microseconds since 1970, as are the following.
    pub asked_us: u64,
    /// Since when it is in this state.
    pub since_us: u64,
    pub ended_us: Option<u64>,
}

impl DumpReport {
    pub fn new(status: &DumpStatus) -> Self {
        let failure = status.stage.failure();
        Self {
            number: status.number,
            writer: status.writer.as_deref().map(str::to_owned),
            state: status.stage.name().to_owned(),
            code: failure.map(|failure| failure.code.to_owned()),
            message: failure.map(|failure| failure.message.clone()),
            waits_for: status.waits_for.clone(),
            table: Some(status.table.clone()).filter(|table| !table.is_empty()),
            tables_done: status.tables_done,
            tables: status.tables,
            rows: status.rows,
            rows_estimated: status.rows_estimated,
            rows_left_out: status.rows_left_out,
            chunks: status.chunks,
            chunks_again: status.chunks_again,
            rows_per_second: status.rows_per_second,
            rows_per_second_max: status.rows_per_second_max,
            seconds_left: status.seconds_left(),
            asked_us: status.asked_us,
            since_us: status.since_us,
            ended_us: Some(status.ended_us).filter(|ended_us| *ended_us > 0),
        }
    }
}

/// Why a dump does not get on. One that waits for its turn or was paused is as somebody wanted it.
pub fn trouble(status: &DumpStatus, now_us: u64) -> Option<Reason> {
    let (code, message) = match &status.stage {
        Stage::Stopped(failure) => told(failure),
        Stage::Retrying(failure) if now_us.saturating_sub(status.since_us) > PATIENCE_US => told(failure),
        _ => return None,
    };
    Some(Reason { of: name(status.number), code, message })
}

/// What a dump is called among capture and writers.
pub fn name(number: u64) -> String {
    format!("dump {number}")
}

#[cfg(test)]
pub mod tests {
    use mysync_pipeline::failure::Failure;

    use super::*;

    /// One that is in the middle of the second of three tables.
    pub fn status(number: u64, stage: Stage) -> DumpStatus {
        DumpStatus {
            number,
            writer: Some("users-cache".into()),
            stage,
            since_us: 20_000_000,
            table: "shop.users".to_owned(),
            tables_done: 1,
            tables: Some(3),
            rows: 450_000,
            rows_estimated: Some(1_000_500),
            rows_left_out: 500,
            chunks: 46,
            chunks_again: 2,
            rows_per_second_max: None,
            rows_per_second: Some(50_000),
            waits_for: None,
            asked_us: 10_000_000,
            ended_us: 0,
        }
    }

    #[test]
    fn what_has_stopped_is_red_and_what_is_tried_again_only_after_a_while() {
        let lost = Failure::transient("SOURCE_UNREACHABLE", "refused");
        let stopped = Failure::definite("SOURCE_ACCESS_DENIED", "no");
        let codes = |stage, now_us| trouble(&status(3, stage), now_us).map(|reason| (reason.of, reason.code));
        let soon = 20_000_000 + PATIENCE_US;
        assert_eq!(codes(Stage::Retrying(lost.clone()), soon), None);
        let red = |code: &str| Some(("dump 3".to_owned(), code.to_owned()));
        assert_eq!(codes(Stage::Retrying(lost), soon + 1), red("SOURCE_UNREACHABLE"));
        assert_eq!(codes(Stage::Stopped(stopped), 20_000_000), red("SOURCE_ACCESS_DENIED"));
        for stage in [Stage::Waiting, Stage::Running, Stage::Paused, Stage::Done, Stage::Cancelled] {
            assert_eq!(codes(stage, u64::MAX), None);
        }
    }

    #[test]
    fn what_is_not_known_is_not_there() {
        let report = DumpReport::new(&DumpStatus { table: String::new(), ..status(3, Stage::Waiting) });
        assert_eq!((report.table, report.ended_us, report.seconds_left), (None, None, Some(11.0)));
    }
}
