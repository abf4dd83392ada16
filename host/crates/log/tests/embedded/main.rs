//! The embedded log on real files.
#![allow(clippy::unwrap_used, clippy::panic)]

mod crash;
mod damage;
mod disk_full;
mod lifecycle;
mod model;
mod records;
mod retention;
mod support;
