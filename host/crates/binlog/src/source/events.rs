//! Events into records of a block, and where in the source that is.
//!
//! **Promise.** Every row of a captured table is written once, in order, with its place in its transaction counted before any filter. An event
//! that may carry rows and is not understood is an error; nothing behind it is looked at.
//! **Position.** It moves at the ends of transactions. Inside one that is larger than a block it stays at the beginning, and the rows written
//! so far are counted; the last record of a transaction is never written before it is known whether it is the last.

use std::collections::HashMap;
use std::sync::Arc;

use mysync_change::block::BlockBuilder;
use mysync_change::envelope::{EnvelopeError, TableEvent};
use mysync_change::position::{
    Checkpoint, FilePosition, Gtid, GtidSet, GtidSource, SourcePosition, TransactionId, is_same_tag,
};
use mysync_change::rows::{Operation, ROW_HEADER_LEN};
use mysync_change::schema::{Fingerprint, TableShape};
use tracing::{info, warn};

use super::error::StreamError;
use super::rows::{Route, RowError, RowWriter};
use super::selection::Selected;
use super::statement::{Name, Statement, beginning};
use crate::decode::RowsEvent;
use crate::dump::{ReadChunk, Windows, keys};
use crate::event::{self, Cursor, Event, EventError, EventKind, Query, decode_gtid_set};
use crate::payload::PayloadReader;
use crate::plan::{Plans, Selection, Table};

/// An XA transaction may make a block this large. It is stored at once or not at all, as only its end says whether it counts: room for what
/// applications do, and little enough to be held in memory.
pub const XA_BYTES_MAX: usize = 64 << 20;

/// Reads events one after the other.
pub struct EventReader {
    selected: Selected,
    cursor: Cursor,
    /// The end of the last transaction, or the like.
    boundary: FilePosition,
    gtids: Option<GtidSet>,
    /// Whether every new transaction of the server has a GTID.
    server_has_gtids: bool,
    /// Names in statements are the same in capitals and in small letters.
    lowers_names: bool,
    server: String,
    plans: Plans,
    rows: RowWriter,
    /// Only away while its events are looked at.
    payload: Option<PayloadReader>,
    /// The payload has more events.
    in_payload: bool,
    transaction: Option<Transaction>,
    /// Rows of the next transaction that are in the log.
    stored_rows: u64,
    /// The last source of GTIDs, to be shared by transactions.
    source: GtidSource,
    announced: Announced,
    /// Transactions without a GTID have come although the position is a set of them.
    has_anonymous: bool,
    /// Where a dump's chunks are on their way.
    pub windows: Windows,
    /// A rows event that did not go into the block before.
    held: Option<Held>,
}

/// The transaction that is being read.
#[derive(Debug, Default)]
struct Transaction {
    /// Its number among those of `EventReader::source`; none: it has no GTID.
    number: Option<u64>,
    /// Whether rows may come: BEGIN or XA START was read.
    begun: bool,
    xa: bool,
    /// Rows behind us, counted before any filter.
    rows: u64,
    /// Whether any of them was written, now or before a restart.
    written: bool,
    /// Whether rows of it are in the log, and nothing has been written since the restart.
    resumed: bool,
}

#[derive(Debug)]
struct Held {
    kind: EventKind,
    body: Vec<u8>,
}

/// What an event was to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Taken,
    /// The server is alive and has nothing more.
    Alive,
    /// The block is full: store it, then go on with [`EventReader::go_on`].
    Full,
}

/// Shapes that the log has been given since the stream was opened, and that their tables still have.
#[derive(Debug, Default)]
struct Announced {
    /// Each with its table's name.
    shapes: HashMap<Fingerprint, String>,
    last: Option<Fingerprint>,
}

impl Announced {
    /// Gives the log a shape that it may not know, before its first row.
    #[inline]
    fn announce(&mut self, shape: &TableShape, fingerprint: Fingerprint, block: &mut BlockBuilder) {
        if self.last == Some(fingerprint) {
            return;
        }
        self.last = Some(fingerprint);
        if self.shapes.contains_key(&fingerprint) {
            return;
        }
        // A former shape that comes back is announced again: it is the newest then.
        let name = shape.full_name();
        self.shapes.retain(|_, table| *table != name);
        if shape.primary_key.is_empty() {
            warn!(table = name, "the table has no primary key: each row is its own key");
        }
        self.shapes.insert(fingerprint, name);
        block.shape(fingerprint, Arc::new(shape.clone()));
    }
}

