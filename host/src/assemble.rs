//! Puts the parts together: the only file that names concrete adapters side by side.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mysync_binlog::source::Mysql;
use mysync_connectors::redis::{Redis, Settings as RedisSettings};
use mysync_log::EmbeddedLog;
use mysync_log::kafka::{KafkaLog, KafkaReaders, Member};
use mysync_pipeline::assignment;
use mysync_pipeline::capture::capture;
use mysync_pipeline::deliver::{Delivery, FENCE_TAKEN};
use mysync_pipeline::dump::{Beginning, ORDERS_MAX, OrderBook, Orders, Request};
use mysync_pipeline::failure::{Failure, Kind};
use mysync_pipeline::ports::LogReader;
use mysync_pipeline::retry::Backoff;
use mysync_pipeline::shutdown::Shutdown;
use mysync_pipeline::status::{Board, DeliverStatus, State};
use mysync_wasm::{Engine, EngineSettings, Plugin};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::warn;

use crate::adapters;
use crate::admin::Command;
use crate::config::{ConnectorSettings, FirstLoad, LogKind, Settings, WriterSettings};
use crate::fault::Fault;
use crate::role::Role;
use crate::supervisor::{Launch, Supervisor, Task};
use crate::writer::is_moved;

/// How often an idle or stopped delivery looks whether its fence was put elsewhere: soon enough for a person who has done so.
const WATCH_EVERY: Duration = Duration::from_secs(3);
/// Between two questions to a group that does not answer: less than others take to join it or leave it.
const CONFIRM_PAUSE: Duration = Duration::from_millis(300);
/// The code of a delivery that begins anew because its fence was put elsewhere.
const FENCE_MOVED: &str = "FENCE_MOVED";

/// The log of this process.
pub enum Log {
    Embedded(Arc<EmbeddedLog>),
    Kafka(KafkaLog),
}

/// Opens the log before anything else: of two processes on one embedded log the second says who has it.
pub async fn open_log(settings: &Settings) -> Result<Log, Fault> {
    let log = &settings.log;
    match &log.kind {
        LogKind::Embedded(embedded) => {
            let opened = EmbeddedLog::open(&adapters::embedded(settings, embedded)).map_err(Failure::from)?;
            Ok(Log::Embedded(Arc::new(opened)))
        }
        LogKind::Kafka(kafka) => {
            let opened = KafkaLog::open(adapters::kafka(kafka, log.partitions)).await.map_err(Failure::from)?;
            Ok(Log::Kafka(opened))
        }
    }
}

/// Runs capture, every writer, or both, until the end begins.
pub async fn run(
    settings: Settings,
    log: Log,
    board: Arc<Board>,
    shutdown: Shutdown,
    commands: mpsc::Receiver<Command>,
    (orders, mut book): (Orders, OrderBook),
    role: Role,
) -> Result<(), Fault> {
    let partitions = settings.log.partitions;
    let mut beside = JoinSet::new();
    if let Log::Kafka(log) = &log {
        beside.spawn(log.follow(board.clone()));
        // Whichever process leads carries out the orders of all.
        let (taken, carried) = mpsc::channel(ORDERS_MAX);
        beside.spawn(log.carry_orders(std::mem::replace(&mut book, carried), taken));
    }
    let mut supervisor = Supervisor::new(board.clone(), shutdown.clone());
    if role != Role::Capture {
        let parts = Arc::new(Parts::new(&settings, orders)?);
        for writer in settings.writers {
            let name = writer.name.clone();
            match &log {
                Log::Embedded(log) => {
                    let launch = on_embedded(parts.clone(), writer, log.clone());
                    supervisor.start(&name, launch, assignment::all(partitions));
                }
                Log::Kafka(log) => {
                    let (member, assigned) = log.join(&name, &writer.tables).map_err(Failure::from)?;
                    let readers = log.readers();
                    supervisor.start(&name, on_kafka(parts.clone(), writer, readers, Arc::new(member)), assigned);
                }
            }
        }
    }
    if role == Role::Deliver {
        board.capture.set_state(State::Elsewhere);
    }
    let (ending, shown) = (shutdown.ending(), board.clone());
    let source =
        |name: &str, elsewhere| Mysql::new(adapters::mysql(&settings.source, name, elsewhere), book, board.clone());
    let captured: Option<Task> = match (&log, role) {
        (_, Role::Deliver) => None,
        (Log::Embedded(log), _) => {
            let (mut source, mut records) = (source(&log.id().to_string(), false), log.writer());
            Some(Box::pin(async move { capture(&mut source, &mut records, &shown.capture, ending).await }))
        }
        (Log::Kafka(log), _) => {
            let (mut source, mut records) = (source(&log.name(), true), log.writer(board.clone()));
            Some(Box::pin(async move { capture(&mut source, &mut records, &shown.capture, ending).await }))
        }
    };
    let ended = supervisor.run(captured, commands).await;
    beside.shutdown().await;
    if let Log::Kafka(log) = log {
        log.close().await;
    }
    Ok(ended?)
}

