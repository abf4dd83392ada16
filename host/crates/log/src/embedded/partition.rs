//! One partition's table: its statements, and what is read of it.

use std::ops::ControlFlow;

use mysync_change::batch::BlockReader;
use mysync_change::envelope::{self, EnvelopeError, Kind};
use mysync_change::fence::Place;
use mysync_change::rows::{self, Operation};
use mysync_pipeline::ports::Found;
use rusqlite::Row;

use super::file::{Database, RowError, signed, unsigned};
use crate::error::LogError;

/// Small blocks are read together up to this size: a backlog of them then costs little more than their bytes.
const READ_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub struct Partition {
    number: u32,
    /// Stores a block: last, first and previous number, commit time, time, checksum, records.
    pub insert: String,
    /// Deletes all blocks up to a number.
    pub delete: String,
    oldest: String,
    since: String,
    last: String,
    start: String,
    behind: String,
    before: String,
}

/// What is known of a block without reading its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub last_seq: u64,
    pub stored_us: u64,
    pub bytes: u64,
}

impl Partition {
    pub fn new(number: u32) -> Self {
        let table = format!("block_{number}");
        Self {
            number,
            insert: format!("INSERT INTO {table} VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"),
            delete: format!("DELETE FROM {table} WHERE last_seq <= ?1"),
            oldest: format!(
                "SELECT last_seq, stored_us, length(records) FROM {table} WHERE last_seq > ?1 ORDER BY last_seq LIMIT ?2"
            ),
            since: format!("SELECT stored_us FROM {table} ORDER BY last_seq LIMIT 1"),
            last: format!("SELECT max(last_seq) FROM {table}"),
            start: format!("SELECT prev_seq FROM {table} ORDER BY last_seq LIMIT 1"),
            behind: format!(
                "SELECT last_seq, first_seq, crc, records FROM {table} WHERE last_seq > ?1 ORDER BY last_seq"
            ),
            before: format!("SELECT max(last_seq) FROM {table} WHERE last_seq < ?1"),
        }
    }

    pub fn number(&self) -> u32 {
        self.number
    }

    /// The last record's number; 0: there is none.
    pub fn last(&self, database: &Database) -> Result<u64, LogError> {
        Ok(database.number(&self.last, [])?.unwrap_or(0))
    }

    /// The number of the last record that was deleted; 0: none was.
    fn start(&self, database: &Database) -> Result<u64, LogError> {
        Ok(database.number(&self.start, [])?.unwrap_or(0))
    }

    /// When the oldest block was stored; none: there is none.
    pub fn since_us(&self, database: &Database) -> Result<Option<u64>, LogError> {
        database.number(&self.since, [])
    }

    /// The oldest blocks behind `after`, at most so many.
    pub fn oldest(&self, database: &Database, after: u64, most: u32) -> Result<Vec<Stored>, LogError> {
        let mut blocks = Vec::new();
        database.each(&self.oldest, (signed(after), most), |row| {
            let [last_seq, stored_us, bytes] = [row.get(0)?, row.get(1)?, row.get(2)?].map(unsigned);
            blocks.push(Stored { last_seq, stored_us, bytes });
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(blocks)
    }

    /// Fills `block` with what lies behind `after`; false if there is nothing.
    pub fn read(&self, database: &Database, after: u64, block: &mut BlockReader) -> Result<bool, LogError> {
        let out = block.refill();
        database.each(&self.behind, [signed(after)], |row| {
            match self.records(row) {
                Ok(records) => out.extend_from_slice(records),
                // Blocks before it are good, and whoever passes it over must have had them: it is told of when it is next.
                Err(RowError::Log(_)) if !out.is_empty() => return Ok(ControlFlow::Break(())),
                Err(error) => return Err(error),
            }
            Ok(if out.len() < READ_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(!out.is_empty())
    }

    /// How the log goes on behind a place.
    pub fn find(&self, database: &Database, place: &Place) -> Result<Found, LogError> {
        let start = self.start(database)?;
        match place.seq {
            seq if seq < start => return Ok(Found::Trimmed { start }),
            seq if seq == start => return Ok(Found::Next),
            _ => {}
        }
        let mut found = false;
        database.each(&self.behind, [signed(place.seq - 1)], |row| {
            let [last, first] = [row.get(0)?, row.get(1)?].map(unsigned);
            if last == place.seq && place.transaction.is_empty() {
                // A block that cannot be read is passed over by its end.
                found = true;
            } else if first <= place.seq {
                found = holds(self.records(row)?, place).map_err(LogError::from)?;
            }
            Ok(ControlFlow::Break(()))
        })?;
        if found {
            return Ok(Found::Next);
        }
        let before = database.number(&self.before, [signed(place.seq)])?.unwrap_or(start);
        // What former leaders stored was on the disk when this one started: no number before its start is missing.
        let leader = database.number("SELECT max(start) FROM leader WHERE start <= ?1", [signed(place.seq)])?;
        Ok(Found::Repeated { base: before.max(leader.map_or(0, |start| start.saturating_sub(1))) })
    }

    /// A row's records, checked.
    fn records<'r>(&self, row: &'r Row<'_>) -> Result<&'r [u8], RowError> {
        let records = row.get_ref(3)?.as_blob()?;
        if crc32fast::hash(records) == row.get::<_, u32>(2)? {
            return Ok(records);
        }
        let reason = "its checksum does not fit its bytes".to_owned();
        Err(LogError::BlockDamaged { partition: self.number, seq: unsigned(row.get(0)?), reason }.into())
    }
}

/// Whether a block has the very record that a place names, not just its number: after a power cut and with a clock that went back, a number
/// might come again.
fn holds(records: &[u8], place: &Place) -> Result<bool, EnvelopeError> {
    let mut at = 0;
    while let Some((envelope, next)) = envelope::read(records, at)? {
        at = next;
        let header = &envelope.header;
        let same = || place.transaction.is_empty() || header.transaction.to_id().to_string() == place.transaction;
        if header.kind == Kind::TableEvent {
            if header.first_seq == place.seq {
                return Ok(same() && header.first_row == place.row);
            }
            continue;
        }
        let mut row_at = 0;
        while let Some((row, next)) = rows::read(&envelope, row_at)? {
            row_at = next;
            if row.seq == place.seq {
                let second = row.operation == Operation::MoveIn;
                return Ok(
                    same() && (place.transaction.is_empty() || (row.number, second) == (place.row, place.second))
                );
            }
        }
    }
    Ok(false)
}
