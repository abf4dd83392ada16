//! Reads one partition's records into batches and has the writer map them.

use std::collections::BTreeMap;
use std::sync::Arc;

use mysync_change::batch::{
    Again, BatchBuilder, BlockReader, ChainBroken, Extent, Limits, NumberedEvent, Plan, PlannedShape, Shapes,
    TakeError, Taken,
};
use mysync_change::envelope::{EnvelopeError, TableEvent};
use mysync_change::fence::Place;
use mysync_change::operations::RedisCommands;
use mysync_change::pattern::Pattern;
use mysync_change::schema::{Fingerprint, TableShape};
use tracing::warn;

use crate::deliver::away_too_long;
use crate::failure::Failure;
use crate::ports::{LogReader, Writer};

/// A batch of a thousand rows makes the crossing into a writer cheap; a store answers it within milliseconds. What is larger than the second
/// pair of limits is one transaction, and is split: a store must neither stand still nor hold it in memory whole.
pub const LIMITS: Limits = Limits { rows: 1000, bytes: 1 << 20, rows_max: 10_000, bytes_max: 8 << 20 };

/// A batch, mapped.
#[derive(Debug)]
pub struct Prepared {
    pub commands: RedisCommands,
    pub extent: Extent,
}

impl Prepared {
    /// Whether it holds nothing for the store.
    pub fn is_idle(&self) -> bool {
        self.extent.rows == 0
    }
}

/// What a delivery is fed by.
pub struct Feed<'a, L, W> {
    writer: &'a str,
    tables: &'a [Pattern],
    log: &'a mut L,
    instance: W,
    shapes: Shapes,
    block: BlockReader,
    builder: BatchBuilder,
    /// Where the batch begins.
    start: Place,
    /// Where it has to end, because a new shape comes behind that: remembered, as what it is read from again may not be at hand at once.
    until: Option<u64>,
    /// Whether the log keeps only the last record of each key.
    compacted: bool,
    /// Whether the store is made anew from such a log.
    rebuilds: bool,
}

impl<'a, L: LogReader, W: Writer> Feed<'a, L, W> {
    /// Begins behind `place`.
    pub fn new(writer: &'a str, tables: &'a [Pattern], log: &'a mut L, instance: W, place: &Place) -> Self {
        let mut builder = BatchBuilder::new(writer, LIMITS);
        builder.start(place);
        let (shapes, block, start) = (Shapes::default(), BlockReader::default(), place.clone());
        Self {
            writer,
            tables,
            log,
            instance,
            shapes,
            block,
            builder,
            start,
            until: None,
            compacted: false,
            rebuilds: false,
        }
    }

    /// The log keeps only the last record of each key: up to this number others may be gone, and whoever misses one behind it came too late.
    pub fn expect_holes(&mut self, up_to: u64) {
        (self.compacted, self.rebuilds) = (true, up_to > 0);
        self.builder.pass_holes(up_to);
    }

    pub fn log_id(&self) -> String {
        self.log.log_id().to_string()
    }

    pub async fn advance(&mut self, seq: u64) -> Result<(), Failure> {
        self.log.advance(seq).await
    }

    /// Shows the writer the newest shape of each of its tables that its mapping fits, so that one that fits none is found before the first
    /// row. A writer that is behind may need a former shape before the newest.
    pub async fn show_latest_shapes(&mut self) -> Result<(), Failure> {
        let mut tables: BTreeMap<String, Vec<(Fingerprint, Arc<TableShape>)>> = BTreeMap::new();
        for (fingerprint, shape) in self.log.shapes().await? {
            tables.entry(shape.full_name()).or_default().push((fingerprint, shape));
        }
        for shapes in tables.into_values() {
            let mut misfit: Option<Failure> = None;
            for (fingerprint, shape) in shapes.into_iter().rev() {
                match (self.show(fingerprint, shape).await, misfit.take()) {
                    (Ok(()), None) => {}
                    (Ok(()), Some(newest)) => {
                        warn!(
                            writer = self.writer,
                            "delivery will stop at the next row of another shape: {}", newest.message
                        );
                    }
                    (Err(failure), newest) => {
                        misfit = newest.or(Some(failure));
                        continue;
                    }
                }
                break;
            }
            if let Some(newest) = misfit {
                return Err(newest);
            }
        }
        Ok(())
    }

    async fn show(&mut self, fingerprint: Fingerprint, shape: Arc<TableShape>) -> Result<(), Failure> {
        let plan = if self.wants(&shape) {
            let plan = self.instance.define(self.shapes.next_id(), &shape).await?;
            if self.rebuilds && plan.before {
                return Err(needs_history(self.writer, &shape.full_name()));
            }
            plan
        } else {
            Plan { ignore: true, ..Plan::default() }
        };
        self.shapes.add(PlannedShape::new(fingerprint, shape, plan));
        Ok(())
    }

