//! The reader: a connection of its own that reads one table after the other in chunks, while the stream goes on.
//!
//! **Promise.** For each chunk a window is open in the stream before the SELECT begins, and the SELECT begins once the server has executed
//! everything that was streamed by then; behind the SELECT it is asked how far it has executed. A chunk's rows all have the shape that the
//! table had before and after.
//! **Resuming.** It knows nothing that is not in the dump's progress: after any error a new reader goes on from there.

use std::sync::Arc;
use std::time::Duration;

use mysync_change::dump::{After, Dump};
use mysync_change::pattern::Pattern;
use mysync_change::position::SourcePosition;
use mysync_pipeline::failure::Failure;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::warn;

use super::chunk::Chunk;
use super::error::DumpError;
use super::select::{Found, Limits, select};
use super::table::{DumpTable, TableName, prepare, tables};
use super::watermark::{Watermark, executed, wait_until_executed};
use crate::connection::{Connection, ConnectionSettings, SourceError};
use crate::server;
use crate::source::Selected;

/// Messages that wait: one chunk is written while the next one is read.
const MESSAGES_MAX: usize = 2;
/// The first chunk of a table: nothing is known of the size of its rows.
const FIRST_ROWS: u64 = 1_000;
/// Chunks grow by no more than this from one to the next: rows may become larger.
const GROWTH: u64 = 4;
/// What a chunk should come to. While it is read nobody can alter its table, and whoever tries keeps others waiting: some milliseconds. Its cost
/// beside the rows is a few round trips and a look at the table's definition.
const CHUNK_BYTES: u64 = 2 << 20;
/// What a chunk may come to where rows suddenly become larger.
const CHUNK_BYTES_MAX: usize = 64 << 20;
/// What a table may come to that cannot be read in parts.
const WHOLE_BYTES_MAX: usize = 256 << 20;
/// How long the server is waited for before it is said.
const EXECUTED_TIME: Duration = Duration::from_secs(5);
/// A table that is altered again and again while a chunk of it is read.
const TRIES: u32 = 10;
/// A slow dump reads this often, in chunks that are small accordingly.
const PACE: Duration = Duration::from_millis(200);

/// What the reader tells.
#[derive(Debug)]
pub enum Message {
    /// All tables that are left and their rows, as the server estimates them.
    Tables { tables: u64, rows: u64 },
    /// A window is wanted; answered with the position of the stream where it was opened.
    Open { table: TableName, answer: oneshot::Sender<SourcePosition> },
    /// The chunk of the oldest window that has none.
    Chunk(ReadChunk),
    /// What it waits for; none: it goes on.
    Waits(Option<String>),
    /// Every table has been read, of those that there were by then.
    End(Watermark),
    /// It cannot go on.
    Failed(Failure),
}

/// A chunk with everything that is needed to write it.
#[derive(Debug)]
pub struct ReadChunk {
    pub name: String,
    pub table: Arc<DumpTable>,
    pub chunk: Chunk,
    /// Once the stream has passed this, the chunk is not ahead of it.
    pub executed: Watermark,
    /// What comes next in this table; none: nothing.
    pub after: Option<After>,
}

/// What is read, and how.
#[derive(Debug, Clone)]
pub struct ReaderSettings {
    pub connection: ConnectionSettings,
    pub selected: Selected,
    pub chunk_rows_max: u64,
}

