//! Everything that can be wrong with a log.

use std::fmt;
use std::path::PathBuf;

use mysync_change::envelope::EnvelopeError;
use mysync_change::schema::Fingerprint;
use mysync_pipeline::failure::{Failure, Kind};
use mysync_pipeline::status::now_us;

/// Who keeps a full log from being shortened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub writer: String,
    pub partition: u32,
    /// The last record it has passed; 0: it has passed none since the log was opened.
    pub seq: u64,
    /// Since when the oldest records are in the log that it has not passed: microseconds since 1970.
    pub since_us: u64,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writer, partition, seq, since_us } = self;
        let seconds = now_us().saturating_sub(*since_us) / 1_000_000;
        match seq {
            0 => write!(
                f,
                "writer {writer} has not written to its store since the start (partition {partition}), and the oldest records are {seconds}s old"
            ),
            _ => write!(
                f,
                "writer {writer} has come to seq {seq} in partition {partition}, and what follows is {seconds}s old"
            ),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the log in {dir} is in use by {holder}: stop that process, or give this one a [log] dir of its own")]
    Locked { dir: PathBuf, holder: String },
    #[error("cannot use {path} for the log: {reason}: see that it is a directory which this user may write")]
    Directory { path: PathBuf, reason: String },
    #[error(
        "the log {path} was removed or replaced while it was in use: nothing is captured any more, because it would be lost. Put it back and \
         restart; or restart with what is there now, which is another log: 'mysync writer rebase' lets each writer go on with that"
    )]
    Gone { path: PathBuf },
    #[error("there is no log at {path}: 'mysync run' makes it; see [log] dir")]
    Absent { path: PathBuf },
    #[error("{path} is no log of MySync: move it away, or set [log] dir to another directory")]
    Foreign { path: PathBuf },
    #[error(
        "the log {path} has format {found}, this program reads {known}: use the release that wrote it, or move [log] dir away: a new log begins where \
         source.start says, and 'mysync writer rebase' lets each writer go on with it"
    )]
    Version { path: PathBuf, found: i64, known: i64 },
    #[error(
        "the log in {dir} has {stored} partitions and the configuration says {configured}: a key's changes would lie in two partitions. Set \
         log.partitions = {stored}, or let every writer finish, then give [log] dir a new directory and run 'mysync writer rebase' for each"
    )]
    Partitions { dir: PathBuf, stored: u32, configured: u32 },
    #[error(
        "the log has {partitions} partitions, there is no partition {partition}: a defect of this program, report it"
    )]
    PartitionUnknown { partition: u32, partitions: u32 },
    #[error(
        "the log {path} is damaged: {reason}. Bring its directory back from a backup, or move it away: a new log begins where `source.start` \
         says, and 'mysync writer rebase' lets each writer go on with it"
    )]
    Damaged { path: PathBuf, reason: String },
    #[error(
        "the log's block up to seq {seq} in partition {partition} is damaged: {reason}. Bring the log's directory back from a backup, or pass \
         the block over with 'mysync writer rewind NAME --to {seq}' and compare the store with the source"
    )]
    BlockDamaged { partition: u32, seq: u64, reason: String },
    #[error("the log's checkpoint cannot be read: {reason}: use the release that wrote it, or a newer one")]
    Checkpoint { reason: String },
    #[error(
        "the log has no shape {fingerprint}, though it has rows of it: it is damaged; bring its directory back from a backup"
    )]
    ShapeMissing { fingerprint: Fingerprint },
    #[error(transparent)]
    Record(#[from] EnvelopeError),
    #[error(
        "a block for partition {partition} follows seq {prev}, and the log has come to {last}: another leader has written; restart the process"
    )]
    Order { partition: u32, prev: u64, last: u64 },
    #[error(
        "a block of {bytes} bytes is more than the log can keep in one piece ({max}): exclude the column that is so large"
    )]
    BlockTooLarge { bytes: usize, max: usize },
    #[error("whoever reads the log from outside cannot say what is in effect: a defect of this program, report it")]
    Outside,
    #[error(
        "the log holds {bytes} of at most {max_bytes} bytes and capture waits: {holder}. Find out why it does not go on, raise log.max_bytes, or \
         remove the writer; the source must keep its binlog until then"
    )]
    Full { bytes: u64, max_bytes: u64, holder: Holder },
    #[error(
        "the log has reached log.max_bytes and could not be shortened yet: if that goes on, the warnings before this one say why"
    )]
    RoomUnknown,
    #[error(
        "the log's WAL has grown to {bytes} bytes because another program reads from it all the time: close whatever keeps a transaction open \
         on the log"
    )]
    WalHeld { bytes: u64 },
    #[error("the disk under {path} is full: free some space, capture then goes on by itself")]
    DiskFull { path: PathBuf },
    #[error("another program keeps {path} locked: close it")]
    Busy { path: PathBuf },
    #[error("cannot read or write {path}: {reason}: see to the disk")]
    Io { path: PathBuf, reason: String },
    #[error("this user may not use {path} as a log: {reason}: see its owner and permissions")]
    Access { path: PathBuf, reason: String },
    #[error("SQLite refuses to work on {path}: {reason}: mend that, and restart")]
    Sqlite { path: PathBuf, reason: String },
    #[error("the process is ending")]
    Ending,
}

impl LogError {
    /// Stable name, documented with cause and cure.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "LOG_LOCKED",
            Self::Directory { .. } => "LOG_DIRECTORY",
            Self::Gone { .. } => "LOG_GONE",
            Self::Absent { .. } => "LOG_ABSENT",
            Self::Foreign { .. } => "LOG_FOREIGN",
            Self::Version { .. } => "LOG_VERSION",
            Self::Partitions { .. } => "LOG_PARTITIONS",
            Self::PartitionUnknown { .. } => "LOG_PARTITION_UNKNOWN",
            Self::Damaged { .. } => "LOG_DAMAGED",
            Self::BlockDamaged { .. } => "LOG_BLOCK_DAMAGED",
            Self::Checkpoint { .. } => "LOG_CHECKPOINT",
            Self::ShapeMissing { .. } => "LOG_SHAPE_MISSING",
            Self::Record(error) => error.code(),
            Self::Order { .. } => "LOG_ORDER",
            Self::BlockTooLarge { .. } => "LOG_BLOCK_TOO_LARGE",
            Self::Outside => "LOG_OUTSIDE",
            Self::Full { .. } => "LOG_FULL",
            Self::RoomUnknown => "LOG_ROOM",
            Self::WalHeld { .. } => "LOG_WAL_HELD",
            Self::DiskFull { .. } => "LOG_DISK_FULL",
            Self::Busy { .. } => "LOG_BUSY",
            Self::Io { .. } => "LOG_IO",
            Self::Access { .. } => "LOG_ACCESS",
            Self::Sqlite { .. } => "LOG_SQLITE",
            Self::Ending => "LOG_ENDING",
        }
    }

    /// What the failure calls for.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Full { .. }
            | Self::RoomUnknown
            | Self::WalHeld { .. }
            | Self::DiskFull { .. }
            | Self::Busy { .. }
            | Self::Io { .. }
            | Self::Ending => Kind::Transient,
            _ => Kind::Definite,
        }
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Failure { kind: error.kind(), code: error.code(), message: error.to_string() }
    }
}
