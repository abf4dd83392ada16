//! `mysync check`: everything that a start needs, looked at and nothing moved.

use std::path::Path;
use std::process::ExitCode;

use mysync_binlog::preflight::{self, Finding, Level};
use mysync_binlog::source::goes_on;
use mysync_change::fence::{Fence, Place};
use mysync_connectors::redis::Redis;
use mysync_log::{LogError, Seen};
use mysync_pipeline::failure::Failure;
use mysync_pipeline::feed::Feed;
use mysync_pipeline::ports::{Found, LogReader};
use mysync_wasm::{Engine, EngineSettings, Plugin};

use crate::config::{ConnectorSettings, FirstLoad, LogSettings, Settings, WriterSettings};
use crate::fault::{EXIT_FAILED, Fault};
use crate::{adapters, telemetry};

/// In place of a log's id: the replica that looks is not the one that runs.
const CHECKING: &str = "check";

const OK: Level = Level::Ok;

/// The log as a start would find it.
enum Log {
    /// There is none: the first start makes it.
    New,
    Seen(Seen),
    /// It is refused, and nothing can be held against it.
    Refused,
}

fn finding(level: Level, code: &'static str, message: impl Into<String>) -> Finding {
    Finding { level, code, message: message.into(), cure: None }
}

fn failed(failure: Failure) -> Finding {
    finding(Level::Fail, failure.code, failure.message)
}

pub async fn run(config: &Path) -> Result<ExitCode, Fault> {
    let settings = Settings::load(config)?;
    // What writers say themselves, and what they will stop at only later.
    telemetry::start_logging(&settings.telemetry)?;
    let mut worst = Level::Ok;
    let mut tell = |findings: Vec<Finding>| {
        for finding in findings {
            worst = worst.max(finding.level);
            println!("{finding}");
        }
    };
    tell(configuration(&settings));
    tell(vec![log_directory(&settings.log)]);
    let (log, found) = look(&settings.log);
    tell(vec![found]);
    tell(source(&settings, &log).await);
    let (found, begin_with_dumps) = stores(&settings, &log).await;
    tell(found);
    if begin_with_dumps {
        tell(dumps(&settings).await);
    }
    tell(writers(&settings, &log).await);
    Ok(if worst == Level::Fail { ExitCode::from(EXIT_FAILED) } else { ExitCode::SUCCESS })
}

fn configuration(settings: &Settings) -> Vec<Finding> {
    let (writers, connectors) = (settings.writers.len(), settings.connectors.len());
    let message = format!("{}: {connectors} connectors, {writers} writers", settings.path.display());
    let mut findings = vec![finding(OK, "CONFIG", message)];
    findings.extend(settings.warnings.iter().map(|doubt| finding(Level::Warn, "CONFIG", doubt)));
    findings
}

/// What the server says of itself, and of the place where the log goes on.
async fn source(settings: &Settings, log: &Log) -> Vec<Finding> {
    let replica = adapters::replica(&settings.source, CHECKING);
    let checkpoint = match log {
        Log::Seen(seen) => seen.checkpoint.as_ref(),
        Log::New | Log::Refused => None,
    };
    let mut findings = match preflight::diagnose(&replica, checkpoint).await {
        Ok(findings) => findings,
        Err(error) => return vec![finding(Level::Fail, error.code(), error.to_string())],
    };
    if let Some(checkpoint) = checkpoint
        && let Err(error) = goes_on(&replica, checkpoint).await
    {
        findings.push(finding(Level::Fail, error.code(), error.to_string()));
    }
    findings
}

