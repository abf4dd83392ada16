//! Batches: rows by column, as writers are given them.
//!
//! Built straight from the bytes of the log, one copy for each value. A batch is cut at the end of a transaction where it can be.

use std::collections::HashMap;
use std::sync::Arc;

use crate::envelope::{self, Envelope, EnvelopeError, Kind, TableEvent};
use crate::fence::Place;
use crate::image::Image;
use crate::rows::{self, Operation, Row};
use crate::schema::{Fingerprint, Storage, TableShape};

/// Values of varying length, end to end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packed {
    pub ends: Vec<u32>,
    pub data: Vec<u8>,
}

impl Packed {
    #[inline]
    pub fn push(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        self.ends.push(self.data.len() as u32);
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    Signed(Vec<i64>),
    Unsigned(Vec<u64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Text(Packed),
    Bytes(Packed),
}

/// One column of some images; a bitmap that is empty has no bit set.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnValues {
    pub values: Values,
    pub nulls: Vec<u8>,
    pub absent: Vec<u8>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Images {
    pub rows: Vec<u32>,
    pub columns: Vec<ColumnValues>,
}

/// All rows of one shape in a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct TableRows {
    /// Place of the shape in the writer's list of shapes.
    pub schema: u32,
    pub numbers: Vec<u32>,
    pub sequences: Vec<u64>,
    pub operations: Vec<Operation>,
    pub before: Images,
    pub after: Images,
}

#[derive(Debug, Clone, PartialEq)]
pub struct NumberedEvent {
    pub number: u32,
    pub event: TableEvent,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transactions {
    pub starts: Vec<u32>,
    pub committed_us: Vec<u64>,
    pub ids: Packed,
    pub first_continues: bool,
    pub last_continues: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    pub tables: Vec<TableRows>,
    pub events: Vec<NumberedEvent>,
    pub transactions: Transactions,
}

/// Which records a batch covers, also those that its writer does not take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extent {
    /// The last record it covers.
    pub last: Place,
    /// Records it covers.
    pub records: u64,
    /// Rows the writer gets.
    pub rows: u32,
    /// Bytes of log it covers.
    pub bytes: usize,
    /// Commit times of its oldest and youngest transaction: microseconds since 1970.
    pub oldest_us: u64,
    pub youngest_us: u64,
    /// Whether it ends where a transaction ends.
    pub whole: bool,
}

/// What a writer needs of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Its rows are not sent.
    pub ignore: bool,
    /// Places in the shape's columns, in the order of the images' columns.
    pub columns: Vec<u16>,
    /// Updates carry before images.
    pub before: bool,
    pub transaction_ids: bool,
    /// Non-key columns that names of store entries are made of.
    pub order_by: Vec<u16>,
}

/// A shape with a writer's plan for it, ready for use.
#[derive(Debug)]
pub struct PlannedShape {
    pub fingerprint: Fingerprint,
    pub shape: Arc<TableShape>,
    pub plan: Plan,
    /// For each column up to the last that is wanted: its storage, and its place among the images' columns.
    steps: Vec<(Storage, Option<u16>)>,
}

impl PlannedShape {
    pub fn new(fingerprint: Fingerprint, shape: Arc<TableShape>, plan: Plan) -> Self {
        let wanted = |at: usize| plan.columns.iter().position(|c| usize::from(*c) == at).map(|i| i as u16);
        let last = plan.columns.iter().max().map_or(0, |c| usize::from(*c) + 1);
        let steps = shape.columns.iter().take(last).enumerate().map(|(i, c)| (c.storage, wanted(i))).collect();
        Self { fingerprint, shape, plan, steps }
    }

    fn new_images(&self) -> Images {
        let column = |at: &u16| {
            let values = match self.shape.columns[usize::from(*at)].storage {
                Storage::Signed => Values::Signed(Vec::new()),
                Storage::Unsigned => Values::Unsigned(Vec::new()),
                Storage::Float => Values::Float(Vec::new()),
                Storage::Double => Values::Double(Vec::new()),
                Storage::Text => Values::Text(Packed::default()),
                Storage::Bytes => Values::Bytes(Packed::default()),
            };
            ColumnValues { values, nulls: Vec::new(), absent: Vec::new() }
        };
        Images { rows: Vec::new(), columns: self.plan.columns.iter().map(column).collect() }
    }

