//! Records as the log keeps them.
//!
//! ```text
//! envelope := length:u32  version:u8  header  body          length counts what follows it
//! header   := bincode 2, standard configuration, of `Header`
//! body     := row*        for changes: rows of one source transaction and one shape (see `rows`); for a dump: rows of one chunk
//!           | JSON        for a schema: the `TableShape`; for a table event: the `TableEvent`
//! ```
//! All integers outside the header are little-endian. A reader refuses versions and kinds it does not know.

use std::fmt::{self, Write as _};

use bincode::{BorrowDecode, Encode};
use serde::{Deserialize, Serialize};

use crate::position::{Gtid, GtidSource, TransactionId, write_server};
use crate::schema::{Fingerprint, TableShape};

/// The version this program writes, and the newest it reads.
pub const VERSION: u8 = 1;

/// Which log a record belongs to: random, made with the log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LogId(pub [u8; 16]);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for LogId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match u128::from_str_radix(text, 16) {
            Ok(id) if text.len() == 32 => Ok(Self(id.to_be_bytes())),
            _ => Err(format!("'{text}' is not a log id of 32 hexadecimal digits")),
        }
    }
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub enum Kind {
    Change,
    Schema,
    TableEvent,
    Heartbeat,
    DumpChunk,
}

/// What stands for the file in the id of a dump's chunk: a dump has no transactions. No binlog file has a slash in its name.
pub const DUMP: &str = "dump/";

/// The id of a dump's chunk, told apart from those of transactions by its text.
pub fn chunk_id(dump: u64, chunk: u64) -> TransactionId {
    TransactionId { gtid: None, file: format!("{DUMP}{dump}").into(), offset: chunk }
}

/// A transaction's id as it stands in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct TransactionRef<'a> {
    /// UUID, tag, number.
    pub gtid: Option<([u8; 16], &'a str, u64)>,
    pub file: &'a str,
    pub offset: u64,
}

impl<'a> TransactionRef<'a> {
    pub fn new(id: &'a TransactionId) -> Self {
        let gtid = id.gtid.as_ref().map(|gtid| (gtid.source.uuid, &*gtid.source.tag, gtid.number));
        Self { gtid, file: &id.file, offset: id.offset }
    }

    pub fn to_id(self) -> TransactionId {
        let gtid = self.gtid.map(|(uuid, tag, number)| Gtid { source: GtidSource { uuid, tag: tag.into() }, number });
        TransactionId { gtid, file: self.file.into(), offset: self.offset }
    }

    /// Whether `text` is what [`TransactionId`] is spelled like.
    pub fn is_named(&self, text: &str) -> bool {
        let mut rest = Rest(text);
        write!(rest, "{self}").is_ok() && rest.0.is_empty()
    }
}

/// As the [`TransactionId`] it stands for.
impl fmt::Display for TransactionRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.gtid {
            Some((uuid, tag, number)) => {
                write_server(f, &uuid, tag)?;
                write!(f, ":{number}")
            }
            None => write!(f, "{}:{}", self.file, self.offset),
        }
    }
}

/// What is left of a text behind what was written.
struct Rest<'a>(&'a str);

impl fmt::Write for Rest<'_> {
    fn write_str(&mut self, written: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(written).ok_or(fmt::Error)?;
        Ok(())
    }
}

/// What all rows of an envelope share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Header<'a> {
    pub kind: Kind,
    pub log_id: [u8; 16],
    /// Sequence number of the first record in the body.
    pub first_seq: u64,
    /// Sequence number of the record before it in its partition; 0: there is none.
    pub prev: u64,
    pub transaction: TransactionRef<'a>,
    /// When the source committed it: microseconds since 1970 in UTC.
    pub committed_us: u64,
    /// Place of the first row in its transaction, counted from 0 before any filter.
    pub first_row: u64,
    pub shape: [u8; 16],
    /// Only this writer takes the record; none: every writer.
    pub target: Option<&'a str>,
}

/// Something that happened to a whole table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableEvent {
    pub database: String,
    pub table: String,
    /// `truncate`, `drop` or `rename`; or `end`, of no table: a transaction is over whose last rows are not captured.
    pub what: String,
    pub statement: String,
}

