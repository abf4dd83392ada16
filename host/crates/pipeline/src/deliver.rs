//! Log → writer → store → advance, for one writer in one partition.
//!
//! **Promise.** Every record of the partition is put into effect in the store once, in the log's order, by batches that end where transactions
//! end. The next batch is read and mapped while the store works on the one before it.
//! **Progress.** Only an answer of [`Connector::apply`] moves it. Each batch carries a fence: `began` is its own end, `applied` the end of
//! the batch before it, all of whose answers were read and are no errors.
//! **Resuming.** After any error everything is given up but the store's fence: a new connection, a new instance of the writer, and on from
//! `applied`. A batch that began and is not known to be applied, `(applied, began]`, is applied again with the same end.
//! **Errors.** Transient ones are retried for as long as it takes. A definite one stops the partition before the batch, and nothing advances.
//! Who has stood still meanwhile may find wrong what another task is long done with: it stops for its fence, not for that.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mysync_change::fence::{Fence, Place, Rebuild};
use mysync_change::operations::RedisCommands;
use mysync_change::pattern::Pattern;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::dump::Beginning;
use crate::failure::{Failure, Kind};
use crate::feed::{Feed, Prepared};
use crate::ports::{Connector, Found, LogReader, Plugin, Writer};
use crate::retry::Backoff;
use crate::shutdown::Ending;
use crate::status::{DeliverStatus, State, now_us};

/// After this long without rows the fence is brought up to date: late enough not to cost anything, early enough for a person who looks at it.
const SETTLE_AFTER: Duration = Duration::from_millis(500);

/// The code of what stops a delivery whose fence another task has replaced.
pub const FENCE_TAKEN: &str = "FENCE_TAKEN";

/// A writer in one partition.
pub struct Delivery<L, P, C> {
    /// The writer's name.
    pub writer: String,
    /// Its tables; rows of others are passed over.
    pub tables: Vec<Pattern>,
    pub log: L,
    pub plugin: P,
    pub connector: C,
    pub status: Arc<DeliverStatus>,
    /// Names this task in the fence, as opposed to any other that ever writes it.
    pub owner: String,
    pub partition: u32,
    /// Makes a connector of partition 0; none: this is that partition.
    pub first: Option<Box<dyn Fn() -> C + Send + Sync>>,
    /// Where it begins when its store has never been written to.
    pub beginning: Beginning,
}

/// A task's claim to the store.
#[derive(Default)]
struct Claim {
    /// Whether a fence of this task is in the store.
    made: bool,
    /// The fence that it replaced.
    former: Option<Fence>,
    /// What the store answered when the task last asked for the fence; none: it has not asked yet.
    read: Option<Option<Fence>>,
}

impl Claim {
    /// Whether a fence is one of the former owner from before the claim: the store went back to that time.
    fn is_newer_than(&self, fence: &Fence) -> bool {
        let former = |former: &Fence| former.owner == fence.owner && former.began.seq >= fence.began.seq;
        self.former.as_ref().is_some_and(former)
    }
}

/// Where a task stands between two batches.
struct Standing {
    /// What all its fences have in common.
    fence: Fence,
    /// In effect in the store.
    applied: Place,
    /// What the store's fence says; less than `applied` until the next batch or `settle`.
    noted: Place,
    /// The end of a batch that began and is not known to be applied.
    redo: Option<Place>,
    /// Of a log that keeps only the last record of each key: for how long it knows that one was removed.
    compacted: Option<Duration>,
    settled_at: Instant,
}

impl<L: LogReader, P: Plugin, C: Connector> Delivery<L, P, C> {
    /// Runs until the end begins or something is definitely wrong.
    pub async fn run(&mut self, mut ending: Ending) -> Result<(), Failure> {
        let mut backoff = Backoff::new(&self.owner);
        let mut claim = Claim::default();
        loop {
            let failure = match self.session(&mut claim, &mut ending, &mut backoff).await {
                Ok(()) => {
                    self.status.set_state(State::Ended);
                    return Ok(());
                }
                Err(failure) if failure.kind == Kind::Definite => self.unless_overtaken(&claim, failure).await,
                Err(failure) => failure,
            };
            self.status.errors.fetch_add(1, Relaxed);
            let (writer, code) = (self.writer.as_str(), failure.code);
            if failure.kind == Kind::Definite {
                error!(writer, code, "delivery stopped: {}", failure.message);
                self.status.set_state(State::Stopped(failure.clone()));
                return Err(failure);
            }
            let wait = backoff.wait();
            warn!(writer, code, wait_ms = wait.as_millis() as u64, "delivery tries again: {}", failure.message);
            self.status.set_state(State::Retrying(failure));
            ending.sleep(wait).await;
            if ending.has_begun() {
                self.status.set_state(State::Ended);
                return Ok(());
            }
        }
    }

