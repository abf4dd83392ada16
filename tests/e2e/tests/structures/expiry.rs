//! The time to live: counted from the commit, whenever the change is delivered.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use mysync_e2e_tests::World;
use mysync_test_support::until;

use crate::{people, writer};

const HOUR_MS: u64 = 3_600_000;
const SHORT: Duration = Duration::from_millis(1500);

const MAPS: [&str; 7] = [
    "as = \"hash\"\nkey = \"user:{id}\"\ncolumns = [\"name\"]\nttl = \"1h\"",
    "as = \"string\"\nkey = \"user:document:{id}\"\nvalue = \"json\"\nttl = \"60m\"",
    "as = \"set\"\nkey = \"users:in:{city}\"\nmember = \"{id}\"\nttl = \"3600s\"",
    "as = \"sorted-set\"\nkey = \"users:ranking\"\nmember = \"{id}\"\nscore = \"score\"\nttl = \"3600000ms\"",
    "as = \"list\"\nkey = \"users:recent\"\nmember = \"{id}\"\nttl = \"1h\"",
    "as = \"hash\"\nkey = \"user:short:{id}\"\ncolumns = [\"name\"]\nttl = \"1500ms\"",
    "as = \"string\"\nkey = \"user:long:{id}\"\nvalue = \"{name}\"",
];

fn now_ms() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// Commits, and answers between which times, in milliseconds since 1970.
async fn commit(world: &World, statement: &str) -> Result<(u64, u64)> {
    let before = now_ms()?;
    world.mysql.exec(statement).await?;
    Ok((before, now_ms()?))
}

/// When a key expires, in milliseconds since 1970; -1: never; -2: there is no such key.
fn expires(world: &World, key: &str) -> Result<i64> {
    world.redis.ask(&["PEXPIRETIME", key])
}

/// Waits until these keys expire an hour after a commit.
async fn wait_for_expiry(world: &World, keys: &[&str], committed: (u64, u64)) -> Result<()> {
    until("keys expire an hour after the commit", async || {
        for key in keys {
            let at = expires(world, key)?;
            let commit = u64::try_from(at).unwrap_or_default().saturating_sub(HOUR_MS);
            ensure!((committed.0..=committed.1).contains(&commit), "{key} expires at {at}, committed {committed:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_expires_counted_from_its_commit_however_late_it_comes() -> Result<()> {
    let test = "an_entry_expires_counted_from_its_commit_however_late_it_comes";
    let Some((world, mysync)) = people(test, &MAPS).await? else { return Ok(()) };
    let shared = ["users:in:Oslo", "users:ranking", "users:recent"];
    let first = commit(&world, "INSERT INTO shop.people VALUES (1, 'Ann', 'Oslo', NULL, 1)").await?;
    wait_for_expiry(&world, &[&["user:1", "user:document:1"], &shared[..]].concat(), first).await?;
    ensure!(expires(&world, "user:long:1")? == -1, "without a time to live it stays");

    // What rows share lives as long as the youngest change in it; what a row has alone is its own.
    let second = commit(&world, "INSERT INTO shop.people VALUES (2, 'Bob', 'Oslo', NULL, 2)").await?;
    wait_for_expiry(&world, &[&["user:2", "user:document:2"], &shared[..]].concat(), second).await?;
    wait_for_expiry(&world, &["user:1", "user:document:1"], first).await?;
    // What takes a member away gives no life to the others.
    commit(&world, "DELETE FROM shop.people WHERE id = 2").await?;
    until("Bob is gone", async || Ok(ensure!(world.redis.ask::<u64>(&["EXISTS", "user:2", "user:long:2"])? == 0)))
        .await?;
    wait_for_expiry(&world, &shared, second).await?;
    let third = commit(&world, "UPDATE shop.people SET score = 3").await?;
    wait_for_expiry(&world, &[&["user:1", "user:document:1"], &shared[..]].concat(), third).await?;

    // Applied again by a rewind, everything expires when it would have.
    ensure!(mysync.terminate().await?.success());
    let keys = ["user:1", "user:document:1", "users:in:Oslo", "users:ranking", "users:recent"];
    let times = || keys.iter().map(|key| expires(&world, key)).collect::<Result<Vec<_>>>();
    let before = times()?;
    world.redis.ask::<()>(&["FLUSHALL"])?;
    for writer in ["people-cache", "orders-cache"] {
        world.command_well(&["writer", "rewind", writer])?;
    }
    // Delivered when it has expired already, an entry is not there at all; another of the same commit is.
    let late = commit(&world, "INSERT INTO shop.people VALUES (4, 'Dora', 'Rome', NULL, 4)").await?;
    until("the short life is over", async || {
        ensure!(now_ms()? > late.1 + u64::try_from(SHORT.as_millis())?, "not yet");
        Ok(())
    })
    .await?;
    let mysync = world.mysync().await?;
    wait_for_expiry(&world, &["user:4", "user:document:4", "users:in:Rome", "users:ranking"], late).await?;
    until("the last map has been there", async || Ok(ensure!(expires(&world, "user:long:4")? == -1))).await?;
    ensure!(times()?[..3] == before[..3], "{:?} was {before:?}", times()?);
    for id in [1, 2, 4] {
        ensure!(!world.redis.ask::<bool>(&["EXISTS", &format!("user:short:{id}")])?, "user {id} has expired");
    }
    // In time it is there, and goes by itself.
    let soon = commit(&world, "UPDATE shop.people SET name = 'Eve' WHERE id = 4").await?;
    wait_for_expiry(&world, &["user:4"], soon).await?;
    until("it is gone", async || Ok(ensure!(expires(&world, "user:short:4")? == -2))).await?;
    ensure!(now_ms()? >= soon.0 + u64::try_from(SHORT.as_millis())?, "it went too early");
    ensure!(mysync.terminate().await?.success());

    // A mapping without it takes it from nothing but strings: the page says so.
    let lasting = MAPS.map(|map| map.lines().filter(|line| !line.starts_with("ttl")).collect::<Vec<_>>().join("\n"));
    world.write_writer("people-cache", &writer("shop.people", &lasting.each_ref().map(String::as_str)))?;
    let mysync = world.mysync().await?;
    ensure!(mysync.log().contains("mapping has changed since the store was last written"), "nobody was told");
    world.mysql.exec("UPDATE shop.people SET name = 'Fay' WHERE id = 4").await?;
    until("the document lasts", async || Ok(ensure!(expires(&world, "user:document:4")? == -1))).await?;
    wait_for_expiry(&world, &["user:4"], soon).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
