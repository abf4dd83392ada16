//! The configuration: one main file, and a pair of files for each writer.
//!
//! Everything is checked while it is read. A mistake names its file and line; a value that may hold a secret is never quoted.

mod connectors;
mod error;
#[cfg(test)]
mod fixtures;
mod folders;
mod kafka;
mod log;
mod names;
mod operation;
mod secret;
mod section;
mod source;
mod units;
mod url;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

pub use connectors::{ConnectorSettings, RedisSettings};
pub use error::{ConfigError, Mistake};
pub use folders::{FirstLoad, FolderSettings, WriterSettings};
pub use kafka::{Cleanup, Compression, KafkaSettings, SaslMechanism, Topics};
pub use log::{EmbeddedSettings, LogKind, LogSettings};
pub use operation::{AdminSettings, DumpSettings, LogFormat, ROWS_PER_SECOND_MAX, TelemetrySettings};
pub use secret::{Secret, Variables};
pub use source::{SourceSettings, Start, TlsMode};
pub use url::encode;

use names::{is_within, overlap};
use section::{Origin, Section};

/// A configuration fits on a screen; a larger file is another file by mistake.
const MAIN_BYTES_MAX: u64 = 1 << 20;

/// A configuration that can be run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The main file.
    pub path: PathBuf,
    pub source: SourceSettings,
    pub log: LogSettings,
    pub connectors: BTreeMap<String, ConnectorSettings>,
    pub folders: Vec<Arc<FolderSettings>>,
    pub writers: Vec<WriterSettings>,
    pub dump: DumpSettings,
    pub admin: AdminSettings,
    pub telemetry: TelemetrySettings,
    /// What is allowed and probably not meant.
    pub warnings: Vec<String>,
}

impl Settings {
    /// Reads the main file and every writer's, with variables from the environment.
    pub fn load(path: &Path) -> Result<Self, Vec<ConfigError>> {
        Self::load_with(path, &environment)
    }

    /// The first mistake of the main file, or that of each writer's file.
    pub fn load_with(path: &Path, variables: Variables<'_>) -> Result<Self, Vec<ConfigError>> {
        let mut settings = Self::load_main(path, variables).map_err(|error| vec![error])?;
        let mut mistakes = Vec::new();
        for folder in &settings.folders {
            let files = folder.writer_files().unwrap_or_else(|error| {
                mistakes.push(error);
                Vec::new()
            });
            for file in files {
                match folder.read_writer(&file) {
                    Ok(writer) => settings.writers.push(writer),
                    Err(error) => mistakes.push(error),
                }
            }
        }
        mistakes.extend(settings.shared_names());
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        settings.warnings = settings.doubts();
        Ok(settings)
    }

    fn load_main(path: &Path, variables: Variables<'_>) -> Result<Self, ConfigError> {
        let text = read_file(path, MAIN_BYTES_MAX)?;
        let origin = Origin { path, text: &text, variables: Some(variables) };
        let table = DeTable::parse(&text).map_err(|error| origin.syntax(&error))?;
        let mut root = Section::root(origin, table.get_ref());

        let source = root.required("source")?.section("[source]")?;
        let connectors = root.get("connectors");
        let folders = root.get("folders");
        let mut optional = |key, name| root.get(key).map(|value| value.section(name)).transpose();
        let log = optional("log", "[log]")?;
        let dump = optional("dump", "[dump]")?;
        let admin = optional("admin", "[admin]")?;
        let telemetry = optional("telemetry", "[telemetry]")?;
        // Before anything is read: a misspelt table must not look like one that is missing something.
        root.finish()?;

        let source = source::read(source)?;
        let connectors = connectors.map_or(Ok(BTreeMap::new()), |value| connectors::read(&value))?;
        let mut read = Vec::new();
        for section in folders.map_or(Ok(Vec::new()), |value| value.sections("[[folders]]"))? {
            read.push(Arc::new(FolderSettings::read(section, &connectors)?));
        }
        Ok(Self {
            path: path.to_owned(),
            log: log::read(origin, log, &source.name)?,
            source,
            connectors,
            folders: read,
            writers: Vec::new(),
            dump: operation::read_dump(dump)?,
            admin: operation::read_admin(admin)?,
            telemetry: operation::read_telemetry(telemetry)?,
            warnings: Vec::new(),
        })
    }

