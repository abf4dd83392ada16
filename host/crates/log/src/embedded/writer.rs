//! The log as capture sees it.

use std::sync::Arc;

use mysync_change::block::BlockBuilder;
use mysync_change::position::Checkpoint;
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::{Lead, LogWriter};

use super::Shared;
use super::file::PAGE_BYTES;
use crate::error::LogError;

/// Pages that a commit writes beside the records: the end of the partition's table, and the checkpoint.
const COMMIT_PAGES: u64 = 2;

#[derive(Debug)]
pub struct EmbeddedWriter {
    shared: Arc<Shared>,
}

impl EmbeddedWriter {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl LogWriter for EmbeddedWriter {
    async fn lead(&mut self) -> Result<Lead, Failure> {
        self.shared.check()?;
        self.shared.room.wait().await?;
        let shared = self.shared.clone();
        // Waits for the disk.
        let led = tokio::task::spawn_blocking(move || {
            let mut store = shared.store.blocking_lock();
            let lead = store.lead()?;
            // What an append stored that ended in an error is there for readers too.
            shared.publish(store.lasts());
            shared.consumers.begin(store.dumps());
            Ok(lead)
        });
        led.await.unwrap_or(Err(LogError::Ending)).map_err(Failure::from)
    }

    async fn append(&mut self, block: &BlockBuilder, checkpoint: &Checkpoint) -> Result<(), Failure> {
        let shared = &*self.shared;
        shared.check()?;
        shared.room.wait().await?;
        shared.wal.wait().await;
        {
            let mut store = shared.store.lock().await;
            // Some microseconds of work on memory and page cache: moving it to another thread would cost more than it takes.
            if store.append(block, checkpoint)? {
                shared.consumers.begin(&checkpoint.dumps);
            }
            let bytes = block.len() as u64;
            shared.publish(store.lasts());
            let filled = shared.room.add(bytes);
            shared.wal.add(bytes + COMMIT_PAGES * PAGE_BYTES);
            if filled || shared.wal.is_large() {
                shared.wake_keeper();
            }
        }
        // Readers woken by this task stand in a place of its own where no other thread finds them: they get their turn.
        tokio::task::yield_now().await;
        Ok(())
    }
}
