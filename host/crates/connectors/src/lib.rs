//! Ways into stores: clients, fences, settings. Knows neither writers nor logs.

pub mod metrics;
pub mod recording;
pub mod redis;
