//! Names of the figures that the log keeps.

use metrics::{Unit, describe_gauge};

/// Bytes of the log's file in use.
pub const LOG_BYTES: &str = "mysync_log_bytes";
/// Bytes at which capture pauses.
pub const LOG_MAX_BYTES: &str = "mysync_log_max_bytes";
/// Age of the oldest records in the log; 0: it is empty.
pub const LOG_OLDEST: &str = "mysync_log_oldest_seconds";
/// 1 while capture waits for room in the log.
pub const LOG_PAUSED: &str = "mysync_log_paused";

/// Tells the recorder what the figures mean. Once, after it is installed.
pub fn describe() {
    describe_gauge!(LOG_BYTES, Unit::Bytes, "Bytes of the log's file in use");
    describe_gauge!(LOG_MAX_BYTES, Unit::Bytes, "Bytes at which capture pauses");
    describe_gauge!(LOG_OLDEST, Unit::Seconds, "Time since the oldest records in the log were stored");
    describe_gauge!(LOG_PAUSED, Unit::Count, "1 while capture waits for room in the log");
}