impl EventReader {
    /// Begins at `from`. `event_bytes_max` bounds the events inside of compressed transactions.
    pub fn new(
        selected: Selected,
        event_bytes_max: usize,
        from: &Checkpoint,
        server_has_gtids: bool,
    ) -> Result<Self, EventError> {
        Ok(Self {
            selected,
            cursor: Cursor::new(from.position.file.clone()),
            boundary: from.position.file.clone(),
            gtids: from.position.gtids.clone(),
            server_has_gtids,
            lowers_names: false,
            server: from.server.clone(),
            plans: Plans::default(),
            rows: RowWriter::default(),
            payload: Some(PayloadReader::new(event_bytes_max)?),
            in_payload: false,
            transaction: None,
            stored_rows: from.rows_of_next,
            source: GtidSource::untagged([0; 16]),
            announced: Announced::default(),
            has_anonymous: false,
            windows: Windows::default(),
            held: None,
        })
    }

    /// Says whether statements name tables in letters of any case, where rows name them in small ones.
    pub fn lowering_names(self, lowers_names: bool) -> Self {
        Self { lowers_names, ..self }
    }

    /// What the records written so far cover.
    pub fn checkpoint(&self) -> Checkpoint {
        let rows_of_next = self.transaction.as_ref().map_or(0, |transaction| transaction.rows).max(self.stored_rows);
        let position = SourcePosition { gtids: self.gtids.clone(), file: self.boundary.clone() };
        Checkpoint { rows_of_next, ..Checkpoint::new(position, self.server.clone()) }
    }

    /// Everything that was streamed: as a set of GTIDs only if that says all of it.
    pub fn streamed(&self) -> SourcePosition {
        let gtids = self.gtids.clone().filter(|_| !self.has_anonymous);
        SourcePosition { gtids, file: self.boundary.clone() }
    }

    /// Whether rows of the next transaction are in the log already, which is not behind the position.
    pub fn is_resuming(&self) -> bool {
        self.stored_rows > 0
    }

    /// Writes rows of the oldest chunk until `bytes` are written. Answers how many rows were left out, and the chunk once it is done with.
    pub fn write_chunk(
        &mut self,
        block: &mut BlockBuilder,
        bytes: usize,
    ) -> Result<(u64, Option<ReadChunk>), EnvelopeError> {
        let Self { windows, announced, rows, .. } = self;
        let Some(window) = windows.front() else { return Ok((0, None)) };
        let Some(read) = &window.chunk else { return Ok((0, None)) };
        let (shape, fingerprint) = (read.table.shape(), read.table.fingerprint());
        announced.announce(shape, fingerprint, block);
        rows.begin(shape, fingerprint, block);
        let (mut written, mut left_out) = (0, 0);
        while window.next < read.chunk.len() && written < bytes {
            match read.chunk.row(window.next) {
                None => left_out += 1,
                Some((image, key)) => {
                    let Route { partition, key } = rows.route(block.layout(), shape, keys::parts(key));
                    let number = window.next as u64;
                    let mut row = block.keyed_row(partition, key, fingerprint, Operation::Read, number)?;
                    row.images().extend_from_slice(image);
                    row.finish(true);
                    written += ROW_HEADER_LEN + image.len();
                }
            }
            window.next += 1;
        }
        let is_done = window.next == read.chunk.len();
        Ok((left_out, if is_done { windows.close_front() } else { None }))
    }

    /// Whether a transaction has begun and not ended.
    pub fn is_inside(&self) -> bool {
        self.transaction.is_some()
    }

    /// Whether there is something to go on with before the next event.
    pub fn is_full(&self) -> bool {
        self.in_payload || self.held.is_some()
    }

    /// Goes on where a block was full.
    pub fn go_on(&mut self, block: &mut BlockBuilder) -> Result<Step, StreamError> {
        if let Some(held) = self.held.take() {
            self.write_rows(held.kind, &held.body, block)?;
        }
        if self.in_payload { self.read_payload(block) } else { Ok(Step::Taken) }
    }