    #[inline]
    fn push(&self, images: &mut Images, row: u32, bytes: &[u8]) -> Result<(), EnvelopeError> {
        let damaged = |what: &'static str| EnvelopeError::Damaged { at: 0, what: what.to_owned() };
        let image = Image::new(bytes, self.shape.columns.len())
            .map_err(|error| EnvelopeError::Damaged { at: error.at, what: error.to_string() })?;
        let index = images.rows.len();
        images.rows.push(row);
        let mut rest = image.value_bytes();
        for (at, (storage, wanted)) in self.steps.iter().enumerate() {
            let null = image.is_null(at);
            if null || image.is_absent(at) {
                if let Some(column) = wanted {
                    images.columns[usize::from(*column)].push_nothing(index, null);
                }
                continue;
            }
            let value = match storage {
                Storage::Float => take(&mut rest, 4),
                Storage::Signed | Storage::Unsigned | Storage::Double => take(&mut rest, 8),
                Storage::Text | Storage::Bytes => take(&mut rest, 4)
                    .and_then(|len| Some(u32::from_le_bytes(len.try_into().ok()?)))
                    .and_then(|len| take(&mut rest, len as usize)),
            };
            let value = value.ok_or_else(|| damaged("a row image ends inside a value"))?;
            let Some(column) = wanted else { continue };
            match &mut images.columns[usize::from(*column)].values {
                Values::Signed(list) => list.push(i64::from_le_bytes(word(value))),
                Values::Unsigned(list) => list.push(u64::from_le_bytes(word(value))),
                Values::Double(list) => list.push(f64::from_le_bytes(word(value))),
                Values::Float(list) => list.push(f32::from_le_bytes(word(value))),
                Values::Text(packed) | Values::Bytes(packed) => packed.push(value),
            }
        }
        Ok(())
    }
}

#[inline]
fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (value, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(value)
}

/// The caller has taken exactly `N` bytes.
#[inline]
fn word<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}

impl ColumnValues {
    fn push_nothing(&mut self, index: usize, null: bool) {
        match &mut self.values {
            Values::Signed(list) => list.push(0),
            Values::Unsigned(list) => list.push(0),
            Values::Float(list) => list.push(0.0),
            Values::Double(list) => list.push(0.0),
            Values::Text(packed) | Values::Bytes(packed) => packed.push(b""),
        }
        let bitmap = if null { &mut self.nulls } else { &mut self.absent };
        if bitmap.len() <= index / 8 {
            bitmap.resize(index / 8 + 1, 0);
        }
        bitmap[index / 8] |= 1 << (index % 8);
    }
}

impl Images {
    /// Bitmaps with any bit set get their full length.
    fn finish(&mut self) {
        let len = self.rows.len().div_ceil(8);
        for column in &mut self.columns {
            for bitmap in [&mut column.nulls, &mut column.absent] {
                if !bitmap.is_empty() {
                    bitmap.resize(len, 0);
                }
            }
        }
    }
}

/// Where batches are cut.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From here on a batch ends with the transaction it is in …
    pub rows: u32,
    pub bytes: usize,
    /// … and here in any case.
    pub rows_max: u32,
    pub bytes_max: usize,
}

/// The shapes that a writer has been shown. A shape's place in the order of showing is its id.
#[derive(Debug, Default)]
pub struct Shapes {
    ids: HashMap<Fingerprint, u32>,
    shapes: Vec<Arc<PlannedShape>>,
}

impl Shapes {
    /// The id that the next shape will have.
    pub fn next_id(&self) -> u32 {
        self.shapes.len() as u32
    }

    pub fn add(&mut self, shape: PlannedShape) {
        self.ids.insert(shape.fingerprint, self.next_id());
        self.shapes.push(Arc::new(shape));
    }

    pub fn get(&self, id: u32) -> Option<&Arc<PlannedShape>> {
        self.shapes.get(id as usize)
    }

    fn find(&self, fingerprint: Fingerprint) -> Option<(u32, Arc<PlannedShape>)> {
        let id = *self.ids.get(&fingerprint)?;
        Some((id, self.get(id)?.clone()))
    }
}

/// What reading a block up to some point has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The block is used up; the batch has room.
    Block,
    /// The batch is full; the block goes on.
    Full,
}

/// A block of the log that is being read, and how far.
#[derive(Debug, Default)]
pub struct BlockReader {
    bytes: Vec<u8>,
    envelope: usize,
    row: usize,
}

impl BlockReader {
    /// The buffer for the next block, empty. What was left of the former one is forgotten.
    pub fn refill(&mut self) -> &mut Vec<u8> {
        self.bytes.clear();
        (self.envelope, self.row) = (0, 0);
        &mut self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.envelope >= self.bytes.len()
    }

    /// The last record's number, if the block has one.
    pub fn last_seq(&self) -> Option<u64> {
        let (mut at, mut last) = (0, None);
        while let Ok(Some((envelope, next))) = envelope::read(&self.bytes, at) {
            at = next;
            last = Some(envelope.header.first_seq);
            let mut row_at = 0;
            while let Ok(Some((row, next))) = rows::read(&envelope, row_at) {
                (last, row_at) = (Some(row.seq), next);
            }
        }
        last
    }

