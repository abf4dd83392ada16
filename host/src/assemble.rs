//! Puts the parts together: the only file that names concrete adapters.

use std::sync::Arc;

use mysync_pipeline::failure::Failure;
use mysync_pipeline::shutdown::Shutdown;
use mysync_pipeline::status::Board;
use tokio::sync::mpsc;

use crate::admin::Command;
use crate::config::Settings;

/// Runs capture and every writer until the end begins.
pub async fn run(
    _settings: Settings,
    _board: Arc<Board>,
    shutdown: Shutdown,
    _commands: mpsc::Receiver<Command>,
) -> Result<(), Failure> {
    shutdown.ending().begun().await;
    Ok(())
}
