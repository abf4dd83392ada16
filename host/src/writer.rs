//! `mysync writer rewind|rebase|resume`: moves a writer's fence to another place in the log, and starts a stopped writer again.
//!
//! The fence is compared before it is replaced, so a writer that runs meanwhile loses no batch: its next one finds the fence changed and stops
//! without effect. With the embedded log the process that runs is asked to begin anew; otherwise the next start does. With the log on Kafka
//! any number of processes may run, and none need be reached: each watches the fences of its partitions, and goes on where such a command has
//! put them.

use std::collections::BTreeMap;
use std::process::ExitCode;

use mysync_change::batch::BlockReader;
use mysync_change::envelope::EnvelopeError;
use mysync_change::fence::{Fence, Place, Rebuild};
use mysync_connectors::redis::Redis;
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::{Found, LogReader};
use mysync_pipeline::status::now_us;

use crate::cli::{RebaseTo, RewindTo, WhichWriter};
use crate::client::{self, Answer};
use crate::config::{ConnectorSettings, LogKind, Settings, WriterSettings};
use crate::fault::Fault;
use crate::outside::{self, Reader, Searched};
use crate::{adapters, records, status, tail};

/// A writer that runs changes its fence with every batch; one of the tries falls between two.
const TRIES: usize = 100;

/// What the owner of a fence begins with that was put there by such a command.
const MOVED_BY: &str = "mysync writer ";

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

/// Whether a fence was put where it is by such a command, and nobody has gone on from there yet.
pub fn is_moved(fence: &Fence) -> bool {
    fence.owner.starts_with(MOVED_BY)
}

pub async fn run(which: &WhichWriter, to: Move) -> Result<ExitCode, Fault> {
    let settings = Settings::load(&which.process.config.config)?;
    let (name, writer) = (&which.name, find(&settings, &which.name)?);
    refuse_without_kafka(&settings.log.kind, to)?;
    let ConnectorSettings::Redis(redis) = settings
        .connectors
        .get(&writer.connector)
        .ok_or_else(|| Fault::unusable("CONNECTOR_UNKNOWN", format!("there is no connector {}", writer.connector)))?;
    let redis = adapters::redis(&writer.connector, redis)?;
    let mut logs = outside::readers(&settings.log, &writer.name, &writer.tables).await?;
    let store = |partition| Redis::new(redis.clone(), &settings.source.name, &writer.name, partition);
    let mut stores: Vec<Redis> = logs.keys().map(|partition| store(*partition)).collect();
    // Everything is looked at before anything is moved.
    for (log, store) in logs.values().zip(&mut stores) {
        refuse_other_log(store.read_fence().await?.as_ref(), &log.log_id().to_string(), name, to)?;
    }
    let places = destinations(&mut logs, name, to).await?;
    for ((partition, log), store) in logs.iter_mut().zip(&mut stores) {
        match places.get(partition) {
            Some(place) => move_partition(log, store, name, *partition, place, to).await?,
            None => println!("writer {name}, partition {partition}: stays where it is"),
        }
    }
    if let LogKind::Kafka(_) = settings.log.kind {
        println!(
            "processes that deliver it go on from there within seconds, even if it had stopped; otherwise the next start does"
        );
        return Ok(ExitCode::SUCCESS);
    }
    match which.process.admin.or(settings.admin.listen) {
        Some(address) => match client::post(address, &resume_path(name)) {
            Ok(answer) => resumed(&answer, "the fence has moved, but ")?,
            Err(_) => println!("no process answers on {address}: the next start goes on from there"),
        },
        None => println!("a process that runs must be restarted: admin.listen is \"none\""),
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts a writer of a running process again, where its fence says.
pub fn resume(which: &WhichWriter) -> Result<ExitCode, Fault> {
    let address = status::address(&which.process)?;
    resumed(&client::post(address, &resume_path(&which.name))?, "")?;
    Ok(ExitCode::SUCCESS)
}

fn resume_path(name: &str) -> String {
    format!("/api/writers/{name}/resume")
}

/// What the running process says to it.
fn resumed(answer: &Answer, but: &str) -> Result<(), Fault> {
    if answer.is_good() {
        println!("the running process goes on from there");
        return Ok(());
    }
    let why = answer.refusal();
    Err(Fault::failed("WRITER_NOT_RESUMED", format!("{but}the running process does not go on: {why}")))
}

fn find<'s>(settings: &'s Settings, name: &str) -> Result<&'s WriterSettings, Fault> {
    settings.writers.iter().find(|writer| writer.name == name).ok_or_else(|| {
        let known: Vec<&str> = settings.writers.iter().map(|writer| writer.name.as_str()).collect();
        let known = if known.is_empty() { "none at all".to_owned() } else { known.join(", ") };
        Fault::unusable("WRITER_UNKNOWN", format!("there is no writer {name}; there is {known}"))
    })
}

