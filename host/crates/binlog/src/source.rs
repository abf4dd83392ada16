//! MySQL's binlog as the source of capture.
//!
//! **Promise.** From an opened position on every row of the captured tables comes once, in commit order, with the position that covers it.
//! **Resuming.** `open` goes on behind a checkpoint: by GTIDs where the server has them on, otherwise by file and offset on the same server.
//! Inside a transaction it goes on behind the rows that are stored. After any error the stream is gone; open it again.
//! **Errors.** Each opening looks at the server first; what would lose changes is refused with the SQL that mends it. What the connection
//! suffers passes; what cannot be decoded does not.

mod error;
mod events;
mod rows;
mod selection;
mod statement;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use mysync_change::block::BlockBuilder;
use mysync_change::position::{Checkpoint, FilePosition, GtidSet, SourcePosition};
use mysync_pipeline::dump::OrderBook;
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::Source;
use mysync_pipeline::status::Board;
use tracing::{error, info, warn};

use crate::connection::{Connection, ConnectionSettings, EventStream, SourceError, StreamFrom};
use crate::dump::{Dumper, ReaderSettings};
use crate::preflight::{self, Finding, Level};
use crate::server;

pub use error::StreamError;
pub use events::{EventReader, Step, XA_BYTES_MAX};
pub use selection::Selected;

/// A position that moves without rows is worth storing this often.
const BARE_CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// Where to begin when there is no checkpoint.
#[derive(Debug, Clone)]
pub enum StartAt {
    Now,
    File(FilePosition),
    /// Behind these transactions.
    Gtids(GtidSet),
}

/// Which server, what of it, from where on.
#[derive(Debug, Clone)]
pub struct MysqlSettings {
    pub connection: ConnectionSettings,
    pub selected: Selected,
    pub start: StartAt,
    /// Rows that a dump reads at once at most.
    pub chunk_rows_max: u64,
    /// Writers may work in other processes, and nobody here knows how far those have come: dumps do not wait for them.
    pub writers_elsewhere: bool,
}

impl MysqlSettings {
    /// A chunk of small rows takes a fraction of a second to read and to write.
    pub const CHUNK_ROWS_MAX: u64 = 50_000;
}

/// One server's binlog.
pub struct Mysql {
    settings: MysqlSettings,
    stream: Option<Stream>,
    dumper: Dumper,
    /// What the server was last found to be like: told again only when it changes.
    told: Vec<Finding>,
}

struct Stream {
    events: EventStream,
    reader: EventReader,
    /// When a checkpoint was last handed out.
    answered: Instant,
}

impl Mysql {
    /// Dumps are ordered by the book, and go no faster than the board's writers.
    pub fn new(settings: MysqlSettings, orders: OrderBook, board: Arc<Board>) -> Self {
        let reader = ReaderSettings {
            connection: settings.connection.clone(),
            selected: settings.selected.clone(),
            chunk_rows_max: settings.chunk_rows_max,
        };
        let dumper = Dumper::new(reader, orders, board, settings.writers_elsewhere);
        Self { dumper, settings, stream: None, told: Vec::new() }
    }

    async fn start(&mut self, from: Option<&Checkpoint>) -> Result<Checkpoint, StreamError> {
        self.stream = None;
        self.dumper.close();
        let connection = &self.settings.connection;
        self.told = tell(preflight::diagnose(connection, from).await?, &self.told)?;
        let mut session = Connection::connect(connection).await?;
        let server = server::uuid(&mut session).await?;
        let has_gtids = server::has_gtids(&mut session).await?;
        let from = match from {
            Some(from) => same_source(from, &server, has_gtids)?,
            None => self.beginning(&mut session, server).await?,
        };
        let selected = self.settings.selected.clone();
        let reader = EventReader::new(selected, connection.event_bytes_max, &from, has_gtids)
            .map_err(|error| StreamError::Connection(SourceError::Event(error)))?
            .lowering_names(server::lowers_names(&mut session).await?);
        let begin = match &from.position.gtids {
            Some(gtids) if has_gtids => StreamFrom::Gtids(gtids),
            _ => StreamFrom::File(&from.position.file),
        };
        let events = session.stream(begin).await?;
        info!(position = %from.position, "the binlog is being read");
        self.stream = Some(Stream { events, reader, answered: Instant::now() });
        self.dumper.open(from.dumps.clone());
        Ok(from)
    }

    async fn beginning(&self, session: &mut Connection, server: String) -> Result<Checkpoint, StreamError> {
        let position = match &self.settings.start {
            StartAt::Now => server::position(session).await?,
            StartAt::File(file) => SourcePosition { gtids: None, file: file.clone() },
            StartAt::Gtids(gtids) => SourcePosition { gtids: Some(gtids.clone()), file: unnamed() },
        };
        Ok(Checkpoint::new(position, server))
    }
}

/// Where the server begins is for it to find, by GTIDs. Its first event names the file.
fn unnamed() -> FilePosition {
    FilePosition { file: "".into(), offset: 4 }
}

/// Whether a checkpoint means something on this server; what a stream would stop with if not.
pub async fn goes_on(settings: &ConnectionSettings, from: &Checkpoint) -> Result<(), StreamError> {
    let mut session = Connection::connect(settings).await?;
    let server = server::uuid(&mut session).await?;
    let has_gtids = server::has_gtids(&mut session).await?;
    same_source(from, &server, has_gtids).map(drop)
}

