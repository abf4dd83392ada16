//! The log's file: an SQLite database in WAL mode.
//!
//! ```text
//! log(id, partitions, created_us)                        one row
//! leader(start)                                          the first number that each leader might give
//! checkpoint(version, checkpoint, last_seq)              one row once there is one: JSON of the `Checkpoint`, and the last record it covers
//! dumps(version, dumps)                                  one row once there is a dump: JSON of the `Dumps`, which belong to the checkpoint
//! shape(ordinal, fingerprint, record)                    schema records, in the order in which they were announced
//! consumer(name, partition)                              writers that have written to their store
//! block_N(last_seq, first_seq, prev_seq, committed_us, stored_us, crc, records)
//!                                                        partition N: envelopes end to end, with the CRC32 of all of them
//! ```
//! A table for each partition, ordered by sequence number, so that an append changes one page of it. `PRAGMA user_version` is the format.

use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mysync_change::envelope::LogId;
use rusqlite::config::DbConfig;
use rusqlite::types::FromSqlError;
use rusqlite::{Connection, ErrorCode, OpenFlags, Params, Row, TransactionBehavior, ffi};

use crate::error::LogError;

pub const NAME: &str = "log.sqlite";
/// The format that this program writes and reads.
const FORMAT: i64 = 3;
/// Marks the file as a log of MySync: "MySy".
const APPLICATION: i64 = 0x4d79_5379;
/// A small commit writes two pages, a large block many: twice the page costs the former a quarter more and spares the latter a tenth.
pub const PAGE_BYTES: u64 = 8192;
/// Large, so that appends seldom wait while the WAL is moved; small beside a log.
pub const WAL_BYTES_MAX: u64 = 64 << 20;
/// Another program that looks into the file holds its locks for moments only.
const BUSY: Duration = Duration::from_millis(200);
/// The largest value that SQLite keeps, less the row's other columns.
pub const BLOCK_BYTES_MAX: usize = 999_999_000;

/// What never changes in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub id: LogId,
    pub partitions: u32,
}

/// A connection to the file, with the file's name for errors.
#[derive(Debug)]
pub struct Database {
    pub connection: Connection,
    path: PathBuf,
}

