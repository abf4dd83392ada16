//! The log in a directory of this machine: one SQLite file.
//!
//! **Promise.** What `append` has stored is there after kill -9, whole blocks with their shapes and their checkpoint, and readers see it at
//! once. Delivery does not wait for the disk: a power cut may take the end of the log, never its middle, and never part of an append; the
//! checkpoint then says where the source is read again. The log's id and the start of every leader are on the disk before they are used.
//! **Retention.** Whole blocks are deleted, oldest first, which every configured writer has passed and which are older than the retention or
//! in the way. The newest block of a partition stays. A log that has reached its size and holds what a writer has not passed makes capture
//! wait, and says for whom.
//! **Errors.** Damage is definite: a log that cannot be believed is not written any further. A full disk, a full log and a file that another
//! program keeps locked are waited for.

mod consumers;
mod file;
mod keeper;
mod lock;
mod partition;
mod reader;
mod room;
mod store;
mod wal;
mod writer;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use mysync_change::envelope::LogId;
use mysync_pipeline::status::now_us;
use tokio::sync::{Mutex, watch};

pub use reader::{EmbeddedReader, OutsideReader, Seen, look, partitions, read_only};
pub use writer::EmbeddedWriter;

use crate::error::LogError;
use consumers::Consumers;
use file::{Database, Identity, WAL_BYTES_MAX};
use keeper::Keeper;
use lock::DirectoryLock;
use room::Room;
use store::Store;
use wal::Wal;

/// How long closing waits for the keeper. What it leaves undone is a hint, or done at the next start.
const CLOSING: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub struct LogSettings {
    pub dir: PathBuf,
    /// Fixed when the log is made.
    pub partitions: u32,
    /// At this size capture waits rather than delete what a writer has not passed.
    pub max_bytes: u64,
    /// How long records are kept that every writer has passed.
    pub retention: Duration,
    /// Names of the configured writers: what one of them has not passed is kept.
    pub writers: Vec<String>,
    /// Those of them that begin with a dump.
    pub loaded: Vec<String>,
}

/// How full the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Bytes of the file in use. The WAL is not counted: it is at most a quarter of the log's size.
    pub bytes: u64,
    pub max_bytes: u64,
    /// When the oldest records were stored: microseconds since 1970; none: the log is empty.
    pub oldest_us: Option<u64>,
    /// Whether capture waits for room.
    pub paused: bool,
}

/// The log, open for one leader and its readers.
#[derive(Debug)]
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    /// Ends when the keeper does.
    closing: std::sync::Mutex<Receiver<()>>,
}

/// What the leader, the readers and the keeper share.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    identity: Identity,
    store: Mutex<Store>,
    /// The last number in each partition.
    grown: Vec<watch::Sender<u64>>,
    consumers: Consumers,
    room: Room,
    retention_us: u64,
    wal: Wal,
    oldest_us: AtomicU64,
    keeper: OnceLock<Thread>,
    ending: AtomicBool,
    /// The file is not where it was: what is written is lost with this process.
    gone: AtomicBool,
    _lock: DirectoryLock,
}

impl EmbeddedLog {
    /// Opens the log, or makes it, and takes the directory's lock.
    pub fn open(settings: &LogSettings) -> Result<Self, LogError> {
        let dir = &settings.dir;
        // It holds rows: nobody else's business.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| LogError::Directory { path: dir.clone(), reason: error.to_string() })?;
        let lock = DirectoryLock::take(dir)?;
        let path = dir.join(file::NAME);
        let (database, identity) = open_or_create(&path, settings)?;
        let store = Store::new(database, identity)?;
        let shared = Arc::new(Shared {
            identity,
            grown: store.lasts().iter().map(|last| watch::Sender::new(*last)).collect(),
            consumers: Consumers::new(store.consumers()?, settings.writers.clone(), settings.loaded.clone()),
            room: Room::new(settings.max_bytes, store.used_bytes()?),
            retention_us: u64::try_from(settings.retention.as_micros()).unwrap_or(u64::MAX),
            wal: Wal::new(WAL_BYTES_MAX.min(settings.max_bytes / 4), file::wal_bytes(&path)),
            oldest_us: AtomicU64::new(0),
            keeper: OnceLock::new(),
            ending: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            store: Mutex::new(store),
            path: path.clone(),
            _lock: lock,
        });
        let keeper = Keeper::new(shared.clone(), Database::open(&path)?)?;
        let (closed, closing) = mpsc::channel();
        let thread = thread::Builder::new().name("mysync-log".to_owned()).spawn(move || {
            keeper.run();
            drop(closed);
        });
        let thread = thread.map_err(|error| LogError::Io { path, reason: error.to_string() })?;
        let _ = shared.keeper.set(thread.thread().clone());
        Ok(Self { shared, closing: closing.into() })
    }

    pub fn id(&self) -> LogId {
        self.shared.identity.id
    }

    /// For capture.
    pub fn writer(&self) -> EmbeddedWriter {
        EmbeddedWriter::new(self.shared.clone())
    }

    /// For a writer's delivery in one partition.
    pub fn reader(&self, consumer: &str, partition: u32) -> Result<EmbeddedReader, LogError> {
        EmbeddedReader::new(self.shared.clone(), consumer, partition)
    }

    pub fn figures(&self) -> Figures {
        let oldest_us = self.shared.oldest_us.load(Relaxed);
        Figures {
            bytes: self.shared.room.used(),
            max_bytes: self.shared.room.max_bytes(),
            oldest_us: (oldest_us > 0).then_some(oldest_us),
            paused: self.shared.room.is_held(),
        }
    }
}

impl Drop for EmbeddedLog {
    /// The file is in order and the directory free before the log is gone.
    fn drop(&mut self) {
        self.shared.ending.store(true, Relaxed);
        self.shared.wake_keeper();
        let closing = self.closing.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = closing.recv_timeout(CLOSING);
    }
}

impl Shared {
    fn check(&self) -> Result<(), LogError> {
        if self.gone.load(Relaxed) { Err(LogError::Gone { path: self.path.clone() }) } else { Ok(()) }
    }

    /// Tells readers how far the log goes.
    fn publish(&self, lasts: &[u64]) {
        for (grown, last) in self.grown.iter().zip(lasts) {
            grown.send_if_modified(|known| std::mem::replace(known, *last) != *last);
        }
    }

    fn wake_keeper(&self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.unpark();
        }
    }
}

fn open_or_create(path: &Path, settings: &LogSettings) -> Result<(Database, Identity), LogError> {
    let mut database = Database::open(path)?;
    let identity = match database.identity()? {
        Some(identity) => identity,
        None => {
            database.create(settings.partitions, now_us())?;
            database.identity()?.ok_or_else(|| LogError::Absent { path: path.to_owned() })?
        }
    };
    if identity.partitions != settings.partitions {
        let (stored, configured) = (identity.partitions, settings.partitions);
        return Err(LogError::Partitions { dir: settings.dir.clone(), stored, configured });
    }
    Ok((database, identity))
}