/// The embedded log has no offsets.
fn refuse_without_kafka(log: &LogKind, to: Move) -> Result<(), Fault> {
    match (log, to) {
        (LogKind::Embedded(_), Move::Rewind(RewindTo::Offset { .. })) => Err(Fault::unusable(
            "LOG_KIND",
            "a writer cannot be rewound to an offset with the embedded log: 'mysync log tail' shows records with their times and numbers; give \
             a time, or the number of the record before",
        )),
        _ => Ok(()),
    }
}

async fn move_partition(
    log: &mut Reader,
    store: &mut Redis,
    writer: &str,
    partition: u32,
    place: &Place,
    to: Move,
) -> Result<(), Fault> {
    let log_id = log.log_id().to_string();
    // From its beginning a log that keeps the last record of each key has holes, as it should.
    let compaction = log.compaction().await?.filter(|_| place.seq == 0);
    let rebuild = compaction.map(|log| Rebuild::begin(log.last, now_us()));
    let mut last = None;
    for _ in 0..TRIES {
        let fence = store.read_fence().await?;
        refuse_other_log(fence.as_ref(), &log_id, writer, to)?;
        let moved = replacement(&log_id, fence.as_ref(), place.clone(), to);
        let new = Fence { rebuild: rebuild.clone(), ..moved };
        match store.replace_fence(fence.as_ref(), &new).await {
            Ok(()) => {
                println!("{}", told(writer, partition, fence.as_ref(), &new));
                return Ok(());
            }
            Err(failure) if failure.code == "FENCE_CHANGED" => last = Some(failure),
            Err(failure) => return Err(failure.into()),
        }
    }
    let why = last.map_or_else(String::new, |failure| failure.message);
    Err(Fault::failed("FENCE_CHANGED", format!("writer {writer} is too busy: {why}. Stop the process first")))
}

/// A rewind goes to a place in the log that the store was written from.
fn refuse_other_log(fence: Option<&Fence>, log_id: &str, writer: &str, to: Move) -> Result<(), Fault> {
    match (to, fence.filter(|fence| fence.log != log_id)) {
        (Move::Rewind(_), Some(Fence { log, .. })) => Err(Fault::failed(
            "LOG_REPLACED",
            format!(
                "the store was last written for writer {writer} from log {log}, and this is log {log_id}: its sequence numbers mean nothing \
                 here. 'mysync writer rebase {writer}' goes on with this log"
            ),
        )),
        _ => Ok(()),
    }
}

/// The partitions that move, each with the place it goes to.
async fn destinations<L: Searched>(
    logs: &mut BTreeMap<u32, L>,
    writer: &str,
    to: Move,
) -> Result<BTreeMap<u32, Place>, Fault> {
    match to {
        Move::Rewind(RewindTo::Behind(seq)) => Ok(BTreeMap::from([holder(logs, writer, seq).await?])),
        Move::Rewind(RewindTo::Time(micros)) => committed_since(logs, writer, micros).await,
        Move::Rewind(RewindTo::Offset { partition, offset }) => {
            let place = at_offset(logs, writer, partition, offset).await?;
            Ok(BTreeMap::from([(partition, place)]))
        }
        Move::Rewind(RewindTo::Start) | Move::Rebase(_) => ends(logs, writer, to).await,
    }
}

