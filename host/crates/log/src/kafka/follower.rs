//! What a process that does not lead knows of the one that does: read from the control topic, shown on its own board.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mysync_change::dump::{Dump, DumpState, Dumps};
use mysync_pipeline::dump::{DumpStatus, Stage};
use mysync_pipeline::status::Board;
use rdkafka::topic_partition_list::Offset;
use tracing::debug;

use super::Cluster;
use super::control::{Added, CHECKPOINT, Covered, DUMPS, Identity, LEADER, LOG, Leader, TOPICS, parse};
use super::error::KafkaError;
use super::tail::{Next, Tail};

/// Nothing depends on it: after an error it begins anew, at leisure.
const PAUSE: Duration = Duration::from_secs(2);

/// A leader says more often than this that it is there.
const SILENCE: Duration = Duration::from_secs(10);

/// Follows until it is dropped, or until this process has to be started again.
pub async fn follow(cluster: Arc<Cluster>, board: Arc<Board>) {
    let mut next = Offset::Beginning;
    loop {
        if let Err(error) = follow_from(&mut next, &cluster, &board).await {
            debug!(target: "mysync_log::kafka", %error, "the leader is not followed at the moment");
            match error {
                KafkaError::PlaceGone { .. } => {
                    // What was made anew holds no log, or another one: who leads looks before it writes on.
                    cluster.leads.send_replace(false);
                    next = Offset::Beginning;
                }
                // It is told by whoever reads or writes there.
                KafkaError::Renumbered { .. } => return,
                _ => {}
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow_from(next: &mut Offset, cluster: &Cluster, board: &Board) -> Result<(), KafkaError> {
    let settings = &cluster.settings;
    let tail = Tail::from(cluster, &settings.capture_name(), &settings.control_topic(), 0, *next)?;
    loop {
        let record = loop {
            match tail.poll()? {
                Next::Message(record) => break record,
                Next::End => {}
                // A leader is heard all the time: one that is not, this client may have lost.
                Next::Nothing => {
                    let silent = || KafkaError::Unreachable {
                        doing: format!("following topic {}", tail.topic),
                        reason: "nothing was heard".to_owned(),
                    };
                    tokio::time::timeout(SILENCE, tail.wait()).await.map_err(|_| silent())?;
                }
            }
        };
        *next = Offset::Offset(record.offset + 1);
        let topic = &tail.topic;
        if record.key() == LEADER.as_bytes() {
            let leader: Leader = parse(topic, LEADER, record.bytes())?;
            board.capture.set_leader(leader.name);
        }
        if record.key() == LOG.as_bytes() {
            cluster.check_numbers(Identity::read(topic, record.bytes())?.0)?;
        }
        // Also by who leads: it may have been replaced, and not know it yet.
        if record.key() == TOPICS.as_bytes() {
            cluster.know(&parse::<Added>(topic, TOPICS, record.bytes())?.topics);
        }
        if *cluster.leads.borrow() {
            continue;
        }
        match record.key() {
            key if key == CHECKPOINT.as_bytes() => {
                let covered: Covered = parse(topic, CHECKPOINT, record.bytes())?;
                let capture = &board.capture;
                capture.timelines().follow(&covered.lasts, &covered.committed_us);
                capture.seq.fetch_max(covered.lasts.iter().copied().max().unwrap_or(0), Relaxed);
                capture.heard_us.fetch_max(covered.heard_us, Relaxed);
                capture.set_position(&covered.checkpoint);
            }
            key if key == DUMPS.as_bytes() => {
                let dumps: Dumps = parse(topic, DUMPS, record.bytes())?;
                board.capture.set_dumps(dumps.list.iter().map(told).collect());
            }
            _ => {}
        }
    }
}

/// What the log knows of a dump. Estimates and rates are the leader's own.
fn told(dump: &Dump) -> DumpStatus {
    let stage = match dump.state {
        DumpState::Open => Stage::Running,
        DumpState::Paused => Stage::Paused,
        DumpState::Done => Stage::Done,
        DumpState::Cancelled => Stage::Cancelled,
    };
    DumpStatus {
        number: dump.number,
        writer: dump.writer.clone(),
        stage,
        since_us: dump.asked_us,
        table: dump.progress.table.clone(),
        tables_done: dump.progress.tables_done,
        tables: None,
        rows: dump.progress.rows,
        rows_estimated: None,
        rows_left_out: 0,
        chunks: dump.progress.chunks,
        chunks_again: 0,
        rows_per_second_max: dump.rows_per_second,
        rows_per_second: None,
        waits_for: None,
        asked_us: dump.asked_us,
        ended_us: 0,
    }
}
