//! `mysync writer rewind|rebase|resume`: moves a writer's fence to another place in the log, and starts a stopped writer again.
//!
//! The fence is compared before it is replaced, so a writer that runs meanwhile loses no batch: its next one finds the fence changed and stops
//! without effect. A process that runs is asked to begin anew; otherwise the next start does.

use std::process::ExitCode;

use mysync_change::batch::BlockReader;
use mysync_change::fence::{Fence, Place};
use mysync_connectors::redis::Redis;
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::{Found, LogReader};

use crate::admin::Refusal;
use crate::cli::{ConfigFile, RebaseTo, RewindTo};
use crate::client::{self, Answer};
use crate::config::{self, ConnectorSettings, Settings, WriterSettings};
use crate::fault::Fault;
use crate::{adapters, records, status};

/// A writer that runs changes its fence with every batch; one of the tries falls between two.
const TRIES: usize = 100;

/// Where to.
#[derive(Debug, Clone, Copy)]
pub enum Move {
    Rewind(RewindTo),
    Rebase(RebaseTo),
}

impl Move {
    fn verb(self) -> &'static str {
        match self {
            Move::Rewind(_) => "rewind",
            Move::Rebase(_) => "rebase",
        }
    }
}

pub async fn run(name: &str, config: &ConfigFile, to: Move) -> Result<ExitCode, Fault> {
    let settings = Settings::load(&config.config)?;
    let writer = find(&settings, name)?;
    let ConnectorSettings::Redis(redis) = settings
        .connectors
        .get(&writer.connector)
        .ok_or_else(|| Fault::unusable("CONNECTOR_UNKNOWN", format!("there is no connector {}", writer.connector)))?;
    let redis = adapters::redis(&writer.connector, redis)?;
    let mut logs = adapters::readers(&settings.log, &writer.name)?;
    let mut moved = false;
    for (partition, log) in logs.iter_mut().enumerate() {
        let partition = partition as u32;
        let mut store = Redis::new(redis.clone(), &settings.source.name, &writer.name, partition);
        moved |= move_partition(log, &mut store, writer, partition, to).await?;
    }
    if !moved {
        let message = format!("no record of the log has that sequence number, so writer {name} stays where it is");
        return Err(Fault::failed("SEQ_UNKNOWN", message + ": 'mysync log tail' shows those there are"));
    }
    match settings.admin.listen {
        Some(address) => match client::post(address, &resume_path(name)) {
            Ok(answer) => resumed(&answer, "the fence has moved, but ")?,
            Err(_) => println!("no process answers on {address}: the next start goes on from there"),
        },
        None => println!("a process that runs must be restarted: admin.listen is \"none\""),
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts a writer of the running process again, where its fence says.
pub fn resume(name: &str, config: &ConfigFile) -> Result<ExitCode, Fault> {
    let address = status::address_of(&config::load_admin(&config.config)?)?;
    resumed(&client::post(address, &resume_path(name))?, "")?;
    Ok(ExitCode::SUCCESS)
}

fn resume_path(name: &str) -> String {
    format!("/api/writers/{name}/resume")
}

/// What the running process says to it.
fn resumed(answer: &Answer, but: &str) -> Result<(), Fault> {
    if answer.status < 300 {
        println!("the running process goes on from there");
        return Ok(());
    }
    let why = match serde_json::from_str(&answer.body) {
        Ok(Refusal { code, message }) => format!("[{code}] {message}"),
        Err(_) => format!("it answers with status {}", answer.status),
    };
    Err(Fault::failed("WRITER_NOT_RESUMED", format!("{but}the running process does not go on: {why}")))
}

fn find<'s>(settings: &'s Settings, name: &str) -> Result<&'s WriterSettings, Fault> {
    settings.writers.iter().find(|writer| writer.name == name).ok_or_else(|| {
        let known: Vec<&str> = settings.writers.iter().map(|writer| writer.name.as_str()).collect();
        let known = if known.is_empty() { "none at all".to_owned() } else { known.join(", ") };
        Fault::unusable("WRITER_UNKNOWN", format!("there is no writer {name}; there is {known}"))
    })
}

/// Whether the partition has moved.
async fn move_partition<L: LogReader>(
    log: &mut L,
    store: &mut Redis,
    writer: &WriterSettings,
    partition: u32,
    to: Move,
) -> Result<bool, Fault> {
    let mut last = None;
    for _ in 0..TRIES {
        let fence = store.read_fence().await?;
        let Some(place) = destination(log, &writer.name, fence.as_ref(), to).await? else { return Ok(false) };
        let new = replacement(&log.log_id().to_string(), fence.as_ref(), place, to);
        match store.replace_fence(fence.as_ref(), &new).await {
            Ok(()) => {
                println!("{}", told(&writer.name, partition, fence.as_ref(), &new));
                return Ok(true);
            }
            Err(failure) if failure.code == "FENCE_CHANGED" => last = Some(failure),
            Err(failure) => return Err(failure.into()),
        }
    }
    let why = last.map_or_else(String::new, |failure| failure.message);
    Err(Fault::failed("FENCE_CHANGED", format!("writer {} is too busy: {why}. Stop the process first", writer.name)))
}

