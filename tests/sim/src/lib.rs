//! A world in memory for the two loops: a source, a log, a writer and a store that fail by a seed, and a judge that looks at every step.
//!
//! The log is one of two: the embedded one, with one process at a time (`scenario`), or the one on Kafka, which many share (`kafka`).
//!
//! One seed makes one history: what is committed, which call fails and how (before it took effect, or after), when the process is killed or
//! paused, when the power goes and takes the log's unsynced tail along. Time is simulated, so a history of minutes takes milliseconds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod bell;
pub mod faults;
pub mod history;
pub mod kafka;
pub mod log;
pub mod random;
pub mod scenario;
pub mod seeds;
pub mod source;
pub mod store;
pub mod writer;

/// Mistakes that the twins can be told to make. A world that shows none of them proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// The store does not look at its fence.
    FenceNotCompared,
    /// The store looks at its fence when the entries are written.
    FenceComparedTooLate,
    /// A connection that is cut leaves the entries without their fence.
    EntriesWithoutFence,
    /// The answer comes before the effect, which is lost at times.
    AnsweredTooEarly,
    /// An append that fails has stored its checkpoint.
    CheckpointWithoutRecords,
    /// An append that fails has stored its records.
    RecordsWithoutCheckpoint,
    /// The source begins a transaction anew that was stored in part.
    RowsReadAgain,
    /// The log deletes what nobody has read.
    TrimmedUnread,
    /// The log takes a lost place for one it has.
    TailForgotten,
    /// A dump's rows are older than what was streamed.
    StaleChunk,
    /// A dump goes on behind rows that were never stored.
    ProgressKept,
    /// The source's position moves when a transaction begins.
    PositionMovedAtBegin,
    /// The old half of a changed key writes the new one as well.
    NewHalfFromOldKey,

    // Of the log on Kafka.
    /// The checkpoint is no part of the transaction.
    CheckpointOutsideTransaction,
    /// A message that could not be sent is left out of its transaction.
    CommitOnPartialBatch,
    /// A transaction whose commit was not answered is sent again by the same producer.
    CommitRetried,
    /// The broker takes what a former leader sends.
    LeaderNotFenced,
    /// A leader reads the checkpoint before its predecessor's transaction has ended.
    CheckpointReadTooEarly,
    /// Readers see what is not committed yet.
    ReadUncommitted,
    /// Readers see what was aborted.
    ReadAborted,
    /// A message that was sent again is taken again.
    RetransmittedTwice,
    /// A reader begins where the group's offset says, not the store's fence.
    OffsetTrusted,
    /// A partition is given up while its task goes on, which nobody fences.
    RevokedNotFenced,
    /// A new log numbers its records from one.
    SequencesBeginAnew,
    /// A task whose fence was taken ends because the group could not confirm that its partition is still its own.
    SilenceTakenForLoss,
    /// A hole in a compacted log is taken for compaction by a writer that resumes.
    HolesPassedOver,
    /// A shape that is not there yet is taken for one that is lost.
    ShapeNotAwaited,
}