/// The log's beginning, or its end.
async fn ends<L: Searched>(logs: &mut BTreeMap<u32, L>, writer: &str, to: Move) -> Result<BTreeMap<u32, Place>, Fault> {
    let mut places = BTreeMap::new();
    for (partition, log) in logs {
        let start = log_start(log).await?;
        let rewinds = matches!(to, Move::Rewind(_));
        // What a log of keys no longer holds was replaced by what it holds.
        let start = if rewinds && log.compaction().await?.is_some() { 0 } else { start };
        if rewinds && start > 0 {
            return Err(Fault::failed(
                "LOG_INCOMPLETE",
                format!(
                    "the log no longer holds its first records (it begins behind seq {start}), so it cannot write everything again. 'mysync \
                     writer rebase {writer} --to end' and then, while it runs, 'mysync dump --writer {writer}' load the tables instead. A dump \
                     adds and changes rows: what is deleted from MySQL by then stays in the store"
                ),
            ));
        }
        let place = match to {
            Move::Rebase(RebaseTo::End) => last(log).await?,
            _ => None,
        };
        places.insert(*partition, place.unwrap_or(Place { seq: start, ..Place::default() }));
    }
    Ok(places)
}

/// The number behind which a partition begins; 0: it has all its records.
async fn log_start<L: LogReader>(log: &mut L) -> Result<u64, Failure> {
    Ok(match log.find(&Place::default()).await? {
        Found::Trimmed { start } => start,
        Found::Next | Found::Repeated { .. } => 0,
    })
}

/// The places before everything that the source committed at this time or later. A partition without any of that stays where it is.
async fn committed_since<L: Searched>(
    logs: &mut BTreeMap<u32, L>,
    writer: &str,
    micros: u64,
) -> Result<BTreeMap<u32, Place>, Fault> {
    let mut places = BTreeMap::new();
    for (partition, log) in logs {
        let Some(place) = before_committed(log, micros).await? else { continue };
        let start = log_start(log).await?;
        if start > 0 && place.seq <= start && log.compaction().await?.is_none() {
            return Err(Fault::failed(
                "LOG_INCOMPLETE",
                format!(
                    "the log no longer holds what was committed at {}: in partition {partition} it begins behind seq {start}, with what was \
                     committed later. Give a later time, or 'mysync writer rebase {writer} --to start' and 'mysync dump --writer {writer}'",
                    tail::time(micros)
                ),
            ));
        }
        places.insert(*partition, place);
    }
    if places.is_empty() {
        let message = format!(
            "nothing in the log was committed at {} or later, so writer {writer} stays where it is",
            tail::time(micros)
        );
        return Err(Fault::failed("TIME_UNKNOWN", message + ": 'mysync log tail' shows the times"));
    }
    Ok(places)
}

/// The place before the first record that was committed at this time or later; none: there is no such record.
async fn before_committed<L: Searched>(log: &mut L, micros: u64) -> Result<Option<Place>, Failure> {
    let Some(seq) = log.before_time(micros).await? else { return Ok(None) };
    let (mut place, mut block, mut found) = (Place { seq, ..Place::default() }, BlockReader::default(), false);
    while !found && log.read(place.seq, &mut block).await? {
        let before = place.seq;
        records::each(&block, |record| {
            found |= record.seq > before && record.header.committed_us >= micros;
            if !found && record.seq > before {
                place = record.place();
            }
        })
        .map_err(unreadable)?;
    }
    Ok(found.then_some(place))
}

/// The place before what stands at this offset, or next behind it.
async fn at_offset<L: Searched>(
    logs: &mut BTreeMap<u32, L>,
    writer: &str,
    partition: u32,
    offset: i64,
) -> Result<Place, Fault> {
    let unknown = |what: String| {
        let message = format!(
            "{what}, so writer {writer} stays where it is: 'mysync log tail' shows PARTITION@OFFSET of each record"
        );
        Fault::failed("OFFSET_UNKNOWN", message)
    };
    let known = logs.keys().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let Some(log) = logs.get_mut(&partition) else {
        return Err(unknown(format!(
            "the writer's partitions are {known}, and there is no partition {partition} among them"
        )));
    };
    match log.before_offset(offset).await? {
        Some(seq) => Ok(Place { seq, ..Place::default() }),
        None => {
            Err(unknown(format!("partition {partition} holds no record at offset {offset} or behind it, or no longer")))
        }
    }
}

