//! What the two loops stand between.
//!
//! A record never travels without its place, and only an answer that means "in effect" moves anything on.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mysync_change::batch::{Batch, BlockReader, Plan};
use mysync_change::block::{BLOCK_BYTES, BlockBuilder};
use mysync_change::envelope::LogId;
use mysync_change::fence::{Fence, Place};
use mysync_change::operations::RedisCommands;
use mysync_change::position::Checkpoint;
use mysync_change::routing::Layout;
use mysync_change::schema::{Fingerprint, TableShape};
use mysync_change::topics::Topics;

use crate::failure::Failure;

/// Where changes come from.
pub trait Source: Send {
    /// Connects and goes on behind `from`; without one, where the source is configured to start. Answers the checkpoint it really starts from.
    /// Forgets what it announced and decoded before.
    fn open(&mut self, from: Option<&Checkpoint>) -> impl Future<Output = Result<Checkpoint, Failure>> + Send;

    /// Waits for changes and decodes into `block` until it is large enough or nothing more is at hand, and answers the checkpoint that
    /// covers them. A block may come back empty with a moved checkpoint, or with the same one when the source is merely alive.
    fn fill(&mut self, block: &mut BlockBuilder) -> impl Future<Output = Result<Checkpoint, Failure>> + Send;
}

/// What a leader needs to know of the log to go on.
#[derive(Debug, Clone)]
pub struct Lead {
    pub log_id: LogId,
    /// The first sequence number the leader may give.
    pub next_seq: u64,
    /// The last one in each partition; 0: none yet.
    pub prevs: Vec<u64>,
    /// The topics that the partitions are in.
    pub topics: Topics,
    pub checkpoint: Option<Checkpoint>,
}

/// The log as capture sees it. One leader at a time.
pub trait LogWriter: Send {
    /// How blocks for it are laid out.
    fn layout(&self) -> Layout {
        Layout::Runs
    }

    /// How many bytes it wants at once, as long as more is at hand.
    fn block_bytes(&self) -> usize {
        BLOCK_BYTES
    }

    /// Starts a leader: durable before it answers.
    fn lead(&mut self) -> impl Future<Output = Result<Lead, Failure>> + Send;

    /// Stores a sealed block, its new shapes and topics, and the checkpoint, all or nothing. After an error it is unknown which: lead again.
    fn append(
        &mut self,
        block: &BlockBuilder,
        checkpoint: &Checkpoint,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Lets others lead, if there can be any: nothing gets through here, and they may have what it takes. Answers whether there can.
    fn step_down(&mut self) -> bool {
        false
    }

    /// The source is alive and has nothing to store behind `checkpoint`, which is stored. Others may be told so.
    fn idle(&mut self, checkpoint: &Checkpoint) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = checkpoint;
        async { Ok(()) }
    }
}

/// How the log goes on behind a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// With the next record, which names the place as the one before it.
    Next,
    /// The place is not in the log: an unsynced tail was lost, all of it behind `base`, and the source is being read again. The records
    /// behind `base` repeat those up to the place.
    Repeated { base: u64 },
    /// Records behind the place have been deleted; the log begins behind `start`.
    Trimmed { start: u64 },
}

/// How a partition keeps only the last record of each key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compaction {
    /// For how long it is known that a key was removed, and what came before a newer record.
    pub kept: Duration,
    /// The last number in the partition; 0: none yet.
    pub last: u64,
}

/// One partition of the log as deliver sees it.
pub trait LogReader: Send {
    fn log_id(&self) -> LogId;

    /// Of a log that keeps only the last record of each key; none: it keeps every record.
    fn compaction(&mut self) -> impl Future<Output = Result<Option<Compaction>, Failure>> + Send {
        async { Ok(None) }
    }

    /// How the log goes on behind a place (seq 0: its beginning).
    fn find(&mut self, place: &Place) -> impl Future<Output = Result<Found, Failure>> + Send;

    /// Fills `block` with the next block that has records behind `after`; false if there is none yet.
    fn read(&mut self, after: u64, block: &mut BlockReader) -> impl Future<Output = Result<bool, Failure>> + Send;

    /// Returns once there may be records behind `after`.
    fn wait(&mut self, after: u64) -> impl Future<Output = ()> + Send;

    fn shape(&mut self, fingerprint: Fingerprint) -> impl Future<Output = Result<Arc<TableShape>, Failure>> + Send;

    /// Every shape in the log, oldest first.
    fn shapes(&mut self) -> impl Future<Output = Result<Vec<(Fingerprint, Arc<TableShape>)>, Failure>> + Send;

    /// Whether this consumer has ever advanced here.
    fn has_advanced(&mut self) -> impl Future<Output = Result<bool, Failure>> + Send;

    /// The store's fence has come to `seq`: everything up to there may be deleted once it is old. A hint, not a promise: the fence decides.
    fn advance(&mut self, seq: u64) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A row that a writer could not map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub row: u32,
    pub reason: String,
}

/// What a writer made of a batch: operations in row order.
#[derive(Debug, Default)]
pub struct Mapped {
    pub commands: RedisCommands,
    pub rejections: Vec<Rejection>,
}

/// A writer that can be started: component and mapping, checked.
pub trait Plugin: Send {
    type Instance: Writer;

    fn start(&mut self) -> impl Future<Output = Result<Self::Instance, Failure>> + Send;

    /// Digest of component and mapping, in hexadecimal.
    fn digest(&self) -> &str;
}

/// One running instance. After an error it is given up.
pub trait Writer: Send {
    /// Shows a shape to the writer, which calls it `id` from now on.
    fn define(&mut self, id: u32, shape: &TableShape) -> impl Future<Output = Result<Plan, Failure>> + Send;

    fn write(&mut self, batch: Batch) -> impl Future<Output = Result<Mapped, Failure>> + Send;
}

/// One partition's way into a store.
pub trait Connector: Send {
    /// Connects anew and reads the fence. From then on every `apply` compares the fence in the store with what this connection
    /// last read or wrote.
    fn open(&mut self) -> impl Future<Output = Result<Option<Fence>, Failure>> + Send;

    /// Applies the commands and the new fence in one step, and answers once every reply was read and is no error. After an error
    /// it is unknown whether they took effect: open again.
    fn apply(&mut self, commands: &RedisCommands, fence: &Fence) -> impl Future<Output = Result<(), Failure>> + Send;
}
