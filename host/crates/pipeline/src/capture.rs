//! Source → log.
//!
//! **Promise.** Every change that the source commits behind the log's checkpoint is appended once, in binlog order, each chained to the one
//! before it in its partition.
//! **Progress.** Only [`LogWriter::append`] moves it: records, their shapes and the checkpoint that covers them are stored together or not
//! at all. A checkpoint lies on a transaction's end, or inside a large transaction with the number of its rows that are stored.
//! **Resuming.** After any error of the source, what was decoded and not stored is thrown away, its numbers with it, and the source goes on
//! behind the stored checkpoint. After any error of the log it is unknown what was stored, so the log is asked (`lead`).
//! **Errors.** Transient ones are retried for as long as it takes. A definite one ends the loop: nothing behind it is captured.
//! **Others.** A leader that gets nothing through, whether it lacks the source or a part of the log, lets others lead if there can be any.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mysync_change::block::BlockBuilder;
use mysync_change::position::Checkpoint;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::failure::{Failure, Kind};
use crate::ports::{LogWriter, Source};
use crate::retry::Backoff;
use crate::shutdown::Ending;
use crate::status::{CaptureStatus, State, now_us};

/// What is away for longer than its restart takes may be there for another process.
const STEP_DOWN_AFTER: Duration = Duration::from_secs(30);
/// Whoever is to lead instead is given it in this time. Who asked for it again before might get it back.
const STEP_DOWN_FOR: Duration = Duration::from_secs(5);

/// Runs until the end begins or something is definitely wrong.
pub async fn capture<S: Source, L: LogWriter>(
    source: &mut S,
    log: &mut L,
    status: &CaptureStatus,
    mut ending: Ending,
) -> Result<(), Failure> {
    let mut leading: Option<Leading> = None;
    let mut trouble = Trouble { backoff: Backoff::new("capture"), since: None };
    loop {
        let outcome = stream(source, log, &mut leading, status, &mut trouble, &mut ending).await;
        match outcome {
            Ok(()) => {
                status.set_state(State::Ended);
                return Ok(());
            }
            Err(failure) if failure.kind == Kind::Transient => {
                status.errors.fetch_add(1, Relaxed);
                if status.state() == State::Standby {
                    // Others have led since it last failed: this is a turn of its own.
                    trouble.is_over();
                }
                let mut wait = trouble.backoff.wait();
                let is_long = trouble.since.get_or_insert_with(Instant::now).elapsed() > STEP_DOWN_AFTER;
                if is_long && log.step_down() {
                    info!("nothing gets through here: others may capture");
                    (leading, trouble.since, wait) = (None, None, STEP_DOWN_FOR);
                }
                warn!(
                    code = failure.code,
                    wait_ms = wait.as_millis() as u64,
                    "capture tries again: {}",
                    failure.message
                );
                status.set_state(State::Retrying(failure));
                ending.sleep(wait).await;
            }
            Err(failure) => {
                status.errors.fetch_add(1, Relaxed);
                error!(code = failure.code, "capture stopped: {}", failure.message);
                status.set_state(State::Stopped(failure.clone()));
                return Err(failure);
            }
        }
    }
}

/// What the log has, as far as this leader knows.
struct Leading {
    block: BlockBuilder,
    checkpoint: Option<Checkpoint>,
}

/// What does not get through, for how long, and how long to wait.
struct Trouble {
    backoff: Backoff,
    /// When it first failed since something got through.
    since: Option<Instant>,
}

impl Trouble {
    fn is_over(&mut self) {
        self.backoff.reset();
        self.since = None;
    }
}

async fn stream<S: Source, L: LogWriter>(
    source: &mut S,
    log: &mut L,
    leading: &mut Option<Leading>,
    status: &CaptureStatus,
    trouble: &mut Trouble,
    ending: &mut Ending,
) -> Result<(), Failure> {
    let Leading { block, checkpoint } = match leading {
        Some(leading) => leading,
        None => {
            let lead = tokio::select! {
                biased;
                () = ending.begun() => return Ok(()),
                lead = log.lead() => lead?,
            };
            status.seq.store(lead.prevs.iter().copied().max().unwrap_or(0), Relaxed);
            status.timelines().lead(&lead.prevs);
            let block = BlockBuilder::new(lead.log_id, lead.next_seq, &lead.prevs);
            let block = block.in_topics(lead.topics).in_layout(log.layout()).full_at(log.block_bytes());
            leading.insert(Leading { block, checkpoint: lead.checkpoint })
        }
    };
    block.discard();
    let mut covered = tokio::select! {
        biased;
        () = ending.begun() => return Ok(()),
        covered = source.open(checkpoint.as_ref()) => covered?,
    };
    info!(position = %covered.position, "capture is connected");
    status.set_position(&covered);
    let connected = Instant::now();
    // What a connection begins with says nothing: a server may end every stream right after that.
    let mut has_filled = false;
    loop {
        status.heard_us.store(now_us(), Relaxed);
        // On a first start also where it begins is stored, before anything is read: a kill must not move it.
        let is_new = !block.is_empty() || checkpoint.as_ref() != Some(&covered);
        let stored = if is_new {
            block.seal();
            log.append(block, &covered).await
        } else {
            log.idle(&covered).await
        };
        if let Err(failure) = stored {
            *leading = None;
            return Err(failure);
        }
        // Rows: a source that is merely alive, or has moved on, does not show that the log takes what it lately did not. If nothing fails for long
        // enough there is nothing that it did not take.
        if has_filled && (!block.is_empty() || connected.elapsed() > STEP_DOWN_AFTER) {
            trouble.is_over();
        }
        if is_new {
            note(status, block, &covered);
            block.stored();
            *checkpoint = Some(covered);
        }
        status.set_state(State::Running);
        // What is being stored at the end is stored to its end: whoever comes next need not wait until it is known what became of it.
        covered = tokio::select! {
            biased;
            () = ending.begun() => return Ok(()),
            covered = source.fill(block) => covered?,
        };
        has_filled = true;
    }
}

fn note(status: &CaptureStatus, block: &BlockBuilder, covered: &Checkpoint) {
    if !block.is_empty() {
        status.timelines().append(block);
        status.seq.store(block.next_seq() - 1, Relaxed);
    }
    status.rows.fetch_add(block.rows(), Relaxed);
    status.bytes.fetch_add(block.len() as u64, Relaxed);
    status.blocks.fetch_add(1, Relaxed);
    status.set_position(covered);
}