    fn wants(&self, shape: &TableShape) -> bool {
        self.wants_named(&shape.full_name())
    }

    fn wants_named(&self, name: &str) -> bool {
        self.tables.iter().any(|pattern| pattern.matches(name.as_bytes()))
    }

    /// The next batch, if the log has it now. `redo`: it must end there, as it did before.
    pub async fn ready(&mut self, redo: Option<u64>) -> Result<Option<Prepared>, Failure> {
        if self.collect(redo).await? { self.map().await.map(Some) } else { Ok(None) }
    }

    /// Returns once the log may have more.
    pub async fn wait(&mut self) {
        let after = self.builder.extent().last.seq;
        self.log.wait(after).await;
    }

    /// Takes what the log has. True if that makes a batch: it is full, or ends with a transaction where the log ends for now.
    async fn collect(&mut self, redo: Option<u64>) -> Result<bool, Failure> {
        let mut end = redo.or(self.until);
        loop {
            match self.builder.take(&mut self.block, end, &self.shapes) {
                Ok(Taken::Full) => return Ok(true),
                Ok(Taken::Block) => {}
                Err(TakeError::Shape(fingerprint)) => {
                    let shape = self.log.shape(fingerprint).await?;
                    let boundary = self.builder.boundary();
                    if end.is_none() && boundary > self.start.seq && self.wants(&shape) {
                        // If the mapping does not fit it, no other mapping may fit what came before: that goes first.
                        (self.until, end) = (Some(boundary), Some(boundary));
                        self.builder.start(&self.start);
                        self.block.refill();
                    } else {
                        self.show(fingerprint, shape).await?;
                        continue;
                    }
                }
                Err(TakeError::Chain(broken)) if self.compacted && broken.found > broken.expected => {
                    return Err(away_too_long(self.writer, broken.expected));
                }
                Err(TakeError::Chain(broken)) => return Err(chain_broken(self.writer, &broken)),
                Err(TakeError::Kind(kind)) => return Err(unknown_kind(self.writer, &format!("{kind:?}"))),
                Err(TakeError::Record(error)) => return Err(damaged(self.writer, &error)),
            }
            let extent = self.builder.extent();
            if end.is_some_and(|seq| extent.last.seq >= seq) {
                return Ok(true);
            }
            if !self.log.read(extent.last.seq, &mut self.block).await? {
                return Ok(!self.builder.is_empty() && extent.whole && end.is_none());
            }
        }
    }

    /// A writer is told of what happens to tables by the shapes it was shown. A table that never had a row may well come and go; one whose
    /// rows are older than the log is another matter, and only a person can tell.
    fn tell_if_unknown(&self, event: &TableEvent, extent: &Extent) {
        let TableEvent { database, table, what, .. } = event;
        let name = format!("{database}.{table}");
        let shown = |shape: &TableShape| shape.database == *database && (shape.name == *table || table == "*");
        let known = (0..self.shapes.next_id()).filter_map(|id| self.shapes.get(id)).any(|known| shown(&known.shape));
        // The end of a transaction is an event of no table.
        if !known && !table.is_empty() && self.wants_named(&name) {
            warn!(
                writer = self.writer,
                transaction = extent.last.transaction,
                "{what} of {name}, of which the log holds no row: the writer is not told of it. If its store has rows of that table, see to \
                 them by hand"
            );
        }
    }

    /// Hands the batch to the writer and starts the next one behind it.
    async fn map(&mut self) -> Result<Prepared, Failure> {
        let (batch, extent) = self.builder.finish();
        self.start.clone_from(&extent.last);
        self.until = None;
        self.builder.start(&self.start);
        if extent.rows == 0 {
            return Ok(Prepared { commands: RedisCommands::default(), extent });
        }
        let rows: Vec<_> = batch.tables.iter().map(|t| (t.schema, t.numbers.clone(), t.sequences.clone())).collect();
        let events: Vec<NumberedEvent> = batch.events.clone();
        events.iter().for_each(|numbered| self.tell_if_unknown(&numbered.event, &extent));
        let mapped = self.instance.write(batch).await?;
        let Some(rejection) = mapped.rejections.first() else {
            return Ok(Prepared { commands: mapped.commands, extent });
        };
        if let Some(numbered) = events.iter().find(|numbered| numbered.number == rejection.row) {
            return Err(event_rejected(self.writer, &numbered.event, &rejection.reason, &extent));
        }
        let found = rows.iter().find_map(|(schema, numbers, sequences)| {
            let at = numbers.binary_search(&rejection.row).ok()?;
            Some((self.shapes.get(*schema)?.shape.full_name(), sequences[at]))
        });
        let (table, seq) = found.unwrap_or_default();
        Err(Failure::definite(
            "ROW_REJECTED",
            format!(
                "writer {} cannot map a row of {table} (seq {seq}, in the batch that ends with transaction {}): {} ({} of the batch's {} rows \
                 are rejected). Nothing of the batch was applied; correct the mapping or the grant and restart, or pass over the whole batch with \
                 'mysync writer rewind {} --to {}'",
                self.writer,
                extent.last.transaction,
                rejection.reason,
                mapped.rejections.len(),
                extent.rows,
                self.writer,
                extent.last.seq
            ),
        ))
    }
}

