//! Dumps: rows that were in their tables before the log began, written into the log in the order of the stream.
//!
//! **Promise.** Every row that a table holds when its dump begins is written at least once, as it was at some moment behind the last change
//! of it that the stream had brought, or the stream brings a later change of it: no older row ever follows a newer one.
//! **How.** A reader finds chunks, each in a window of the stream. A chunk is written where a transaction ends, once the
//! stream has passed what the server had executed behind the SELECT, and without the keys that the stream brought meanwhile.
//! **Resuming.** How far a dump has come is part of the checkpoint that covers its rows: it goes on behind the last whole chunk. Windows
//! and reader live as long as the stream they belong to.
//! **Bounds.** No more rows are in the log than the writers take at once: the stream's own changes do not wait long behind them, and a log
//! does not fill up. Errors of a dump hold up that dump alone.

mod ahead;
mod book;
pub mod chunk;
mod columns;
mod delays;
mod error;
pub(crate) mod keys;
mod paging;
mod reader;
pub mod select;
pub mod table;
mod told;
mod values;
pub mod watermark;
mod windows;

use std::sync::Arc;
use std::time::Duration;

use mysync_change::block::BlockBuilder;
use mysync_change::dump::{Dump, DumpState, Dumps};
use mysync_change::envelope::{EnvelopeError, chunk_id};
use mysync_change::position::SourcePosition;
use mysync_pipeline::dump::OrderBook;
use mysync_pipeline::failure::{Failure, Kind};
use mysync_pipeline::status::{Board, now_us};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::source::EventReader;
use ahead::Ahead;
use book::Book;
pub use chunk::Chunk;
use delays::Delays;
pub use error::DumpError;
pub(crate) use reader::ReadChunk;
pub use reader::ReaderSettings;
use reader::{Message, Reader};
use table::TableName;
use told::Told;
use watermark::Watermark;
use windows::Spoiled;
pub use windows::Windows;

/// One is being written, the next one is being read.
const WINDOWS_MAX: usize = 2;
/// Written at once: the stream's own changes wait no longer than this takes.
const SLICE_BYTES: usize = 256 << 10;
/// Rows in the log that a writer has not taken. A change that comes behind them waits as long as they take.
const AHEAD_BYTES_MAX: usize = 2 << 20;
/// How often it is looked whether writers have come on.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// The same once they have not for a while.
const LOOK_LATER: Duration = Duration::from_millis(100);
/// A block of the stream that is larger already, such as one of an XA transaction, gets no rows on top.
const BLOCK_BYTES_MAX: usize = 128 << 20;
/// What keeps a dump from going on for this long is said.
const HELD_TIME: Duration = Duration::from_secs(1);
/// A table that the binlog describes in another way each time is not merely being altered.
const SHAPES_DIFFER_MAX: u32 = 5;

/// Carries out the dumps of one log.
pub struct Dumper {
    settings: ReaderSettings,
    board: Arc<Board>,
    book: Book,
    told: Told,
    current: Option<Current>,
    ahead: Ahead,
    delays: Delays,
    /// The stream has just begun: what is in the log that writers have not taken is not known.
    is_new: bool,
    /// How often in a row a chunk had to be read again because the stream described its table in another way.
    shapes_differed: u32,
}

/// The dump at work.
struct Current {
    number: u64,
    target: Option<Arc<str>>,
    reader: Reader,
    /// Came while something else was waited for.
    heard: Option<Message>,
    /// A window that is wanted.
    wanted: Option<(TableName, oneshot::Sender<SourcePosition>)>,
    /// Everything has been read, and the server had executed this by then.
    read: Option<Watermark>,
    /// Since when the next rows wait for writers.
    held_since: Option<Instant>,
}

impl Dumper {
    pub fn new(settings: ReaderSettings, orders: OrderBook, board: Arc<Board>, elsewhere: bool) -> Self {
        Self {
            settings,
            board,
            book: Book::new(orders),
            told: Told::default(),
            current: None,
            ahead: Ahead::new(elsewhere),
            delays: Delays::default(),
            is_new: true,
            shapes_differed: 0,
        }
    }

    /// A stream begins behind a checkpoint with these dumps.
    pub fn open(&mut self, dumps: Arc<Dumps>) {
        self.current = None;
        // What was not stored will be numbered anew.
        self.ahead.clear();
        self.is_new = true;
        self.book.open(dumps);
        self.publish();
    }

    /// The stream is gone, and its windows with it.
    pub fn close(&mut self) {
        self.current = None;
        self.publish();
    }

    /// The log has the last checkpoint that was handed out.
    pub fn stored(&mut self) {
        self.book.stored();
    }

    /// For the next checkpoint.
    pub fn dumps(&mut self, windows: &mut Windows) -> Arc<Dumps> {
        if windows.take_renamed() {
            self.begin_anew(windows);
        }
        self.book.dumps().clone()
    }

    /// Whether a dump is at work.
    pub fn is_active(&self) -> bool {
        self.current.is_some()
    }