/// Whether the dumps that writers begin with could run. A source that does not answer was told of already.
async fn dumps(settings: &Settings) -> Vec<Finding> {
    preflight::diagnose_dumps(&adapters::replica(&settings.source, CHECKING)).await.into_iter().collect()
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

/// The log, also while another process has it: that is no reason not to look.
fn look(settings: &LogSettings) -> (Log, Finding) {
    const CODE: &str = "LOG_STATE";
    let dir = settings.dir.display();
    match adapters::look(settings) {
        Ok(seen) => {
            let to = match &seen.checkpoint {
                Some(checkpoint) => format!("capture has come to {}", checkpoint.position),
                None => "capture has not begun".to_owned(),
            };
            let found = finding(OK, CODE, format!("{dir} holds log {}: {to}", seen.id));
            (Log::Seen(seen), found)
        }
        Err(LogError::Absent { .. }) => (Log::New, finding(OK, CODE, format!("{dir} holds no log yet"))),
        Err(error) => (Log::Refused, failed(error.into())),
    }
}

/// Every connector, and every writer's fences in it; and whether a writer will begin with a dump.
async fn stores(settings: &Settings, log: &Log) -> (Vec<Finding>, bool) {
    let (mut findings, mut begin_with_dumps) = (Vec::new(), false);
    for (name, connector) in &settings.connectors {
        let ConnectorSettings::Redis(connector) = connector;
        let redis = match adapters::redis(name, connector) {
            Ok(redis) => redis,
            Err(fault) => {
                findings.push(finding(Level::Fail, fault.code, fault.message));
                continue;
            }
        };
        let store = |writer: &str, partition: u32| Redis::new(redis.clone(), &settings.source.name, writer, partition);
        // A fence that nobody has: whether the store answers.
        if let Err(failure) = store("-", 0).read_fence().await {
            let message = format!("connector {name}: {}", failure.message);
            findings.push(finding(Level::Fail, failure.code, message));
            continue;
        }
        findings.push(finding(OK, "CONNECTOR", format!("{name} answers at {redis}")));
        for writer in settings.writers.iter().filter(|writer| writer.connector == *name) {
            for partition in 0..settings.log.partitions {
                let mut store = store(&writer.name, partition);
                let found = standing(&mut store, log, &settings.log, writer, partition).await;
                let (found, is_new) = found.unwrap_or_else(|failure| (failed(failure), false));
                begin_with_dumps |= is_new && writer.dump == FirstLoad::Initial;
                findings.push(found);
            }
        }
    }
    (findings, begin_with_dumps)
}

/// Where a writer stands in a partition, and whether it could go on there; and whether it is new.
async fn standing(
    store: &mut Redis,
    log: &Log,
    settings: &LogSettings,
    writer: &WriterSettings,
    partition: u32,
) -> Result<(Finding, bool), Failure> {
    let mut fence = store.read_fence().await?;
    loop {
        let found = match (log, &fence) {
            (Log::New, Some(fence)) => replaced(settings, &writer.name, fence, None),
            (Log::Seen(seen), Some(fence)) if fence.log != seen.id.to_string() => {
                replaced(settings, &writer.name, fence, Some(seen))
            }
            (Log::Seen(_), fence) => way_on(settings, writer, partition, fence.as_ref()).await?,
            (_, fence) => stands(writer, partition, fence.as_ref()),
        };
        if found.level == OK {
            return Ok((found, fence.is_none()));
        }
        // A writer that runs goes on meanwhile: what was found may be of two moments.
        let now = store.read_fence().await?;
        if now == fence {
            return Ok((found, false));
        }
        fence = now;
    }
}

fn stands(writer: &WriterSettings, partition: u32, fence: Option<&Fence>) -> Finding {
    let name = &writer.name;
    let message = match fence {
        None => {
            let begins = match writer.dump {
                FirstLoad::Initial => "a dump of its tables",
                FirstLoad::Never => "what the log holds",
            };
            format!("writer {name} is new to the store in partition {partition}, and begins with {begins}")
        }
        Some(Fence { log, applied, .. }) => {
            format!("writer {name} has come to seq {} of log {log} in partition {partition}", applied.seq)
        }
    };
    finding(OK, "FENCE", message)
}

fn replaced(settings: &LogSettings, writer: &str, fence: &Fence, seen: Option<&Seen>) -> Finding {
    let dir = settings.dir.display();
    let (holds, first) = match seen {
        Some(seen) => (format!("log {}", seen.id), ""),
        None => ("none".to_owned(), "mysync run # makes a new one; then "),
    };
    let message =
        format!("the store was last written for writer {writer} from log {}, and {dir} holds {holds}", fence.log);
    let cure = format!("bring that log back; or, if it is gone for good: {first}mysync writer rebase {writer}");
    Finding { cure: Some(cure), ..finding(Level::Fail, "LOG_REPLACED", message) }
}

/// Whether the log holds what comes next for a writer.
async fn way_on(
    settings: &LogSettings,
    writer: &WriterSettings,
    partition: u32,
    fence: Option<&Fence>,
) -> Result<Finding, Failure> {
    let name = &writer.name;
    let mut log = mysync_log::read_only(&settings.dir, name, partition)?;
    let fail = |code, message: String, cure: &str| {
        let cure = format!("mysync writer {cure}");
        Ok(Finding {
            cure: Some(cure),
            ..finding(Level::Fail, code, format!("writer {name}, partition {partition}: {message}"))
        })
    };
    if fence.is_none() && log.has_advanced().await? {
        let message = "the fence is gone from its store, which has been written before, so rows are missing too";
        let cure = match log.find(&Place::default()).await? {
            Found::Trimmed { .. } => format!("rebase {name} --to end; then mysync dump --writer {name}"),
            Found::Next | Found::Repeated { .. } => format!("rewind {name}"),
        };
        return fail("STORE_EMPTIED", message.to_owned(), &cure);
    }
    if fence.is_none() && writer.dump == FirstLoad::Initial {
        // It begins where the log ends.
        return Ok(stands(writer, partition, None));
    }
    let begins = fence.map_or_else(Place::default, |fence| fence.applied.clone());
    if let Found::Trimmed { start } = log.find(&begins).await? {
        let code = if begins.seq == 0 { "LOG_INCOMPLETE" } else { "LOG_TRIMMED" };
        let message = format!("it goes on behind seq {}, and the log begins behind {start}", begins.seq);
        return fail(code, message, &format!("rebase {name} --to start; then mysync dump --writer {name}"));
    }
    Ok(stands(writer, partition, fence))
}

/// Compiles every component and lets it read its mapping, and the tables that the log knows. Nothing is cached.
async fn writers(settings: &Settings, log: &Log) -> Vec<Finding> {
    if settings.writers.is_empty() {
        return Vec::new();
    }
    let engine = match Engine::new(&EngineSettings::default()) {
        Ok(engine) => engine,
        Err(error) => return vec![failed(error.into())],
    };
    let mut findings = Vec::new();
    for writer in &settings.writers {
        findings.push(match accepts(&engine, settings, writer, log).await {
            Ok(()) => {
                finding(OK, "WRITER", format!("{} accepts the mapping of {}", writer.component.display(), writer.name))
            }
            Err(failure) => failed(failure),
        });
    }
    findings
}

async fn accepts(engine: &Engine, settings: &Settings, writer: &WriterSettings, log: &Log) -> Result<(), Failure> {
    let plugin = Plugin::load(engine, adapters::plugin(writer, settings.log.partitions)).await?;
    let instance = plugin.start().await?;
    if let Log::Seen(_) = log {
        // Every partition knows all of them.
        let mut log = mysync_log::read_only(&settings.log.dir, &writer.name, 0)?;
        let mut feed = Feed::new(&writer.name, &writer.tables, &mut log, instance, &Place::default());
        feed.show_latest_shapes().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EmbeddedSettings, LogKind};

    #[test]
    fn looking_at_the_log_directory_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let kind = LogKind::Embedded(EmbeddedSettings::default());
        let log = |dir: &str| LogSettings { dir: folder.path().join(dir), partitions: 1, kind: kind.clone() };
        assert_eq!(log_directory(&log("new/deeper")).level, Level::Ok);
        assert_eq!(log_directory(&log("")).level, Level::Ok);
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }
}