/// The place to go to; none: this partition stays where it is.
async fn destination<L: LogReader>(
    log: &mut L,
    writer: &str,
    fence: Option<&Fence>,
    to: Move,
) -> Result<Option<Place>, Fault> {
    let log_id = log.log_id().to_string();
    let start = match log.find(&Place::default()).await? {
        Found::Trimmed { start } => start,
        Found::Next | Found::Repeated { .. } => 0,
    };
    if let (Move::Rewind(_), Some(fence)) = (to, fence.filter(|fence| fence.log != log_id)) {
        let message = format!(
            "the store was last written for writer {writer} from log {}, and this is log {log_id}: its sequence numbers mean nothing here. \
             'mysync writer rebase {writer}' goes on with this log",
            fence.log
        );
        return Err(Fault::failed("LOG_REPLACED", message));
    }
    match to {
        Move::Rewind(RewindTo::Start) if start > 0 => Err(Fault::failed(
            "LOG_INCOMPLETE",
            format!(
                "the log no longer holds its first records (it begins behind seq {start}), so it cannot write everything again. 'mysync writer \
                 rebase {writer} --to start' begins with what is left; rows that were not changed since stay as they are in the store"
            ),
        )),
        Move::Rewind(RewindTo::Start) => Ok(Some(Place::default())),
        Move::Rewind(RewindTo::Behind(seq)) => {
            let Some(place) = at_or_before(log, seq).await? else { return Ok(None) };
            let ahead = fence.is_none_or(|fence| fence.applied.seq > place.seq);
            // Going forward passes changes over: only where the very record was named.
            Ok((ahead || place.seq == seq).then_some(place))
        }
        Move::Rebase(RebaseTo::Start) => Ok(Some(Place { seq: start, ..Place::default() })),
        Move::Rebase(RebaseTo::End) => {
            Ok(Some(at_or_before(log, u64::MAX).await?.unwrap_or(Place { seq: start, ..Place::default() })))
        }
    }
}

/// The last record with this number or a smaller one. None: the log has no such record any more, or none at all.
async fn at_or_before<L: LogReader>(log: &mut L, seq: u64) -> Result<Option<Place>, Failure> {
    let mut block = BlockReader::default();
    let mut found = None;
    let mut after = 0;
    while log.read(after, &mut block).await? {
        let mut passed = false;
        let read = records::each(&block, |record| {
            passed |= record.seq > seq;
            if record.seq <= seq {
                found = Some(record.place());
            }
        });
        read.map_err(|error| Failure::definite(error.code(), error.to_string()))?;
        match block.last_seq() {
            Some(last) if !passed => after = last,
            _ => break,
        }
    }
    Ok(found)
}

/// The fence that says so. A writer that begins at the log's start owes nothing to a former mapping.
fn replacement(log_id: &str, fence: Option<&Fence>, place: Place, to: Move) -> Fence {
    let keeps = matches!(to, Move::Rewind(RewindTo::Behind(_)));
    let digest = fence.filter(|_| keeps).map_or("", |fence| &fence.digest).to_owned();
    Fence::new(log_id.to_owned(), format!("mysync writer {}", to.verb()), digest, place)
}