    /// Looks behind `base` for the row that has the identity of `place`, whatever its number. `checked` counts the records looked at.
    pub fn find(&self, base: u64, place: &Place, checked: &mut u64) -> Result<Option<Place>, EnvelopeError> {
        let mut at = 0;
        while let Some((envelope, next)) = envelope::read(&self.bytes, at)? {
            at = next;
            let header = &envelope.header;
            let same_transaction = header.transaction.to_id().to_string() == place.transaction;
            if header.kind == Kind::TableEvent {
                *checked += u64::from(header.first_seq > base);
                if same_transaction && header.first_row == place.row {
                    return Ok(Some(Place { seq: header.first_seq, ..place.clone() }));
                }
            }
            let mut row_at = 0;
            while header.kind == Kind::Change
                && let Some((row, next)) = rows::read(&envelope, row_at)?
            {
                row_at = next;
                if row.seq <= base {
                    continue;
                }
                *checked += 1;
                let second = row.operation == Operation::MoveIn;
                if same_transaction && row.number == place.row && second == place.second {
                    return Ok(Some(Place { seq: row.seq, ..place.clone() }));
                }
            }
        }
        Ok(None)
    }
}

/// What is known of the record before the next one: the chain must go on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainBroken {
    pub expected: u64,
    pub found: u64,
    pub at: u64,
}

/// Why a block could not be taken into a batch.
#[derive(Debug)]
pub enum TakeError {
    Chain(ChainBroken),
    /// A record of a kind that this program does not deliver.
    Kind(Kind),
    /// The writer has not been shown this shape. Show it and take again: nothing of the record has been taken.
    Shape(Fingerprint),
    Record(EnvelopeError),
}

impl From<EnvelopeError> for TakeError {
    fn from(error: EnvelopeError) -> Self {
        TakeError::Record(error)
    }
}

/// Collects records into a batch.
#[derive(Debug)]
pub struct BatchBuilder {
    limits: Limits,
    writer: String,
    batch: Batch,
    extent: Extent,
    /// The table being filled: place of its shape, place in `batch.tables`.
    tables: Vec<(u32, usize)>,
    /// Transaction of the last record taken, over batches.
    transaction: String,
    committed_us: u64,
    /// Whether the transaction has an entry in the batch.
    noted: bool,
    wants_ids: bool,
}

impl BatchBuilder {
    /// `writer` is the name that targeted records are compared with.
    pub fn new(writer: &str, limits: Limits) -> Self {
        Self {
            limits,
            writer: writer.to_owned(),
            batch: Batch::default(),
            extent: Extent::default(),
            tables: Vec::new(),
            transaction: String::new(),
            committed_us: 0,
            noted: false,
            wants_ids: false,
        }
    }

    /// Starts an empty batch behind `last`.
    pub fn start(&mut self, last: &Place) {
        self.batch = Batch::default();
        self.extent = Extent { last: last.clone(), oldest_us: u64::MAX, whole: true, ..Default::default() };
        self.tables.clear();
        self.transaction.clone_from(&last.transaction);
        self.noted = false;
    }

    pub fn is_empty(&self) -> bool {
        self.extent.records == 0
    }

    pub fn extent(&self) -> &Extent {
        &self.extent
    }

