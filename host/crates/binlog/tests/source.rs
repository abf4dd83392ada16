//! The source's own parts: events, payloads, logging in; and real servers, where there are any.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "source/bytes.rs"]
mod bytes;
#[path = "source/certificates.rs"]
mod certificates;
#[path = "source/events.rs"]
mod events;
#[path = "source/keys.rs"]
mod keys;
#[path = "source/login.rs"]
mod login;
#[path = "source/payloads.rs"]
mod payloads;
#[path = "source/reader.rs"]
mod reader;
#[path = "source/rows.rs"]
mod rows;
#[path = "source/servers.rs"]
mod servers;
