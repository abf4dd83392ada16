//! A block: what capture hands to the log at once.
//!
//! Rows are written straight into the bytes the log will keep, so a row costs no allocation and is encoded once. The builder gives every row
//! its sequence number and chains each to the one before it in its partition.

mod partition;
mod row;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::envelope::{self, EnvelopeError, Header, Kind, LogId, TableEvent, TransactionRef};
use crate::key;
use crate::position::TransactionId;
use crate::routing::Layout;
use crate::rows::{FLAGS_AT, OPERATION_AT, Operation, ROW_HEADER_LEN};
use crate::schema::{Fingerprint, TableShape};
use crate::topics::{Span, Topics};

pub use partition::{Message, PartitionBlock};
pub use row::RowBuilder;

use partition::OpenEnvelope;

/// A run of rows is closed at this size, and envelopes that follow each other are one message up to it: large enough that what each costs does
/// not matter, and with a last row of the same size far below what a broker takes by default.
pub const MESSAGE_BYTES: usize = 256 << 10;
/// A block is full from here on, unless its log wants more at once.
pub const BLOCK_BYTES: usize = 256 << 10;

/// Collects rows of whole transactions, or of a part of a large one.
#[derive(Debug)]
pub struct BlockBuilder {
    log_id: LogId,
    layout: Layout,
    /// From so many bytes on it is full.
    full_at: usize,
    next_seq: u64,
    partitions: Vec<PartitionBlock>,
    /// Those that have got something.
    used: Vec<usize>,
    topics: Topics,
    /// Where rows of these shapes go.
    spans: BTreeMap<Fingerprint, Span>,
    shapes: Vec<(Fingerprint, Arc<TableShape>)>,
    transaction: TransactionId,
    committed_us: u64,
    /// What rows are written as, and for whom.
    kind: Kind,
    target: Option<Arc<str>>,
    /// Tells transactions of a builder's life apart.
    ordinal: u64,
    stored: Stored,
}

/// The numbering as the log has it.
#[derive(Debug)]
struct Stored {
    next_seq: u64,
    /// The last number in each partition.
    lasts: Vec<u64>,
    /// If tables have been given places since.
    topics: Option<Topics>,
}

impl BlockBuilder {
    /// `prevs`: the last sequence number in each partition of the log, 0 for an empty one. `next_seq` lies above all of them.
    pub fn new(log_id: LogId, next_seq: u64, prevs: &[u64]) -> Self {
        let partitions = prevs.iter().map(|prev| PartitionBlock::behind(*prev)).collect();
        let transaction = TransactionId { gtid: None, file: Arc::from(""), offset: 0 };
        Self {
            log_id,
            layout: Layout::Runs,
            full_at: BLOCK_BYTES,
            next_seq,
            partitions,
            used: Vec::new(),
            topics: Topics::one("", prevs.len() as u32),
            spans: BTreeMap::new(),
            shapes: Vec::new(),
            transaction,
            committed_us: 0,
            kind: Kind::Change,
            target: None,
            ordinal: 0,
            stored: Stored { next_seq, lasts: prevs.to_vec(), topics: None },
        }
    }

    /// For a log whose partitions are in these topics.
    pub fn in_topics(self, topics: Topics) -> Self {
        Self { topics, ..self }
    }

    /// For a log of another layout than [`Layout::Runs`].
    pub fn in_layout(self, layout: Layout) -> Self {
        Self { layout, ..self }
    }

    /// For a log that wants more at once than [`BLOCK_BYTES`].
    pub fn full_at(self, bytes: usize) -> Self {
        Self { full_at: bytes, ..self }
    }