    /// Two writers of one name would share a fence.
    fn shared_names(&self) -> Vec<ConfigError> {
        let mut first: BTreeMap<&str, &Path> = BTreeMap::new();
        let mut mistakes = Vec::new();
        for writer in &self.writers {
            if let Some(other) = first.insert(&writer.name, &writer.file) {
                let message = format!("has the name of {}: rename one of them", other.display());
                mistakes.push(ConfigError::of_file(Mistake::Value, &writer.file, message));
            }
        }
        mistakes
    }

    fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.writers.is_empty() {
            doubts.push("no writer is configured: changes go into the log and nowhere else".to_owned());
        }
        if let LogKind::Kafka(kafka) = &self.log.kind
            && kafka.shows_password()
        {
            doubts.push(
                "log.sasl sends its password to the brokers as it is, over connections that are not encrypted: add [log.tls], or use \
                 scram-sha-512"
                    .to_owned(),
            );
        }
        for (i, writer) in self.writers.iter().enumerate() {
            let captured = |table: &&mysync_change::pattern::Pattern| {
                self.source.tables.iter().any(|pattern| overlap(pattern, table))
                    && !is_within(table, &self.source.exclude)
            };
            for table in writer.tables.iter().filter(|table| !captured(table)) {
                doubts.push(format!("writer {} waits for {table}, which the source does not capture", writer.name));
            }
            let shares = |other: &&WriterSettings| {
                other.connector == writer.connector
                    && writer.keys.iter().any(|key| other.keys.iter().any(|theirs| overlap(key, theirs)))
            };
            let others: Vec<&str> =
                self.writers[i + 1..].iter().filter(shares).map(|other| other.name.as_str()).collect();
            if !others.is_empty() {
                doubts.push(format!(
                    "writer {} may write the same keys as {}: narrow them with [wants] keys, or they may overwrite each other",
                    writer.name,
                    others.join(", ")
                ));
            }
        }
        doubts
    }
}

/// `[admin]` alone: looking at a process needs none of its secrets.
pub fn load_admin(path: &Path) -> Result<AdminSettings, Vec<ConfigError>> {
    load_part(path, |_, root| {
        let section = root.get("admin").map(|value| value.section("[admin]")).transpose()?;
        operation::read_admin(section)
    })
}

/// `[log]` alone, and the source's name: looking at the log needs no login to MySQL.
pub fn load_log(path: &Path) -> Result<LogSettings, Vec<ConfigError>> {
    load_part(path, |origin, root| {
        let source = source::read_name(&mut root.required("source")?.section("[source]")?)?;
        let section = root.get("log").map(|value| value.section("[log]")).transpose()?;
        log::read(origin, section, &source)
    })
}

fn load_part<T>(
    path: &Path,
    read: impl FnOnce(Origin<'_>, &mut Section<'_>) -> Result<T, ConfigError>,
) -> Result<T, Vec<ConfigError>> {
    let load = || {
        let text = read_file(path, MAIN_BYTES_MAX)?;
        let origin = Origin { path, text: &text, variables: Some(&environment) };
        let table = DeTable::parse(&text).map_err(|error| origin.syntax(&error))?;
        read(origin, &mut Section::root(origin, table.get_ref()))
    };
    load().map_err(|error| vec![error])
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn check_pair(section: &Section<'_>, cert: &Option<PathBuf>, key: &Option<PathBuf>) -> Result<(), ConfigError> {
    match (cert, key) {
        (Some(_), None) => Err(section.error(Mistake::Missing, "`cert` needs its `key`")),
        (None, Some(_)) => Err(section.error(Mistake::Missing, "`key` needs its `cert`")),
        _ => Ok(()),
    }
}

fn read_file(path: &Path, most: u64) -> Result<String, ConfigError> {
    let unreadable =
        |reason: String| ConfigError::of_file(Mistake::Unreadable, path, format!("cannot be read: {reason}"));
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut text = String::new();
    let read = file.take(most + 1).read_to_string(&mut text).map_err(|error| unreadable(error.to_string()))?;
    if read as u64 > most { Err(unreadable(format!("it is larger than {most} bytes"))) } else { Ok(text) }
}
