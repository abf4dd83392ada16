//! What people ask of dumps: another one, a pause, an end, a rate; and what they are shown.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::shop::{BULK, ORDERS, USERS, fill};
use mysync_e2e_tests::told::count;
use mysync_e2e_tests::{Options, World, dumps};
use mysync_test_support::{Mysync, until};
use serde_json::Value;

const ROWS: u32 = 4_000;
/// Slow enough for a dump to be at work for some seconds.
const SLOW: &str = "[dump]\nrows_per_second = 2000";

fn options(more: &'static str) -> Options {
    Options { writers: vec![("users-cache", USERS), ("bulk-cache", BULK)], more, ..Options::default() }
}

/// The command is refused by the running process, which says why.
fn refused(world: &World, arguments: &[&str], code: &str) -> Result<String> {
    let output = world.command(arguments)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1) && said.contains(code), "{arguments:?}: {output:?}");
    Ok(said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_was_paused_stays_so_over_a_restart_and_goes_on_where_it_was() -> Result<()> {
    let test = "a_dump_that_was_paused_stays_so_over_a_restart_and_goes_on_where_it_was";
    let Some(world) = World::start(test, options(SLOW)).await? else { return Ok(()) };
    fill(&world.mysql, &[("bulk", ROWS)]).await?;
    let mysync = world.mysync().await?;
    let dump = dumps::wait_rows(&mysync, "bulk-cache", 1).await?;
    let number = dump["number"].as_u64().context("no number")?;
    let said = world.command_well(&["dump", "pause", &number.to_string()])?;
    ensure!(said == format!("dump {number} is paused\n"), "{said}");
    let paused = dumps::wait(&mysync, number, "paused").await?;
    // The other one does not wait for it, and neither do changes.
    dumps::wait_of(&mysync, "users-cache", "done").await?;
    world.mysql.exec("INSERT INTO shop.users VALUES (1, 'Ada', NULL, 'London', 1)").await?;
    until("a change goes by", async || Ok(ensure!(world.redis.ask::<bool>(&["EXISTS", "user:1"])?))).await?;
    ensure!(dumps::dump(&mysync, number)?["rows"] == paused["rows"], "it goes on: {:?}", dumps::all(&mysync)?);
    ensure!(mysync.get("/healthz")?.0 == 200, "what somebody wanted is no trouble");
    ensure!(mysync.terminate().await?.success());

    let mysync = world.mysync().await?;
    let still = dumps::wait(&mysync, number, "paused").await?;
    ensure!(still["rows"] == paused["rows"] && still["chunks"] == paused["chunks"], "{still}, and before {paused}");
    world.mysql.exec("INSERT INTO shop.users VALUES (2, 'Bob', NULL, 'Paris', 2)").await?;
    until("a change goes by", async || Ok(ensure!(world.redis.ask::<bool>(&["EXISTS", "user:2"])?))).await?;
    ensure!(dumps::dump(&mysync, number)?["rows"] == paused["rows"], "it goes on: {:?}", dumps::all(&mysync)?);
    ensure!(world.command_well(&["dump", "resume"])? == format!("dump {number} goes on\n"));
    let done = dumps::wait(&mysync, number, "done").await?;
    ensure!(count(&done, "rows") == u64::from(ROWS), "rows were loaded twice or left out: {done}");
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_was_cancelled_is_over_and_another_one_loads_everything() -> Result<()> {
    let test = "a_dump_that_was_cancelled_is_over_and_another_one_loads_everything";
    let Some(world) = World::start(test, options("[dump]\nrows_per_second = 1000")).await? else { return Ok(()) };
    fill(&world.mysql, &[("bulk", ROWS)]).await?;
    let mysync = world.mysync().await?;
    let dump = dumps::wait_rows(&mysync, "bulk-cache", 1).await?;
    let number = dump["number"].as_u64().context("no number")?.to_string();
    ensure!(world.command_well(&["dump", "cancel", &number])? == format!("dump {number} is cancelled\n"));
    let cancelled = dumps::wait_of(&mysync, "bulk-cache", "cancelled").await?;
    ensure!(count(&cancelled, "rows") < u64::from(ROWS) && cancelled["ended_us"].is_u64(), "{cancelled}");
    dumps::wait_of(&mysync, "users-cache", "done").await?;
    for verb in ["cancel", "pause", "resume"] {
        refused(&world, &["dump", verb, &number], "DUMP_UNKNOWN")?;
        refused(&world, &["dump", verb], "DUMP_UNKNOWN")?;
    }
    ensure!(mysync.terminate().await?.success());

    let mysync = world.mysync().await?;
    world.mysql.exec("INSERT INTO shop.users VALUES (1, 'Ada', NULL, 'London', 1)").await?;
    until("a change goes by", async || Ok(ensure!(world.redis.ask::<bool>(&["EXISTS", "user:1"])?))).await?;
    ensure!(dumps::all(&mysync)?.is_empty(), "what was cancelled begins anew: {:?}", dumps::all(&mysync)?);
    let said = world.command_well(&["dump", "--writer", "bulk-cache", "--rows-per-second", "100000"])?;
    ensure!(said.contains(" is done: 4,000 rows of 1 tables"), "{said}");
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_dump_runs_at_a_time_and_none_twice() -> Result<()> {
    let test = "one_dump_runs_at_a_time_and_none_twice";
    let mut options = options(SLOW);
    options.writers.push(("orders-cache", ORDERS));
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    fill(&world.mysql, &[("users", 1_000), ("orders", 1_000), ("bulk", 1_000)]).await?;
    let mysync = world.mysync().await?;
    let said = refused(&world, &["dump", "--writer", "bulk-cache"], "DUMP_RUNNING")?;
    ensure!(said.contains("for writer bulk-cache is not over"), "{said}");
    let all = dumps::order(&world, &[])?;
    refused(&world, &["dump"], "DUMP_RUNNING")?;
    refused(&world, &["dump", "--writer", "bulk"], "WRITER_UNKNOWN")?;
    let mut over: Vec<Value> = Vec::new();
    until("every dump is done", async || {
        let dumps = dumps::all(&mysync)?;
        let of = |state| dumps.iter().filter(|dump| dump["state"] == state).cloned().collect::<Vec<Value>>();
        over = of("done");
        let (running, waiting) = (of("running").len(), of("waiting").len());
        ensure!(over.len() == 4, "{running} are running, {waiting} are waiting: {dumps:?}");
        // What is true of every moment is asserted behind it.
        Ok(())
    })
    .await?;
    // Each began when the one before it had ended: the first row of the next is behind the last of the former.
    over.sort_by_key(|dump| dump["number"].as_u64());
    let ends: Vec<u64> = over.iter().map(|dump| count(dump, "ended_us")).collect();
    ensure!(ends.is_sorted(), "they ended in another order: {over:?}");
    ensure!(over.last().is_some_and(|dump| dump["number"] == all && dump["writer"].is_null()), "{over:?}");
    ensure!(over.iter().all(|dump| count(dump, "rows") >= 1_000), "{over:?}");
    let said = mysync.log();
    let turns = said.lines().filter_map(turn).collect::<Vec<_>>();
    ensure!(
        turns.chunks(2).all(|pair| pair.len() == 2 && pair[0].0 == pair[1].0 && !pair[0].1 && pair[1].1),
        "{turns:?}"
    );
    ensure!(turns.len() == 8, "{turns:?}");
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

/// Which dump goes on, or is done, in a line of what the program says.
fn turn(line: &str) -> Option<(u64, bool)> {
    let number = line.split_once(" dump ")?.1.split(' ').next()?.parse().ok()?;
    let done = line.contains(" is done");
    (done || line.contains(" goes on")).then_some((number, done))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_keeps_to_its_rate() -> Result<()> {
    let test = "a_dump_keeps_to_its_rate";
    let Some(world) = World::start(test, options("[dump]\nrows_per_second = 1000")).await? else { return Ok(()) };
    fill(&world.mysql, &[("bulk", 3_000)]).await?;
    let mysync = world.mysync().await?;
    let done = dumps::wait_of(&mysync, "bulk-cache", "done").await?;
    let took = Duration::from_micros(count(&done, "ended_us") - count(&done, "asked_us"));
    println!("3,000 rows at 1,000 for each second took {took:?}: {done}");
    ensure!(count(&done, "rows_per_second_max") == 1_000, "{done}");
    ensure!((Duration::from_millis(1_500)..Duration::from_secs(6)).contains(&took), "{took:?}: {done}");
    world.mysql.exec("DELETE FROM shop.bulk WHERE id > 1500").await?;
    let number = dumps::order(&world, &["--writer", "bulk-cache", "--rows-per-second", "500"])?;
    let done = dumps::wait(&mysync, number, "done").await?;
    let took = Duration::from_micros(count(&done, "ended_us") - count(&done, "asked_us"));
    ensure!((Duration::from_millis(1_500)..Duration::from_secs(6)).contains(&took), "{took:?}: {done}");
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_a_dump_sees_how_far_it_is_and_may_go() -> Result<()> {
    let test = "whoever_follows_a_dump_sees_how_far_it_is_and_may_go";
    let Some(world) = World::start(test, options("")).await? else { return Ok(()) };
    fill(&world.mysql, &[("users", 10), ("bulk", ROWS)]).await?;
    let mysync = world.mysync().await?;
    dumps::wait_over(&mysync).await?;
    let follow = |arguments: &[&str]| {
        let mut command = Mysync::command(world.dir(), &[&["dump", "--writer", "bulk-cache"], arguments].concat())?;
        anyhow::Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    };
    // To its end.
    let followed = follow(&["--rows-per-second", "4000"])?.wait_with_output()?;
    let said = String::from_utf8_lossy(&followed.stdout).into_owned();
    ensure!(followed.status.success() && !said.contains('\r') && !said.contains('\x1b'), "{followed:?}");
    ensure!(said.contains("dump 3  shop.bulk (1 of 1)  ") && said.contains(" of about "), "{said}");
    ensure!(said.contains("\ndump 3 is done: 4,000 rows of 1 tables "), "{said}");
    // Until it is asked to go, which ends nothing but itself; and until it is killed.
    for (number, signal) in [(4, "-TERM"), (5, "-KILL")] {
        let mut follower = follow(&["--rows-per-second", "2000"])?;
        let begun = until("it has begun", async || {
            let dump = dumps::dump(&mysync, number)?;
            Ok(ensure!(count(&dump, "rows") > 0, "{dump}"))
        })
        .await;
        let id = follower.id().to_string();
        ensure!(Command::new("kill").args([signal, &id]).status()?.success());
        let status = follower.wait()?;
        begun?;
        let left = dumps::dump(&mysync, number)?;
        ensure!(left["state"] == "running" && !status.success(), "{status}: {left}");
        ensure!(count(&dumps::wait(&mysync, number, "done").await?, "rows") == u64::from(ROWS));
    }
    // Until it is cancelled by somebody else.
    let follower = follow(&["--rows-per-second", "2000"])?;
    dumps::wait(&mysync, 6, "running").await?;
    world.command_well(&["dump", "cancel"])?;
    let followed = follower.wait_with_output()?;
    let said = String::from_utf8_lossy(&followed.stderr).into_owned();
    ensure!(followed.status.code() == Some(1) && said.contains("[DUMP_CANCELLED]"), "{followed:?}");
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