/// A reader at work; it ends when this is dropped.
#[derive(Debug)]
pub struct Reader {
    pub messages: mpsc::Receiver<Message>,
    task: JoinHandle<()>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Reader {
    /// `server`: the UUID of the server that the stream comes from; `with_gtids`: whether the stream's position is a set of GTIDs.
    pub fn start(settings: ReaderSettings, dump: Dump, server: String, with_gtids: bool) -> Self {
        let (sender, messages) = mpsc::channel(MESSAGES_MAX);
        let task = tokio::spawn(async move {
            let last = match (Reading { settings, dump, server, with_gtids, messages: sender.clone() }).run().await {
                Ok(executed) => Message::End(executed),
                Err(Ended::Failed(error)) => Message::Failed(error.into()),
                Err(Ended::Unheard) => return,
            };
            let _ = sender.send(last).await;
        });
        Self { messages, task }
    }
}

/// Why a reader ends before its time.
enum Ended {
    Failed(DumpError),
    /// Nobody wants to know any more.
    Unheard,
}

impl<E: Into<DumpError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

struct Reading {
    settings: ReaderSettings,
    dump: Dump,
    server: String,
    with_gtids: bool,
    messages: mpsc::Sender<Message>,
}

impl Reading {
    async fn run(&self) -> Result<Watermark, Ended> {
        let mut session = Session::open(&self.settings, &self.server).await?;
        let patterns: Vec<Pattern> = self.dump.tables.iter().map(|text| Pattern::new(text)).collect();
        let mut left = tables(&mut session.connection, &self.settings.selected, &patterns).await?;
        if server::lowers_names(&mut session.connection).await? {
            // As the binlog names them.
            left.iter_mut().for_each(|(name, _)| *name = name.lowered());
        }
        if !sees_every_table(&mut session.connection).await? {
            warn!(
                code = "DUMP_GRANTS",
                "the account may not SELECT from every table: one that it may not even see is not part of {}. Grant SELECT on all captured \
                 tables; if that is so, nothing is missing",
                self.dump
            );
        }
        let progress = &self.dump.progress;
        left.retain(|(name, _)| {
            let name = name.to_string();
            name > progress.table || (name == progress.table && progress.after.is_some())
        });
        let rows = left.iter().map(|(_, rows)| rows).sum();
        self.tell(Message::Tables { tables: left.len() as u64, rows }).await?;
        let mut pace = Pace { rows_per_second: self.dump.rows_per_second, next: Instant::now() };
        for (name, _) in left {
            let after = progress.after.clone().filter(|_| name.to_string() == progress.table);
            self.read_table(&mut session, &name, after, &mut pace).await?;
        }
        // A table that was renamed may be found by none of both names: once the stream has come here, it has told of that.
        let with_gtids = session.has_gtids && self.with_gtids;
        match executed(&mut session.connection, with_gtids).await {
            Err(error) => Err(session.explain(error).await.into()),
            Ok(executed) => Ok(executed),
        }
    }

    async fn tell(&self, message: Message) -> Result<(), Ended> {
        self.messages.send(message).await.map_err(|_| Ended::Unheard)
    }

