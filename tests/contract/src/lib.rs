//! What the contract tests and the boundary benches share: the components under test, and batches to give them.

pub mod batches;
pub mod components;