    /// What a task stops for. If the fence is neither its own nor the one that it began with, another goes on in this log: what was wrong was so at
    /// a place that is left. As long as the store does not say, the task begins anew.
    async fn unless_overtaken(&mut self, claim: &Claim, failure: Failure) -> Failure {
        let Some(read) = &claim.read else { return failure };
        let log = self.log.log_id().to_string();
        match self.connector.open().await {
            Ok(Some(now)) if now.owner != self.owner && now.log == log && read.as_ref() != Some(&now) => {
                fence_taken(&self.writer, &now.owner)
            }
            Err(unknown) if unknown.kind == Kind::Transient => unknown,
            _ => failure,
        }
    }

    /// From one connection to its end.
    async fn session(&mut self, claim: &mut Claim, ending: &mut Ending, backoff: &mut Backoff) -> Result<(), Failure> {
        let mut standing = tokio::select! {
            biased;
            // A place that the log lost may be long in coming: nobody waits for it at the end.
            () = ending.begun() => return Ok(()),
            opened = self.open(claim) => opened?,
        };
        let instance = self.plugin.start().await?;
        let mut feed = Feed::new(&self.writer, &self.tables, &mut self.log, instance, &standing.applied);
        if standing.compacted.is_some() {
            feed.expect_holes(standing.fence.rebuild.as_ref().map_or(0, |rebuild| rebuild.until));
        }
        feed.show_latest_shapes().await?;
        info!(writer = self.writer, seq = standing.applied.seq, "delivery goes on");
        self.status.set_state(State::Running);

        let mut ready: Result<Option<Prepared>, Failure> = Ok(None);
        loop {
            if ending.has_begun() {
                return settle(&mut self.connector, &mut feed, &mut standing).await;
            }
            if let Ok(None) = ready {
                ready = feed.ready(standing.redo.as_ref().map(|place| place.seq)).await;
            }
            let next = match std::mem::replace(&mut ready, Ok(None)) {
                Ok(next) => next,
                Err(failure) => {
                    // What was applied is done with: once the mapping is mended, it may not fit rows from before it.
                    settle(&mut self.connector, &mut feed, &mut standing).await?;
                    return Err(failure);
                }
            };
            let Some(prepared) = next else {
                let idle = tokio::select! {
                    biased;
                    () = ending.begun() => false,
                    () = feed.wait() => false,
                    () = tokio::time::sleep(SETTLE_AFTER), if standing.is_unsettled() => true,
                };
                if idle {
                    settle(&mut self.connector, &mut feed, &mut standing).await?;
                }
                continue;
            };
            if prepared.is_idle() && standing.redo.is_none() {
                self.status.pass(&prepared);
                standing.applied = prepared.extent.last;
                if standing.settled_at.elapsed() > SETTLE_AFTER {
                    settle(&mut self.connector, &mut feed, &mut standing).await?;
                }
                continue;
            }
            let fence = standing.fence(prepared.extent.last.clone());
            if let (Some(kept), Some(rebuild)) = (standing.compacted, &fence.rebuild)
                && rebuild.is_over(kept, now_us())
            {
                return Err(rebuild_too_slow(&self.writer, kept));
            }
            let (applied, next) = tokio::join!(self.connector.apply(&prepared.commands, &fence), feed.ready(None));
            applied?;
            backoff.reset();
            self.status.note(&prepared);
            standing.moved(prepared.extent.last);
            // No further than the fence says: what is behind it may be needed again.
            feed.advance(standing.noted.seq).await?;
            ready = next;
        }
    }

