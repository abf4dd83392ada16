//! The writing connection: whoever holds it is the only one who changes the log.

use std::ops::ControlFlow;
use std::sync::Arc;

use mysync_change::block::{BlockBuilder, PartitionBlock};
use mysync_change::dump::{DumpState, Dumps};
use mysync_change::envelope;
use mysync_change::position::Checkpoint;
use mysync_change::topics::Topics;
use mysync_pipeline::ports::Lead;
use mysync_pipeline::status::now_us;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Row, ToSql};
use serde::de::DeserializeOwned;

use super::file::{BLOCK_BYTES_MAX, Database, Identity, PAGE_BYTES, RowError, signed, unsigned};
use super::partition::{Partition, Stored};
use crate::error::LogError;
use crate::sequence;

/// Leaders whose starts are kept. A writer that is further behind may have to be rewound by hand after a power cut.
const LEADERS: u32 = 1 << 16;
/// The versions of the stored checkpoint and of the dumps beside it.
const CHECKPOINT_VERSION: i64 = 1;
const DUMPS_VERSION: i64 = 1;
/// Statements kept compiled, and how many of each partition.
const STATEMENTS: usize = 16;
const STATEMENTS_EACH: usize = 6;

#[derive(Debug)]
pub struct Store {
    database: Database,
    identity: Identity,
    partitions: Vec<Partition>,
    /// The last number in each partition.
    lasts: Vec<u64>,
    checkpoint: Vec<u8>,
    /// As they are stored.
    dumps: Arc<Dumps>,
    /// Whether a checkpoint is stored.
    has_begun: bool,
}

impl Store {
    pub fn new(database: Database, identity: Identity) -> Result<Self, LogError> {
        let partitions: Vec<_> = (0..identity.partitions).map(Partition::new).collect();
        database.connection.set_prepared_statement_cache_capacity(STATEMENTS + STATEMENTS_EACH * partitions.len());
        let lasts = partitions.iter().map(|partition| partition.last(&database)).collect::<Result<_, _>>()?;
        Ok(Self {
            database,
            identity,
            partitions,
            lasts,
            checkpoint: Vec::new(),
            dumps: Arc::default(),
            has_begun: false,
        })
    }

    /// The last number in each partition.
    pub fn lasts(&self) -> &[u64] {
        &self.lasts
    }

    /// The last number of all.
    fn last(&self) -> u64 {
        self.lasts.iter().copied().max().unwrap_or(0)
    }

    /// Starts a leader, durably: numbers that it gives are never given again, not even if all it writes is lost, and all that was stored
    /// before it is on the disk, so that a lost tail is one leader's.
    pub fn lead(&mut self) -> Result<Lead, LogError> {
        self.lasts =
            self.partitions.iter().map(|partition| partition.last(&self.database)).collect::<Result<_, _>>()?;
        let checkpoint = self.read_checkpoint()?;
        self.dumps = checkpoint.as_ref().map(|checkpoint| checkpoint.dumps.clone()).unwrap_or_default();
        self.has_begun = checkpoint.is_some();
        let former = self.database.number("SELECT max(start) FROM leader", [])?.unwrap_or(0);
        let given = self.last().max(former);
        let next_seq = sequence::first(given, now_us());
        self.synchronous("FULL")?;
        let noted = self.database.commit(|connection| {
            connection.execute("INSERT INTO leader VALUES (?1)", [signed(next_seq)])?;
            let old =
                "DELETE FROM leader WHERE start <= (SELECT start FROM leader ORDER BY start DESC LIMIT 1 OFFSET ?1)";
            connection.execute(old, [LEADERS])
        });
        self.synchronous("NORMAL")?;
        noted?;
        let (log_id, prevs) = (self.identity.id, self.lasts.clone());
        let topics = Topics::one("", self.identity.partitions);
        Ok(Lead { log_id, next_seq, prevs, topics, checkpoint })
    }

    fn synchronous(&self, how: &str) -> Result<(), LogError> {
        let set = self.database.connection.pragma_update(None, "synchronous", how);
        set.map_err(|error| self.database.explain(&error))
    }

