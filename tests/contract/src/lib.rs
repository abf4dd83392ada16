//! What the contract tests and the boundary benches share: the components under test, batches to give them, and what comes of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod batches;
pub mod changes;
pub mod components;
pub mod measure;
pub mod writers;
