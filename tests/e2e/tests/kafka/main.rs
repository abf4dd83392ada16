//! The program with its log on real Kafka: killed, paused, cut off, and on brokers that go away. After each incident the log holds every
//! change of the binlog exactly once and in order, and Redis equals MySQL row by row.
#![allow(clippy::unit_arg, reason = "`ensure!` has a value of its own")]

mod brokers;
mod crew;
mod disk;
mod kills;
mod leaders;
mod rebalances;
mod releases;
mod sources;
mod spine;
mod strangers;
mod tables;
mod topics;
