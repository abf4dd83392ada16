//! `mysync check`: everything that a start needs, looked at and nothing moved.

use std::path::Path;
use std::process::ExitCode;

use mysync_binlog::preflight::{self, Finding, Level};
use mysync_binlog::source::goes_on;
use mysync_change::fence::{Fence, Place};
use mysync_connectors::redis::Redis;
use mysync_log::kafka;
use mysync_log::{LogError, Seen};
use mysync_pipeline::failure::Failure;
use mysync_pipeline::feed::Feed;
use mysync_pipeline::ports::{Found, LogReader};
use mysync_wasm::{Engine, EngineSettings, Plugin};

use crate::config::{ConnectorSettings, FirstLoad, KafkaSettings, LogKind, LogSettings, Settings, WriterSettings};
use crate::fault::{EXIT_FAILED, Fault};
use crate::{adapters, outside, telemetry};

/// In place of a log's id: the replica that looks is not the one that runs.
const CHECKING: &str = "check";

const OK: Level = Level::Ok;

/// The log as a start would find it.
enum Log {
    /// There is none: the first start makes it.
    New,
    Seen(Seen, outside::Log),
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
    let (log, found) = match &settings.log.kind {
        LogKind::Embedded(_) => look(&settings.log),
        LogKind::Kafka(kafka) => look_at_cluster(&settings.log, kafka).await,
    };
    tell(found);
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
        Log::Seen(seen, _) => seen.checkpoint.as_ref(),
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

/// The embedded log, also while another process has it: that is no reason not to look.
fn look(settings: &LogSettings) -> (Log, Vec<Finding>) {
    let dir = settings.dir.display();
    match adapters::look(settings) {
        Ok(seen) => {
            let found = holds(&dir.to_string(), &seen);
            let log = outside::Log::Embedded(settings.dir.clone(), seen.partitions);
            (Log::Seen(seen, log), vec![found])
        }
        Err(LogError::Absent { .. }) => (Log::New, vec![holds_none(&dir.to_string())]),
        Err(error) => (Log::Refused, vec![failed(error.into())]),
    }
}

/// The cluster, its topics, and the log in them. Nothing is made, and no group is joined.
async fn look_at_cluster(settings: &LogSettings, kafka: &KafkaSettings) -> (Log, Vec<Finding>) {
    let found = match kafka::look(adapters::kafka(kafka, settings.partitions)).await {
        Ok(found) => found,
        Err(error) => return (Log::Refused, vec![failed(error.into())]),
    };
    let mut findings = vec![finding(
        OK,
        "KAFKA_CLUSTER",
        format!("cluster {} answers at {}", found.cluster, kafka.brokers.join(", ")),
    )];
    for breach in &found.allowed {
        findings.push(finding(Level::Warn, "KAFKA_SETTING", format!("allowed by log.allow: {}", breach.what)));
    }
    for breach in &found.refused {
        let way_out = if breach.is_fatal {
            String::new()
        } else {
            format!(". Whoever can live with that adds \"{}\" to log.allow", breach.setting)
        };
        let message = format!("{}{way_out}", breach.what);
        findings.push(finding(Level::Fail, "KAFKA_SETTING", message));
    }
    let missing = found.missing.join(", ");
    let holder = holder(settings);
    let log = match found.log {
        Some(_) if found.records_gone => {
            let message = format!("{holder} holds a log, and the topic with its records was deleted: {missing}");
            findings.push(finding(Level::Fail, "KAFKA_TOPIC_MISSING", message));
            return (Log::Refused, findings);
        }
        Some((seen, readers)) => {
            findings.push(holds(&holder, &seen));
            Log::Seen(seen, outside::Log::Kafka(readers))
        }
        None => {
            findings.push(holds_none(&holder));
            Log::New
        }
    };
    if !missing.is_empty() {
        findings.push(finding(OK, "KAFKA_TOPICS", format!("a start makes what is missing: {missing}")));
    }
    (log, findings)
}

const LOG_STATE: &str = "LOG_STATE";

fn holds(holder: &str, seen: &Seen) -> Finding {
    let to = match &seen.checkpoint {
        Some(checkpoint) => format!("capture has come to {}", checkpoint.position),
        None => "capture has not begun".to_owned(),
    };
    finding(OK, LOG_STATE, format!("{holder} holds log {}: {to}", seen.id))
}

fn holds_none(holder: &str) -> Finding {
    finding(OK, LOG_STATE, format!("{holder} holds no log yet"))
}

/// Where the log is.
fn holder(settings: &LogSettings) -> String {
    match &settings.kind {
        LogKind::Embedded(_) => settings.dir.display().to_string(),
        LogKind::Kafka(kafka) => format!("prefix {} on Kafka", kafka.prefix),
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
            let partitions = match log {
                Log::Seen(_, log) => log.partitions(&writer.tables),
                // Those of tables are added later.
                Log::New | Log::Refused => (0..settings.log.partitions_at_first()).collect(),
            };
            let first = store(&writer.name, 0).read_fence().await.ok().flatten();
            for partition in partitions {
                let mut store = store(&writer.name, partition);
                let found = standing(&mut store, log, &settings.log, writer, partition, first.as_ref()).await;
                let (found, is_new) = found.unwrap_or_else(|failure| (failed(failure), false));
                begin_with_dumps |= is_new && writer.dump == FirstLoad::Initial;
                findings.push(found);
            }
        }
    }
    (findings, begin_with_dumps)
}

