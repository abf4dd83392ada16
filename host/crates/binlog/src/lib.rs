//! MySQL as a source of changes: its binlog, read over an own connection and decoded without a copy.

pub mod connection;
pub mod event;
pub mod payload;
pub mod tls;
