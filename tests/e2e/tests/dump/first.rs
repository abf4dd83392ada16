//! What new writers begin with.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable;
use mysync_e2e_tests::exposition::Exposition;
use mysync_e2e_tests::figures::Times;
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::shop::{BULK, ORDERS, USERS, fill, with_dumps};
use mysync_e2e_tests::subscriber::Subscriber;
use mysync_e2e_tests::told::{count, writer};
use mysync_e2e_tests::witness::Witness;
use mysync_e2e_tests::{Options, World, dumps};
use mysync_test_support::{Random, until};

const ROWS: [(&str, u32); 4] = [("users", 3_000), ("orders", 5_000), ("bulk", 12_000), ("visits", 2_000)];

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_there_before_the_log_arrive() -> Result<()> {
    let test = "rows_that_were_there_before_the_log_arrive";
    let options = Options { writers: with_dumps(), ..Options::default() };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    fill(&world.mysql, &ROWS).await?;
    let mysync = world.mysync().await?;
    dumps::wait_first(&mysync, &with_dumps()).await?;
    let entries = world.wait_equal().await?;
    ensure!(entries == 20_014, "{entries} entries");
    for ((name, _), (table, rows)) in with_dumps().iter().zip(ROWS) {
        let dump = dumps::of(&mysync, name)?;
        ensure!(count(&dump, "rows") == u64::from(rows) && count(&dump, "rows_left_out") == 0, "{dump}");
        ensure!(dump["table"] == format!("shop.{table}") && dump["tables_done"] == 1 && dump["tables"] == 1, "{dump}");
        ensure!(count(&dump, "chunks") > 1 && dump["code"].is_null() && dump["ended_us"].is_u64(), "{dump}");
        let told = writer(&mysync, name)?;
        ensure!(count(&told, "rows") == u64::from(rows), "{told}");
    }
    let said = world.command_well(&["dump", "status"])?;
    ensure!(with_dumps().iter().all(|(name, _)| said.contains(name)) && said.matches(" done ").count() == 4, "{said}");
    let said = world.command_well(&["dump", "status", "--json"])?;
    let told: serde_json::Value = serde_json::from_str(&said)?;
    ensure!(told.as_array().is_some_and(|dumps| dumps.len() == 4), "{told}");
    Exposition::parse(&mysync.metrics()?)?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_change_while_they_are_loaded_are_those_of_the_last_change() -> Result<()> {
    let test = "rows_that_change_while_they_are_loaded_are_those_of_the_last_change";
    let options = Options { writers: with_dumps(), ..Options::default() };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    // Most rows are among those that change.
    fill(&world.mysql, &[("users", 100), ("orders", 200), ("bulk", 1_500), ("visits", 100)]).await?;
    let load = Load::start(&world.mysql, &mut Random::from_env(), &[]);
    let mysync = world.mysync().await?;
    let witness = Witness::start(&world.redis, true);
    dumps::wait_first(&mysync, &with_dumps()).await?;
    for _ in 0..8 {
        let number = dumps::order(&world, &[])?;
        dumps::wait(&mysync, number, "done").await?;
    }
    let committed = load.stop().await?;
    let entries = world.wait_loaded().await?;
    let left_out: u64 = dumps::all(&mysync)?.iter().map(|dump| count(dump, "rows_left_out")).sum();
    println!("{committed} transactions, {left_out} rows left out, {} steps seen, {entries} entries", witness.stop()?);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_added_later_is_loaded_without_bothering_the_others() -> Result<()> {
    let test = "a_writer_that_is_added_later_is_loaded_without_bothering_the_others";
    let others = [("users-cache", USERS), ("orders-cache", ORDERS)];
    let options = Options { writers: others.to_vec(), log: "retention = \"1s\"", ..Options::default() };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    fill(&world.mysql, &[("users", 500), ("orders", 500), ("bulk", 15_000)]).await?;
    let mysync = world.mysync().await?;
    dumps::wait_first(&mysync, &others).await?;
    // The beginning of the log goes.
    crate::stores::wait_trimmed(&world).await?;
    ensure!(mysync.terminate().await?.success());

    world.write_writer("bulk-cache", BULK)?;
    let mysync = world.mysync().await?;
    for id in 1..=50 {
        world.mysql.exec(&format!("UPDATE shop.orders SET note = 'seen {id}' WHERE id = {id}")).await?;
        for (other, _) in others {
            let told = writer(&mysync, other)?;
            ensure!(told["lag_seconds"].as_f64().is_none_or(|lag| lag < 2.0), "the dump holds it up: {told}");
        }
    }
    dumps::wait_of(&mysync, "bulk-cache", "done").await?;
    world.wait_equal().await?;
    let rows = |name| anyhow::Ok(count(&writer(&mysync, name)?, "rows"));
    let moved = [rows("users-cache")?, rows("orders-cache")?, rows("bulk-cache")?];
    ensure!(moved == [0, 50, 15_000], "{moved:?} rows went to the writers");
    ensure!(dumps::all(&mysync)?.len() == 1, "others were loaded again: {:?}", dumps::all(&mysync)?);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

/// Commits of which each is awaited.
const COMMITS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn commits_are_seen_in_the_store_while_a_large_table_is_loaded() -> Result<()> {
    let test = "commits_are_seen_in_the_store_while_a_large_table_is_loaded";
    let writers = vec![("users-cache", USERS), ("bulk-cache", BULK)];
    let Some(world) = World::start(test, Options { writers, ..Options::default() }).await? else { return Ok(()) };
    fill(&world.mysql, &[("users", 1), ("bulk", 300_000)]).await?;
    let mysync = world.mysync().await?;
    let began = dumps::wait_rows(&mysync, "bulk-cache", 1).await?;
    let subscriber = Subscriber::start(&world.redis, "user:*")?;
    let (mut times, mut conn) = (Vec::new(), world.mysql.conn().await?);
    for id in 10..10 + COMMITS {
        conn.query_drop(format!("INSERT INTO shop.users VALUES ({id}, 'Ada', NULL, 'London', {id})")).await?;
        let committed = Instant::now();
        let seen = subscriber.seen(&format!("user:{id}"))?;
        times.push(seen.saturating_duration_since(committed));
    }
    let dump = dumps::of(&mysync, "bulk-cache")?;
    let loaded = count(&dump, "rows") - count(&began, "rows");
    let times = Times::new(times);
    println!(
        "{COMMITS} commits beside {loaded} rows of a dump: p50 {:?}, p99 {:?}, longest {:?}",
        times.quantile(500),
        times.quantile(990),
        times.quantile(1000)
    );
    ensure!(dump["state"] == "running", "they were not seen before the end of the dump: {dump}");
    drop(subscriber);
    let number = dump["number"].as_u64().context("no number")?;
    ensure!(count(&dumps::wait(&mysync, number, "done").await?, "rows") == 300_000);
    until("every row is in the store", async || {
        let keys: usize = world.redis.ask(&["DBSIZE"])?;
        Ok(ensure!(keys == 300_000 + 1 + COMMITS + 2 + 2, "{keys} keys"))
    })
    .await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
