//! `[source]`: which MySQL, which tables, from where on.

use std::path::PathBuf;

use mysync_change::pattern::Pattern;
use mysync_change::position::{FilePosition, GtidSet};

use super::error::ConfigError;
use super::names::{checked_name, checked_tables};
use super::section::Section;
use super::url::Url;

/// Where changes come from.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    /// Its name in fences and metrics.
    pub name: String,
    pub url: Url,
    /// `database.table`, with `*`.
    pub tables: Vec<Pattern>,
    pub exclude: Vec<Pattern>,
    /// `database.table.column`, with `*`.
    pub exclude_columns: Vec<Pattern>,
    /// What this process calls itself among the source's replicas; none: made from the source's name.
    pub server_id: Option<u32>,
    pub tls: SourceTls,
    /// Where to begin when the log has no checkpoint.
    pub start: Start,
}

/// How the connection is encrypted. Files are PEM.
#[derive(Debug, Clone, Default)]
pub struct SourceTls {
    pub mode: TlsMode,
    /// Authorities to trust; none: those of the system.
    pub ca: Option<PathBuf>,
    /// The client's own certificate, with `key`.
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// As MySQL's own clients name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMode {
    Disabled,
    /// Encrypted if the server can; nothing is verified.
    #[default]
    Preferred,
    /// Encrypted or refused; nothing is verified.
    Required,
    /// The server's certificate comes from a trusted authority.
    VerifyCa,
    /// And names the host.
    VerifyIdentity,
}

/// Where capture begins on a log that is new.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Start {
    /// With what is committed from now on.
    #[default]
    Now,
    /// At an event's place in a binlog file.
    File(FilePosition),
    /// Behind these transactions.
    Gtids(GtidSet),
}

pub fn read(mut section: Section<'_>) -> Result<SourceSettings, ConfigError> {
    let source = SourceSettings {
        name: read_name(&mut section)?,
        url: section.required("url")?.url(&["mysql"])?,
        tables: checked_tables(&section.required("tables")?)?,
        exclude: section.get("exclude").map_or(Ok(Vec::new()), |value| checked_tables(&value))?,
        exclude_columns: section.get("exclude_columns").map_or(Ok(Vec::new()), |value| value.patterns())?,
        server_id: section.get("server_id").map(|value| value.number(1, u32::MAX)).transpose()?,
        tls: match section.get("tls") {
            Some(value) => read_tls(value.section("[source.tls]")?)?,
            None => SourceTls::default(),
        },
        start: section.get("start").map_or(Ok(Start::Now), |value| value.parse(read_start))?,
    };
    section.finish()?;
    Ok(source)
}

/// Its name alone.
pub fn read_name(section: &mut Section<'_>) -> Result<String, ConfigError> {
    section.required("name")?.parse(checked_name)
}

fn read_tls(mut section: Section<'_>) -> Result<SourceTls, ConfigError> {
    const MODES: [(&str, TlsMode); 5] = [
        ("disabled", TlsMode::Disabled),
        ("preferred", TlsMode::Preferred),
        ("required", TlsMode::Required),
        ("verify-ca", TlsMode::VerifyCa),
        ("verify-identity", TlsMode::VerifyIdentity),
    ];
    let tls = SourceTls {
        mode: section.required("mode")?.one_of(&MODES)?,
        ca: section.get("ca").map(|value| value.path()).transpose()?,
        cert: section.get("cert").map(|value| value.path()).transpose()?,
        key: section.get("key").map(|value| value.path()).transpose()?,
    };
    super::check_pair(&section, &tls.cert, &tls.key)?;
    section.finish()?;
    Ok(tls)
}

fn read_start(text: &str) -> Result<Start, String> {
    const EXPECTED: &str = "must be \"now\", a binlog position such as \"binlog.000017:4\", or a GTID set such as \
                            \"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5\"";
    if text == "now" {
        return Ok(Start::Now);
    }
    let file = text.parse::<FilePosition>().ok().filter(|position| position.file.contains('.'));
    match (text.parse::<GtidSet>(), file) {
        (Ok(gtids), _) if !gtids.is_empty() => Ok(Start::Gtids(gtids)),
        // The first event of every binlog file stands behind its four magic bytes.
        (_, Some(position)) if position.offset >= 4 => Ok(Start::File(position)),
        (_, Some(_)) => Err("begins before the first event of its file: write 4 for the beginning".to_owned()),
        _ => Err(EXPECTED.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_told_apart_by_its_form() {
        assert_eq!(read_start("now"), Ok(Start::Now));
        assert!(matches!(read_start("binlog.000017:4"), Ok(Start::File(position)) if position.offset == 4));
        let gtids = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5";
        assert!(matches!(read_start(gtids), Ok(Start::Gtids(set)) if set.to_string() == gtids));
        for text in ["", "NOW", "binlog.000017", "binlog.000017:0", "3e11fa47:5"] {
            assert!(read_start(text).is_err(), "{text}");
        }
    }
}
