//! `[[folders]]`: what the writers of a team may have at most; and the writers in it, each a pair of files.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mysync_change::pattern::Pattern;
use toml::de::DeTable;

use super::connectors::ConnectorSettings;
use super::error::{ConfigError, Mistake};
use super::names::{checked_name, checked_tables, is_within};
use super::section::{Origin, Section, Value};
use super::units;

/// A mapping is written by hand; a larger file is another file by mistake.
const WRITER_BYTES_MAX: u64 = 1 << 20;

const FIRST_LOADS: [(&str, FirstLoad); 2] = [("initial", FirstLoad::Initial), ("never", FirstLoad::Never)];

/// A writer: a component and its mapping, with what it was granted.
#[derive(Debug, Clone)]
pub struct WriterSettings {
    /// The identity of its fence and its place in the log.
    pub name: String,
    /// Its TOML file.
    pub file: PathBuf,
    pub folder: Arc<FolderSettings>,
    pub component: PathBuf,
    /// The whole text of `file`, for the component.
    pub mapping: String,
    /// One of the settings' connectors.
    pub connector: String,
    pub tables: Vec<Pattern>,
    /// The keys it may touch.
    pub keys: Vec<Pattern>,
    pub dump: FirstLoad,
    pub limits: LimitSettings,
}

/// What a writer that has never written begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FirstLoad {
    /// A dump of its tables.
    #[default]
    Initial,
    /// What the log holds.
    Never,
}

/// What one instance may use; none: the engine's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitSettings {
    /// Bytes.
    pub memory: Option<u64>,
    /// Time one call may run.
    pub deadline: Option<Duration>,
    /// Bytes one call may hand over.
    pub output: Option<u64>,
}

/// A team's folder and its ceiling.
#[derive(Debug, Clone)]
pub struct FolderSettings {
    pub path: PathBuf,
    pub connectors: Vec<String>,
    pub keys: Vec<Pattern>,
    /// Every captured table, unless said otherwise.
    pub tables: Vec<Pattern>,
    pub limits: LimitSettings,
}

impl WriterSettings {
    /// As its file is by now.
    pub fn read_again(&self) -> Result<Self, ConfigError> {
        self.folder.read_writer(&self.file)
    }
}

impl FolderSettings {
    pub fn read(
        mut section: Section<'_>,
        connectors: &BTreeMap<String, ConnectorSettings>,
    ) -> Result<Self, ConfigError> {
        let path = section.required("path")?;
        let granted = section.required("connectors")?;
        let folder = Self {
            path: path.path()?,
            connectors: granted.texts()?,
            keys: section.required("keys")?.patterns()?,
            tables: section.get("tables").map_or(Ok(vec![Pattern::new("*")]), |value| checked_tables(&value))?,
            limits: match section.get("limits") {
                Some(value) => LimitSettings::read(value.section("[folders.limits]")?)?,
                None => LimitSettings::default(),
            },
        };
        section.finish()?;
        if let Some(unknown) = folder.connectors.iter().find(|name| !connectors.contains_key(*name)) {
            let known: Vec<&str> = connectors.keys().map(String::as_str).collect();
            return Err(granted.wrong(format!(
                "names \"{unknown}\", and there is no [connectors.{unknown}]; there is {}",
                if known.is_empty() { "none at all".to_owned() } else { known.join(", ") }
            )));
        }
        if !folder.path.is_dir() {
            return Err(path.wrong(format!("is no folder: create {}", folder.path.display())));
        }
        Ok(folder)
    }

    /// The TOML files in the folder, by name, and links to some. Files that begin with a dot are an editor's.
    pub fn writer_files(&self) -> Result<Vec<PathBuf>, ConfigError> {
        let unreadable = |error: std::io::Error| {
            ConfigError::of_file(Mistake::Unreadable, &self.path, format!("cannot be read: {error}"))
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
            if !hidden && path.extension().is_some_and(|extension| extension == "toml") && !is_special(&path) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    /// Reads a writer and holds it to the folder's ceiling.
    pub fn read_writer(self: &Arc<Self>, file: &Path) -> Result<WriterSettings, ConfigError> {
        if is_special(file) {
            return Err(ConfigError::of_file(Mistake::Unreadable, file, "cannot be read: it is no regular file"));
        }
        let text = super::read_file(file, WRITER_BYTES_MAX)?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let name = checked_name(&name)
            .map_err(|message| ConfigError::of_file(Mistake::Value, file, format!("the file's name {message}")))?;
        let origin = Origin { path: file, text: &text, variables: None };
        let table = DeTable::parse(&text).map_err(|error| origin.syntax(&error))?;
        let mut root = Section::root(origin, table.get_ref());

        let component = root.required("component")?;
        let connector = root.required("connector")?;
        let tables = root.required("tables")?;
        let dump = root.get("dump");
        let wanted = match root.get("wants") {
            Some(value) => {
                let mut wants = value.section("[wants]")?;
                let keys = wants.get("keys");
                wants.finish()?;
                keys
            }
            None => None,
        };
        Ok(WriterSettings {
            name,
            file: file.to_owned(),
            folder: self.clone(),
            component: checked_component(&component, file)?,
            connector: self.grant_connector(&connector)?,
            tables: granted(&tables, checked_tables(&tables)?, &self.tables)?,
            keys: match wanted {
                Some(keys) => granted(&keys, keys.patterns()?, &self.keys)?,
                None => self.keys.clone(),
            },
            dump: dump.map_or(Ok(FirstLoad::default()), |value| value.one_of(&FIRST_LOADS))?,
            limits: self.limits.clone(),
            mapping: text.clone(),
        })
    }

    fn grant_connector(&self, value: &Value<'_>) -> Result<String, ConfigError> {
        let name = value.text()?;
        if self.connectors.contains(&name) {
            return Ok(name);
        }
        let message = format!(
            "is \"{name}\", and the folder may use {}: choose one of them, or add it to the folder in the main file",
            self.connectors.join(", ")
        );
        Err(value.error(Mistake::Ceiling, message))
    }
}

/// Whether it is a FIFO, a device, a folder: reading one may never end. A link to nowhere is none of them; reading it says so.
fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| !found.is_file())
}

