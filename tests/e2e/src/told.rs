//! What the running program tells of itself, waited for.

use anyhow::{Context, Result, ensure};
use mysync_test_support::{Mysync, until};
use serde_json::Value;

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
    until(&what, async || is(mysync.status()?["capture"].clone(), state, code)).await
}

fn is(told: Value, state: &str, code: &str) -> Result<Value> {
    ensure!(told["state"] == state && told["code"] == code, "{told}");
    Ok(told)
}

/// Waits until a loop has failed so often in a row of attempts that its waits have grown.
pub async fn wait_errors(mysync: &Mysync, of: impl Fn(&Value) -> &Value, errors: u64) -> Result<()> {
    until(&format!("{errors} attempts have failed"), async || {
        let status = mysync.status()?;
        let told = of(&status)["errors"].as_u64().unwrap_or(0);
        ensure!(told >= errors, "{}", of(&status));
        Ok(())
    })
    .await
}
