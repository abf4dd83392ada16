//! Whether a server can be followed, before anything is moved: every finding has a stable code, and the SQL that mends it.
//!
//! FAIL means that changes would be lost, wrong or refused; WARN that they could be, or that a figure will be off. A check that cannot be
//! made is a finding of its own, never an OK.

mod checks;
mod facts;

use std::fmt;
use std::time::Duration;

use mysync_change::position::{Checkpoint, FilePosition, SourcePosition};

use self::facts::Facts;
use crate::connection::{Connection, ConnectionSettings, SourceError};
use crate::dump::watermark::wait_until_executed;
use crate::server;

/// How bad a finding is, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Ok,
    Warn,
    Fail,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "OK",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        })
    }
}

/// One line of the diagnosis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    /// Stable name, documented with cause and cure.
    pub code: &'static str,
    /// What was found.
    pub message: String,
    /// What mends it: SQL, or a setting.
    pub cure: Option<String>,
}

impl Finding {
    /// Without its code, where one line has to do.
    pub fn in_a_line(&self) -> String {
        match &self.cure {
            Some(cure) => format!("{}: {cure}", self.message),
            None => self.message.clone(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<4} {}: {}", self.level, self.code, self.message)?;
        match &self.cure {
            Some(cure) => write!(f, "\n     {cure}"),
            None => Ok(()),
        }
    }
}

/// Logs in and looks at everything. `from` is where the stream would go on. An error means that the server could not be reached or did not
/// let us in: a finding to show as well.
pub async fn diagnose(settings: &ConnectionSettings, from: Option<&Checkpoint>) -> Result<Vec<Finding>, SourceError> {
    let mut connection = Connection::connect(settings).await?;
    let facts = Facts::read(&mut connection).await?;
    Ok(checks::judge(&facts, settings, from))
}

/// Whether a dump could tell what it has seen: without GTIDs that takes a newer server, and a privilege that nothing else needs.
pub async fn diagnose_dumps(settings: &ConnectionSettings) -> Result<Finding, SourceError> {
    const CODE: &str = "DUMP_PRIVILEGE";
    let mut connection = Connection::connect(settings).await?;
    if server::has_gtids(&mut connection).await? {
        return Ok(checks::ok(CODE, "GTIDs tell what a dump has seen"));
    }
    // As a dump asks, for what every server has executed.
    let nothing = SourcePosition { gtids: None, file: FilePosition { file: "".into(), offset: 0 } };
    match wait_until_executed(&mut connection, &nothing, Duration::ZERO).await {
        Ok(_) => Ok(checks::ok(CODE, "performance_schema.log_status tells what a dump has seen")),
        Err(error @ SourceError::LogStatus { .. }) => {
            Ok(checks::warn(error.code(), format!("a dump will stop: {error}"), checks::GTIDS_ON))
        }
        Err(SourceError::Server { message, .. }) => {
            let message = format!(
                "a dump will stop: without GTIDs only performance_schema.log_status tells what it has seen, and user '{}' may not read it \
                 (MySQL says: {message})",
                settings.user
            );
            let account = server::account(&mut connection).await?;
            let select = "GRANT SELECT ON performance_schema.log_status TO";
            Ok(checks::warn(CODE, message, format!("GRANT BACKUP_ADMIN ON *.* TO {account}; {select} {account};")))
        }
        Err(error) => Err(error),
    }
}