/// A checkpoint, if it means something on this server.
fn same_source(from: &Checkpoint, server: &str, has_gtids: bool) -> Result<Checkpoint, StreamError> {
    if from.server == server {
        return Ok(from.clone());
    }
    let (ours, theirs) = (from.server.clone(), server.to_owned());
    if from.position.gtids.is_none() || !has_gtids {
        return Err(StreamError::ServerChanged { ours, theirs });
    }
    if from.rows_of_next > 0 {
        return Err(StreamError::HalfTransaction { rows: from.rows_of_next, ours, theirs });
    }
    warn!(ours, theirs, "another server is being read from here on");
    let position = SourcePosition { file: unnamed(), ..from.position.clone() };
    Ok(Checkpoint { position, server: theirs, ..from.clone() })
}

/// Says what was found, unless it is what was said before, and refuses a server that does not fit.
fn tell(findings: Vec<Finding>, told: &[Finding]) -> Result<Vec<Finding>, StreamError> {
    if findings.iter().map(|finding| (finding.level, finding.code)).ne(told.iter().map(|f| (f.level, f.code))) {
        for Finding { level, code, message, cure } in &findings {
            let cure = cure.as_deref();
            match level {
                Level::Ok => info!(code, "{message}"),
                Level::Warn => warn!(code, cure, "{message}"),
                Level::Fail => error!(code, cure, "{message}"),
            }
        }
    }
    let unfit: Vec<Finding> = findings.iter().filter(|finding| finding.level == Level::Fail).cloned().collect();
    match unfit.first() {
        None => Ok(findings),
        Some(first) => Err(StreamError::Unfit { code: first.code, findings: unfit }),
    }
}

impl Source for Mysql {
    async fn open(&mut self, from: Option<&Checkpoint>) -> Result<Checkpoint, Failure> {
        Ok(self.start(from).await?)
    }

    async fn fill(&mut self, block: &mut BlockBuilder) -> Result<Checkpoint, Failure> {
        self.dumper.stored();
        let filled = match &mut self.stream {
            Some(stream) => stream.fill(block, &mut self.dumper).await,
            None => Err(StreamError::NotOpen),
        };
        if filled.is_err() {
            self.stream = None;
            self.dumper.close();
        }
        Ok(filled?)
    }
}

impl Stream {
    async fn fill(&mut self, block: &mut BlockBuilder, dumper: &mut Dumper) -> Result<Checkpoint, StreamError> {
        loop {
            let step = self.drain(block)?;
            if step == Step::Full {
                return Ok(self.answer(dumper));
            }
            // What has come is used up. A transaction comes as a whole, so inside of one the rest is on its way.
            if !self.reader.is_inside() {
                // A dump has rows at any time: the stream must not have to wait until it has none.
                let looks = !block.is_empty() || dumper.is_active();
                if looks && !block.is_full() && self.more_at_once().await? {
                    continue;
                }
                let turned = dumper.turn(&mut self.reader, block)?;
                if turned
                    || !block.is_empty()
                    || step == Step::Alive
                    || self.answered.elapsed() >= BARE_CHECKPOINT_EVERY
                {
                    return Ok(self.answer(dumper));
                }
            }
            if self.reader.is_inside() {
                self.events.fill().await?;
            } else {
                tokio::select! {
                    biased;
                    filled = self.events.fill() => filled?,
                    () = dumper.woken() => {}
                }
            }
        }
    }

    /// Takes the events that are at hand, until the block is full.
    fn drain(&mut self, block: &mut BlockBuilder) -> Result<Step, StreamError> {
        let mut last = Step::Taken;
        while self.reader.is_full() {
            if self.reader.go_on(block)? == Step::Full {
                return Ok(Step::Full);
            }
        }
        while let Some(event) = self.events.next_event()? {
            match self.reader.take(&event, block)? {
                Step::Full => return Ok(Step::Full),
                Step::Alive => last = Step::Alive,
                Step::Taken => {}
            }
            if block.is_full() && !self.reader.is_inside() {
                break;
            }
        }
        Ok(last)
    }

    /// Whether more bytes have come in the meantime, without waiting for any: larger blocks are cheaper.
    async fn more_at_once(&mut self) -> Result<bool, StreamError> {
        let mut fill = pin!(self.events.fill());
        let come = poll_fn(|context| match fill.as_mut().poll(context) {
            Poll::Ready(filled) => Poll::Ready(filled.map(|()| true)),
            Poll::Pending => Poll::Ready(Ok(false)),
        });
        Ok(come.await?)
    }

    fn answer(&mut self, dumper: &mut Dumper) -> Checkpoint {
        self.answered = Instant::now();
        Checkpoint { dumps: dumper.dumps(&mut self.reader.windows), ..self.reader.checkpoint() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_takes_over_is_not_asked_for_files_of_the_former() {
        let gtids = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".parse().unwrap();
        let position = SourcePosition { gtids: Some(gtids), file: "binlog.000050:900".parse().unwrap() };
        let from = Checkpoint::new(position, "former".to_owned());
        assert_eq!(same_source(&from, "former", true).unwrap(), from);
        let on_another = same_source(&from, "another", true).unwrap();
        assert_eq!((&*on_another.server, &on_another.position.gtids), ("another", &from.position.gtids));
        // An idle server names no place of its own before the next checkpoint is stored.
        assert_eq!(on_another.position.file, unnamed());
    }
}
