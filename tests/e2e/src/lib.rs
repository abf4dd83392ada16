//! The program against real servers: a shop's tables in MySQL, their entries in Redis, and the comparison of both, row by row.

pub mod chance;
pub mod compare;
pub mod load;
pub mod shop;
pub mod told;
pub mod watch;
pub mod world;

pub use world::{Options, World};