    /// Reads the fence, finds its place in the log, and makes the fence this task's own.
    async fn open(&mut self, claim: &mut Claim) -> Result<Standing, Failure> {
        let log_id = self.log.log_id().to_string();
        let writer = self.writer.clone();
        // Asked before the fence is read: one that is made in between is another task's, and refuses this one's.
        let (has_advanced, compaction) = (self.log.has_advanced().await?, self.log.compaction().await?);
        let fence = self.connector.open().await?;
        claim.read = Some(fence.clone());
        // Which log the writer is in is said in partition 0, where a rebase ends. Of partitions that came later the store may still hold what
        // another log has left.
        let first = match &self.first {
            Some(first) => first().open().await?,
            None => None,
        };
        if let Some(other) = first.as_ref().filter(|fence| fence.log != log_id) {
            return Err(log_replaced(&writer, &other.log, &log_id));
        }
        let begun = first.is_some();
        let fence = match fence {
            Some(fence) if fence.log != log_id && (claim.made || !begun) => {
                return Err(log_replaced(&writer, &fence.log, &log_id));
            }
            Some(fence) if claim.made && fence.owner != self.owner => {
                if !claim.is_newer_than(&fence) {
                    return Err(fence_taken(&writer, &fence.owner));
                }
                let seq = fence.applied.seq;
                warn!(
                    writer,
                    seq, "the store went back to before this process began to write to it; going on from there"
                );
                fence
            }
            Some(fence) if fence.log == log_id => fence,
            None if claim.made || has_advanced => return Err(store_emptied(&writer)),
            _ => {
                let place = self.beginning.place(self.partition, begun).await?;
                let rebuild = match compaction {
                    Some(log) if self.is_made_of_rest(&place).await? => Some(Rebuild::begin(log.last, now_us())),
                    _ => None,
                };
                Fence { rebuild, ..Fence::new(log_id.clone(), self.owner.clone(), String::new(), place) }
            }
        };
        let kept = compaction.map(|log| log.kept);
        let rebuild = fence.rebuild.clone().filter(|_| kept.is_some());
        let (compacted, rebuilds) = (kept.is_some(), rebuild.is_some());
        if let (Some(kept), Some(rebuild)) = (kept, &rebuild)
            && rebuild.is_over(kept, now_us())
        {
            return Err(rebuild_too_slow(&writer, kept));
        }
        // Not one of this task: a claim that was not answered may have been made.
        if !claim.made && fence.owner != self.owner {
            claim.former = Some(fence.clone());
        }
        let applied = self.find(&fence.applied, compacted, rebuilds).await?;
        // What is applied again from further back, because a part of the log was lost, is cut anew.
        let began_there = fence.began != fence.applied && applied.transaction == fence.applied.transaction;
        let redo = if began_there { Some(self.find(&fence.began, compacted, rebuilds).await?) } else { None };
        let redo = redo.filter(|redo| redo.seq > applied.seq);
        let digest = self.plugin.digest();
        if !fence.digest.is_empty() && fence.digest != digest {
            warn!(
                writer,
                "the component or its mapping has changed since the store was last written: entries of unchanged rows keep their \
                 old form until they change; 'mysync writer rewind {writer}' writes them anew"
            );
        }
        let fence = Fence { rebuild, ..Fence::new(log_id, self.owner.clone(), digest.to_owned(), applied.clone()) };
        let standing =
            Standing { fence, noted: applied.clone(), applied, redo, compacted: kept, settled_at: Instant::now() };
        let began = standing.redo.clone().unwrap_or_else(|| standing.applied.clone());
        self.connector.apply(&RedisCommands::default(), &standing.fence(began)).await?;
        claim.made = true;
        self.log.advance(standing.applied.seq).await?;
        self.status.begin(standing.applied.seq, standing.redo.as_ref().map(|redo| redo.seq));
        Ok(standing)
    }

    /// Whether a store that begins at a place is made of what a log has kept that keeps the last record of each key. A dump brings every row from
    /// before its place, so it is not, unless all that is there came after the dump and its beginning is gone.
    async fn is_made_of_rest(&mut self, place: &Place) -> Result<bool, Failure> {
        match self.beginning {
            Beginning::Log => Ok(true),
            Beginning::Dump { .. } if place.seq > 0 => Ok(false),
            Beginning::Dump { .. } => Ok(matches!(self.log.find(place).await?, Found::Trimmed { .. })),
        }
    }

    /// Finds a place of the fence in the log as it is now.
    async fn find(&mut self, place: &Place, compacted: bool, rebuilds: bool) -> Result<Place, Failure> {
        match self.log.find(place).await? {
            Found::Next => Ok(place.clone()),
            Found::Trimmed { .. } if rebuilds => Ok(place.clone()),
            Found::Trimmed { .. } if compacted => Err(away_too_long(&self.writer, place.seq)),
            Found::Trimmed { start } if place.seq == 0 => Err(no_history(&self.writer, &self.beginning, start)),
            Found::Trimmed { start } => Err(behind_the_log(&self.writer, place.seq, start)),
            Found::Repeated { base } => {
                info!(
                    writer = self.writer,
                    seq = place.seq,
                    base,
                    "the log lost its unsynced tail; looking for the place again"
                );
                crate::feed::find_again(&mut self.log, &self.writer, place, base).await
            }
        }
    }
}

impl Standing {
    /// The fence of a batch that ends at `began`.
    fn fence(&self, began: Place) -> Fence {
        let rebuild = self.fence.rebuild.clone().filter(|rebuild| self.applied.seq < rebuild.until);
        Fence { applied: self.applied.clone(), began, rebuild, ..self.fence.clone() }
    }

