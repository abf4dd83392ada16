//! Dumps of the running program: ordered, looked at, and waited for.

use anyhow::{Context, Result, bail, ensure};
use mysync_test_support::{Mysync, until, until_within};
use serde_json::Value;

use crate::told::count;
use crate::world::{PATIENCE, World};

/// Those that the program tells of.
pub fn all(mysync: &Mysync) -> Result<Vec<Value>> {
    let status = mysync.status()?;
    status["dumps"].as_array().cloned().with_context(|| format!("no dumps: {status}"))
}

/// One of them.
pub fn dump(mysync: &Mysync, number: u64) -> Result<Value> {
    let dumps = all(mysync)?;
    dumps.into_iter().find(|dump| dump["number"] == number).with_context(|| format!("no dump {number} is told of"))
}

/// The last one for a writer.
pub fn of(mysync: &Mysync, writer: &str) -> Result<Value> {
    let dumps = all(mysync)?;
    let found = dumps.into_iter().rfind(|dump| dump["writer"] == writer);
    found.with_context(|| format!("no dump for {writer} is told of"))
}

/// Waits until a dump is in a state.
pub async fn wait(mysync: &Mysync, number: u64, state: &str) -> Result<Value> {
    let what = format!("dump {number} is {state}");
    until_within(PATIENCE, &what, async || is(dump(mysync, number)?, state)).await
}

/// Waits until the last dump for a writer is in a state.
pub async fn wait_of(mysync: &Mysync, writer: &str, state: &str) -> Result<Value> {
    until_within(PATIENCE, &format!("the dump for {writer} is {state}"), async || is(of(mysync, writer)?, state)).await
}

fn is(dump: Value, state: &str) -> Result<Value> {
    ensure!(dump["state"] == state, "{dump}");
    Ok(dump)
}

/// Waits until the last dump for a writer stands, for a reason.
pub async fn wait_stopped(mysync: &Mysync, writer: &str, code: &str) -> Result<Value> {
    until(&format!("the dump for {writer} stops, {code}"), async || {
        let dump = is(of(mysync, writer)?, "stopped")?;
        ensure!(dump["code"] == code, "{dump}");
        Ok(dump)
    })
    .await
}

/// Waits until a dump for a writer has so many rows in the log, and is not over by then.
pub async fn wait_rows(mysync: &Mysync, writer: &str, rows: u64) -> Result<Value> {
    until(&format!("the dump for {writer} has {rows} rows"), async || {
        let dump = of(mysync, writer)?;
        ensure!(count(&dump, "rows") >= rows, "{dump}");
        Ok(dump)
    })
    .await
    .and_then(|dump| if dump["state"] == "done" { bail!("it is over: {dump}") } else { Ok(dump) })
}

/// Waits until none is left that is not over.
pub async fn wait_over(mysync: &Mysync) -> Result<()> {
    until_within(PATIENCE, "every dump is over", async || {
        let dumps = all(mysync)?;
        ensure!(dumps.iter().all(|dump| dump["state"] == "done" || dump["state"] == "cancelled"), "{dumps:?}");
        Ok(())
    })
    .await
}

/// Waits until every writer has had its first dump.
pub async fn wait_first(mysync: &Mysync, writers: &[(&str, &str)]) -> Result<()> {
    for (name, _) in writers {
        wait_of(mysync, name, "done").await?;
    }
    Ok(())
}

/// Orders one, and answers its number.
pub fn order(world: &World, arguments: &[&str]) -> Result<u64> {
    let said = world.command_well(&[&["dump", "--detach"], arguments].concat())?;
    let number = said.strip_prefix("dump ").and_then(|rest| rest.split(' ').next()?.parse().ok());
    number.with_context(|| format!("no dump was ordered: {said}"))
}