/// What every writer is made with, beside its own files and the log.
struct Parts {
    /// The source's name.
    source: String,
    partitions: u32,
    /// Connectors by name.
    stores: BTreeMap<String, Arc<RedisSettings>>,
    engine: Engine,
    orders: Orders,
    /// Of a dump that a new writer begins with.
    rows_per_second: Option<u64>,
}

/// How a partition of a writer is started. Both of its files are read anew each time: what was mended in them is taken.
fn on_embedded(parts: Arc<Parts>, writer: WriterSettings, log: Arc<EmbeddedLog>) -> Launch {
    Arc::new(move |partition, status, ending| {
        let (parts, writer, log) = (parts.clone(), writer.clone(), log.clone());
        Box::pin(async move {
            let log = log.reader(&writer.name, partition).map_err(Failure::from)?;
            parts.delivery(&writer, log, partition, status).await?.run(ending).await
        })
    })
}

/// The same for a partition that the group of the writer has given to this process. Wherever `mysync writer` puts the fence it goes on from
/// there, be it idle or stopped: nobody can tell the command which processes to ask.
fn on_kafka(parts: Arc<Parts>, writer: WriterSettings, readers: KafkaReaders, member: Arc<Member>) -> Launch {
    Arc::new(move |partition, status, mut ending| {
        let (parts, writer, readers, member) = (parts.clone(), writer.clone(), readers.clone(), member.clone());
        Box::pin(async move {
            let mut backoff = Backoff::new(&writer.name);
            loop {
                let opened = tokio::select! {
                    biased;
                    () = ending.begun() => return Ok(()),
                    opened = readers.open(&writer.name, partition, Some(member.clone())) => opened,
                };
                let work = async {
                    let mut delivery = parts.delivery(&writer, opened?, partition, status.clone()).await?;
                    // Its file may name others than before.
                    member.want(&delivery.tables);
                    delivery.run(ending.clone()).await
                };
                let ended = tokio::select! {
                    ended = work => ended,
                    moved = parts.moved(&writer, partition, &status) => Err(moved),
                };
                let Err(mut failure) = ended else { return Ok(()) };
                if failure.kind == Kind::Definite && failure.code != FENCE_TAKEN {
                    status.set_state(State::Stopped(failure.clone()));
                    failure = tokio::select! {
                        biased;
                        () = ending.begun() => return Err(failure),
                        moved = parts.moved(&writer, partition, &status) => moved,
                        rebased = parts.rebased(&writer) => rebased,
                    };
                }
                let wait = backoff.wait();
                warn!(
                    writer = writer.name,
                    partition,
                    code = failure.code,
                    "delivery begins anew: {}",
                    failure.message
                );
                let whose = [FENCE_TAKEN, FENCE_MOVED].contains(&failure.code);
                status.set_state(State::Retrying(failure));
                ending.sleep(wait).await;
                // Whose the partition is, is the group's to say: who has written last may have been paused, or this process was. While others
                // join or leave nobody is told, and who was left out is told to end.
                while whose && !ending.has_begun() && member.confirm(partition).await.is_err() {
                    ending.sleep(CONFIRM_PAUSE).await;
                }
                if ending.has_begun() {
                    return Ok(());
                }
            }
        })
    })
}