    /// Does what can be done now, where a transaction of the stream ends. True if that is worth storing.
    pub fn turn(&mut self, stream: &mut EventReader, block: &mut BlockBuilder) -> Result<bool, EnvelopeError> {
        if self.book.is_idle() && self.current.is_none() {
            return Ok(false);
        }
        if std::mem::take(&mut self.is_new) {
            let has_begun = |dump: &&Dump| dump.is_open() && dump.progress.rows > 0;
            for dump in self.book.dumps().list.iter().filter(has_begun) {
                self.ahead.push(dump.number, block.lasts(), AHEAD_BYTES_MAX);
            }
        }
        let ordered = self.book.carry_out(|| block.lasts());
        if stream.windows.take_renamed() {
            self.begin_anew(&mut stream.windows);
        }
        self.choose(stream);
        let heard = self.hear(stream);
        // What has failed makes way for the next one, and what is read again gets another reader.
        self.choose(stream);
        let written = self.write(stream, block)?;
        let ended = self.end_if_done(stream);
        if ordered || heard || written || ended {
            self.publish();
        }
        Ok(ordered || written || ended)
    }

    /// Returns when there may be something to do.
    pub async fn woken(&mut self) {
        let Self { book, current, delays, .. } = self;
        match (current, delays.next()) {
            (Some(current), _) => {
                let Current { reader, heard, read, held_since, .. } = current;
                let look =
                    if held_since.is_some_and(|since| since.elapsed() >= HELD_TIME) { LOOK_LATER } else { LOOK_EVERY };
                tokio::select! {
                    () = book.order() => {}
                    message = reader.messages.recv(), if heard.is_none() && read.is_none() => {
                        *heard = Some(message.unwrap_or_else(|| Message::Failed(panicked())));
                    }
                    () = tokio::time::sleep(look), if held_since.is_some() => {}
                }
            }
            (None, Some(retry_at)) => {
                tokio::select! {
                    () = book.order() => {}
                    () = tokio::time::sleep_until(retry_at) => {}
                }
            }
            (None, None) => book.order().await,
        }
    }

    fn publish(&mut self) {
        let current = self.current.as_ref().map(|current| current.number);
        self.told.publish(&self.board, &self.book, current);
    }

    /// Has the dump at work whose turn it is.
    fn choose(&mut self, stream: &mut EventReader) {
        let turn = self.delays.turn(&self.book, &mut self.ahead, &self.board);
        if self.current.as_ref().map(|current| current.number) != turn.map(|dump| dump.number) {
            self.current = None;
        }
        if self.current.is_some() {
            return;
        }
        stream.windows.clear();
        let Some(dump) = turn else { return };
        info!(table = dump.progress.table, rows = dump.progress.rows, "{dump} goes on");
        self.told.of(dump.number).waits_for = None;
        self.current = Some(Current {
            number: dump.number,
            target: dump.writer.clone(),
            reader: Reader::start(
                self.settings.clone(),
                dump.clone(),
                stream.checkpoint().server,
                stream.streamed().gtids.is_some(),
            ),
            heard: None,
            wanted: None,
            read: None,
            held_since: None,
        });
    }

    /// Takes what the reader has to say. True if that is worth telling.
    fn hear(&mut self, stream: &mut EventReader) -> bool {
        let Some(current) = &mut self.current else { return false };
        let figures = self.told.of(current.number);
        let (mut failed, mut heard) = (None, false);
        while let Some(message) = current.heard.take().or_else(|| current.reader.messages.try_recv().ok()) {
            heard = true;
            match message {
                Message::Tables { tables, rows } => {
                    let done = self.book.get(current.number).map(|dump| dump.progress.clone()).unwrap_or_default();
                    figures.tables = Some(done.tables_done + tables);
                    figures.rows = Some(done.rows + figures.left_out + rows);
                }
                Message::Open { table, answer } => {
                    figures.table = table.to_string();
                    current.wanted = Some((table, answer));
                }
                Message::Chunk(read) => stream.windows.attach(read),
                Message::Waits(what) => figures.waits_for = what,
                Message::End(executed) => current.read = Some(executed),
                Message::Failed(failure) => failed = Some(failure),
            }
        }
        if let Some(failure) = failed {
            self.fail(failure, &mut stream.windows);
        } else if let Some((spoiled, table)) = stream.windows.spoiled() {
            self.read_again(spoiled, table, &mut stream.windows);
        } else if stream.windows.len() < WINDOWS_MAX
            && !stream.is_resuming()
            && let Some((table, answer)) = current.wanted.take()
        {
            stream.windows.open(&table.database, &table.table);
            let _ = answer.send(stream.streamed());
        }
        heard
    }

