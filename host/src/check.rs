//! `mysync check`: everything that a start needs, looked at and nothing moved.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use mysync_connectors::redis;
use mysync_wasm::{Engine, EngineSettings, Plugin};

use crate::adapters;
use crate::config::{ConnectorSettings, LogSettings, Settings, WriterSettings};
use crate::fault::{EXIT_FAILED, Fault};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Ok,
    /// It runs, and something may surprise.
    Warn,
    /// It does not run.
    Fail,
}

/// What was looked at, and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    pub of: String,
    pub message: String,
    /// What mends it, ready to be pasted.
    pub cure: Option<String>,
}

impl Finding {
    fn new(level: Level, of: impl Into<String>, message: impl Into<String>) -> Self {
        Self { level, of: of.into(), message: message.into(), cure: None }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "OK",
            Level::Warn => "WARN",
            Level::Fail => "FAIL",
        };
        write!(f, "{level:<4}  {}: {}", self.of, self.message)?;
        match &self.cure {
            Some(cure) => cure.lines().try_for_each(|line| write!(f, "\n        {line}")),
            None => Ok(()),
        }
    }
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
    tell(vec![log_directory(&settings.log)]);
    tell(stores(&settings).await);
    tell(writers(&settings).await);
    Ok(if worst == Level::Fail { ExitCode::from(EXIT_FAILED) } else { ExitCode::SUCCESS })
}

fn configuration(settings: &Settings) -> Vec<Finding> {
    let (writers, connectors) = (settings.writers.len(), settings.connectors.len());
    let message = format!("{}: {connectors} connectors, {writers} writers", settings.path.display());
    let mut findings = vec![Finding::new(Level::Ok, "configuration", message)];
    findings.extend(settings.warnings.iter().map(|doubt| Finding::new(Level::Warn, "configuration", doubt)));
    findings
}

/// Whether the log can be written, by a file that is gone at once.
fn log_directory(log: &LogSettings) -> Finding {
    let existing = log.dir.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    let probe = existing.join(format!(".mysync-check-{}", std::process::id()));
    let written = std::fs::File::create_new(&probe).and_then(|_| std::fs::remove_file(&probe));
    let (dir, of) = (log.dir.display(), "log");
    match written {
        Ok(()) if existing == log.dir => Finding::new(Level::Ok, of, format!("{dir} can be written")),
        Ok(()) => Finding::new(Level::Ok, of, format!("{dir} does not exist and can be created")),
        Err(error) => {
            let message = format!("[LOG_DIR] {} cannot be written: {error}", existing.display());
            let cure = format!("mkdir -p '{dir}' && chown $(id -u) '{dir}'");
            Finding { cure: Some(cure), ..Finding::new(Level::Fail, of, message) }
        }
    }
}

/// Every connector, and every writer's fence in it.
async fn stores(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, connector) in &settings.connectors {
        let of = format!("connector {name}");
        let ConnectorSettings::Redis(connector) = connector;
        let redis = match adapters::redis(name, connector) {
            Ok(redis) => redis,
            Err(fault) => {
                findings.push(Finding::new(Level::Fail, of, format!("[{}] {}", fault.code, fault.message)));
                continue;
            }
        };
        let writers = settings.writers.iter().filter(|writer| writer.connector == *name);
        match fences(settings, &redis, writers).await {
            Ok(fences) => {
                let message = format!("{} answers at {}", connector.url.scheme, redis);
                findings.push(Finding::new(Level::Ok, of, message));
                findings.extend(fences);
            }
            Err(failure) => findings.push(Finding::new(Level::Fail, of, failure.to_string())),
        }
    }
    findings
}

async fn fences(
    settings: &Settings,
    redis: &Arc<redis::Settings>,
    writers: impl Iterator<Item = &WriterSettings>,
) -> Result<Vec<Finding>, mysync_pipeline::failure::Failure> {
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
            None => "is new to the store".to_owned(),
            Some((log, seq)) => format!("the store has its changes up to seq {seq} of log {log}"),
        };
        findings.push(Finding::new(Level::Ok, format!("writer {}", writer.name), message));
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
        Err(error) => return vec![Finding::new(Level::Fail, "engine", format!("[{}] {error}", error.code()))],
    };
    let mut findings = Vec::new();
    for writer in &settings.writers {
        let plugin = adapters::plugin(writer, settings.log.partitions);
        let started = match Plugin::load(&engine, plugin).await {
            Ok(plugin) => plugin.start().await.map(|_| ()),
            Err(error) => Err(error),
        };
        let of = format!("writer {}", writer.name);
        findings.push(match started {
            Ok(()) => Finding::new(Level::Ok, of, format!("{} accepts its mapping", writer.component.display())),
            Err(error) => Finding::new(Level::Fail, of, format!("[{}] {error}", error.code())),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_has_its_cure_below_it() {
        let finding = Finding {
            cure: Some("SET PERSIST a = 1;\nSET PERSIST b = 2;".to_owned()),
            ..Finding::new(Level::Fail, "source", "a is 0")
        };
        assert_eq!(finding.to_string(), "FAIL  source: a is 0\n        SET PERSIST a = 1;\n        SET PERSIST b = 2;");
        assert_eq!(Finding::new(Level::Ok, "log", "fine").to_string(), "OK    log: fine");
    }

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
