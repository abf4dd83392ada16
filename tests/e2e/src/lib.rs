//! The program against real servers: a shop's tables in MySQL, their entries in Redis, and the comparison of both, row by row.

pub mod compare;
pub mod shop;
pub mod world;

pub use world::{Options, World};
