//! What a server has executed, compared with what has been streamed of it.
//!
//! A stream can be ahead of what a SELECT sees: the binlog has a transaction before its rows can be read. `SHOW BINARY LOG STATUS` tells of
//! the binlog as well, so its file and position are of no use here. Without GTIDs `performance_schema.log_status` helps, where it waits for
//! commits on their way.

use std::time::{Duration, Instant};

use mysync_change::position::{FilePosition, GtidSet, SourcePosition};
use tokio::time::sleep;

use crate::connection::{Connection, SourceError};
use crate::server;

/// Each question waits this long at most, so that one answer more cannot be taken for a server that is silent. Whole seconds: the server rounds,
/// and 0 is for ever.
const WAIT_SECONDS: u64 = 1;
/// How soon a server that is to be asked again and again is asked for the second time. The pause doubles up to the longest one: each
/// question stops every commit for a moment.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(64);

/// What a server had executed at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watermark {
    /// Without what is no longer in its binlog.
    Gtids(GtidSet),
    File(FilePosition),
}

impl Watermark {
    /// Whether all of it has been streamed.
    pub fn is_passed_by(&self, position: &SourcePosition) -> bool {
        match self {
            Self::Gtids(executed) => position.gtids.as_ref().is_some_and(|streamed| executed.is_subset_of(streamed)),
            Self::File(executed) => *executed <= position.file,
        }
    }
}

/// Waits until the server has executed everything in `streamed`, so that a SELECT sees it. False: it has not within `limit`.
pub async fn wait_until_executed(
    connection: &mut Connection,
    streamed: &SourcePosition,
    limit: Duration,
) -> Result<bool, SourceError> {
    let begin = Instant::now();
    match &streamed.gtids {
        Some(gtids) => {
            let wait = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{gtids}', {WAIT_SECONDS})");
            while connection.query(&wait).await?.first() != Some("0") {
                if begin.elapsed() >= limit {
                    return Ok(false);
                }
            }
        }
        None => {
            if !log_status_waits(connection.server_version()) {
                return Err(SourceError::LogStatus { version: connection.server_version().to_owned() });
            }
            let mut pause = FIRST_PAUSE;
            while log_status(connection).await? < streamed.file {
                if begin.elapsed() >= limit {
                    return Ok(false);
                }
                sleep(pause).await;
                pause = LONGEST_PAUSE.min(pause * 2);
            }
        }
    }
    Ok(true)
}

/// What the server has executed at this moment: once the stream has passed it, everything that a SELECT before this call saw is in the stream,
/// but for commits that were visible a moment before they counted as executed.
pub async fn executed(connection: &mut Connection, with_gtids: bool) -> Result<Watermark, SourceError> {
    if !with_gtids {
        return Ok(Watermark::File(log_status(connection).await?));
    }
    let executed = server::executed(connection).await?;
    Ok(Watermark::Gtids(executed.minus(&server::purged(connection).await?)))
}

/// Whether log_status waits for commits that are in the binlog already. Before, it said more than a SELECT sees (MySQL's bug 112331).
fn log_status_waits(version: &str) -> bool {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    let version: [u32; 3] = std::array::from_fn(|_| numbers.next().unwrap_or(0));
    match version {
        [8, 0, patch] => patch >= 42,
        [8, 4, patch] => patch >= 5,
        version => version >= [9, 3, 0],
    }
}

/// Where the binlog ends. What log_status waits for is executed. Needs BACKUP_ADMIN, and no instruments of the performance schema.
async fn log_status(connection: &mut Connection) -> Result<FilePosition, SourceError> {
    const STATUS: &str = "SELECT JSON_UNQUOTE(JSON_EXTRACT(LOCAL, '$.binary_log_file')), \
                          JSON_EXTRACT(LOCAL, '$.binary_log_position') FROM performance_schema.log_status";
    let status = connection.query(STATUS).await?;
    let (file, offset) = status.pairs().next().ok_or(SourceError::NoBinlog)?;
    let offset = offset.parse().map_err(|_| SourceError::Protocol("its position is no number"))?;
    Ok(FilePosition { file: file.into(), offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(gtids: Option<&str>, file: &str) -> SourcePosition {
        SourcePosition { gtids: gtids.map(|set| set.parse().unwrap()), file: file.parse().unwrap() }
    }

    #[test]
    fn a_hole_in_what_was_streamed_is_waited_for() {
        const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let executed = Watermark::Gtids(format!("{A}:5-9:11").parse().unwrap());
        for (streamed, passed) in [("1-9:11", true), ("5-12", true), ("1-9", false), ("1-7:9-20", false)] {
            let streamed = format!("{A}:{streamed}");
            assert_eq!(executed.is_passed_by(&position(Some(&streamed), "binlog.000009:4")), passed, "{streamed}");
        }
        assert!(!executed.is_passed_by(&position(None, "binlog.000009:4")));
    }

    #[test]
    fn a_server_that_counts_what_is_not_visible_is_not_believed() {
        for version in ["8.0.31", "8.0.41-32", "8.1.0", "8.4.4", "9.0.1", "9.2.0"] {
            assert!(!log_status_waits(version), "{version}");
        }
        for version in ["8.0.42", "8.0.45-36", "8.4.10-commercial", "9.3.0", "9.7.4", "26.7.0"] {
            assert!(log_status_waits(version), "{version}");
        }
    }

    #[test]
    fn a_new_file_is_behind_all_of_the_former() {
        let executed = Watermark::File("binlog.000002:900".parse().unwrap());
        for (streamed, passed) in
            [("000002:899", false), ("000002:900", true), ("000003:4", true), ("000001:4000", false)]
        {
            assert_eq!(executed.is_passed_by(&position(None, &format!("binlog.{streamed}"))), passed, "{streamed}");
        }
    }
}
