//! The program against real servers: a shop's tables in MySQL, their entries in Redis, and the comparison of both, row by row.

pub mod bench;
pub mod chance;
pub mod clusters;
pub mod compare;
pub mod drain;
pub mod dumps;
pub mod exposition;
pub mod figures;
pub mod load;
pub mod machine;
pub mod oracle;
pub mod rows;
pub mod shop;
pub mod show;
pub mod stages;
pub mod story;
pub mod subscriber;
pub mod told;
pub mod witness;
pub mod world;

pub use machine::Machine;
pub use world::{OnKafka, Options, World};
