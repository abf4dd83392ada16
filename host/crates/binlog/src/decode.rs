//! Values of every MySQL type, from the bytes in rows events to the flat images of the log.
//!
//! Exact or refused: a value is never rounded, replaced or cut, and bytes that are no value of their type are an error that names table and
//! column. Nothing is allocated for a row: values go straight to the end of the caller's buffer. That buffer grows by at most 8 bytes for
//! each byte of an event, and what fixed widths and labels of its columns add.

pub(crate) mod charset;
pub(crate) mod decimal;
mod error;
mod jsonb;
pub(crate) mod number;
mod rows;
pub(crate) mod step;
pub(crate) mod temporal;

pub use error::DecodeError;
pub use rows::{Change, KeySpans, Rows, RowsEvent};
