//! Names of the figures that are made from the status board. The JSON of `/api/status` uses the same names without their prefix.

/// 1 for the version that runs; label `version`.
pub const BUILD: &str = "mysync_build_info";

/// 1 for the state capture is in, 0 for the others; label `state`.
pub const CAPTURE_STATE: &str = "mysync_capture_state";
/// The last sequence number in the log.
pub const CAPTURE_SEQ: &str = "mysync_capture_seq";
/// Since the source was last heard, be it only a heartbeat.
pub const CAPTURE_SILENCE: &str = "mysync_capture_silence_seconds";
pub const CAPTURE_ROWS: &str = "mysync_capture_rows_total";
pub const CAPTURE_BYTES: &str = "mysync_capture_bytes_total";
pub const CAPTURE_BLOCKS: &str = "mysync_capture_blocks_total";
pub const CAPTURE_ERRORS: &str = "mysync_capture_errors_total";

/// 1 for the state a writer is in, 0 for the others; labels `writer`, `partition`, `state`.
pub const WRITER_STATE: &str = "mysync_writer_state";
/// The last sequence number in effect in the store; this and the following with labels `writer`, `partition`.
pub const WRITER_SEQ: &str = "mysync_writer_seq";
/// How far the store is behind the source; 0 when there is nothing to do. Absent while unknown.
pub const WRITER_LAG: &str = "mysync_writer_lag_seconds";
pub const WRITER_ROWS: &str = "mysync_writer_rows_total";
pub const WRITER_BATCHES: &str = "mysync_writer_batches_total";
pub const WRITER_BYTES: &str = "mysync_writer_bytes_total";
pub const WRITER_ERRORS: &str = "mysync_writer_errors_total";
/// Transactions larger than a batch, which became visible in parts.
pub const WRITER_SPLIT: &str = "mysync_writer_split_transactions_total";
/// From a row's commit in MySQL to its being in effect in the store; each row counts with the oldest transaction of its batch.
pub const COMMIT_TO_STORE: &str = "mysync_commit_to_store_seconds";
