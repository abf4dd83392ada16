use std::io;
use std::time::Duration;

use mysync_pipeline::failure::{Failure, Kind};

use crate::event::EventError;

/// The server's own codes that this crate tells apart.
mod server {
    pub const ACCESS_DENIED: u16 = 1045;
    pub const ACCESS_DENIED_NO_PASSWORD: u16 = 1698;
    pub const DATABASE_ACCESS_DENIED: u16 = 1044;
    pub const PRIVILEGE_MISSING: u16 = 1227;
    pub const SYNTAX: u16 = 1064;
    pub const READING_BINLOG: u16 = 1236;
    pub const BINLOG_PURGED: u16 = 1789;
    /// Out of connections or memory, shutting down, host blocked, killed, timed out: all of these pass.
    pub const PASSING: &[u16] = &[
        1037, 1038, 1040, 1041, 1042, 1053, 1077, 1079, 1080, 1129, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1205,
        1226, 1317, 3024, 3032, 4031,
    ];

    /// What to do about it, where the server does not say so itself.
    pub fn cure(code: u16) -> String {
        match code {
            ACCESS_DENIED | ACCESS_DENIED_NO_PASSWORD => ". Check user and password in source.url".to_owned(),
            DATABASE_ACCESS_DENIED | PRIVILEGE_MISSING => ". Grant it: 'mysync check' says how".to_owned(),
            READING_BINLOG => format!(". Mend that on the server; if it cannot be, {}", super::BEGIN_ANEW),
            _ => String::new(),
        }
    }
}

/// The way on when the server cannot go on from where the log ends.
pub const BEGIN_ANEW: &str = "move [log] dir away and start again: a new log begins where source.start says, 'mysync writer rebase' lets each \
     writer go on with it, and 'mysync dump' brings what changed in between; rows that were deleted in between stay in the stores";

/// What can go wrong between here and the server.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot connect to MySQL at {address}: {source}")]
    Unreachable { address: String, source: io::Error },
    #[error("connecting to MySQL at {address} took longer than {} s", limit.as_secs())]
    ConnectTimeout { address: String, limit: Duration },
    #[error("MySQL did not answer '{statement}' within {} s", limit.as_secs())]
    QueryTimeout { statement: String, limit: Duration },
    #[error("connection to MySQL is lost: {0}")]
    Lost(io::Error),
    #[error("MySQL closed the connection")]
    Closed,
    #[error("MySQL has been silent for {} s, three heartbeats: the connection is taken for dead", .0.as_secs())]
    Silent(Duration),
    #[error("MySQL ended the stream: the server is shutting down or has no more to send")]
    Ended,
    #[error("MySQL answers {code} ({state}): {message}{}", server::cure(*code))]
    Server { code: u16, state: String, message: String },
    #[error("MySQL refuses to stream from this position ({message}); the server no longer has it: {BEGIN_ANEW}")]
    Purged { message: String },
    #[error(
        "transactions were read that MySQL does not have ({message}): check that this is the right server; if it lost them, {BEGIN_ANEW}"
    )]
    Foreign { message: String },
    #[error(
        "another connection with the same replica id or server_id took over ({message}): give each source its own server_id"
    )]
    Duplicate { message: String },
    #[error("the server writes no binlog: set log_bin in its configuration and restart it")]
    NoBinlog,
    #[error("this is no MySQL server as expected: {0}. Check host and port in source.url")]
    Protocol(&'static str),
    #[error("{version} is MariaDB, which is not supported as a source yet: use MySQL 8.0.1 or later")]
    MariaDb { version: String },
    #[error("MySQL {version} is too old: upgrade the server to 8.0.1 or later")]
    TooOld { version: String },
    #[error(
        "MySQL {version} does not tell without GTIDs which commits a SELECT sees: turn gtid_mode on and restart mysync, or upgrade the server \
         to 8.0.42, 8.4.5, 9.3 or later"
    )]
    LogStatus { version: String },
    #[error(
        "user '{user}' authenticates with {plugin}, which is not supported: use caching_sha2_password (ALTER USER '{user}' IDENTIFIED WITH caching_sha2_password BY '…') or mysql_native_password"
    )]
    Authentication { user: String, plugin: String },
    #[error("the server's RSA public key is not usable ({0}): use TLS")]
    ServerKey(&'static str),
    #[error(
        "TLS is required but MySQL at {address} does not offer it; set up certificates there, or set source.tls.mode to \"preferred\""
    )]
    TlsNotOffered { address: String },
    #[error(
        "TLS with MySQL at {address} failed: {source}. Check the certificate of the server and the authorities in source.tls.ca"
    )]
    TlsHandshake { address: String, source: io::Error },
    #[error("[source.tls] cannot be used: {0}")]
    TlsSettings(String),
    #[error(
        "offset {offset} of {file} is beyond 4 GiB, where MySQL cannot start a stream without GTIDs: turn gtid_mode on"
    )]
    OffsetTooLarge { file: String, offset: u64 },
    #[error(transparent)]
    Event(#[from] EventError),
}

