use crate::event::EventKind;

/// Row events that cannot be read. Each names its table, and its column where there is one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("a TABLE_MAP event is damaged: {what}")]
    TableMapDamaged { what: &'static str },
    #[error(
        "the binlog does not name the columns of {table}: run SET PERSIST binlog_row_metadata = 'FULL' on the source and reconnect the \
         applications"
    )]
    NoColumnNames { table: String },
    #[error("{table} column {column} has MySQL type {code}, which is not supported")]
    UnknownType { table: String, column: String, code: u8 },
    #[error("{table} column {column} has a collation that is not known, number {collation}: exclude the column")]
    UnknownCollation { table: String, column: String, collation: u64 },
    #[error("{table} column {column} belongs to the primary key: take it out of source.exclude_columns")]
    KeyExcluded { table: String, column: String },
    #[error("a rows event names table number {table_id}, which no TABLE_MAP event before it describes")]
    UnknownTable { table_id: u64 },
    #[error("{kind} is no rows event that is understood")]
    UnknownRows { kind: EventKind },
    #[error(
        "an update holds parts of JSON values: run SET PERSIST binlog_row_value_options = '' on the source and reconnect the applications"
    )]
    PartialJson,
    #[error(
        "an update of {table} comes without all of its columns, and a log that keeps the last record of each key would lose the others: run SET \
         PERSIST binlog_row_image = 'FULL' on the source and reconnect the applications; what is in the binlog by now can be passed only by a \
         log with log.cleanup = \"delete\""
    )]
    RowPartial { table: String },
    #[error("a rows event is damaged: {what}")]
    RowsDamaged { what: &'static str },
    #[error("a row of {table} ends in the middle")]
    RowShort { table: String },
    #[error("a rows event of {table} has {wire} columns where its TABLE_MAP event has {mapped}")]
    ColumnCount { table: String, wire: usize, mapped: usize },
    #[error("{table} column {column}: {what}")]
    BadValue { table: String, column: String, what: &'static str },
    #[error("{table} column {column}: the bytes are not {charset}")]
    BadText { table: String, column: String, charset: String },
}

impl DecodeError {
    /// Whether only other bytes can mend it: what the configuration says need not change.
    pub fn is_of_the_bytes(&self) -> bool {
        !matches!(self, Self::UnknownType { .. } | Self::UnknownCollation { .. } | Self::KeyExcluded { .. })
    }

    pub fn code(&self) -> &'static str {
        match self {
            Self::TableMapDamaged { .. } => "TABLE_MAP_DAMAGED",
            Self::NoColumnNames { .. } => "TABLE_MAP_NO_NAMES",
            Self::UnknownType { .. } => "COLUMN_TYPE_UNKNOWN",
            Self::UnknownCollation { .. } => "COLUMN_COLLATION_UNKNOWN",
            Self::KeyExcluded { .. } => "KEY_COLUMN_EXCLUDED",
            Self::UnknownTable { .. } => "ROWS_TABLE_UNKNOWN",
            Self::UnknownRows { .. } => "ROWS_TYPE_UNKNOWN",
            Self::PartialJson => "ROWS_PARTIAL_JSON",
            Self::RowPartial { .. } => "ROWS_PARTIAL",
            Self::RowsDamaged { .. } | Self::RowShort { .. } | Self::ColumnCount { .. } => "ROWS_DAMAGED",
            Self::BadValue { .. } => "VALUE_DAMAGED",
            Self::BadText { .. } => "TEXT_UNDECODABLE",
        }
    }
}
