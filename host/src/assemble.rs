//! Puts the parts together: the only file that names concrete adapters side by side.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use mysync_binlog::source::Mysql;
use mysync_connectors::redis::{Redis, Settings as RedisSettings};
use mysync_log::EmbeddedLog;
use mysync_pipeline::capture::capture;
use mysync_pipeline::deliver::Delivery;
use mysync_pipeline::dump::{Beginning, OrderBook, Orders, Request};
use mysync_pipeline::failure::Failure;
use mysync_pipeline::shutdown::Shutdown;
use mysync_pipeline::status::Board;
use mysync_wasm::{Engine, EngineSettings, Plugin};
use tokio::sync::mpsc;

use crate::adapters;
use crate::admin::Command;
use crate::config::{ConnectorSettings, FirstLoad, LogKind, Settings, WriterSettings};
use crate::fault::Fault;
use crate::role::Role;
use crate::supervisor::{Launch, Supervisor};

/// Opens the log before anything else: of two processes on one log the second says who has it.
pub fn open_log(settings: &Settings) -> Result<EmbeddedLog, Fault> {
    match &settings.log.kind {
        LogKind::Embedded(embedded) => {
            Ok(EmbeddedLog::open(&adapters::embedded(settings, embedded)).map_err(Failure::from)?)
        }
        LogKind::Kafka(_) => Err(Fault::unusable("LOG_KIND", "the log on Kafka cannot be run yet")),
    }
}

/// Runs capture and every writer until the end begins.
pub async fn run(
    settings: Settings,
    log: EmbeddedLog,
    board: Arc<Board>,
    shutdown: Shutdown,
    commands: mpsc::Receiver<Command>,
    (orders, book): (Orders, OrderBook),
    _role: Role,
) -> Result<(), Fault> {
    let log = Arc::new(log);
    let cache_dir = Some(settings.log.dir.join("compiled"));
    let engine = Engine::new(&EngineSettings { cache_dir }).map_err(Failure::from)?;
    let mut supervisor = Supervisor::new(board.clone(), shutdown.clone(), settings.log.partitions);
    let mut stores = BTreeMap::new();
    for (name, ConnectorSettings::Redis(redis)) in &settings.connectors {
        stores.insert(name.clone(), adapters::redis(name, redis)?);
    }
    let source = adapters::mysql(&settings.source, &log.id().to_string(), settings.log.partitions);
    let mut source = Mysql::new(source, book, board.clone());
    let mut records = log.writer();
    let parts = Arc::new(Parts {
        source: settings.source.name,
        partitions: settings.log.partitions,
        stores,
        log,
        engine,
        orders,
        rows_per_second: settings.dump.rows_per_second,
    });
    for writer in settings.writers {
        supervisor.start(&writer.name.clone(), launch(&parts, writer));
    }
    let ending = shutdown.ending();
    let captured = Box::pin(async move { capture(&mut source, &mut records, &board.capture, ending).await });
    Ok(supervisor.run(captured, commands).await?)
}

/// What every writer is made with, beside its own files.
struct Parts {
    /// The source's name.
    source: String,
    partitions: u32,
    /// Connectors by name.
    stores: BTreeMap<String, Arc<RedisSettings>>,
    log: Arc<EmbeddedLog>,
    engine: Engine,
    orders: Orders,
    /// Of a dump that a new writer begins with.
    rows_per_second: Option<u64>,
}

/// How a partition of a writer is started. Both of its files are read anew each time: what was mended in them is taken.
fn launch(parts: &Arc<Parts>, writer: WriterSettings) -> Launch {
    let parts = parts.clone();
    Arc::new(move |partition, status, ending| {
        let (parts, writer) = (parts.clone(), writer.clone());
        Box::pin(async move {
            let writer = writer.read_again()?;
            let store = parts.stores.get(&writer.connector).cloned().ok_or_else(|| {
                Failure::definite("CONNECTOR_UNKNOWN", format!("there is no connector {}", writer.connector))
            })?;
            let mut delivery = Delivery {
                log: parts.log.reader(&writer.name, partition).map_err(Failure::from)?,
                plugin: Plugin::load(&parts.engine, adapters::plugin(&writer, parts.partitions)).await?,
                connector: Redis::new(store, &parts.source, &writer.name, partition),
                status,
                owner: owner(),
                partition,
                beginning: parts.beginning(&writer),
                tables: writer.tables,
                writer: writer.name,
            };
            delivery.run(ending).await
        })
    })
}

impl Parts {
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