impl SourceError {
    pub(super) fn from_server(code: u16, state: String, message: String) -> Self {
        let same_replica =
            ["same server_uuid", "same server_id", "same replica"].iter().any(|text| message.contains(text));
        let gone = ["purged", "Could not find first log", "could not find next log"];
        match code {
            server::READING_BINLOG if same_replica => Self::Duplicate { message },
            server::READING_BINLOG if message.contains("more GTIDs than") => Self::Foreign { message },
            server::READING_BINLOG if gone.iter().any(|text| message.contains(text)) => Self::Purged { message },
            server::BINLOG_PURGED => Self::Purged { message },
            _ => Self::Server { code, state, message },
        }
    }

    /// The server does not know this statement; a missing privilege is another thing.
    pub(crate) fn is_syntax(&self) -> bool {
        matches!(self, Self::Server { code: server::SYNTAX, .. })
    }

    /// The account may not do this.
    pub(crate) fn is_privilege(&self) -> bool {
        matches!(self, Self::Server { code: server::DATABASE_ACCESS_DENIED | server::PRIVILEGE_MISSING, .. })
    }

    /// Stable name of the error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } | Self::ConnectTimeout { .. } => "SOURCE_UNREACHABLE",
            Self::TlsHandshake { source, .. } if is_passing(source) => "SOURCE_UNREACHABLE",
            Self::Lost(_) | Self::Closed | Self::Ended => "SOURCE_CONNECTION_LOST",
            Self::Silent(_) | Self::QueryTimeout { .. } => "SOURCE_SILENT",
            Self::Server { code, .. } => match *code {
                server::ACCESS_DENIED | server::ACCESS_DENIED_NO_PASSWORD => "SOURCE_ACCESS_DENIED",
                server::DATABASE_ACCESS_DENIED | server::PRIVILEGE_MISSING => "SOURCE_PRIVILEGES",
                server::READING_BINLOG => "SOURCE_CANNOT_READ_BINLOG",
                code if server::PASSING.contains(&code) => "SOURCE_UNREADY",
                _ => "SOURCE_SERVER_ERROR",
            },
            Self::Purged { .. } => "SOURCE_PURGED",
            Self::Foreign { .. } => "SOURCE_FOREIGN",
            Self::Duplicate { .. } => "SOURCE_DUPLICATE",
            Self::NoBinlog => "SOURCE_LOG_BIN",
            Self::Protocol(_) => "SOURCE_PROTOCOL",
            Self::MariaDb { .. } | Self::TooOld { .. } => "SOURCE_VERSION",
            Self::LogStatus { .. } => "DUMP_NEEDS_GTIDS",
            Self::Authentication { .. } | Self::ServerKey(_) => "SOURCE_AUTHENTICATION",
            Self::TlsNotOffered { .. } | Self::TlsHandshake { .. } | Self::TlsSettings(_) => "SOURCE_TLS",
            Self::OffsetTooLarge { .. } => "SOURCE_OFFSET_TOO_LARGE",
            Self::Event(event) => event.code(),
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Unreachable { .. }
            | Self::ConnectTimeout { .. }
            | Self::QueryTimeout { .. }
            | Self::Lost(_)
            | Self::Closed
            | Self::Silent(_)
            | Self::Ended => Kind::Transient,
            Self::Server { code, .. } if server::PASSING.contains(code) => Kind::Transient,
            Self::TlsHandshake { source, .. } if is_passing(source) => Kind::Transient,
            Self::Server { .. }
            | Self::Purged { .. }
            | Self::Foreign { .. }
            | Self::Duplicate { .. }
            | Self::NoBinlog
            | Self::Protocol(_)
            | Self::MariaDb { .. }
            | Self::TooOld { .. }
            | Self::LogStatus { .. }
            | Self::Authentication { .. }
            | Self::ServerKey(_)
            | Self::TlsNotOffered { .. }
            | Self::TlsHandshake { .. }
            | Self::TlsSettings(_)
            | Self::OffsetTooLarge { .. }
            | Self::Event(_) => Kind::Definite,
        }
    }
}

/// A connection that breaks inside the TLS handshake passes; a certificate that is not trusted does not.
fn is_passing(handshake: &io::Error) -> bool {
    handshake.kind() != io::ErrorKind::InvalidData
}

impl From<io::Error> for SourceError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // What TLS says of an end without a goodbye.
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Lost(error),
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Failure { kind: error.kind(), code: error.code(), message: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_without_a_goodbye_is_said_in_our_words() {
        let eof = "peer closed connection without sending TLS close_notify: https://docs.rs/rustls/";
        let error = SourceError::from(io::Error::new(io::ErrorKind::UnexpectedEof, eof));
        assert_eq!(
            (error.code(), error.to_string().as_str()),
            ("SOURCE_CONNECTION_LOST", "MySQL closed the connection")
        );
    }
}
