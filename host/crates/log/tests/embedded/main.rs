//! The embedded log on real files.
#![allow(clippy::unwrap_used, clippy::panic)]

mod lifecycle;
mod records;
mod support;