    /// A batch up to `end` is applied; its fence said so of the one before.
    fn moved(&mut self, end: Place) {
        self.noted = std::mem::replace(&mut self.applied, end);
        self.redo = None;
    }

    fn is_unsettled(&self) -> bool {
        self.redo.is_none() && self.noted != self.applied
    }
}

/// Tells the store that everything it was given is applied.
async fn settle<L: LogReader, W: Writer, C: Connector>(
    connector: &mut C,
    feed: &mut Feed<'_, L, W>,
    standing: &mut Standing,
) -> Result<(), Failure> {
    standing.settled_at = Instant::now();
    if standing.is_unsettled() {
        connector.apply(&RedisCommands::default(), &standing.fence(standing.applied.clone())).await?;
        standing.noted.clone_from(&standing.applied);
        feed.advance(standing.applied.seq).await?;
    }
    Ok(())
}

/// What a writer of a log that keeps the last record of each key is told when it comes too late.
pub(crate) fn away_too_long(writer: &str, seq: u64) -> Failure {
    Failure::definite(
        "REBUILD_NEEDED",
        format!(
            "writer {writer} has come to seq {seq}, and the log, which keeps the last record of each key, has removed records behind that: \
             what was deleted meanwhile may not be told any more. Remove what the writer has written from its store, then 'mysync writer \
             rewind {writer}' makes all of it anew"
        ),
    )
}

fn rebuild_too_slow(writer: &str, kept: Duration) -> Failure {
    Failure::definite(
        "REBUILD_SLOW",
        format!(
            "writer {writer} makes its store anew and has not done so within {} s, which is how long the log knows that a key was removed: \
             raise log.retention (delete.retention.ms and min.compaction.lag.ms of its topic), remove what the writer has written from its \
             store, and begin again with 'mysync writer rewind {writer}'",
            kept.as_secs()
        ),
    )
}

fn log_replaced(writer: &str, theirs: &str, ours: &str) -> Failure {
    Failure::definite(
        "LOG_REPLACED",
        format!(
            "the store was last written for writer {writer} from log {theirs}, and this is log {ours}: its records cannot be matched with what \
             the store holds. If the old log is gone for good, 'mysync writer rebase {writer}' goes on with this one, and then 'mysync dump \
             --writer {writer}' brings what changed in between"
        ),
    )
}

fn fence_taken(writer: &str, owner: &str) -> Failure {
    Failure::definite(
        FENCE_TAKEN,
        format!(
            "another process ({owner}) has written to the store as writer {writer}: two must not share a name. Stop one of them, then resume \
             the other with 'mysync writer resume {writer}' or a restart"
        ),
    )
}

fn store_emptied(writer: &str) -> Failure {
    Failure::definite(
        "STORE_EMPTIED",
        format!(
            "the fence of writer {writer} is gone from its store, which has been written before: it was emptied, restored or has evicted \
             keys, so rows are missing too. 'mysync writer rewind {writer}' writes everything in the log again; if the log no longer holds \
             everything, 'mysync writer rebase {writer} --to end' and then 'mysync dump --writer {writer}' write every row that is in MySQL"
        ),
    )
}

fn no_history(writer: &str, beginning: &Beginning, start: u64) -> Failure {
    if let Beginning::Dump { .. } = beginning {
        // Its dump was ordered before there was anything in this partition.
        return Failure::definite(
            "LOG_INCOMPLETE",
            format!(
                "writer {writer} has read nothing of this partition yet, and the log no longer holds its first records (it begins behind seq \
                 {start}). 'mysync writer rebase {writer} --to start' goes on with what is left, and then 'mysync dump --writer {writer}' brings \
                 what is gone"
            ),
        );
    }
    Failure::definite(
        "LOG_INCOMPLETE",
        format!(
            "writer {writer} is new, its file says dump = \"never\", and the log no longer holds its first records (it begins behind seq \
             {start}). With dump = \"initial\" and 'mysync writer resume {writer}' it begins with the rows that are in MySQL; 'mysync writer \
             rebase {writer} --to start' begins with what is left in the log"
        ),
    )
}

fn behind_the_log(writer: &str, seq: u64, start: u64) -> Failure {
    Failure::definite(
        "LOG_TRIMMED",
        format!(
            "writer {writer} has come to seq {seq} and the log now begins behind {start}: changes between them are lost to it. 'mysync \
             writer rebase {writer} --to start' goes on with what is left, and then 'mysync dump --writer {writer}' brings what changed in \
             between; rows that were deleted in between stay in the store"
        ),
    )
}
