//! `[log]`, `[dump]`, `[admin]`, `[telemetry]`: how the process itself runs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::error::ConfigError;
use super::section::{Origin, Section};
use super::units;

/// A day of changes on disk at most; a store that is away longer is a matter for people.
const RETENTION: Duration = Duration::from_secs(24 * 3600);
/// Fits on any disk and holds hours of a busy source.
const LOG_BYTES: u64 = 10 << 30;
/// The least that lets capture run ahead of delivery: some blocks.
const LOG_BYTES_MIN: u64 = 64 << 20;
/// Each partition is a task with its own connection for every writer.
const PARTITIONS_MAX: u32 = 256;
/// More than any server reads: a higher one is a slip of the keyboard.
pub const ROWS_PER_SECOND_MAX: u64 = 1_000_000_000;
const LISTEN: &str = "127.0.0.1:7070";

/// The log on this machine.
#[derive(Debug, Clone)]
pub struct LogSettings {
    pub dir: PathBuf,
    pub partitions: u32,
    /// At this size capture pauses rather than delete what a writer has not passed.
    pub max_bytes: u64,
    /// How long records are kept that every writer has passed.
    pub retention: Duration,
}

/// First loads of tables.
#[derive(Debug, Clone, Default)]
pub struct DumpSettings {
    /// What a dump reads at most, unless its own order says otherwise; none: as fast as the writers take it.
    pub rows_per_second: Option<u64>,
}

/// Health, metrics and commands over HTTP. There is no login, so an address other than loopback has been allowed by name.
#[derive(Debug, Clone)]
pub struct AdminSettings {
    /// None: switched off.
    pub listen: Option<SocketAddr>,
}

#[derive(Debug, Clone)]
pub struct TelemetrySettings {
    pub log: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,mysync_log=debug`.
    pub level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    #[default]
    Human,
    Json,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self { log: LogFormat::Human, level: "info".to_owned() }
    }
}

pub fn read_log(origin: Origin<'_>, section: Option<Section<'_>>) -> Result<LogSettings, ConfigError> {
    let mut log =
        LogSettings { dir: origin.base().join("data"), partitions: 1, max_bytes: LOG_BYTES, retention: RETENTION };
    let Some(mut section) = section else { return Ok(log) };
    section.get("kind").map(|value| value.one_of(&[("embedded", ())])).transpose()?;
    if let Some(value) = section.get("dir") {
        log.dir = value.path()?;
    }
    if let Some(value) = section.get("partitions") {
        log.partitions = value.number(1, PARTITIONS_MAX)?;
    }
    if let Some(value) = section.get("max_bytes") {
        log.max_bytes = value.parse(units::bytes)?;
        if log.max_bytes < LOG_BYTES_MIN {
            return Err(value.wrong("is too small for a log: give it at least 64MiB"));
        }
    }
    if let Some(value) = section.get("retention") {
        log.retention = value.parse(units::duration)?;
    }
    section.finish()?;
    Ok(log)
}

pub fn read_dump(section: Option<Section<'_>>) -> Result<DumpSettings, ConfigError> {
    let mut dump = DumpSettings::default();
    let Some(mut section) = section else { return Ok(dump) };
    dump.rows_per_second =
        section.get("rows_per_second").map(|value| value.number(1, ROWS_PER_SECOND_MAX)).transpose()?;
    section.finish()?;
    Ok(dump)
}

pub fn read_admin(section: Option<Section<'_>>) -> Result<AdminSettings, ConfigError> {
    let mut admin = AdminSettings { listen: LISTEN.parse().ok() };
    let Some(mut section) = section else { return Ok(admin) };
    let listen = section.get("listen");
    let allow_remote = section.get("allow_remote").map_or(Ok(false), |value| value.flag())?;
    if let Some(value) = listen {
        admin.listen = value.parse(|text| match text {
            "none" => Ok(None),
            _ => text.parse().map(Some).map_err(|_| {
                format!(
                    "is \"{text}\", which is no address: write one such as \"{LISTEN}\", or \"none\" to switch it off"
                )
            }),
        })?;
        if admin.listen.is_some_and(|address| !address.ip().is_loopback()) && !allow_remote {
            return Err(value.wrong(
                "can be reached from other machines, and anybody who reaches it may resume writers and order dumps: listen on 127.0.0.1, or set \
                 allow_remote = true",
            ));
        }
    }
    section.finish()?;
    Ok(admin)
}

pub fn read_telemetry(section: Option<Section<'_>>) -> Result<TelemetrySettings, ConfigError> {
    let mut telemetry = TelemetrySettings::default();
    let Some(mut section) = section else { return Ok(telemetry) };
    if let Some(value) = section.get("log") {
        telemetry.log = value.one_of(&[("human", LogFormat::Human), ("json", LogFormat::Json)])?;
    }
    if let Some(value) = section.get("level") {
        telemetry.level = value.parse(crate::telemetry::checked_level)?;
    }
    section.finish()?;
    Ok(telemetry)
}