    /// Whether whoever fills it should hand it over, however much more is at hand.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len() >= self.full_at
    }

    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    pub fn layout(&self) -> Layout {
        self.layout
    }

    pub fn partitions(&self) -> &[PartitionBlock] {
        &self.partitions
    }

    /// The topics that the partitions are in.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Whether tables have been given places in topics that the log does not know of. It does with this block.
    pub fn has_new_topics(&self) -> bool {
        self.stored.topics.is_some()
    }

    /// The partitions that hold a table's rows. A table that is new is given some, which is for the log to make real.
    pub fn span(&mut self, fingerprint: Fingerprint, shape: &TableShape) -> Span {
        if !self.topics.are_by_table() {
            return Span { first: 0, count: self.partitions.len() };
        }
        if let Some(span) = self.spans.get(&fingerprint) {
            return *span;
        }
        let (database, table) = (&shape.database, &shape.name);
        let span = self.topics.find(database, table).unwrap_or_else(|| {
            self.stored.topics.get_or_insert_with(|| self.topics.clone());
            let span = self.topics.add(database, table);
            self.partitions.resize_with(self.topics.partitions() as usize, PartitionBlock::default);
            span
        });
        self.spans.insert(fingerprint, span);
        span
    }

    /// Shapes that rows of this block use and that were announced with [`BlockBuilder::shape`].
    pub fn shapes(&self) -> &[(Fingerprint, Arc<TableShape>)] {
        &self.shapes
    }

    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The last sequence number in each partition, rows of this block included.
    pub fn lasts(&self) -> Vec<u64> {
        self.partitions.iter().map(|part| part.prev).collect()
    }

    /// Bytes in all partitions.
    pub fn len(&self) -> usize {
        self.used.iter().map(|at| self.partitions[*at].bytes.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    pub fn rows(&self) -> u64 {
        self.used.iter().map(|at| self.partitions[*at].rows).sum()
    }

    /// A shape that the log may not know yet. It becomes durable with this block.
    pub fn shape(&mut self, fingerprint: Fingerprint, shape: Arc<TableShape>) {
        self.shapes.push((fingerprint, shape));
    }

    /// Rows that follow belong to this transaction.
    pub fn begin(&mut self, transaction: TransactionId, committed_us: u64) {
        (self.kind, self.target) = (Kind::Change, None);
        self.start(transaction, committed_us);
    }

    /// Rows that follow were found by a dump: `chunk` stands for the transaction they have none of. With a target only that writer takes
    /// them, unless they take the place of what other writers need: where the last record of each key is kept all take them.
    pub fn begin_chunk(&mut self, chunk: TransactionId, found_us: u64, target: Option<Arc<str>>) {
        (self.kind, self.target) = (Kind::DumpChunk, target.filter(|_| self.layout == Layout::Runs));
        self.start(chunk, found_us);
    }

    fn start(&mut self, transaction: TransactionId, committed_us: u64) {
        self.transaction = transaction;
        self.committed_us = committed_us;
        self.ordinal += 1;
        self.used.iter().for_each(|at| self.partitions[*at].last_flags = None);
    }

    /// Marks the last row since `begin` as the end of its transaction, in each partition.
    pub fn end(&mut self) {
        self.used.iter().for_each(|at| self.partitions[*at].end());
    }

    /// Starts a row in `partition`. The caller appends the images and finishes it. In [`Layout::Keyed`] it needs its key:
    /// [`BlockBuilder::keyed_row`].
    #[inline]
    pub fn row(
        &mut self,
        partition: usize,
        shape: Fingerprint,
        operation: Operation,
        number: u64,
    ) -> Result<RowBuilder<'_>, EnvelopeError> {
        self.keyed_row(partition, &[], shape, operation, number)
    }

    /// Starts a row under its key, which only [`Layout::Keyed`] keeps.
    #[inline]
    pub fn keyed_row(
        &mut self,
        partition: usize,
        key: &[u8],
        shape: Fingerprint,
        operation: Operation,
        number: u64,
    ) -> Result<RowBuilder<'_>, EnvelopeError> {
        let seq = self.next_seq;
        let (first_seq, first_row) = match self.run(partition, shape, number) {
            Some(run) => (run.first_seq, run.first_row),
            None => {
                self.open(partition, self.kind, shape, number)?;
                if self.layout == Layout::Keyed {
                    self.partitions[partition].keys.extend_from_slice(key);
                }
                (seq, number)
            }
        };
        let part = &mut self.partitions[partition];
        let at = part.bytes.len();
        let mut head = [0; ROW_HEADER_LEN];
        head[4..8].copy_from_slice(&((seq - first_seq) as u32).to_le_bytes());
        head[8..12].copy_from_slice(&((number - first_row) as u32).to_le_bytes());
        head[OPERATION_AT] = operation as u8;
        part.bytes.extend_from_slice(&head);
        part.count(seq, self.committed_us);
        part.last_flags = Some(at + FLAGS_AT);
        self.next_seq += 1;
        Ok(RowBuilder { bytes: &mut part.bytes, at })
    }

    /// The open run, if the next row can join it.
    #[inline]
    fn run(&self, partition: usize, shape: Fingerprint, number: u64) -> Option<&OpenEnvelope> {
        let part = &self.partitions[partition];
        part.open.as_ref().filter(|run| {
            self.layout == Layout::Runs
                && run.transaction == self.ordinal
                && run.shape == shape
                && part.bytes.len() - run.start < MESSAGE_BYTES
                && self.next_seq - run.first_seq <= u64::from(u32::MAX)
                && number - run.first_row <= u64::from(u32::MAX)
        })
    }

    /// Opens an envelope for the next record.
    fn open(&mut self, partition: usize, kind: Kind, shape: Fingerprint, first_row: u64) -> Result<(), EnvelopeError> {
        let part = &mut self.partitions[partition];
        if !std::mem::replace(&mut part.is_used, true) {
            self.used.push(partition);
        }
        part.close(self.layout);
        let header = Header {
            kind,
            log_id: self.log_id.0,
            first_seq: self.next_seq,
            prev: part.prev,
            transaction: TransactionRef::new(&self.transaction),
            committed_us: self.committed_us,
            first_row,
            shape: shape.0,
            target: self.target.as_deref(),
        };
        let start = part.bytes.len();
        envelope::open(&mut part.bytes, &header)?;
        let row = (kind != Kind::TableEvent).then_some(part.bytes.len());
        let (transaction, first_seq) = (self.ordinal, self.next_seq);
        part.open = Some(OpenEnvelope { start, row, transaction, shape, first_seq, first_row });
        Ok(())
    }

    /// A record of its own for something that happened to a table, in every partition that may hold its rows.
    pub fn table_event(&mut self, shape: Fingerprint, number: u64, event: &TableEvent) -> Result<(), EnvelopeError> {
        let spans = self.topics.told_in(&event.database, &event.table);
        for partition in spans.into_iter().flat_map(|span| span.first..span.first + span.count) {
            self.open(partition, Kind::TableEvent, shape, number)?;
            let seq = self.next_seq;
            let part = &mut self.partitions[partition];
            if self.layout == Layout::Keyed {
                key::write_event(&event.database, &event.table, seq, &mut part.keys);
            }
            let at = part.bytes.len();
            serde_json::to_writer(&mut part.bytes, event)
                .map_err(|error| EnvelopeError::damaged(at, error.to_string()))?;
            part.count(seq, self.committed_us);
            part.close(self.layout);
            self.next_seq += 1;
        }
        Ok(())
    }

    /// Closes what is open; the block can then be stored.
    ///
    /// One of several partitions may get nothing more of a transaction that goes on, and could never tell: there the block ends it.
    pub fn seal(&mut self) {
        if self.partitions.len() > 1 {
            self.end();
        }
        self.used.iter().for_each(|at| self.partitions[*at].close(self.layout));
    }

    /// The log has the rows now: empties the block, keeping its numbering and most of its memory.
    pub fn stored(&mut self) {
        self.stored.next_seq = self.next_seq;
        self.stored.lasts.clear();
        self.stored.lasts.extend(self.partitions.iter().map(|part| part.prev));
        self.stored.topics = None;
        self.clear();
    }

    /// The rows will be read again: empties the block and takes their numbers back.
    pub fn discard(&mut self) {
        self.clear();
        self.next_seq = self.stored.next_seq;
        self.partitions.truncate(self.stored.lasts.len());
        for (part, prev) in self.partitions.iter_mut().zip(&self.stored.lasts) {
            part.prev = *prev;
        }
        if let Some(topics) = self.stored.topics.take() {
            self.topics = topics;
            self.spans.clear();
        }
    }

    fn clear(&mut self) {
        // What one partition has needed once, not all of them may keep.
        let keep = (2 * self.full_at / self.partitions.len().max(1)).max(MESSAGE_BYTES);
        self.used.drain(..).for_each(|at| self.partitions[at].clear(keep));
        self.shapes.clear();
    }
}