/// The component lies in the writer's folder: a link in a text must not lead out of it.
fn checked_component(value: &Value<'_>, file: &Path) -> Result<PathBuf, ConfigError> {
    let name = value.text()?;
    if name.is_empty() || !Path::new(&name).components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(value.wrong("must be a file in the writer's own folder"));
    }
    let path = file.with_file_name(&name);
    match path.is_file() {
        true => Ok(path),
        false => Err(value.wrong(format!("names {}, which does not exist: build it and put it there", path.display()))),
    }
}

fn granted(value: &Value<'_>, wanted: Vec<Pattern>, ceiling: &[Pattern]) -> Result<Vec<Pattern>, ConfigError> {
    let Some(beyond) = wanted.iter().find(|pattern| !is_within(pattern, ceiling)) else { return Ok(wanted) };
    let ceiling: Vec<String> = ceiling.iter().map(|pattern| format!("\"{pattern}\"")).collect();
    let message = format!(
        "asks for \"{beyond}\", and the folder may have no more than {}: ask for less, or widen the folder in the main file",
        ceiling.join(", ")
    );
    Err(value.error(Mistake::Ceiling, message))
}

impl LimitSettings {
    fn read(mut section: Section<'_>) -> Result<Self, ConfigError> {
        /// Below this a component cannot even start.
        const MEMORY_MIN: u64 = 1 << 20;
        /// What one component can address.
        const MEMORY_MAX: u64 = 4 << 30;
        let size = |value: Value<'_>| {
            value.parse(|text| match units::bytes(text)? {
                bytes if (MEMORY_MIN..=MEMORY_MAX).contains(&bytes) => Ok(bytes),
                _ => Err(format!("is \"{text}\" and must be from 1MiB to 4GiB")),
            })
        };
        let deadline = |value: Value<'_>| {
            value.parse(|text| match units::duration(text)? {
                deadline if deadline.is_zero() => Err("is nothing at all: a batch takes a millisecond".to_owned()),
                deadline => Ok(deadline),
            })
        };
        let limits = Self {
            memory: section.get("memory").map(size).transpose()?,
            deadline: section.get("deadline").map(deadline).transpose()?,
            output: section.get("output").map(size).transpose()?,
        };
        section.finish()?;
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_special_neither_counts_nor_holds_up_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let fifo = std::process::Command::new("mkfifo").arg(at("fifo.toml")).status().unwrap();
        assert!(fifo.success());
        std::fs::create_dir(at("folder.toml")).unwrap();
        symlink(at("fifo.toml"), at("linked-fifo.toml")).unwrap();
        symlink("/dev/zero", at("zeros.toml")).unwrap();
        std::fs::write(at("users.toml"), "component = \"a.wasm\"").unwrap();
        symlink(at("users.toml"), at("linked.toml")).unwrap();
        symlink(at("gone"), at("nowhere.toml")).unwrap();
        let folder = Arc::new(FolderSettings {
            path: dir.path().to_owned(),
            connectors: Vec::new(),
            keys: Vec::new(),
            tables: Vec::new(),
            limits: LimitSettings::default(),
        });
        let files = folder.writer_files().unwrap();
        assert_eq!(files, ["linked.toml", "nowhere.toml", "users.toml"].map(at));
        // What has taken a file's place is not waited for at a resume either.
        for name in ["fifo.toml", "zeros.toml", "folder.toml", "nowhere.toml"] {
            assert_eq!(folder.read_writer(&at(name)).unwrap_err().code(), "CONFIG_UNREADABLE", "{name}");
        }
    }
}