/// Bytes that are no record this program can read.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    #[error(
        "a record is damaged at byte {at}: {what}. Bring the log's directory back from a backup, or move it away: a new log begins where \
         source.start says, and 'mysync writer rebase' lets each writer go on with it"
    )]
    Damaged { at: usize, what: String },
    #[error(
        "a record has version {found}, this program reads up to {VERSION}: use the release that wrote it, or a newer one"
    )]
    Version { found: u8 },
}

impl EnvelopeError {
    pub fn code(&self) -> &'static str {
        match self {
            EnvelopeError::Damaged { .. } => "RECORD_DAMAGED",
            EnvelopeError::Version { .. } => "RECORD_VERSION",
        }
    }

    pub(crate) fn damaged(at: usize, what: impl Into<String>) -> Self {
        EnvelopeError::Damaged { at, what: what.into() }
    }
}

/// One envelope, its body not looked at.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    pub header: Header<'a>,
    pub body: &'a [u8],
}

const CONFIG: bincode::config::Configuration = bincode::config::standard();

/// Appends an envelope's length (to be set by [`close`]), version and header.
pub fn open(out: &mut Vec<u8>, header: &Header<'_>) -> Result<(), EnvelopeError> {
    out.extend_from_slice(&[0, 0, 0, 0, VERSION]);
    bincode::encode_into_std_write(header, out, CONFIG)
        .map(|_| ())
        .map_err(|error| EnvelopeError::damaged(out.len(), error.to_string()))
}

/// Sets the length of the envelope that was opened at `start` and ends where `out` ends.
pub fn close(out: &mut [u8], start: usize) {
    let len = (out.len() - start - 4) as u32;
    if let Some(field) = out.get_mut(start..start + 4) {
        field.copy_from_slice(&len.to_le_bytes());
    }
}

/// Reads the envelope at `at`, and where the next one begins; `None` at the end of `bytes`.
pub fn read(bytes: &[u8], at: usize) -> Result<Option<(Envelope<'_>, usize)>, EnvelopeError> {
    let rest = bytes.get(at..).unwrap_or_default();
    if rest.is_empty() {
        return Ok(None);
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(|| EnvelopeError::damaged(at, "it has no length"))?;
    let length = u32::from_le_bytes(*length) as usize;
    let content = rest.get(..length).ok_or_else(|| EnvelopeError::damaged(at, "it is longer than its block"))?;
    let (&version, content) = content.split_first().ok_or_else(|| EnvelopeError::damaged(at, "it is empty"))?;
    if version != VERSION {
        return Err(EnvelopeError::Version { found: version });
    }
    let (header, used) = bincode::borrow_decode_from_slice::<Header<'_>, _>(content, CONFIG)
        .map_err(|error| EnvelopeError::damaged(at, format!("its header cannot be read: {error}")))?;
    Ok(Some((Envelope { header, body: &content[used..] }, at + 4 + length)))
}

/// A schema record: the shape is what it says, whoever wrote it.
pub fn write_schema(log_id: LogId, shape: &TableShape) -> Result<Vec<u8>, EnvelopeError> {
    let header = Header {
        kind: Kind::Schema,
        log_id: log_id.0,
        first_seq: 0,
        prev: 0,
        transaction: TransactionRef { gtid: None, file: "", offset: 0 },
        committed_us: 0,
        first_row: 0,
        shape: shape.fingerprint().0,
        target: None,
    };
    let mut out = Vec::new();
    open(&mut out, &header)?;
    serde_json::to_writer(&mut out, shape).map_err(|error| EnvelopeError::damaged(0, error.to_string()))?;
    close(&mut out, 0);
    Ok(out)
}

/// Reads a schema record and checks that it is the shape that its fingerprint names.
pub fn read_schema(bytes: &[u8]) -> Result<(Fingerprint, TableShape), EnvelopeError> {
    let (envelope, _) = read(bytes, 0)?.ok_or_else(|| EnvelopeError::damaged(0, "it is empty"))?;
    if envelope.header.kind != Kind::Schema {
        return Err(EnvelopeError::damaged(0, "it is no schema record"));
    }
    let shape: TableShape =
        serde_json::from_slice(envelope.body).map_err(|error| EnvelopeError::damaged(0, error.to_string()))?;
    let fingerprint = Fingerprint(envelope.header.shape);
    if shape.fingerprint() != fingerprint {
        return Err(EnvelopeError::damaged(0, "the shape is not the one that its fingerprint names"));
    }
    Ok((fingerprint, shape))
}
