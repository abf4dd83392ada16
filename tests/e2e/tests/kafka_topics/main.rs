//! The topics that a log on real Kafka lies in: compacted ones, ones that somebody made beforehand, ones whose records have gone; and what the
//! program says to settings that break a promise.
#![allow(clippy::unit_arg, reason = "`ensure!` has a value of its own")]

mod compacted;
mod compression;
mod preflight;
mod rebuilds;
mod retention;
mod scene;
mod topic;