    async fn read_table(
        &self,
        session: &mut Session,
        name: &TableName,
        mut after: Option<After>,
        pace: &mut Pace,
    ) -> Result<(), Ended> {
        let mut rows = FIRST_ROWS;
        if session.table(name, &self.settings.selected).await?.is_some_and(|table| !table.has_parts()) {
            warn!(
                code = "DUMP_ONE_CHUNK",
                table = name.to_string(),
                "the table has no primary key of whole columns: {} reads all of it at once, and holds it in memory",
                self.dump
            );
        }
        loop {
            pace.wait().await;
            let rows_max = self.settings.chunk_rows_max.min(pace.rows_max());
            let asked = rows.min(rows_max).max(1);
            let Some((read, size)) = self.read_chunk(session, name, after.as_ref(), asked).await? else {
                return Ok(());
            };
            pace.took(size.rows);
            rows = size.next_rows(asked);
            after.clone_from(&read.after);
            self.tell(Message::Chunk(read)).await?;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// None: there is no such table any more.
    async fn read_chunk(
        &self,
        session: &mut Session,
        name: &TableName,
        after: Option<&After>,
        mut rows: u64,
    ) -> Result<Option<(ReadChunk, Size)>, Ended> {
        let Some(mut table) = session.table(name, &self.settings.selected).await? else { return Ok(None) };
        let (answer, opened) = oneshot::channel();
        self.tell(Message::Open { table: name.clone(), answer }).await?;
        let streamed = opened.await.map_err(|_| Ended::Unheard)?;
        let with_gtids = session.has_gtids && streamed.gtids.is_some();
        let streamed = SourcePosition { gtids: streamed.gtids.filter(|_| with_gtids), ..streamed };
        self.catch_up(session, &streamed).await?;
        for _ in 0..TRIES {
            // Values of another key mean nothing to this one: the table is then read from its beginning.
            let behind = after.filter(|after| after.key == table.key()).map(|after| after.values.as_slice());
            let has_parts = table.has_parts();
            let limits = match has_parts {
                true => Limits { rows, bytes: CHUNK_BYTES_MAX },
                false => Limits { rows: u64::MAX, bytes: WHOLE_BYTES_MAX },
            };
            let found = match select(&mut session.connection, &table, behind, &limits).await {
                Ok(found) => Some(found),
                Err(DumpError::Altered { .. }) => None,
                Err(DumpError::ChunkTooLarge { .. }) if !has_parts => {
                    return Err(DumpError::TableTooLarge { table: name.to_string(), bytes: WHOLE_BYTES_MAX }.into());
                }
                Err(DumpError::ChunkTooLarge { .. }) if rows > 1 => {
                    rows = (rows / (GROWTH * GROWTH)).max(1);
                    *session = Session::open(&self.settings, &self.server).await?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let executed = match executed(&mut session.connection, with_gtids).await {
                Err(error) => return Err(session.explain(error).await.into()),
                Ok(executed) => executed,
            };
            session.known = None;
            let Some(now) = session.table(name, &self.settings.selected).await? else { break };
            let is_same = now.fingerprint() == table.fingerprint() && now.key() == table.key();
            let former = std::mem::replace(&mut table, now);
            let Some(Found { chunk, last, rows: count }) = found.filter(|_| is_same) else { continue };
            let size = Size { rows: count, bytes: chunk.bytes() as u64 };
            let after =
                last.filter(|_| count >= limits.rows).map(|values| After { key: former.key().to_owned(), values });
            return Ok(Some((ReadChunk { name: name.to_string(), table: former, chunk, executed, after }, size)));
        }
        // Its statements are in the stream, too: with them the window is given up.
        Err(DumpError::Altered { table: name.to_string() }.into())
    }

    /// Waits until the server has executed everything that was streamed: it sends what it is about to commit.
    async fn catch_up(&self, session: &mut Session, streamed: &SourcePosition) -> Result<(), Ended> {
        let mut said = false;
        loop {
            match wait_until_executed(&mut session.connection, streamed, EXECUTED_TIME).await {
                Err(error) => return Err(session.explain(error).await.into()),
                Ok(true) => break,
                Ok(false) => said = true,
            }
            let what =
                "the server to finish commits that it has already sent, such as one that waits for a replica's answer";
            self.tell(Message::Waits(Some(what.to_owned()))).await?;
        }
        if said { self.tell(Message::Waits(None)).await } else { Ok(()) }
    }
}

/// A server shows an account those tables only on which it has a privilege.
async fn sees_every_table(connection: &mut Connection) -> Result<bool, SourceError> {
    let grants = connection.query("SHOW GRANTS").await?;
    let is_of_all = |grant: &str| {
        let privileges = grant.split_once(" ON *.* TO ").map_or("", |(privileges, _)| privileges);
        privileges.split([',', ' ']).any(|word| word == "SELECT" || word == "ALL")
    };
    // Something can be taken back from what was granted on everything.
    Ok(grants.firsts().any(is_of_all) && !grants.firsts().any(|grant| grant.starts_with("REVOKE")))
}

/// A chunk's size.
struct Size {
    rows: u64,
    bytes: u64,
}

impl Size {
    /// How many rows of this kind make a chunk, not many more than before.
    fn next_rows(&self, before: u64) -> u64 {
        let wanted = CHUNK_BYTES * self.rows.max(1) / self.bytes.max(1);
        wanted.clamp(1, before.saturating_mul(GROWTH))
    }
}

/// The reader's connection.
struct Session {
    connection: Connection,
    has_gtids: bool,
    /// A table as it was behind the last SELECT: so it is before the next one, or the one behind that tells.
    known: Option<(TableName, Arc<DumpTable>)>,
}

impl Session {
    async fn open(settings: &ReaderSettings, server: &str) -> Result<Self, DumpError> {
        let mut connection = Connection::connect(&settings.connection).await?;
        // What one server has executed says nothing about the stream of another.
        let theirs = server::uuid(&mut connection).await?;
        if theirs != server {
            return Err(DumpError::OtherServer { ours: server.to_owned(), theirs });
        }
        prepare(&mut connection).await?;
        let has_gtids = server::has_gtids(&mut connection).await?;
        Ok(Self { connection, has_gtids, known: None })
    }

    /// What is to be done about an error of asking what the server has executed.
    async fn explain(&mut self, error: SourceError) -> DumpError {
        match server::account(&mut self.connection).await {
            Ok(account) if error.is_privilege() || DumpError::is_denied(&error) => DumpError::Privilege { account },
            _ => error.into(),
        }
    }

    async fn table(&mut self, name: &TableName, selected: &Selected) -> Result<Option<Arc<DumpTable>>, DumpError> {
        if let Some((_, table)) = self.known.as_ref().filter(|(known, _)| known == name) {
            return Ok(Some(table.clone()));
        }
        let read = DumpTable::read(&mut self.connection, &name.database, &name.table, selected).await?.map(Arc::new);
        self.known = read.clone().map(|table| (name.clone(), table));
        Ok(read)
    }
}

/// Keeps to a rate.
struct Pace {
    rows_per_second: Option<u64>,
    /// Not before.
    next: Instant,
}

impl Pace {
    async fn wait(&self) {
        tokio::time::sleep_until(self.next).await;
    }

    /// A chunk that is larger would be read at once and then be followed by a long pause.
    fn rows_max(&self) -> u64 {
        self.rows_per_second.map_or(u64::MAX, |rate| (rate as f64 * PACE.as_secs_f64()) as u64)
    }

    fn took(&mut self, rows: u64) {
        if let Some(rate) = self.rows_per_second {
            self.next = self.next.max(Instant::now()) + Duration::from_secs_f64(rows as f64 / rate.max(1) as f64);
        }
    }
}
