//! `mysync check`: everything that a start needs, looked at and nothing moved.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use mysync_binlog::preflight::{self, Finding, Level};
use mysync_connectors::redis;
use mysync_pipeline::failure::Failure;
use mysync_wasm::{Engine, EngineSettings, Plugin};

use crate::adapters;
use crate::config::{ConnectorSettings, LogSettings, Settings, WriterSettings};
use crate::fault::{EXIT_FAILED, Fault};

/// In place of a log's id: the replica that looks is not the one that runs.
const CHECKING: &str = "check";

const OK: Level = Level::Ok;

fn finding(level: Level, code: &'static str, message: impl Into<String>) -> Finding {
    Finding { level, code, message: message.into(), cure: None }
}

pub async fn run(config: &Path) -> Result<ExitCode, Fault> {
    let settings = Settings::load(config)?;
    let mut worst = Level::Ok;
    let mut tell = |findings: Vec<Finding>| {
        for finding in findings {
            worst = worst.max(finding.level);
            println!("{finding}");
        }
    };
    tell(configuration(&settings));
    tell(source(&settings).await);
    tell(vec![log_directory(&settings.log)]);
    tell(stores(&settings).await);
    tell(writers(&settings).await);
    Ok(if worst == Level::Fail { ExitCode::from(EXIT_FAILED) } else { ExitCode::SUCCESS })
}

fn configuration(settings: &Settings) -> Vec<Finding> {
    let (writers, connectors) = (settings.writers.len(), settings.connectors.len());
    let message = format!("{}: {connectors} connectors, {writers} writers", settings.path.display());
    let mut findings = vec![finding(OK, "CONFIG", message)];
    findings.extend(settings.warnings.iter().map(|doubt| finding(Level::Warn, "CONFIG", doubt)));
    findings
}

/// What the server says of itself.
async fn source(settings: &Settings) -> Vec<Finding> {
    let replica = adapters::replica(&settings.source, CHECKING);
    preflight::diagnose(&replica, None)
        .await
        .unwrap_or_else(|error| vec![finding(Level::Fail, error.code(), error.to_string())])
}

/// Whether the log can be written, by a file that is gone at once.
fn log_directory(log: &LogSettings) -> Finding {
    let existing = log.dir.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    let probe = existing.join(format!(".mysync-check-{}", std::process::id()));
    let written = std::fs::File::create_new(&probe).and_then(|_| std::fs::remove_file(&probe));
    const CODE: &str = "LOG_DIRECTORY";
    let dir = log.dir.display();
    match written {
        Ok(()) if existing == log.dir => finding(OK, CODE, format!("{dir} can be written")),
        Ok(()) => finding(OK, CODE, format!("{dir} does not exist and can be created")),
        Err(error) => {
            let message = format!("{} cannot be written: {error}", existing.display());
            let cure = format!("mkdir -p '{dir}' && chown $(id -u) '{dir}'");
            Finding { cure: Some(cure), ..finding(Level::Fail, CODE, message) }
        }
    }
}

/// Every connector, and every writer's fence in it.
async fn stores(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, connector) in &settings.connectors {
        let ConnectorSettings::Redis(connector) = connector;
        let redis = match adapters::redis(name, connector) {
            Ok(redis) => redis,
            Err(fault) => {
                findings.push(finding(Level::Fail, fault.code, fault.message));
                continue;
            }
        };
        let writers = settings.writers.iter().filter(|writer| writer.connector == *name);
        match fences(settings, &redis, writers).await {
            Ok(fences) => {
                findings.push(finding(OK, "CONNECTOR", format!("{name} answers at {redis}")));
                findings.extend(fences);
            }
            Err(failure) => {
                findings.push(finding(Level::Fail, failure.code, format!("connector {name}: {}", failure.message)));
            }
        }
    }
    findings
}

async fn fences(
    settings: &Settings,
    redis: &Arc<redis::Settings>,
    writers: impl Iterator<Item = &WriterSettings>,
) -> Result<Vec<Finding>, Failure> {
    let fence =
        |writer: &str, partition: u32| redis::Redis::new(redis.clone(), &settings.source.name, writer, partition);
    // A connector without writers is asked for a fence that nobody has.
    fence("-", 0).read_fence().await?;
    let mut findings = Vec::new();
    for writer in writers {
        let mut logs: BTreeMap<String, u64> = BTreeMap::new();
        for partition in 0..settings.log.partitions {
            if let Some(fence) = fence(&writer.name, partition).read_fence().await? {
                let seq = logs.entry(fence.log).or_default();
                *seq = (*seq).max(fence.applied.seq);
            }
        }
        let message = match logs.iter().next() {
            None => format!("writer {} is new to the store", writer.name),
            Some((log, seq)) => format!("writer {} has come to seq {seq} of log {log}", writer.name),
        };
        findings.push(finding(OK, "FENCE", message));
    }
    Ok(findings)
}

/// Compiles every component and lets it read its mapping. Nothing is cached.
async fn writers(settings: &Settings) -> Vec<Finding> {
    if settings.writers.is_empty() {
        return Vec::new();
    }
    let engine = match Engine::new(&EngineSettings::default()) {
        Ok(engine) => engine,
        Err(error) => return vec![finding(Level::Fail, error.code(), error.to_string())],
    };
    let mut findings = Vec::new();
    for writer in &settings.writers {
        let plugin = adapters::plugin(writer, settings.log.partitions);
        let started = match Plugin::load(&engine, plugin).await {
            Ok(plugin) => plugin.start().await.map(|_| ()),
            Err(error) => Err(error),
        };
        findings.push(match started {
            Ok(()) => {
                finding(OK, "WRITER", format!("{} accepts the mapping of {}", writer.component.display(), writer.name))
            }
            Err(error) => finding(Level::Fail, error.code(), error.to_string()),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_at_the_log_directory_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let log = |dir: &str| LogSettings {
            dir: folder.path().join(dir),
            partitions: 1,
            max_bytes: 1,
            retention: std::time::Duration::ZERO,
        };
        assert_eq!(log_directory(&log("new/deeper")).level, Level::Ok);
        assert_eq!(log_directory(&log("")).level, Level::Ok);
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }
}
