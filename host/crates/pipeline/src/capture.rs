//! Source → log.
//!
//! **Promise.** Every change that the source commits behind the log's checkpoint is appended once, in binlog order, each chained to the one
//! before it in its partition.
//! **Progress.** Only [`LogWriter::append`] moves it: records, their shapes and the checkpoint that covers them are stored together or not
//! at all. A checkpoint lies on a transaction's end, or inside a large transaction with the number of its rows that are stored.
//! **Resuming.** After any error of the source, what was decoded and not stored is thrown away, its numbers with it, and the source goes on
//! behind the stored checkpoint. After any error of the log it is unknown what was stored, so the log is asked (`lead`).
//! **Errors.** Transient ones are retried for as long as it takes. A definite one ends the loop: nothing behind it is captured.

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

/// A source that is away for longer than its restart takes may be there for another process.
const STEP_DOWN_AFTER: Duration = Duration::from_secs(30);

/// Runs until the end begins or something is definitely wrong.
pub async fn capture<S: Source, L: LogWriter>(
    source: &mut S,
    log: &mut L,
    status: &CaptureStatus,
    mut ending: Ending,
) -> Result<(), Failure> {
    let mut backoff = Backoff::new("capture");
    let mut leading: Option<Leading> = None;
    let mut without_source: Option<Instant> = None;
    loop {
        let outcome = stream(source, log, &mut leading, status, &mut backoff, &mut without_source, &mut ending).await;
        match outcome {
            Ok(()) => {
                status.set_state(State::Ended);
                return Ok(());
            }
            Err(failure) if failure.kind == Kind::Transient => {
                status.errors.fetch_add(1, Relaxed);
                let wait = backoff.wait();
                warn!(
                    code = failure.code,
                    wait_ms = wait.as_millis() as u64,
                    "capture tries again: {}",
                    failure.message
                );
                status.set_state(State::Retrying(failure));
                let is_long = without_source.get_or_insert_with(Instant::now).elapsed() > STEP_DOWN_AFTER;
                if is_long && leading.is_some() && log.step_down() {
                    (leading, without_source) = (None, None);
                }
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

async fn stream<S: Source, L: LogWriter>(
    source: &mut S,
    log: &mut L,
    leading: &mut Option<Leading>,
    status: &CaptureStatus,
    backoff: &mut Backoff,
    without_source: &mut Option<Instant>,
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
        // Not before: a server that ends every stream right after it began is not to be asked without a pause.
        backoff.reset();
        *without_source = None;
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
