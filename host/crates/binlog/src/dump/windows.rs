//! Windows: what the stream brings of a table while a chunk of it is on its way.
//!
//! **Promise.** A window is opened where a transaction ends, at the position S. From there on until its chunk has been written, every key that
//! the stream brings of the table is left out of the chunk, because the stream's own change of it is newer, or as new.
//! **Bounds.** Until its chunk has come a window remembers keys; a window with too many is given up, and the chunk read again.

use std::collections::VecDeque;

use mysync_change::schema::Fingerprint;

use super::keys;
use super::reader::ReadChunk;

/// Keys that a window remembers before its chunk has come. A SELECT of a chunk takes a fraction of a second: even a stream at full speed
/// brings less.
const KEYS_BYTES_MAX: usize = 16 << 20;

/// The windows that are open, the oldest first.
#[derive(Debug, Default)]
pub struct Windows {
    open: VecDeque<Window>,
    /// A table has another name than before: the order of names is no longer that of what was read.
    renamed: bool,
    key: Vec<u8>,
}

/// One chunk's window.
#[derive(Debug)]
pub struct Window {
    database: String,
    table: String,
    /// Keys that came before the chunk, written as the parts of one.
    keys: Vec<u8>,
    /// The shape of the rows that came.
    streamed: Option<Fingerprint>,
    /// Whether the rows event at hand is of this table.
    concerned: bool,
    spoiled: Option<Spoiled>,
    pub chunk: Option<ReadChunk>,
    /// The chunk's first row that has not been written.
    pub next: usize,
}

/// Why a chunk has to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoiled {
    /// A statement named the table, or may have.
    Altered,
    /// More keys came than can be remembered.
    Crowded,
    /// The stream describes the table in another way than the chunk.
    Shape,
}

impl Spoiled {
    pub fn reason(self) -> &'static str {
        match self {
            Self::Altered => "a statement changed its table meanwhile, or may have",
            Self::Crowded => "too many of its table's rows were changed meanwhile",
            Self::Shape => "the binlog describes its table in another way",
        }
    }
}

impl Windows {
    pub fn len(&self) -> usize {
        self.open.len()
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub fn open(&mut self, database: &str, table: &str) {
        self.open.push_back(Window {
            database: database.to_owned(),
            table: table.to_owned(),
            keys: Vec::new(),
            streamed: None,
            concerned: false,
            spoiled: None,
            chunk: None,
            next: 0,
        });
    }

    /// Gives up every window.
    pub fn clear(&mut self) {
        self.open.clear();
    }

    /// Whether a table was renamed since this was last asked.
    pub fn take_renamed(&mut self) -> bool {
        std::mem::take(&mut self.renamed)
    }

    /// Why chunks have to be read again, and of which table.
    pub fn spoiled(&self) -> Option<(Spoiled, String)> {
        let window = self.open.iter().find(|window| window.spoiled.is_some())?;
        window.spoiled.map(|spoiled| (spoiled, format!("{}.{}", window.database, window.table)))
    }

    /// The chunk of the oldest window that has none.
    pub fn attach(&mut self, mut read: ReadChunk) {
        let Some(window) = self.open.iter_mut().find(|window| window.chunk.is_none()) else { return };
        if window.streamed.is_some_and(|streamed| streamed != read.table.fingerprint()) {
            window.spoiled.get_or_insert(Spoiled::Shape);
        }
        keys::parts(&window.keys).for_each(|key| read.chunk.leave_out(key));
        window.keys = Vec::new();
        window.chunk = Some(read);
    }

    /// The oldest window, if its chunk has come.
    pub fn front(&mut self) -> Option<&mut Window> {
        self.open.front_mut().filter(|window| window.chunk.is_some())
    }

    /// The oldest window's chunk is written.
    pub fn close_front(&mut self) -> Option<ReadChunk> {
        self.open.pop_front()?.chunk
    }

    /// Rows of a table are coming: whether their keys are to be noted.
    pub fn watch(&mut self, database: &str, table: &str, fingerprint: Fingerprint) -> bool {
        let mut any = false;
        for window in &mut self.open {
            window.concerned = window.database == database && window.table == table;
            if window.concerned {
                any = true;
                window.see(fingerprint);
            }
        }
        any
    }

    /// A key of the table that is being watched.
    pub fn note<'k>(&mut self, parts: impl Iterator<Item = &'k [u8]>) {
        self.key.clear();
        keys::write(parts, &mut self.key);
        for window in self.open.iter_mut().filter(|window| window.concerned) {
            window.note(&self.key);
        }
    }

    /// A statement that changes tables was read, or one whose meaning is not known.
    pub fn note_statement(&mut self, database: &str, text: &str, renames: bool) {
        self.renamed |= renames;
        let text = text.to_ascii_lowercase();
        for window in &mut self.open {
            let named = |name: &str| text.contains(&name.to_ascii_lowercase());
            // Quoting doubles quotes, so such names are not found in a text.
            let is_plain = !window.table.contains(['`', '"']) && window.table.is_ascii();
            // A statement that names the session's own database may well be about another table of it, unless it is about all of it.
            let is_of_databases = text.contains("database") || text.contains("schema");
            let is_elsewhere = !database.eq_ignore_ascii_case(&window.database);
            if !is_plain || named(&window.table) || named(&window.database) && (is_elsewhere || is_of_databases) {
                window.spoiled.get_or_insert(Spoiled::Altered);
            }
        }
    }

    /// What was streamed cannot be compared with what the server has executed.
    pub fn spoil(&mut self) {
        self.open.iter_mut().for_each(|window| _ = window.spoiled.get_or_insert(Spoiled::Altered));
    }
}

impl Window {
    fn see(&mut self, fingerprint: Fingerprint) {
        let known = self.chunk.as_ref().map(|read| read.table.fingerprint());
        if known.or(self.streamed).is_some_and(|known| known != fingerprint) {
            self.spoiled.get_or_insert(Spoiled::Shape);
        }
        self.streamed = Some(fingerprint);
    }

    fn note(&mut self, key: &[u8]) {
        match &mut self.chunk {
            Some(read) => read.chunk.leave_out(key),
            None if self.keys.len() + key.len() > KEYS_BYTES_MAX => self.spoiled = Some(Spoiled::Crowded),
            None => {
                keys::write(std::iter::once(key), &mut self.keys);
            }
        }
    }
}