    /// Gives it up for now, or until somebody resumes it.
    fn fail(&mut self, failure: Failure, windows: &mut Windows) {
        let Some(Current { number, .. }) = self.current.take() else { return };
        windows.clear();
        self.shapes_differed = 0;
        match failure.kind {
            Kind::Transient => {
                let wait = self.delays.fail(number);
                warn!(
                    code = failure.code,
                    wait_ms = wait.as_millis() as u64,
                    "dump {number} tries again: {}",
                    failure.message
                );
                self.told.of(number).retrying = Some(failure);
            }
            Kind::Definite => {
                error!(code = failure.code, "dump {number} stopped: {}", failure.message);
                self.book.stop(number, failure);
            }
        }
        self.publish();
    }

    fn read_again(&mut self, spoiled: Spoiled, table: String, windows: &mut Windows) {
        let Some(Current { number, .. }) = &self.current else { return };
        info!(table, "dump {number} reads a chunk again: {}", spoiled.reason());
        self.told.of(*number).again += 1;
        self.shapes_differed += u32::from(spoiled == Spoiled::Shape);
        match spoiled {
            Spoiled::Crowded => self.fail(DumpError::Crowded { table }.into(), windows),
            Spoiled::Shape if self.shapes_differed > SHAPES_DIFFER_MAX => {
                self.fail(DumpError::ShapesDiffer { table }.into(), windows);
            }
            // Another reader starts where the last whole chunk ended.
            Spoiled::Altered | Spoiled::Shape => self.current = None,
        }
    }

    fn begin_anew(&mut self, windows: &mut Windows) {
        for number in self.book.begin_anew() {
            warn!(
                "dump {number} begins anew: a table was renamed, which may have brought it before those that are done"
            );
        }
        // One that has no row in the log yet may have listed the tables by their former names.
        if self.current.take().is_some() {
            windows.clear();
        }
    }

    /// Writes some rows of the oldest chunk, if its time has come.
    fn write(&mut self, stream: &mut EventReader, block: &mut BlockBuilder) -> Result<bool, EnvelopeError> {
        if block.len() > BLOCK_BYTES_MAX {
            return Ok(false);
        }
        let position = stream.streamed();
        let chunk = stream.windows.front().and_then(|window| window.chunk.as_ref());
        if !chunk.is_some_and(|read| read.executed.is_passed_by(&position)) || self.is_held(AHEAD_BYTES_MAX) {
            return Ok(false);
        }
        let Some(current) = &self.current else { return Ok(false) };
        let figures = self.told.of(current.number);
        let Some(dump) = self.book.get_mut(current.number) else { return Ok(false) };
        let (before, rows_before) = (block.len(), block.rows());
        block.begin_chunk(chunk_id(dump.number, dump.progress.chunks), now_us(), current.target.clone());
        let (left_out, is_done) = stream.write_chunk(block, SLICE_BYTES)?;
        block.end();
        self.ahead.push(dump.number, block.lasts(), block.len() - before);
        figures.left_out += left_out;
        dump.progress.rows += block.rows() - rows_before;
        if let Some(read) = is_done {
            dump.progress.table = read.name;
            dump.progress.tables_done += u64::from(read.after.is_none());
            dump.progress.after = read.after;
            dump.progress.chunks += 1;
            self.shapes_differed = 0;
            figures.retrying = None;
            self.delays.came_on(dump.number);
        }
        Ok(true)
    }

    /// Whether its writers have to take rows first: those in the log come to `most` bytes or more.
    fn is_held(&mut self, most: usize) -> bool {
        let Some(current) = &mut self.current else { return false };
        let figures = self.told.of(current.number);
        let Some(by) = self.ahead.held_by(&self.board, current.number, current.target.as_deref(), most) else {
            if current.held_since.take().is_some() {
                figures.waits_for = None;
            }
            return false;
        };
        let since = *current.held_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= HELD_TIME {
            self.delays.set_aside(current.number, most);
            if figures.waits_for.replace(by.clone()).as_ref() != Some(&by) {
                self.publish();
            }
        }
        true
    }

    /// A dump is done once its writers have taken its rows, and the stream has come to where nothing more was found to read: it may have told
    /// of a table that got another name meanwhile.
    fn end_if_done(&mut self, stream: &EventReader) -> bool {
        let Some(current) = self.current.as_ref().filter(|_| stream.windows.is_empty()) else { return false };
        let Some(executed) = &current.read else { return false };
        let streamed = stream.streamed();
        if matches!(executed, Watermark::Gtids(_)) && streamed.gtids.is_none() {
            // Transactions without GTIDs have come since. Another reader asks by files.
            self.current = None;
            return false;
        }
        if !executed.is_passed_by(&streamed) || self.is_held(1) {
            return false;
        }
        let Some(current) = self.current.take() else { return false };
        if let Some(dump) = self.book.get_mut(current.number) {
            dump.state = DumpState::Done;
            info!(rows = dump.progress.rows, tables = dump.progress.tables_done, "{dump} is done");
        }
        self.ahead.forget(current.number);
        self.publish();
        self.book.forget_done();
        true
    }
}

fn panicked() -> Failure {
    let message =
        "a defect of this program ended the reading of a dump: resume it with 'mysync dump resume', and report it";
    Failure::definite("PANIC", message)
}
