//! Dumps: rows that were in MySQL before the log began are in Redis as well, and no older one ever follows a newer one.
#![allow(clippy::unit_arg, reason = "`ensure!` has a value of its own")]

mod first;
mod grants;
mod kills;
mod lines;
mod meanwhile;
mod orders;
mod shapes;
mod stores;