/// The partition that holds a record with exactly this number, and the record's place: another one has come to where it is by other numbers.
async fn holder<L: LogReader>(logs: &mut BTreeMap<u32, L>, writer: &str, seq: u64) -> Result<(u32, Place), Fault> {
    let mut unreadable = None;
    for (partition, log) in logs {
        match record(log, seq).await {
            Ok(Some(place)) => return Ok((*partition, place)),
            Ok(None) => {}
            // It may lie in another partition all the same.
            Err(failure) => unreadable = Some(failure),
        }
    }
    if let Some(failure) = unreadable {
        return Err(failure.into());
    }
    let message =
        format!("no partition of the log holds a record of exactly seq {seq}, so writer {writer} stays where it is");
    Err(Fault::failed("SEQ_UNKNOWN", message + ": 'mysync log tail' shows those there are"))
}

/// The place of the record with exactly this number; none: it is not in this partition.
async fn record<L: LogReader>(log: &mut L, seq: u64) -> Result<Option<Place>, Failure> {
    let Some(before) = seq.checked_sub(1) else { return Ok(None) };
    let (mut block, mut found) = (BlockReader::default(), None);
    match log.read(before, &mut block).await {
        Ok(_) => {}
        // Its records cannot be known, and yet it can be passed over whole.
        Err(failure) if failure.code == "LOG_BLOCK_DAMAGED" => {
            let end = Place { seq, ..Place::default() };
            return Ok((log.find(&end).await? == Found::Next).then_some(end));
        }
        Err(failure) => return Err(failure),
    }
    records::each(&block, |record| {
        if record.seq == seq {
            found = Some(record.place());
        }
    })
    .map_err(unreadable)?;
    Ok(found)
}

/// The place of the last record; none: there is none.
async fn last<L: Searched>(log: &mut L) -> Result<Option<Place>, Failure> {
    let (mut block, mut last) = (BlockReader::default(), None::<Place>);
    while log.read_last(last.as_ref().map_or(0, |place| place.seq), &mut block).await? {
        records::each(&block, |record| last = Some(record.place())).map_err(unreadable)?;
    }
    Ok(last)
}

fn unreadable(error: EnvelopeError) -> Failure {
    Failure::definite(error.code(), error.to_string())
}

