//! From records to a batch.

mod tables;

use std::fmt::Write as _;

use super::shapes::{PlannedShape, Shapes};
use super::taken::{ChainBroken, TakeError, Taken};
use super::transaction::LastTransaction;
use super::{Batch, BlockReader, Extent, Limits, NumberedEvent};
use crate::envelope::{self, Envelope, EnvelopeError, Header, Kind, TransactionRef};
use crate::fence::Place;
use crate::rows::{self, Operation, Row};
use crate::schema::Fingerprint;

use tables::EnteredShape;

/// Collects records into a batch.
#[derive(Debug)]
pub struct BatchBuilder {
    limits: Limits,
    writer: String,
    /// Records up to here may be gone.
    holes_up_to: u64,
    batch: Batch,
    extent: Extent,
    /// The tables of the batch: place of its shape, place in `batch.tables`.
    tables: Vec<(u32, usize)>,
    /// The shape that came last: most often the next one has it, too.
    entered: Option<EnteredShape>,
    /// The transaction that came last; none: since the start it is the one that the extent names.
    transaction: Option<LastTransaction>,
    /// Whether the extent names it.
    named: bool,
    /// The record behind which it begins, or the batch if that is later.
    begun_behind: u64,
    committed_us: u64,
    /// Whether the transaction has an entry in the batch.
    noted: bool,
    wants_ids: bool,
    /// Bytes of the rows that are sent.
    sent_bytes: usize,
}

impl BatchBuilder {
    /// `writer` is the name that targeted records are compared with.
    pub fn new(writer: &str, limits: Limits) -> Self {
        Self {
            limits,
            writer: writer.to_owned(),
            holes_up_to: 0,
            batch: Batch::default(),
            extent: Extent::default(),
            tables: Vec::new(),
            entered: None,
            transaction: None,
            named: true,
            begun_behind: 0,
            committed_us: 0,
            noted: false,
            wants_ids: false,
            sent_bytes: 0,
        }
    }

    /// For a writer that rebuilds its store from a log which keeps the last record of each key: records up to `seq` may be gone for later ones,
    /// or because nothing was left under their keys. One that goes on where it was may have missed such a removal, so that a hole stops it; as
    /// does one behind `seq`, where none has been made yet.
    ///
    /// Up to `seq` a transaction is what is left of it, and the record that ended it may be gone: each may be the last one.
    pub fn pass_holes(&mut self, up_to: u64) {
        self.holes_up_to = up_to;
    }

    /// Starts an empty batch behind `last`.
    pub fn start(&mut self, last: &Place) {
        self.batch = Batch::default();
        self.extent = Extent { last: last.clone(), oldest_us: u64::MAX, whole: true, ..Default::default() };
        self.tables.clear();
        (self.entered, self.transaction, self.named) = (None, None, true);
        (self.begun_behind, self.noted, self.sent_bytes) = (last.seq, false, 0);
    }

    pub fn is_empty(&self) -> bool {
        self.extent.records == 0
    }

    pub fn extent(&self) -> &Extent {
        &self.extent
    }

    /// The last record of the whole transactions in the batch; where it starts if there are none.
    pub fn boundary(&self) -> u64 {
        if self.extent.whole { self.extent.last.seq } else { self.begun_behind }
    }

    /// Takes records from `block` up to a limit or the block's end. Records at or before the place the batch has come to are passed over.
    /// With an `end` the batch ends with that record, whatever the limits: it was a batch before.
    pub fn take(&mut self, block: &mut BlockReader, end: Option<u64>, shapes: &Shapes) -> Result<Taken, TakeError> {
        let taken = self.take_envelopes(block, end, shapes);
        self.name_transaction();
        taken
    }

    fn take_envelopes(
        &mut self,
        block: &mut BlockReader,
        end: Option<u64>,
        shapes: &Shapes,
    ) -> Result<Taken, TakeError> {
        while let Some((envelope, next)) = envelope::read(&block.bytes, block.envelope)? {
            match envelope.header.kind {
                Kind::Change | Kind::DumpChunk => {
                    if self.take_rows(&envelope, &mut block.row, end, shapes)? == Taken::Full {
                        return Ok(Taken::Full);
                    }
                }
                Kind::TableEvent => {
                    let seq = envelope.header.first_seq;
                    if seq > self.extent.last.seq {
                        if !self.is_empty() || self.is_full(seq, end, true) {
                            return Ok(Taken::Full);
                        }
                        self.take_event(&envelope)?;
                    }
                }
                kind => return Err(TakeError::Kind(kind)),
            }
            (block.envelope, block.row) = (next, 0);
        }
        Ok(Taken::Block)
    }