fn told(writer: &str, partition: u32, old: Option<&Fence>, new: &Fence) -> String {
    let at = |place: &Place| match place.seq {
        0 => "the beginning of the log".to_owned(),
        seq => format!("seq {seq}"),
    };
    let goes = at(&new.applied);
    let what = match old {
        None => format!("begins behind {goes}: it had no fence"),
        Some(old) if old.log != new.log => {
            format!("leaves log {} and begins behind {goes} of log {}", old.log, new.log)
        }
        Some(old) if old.applied.seq > new.applied.seq => format!(
            "goes back from {} to {goes}: the changes between are written again, and until that is done readers may see older values",
            at(&old.applied)
        ),
        Some(old) if old.applied.seq < new.applied.seq => format!(
            "goes forward from {} to {goes}: the changes between are passed over and missing in the store",
            at(&old.applied)
        ),
        Some(_) => format!("stays at {goes}"),
    };
    format!("writer {writer}, partition {partition}: {what}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mysync_change::block::BlockBuilder;
    use mysync_change::envelope::LogId;
    use mysync_change::position::TransactionId;
    use mysync_change::rows::Operation;
    use mysync_change::schema::{Fingerprint, TableShape};

    use super::*;

    /// A log of transactions of two rows each, ten seqs apart: (10, 11), (20, 21), (30, 31); without its first `trimmed`.
    struct Twin {
        blocks: Vec<(u64, Vec<u8>)>,
        start: u64,
    }

    fn twin(trimmed: usize) -> Twin {
        let (mut blocks, mut prev) = (Vec::new(), 0);
        for first in [10, 20, 30] {
            let mut block = BlockBuilder::new(LogId([7; 16]), first, &[prev]);
            block.begin(TransactionId { gtid: None, file: "binlog.000001".into(), offset: first }, 1);
            for number in 0..2 {
                block.row(0, Fingerprint([1; 16]), Operation::Delete, number).unwrap().finish(false);
            }
            block.end();
            block.seal();
            prev = first + 1;
            blocks.push((prev, block.partitions()[0].bytes.clone()));
        }
        let kept = blocks.split_off(trimmed);
        Twin { start: blocks.last().map_or(0, |(last, _)| *last), blocks: kept }
    }

    impl LogReader for Twin {
        fn log_id(&self) -> LogId {
            LogId([7; 16])
        }

        async fn find(&mut self, place: &Place) -> Result<Found, Failure> {
            Ok(if place.seq < self.start { Found::Trimmed { start: self.start } } else { Found::Next })
        }

        async fn read(&mut self, after: u64, block: &mut BlockReader) -> Result<bool, Failure> {
            let next = self.blocks.iter().find(|(last, _)| *last > after);
            next.inspect(|(_, bytes)| block.refill().extend_from_slice(bytes));
            Ok(next.is_some())
        }

        async fn wait(&mut self, _after: u64) {}

        async fn shape(&mut self, _fingerprint: Fingerprint) -> Result<Arc<TableShape>, Failure> {
            Err(Failure::definite("TEST", "no shapes"))
        }

        async fn shapes(&mut self) -> Result<Vec<(Fingerprint, Arc<TableShape>)>, Failure> {
            Ok(Vec::new())
        }

        async fn has_advanced(&mut self) -> Result<bool, Failure> {
            Ok(true)
        }

        async fn advance(&mut self, _seq: u64) -> Result<(), Failure> {
            Ok(())
        }
    }

    fn fence(log: LogId, seq: u64) -> Fence {
        Fence::new(log.to_string(), "task".to_owned(), "digest".to_owned(), Place { seq, ..Place::default() })
    }

    async fn goes(log: &mut Twin, at: Option<u64>, to: Move) -> Result<Option<(u64, String, u64)>, &'static str> {
        let fence = at.map(|seq| fence(LogId([7; 16]), seq));
        let place = destination(log, "users", fence.as_ref(), to).await.map_err(|fault| fault.code)?;
        Ok(place.map(|place| (place.seq, place.transaction, place.row)))
    }

    #[tokio::test]
    async fn a_rewind_goes_back_and_passes_over_only_what_is_named() {
        let log = &mut twin(0);
        let behind = |seq| Move::Rewind(RewindTo::Behind(seq));
        let second = Some((21, "binlog.000001:20".to_owned(), 1));
        assert_eq!(goes(log, Some(31), Move::Rewind(RewindTo::Start)).await, Ok(Some((0, String::new(), 0))));
        assert_eq!(goes(log, Some(31), behind(21)).await, Ok(second.clone()));
        assert_eq!(goes(log, Some(31), behind(25)).await, Ok(second.clone()), "the last one before");
        assert_eq!(goes(log, Some(11), behind(21)).await, Ok(second), "forward, to a record that was named");
        assert_eq!(goes(log, Some(11), behind(25)).await, Ok(None), "never forward to one that was not");
        assert_eq!(goes(log, Some(11), behind(5)).await, Ok(None));
    }

    #[tokio::test]
    async fn a_log_without_its_beginning_is_no_place_to_rewind_to() {
        let log = &mut twin(2);
        assert_eq!(goes(log, Some(31), Move::Rewind(RewindTo::Start)).await, Err("LOG_INCOMPLETE"));
        assert_eq!(goes(log, Some(11), Move::Rebase(RebaseTo::Start)).await, Ok(Some((21, String::new(), 0))));
        let end = Some((31, "binlog.000001:30".to_owned(), 1));
        assert_eq!(goes(log, Some(11), Move::Rebase(RebaseTo::End)).await, Ok(end));
    }

    #[tokio::test]
    async fn another_log_needs_a_rebase() {
        let other = fence(LogId([8; 16]), 21);
        let to = Move::Rewind(RewindTo::Behind(21));
        let refused = destination(&mut twin(0), "users", Some(&other), to).await.unwrap_err();
        assert_eq!(refused.code, "LOG_REPLACED");
        let to = Move::Rebase(RebaseTo::Start);
        assert_eq!(destination(&mut twin(0), "users", Some(&other), to).await.unwrap(), Some(Place::default()));
        let empty = &mut Twin { blocks: Vec::new(), start: 0 };
        assert_eq!(goes(empty, None, Move::Rebase(RebaseTo::End)).await, Ok(Some((0, String::new(), 0))));
    }

    #[test]
    fn what_is_going_to_happen_is_said() {
        let ours = LogId([7; 16]);
        let to =
            |seq| replacement(&ours.to_string(), None, Place { seq, ..Place::default() }, Move::Rebase(RebaseTo::End));
        for (old, new, said) in [
            (Some(fence(ours, 21)), to(0), "written again"),
            (Some(fence(ours, 21)), to(31), "passed over"),
            (Some(fence(LogId([8; 16]), 21)), to(31), "leaves log 0808"),
            (None, to(0), "it had no fence"),
        ] {
            let text = told("users", 0, old.as_ref(), &new);
            assert!(text.contains(said), "{text}");
        }
    }
}
