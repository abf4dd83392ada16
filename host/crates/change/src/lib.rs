//! What a change of MySQL rows is: positions, shapes, row images, the records of the log, and the batches that writers are given.
//!
//! Pure: no I/O, no async, no clock. Everything here is either a value or a codec, and every stored format starts with a version.

pub mod batch;
pub mod block;
pub mod dump;
pub mod envelope;
pub mod fence;
pub mod image;
pub mod key;
pub mod operations;
pub mod pattern;
pub mod position;
pub mod routing;
pub mod rows;
pub mod schema;
pub mod topics;