/// Where a writer stands in a partition, and whether it could go on there; and whether it is new. `first`: its fence in partition 0, which says
/// which log it is in.
async fn standing(
    store: &mut Redis,
    log: &Log,
    settings: &LogSettings,
    writer: &WriterSettings,
    partition: u32,
    first: Option<&Fence>,
) -> Result<(Finding, bool), Failure> {
    let mut fence = store.read_fence().await?;
    loop {
        let is_seen = |fence: &Fence| matches!(log, Log::Seen(seen, _) if fence.log == seen.id.to_string());
        // What another log has left where this one came on later says nothing.
        let begun = partition > 0 && first.is_some_and(is_seen);
        let counts = fence.as_ref().filter(|fence| !begun || is_seen(fence));
        let found = match (log, counts) {
            (Log::New, Some(fence)) => replaced(settings, &writer.name, fence, None),
            (Log::Seen(seen, _), Some(fence)) if fence.log != seen.id.to_string() => {
                replaced(settings, &writer.name, fence, Some(seen))
            }
            (Log::Seen(_, log), fence) => way_on(log, writer, partition, fence).await?,
            (_, fence) => stands(writer, partition, fence),
        };
        if found.level == OK {
            return Ok((found, counts.is_none()));
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
    let holder = holder(settings);
    let (holds, first) = match seen {
        Some(seen) => (format!("log {}", seen.id), ""),
        None => ("none".to_owned(), "mysync run # makes a new one; then "),
    };
    let message =
        format!("the store was last written for writer {writer} from log {}, and {holder} holds {holds}", fence.log);
    let cure = format!("bring that log back; or, if it is gone for good: {first}mysync writer rebase {writer}");
    Finding { cure: Some(cure), ..finding(Level::Fail, "LOG_REPLACED", message) }
}

/// Whether the log holds what comes next for a writer.
async fn way_on(
    log: &outside::Log,
    writer: &WriterSettings,
    partition: u32,
    fence: Option<&Fence>,
) -> Result<Finding, Failure> {
    let name = &writer.name;
    let mut log = log.reader(name, partition).await?;
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
    let compacted = log.compaction().await?.is_some();
    let rebuilds = fence.is_none_or(|fence| fence.rebuild.is_some());
    if compacted && rebuilds {
        // The last record of each key is all it needs.
        return Ok(stands(writer, partition, fence));
    }
    if let Found::Trimmed { start } = log.find(&begins).await? {
        if compacted {
            let message = format!("it goes on behind seq {}, and records behind that were removed already", begins.seq);
            return fail(
                "REBUILD_NEEDED",
                message,
                &format!("rewind {name} # once its keys are removed from the store"),
            );
        }
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
    if let Log::Seen(_, log) = log {
        // Every partition knows all of them.
        let mut log = log.reader(&writer.name, 0).await?;
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