/// Finds a place again in a log that lost its unsynced tail and is being filled from the source once more.
///
/// The records behind `base` repeat those that were lost, under new numbers. At most as many are looked at as were lost: if the place is not
/// among them, the source does not repeat itself, and nobody may guess. Only a dump need not repeat itself: it reads what is there now, and
/// elsewhere in the stream. With one of its chunks on the way everything behind `base` is applied again.
pub async fn find_again<L: LogReader>(log: &mut L, writer: &str, place: &Place, base: u64) -> Result<Place, Failure> {
    let (mut after, mut checked, mut start) = (base, 0, None);
    let mut block = BlockReader::default();
    loop {
        while !log.read(after, &mut block).await? {
            log.wait(after).await;
        }
        let start = match start {
            Some(start) => start,
            None => *start.insert(block.before(base).map_err(|error| damaged(writer, &error))?.unwrap_or(base)),
        };
        let found = if place.is_of_dump() {
            Some(Again::Chunk)
        } else {
            block.find(base, place, &mut checked).map_err(|error| damaged(writer, &error))?
        };
        match found {
            Some(Again::At(place)) => return Ok(place),
            Some(Again::Chunk) => {
                warn!(writer, seq = start, "a dump went on in the lost part of the log: all of it is applied again");
                return Ok(Place { seq: start, ..Place::default() });
            }
            None => {}
        }
        if checked >= place.seq.saturating_sub(base) {
            return Err(Failure::definite(
                "PLACE_LOST",
                format!(
                    "the store of writer {writer} holds changes up to transaction {} (row {}), which the log lost and the source did not \
                     repeat: compare the store with the source, then 'mysync writer rewind {writer}'",
                    place.transaction, place.row
                ),
            ));
        }
        after = block.last_seq().unwrap_or(after);
    }
}

/// What was removed while a store is made anew cannot be asked for what it had made of a row.
fn needs_history(writer: &str, table: &str) -> Failure {
    Failure::definite(
        "REBUILD_HISTORY",
        format!(
            "writer {writer} maps {table} by what a row was before, and the log, which keeps the last record of each key, may not know that any \
             more: its store cannot be made anew from the log. 'mysync writer rebase {writer} --to end' and then 'mysync dump --writer {writer}' \
             load the tables instead"
        ),
    )
}

fn chain_broken(writer: &str, broken: &ChainBroken) -> Failure {
    let ChainBroken { expected, found, at } = broken;
    Failure::definite(
        "CHAIN_BROKEN",
        format!(
            "record {at} follows {found} and writer {writer} has come to {expected}: records between them are missing from the log. \
             'mysync writer rewind {writer}' applies the whole log again"
        ),
    )
}

fn unknown_kind(writer: &str, kind: &str) -> Failure {
    Failure::definite(
        "RECORD_KIND",
        format!(
            "the log holds a record of kind {kind}, which this release cannot deliver to writer {writer}: use the one that wrote it, or a newer one"
        ),
    )
}

fn damaged(writer: &str, error: &EnvelopeError) -> Failure {
    Failure::definite(error.code(), format!("writer {writer} cannot read the log: {error}"))
}

fn event_rejected(writer: &str, event: &TableEvent, reason: &str, extent: &Extent) -> Failure {
    let code = match event.what.as_str() {
        "truncate" => "TABLE_TRUNCATED",
        "drop" => "TABLE_DROPPED",
        _ => "TABLE_EVENT_REJECTED",
    };
    Failure::definite(
        code,
        format!(
            "{} of {}.{} (transaction {}), which concerns rows without a change of each: {reason}. Nothing of the batch was applied; see to the \
             store of writer {writer} by hand, then 'mysync writer rewind {writer} --to {}' goes on behind it",
            event.what, event.database, event.table, extent.last.transaction, extent.last.seq
        ),
    )
}
