//! The two loops that carry everything: `capture` (source → log) and `deliver` (log → writer → store → advance), and the ports they
//! stand between. Names no client library, no WebAssembly, no store.

pub mod assignment;
pub mod capture;
pub mod deliver;
pub mod dump;
pub mod failure;
pub mod feed;
pub mod ports;
pub mod retry;
pub mod shutdown;
pub mod status;
pub mod timeline;