impl Database {
    /// For writing. Makes the file if there is none.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE, |connection| {
            // The keeper moves the WAL into the file, away from the way of the records.
            connection.pragma_update(None, "wal_autocheckpoint", 0)?;
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            // One that had to grow is cut back when it begins anew.
            connection.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX as i64)?;
            // A block's pages stay in memory until it is committed.
            connection.pragma_update(None, "cache_size", -(16 << 10))
        })
    }

    /// For reading.
    pub fn open_read_only(path: &Path) -> Result<Self, LogError> {
        Self::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, |_| Ok(()))
    }

    fn connect(
        path: &Path,
        flags: OpenFlags,
        prepare: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<Self, LogError> {
        let connect = || {
            let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            connection.busy_timeout(BUSY)?;
            // The WAL stays when everybody is gone, so that who only reads need not make one.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            prepare(&connection)?;
            Ok(connection)
        };
        let connection = connect().map_err(|error| explain(path, &error))?;
        Ok(Self { connection, path: path.to_owned() })
    }

    pub fn explain(&self, error: &rusqlite::Error) -> LogError {
        explain(&self.path, error)
    }

    pub fn damaged(&self, reason: String) -> LogError {
        LogError::Damaged { path: self.path.clone(), reason }
    }

    /// Who the log is; none: the file is new.
    pub fn identity(&self) -> Result<Option<Identity>, LogError> {
        let read = || {
            let connection = &self.connection;
            let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
            Ok((number("application_id")?, number("user_version")?, tables))
        };
        match read().map_err(|error| self.explain(&error))? {
            (0, 0, 0) => return Ok(None),
            (APPLICATION, FORMAT, _) => {}
            (APPLICATION, found, _) => {
                return Err(LogError::Version { path: self.path.clone(), found, known: FORMAT });
            }
            _ => return Err(LogError::Foreign { path: self.path.clone() }),
        }
        let read = self.connection.query_row("SELECT id, partitions FROM log", [], |row| {
            Ok(Identity { id: LogId(row.get(0)?), partitions: row.get(1)? })
        });
        read.map(Some).map_err(|error| self.explain(&error))
    }

    /// Makes the log, all of it or nothing.
    pub fn create(&mut self, partitions: u32, now_us: u64) -> Result<(), LogError> {
        let path = self.path.clone();
        let connection = &mut self.connection;
        let mut create = || {
            connection.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
            let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
            if mode != "wal" {
                return Ok(false);
            }
            connection.pragma_update(None, "synchronous", "FULL")?;
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(
                "CREATE TABLE log (id BLOB NOT NULL, partitions INTEGER NOT NULL, created_us INTEGER NOT NULL);
                 CREATE TABLE leader (start INTEGER PRIMARY KEY);
                 CREATE TABLE checkpoint (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), version INTEGER NOT NULL, checkpoint TEXT NOT NULL, last_seq INTEGER NOT NULL);
                 CREATE TABLE dumps (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), version INTEGER NOT NULL, dumps TEXT NOT NULL);
                 CREATE TABLE shape (ordinal INTEGER PRIMARY KEY, fingerprint BLOB NOT NULL UNIQUE, record BLOB NOT NULL);
                 CREATE TABLE consumer (name TEXT NOT NULL, partition INTEGER NOT NULL, PRIMARY KEY (name, partition)) WITHOUT ROWID;",
            )?;
            for partition in 0..partitions {
                transaction.execute_batch(&format!(
                    "CREATE TABLE block_{partition} (last_seq INTEGER PRIMARY KEY, first_seq INTEGER NOT NULL, prev_seq INTEGER NOT NULL, \
                     committed_us INTEGER NOT NULL, stored_us INTEGER NOT NULL, crc INTEGER NOT NULL, records BLOB NOT NULL)"
                ))?;
            }
            let made = "INSERT INTO log VALUES (randomblob(16), ?1, ?2)";
            transaction.execute(made, (partitions, signed(now_us)))?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", FORMAT)?;
            transaction.commit()?;
            // Out of the WAL: whatever becomes of that, the log is the same one.
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            Ok(true)
        };
        match create() {
            Ok(true) => Ok(()),
            Ok(false) => Err(LogError::Directory {
                path,
                reason: "its file system cannot share memory between processes; a local disk can".to_owned(),
            }),
            Err(error) => Err(explain(&path, &error)),
        }
    }

    /// All or nothing. After an error it is unknown which.
    pub fn commit<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, LogError> {
        let connection = &self.connection;
        let outcome = run(connection, "BEGIN IMMEDIATE")
            .and_then(|()| work(connection))
            .and_then(|value| run(connection, "COMMIT").map(|()| value));
        if outcome.is_err() && !connection.is_autocommit() {
            // Where this fails too, SQLite rolls back when the connection is used next.
            let _ = run(connection, "ROLLBACK");
        }
        outcome.map_err(|error| self.explain(&error))
    }

    /// Shows every row of a query until it has seen enough.
    pub fn each(
        &self,
        sql: &str,
        parameters: impl Params,
        mut show: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>, RowError>,
    ) -> Result<(), LogError> {
        let walk = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query(parameters)?;
            while let Some(row) = rows.next()? {
                if show(row)?.is_break() {
                    break;
                }
            }
            Ok(())
        };
        walk().map_err(|error| match error {
            RowError::Sqlite(error) => self.explain(&error),
            RowError::Log(error) => error,
        })
    }

    /// The number in the first column of a query's first row.
    pub fn number(&self, sql: &str, parameters: impl Params) -> Result<Option<u64>, LogError> {
        let mut number = None;
        self.each(sql, parameters, |row| {
            number = row.get::<_, Option<i64>>(0)?.map(unsigned);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(number)
    }
}

/// What can be wrong with a row that is read: SQLite, or what stands in it.
#[derive(Debug)]
pub enum RowError {
    Sqlite(rusqlite::Error),
    Log(LogError),
}

impl From<rusqlite::Error> for RowError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<FromSqlError> for RowError {
    fn from(error: FromSqlError) -> Self {
        Self::Sqlite(error.into())
    }
}

impl From<LogError> for RowError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

/// Which file a path leads to: device and number.
pub fn number(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Bytes of the WAL beside the file, used or not.
pub fn wal_bytes(path: &Path) -> u64 {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    std::fs::metadata(wal).map_or(0, |file| file.len())
}

fn run(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(|_| ())
}

/// SQLite has no unsigned numbers; sequence numbers and times reach 2^63 in the 26th century.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// What an error of SQLite means for a log.
fn explain(path: &Path, error: &rusqlite::Error) -> LogError {
    let (path, reason) = (path.to_owned(), error.to_string());
    let failure = match error {
        rusqlite::Error::SqliteFailure(failure, _) => failure,
        // A value is missing or of another type than this program has ever written.
        _ => return LogError::Damaged { path, reason },
    };
    match failure.code {
        ErrorCode::DiskFull => LogError::DiskFull { path },
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            LogError::Busy { path }
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => LogError::Damaged { path, reason },
        ErrorCode::SystemIoFailure if failure.extended_code == ffi::SQLITE_IOERR_CORRUPTFS => {
            LogError::Damaged { path, reason }
        }
        ErrorCode::SystemIoFailure => LogError::Io { path, reason },
        ErrorCode::CannotOpen
        | ErrorCode::PermissionDenied
        | ErrorCode::ReadOnly
        | ErrorCode::AuthorizationForStatementDenied => LogError::Access { path, reason },
        // The statements are fixed: one that fails met tables that this program has not made.
        ErrorCode::Unknown | ErrorCode::TypeMismatch | ErrorCode::ConstraintViolation => {
            LogError::Damaged { path, reason }
        }
        _ => LogError::Sqlite { path, reason },
    }
}
