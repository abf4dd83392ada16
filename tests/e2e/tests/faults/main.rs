//! Kills, cuts and servers that go away: afterwards Redis equals MySQL, and nobody has seen it take a step back.

mod connections;
mod keys;
mod kills;
mod matrix;
mod processes;
mod stores;
