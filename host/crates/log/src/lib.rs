//! The log between capture and deliver: ordered, replayable, kept until every writer has passed it.
//!
//! [`embedded`] needs nothing but a directory; [`kafka`] is for more than one machine.

pub mod embedded;
pub mod error;
pub mod kafka;
pub mod metrics;
mod sequence;

pub use embedded::{
    EmbeddedLog, EmbeddedReader, EmbeddedWriter, Figures, LogSettings, OutsideReader, Seen, look, partitions, read_only,
};
pub use error::LogError;
