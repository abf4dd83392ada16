use mysync_pipeline::failure::{Failure, Kind};

use super::columns::name;
use crate::connection::{Connection, SourceError};
use crate::decode::DecodeError;
use crate::server::account;

/// The server's own codes that say what became of a table.
mod code {
    /// No such database, column, table or index; its definition has changed; the statement has to be prepared again.
    pub const ALTERED: &[u16] = &[1049, 1054, 1146, 1176, 1412, 1615];
    /// The account may not read the database, the table, the column.
    pub const DENIED: &[u16] = &[1044, 1142, 1143];
}

/// Why a table cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    #[error(transparent)]
    Connection(SourceError),
    /// What keeps the stream from decoding the table keeps a dump from it as well.
    #[error("{0}. If the table need not be captured, name it in source.exclude")]
    Table(DecodeError),
    #[error("{table} column {column} has type {kind}, which is not supported: name it in source.exclude_columns")]
    Type { table: String, column: String, kind: String },
    #[error("{table} was altered while it was read")]
    Altered { table: String },
    /// With the table's name as a statement has it.
    #[error("the account may not read {table}: GRANT SELECT ON {table} TO {account} (MySQL says: {message})")]
    Denied { table: String, account: String, message: String },
    #[error(
        "a row of {table} cannot be read: column {column}: {what}. Mend the value in MySQL, or name the column in source.exclude_columns"
    )]
    Value { table: String, column: String, what: String },
    #[error("rows of {table} that are read at once take more than {bytes} bytes")]
    ChunkTooLarge { table: String, bytes: usize },
    #[error(
        "{table} cannot be read in parts, as it has no primary key of whole columns, and takes more than {bytes} bytes: give it a primary key, or \
         leave it out of the dump"
    )]
    TableTooLarge { table: String, bytes: usize },
    #[error(
        "the binlog and information_schema describe {table} differently: leave the table out of the dump, and please report this with its SHOW \
         CREATE TABLE"
    )]
    ShapesDiffer { table: String },
    #[error(
        "without GTIDs only performance_schema.log_status tells what a SELECT has seen, and the account may not read it: GRANT BACKUP_ADMIN ON \
         *.* TO {account}; GRANT SELECT ON performance_schema.log_status TO {account}"
    )]
    Privilege { account: String },
    #[error("more keys of {table} were changed while a chunk of it was read than are remembered: it is read again")]
    Crowded { table: String },
    #[error(
        "the stream comes from server {ours}, and the address now leads to {theirs}, which says nothing about that stream"
    )]
    OtherServer { ours: String, theirs: String },
}

impl DumpError {
    /// What the server's answer to a statement about a table means.
    pub(super) async fn of(error: SourceError, database: &str, table: &str, connection: &mut Connection) -> Self {
        match error {
            SourceError::Server { code, .. } if code::ALTERED.contains(&code) => {
                Self::Altered { table: format!("{database}.{table}") }
            }
            SourceError::Server { ref message, .. } if Self::is_denied(&error) => match account(connection).await {
                Ok(account) => Self::Denied {
                    table: format!("{}.{}", name(database), name(table)),
                    account,
                    message: message.clone(),
                },
                Err(error) => Self::Connection(error),
            },
            error => Self::Connection(error),
        }
    }

    /// Whether the account may not read a table. It is not known here what the account is called.
    pub(super) fn is_denied(error: &SourceError) -> bool {
        matches!(error, SourceError::Server { code, .. } if code::DENIED.contains(code))
    }

    /// Stable name of the error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Connection(error) => error.code(),
            Self::Table(error) => error.code(),
            Self::Type { .. } => "COLUMN_TYPE_UNKNOWN",
            Self::Altered { .. } => "DUMP_ALTERED",
            Self::Denied { .. } => "DUMP_DENIED",
            Self::Value { .. } => "DUMP_VALUE",
            Self::ChunkTooLarge { .. } => "DUMP_CHUNK_LARGE",
            Self::TableTooLarge { .. } => "DUMP_TABLE_LARGE",
            Self::ShapesDiffer { .. } => "DUMP_SHAPE",
            Self::Privilege { .. } => "DUMP_PRIVILEGE",
            Self::Crowded { .. } => "DUMP_CROWDED",
            Self::OtherServer { .. } => "DUMP_OTHER_SERVER",
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Connection(error) => error.kind(),
            Self::Altered { .. } | Self::Crowded { .. } | Self::OtherServer { .. } => Kind::Transient,
            _ => Kind::Definite,
        }
    }
}

impl From<SourceError> for DumpError {
    fn from(error: SourceError) -> Self {
        Self::Connection(error)
    }
}

impl From<DumpError> for Failure {
    fn from(error: DumpError) -> Self {
        Failure { kind: error.kind(), code: error.code(), message: error.to_string() }
    }
}