    /// The checkpoint, which covers exactly the records there are: they were stored together.
    pub fn read_checkpoint(&self) -> Result<Option<Checkpoint>, LogError> {
        let (mut checkpoint, mut covered) = (None, 0);
        self.database.each("SELECT version, checkpoint, last_seq FROM checkpoint", [], |row| {
            checkpoint = Some(stored::<Checkpoint>(row, CHECKPOINT_VERSION)?);
            covered = unsigned(row.get(2)?);
            Ok(ControlFlow::Break(()))
        })?;
        self.database.each("SELECT version, dumps FROM dumps", [], |row| {
            let dumps = stored(row, DUMPS_VERSION)?;
            if let Some(checkpoint) = &mut checkpoint {
                checkpoint.dumps = Arc::new(dumps);
            }
            Ok(ControlFlow::Break(()))
        })?;
        let last = self.last();
        if covered == last {
            return Ok(checkpoint);
        }
        Err(self
            .database
            .damaged(format!("its checkpoint covers records up to seq {covered}, and the last one is {last}")))
    }

    /// The stored dumps.
    pub fn dumps(&self) -> &Dumps {
        &self.dumps
    }

    /// Stores a block with its shapes and its checkpoint, all or nothing. True: there is a new dump, or another state of one.
    pub fn append(&mut self, block: &BlockBuilder, checkpoint: &Checkpoint) -> Result<bool, LogError> {
        self.check(block)?;
        self.checkpoint.clear();
        serde_json::to_writer(&mut self.checkpoint, checkpoint)
            .map_err(|error| LogError::Checkpoint { reason: error.to_string() })?;
        let mut shapes = Vec::new();
        for (fingerprint, shape) in block.shapes() {
            shapes.push((fingerprint.0, envelope::write_schema(self.identity.id, shape)?));
        }
        let lasts: Vec<u64> = self
            .lasts
            .iter()
            .zip(block.partitions())
            .map(|(last, part)| if part.is_empty() { *last } else { part.last_seq })
            .collect();
        let covered = signed(lasts.iter().copied().max().unwrap_or(0));
        let now = signed(now_us());
        let dumps = self.changed_dumps(checkpoint)?;
        // What writers rely on that begin here: where the log begins, and that a dump brings what was before. Nobody would see that a power
        // cut has taken either; and who has paused or cancelled a dump was told that it is so.
        let has_ordered = dumps.is_some() && states(&checkpoint.dumps) != states(&self.dumps);
        let is_relied_on = !self.has_begun || has_ordered;
        if is_relied_on {
            self.synchronous("FULL")?;
        }
        let appended = self.database.commit(|connection| {
            for (fingerprint, record) in &shapes {
                // One that comes again is the table's newest again.
                connection
                    .prepare_cached(
                        "INSERT INTO shape (fingerprint, record) VALUES (?1, ?2) ON CONFLICT (fingerprint) DO UPDATE \
                         SET ordinal = (SELECT max(ordinal) + 1 FROM shape)",
                    )?
                    .execute((fingerprint, record))?;
            }
            let parts = self.partitions.iter().zip(&self.lasts).zip(block.partitions());
            for ((partition, prev), part) in parts.filter(|(_, part)| !part.is_empty()) {
                insert(connection.prepare_cached(&partition.insert)?, part, *prev, now)?;
            }
            connection.prepare_cached("INSERT OR REPLACE INTO checkpoint VALUES (1, ?1, ?2, ?3)")?.execute((
                CHECKPOINT_VERSION,
                Text(&self.checkpoint),
                covered,
            ))?;
            if let Some(dumps) = &dumps {
                let statement = "INSERT OR REPLACE INTO dumps VALUES (1, ?1, ?2)";
                connection.prepare_cached(statement)?.execute((DUMPS_VERSION, Text(dumps)))?;
            }
            Ok(())
        });
        if is_relied_on {
            self.synchronous("NORMAL")?;
        }
        appended?;
        self.lasts = lasts;
        self.dumps.clone_from(&checkpoint.dumps);
        self.has_begun = true;
        Ok(has_ordered)
    }

    /// The checkpoint's dumps as JSON, unless they are stored as they are.
    fn changed_dumps(&self, checkpoint: &Checkpoint) -> Result<Option<Vec<u8>>, LogError> {
        if Arc::ptr_eq(&self.dumps, &checkpoint.dumps) || self.dumps == checkpoint.dumps {
            return Ok(None);
        }
        let json = serde_json::to_vec(&*checkpoint.dumps);
        json.map(Some).map_err(|error| LogError::Checkpoint { reason: error.to_string() })
    }

