use mysync_change::envelope::EnvelopeError;
use mysync_change::position::FilePosition;
use mysync_pipeline::failure::{Failure, Kind};

use super::events::XA_BYTES_MAX;
use crate::connection::{BEGIN_ANEW, SourceError};
use crate::decode::DecodeError;
use crate::event::EventError;
use crate::preflight::Finding;

/// Why the stream cannot be gone on with. What the connection says may pass; what the events hold does not: the same bytes come again.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(transparent)]
    Connection(#[from] SourceError),
    #[error("in the transaction that begins at {at}: {error}. Restart; if it comes again, {BEGIN_ANEW}")]
    Event { at: FilePosition, error: EventError },
    #[error(
        "in the transaction that begins at {at}: {error}. If the table need not be captured, name it in source.exclude{}",
        if error.is_of_the_bytes() { format!("; otherwise restart, and if it comes again, {BEGIN_ANEW}") } else { String::new() }
    )]
    Decode { at: FilePosition, error: DecodeError },
    #[error(
        "the transaction that begins at {at} changes rows by a statement ({statement}), which the binlog does not hold as rows: a session \
         runs with binlog_format other than ROW. Reconnect the applications, then {BEGIN_ANEW}"
    )]
    Statement { at: FilePosition, statement: String },
    #[error(
        "the transaction that begins at {at} is prepared by XA and not committed with it: whether its rows will ever count is not known \
         here. Name its tables in source.exclude; or commit with XA COMMIT … ONE PHASE from now on, and {BEGIN_ANEW}"
    )]
    Xa { at: FilePosition },
    #[error(
        "the transaction that begins at {at} runs under XA and changes more than {} MiB, which cannot be held here until its end says whether it \
         counts. Name its tables in source.exclude; or make such transactions smaller from now on, and {BEGIN_ANEW}",
        XA_BYTES_MAX >> 20
    )]
    XaSize { at: FilePosition },
    #[error(
        "the transaction that begins at {at} takes some of its rows back ({statement}), as it mixes transactional tables with others. Name \
         the others in source.exclude"
    )]
    Rollback { at: FilePosition, statement: String },
    #[error("the binlog has {kind} at {at}, where no transaction has begun. Restart; if it comes again, {BEGIN_ANEW}")]
    OutOfPlace { at: FilePosition, kind: String },
    #[error("the transaction that begins at {at} has {kind} inside. Restart; if it comes again, {BEGIN_ANEW}")]
    Misplaced { at: FilePosition, kind: String },
    #[error("a record cannot be written: {0}")]
    Record(#[from] EnvelopeError),
    #[error(
        "the log was filled from server {ours}, and this is server {theirs}: without GTIDs a position of one means nothing on the other. Turn \
         gtid_mode on, or begin anew with an empty log and 'mysync writer rebase'"
    )]
    ServerChanged { ours: String, theirs: String },
    #[error(
        "{rows} rows of a transaction of server {ours} are in the log, and this is server {theirs}: whether it has the rest is not known. Go \
         on with the former server until the transaction is over"
    )]
    HalfTransaction { rows: u64, ours: String, theirs: String },
    #[error("the server cannot be followed: {}", findings.iter().map(Finding::in_a_line).collect::<Vec<_>>().join("; also: "))]
    Unfit { code: &'static str, findings: Vec<Finding> },
    #[error("the source was not opened, or has failed since")]
    NotOpen,
}

impl StreamError {
    /// Stable name of the error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Connection(error) => error.code(),
            Self::Event { error, .. } => error.code(),
            Self::Decode { error, .. } => error.code(),
            Self::Statement { .. } => "SOURCE_STATEMENT",
            Self::Xa { .. } | Self::XaSize { .. } => "SOURCE_XA",
            Self::Rollback { .. } => "SOURCE_ROLLBACK",
            Self::OutOfPlace { .. } | Self::Misplaced { .. } => "BINLOG_MALFORMED",
            Self::Record(error) => error.code(),
            Self::ServerChanged { .. } => "SOURCE_CHANGED",
            Self::HalfTransaction { .. } => "SOURCE_HALF_TRANSACTION",
            Self::Unfit { code, .. } => code,
            Self::NotOpen => "SOURCE_NOT_OPEN",
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Connection(error) => error.kind(),
            Self::NotOpen => Kind::Transient,
            _ => Kind::Definite,
        }
    }
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        Failure { kind: error.kind(), code: error.code(), message: error.to_string() }
    }
}