    fn take_rows(
        &mut self,
        envelope: &Envelope<'_>,
        at: &mut usize,
        end: Option<u64>,
        shapes: &Shapes,
    ) -> Result<Taken, TakeError> {
        let header = &envelope.header;
        let mut prev = if *at == 0 { header.prev } else { self.extent.last.seq };
        let mut entered = false;
        let mut target: Option<(usize, &PlannedShape)> = None;
        while let Some((row, next)) = rows::read(envelope, *at)? {
            if row.seq <= self.extent.last.seq {
                (prev, *at) = (row.seq, next);
                continue;
            }
            // What is cut off has an end of its own: a batch that is repeated is cut where it was before.
            let joined = end.is_none() && self.joins(&row);
            if !entered {
                self.chain(prev, row.seq)?;
                let begins = self.begins(&header.transaction);
                if (begins || !joined) && self.is_full(row.seq, end, self.extent.whole || begins) {
                    return Ok(Taken::Full);
                }
                let mine = header.target.is_none_or(|name| name == self.writer);
                target = if mine { self.table(Fingerprint(header.shape), shapes)? } else { None };
                self.enter(header, begins);
                entered = true;
            } else if !joined && self.is_full(row.seq, end, self.extent.whole) {
                return Ok(Taken::Full);
            }
            if let Some((table, shape)) = target {
                self.push(table, shape, &row)?;
                self.sent_bytes += next - *at;
            }
            self.extent.last.seq = row.seq;
            self.extent.last.row = row.number;
            self.extent.last.second = row.operation == Operation::MoveIn;
            self.extent.records += 1;
            self.extent.bytes += next - *at;
            self.extent.whole = row.ends_transaction || row.seq <= self.holes_up_to;
            *at = next;
        }
        Ok(Taken::Block)
    }

    /// A record is chained to what came before, whether that was in this batch or is in the store.
    fn chain(&self, prev: u64, at: u64) -> Result<(), TakeError> {
        let expected = self.extent.last.seq;
        // What is missing lies up to `prev`.
        if prev == expected || prev > expected && prev <= self.holes_up_to {
            return Ok(());
        }
        Err(TakeError::Chain(ChainBroken { expected, found: prev, at }))
    }

    /// Whether a row is the second half of a changed key whose first half came last: both are applied in one step.
    fn joins(&self, row: &Row<'_>) -> bool {
        let last = &self.extent.last;
        row.operation == Operation::MoveIn && !self.is_empty() && row.number == last.row && !last.second
    }

    /// The batch ends before the record `seq`. `boundary`: a transaction ends there; inside of one only what is sent counts.
    fn is_full(&self, seq: u64, end: Option<u64>, boundary: bool) -> bool {
        if let Some(end) = end {
            return seq > end;
        }
        // An event is alone in its batch: who passes over one that the writer has rejected passes over no row.
        if !self.batch.events.is_empty() {
            return true;
        }
        let Limits { rows, bytes, rows_max, bytes_max } = self.limits;
        let Extent { rows: have, bytes: size, .. } = self.extent;
        (boundary && (have >= rows || size >= bytes)) || have >= rows_max || self.sent_bytes >= bytes_max
    }

    /// Whether another transaction begins than the one that came last.
    fn begins(&self, id: &TransactionRef<'_>) -> bool {
        match &self.transaction {
            Some(last) => !last.is(id),
            None => !id.is_named(&self.extent.last.transaction),
        }
    }

    fn enter(&mut self, header: &Header<'_>, begins: bool) {
        if self.extent.records == 0 {
            self.batch.transactions.first_continues = !begins;
        }
        if begins {
            (self.begun_behind, self.noted) = (self.extent.last.seq, false);
            self.transaction.get_or_insert_default().set(&header.transaction);
            self.named = false;
        }
        self.committed_us = header.committed_us;
        // Rows of a dump were committed at some time or other.
        if header.kind != Kind::DumpChunk {
            self.extent.oldest_us = self.extent.oldest_us.min(header.committed_us);
            self.extent.youngest_us = self.extent.youngest_us.max(header.committed_us);
        }
    }

    /// Spells the transaction that came last: once for all records that were taken together.
    fn name_transaction(&mut self) {
        if let Some(last) = self.transaction.as_ref().filter(|_| !self.named) {
            self.extent.last.transaction.clear();
            // Writing into a string cannot fail.
            let _ = write!(self.extent.last.transaction, "{}", last.id());
            self.named = true;
        }
    }

    fn take_event(&mut self, envelope: &Envelope<'_>) -> Result<(), TakeError> {
        let header = &envelope.header;
        self.chain(header.prev, header.first_seq)?;
        let event = serde_json::from_slice(envelope.body)
            .map_err(|error| EnvelopeError::Damaged { at: 0, what: error.to_string() })?;
        let begins = self.begins(&header.transaction);
        self.enter(header, begins);
        self.batch.events.push(NumberedEvent { number: self.extent.rows, event });
        self.extent.rows += 1;
        self.extent.last.seq = header.first_seq;
        self.extent.last.row = header.first_row;
        self.extent.last.second = false;
        self.extent.records += 1;
        self.extent.bytes += envelope.body.len();
        self.extent.whole = true;
        Ok(())
    }

    /// The batch collected so far, and what it covers.
    pub fn finish(&mut self) -> (Batch, Extent) {
        let mut batch = std::mem::take(&mut self.batch);
        for table in &mut batch.tables {
            table.before.finish();
            table.after.finish();
        }
        batch.transactions.last_continues = !self.extent.whole;
        if self.extent.oldest_us == u64::MAX {
            self.extent.oldest_us = 0;
        }
        (batch, self.extent.clone())
    }
}
