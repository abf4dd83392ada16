//! What the contract tests and the boundary benches share: the components under test, batches to give them, and what comes of them.

pub mod batches;
pub mod changes;
pub mod components;
pub mod measure;
pub mod writers;
