//! Waiting for what will be so, instead of for some time to pass.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Nothing here takes long; a busy machine takes its time.
pub const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `look` finds it so. An error means "not yet": the last one is told if it never becomes so.
///
/// ```text
/// until("the row is in the store", async || {
///     let name: Option<String> = redis.ask(&["HGET", "user:1", "name"])?;
///     ensure!(name.as_deref() == Some("Ada"), "name is {name:?}");
///     Ok(())
/// })
/// .await?;
/// ```
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    until_within(PATIENCE, what, look).await
}

/// [`until`] with a patience of its own.
pub async fn until_within<T>(patience: Duration, what: &str, mut look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(state) if Instant::now() > deadline => return Err(state).with_context(|| vain(what, patience)),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// The same where nothing else runs on this thread.
pub fn until_blocking<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(state) if Instant::now() > deadline => return Err(state).with_context(|| vain(what, patience)),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

fn vain(what: &str, patience: Duration) -> String {
    format!("waited {} s in vain: {what}", patience.as_secs())
}