    /// Takes the stream's next event.
    #[inline]
    pub fn take(&mut self, event: &Event<'_>, block: &mut BlockBuilder) -> Result<Step, StreamError> {
        use EventKind as K;
        let begin = self.cursor.follow(event).map_err(|error| self.event_error(error))?;
        match event.header.kind {
            K::Gtid | K::GtidTagged | K::AnonymousGtid => self.begin(event, begin, block),
            K::Xid | K::XaPrepare | K::Query => {
                let step = self.inner(event, block)?;
                if self.transaction.is_none() {
                    self.move_boundary();
                }
                Ok(step)
            }
            K::TransactionPayload => {
                if let Some(payload) = &mut self.payload {
                    payload.open(event).map_err(|error| StreamError::Event { at: self.boundary.clone(), error })?;
                }
                self.in_payload = true;
                self.read_payload(block)
            }
            K::Rotate => {
                // What the server makes up when it begins may name a place before ours.
                if !event.header.is_artificial() && self.transaction.is_none() {
                    self.move_boundary();
                }
                Ok(Step::Taken)
            }
            K::Heartbeat | K::HeartbeatV2 => {
                if self.transaction.is_none() && self.cursor.position() > self.boundary {
                    self.move_boundary();
                }
                Ok(Step::Alive)
            }
            K::PreviousGtids => {
                if self.gtids.is_none() && self.server_has_gtids && self.transaction.is_none() {
                    let gtids = decode_gtid_set(event).map_err(|error| self.event_error(error))?;
                    info!(%gtids, "from here on the position is a set of GTIDs");
                    self.gtids = Some(gtids);
                }
                // A file's head is done with: log_status of an idle server names its end.
                if self.transaction.is_none() && self.cursor.position() > self.boundary {
                    self.move_boundary();
                }
                Ok(Step::Taken)
            }
            _ => self.inner(event, block),
        }
    }

    fn begin(&mut self, event: &Event<'_>, begin: u64, block: &mut BlockBuilder) -> Result<Step, StreamError> {
        if self.transaction.is_some() {
            return Err(self.out_of_place(event.header.kind));
        }
        let head = event::Gtid::parse(event).map_err(|error| self.event_error(error))?;
        let number = Some(head.number).filter(|number| *number > 0);
        if number.is_none() && self.gtids.is_some() {
            // It is in no set of GTIDs, so none says that it is executed.
            self.has_anonymous = true;
            self.windows.spoil();
        }
        if number.is_some() && !self.is_source(&head) {
            self.source = GtidSource { uuid: head.uuid, tag: Arc::from(head.tag) };
        }
        let gtid = number.map(|number| Gtid { source: self.source.clone(), number });
        let committed_us =
            if head.committed_us > 0 { head.committed_us } else { u64::from(event.header.timestamp) * 1_000_000 };
        self.plans.begin_transaction();
        let id = TransactionId { gtid, file: self.cursor.file().clone(), offset: begin };
        block.begin(id, committed_us);
        let resumed = self.stored_rows > 0;
        self.transaction = Some(Transaction { number, written: resumed, resumed, ..Transaction::default() });
        Ok(Step::Taken)
    }

    #[inline]
    fn is_source(&self, head: &event::Gtid<'_>) -> bool {
        self.source.uuid == head.uuid && is_same_tag(&self.source.tag, head.tag)
    }

    fn read_payload(&mut self, block: &mut BlockBuilder) -> Result<Step, StreamError> {
        let Some(mut payload) = self.payload.take() else { return Ok(Step::Taken) };
        let step = loop {
            match payload.next_event() {
                Ok(Some(event)) => match self.inner(&event, block) {
                    Ok(Step::Full) => break Ok(Step::Full),
                    Ok(_) => {}
                    Err(error) => break Err(error),
                },
                Ok(None) => {
                    self.in_payload = false;
                    break Ok(Step::Taken);
                }
                Err(error) => break Err(self.event_error(error)),
            }
        };
        self.payload = Some(payload);
        if !self.in_payload && self.transaction.is_none() {
            self.move_boundary();
        }
        step
    }

