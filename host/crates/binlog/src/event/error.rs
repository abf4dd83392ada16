use std::fmt;

use super::EventKind;

/// Which event, by type and the position behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    pub kind: EventKind,
    /// Where the event ends in its file, modulo 4 GiB.
    pub end: u32,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} that ends at {}", self.kind, self.end)
    }
}

/// Bytes that are not the events they should be. All are definite: the same bytes come again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    #[error("an event of {bytes} bytes is shorter than an event's header; the binlog or the connection is damaged")]
    Truncated { bytes: usize },
    #[error("{at} names a size of {named} bytes but has {bytes}; the binlog or the connection is damaged")]
    Size { at: At, named: u32, bytes: usize },
    #[error(
        "checksum of {at} is {named:08x} but its bytes give {computed:08x}; the binlog or the connection is damaged"
    )]
    Checksum { at: At, named: u32, computed: u32 },
    #[error("{at} is malformed: it has no valid {what}")]
    Malformed { at: At, what: &'static str },
    #[error(
        "an event that ends at {end} has type {byte}, which is not known and may not be left out: use a release of MySync that is as new as \
         this server"
    )]
    Unknown { byte: u8, end: u32 },
    #[error("{at} is not supported: {why}")]
    Unsupported { at: At, why: &'static str },
    #[error("the server reports an incident in its binlog ({message}): changes may be missing from it")]
    Incident { message: String },
    #[error("the server treats this connection as a semi-synchronous replica, which it is not")]
    SemiSync,
    #[error("{at} cannot be decompressed: {what}")]
    Decompress { at: At, what: String },
    #[error("the decompressor for compressed transactions cannot be set up: {0}")]
    Decompressor(String),
    #[error(
        "an event of {bytes} bytes is larger than MySQL's own limit of {limit}; the binlog or the connection is damaged"
    )]
    TooLarge { bytes: u64, limit: usize },
}

impl EventError {
    /// Stable name of the error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Truncated { .. } | Self::Size { .. } | Self::Malformed { .. } => "BINLOG_MALFORMED",
            Self::Checksum { .. } => "BINLOG_CHECKSUM",
            Self::Unknown { .. } | Self::Unsupported { .. } => "BINLOG_UNSUPPORTED",
            Self::Incident { .. } => "BINLOG_INCIDENT",
            Self::SemiSync => "BINLOG_SEMI_SYNC",
            Self::Decompress { .. } | Self::Decompressor(_) => "BINLOG_DECOMPRESS",
            Self::TooLarge { .. } => "BINLOG_EVENT_TOO_LARGE",
        }
    }
}