impl Parts {
    fn new(settings: &Settings, orders: Orders) -> Result<Self, Fault> {
        let cache_dir = Some(settings.log.dir.join("compiled"));
        let engine = Engine::new(&EngineSettings { cache_dir }).map_err(Failure::from)?;
        let mut stores = BTreeMap::new();
        for (name, ConnectorSettings::Redis(redis)) in &settings.connectors {
            stores.insert(name.clone(), adapters::redis(name, redis)?);
        }
        Ok(Self {
            source: settings.source.name.clone(),
            partitions: settings.log.partitions,
            stores,
            engine,
            orders,
            rows_per_second: settings.dump.rows_per_second,
        })
    }

    /// Waits until `mysync writer` has put the fence somewhere else. Who writes finds that out by itself.
    async fn moved(&self, writer: &WriterSettings, partition: u32, status: &DeliverStatus) -> Failure {
        let (mut batches, mut known) = (None, None);
        loop {
            // Who has just begun may not have gone on from where it is yet.
            let now = Some(status.batches.load(Relaxed));
            if now == std::mem::replace(&mut batches, now) || known.is_none() {
                let Some(store) = self.stores.get(&writer.connector).cloned() else {
                    return std::future::pending().await;
                };
                // What is wrong with the store is told by whoever writes to it.
                if let Ok(fence) = Redis::new(store, &self.source, &writer.name, partition).read_fence().await {
                    let is_new = known.as_ref().is_some_and(|known| *known != fence);
                    known = Some(fence.clone());
                    if let Some(fence) = fence.filter(|fence| is_new && is_moved(fence)) {
                        let message = format!("'{}' has put the fence to seq {}", fence.owner, fence.applied.seq);
                        return Failure::transient(FENCE_MOVED, message);
                    }
                }
            }
            tokio::time::sleep(WATCH_EVERY).await;
        }
    }

    /// Waits until the writer is in another log: a rebase, which ends in partition 0, may not have known of the one that waits.
    async fn rebased(&self, writer: &WriterSettings) -> Failure {
        let Some(store) = self.stores.get(&writer.connector) else { return std::future::pending().await };
        let mut known = None;
        loop {
            if let Ok(fence) = Redis::new(store.clone(), &self.source, &writer.name, 0).read_fence().await {
                let log = fence.map(|fence| fence.log);
                if known.replace(log.clone()).is_some_and(|known| known != log) {
                    return Failure::transient(FENCE_MOVED, "the writer has got its place in another log");
                }
            }
            tokio::time::sleep(WATCH_EVERY).await;
        }
    }

    async fn delivery<L: LogReader>(
        &self,
        writer: &WriterSettings,
        log: L,
        partition: u32,
        status: Arc<DeliverStatus>,
    ) -> Result<Delivery<L, Plugin, Redis>, Failure> {
        let writer = writer.read_again()?;
        let store = self.stores.get(&writer.connector).cloned().ok_or_else(|| {
            Failure::definite("CONNECTOR_UNKNOWN", format!("there is no connector {}", writer.connector))
        })?;
        let (source, name) = (self.source.clone(), writer.name.clone());
        let connector = move |partition| Redis::new(store.clone(), &source, &name, partition);
        Ok(Delivery {
            log,
            plugin: Plugin::load(&self.engine, adapters::plugin(&writer, self.partitions)).await?,
            connector: connector(partition),
            status,
            owner: owner(),
            partition,
            first: (partition > 0).then(|| Box::new(move || connector(0)) as _),
            beginning: self.beginning(&writer),
            tables: writer.tables,
            writer: writer.name,
        })
    }

    /// What a new writer begins with.
    fn beginning(&self, writer: &WriterSettings) -> Beginning {
        match writer.dump {
            FirstLoad::Never => Beginning::Log,
            FirstLoad::Initial => Beginning::Dump {
                orders: self.orders.clone(),
                request: Request {
                    writer: Some(writer.name.as_str().into()),
                    tables: writer.tables.clone(),
                    rows_per_second: self.rows_per_second,
                },
            },
        }
    }
}

/// Names one task among all that ever wrote a fence.
fn owner() -> String {
    let chance = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", chance(), chance())
}
