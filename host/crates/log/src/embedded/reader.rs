//! The log as deliver sees it, in the leader's process and from outside.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mysync_change::batch::BlockReader;
use mysync_change::envelope::{self, LogId};
use mysync_change::fence::Place;
use mysync_change::position::Checkpoint;
use mysync_change::schema::{Fingerprint, TableShape};
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::{Found, LogReader};
use tokio::sync::watch;

use super::Shared;
use super::consumers::Progress;
use super::file::{self, Database, Identity};
use super::partition::Partition;
use super::store::Store;
use crate::error::LogError;

/// How often a log is looked at that another process writes.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A connection that reads one partition.
#[derive(Debug)]
struct Reading {
    database: Database,
    log_id: LogId,
    partition: Partition,
}

impl Reading {
    fn open(path: &Path, partition: u32) -> Result<Self, LogError> {
        let (database, Identity { id, partitions }) = open(path)?;
        if partition >= partitions {
            return Err(LogError::PartitionUnknown { partition, partitions });
        }
        Ok(Self { database, log_id: id, partition: Partition::new(partition) })
    }

    fn shapes(&self, only: Option<Fingerprint>) -> Result<Vec<(Fingerprint, Arc<TableShape>)>, LogError> {
        let sql = "SELECT record FROM shape WHERE ?1 IS NULL OR fingerprint = ?1 ORDER BY ordinal";
        let mut shapes = Vec::new();
        self.database.each(sql, [only.map(|fingerprint| fingerprint.0)], |row| {
            let (fingerprint, shape) = envelope::read_schema(row.get_ref(0)?.as_blob()?).map_err(LogError::from)?;
            shapes.push((fingerprint, Arc::new(shape)));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(shapes)
    }

    fn shape(&self, fingerprint: Fingerprint) -> Result<Arc<TableShape>, LogError> {
        let found = self.shapes(Some(fingerprint))?.pop();
        found.map(|(_, shape)| shape).ok_or(LogError::ShapeMissing { fingerprint })
    }
}

/// A partition in the leader's process: hears of every append at once.
#[derive(Debug)]
pub struct EmbeddedReader {
    reading: Reading,
    shared: Arc<Shared>,
    consumer: String,
    progress: Arc<Progress>,
    grown: watch::Receiver<u64>,
}

impl EmbeddedReader {
    pub(super) fn new(shared: Arc<Shared>, consumer: &str, partition: u32) -> Result<Self, LogError> {
        let reading = Reading::open(&shared.path, partition)?;
        let progress = shared.consumers.progress(consumer, partition);
        let grown = shared.grown[partition as usize].subscribe();
        Ok(Self { reading, shared, consumer: consumer.to_owned(), progress, grown })
    }
}

impl LogReader for EmbeddedReader {
    fn log_id(&self) -> LogId {
        self.reading.log_id
    }

    async fn find(&mut self, place: &Place) -> Result<Found, Failure> {
        Ok(self.reading.partition.find(&self.reading.database, place)?)
    }

    async fn read(&mut self, after: u64, block: &mut BlockReader) -> Result<bool, Failure> {
        // Spares a look at the file at the log's end, where a reader is most of the time.
        if *self.grown.borrow() <= after {
            return Ok(false);
        }
        Ok(self.reading.partition.read(&self.reading.database, after, block)?)
    }

    async fn wait(&mut self, after: u64) {
        // The sender lives as long as `shared`.
        let _ = self.grown.wait_for(|last| *last > after).await;
    }

    async fn shape(&mut self, fingerprint: Fingerprint) -> Result<Arc<TableShape>, Failure> {
        Ok(self.reading.shape(fingerprint)?)
    }

    async fn shapes(&mut self) -> Result<Vec<(Fingerprint, Arc<TableShape>)>, Failure> {
        Ok(self.reading.shapes(None)?)
    }

    async fn has_advanced(&mut self) -> Result<bool, Failure> {
        Ok(self.progress.is_noted())
    }

    async fn advance(&mut self, seq: u64) -> Result<(), Failure> {
        self.progress.advance(seq);
        // From the first time on, a store without a fence is one that was emptied: that must not wait.
        if !self.progress.is_noted() {
            self.shared.store.lock().await.note(&self.consumer, self.reading.partition.number())?;
            self.progress.set_noted();
        }
        if self.shared.room.is_held() {
            self.shared.wake_keeper();
        }
        Ok(())
    }
}

/// A partition seen from outside, while the leader writes or while nobody does. Changes nothing and takes no lock that anybody waits for.
#[derive(Debug)]
pub struct OutsideReader {
    reading: Reading,
    consumer: String,
}

/// Opens a partition of the log in `dir` from outside.
pub fn read_only(dir: &Path, consumer: &str, partition: u32) -> Result<OutsideReader, LogError> {
    Ok(OutsideReader { reading: Reading::open(&dir.join(file::NAME), partition)?, consumer: consumer.to_owned() })
}

/// What a start finds in a log.
#[derive(Debug, Clone)]
pub struct Seen {
    pub id: LogId,
    pub partitions: u32,
    /// Where capture goes on; none: where it is told to begin.
    pub checkpoint: Option<Checkpoint>,
}

/// Looks at the log in `dir` from outside, as a start does.
pub fn look(dir: &Path) -> Result<Seen, LogError> {
    let (database, identity) = open(&dir.join(file::NAME))?;
    // One moment of a log that is being written.
    database.connection.execute_batch("BEGIN").map_err(|error| database.explain(&error))?;
    let checkpoint = Store::new(database, identity)?.read_checkpoint()?;
    Ok(Seen { id: identity.id, partitions: identity.partitions, checkpoint })
}

/// How many partitions the log in `dir` has.
pub fn partitions(dir: &Path) -> Result<u32, LogError> {
    open(&dir.join(file::NAME)).map(|(_, identity)| identity.partitions)
}

fn open(path: &Path) -> Result<(Database, Identity), LogError> {
    let absent = || LogError::Absent { path: path.to_owned() };
    if !path.exists() {
        return Err(absent());
    }
    let database = Database::open_read_only(path)?;
    let identity = database.identity()?.ok_or_else(absent)?;
    Ok((database, identity))
}

impl LogReader for OutsideReader {
    fn log_id(&self) -> LogId {
        self.reading.log_id
    }

    async fn find(&mut self, place: &Place) -> Result<Found, Failure> {
        Ok(self.reading.partition.find(&self.reading.database, place)?)
    }

    async fn read(&mut self, after: u64, block: &mut BlockReader) -> Result<bool, Failure> {
        Ok(self.reading.partition.read(&self.reading.database, after, block)?)
    }

    async fn wait(&mut self, after: u64) {
        // After an error the next `read` tells.
        while self.reading.partition.last(&self.reading.database).is_ok_and(|last| last <= after) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn shape(&mut self, fingerprint: Fingerprint) -> Result<Arc<TableShape>, Failure> {
        Ok(self.reading.shape(fingerprint)?)
    }

    async fn shapes(&mut self) -> Result<Vec<(Fingerprint, Arc<TableShape>)>, Failure> {
        Ok(self.reading.shapes(None)?)
    }

    async fn has_advanced(&mut self) -> Result<bool, Failure> {
        let sql = "SELECT 1 FROM consumer WHERE name = ?1 AND partition = ?2";
        let parameters = (&self.consumer, self.reading.partition.number());
        Ok(self.reading.database.number(sql, parameters)?.is_some())
    }

    async fn advance(&mut self, _seq: u64) -> Result<(), Failure> {
        Err(LogError::Outside.into())
    }
}
