//! Names of the figures that connectors keep.

use metrics::{Unit, describe_counter, describe_histogram};

/// Bytes sent to Redis, by writer.
pub const REDIS_SENT_BYTES: &str = "mysync_redis_sent_bytes_total";
/// Commands of writers put into effect, by writer.
pub const REDIS_COMMANDS: &str = "mysync_redis_commands_total";
/// From the first byte of a batch to the last of its answers, by writer.
pub const REDIS_ROUND_TRIP: &str = "mysync_redis_round_trip_seconds";

/// Tells the recorder what the figures mean. Once, after it is installed.
pub fn describe() {
    describe_counter!(REDIS_SENT_BYTES, Unit::Bytes, "Bytes sent to Redis");
    describe_counter!(REDIS_COMMANDS, Unit::Count, "Commands of writers put into effect in Redis");
    describe_histogram!(
        REDIS_ROUND_TRIP,
        Unit::Seconds,
        "Time from the first byte of a batch to the last of its answers"
    );
}
