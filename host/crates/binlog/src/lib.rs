//! MySQL as a source of changes: its binlog, read over an own connection and decoded without a copy.

pub mod connection;
pub mod decode;
pub mod dump;
pub mod event;
pub mod payload;
pub mod plan;
pub mod preflight;
pub mod server;
pub mod source;
pub mod table_map;
pub mod tls;