    /// Events that may stand inside of a payload too.
    #[inline]
    fn inner(&mut self, event: &Event<'_>, block: &mut BlockBuilder) -> Result<Step, StreamError> {
        use EventKind as K;
        let kind = event.header.kind;
        match kind {
            K::TableMap => {
                self.plans.map(event.body, &self.selected).map_err(|error| self.decode_error(error))?;
                Ok(Step::Taken)
            }
            K::WriteRows | K::UpdateRows | K::DeleteRows | K::WriteRowsV1 | K::UpdateRowsV1 | K::DeleteRowsV1 => {
                let (goes_on, xa) = self.transaction.as_ref().map_or((false, false), |t| (t.written, t.xa));
                let is_full = if xa { block.len() >= XA_BYTES_MAX } else { block.is_full() };
                // Only what will be written may wait: the last record in the block is then known not to be its transaction's last.
                if goes_on && is_full && self.is_captured(kind, event.body)? {
                    if xa {
                        return Err(StreamError::XaSize { at: self.boundary.clone() });
                    }
                    self.held = Some(Held { kind, body: event.body.to_vec() });
                    return Ok(Step::Full);
                }
                self.write_rows(kind, event.body, block)?;
                Ok(Step::Taken)
            }
            K::Xid => self.commit(kind, block),
            K::Query => self.query(event, block),
            K::XaPrepare => {
                let one_phase = event.body.first() == Some(&1);
                if self.transaction.as_ref().is_some_and(|transaction| transaction.written) && !one_phase {
                    return Err(StreamError::Xa { at: self.boundary.clone() });
                }
                self.commit(kind, block)
            }
            // Known, and without rows; or marked by the server as what may be left out.
            K::Unknown
            | K::Ignorable
            | K::RowsQuery
            | K::Stop
            | K::FormatDescription
            | K::IntVar
            | K::Rand
            | K::UserVar
            | K::TransactionContext
            | K::ViewChange => Ok(Step::Taken),
            // What begins or holds a transaction, or tells of files, has no place inside of one.
            kind => Err(StreamError::Misplaced { at: self.boundary.clone(), kind: kind.to_string() }),
        }
    }

    /// Whether an event has rows of a captured table.
    fn is_captured(&self, kind: EventKind, body: &[u8]) -> Result<bool, StreamError> {
        let event = RowsEvent::parse(kind, body).map_err(|error| self.decode_error(error))?;
        if event.is_empty() {
            return Ok(false);
        }
        let table = self.plans.get(event.table_id).map_err(|error| self.decode_error(error))?;
        Ok(matches!(table, Table::Captured(_)))
    }

    fn write_rows(&mut self, kind: EventKind, body: &[u8], block: &mut BlockBuilder) -> Result<(), StreamError> {
        let Self { plans, rows, transaction, boundary, stored_rows, announced, windows, .. } = self;
        let decode = |error| StreamError::Decode { at: boundary.clone(), error };
        let Some(transaction) = transaction.as_mut() else {
            return Err(StreamError::OutOfPlace { at: boundary.clone(), kind: kind.to_string() });
        };
        let event = RowsEvent::parse(kind, body).map_err(decode)?;
        if event.is_empty() {
            return Ok(());
        }
        let first = transaction.rows;
        match plans.get(event.table_id).map_err(decode)? {
            Table::Other(widths) => transaction.rows += event.count(widths),
            Table::Captured(plan) => {
                let (shape, fingerprint) = (plan.shape(), plan.fingerprint());
                announced.announce(shape, fingerprint, block);
                let watched = !windows.is_empty() && windows.watch(&shape.database, &shape.name, fingerprint);
                let skip = stored_rows.saturating_sub(first);
                let noted = watched.then_some(windows);
                let written = rows.write(&event, plan, first, skip, block, noted).map_err(|error| match error {
                    RowError::Decode(error) => decode(error),
                    RowError::Record(error) => StreamError::Record(error),
                })?;
                transaction.rows += written;
                transaction.written |= written > skip;
                transaction.resumed &= written <= skip;
            }
        }
        Ok(())
    }

