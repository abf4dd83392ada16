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

/// 1 for the state a dump is in, 0 for the others; labels `dump`, `writer` (empty: every writer), `state`.
pub const DUMP_STATE: &str = "mysync_dump_state";
/// Rows that are in the log; this and the following with labels `dump`, `writer`.
pub const DUMP_ROWS: &str = "mysync_dump_rows_total";
/// All rows, as the server estimates them. Absent while unknown.
pub const DUMP_ROWS_ESTIMATED: &str = "mysync_dump_rows_estimated";
/// Rows that the stream had changed meanwhile: their newer change is in the log.
pub const DUMP_ROWS_LEFT_OUT: &str = "mysync_dump_rows_left_out_total";
pub const DUMP_CHUNKS: &str = "mysync_dump_chunks_total";
/// Chunks that were read again, as their table was altered or too much was changed meanwhile.
pub const DUMP_CHUNKS_AGAIN: &str = "mysync_dump_chunks_again_total";
pub const DUMP_TABLES_DONE: &str = "mysync_dump_tables_done";
/// Over the last seconds. Absent while it does not run.
pub const DUMP_RATE: &str = "mysync_dump_rows_per_second";
/// At this rate. Absent while unknown.
pub const DUMP_SECONDS_LEFT: &str = "mysync_dump_left_seconds";
/// All its tables. Absent while unknown.
pub const DUMP_TABLES: &str = "mysync_dump_tables";