    /// Takes records from `block` up to a limit or the block's end. Records at or before the place the batch has come to are passed over.
    /// With an `end` the batch ends with that record, whatever the limits: it was a batch before.
    pub fn take(&mut self, block: &mut BlockReader, end: Option<u64>, shapes: &Shapes) -> Result<Taken, TakeError> {
        while let Some((envelope, next)) = envelope::read(&block.bytes, block.envelope)? {
            match envelope.header.kind {
                Kind::Change => {
                    if self.take_rows(&envelope, &mut block.row, end, shapes)? == Taken::Full {
                        return Ok(Taken::Full);
                    }
                }
                Kind::TableEvent => {
                    let seq = envelope.header.first_seq;
                    if seq > self.extent.last.seq && self.is_full(seq, end, self.extent.whole) {
                        return Ok(Taken::Full);
                    }
                    if seq > self.extent.last.seq {
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
        let mut target: Option<(usize, Arc<PlannedShape>)> = None;
        while let Some((row, next)) = rows::read(envelope, *at)? {
            if row.seq <= self.extent.last.seq {
                (prev, *at) = (row.seq, next);
                continue;
            }
            if !entered {
                // Chained to what came before, whether that was in this batch or is in the store.
                if prev != self.extent.last.seq {
                    let (expected, found) = (self.extent.last.seq, prev);
                    return Err(TakeError::Chain(ChainBroken { expected, found, at: row.seq }));
                }
                let id = header.transaction.to_id().to_string();
                let begins = id != self.transaction;
                if self.is_full(row.seq, end, self.extent.whole || begins) {
                    return Ok(Taken::Full);
                }
                let mine = header.target.is_none_or(|name| name == self.writer);
                target = if mine { self.table(Fingerprint(header.shape), shapes)? } else { None };
                self.enter(id, begins, header.committed_us);
                entered = true;
            } else if self.is_full(row.seq, end, self.extent.whole) {
                return Ok(Taken::Full);
            }
            if let Some((table, shape)) = &target {
                self.push(*table, shape, &row)?;
            }
            self.extent.last.seq = row.seq;
            self.extent.last.row = row.number;
            self.extent.last.second = row.operation == Operation::MoveIn;
            self.extent.records += 1;
            self.extent.bytes += next - *at;
            self.extent.whole = row.ends_transaction;
            *at = next;
        }
        Ok(Taken::Block)
    }

    /// The batch ends before the record `seq`. `boundary`: a transaction ends there.
    fn is_full(&self, seq: u64, end: Option<u64>, boundary: bool) -> bool {
        if let Some(end) = end {
            return seq > end;
        }
        let Limits { rows, bytes, rows_max, bytes_max } = self.limits;
        let Extent { rows: have, bytes: size, .. } = self.extent;
        (boundary && (have >= rows || size >= bytes)) || have >= rows_max || size >= bytes_max
    }

    fn enter(&mut self, id: String, begins: bool, committed_us: u64) {
        if self.extent.records == 0 {
            self.batch.transactions.first_continues = !begins;
        }
        self.noted &= !begins;
        self.committed_us = committed_us;
        self.transaction.clone_from(&id);
        self.extent.last.transaction = id;
        self.extent.oldest_us = self.extent.oldest_us.min(committed_us);
        self.extent.youngest_us = self.extent.youngest_us.max(committed_us);
    }

    fn table(
        &mut self,
        fingerprint: Fingerprint,
        shapes: &Shapes,
    ) -> Result<Option<(usize, Arc<PlannedShape>)>, TakeError> {
        let (place, shape) = shapes.find(fingerprint).ok_or(TakeError::Shape(fingerprint))?;
        if shape.plan.ignore {
            return Ok(None);
        }
        self.wants_ids |= shape.plan.transaction_ids;
        if let Some((_, table)) = self.tables.iter().find(|(known, _)| *known == place) {
            return Ok(Some((*table, shape)));
        }
        self.batch.tables.push(TableRows {
            schema: place,
            numbers: Vec::new(),
            sequences: Vec::new(),
            operations: Vec::new(),
            before: shape.new_images(),
            after: shape.new_images(),
        });
        self.tables.push((place, self.batch.tables.len() - 1));
        Ok(Some((self.batch.tables.len() - 1, shape)))
    }

    #[inline]
    fn push(&mut self, table: usize, shape: &PlannedShape, row: &Row<'_>) -> Result<(), EnvelopeError> {
        if !self.noted {
            self.note_transaction();
        }
        let rows = &mut self.batch.tables[table];
        let index = rows.numbers.len() as u32;
        rows.numbers.push(self.extent.rows);
        rows.sequences.push(row.seq);
        rows.operations.push(row.operation);
        if let Some(image) = row.before.filter(|_| row.operation != Operation::Update || shape.plan.before) {
            shape.push(&mut rows.before, index, image)?;
        }
        if let Some(image) = row.after {
            shape.push(&mut rows.after, index, image)?;
        }
        self.extent.rows += 1;
        Ok(())
    }

    /// The first row of a transaction that the writer gets.
    fn note_transaction(&mut self) {
        let transactions = &mut self.batch.transactions;
        transactions.starts.push(self.extent.rows);
        transactions.committed_us.push(self.committed_us);
        if self.wants_ids {
            transactions.ids.push(self.transaction.as_bytes());
        }
        self.noted = true;
    }

    fn take_event(&mut self, envelope: &Envelope<'_>) -> Result<(), TakeError> {
        let header = &envelope.header;
        if header.prev != self.extent.last.seq {
            let (expected, found) = (self.extent.last.seq, header.prev);
            return Err(TakeError::Chain(ChainBroken { expected, found, at: header.first_seq }));
        }
        let event = serde_json::from_slice(envelope.body)
            .map_err(|error| EnvelopeError::Damaged { at: 0, what: error.to_string() })?;
        let id = header.transaction.to_id().to_string();
        let begins = id != self.transaction;
        self.enter(id, begins, header.committed_us);
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
