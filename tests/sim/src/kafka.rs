//! A log in memory that behaves as the one on Kafka does, and the processes that share it.

pub mod assigned;
pub mod broker;
pub mod cluster;
pub mod group;
pub mod judge;
pub mod leader;
pub mod membership;
pub mod process;
pub mod reader;
pub mod task;
pub mod topic;