    fn query(&mut self, event: &Event<'_>, block: &mut BlockBuilder) -> Result<Step, StreamError> {
        let query = Query::parse(event).map_err(|error| self.event_error(error))?;
        let Some(transaction) = self.transaction.as_mut() else { return Err(self.out_of_place(EventKind::Query)) };
        if query.is_begin() {
            transaction.begun = true;
            return Ok(Step::Taken);
        }
        let (database, text) = (String::from_utf8_lossy(query.database), String::from_utf8_lossy(query.statement));
        let shortened = || beginning(&text).chars().take(200).collect::<String>();
        let statement = match Statement::read(&database, &text) {
            Statement::Tables { what, names } if self.lowers_names => {
                Statement::Tables { what, names: names.iter().map(Name::lowered).collect() }
            }
            statement => statement,
        };
        if !transaction.begun && matches!(statement, Statement::Nothing | Statement::Tables { .. }) {
            let renames = match &statement {
                Statement::Tables { what: "rename", names } => names.iter().any(|name| concerns(&self.selected, name)),
                _ => false,
            };
            self.windows.note_statement(&database, &text, renames);
        }
        match statement {
            Statement::Begin => transaction.begun = true,
            Statement::XaStart => (transaction.begun, transaction.xa) = (true, true),
            Statement::Commit => return self.commit(EventKind::Query, block),
            Statement::Rollback if transaction.written => {
                return Err(StreamError::Rollback { at: self.boundary.clone(), statement: shortened() });
            }
            // Inside of a transaction more may follow; alone it is a transaction of its own.
            Statement::Rollback if text.trim().eq_ignore_ascii_case("ROLLBACK") => {
                return self.commit(EventKind::Query, block);
            }
            Statement::Nothing | Statement::Rollback if transaction.begun => {}
            Statement::Nothing | Statement::Rollback => return self.commit(EventKind::Query, block),
            Statement::Tables { what, names } => {
                let ends = !transaction.begun;
                let number = transaction.rows;
                for Name { database, table } in names.into_iter().filter(|name| concerns(&self.selected, name)) {
                    let event = TableEvent { database, table, what: what.to_owned(), statement: beginning(&text) };
                    warn!(event.database, event.table, what, event.statement, "a table was changed as a whole");
                    if number >= self.stored_rows {
                        block.table_event(Fingerprint([0; 16]), number, &event)?;
                    }
                }
                if ends {
                    return self.commit(EventKind::Query, block);
                }
            }
            Statement::Change => {
                return Err(StreamError::Statement { at: self.boundary.clone(), statement: shortened() });
            }
        }
        Ok(Step::Taken)
    }

    fn commit(&mut self, kind: EventKind, block: &mut BlockBuilder) -> Result<Step, StreamError> {
        let Some(transaction) = self.transaction.take() else { return Err(self.out_of_place(kind)) };
        if transaction.resumed {
            // What followed is excluded by now, and the last stored row was not known to be the last: an event of no table says so.
            let (database, table, statement) = Default::default();
            let event = TableEvent { database, table, what: "end".to_owned(), statement };
            block.table_event(Fingerprint([0; 16]), transaction.rows.max(self.stored_rows), &event)?;
        }
        block.end();
        self.stored_rows = 0;
        if let (Some(gtids), Some(number)) = (&mut self.gtids, transaction.number) {
            gtids.add(&self.source, number);
        }
        Ok(Step::Taken)
    }

    #[inline]
    fn move_boundary(&mut self) {
        if !Arc::ptr_eq(&self.boundary.file, self.cursor.file()) {
            self.boundary.file = self.cursor.file().clone();
        }
        self.boundary.offset = self.cursor.offset();
    }

    #[cold]
    fn event_error(&self, error: EventError) -> StreamError {
        StreamError::Event { at: self.boundary.clone(), error }
    }

    #[cold]
    fn decode_error(&self, error: crate::decode::DecodeError) -> StreamError {
        StreamError::Decode { at: self.boundary.clone(), error }
    }

    #[cold]
    fn out_of_place(&self, kind: EventKind) -> StreamError {
        StreamError::OutOfPlace { at: self.boundary.clone(), kind: kind.to_string() }
    }
}

/// Whether a table is captured, or for `*` any table of a database can be.
fn concerns(selected: &Selected, name: &Name) -> bool {
    match &*name.table {
        "*" => selected.may_capture_of(&name.database),
        table => selected.table(&name.database, table),
    }
}
