//! Puts the parts together: the only file that names concrete adapters side by side.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use mysync_binlog::source::Mysql;
use mysync_connectors::redis::{Redis, Settings as RedisSettings};
use mysync_log::EmbeddedLog;
use mysync_pipeline::capture::capture;
use mysync_pipeline::deliver::Delivery;
use mysync_pipeline::dump::{Beginning, OrderBook, Orders};
use mysync_pipeline::failure::Failure;
use mysync_pipeline::shutdown::Shutdown;
use mysync_pipeline::status::Board;
use mysync_wasm::{Engine, EngineSettings, Plugin};
use tokio::sync::mpsc;

use crate::adapters;
use crate::admin::Command;
use crate::config::{ConnectorSettings, Settings, WriterSettings};
use crate::fault::Fault;
use crate::supervisor::{Launch, Supervisor};

/// Opens the log before anything else: of two processes on one log the second says who has it.
pub fn open_log(settings: &Settings) -> Result<EmbeddedLog, Fault> {
    Ok(EmbeddedLog::open(&adapters::log(settings)).map_err(Failure::from)?)
}

/// Runs capture and every writer until the end begins.
pub async fn run(
    settings: Settings,
    log: EmbeddedLog,
    board: Arc<Board>,
    shutdown: Shutdown,
    commands: mpsc::Receiver<Command>,
    _dumps: (Orders, OrderBook),
) -> Result<(), Fault> {
    let log = Arc::new(log);
    let cache_dir = Some(settings.log.dir.join("compiled"));
    let engine = Engine::new(&EngineSettings { cache_dir }).map_err(Failure::from)?;
    let mut supervisor = Supervisor::new(board.clone(), shutdown.clone(), settings.log.partitions);
    let mut stores = Stores::new();
    for (name, ConnectorSettings::Redis(redis)) in &settings.connectors {
        stores.insert(name.clone(), adapters::redis(name, redis)?);
    }
    let stores = Arc::new(stores);
    for writer in &settings.writers {
        supervisor.start(&writer.name, launch(&settings, writer, &stores, &log, &engine));
    }
    let mut source = Mysql::new(adapters::mysql(&settings.source, &log.id().to_string(), settings.log.partitions));
    let mut records = log.writer();
    let ending = shutdown.ending();
    let captured = Box::pin(async move { capture(&mut source, &mut records, &board.capture, ending).await });
    Ok(supervisor.run(captured, commands).await?)
}

/// Connectors by name.
type Stores = BTreeMap<String, Arc<RedisSettings>>;

/// How a partition of a writer is started. Both of its files are read anew each time: what was mended in them is taken.
fn launch(
    settings: &Settings,
    writer: &WriterSettings,
    stores: &Arc<Stores>,
    log: &Arc<EmbeddedLog>,
    engine: &Engine,
) -> Launch {
    let (source, partitions) = (settings.source.name.clone(), settings.log.partitions);
    let (writer, stores, log, engine) = (writer.clone(), stores.clone(), log.clone(), engine.clone());
    Arc::new(move |partition, status, ending| {
        let (writer, stores, log, engine) = (writer.clone(), stores.clone(), log.clone(), engine.clone());
        let source = source.clone();
        Box::pin(async move {
            let writer = writer.read_again()?;
            let store = stores.get(&writer.connector).cloned().ok_or_else(|| {
                Failure::definite("CONNECTOR_UNKNOWN", format!("there is no connector {}", writer.connector))
            })?;
            let mut delivery = Delivery {
                log: log.reader(&writer.name, partition).map_err(Failure::from)?,
                plugin: Plugin::load(&engine, adapters::plugin(&writer, partitions)).await?,
                connector: Redis::new(store, &source, &writer.name, partition),
                status,
                owner: owner(),
                partition,
                beginning: Beginning::Log,
                tables: writer.tables,
                writer: writer.name,
            };
            delivery.run(ending).await
        })
    })
}

/// Names one task among all that ever wrote a fence.
fn owner() -> String {
    let chance = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", chance(), chance())
}
