//! What the running program tells of itself, waited for.

use anyhow::{Context, Result, ensure};
use mysync_test_support::{Mysync, until};
use serde_json::Value;

/// Capture's part of the status.
pub fn capture(mysync: &Mysync) -> Result<Value> {
    Ok(mysync.status()?["capture"].clone())
}

/// One writer's part of the status, in its first partition.
pub fn writer(mysync: &Mysync, name: &str) -> Result<Value> {
    let status = mysync.status()?;
    let mut writers = status["writers"].as_array().context("no writers")?.iter();
    writers.find(|writer| writer["writer"] == name).cloned().with_context(|| format!("no writer {name}: {status}"))
}

/// Waits until a writer is in a state, for a reason.
pub async fn wait_writer(mysync: &Mysync, name: &str, state: &str, code: &str) -> Result<Value> {
    until(&format!("writer {name} is {state}, {code}"), async || is(writer(mysync, name)?, state, code)).await
}

/// Waits until capture is in a state, for a reason.
pub async fn wait_capture(mysync: &Mysync, state: &str, code: &str) -> Result<Value> {
    let what = format!("capture is {state}, {code}");
    until(&what, async || is(capture(mysync)?, state, code)).await
}

fn is(told: Value, state: &str, code: &str) -> Result<Value> {
    ensure!(told["state"] == state && told["code"] == code, "{told}");
    Ok(told)
}

/// Waits until so many attempts have failed, ever.
pub async fn wait_errors(look: impl Fn() -> Result<Value>, errors: u64) -> Result<()> {
    until(&format!("{errors} attempts have failed"), async || {
        let told = look()?;
        ensure!(count(&told, "errors") >= errors, "{told}");
        Ok(())
    })
    .await
}

/// Waits until so many more rows went by. Answers what was told then.
pub async fn wait_rows(look: impl Fn() -> Result<Value>, more: u64) -> Result<Value> {
    let before = count(&look()?, "rows");
    until("rows go by", async || {
        let told = look()?;
        ensure!(count(&told, "rows") >= before + more, "{told}");
        Ok(told)
    })
    .await
}

/// One of the figures.
pub fn count(told: &Value, figure: &str) -> u64 {
    told[figure].as_u64().unwrap_or(0)
}
