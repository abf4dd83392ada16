//! Where a writer goes on in each partition: by a number, a time or an offset, at the log's beginning or its end.

use std::collections::BTreeMap;

use mysync_change::batch::BlockReader;
use mysync_change::envelope::EnvelopeError;
use mysync_change::fence::Place;
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::{Found, LogReader};

use super::Move;
use crate::cli::{RebaseTo, RewindTo};
use crate::fault::Fault;
use crate::outside::Searched;
use crate::{records, tail};

/// The partitions that move, each with the place it goes to.
pub async fn destinations<L: Searched>(
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mysync_change::block::BlockBuilder;
    use mysync_change::envelope::LogId;
    use mysync_change::position::TransactionId;
    use mysync_change::rows::Operation;
    use mysync_change::schema::{Fingerprint, TableShape};

    use super::*;
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
}
