//! Kills, cuts and servers that go away: afterwards Redis equals MySQL, and nobody has seen it take a step back.
#![allow(clippy::unit_arg, reason = "`ensure!` has a value of its own")]

mod connections;
mod keys;
mod kills;
mod matrix;
mod processes;
mod stores;