    /// A block must go on where the log ends, or a reader would find its chain broken.
    fn check(&self, block: &BlockBuilder) -> Result<(), LogError> {
        for (number, (part, last)) in (0..).zip(block.partitions().iter().zip(&self.lasts)) {
            if part.bytes.len() > BLOCK_BYTES_MAX {
                return Err(LogError::BlockTooLarge { bytes: part.bytes.len(), max: BLOCK_BYTES_MAX });
            }
            if let Some((first, _)) = envelope::read(&part.bytes, 0)?
                && first.header.prev != *last
            {
                return Err(LogError::Order { partition: number, prev: first.header.prev, last: *last });
            }
        }
        Ok(())
    }

    /// Notes that a writer has written to its store.
    pub fn note(&self, name: &str, partition: u32) -> Result<(), LogError> {
        self.database.commit(|connection| {
            connection.execute("INSERT OR IGNORE INTO consumer VALUES (?1, ?2)", (name, partition)).map(|_| ())
        })
    }

    /// Every writer that was ever noted.
    pub fn consumers(&self) -> Result<Vec<(String, u32)>, LogError> {
        let mut consumers = Vec::new();
        self.database.each("SELECT name, partition FROM consumer", [], |row| {
            consumers.push((row.get(0)?, row.get(1)?));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(consumers)
    }

    /// The oldest blocks of a partition behind `after`, the newest block left out: it says where the log has come to.
    pub fn oldest(&self, partition: usize, after: u64, most: u32) -> Result<Vec<Stored>, LogError> {
        let mut blocks = self.partitions[partition].oldest(&self.database, after, most)?;
        blocks.retain(|block| block.last_seq < self.lasts[partition]);
        Ok(blocks)
    }

    /// When a partition's oldest block was stored; none: there is none.
    pub fn since_us(&self, partition: usize) -> Result<Option<u64>, LogError> {
        self.partitions[partition].since_us(&self.database)
    }

    /// Deletes a partition's blocks up to a number.
    pub fn delete(&self, partition: usize, last_seq: u64) -> Result<(), LogError> {
        let delete = &self.partitions[partition].delete;
        self.database.commit(|connection| connection.prepare_cached(delete)?.execute([signed(last_seq)]).map(|_| ()))
    }

    /// Bytes of the file in use.
    pub fn used_bytes(&self) -> Result<u64, LogError> {
        let pages = self.database.number("PRAGMA page_count", [])?.unwrap_or(0);
        let free = self.database.number("PRAGMA freelist_count", [])?.unwrap_or(0);
        Ok(pages.saturating_sub(free) * PAGE_BYTES)
    }

    /// Moves what is left in the WAL into the file and lets the WAL begin anew. False: somebody still reads from it.
    pub fn restart_wal(&self) -> Result<bool, LogError> {
        let blocked = self.database.number("PRAGMA wal_checkpoint(RESTART)", [])?;
        if blocked != Some(0) {
            return Ok(false);
        }
        // The first commit into a new WAL waits for the disk: better here than in `append`.
        self.database.commit(|connection| {
            connection.prepare_cached("UPDATE log SET created_us = created_us")?.execute([]).map(|_| true)
        })
    }
}

/// What somebody may have ordered.
fn states(dumps: &Dumps) -> Vec<(u64, DumpState)> {
    dumps.list.iter().map(|dump| (dump.number, dump.state)).collect()
}

/// What a row of version and JSON holds.
fn stored<T: DeserializeOwned>(row: &Row<'_>, known: i64) -> Result<T, RowError> {
    let damaged = |reason| LogError::Checkpoint { reason };
    let version: i64 = row.get(0)?;
    if version != known {
        return Err(damaged(format!("it has version {version}, this program reads {known}")).into());
    }
    Ok(serde_json::from_str(row.get_ref(1)?.as_str()?).map_err(|error| damaged(error.to_string()))?)
}

fn insert(mut statement: CachedStatement<'_>, part: &PartitionBlock, prev: u64, now: i64) -> rusqlite::Result<usize> {
    let crc = crc32fast::hash(&part.bytes);
    let numbers = [part.last_seq, part.first_seq, prev, part.committed_us].map(signed);
    statement.execute((numbers[0], numbers[1], numbers[2], numbers[3], now, crc, &part.bytes))
}

/// Bytes of JSON: text, without being looked at again.
struct Text<'a>(&'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}
