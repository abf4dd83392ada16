//! One partition's way into Redis.
//!
//! **Promise.** A batch and its fence take effect together, and only if the fence in the store is the one this connection last read or wrote:
//! EXEC compares nothing by itself, so the fence is watched and read before, in the flight of the batch before, and the answer is compared
//! before anything is sent. `apply` answers well only after every reply was read and none is an error.
//! **Resuming.** After any error the connection is dropped, and whether the batch took effect is unknown until `open` reads the fence.
//! **Errors.** What a server says of itself (loading, out of memory, read-only) and whatever happens to the connection is transient; a refused
//! command, a fence of somebody else and an emptied store are definite.

mod ask;
mod client;
mod error;
mod fence;
mod hello;
pub mod resp;
mod settings;
mod transaction;

use std::sync::Arc;
use std::time::Instant;

use metrics::{Counter, Histogram};
use mysync_change::fence::Fence;
use mysync_change::operations::RedisCommands;
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::Connector;

pub use error::RedisError;
pub use settings::{ANSWER_TIMEOUT, CONNECT_TIMEOUT, Settings, SettingsError, TlsFiles};

use client::Client;
use transaction::{Outcome, Transaction};

use crate::metrics::{REDIS_COMMANDS, REDIS_ROUND_TRIP, REDIS_SENT_BYTES};

/// One writer's way into a Redis, for one partition.
pub struct Redis {
    settings: Arc<Settings>,
    writer: String,
    /// The connection's name in CLIENT LIST.
    name: String,
    /// The fence's key.
    key: String,
    live: Option<Live>,
    figures: Figures,
}

/// A connection that is armed: the server compares the fence from here on.
struct Live {
    client: Client,
    /// The fence as the server answered it when it was last watched.
    armed: Option<Vec<u8>>,
    /// The fence as it was last read or written by us.
    known: Option<Vec<u8>>,
}

struct Figures {
    bytes: Counter,
    commands: Counter,
    round_trip: Histogram,
}

impl Redis {
    pub fn new(settings: Arc<Settings>, source: &str, writer: &str, partition: u32) -> Self {
        let figures = Figures {
            bytes: metrics::counter!(REDIS_SENT_BYTES, "writer" => writer.to_owned()),
            commands: metrics::counter!(REDIS_COMMANDS, "writer" => writer.to_owned()),
            round_trip: metrics::histogram!(REDIS_ROUND_TRIP, "writer" => writer.to_owned()),
        };
        let name = hello::connection_name(writer, partition);
        Self {
            settings,
            writer: writer.to_owned(),
            name,
            key: fence::key(source, writer, partition),
            live: None,
            figures,
        }
    }

    /// The key the fence is kept at.
    pub fn fence_key(&self) -> &str {
        &self.key
    }

    /// The fence as it is, for people. Leaves no connection behind.
    pub async fn read_fence(&mut self) -> Result<Option<Fence>, Failure> {
        let fence = self.open().await;
        self.live = None;
        fence
    }

    /// Puts `new` in place of `expected`, or fails with `FENCE_CHANGED` if that is not what the store has. Leaves no connection behind.
    pub async fn replace_fence(&mut self, expected: Option<&Fence>, new: &Fence) -> Result<(), Failure> {
        let found = self.open().await?;
        if found.as_ref() != expected {
            self.live = None;
            return Err(RedisError::FenceChanged { key: self.key.clone() }.into());
        }
        let replaced = self.write(&RedisCommands::default(), new).await;
        self.live = None;
        replaced.map_err(|error| match error {
            RedisError::FenceTaken { key, .. }
            | RedisError::StoreEmptied { key, .. }
            | RedisError::LateWrite { key } => RedisError::FenceChanged { key }.into(),
            error => error.into(),
        })
    }

    async fn connect(&mut self) -> Result<Option<Fence>, RedisError> {
        // One connection at a time: the old one goes first.
        self.live = None;
        let mut client = Client::connect(&self.settings).await?;
        hello::introduce(&mut client, &self.settings, &self.name).await?;
        let text = fence::arm(&mut client, &self.key).await?;
        let fence = text.as_deref().map(|text| fence::parse(&self.key, text)).transpose()?;
        self.live = Some(Live { client, armed: text.clone(), known: text });
        Ok(fence)
    }

    async fn write(&mut self, commands: &RedisCommands, fence: &Fence) -> Result<(), RedisError> {
        // Put back only when everything went well; an apply that is given up half-way leaves none behind.
        let Live { mut client, armed, known } = self.live.take().ok_or(RedisError::Closed)?;
        if armed != known {
            return Err(fence::overtaken(&self.key, &self.writer, armed.as_deref(), &fence.owner));
        }
        let text = fence.to_text().into_bytes();
        let (started, before) = (Instant::now(), client.bytes_sent());
        let mut transaction = Transaction::new(commands, self.key.as_bytes(), &text);
        let exchanged = client.exchange(&mut transaction).await;
        self.figures.bytes.increment(client.bytes_sent() - before);
        exchanged?;
        self.figures.round_trip.record(started.elapsed());
        let (outcome, armed) = transaction.end()?;
        if outcome == Outcome::Overtaken {
            return Err(fence::overtaken(&self.key, &self.writer, armed.as_deref(), &fence.owner));
        }
        self.figures.commands.increment(commands.len() as u64);
        self.live = Some(Live { client, armed, known: Some(text) });
        Ok(())
    }
}

impl Connector for Redis {
    async fn open(&mut self) -> Result<Option<Fence>, Failure> {
        Ok(self.connect().await?)
    }

    async fn apply(&mut self, commands: &RedisCommands, fence: &Fence) -> Result<(), Failure> {
        Ok(self.write(commands, fence).await?)
    }
}