/// The fence that says so. A writer that begins at the log's start owes nothing to a former mapping.
fn replacement(log_id: &str, fence: Option<&Fence>, place: Place, to: Move) -> Fence {
    let keeps = matches!(to, Move::Rewind(to) if to != RewindTo::Start);
    let digest = fence.filter(|_| keeps).map_or("", |fence| &fence.digest).to_owned();
    Fence::new(log_id.to_owned(), format!("{MOVED_BY}{}", to.verb()), digest, place)
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
    use crate::config::EmbeddedSettings;

    /// A partition of transactions of two rows each, without its first `trimmed`.
    struct Twin {
        blocks: Vec<(u64, Vec<u8>)>,
        start: u64,
        /// The end of a block that cannot be read.
        damaged: u64,
    }

    fn twin(firsts: [u64; 3], trimmed: usize) -> Twin {
        let (mut blocks, mut prev) = (Vec::new(), 0);
        for first in firsts {
            let mut block = BlockBuilder::new(LogId([7; 16]), first, &[prev]);
            // Committed at the time of its first number.
            block.begin(TransactionId { gtid: None, file: "binlog.000001".into(), offset: first }, first);
            for number in 0..2 {
                block.row(0, Fingerprint([1; 16]), Operation::Delete, number).unwrap().finish(false);
            }
            block.end();
            block.seal();
            prev = first + 1;
            blocks.push((prev, block.partitions()[0].bytes.clone()));
        }
        let kept = blocks.split_off(trimmed);
        Twin { start: blocks.last().map_or(0, |(last, _)| *last), blocks: kept, damaged: 0 }
    }

    /// Two partitions: (10, 11), (20, 21), (30, 31) and (12, 13), (22, 23), (32, 33).
    fn log(trimmed: usize) -> BTreeMap<u32, Twin> {
        [(0, twin([10, 20, 30], trimmed)), (1, twin([12, 22, 32], trimmed))].into()
    }

    impl LogReader for Twin {
        fn log_id(&self) -> LogId {
            LogId([7; 16])
        }

        async fn find(&mut self, place: &Place) -> Result<Found, Failure> {
            let held = place.seq == self.start || self.blocks.iter().any(|(last, _)| *last == place.seq);
            Ok(match place.seq < self.start {
                true => Found::Trimmed { start: self.start },
                false if held => Found::Next,
                false => Found::Repeated { base: self.start },
            })
        }

        async fn read(&mut self, after: u64, block: &mut BlockReader) -> Result<bool, Failure> {
            let next = self.blocks.iter().find(|(last, _)| *last > after);
            if next.is_some_and(|(last, _)| *last == self.damaged) {
                return Err(Failure::definite("LOG_BLOCK_DAMAGED", "its checksum does not fit its bytes"));
            }
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

    impl Searched for Twin {
        async fn before_time(&mut self, _micros: u64) -> Result<Option<u64>, Failure> {
            Ok(Some(log_start(self).await?))
        }

        async fn before_offset(&mut self, offset: i64) -> Result<Option<u64>, Failure> {
            Ok(self.blocks.get(offset as usize).map(|(last, _)| last - 2))
        }

        async fn read_last(&mut self, after: u64, block: &mut BlockReader) -> Result<bool, Failure> {
            self.read(after, block).await
        }
    }

    fn fence(log: LogId, seq: u64) -> Fence {
        Fence::new(log.to_string(), "task".to_owned(), "digest".to_owned(), Place { seq, ..Place::default() })
    }

    /// Each partition that moves, with the place it goes to.
    async fn go(log: &mut BTreeMap<u32, Twin>, to: Move) -> Result<Vec<(u32, u64, String, u64)>, &'static str> {
        let places = destinations(log, "users", to).await.map_err(|fault| fault.code)?;
        Ok(places.into_iter().map(|(partition, place)| (partition, place.seq, place.transaction, place.row)).collect())
    }

    fn start(seqs: [u64; 2]) -> Vec<(u32, u64, String, u64)> {
        (0..).zip(seqs).map(|(partition, seq)| (partition, seq, String::new(), 0)).collect()
    }

    #[tokio::test]
    async fn only_the_partition_that_holds_the_record_moves() {
        let log = &mut log(0);
        let behind = |seq| Move::Rewind(RewindTo::Behind(seq));
        assert_eq!(go(log, behind(21)).await, Ok(vec![(0, 21, "binlog.000001:20".to_owned(), 1)]));
        assert_eq!(go(log, behind(22)).await, Ok(vec![(1, 22, "binlog.000001:22".to_owned(), 0)]));
        for seq in [0, 5, 25, 40] {
            assert_eq!(go(log, behind(seq)).await, Err("SEQ_UNKNOWN"), "{seq} is nobody's");
        }
        assert_eq!(go(log, Move::Rewind(RewindTo::Start)).await, Ok(start([0, 0])));
    }

    #[tokio::test]
    async fn a_block_that_cannot_be_read_is_passed_over_by_its_end() {
        let log = &mut log(0);
        log.get_mut(&0).unwrap().damaged = 21;
        let behind = |seq| Move::Rewind(RewindTo::Behind(seq));
        assert_eq!(go(log, behind(21)).await, Ok(vec![(0, 21, String::new(), 0)]));
        assert_eq!(go(log, behind(22)).await, Ok(vec![(1, 22, "binlog.000001:22".to_owned(), 0)]));
        // A record of the other partition whose number lies among those of the block.
        assert_eq!(go(log, behind(13)).await, Ok(vec![(1, 13, "binlog.000001:12".to_owned(), 1)]));
    }

    #[tokio::test]
    async fn a_log_without_its_beginning_is_no_place_to_rewind_to() {
        let log = &mut log(2);
        assert_eq!(go(log, Move::Rewind(RewindTo::Start)).await, Err("LOG_INCOMPLETE"));
        assert_eq!(go(log, Move::Rebase(RebaseTo::Start)).await, Ok(start([21, 23])));
        let ends = [(0, 31, "binlog.000001:30"), (1, 33, "binlog.000001:32")];
        let ends = ends.map(|(partition, seq, transaction)| (partition, seq, transaction.to_owned(), 1)).to_vec();
        assert_eq!(go(log, Move::Rebase(RebaseTo::End)).await, Ok(ends));
        let empty = || Twin { blocks: Vec::new(), start: 0, damaged: 0 };
        assert_eq!(go(&mut [(0, empty()), (1, empty())].into(), Move::Rebase(RebaseTo::End)).await, Ok(start([0, 0])));
    }

    #[tokio::test]
    async fn what_was_committed_from_a_time_on_is_written_again_and_no_partition_is_moved_forward_for_it() {
        let log = &mut log(0);
        let since = |time| Move::Rewind(RewindTo::Time(time));
        let behind = |partition, seq: u64| (partition, seq, format!("binlog.000001:{}", seq - 1), 1);
        assert_eq!(go(log, since(20)).await, Ok(vec![behind(0, 11), behind(1, 13)]));
        assert_eq!(go(log, since(21)).await, Ok(vec![behind(0, 21), behind(1, 13)]));
        assert_eq!(go(log, since(31)).await, Ok(vec![behind(1, 23)]), "partition 0 has nothing of then");
        assert_eq!(go(log, since(1)).await, Ok(start([0, 0])));
        assert_eq!(go(log, since(33)).await, Err("TIME_UNKNOWN"));
        let log = &mut self::log(1);
        assert_eq!(go(log, since(5)).await, Err("LOG_INCOMPLETE"), "nobody knows what is gone");
        assert_eq!(go(log, since(30)).await, Ok(vec![behind(0, 21), behind(1, 23)]));
    }

    #[tokio::test]
    async fn an_offset_moves_its_partition_alone() {
        let log = &mut log(0);
        let at = |partition, offset| Move::Rewind(RewindTo::Offset { partition, offset });
        assert_eq!(go(log, at(1, 2)).await, Ok(vec![(1, 31, String::new(), 0)]));
        for (partition, offset) in [(1, 3), (2, 0)] {
            assert_eq!(go(log, at(partition, offset)).await, Err("OFFSET_UNKNOWN"));
        }
    }

    #[test]
    fn the_embedded_log_has_no_offsets_to_go_to() {
        let embedded = LogKind::Embedded(EmbeddedSettings::default());
        let refused = refuse_without_kafka(&embedded, Move::Rewind(RewindTo::Offset { partition: 0, offset: 1 }));
        assert_eq!(refused.map_err(|fault| (fault.code, fault.exit)), Err(("LOG_KIND", 2)));
        for to in [Move::Rewind(RewindTo::Start), Move::Rewind(RewindTo::Time(1)), Move::Rebase(RebaseTo::End)] {
            assert_eq!(refuse_without_kafka(&embedded, to), Ok(()));
        }
    }

    #[test]
    fn a_writer_that_goes_back_some_way_keeps_its_mapping() {
        let digest = |to| replacement("log", Some(&fence(LogId([7; 16]), 21)), Place::default(), to).digest;
        for to in [RewindTo::Behind(1), RewindTo::Time(1), RewindTo::Offset { partition: 0, offset: 1 }] {
            assert_eq!(digest(Move::Rewind(to)), "digest");
        }
        assert_eq!(digest(Move::Rewind(RewindTo::Start)), "");
        assert_eq!(digest(Move::Rebase(RebaseTo::End)), "");
    }

    #[test]
    fn another_log_needs_a_rebase() {
        let (ours, other) = (LogId([7; 16]).to_string(), fence(LogId([8; 16]), 21));
        for to in [RewindTo::Start, RewindTo::Behind(21)] {
            let refused = refuse_other_log(Some(&other), &ours, "users", Move::Rewind(to)).unwrap_err();
            assert_eq!(refused.code, "LOG_REPLACED");
            assert_eq!(refuse_other_log(None, &ours, "users", Move::Rewind(to)), Ok(()));
        }
        assert_eq!(refuse_other_log(Some(&other), &ours, "users", Move::Rebase(RebaseTo::Start)), Ok(()));
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
