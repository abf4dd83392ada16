//! Stores that are made anew from a compacted topic, and writers that come too late for what was removed from it.

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::told::{count, writer};
use mysync_e2e_tests::world::PATIENCE;
use mysync_e2e_tests::{Machine, Options, World, clusters, compare, dumps, shop};
use mysync_test_support::{Kafka, Mysync, Random, until, until_within};

use crate::scene::{allow, end, options, parts, replace_writers, run, start, wait_in_log, wait_stopped, wait_through};
use crate::topic::{ALLOWED, compact, compact_behind, make};

const LOG: &str = "partitions = 2\ncleanup = \"compact\"\nretention = \"1m\"";
/// Writers whose entries are named by nothing but the key of a row: any record of the row says all that there is to say.
const WRITERS: [(&str, &str); 2] = [("orders-cache", shop::ORDERS), ("bulk-cache", shop::BULK)];

fn writers() -> Vec<(&'static str, &'static str)> {
    WRITERS.map(|(name, text)| (name, shop::without_dump(text))).to_vec()
}

/// A world whose log is compacted when a test says so.
async fn world(kafka: &Kafka, test: &str) -> Result<Option<World>> {
    let options = Options { writers: writers(), ..options(kafka, test, LOG) };
    let Some(world) = World::start(test, options).await? else { return Ok(None) };
    make(kafka, test, 2).await?;
    allow(world.dir(), &ALLOWED)?;
    Ok(Some(world))
}

/// Empties the store, and lets writers of which nobody has heard write it.
fn begin_anew(world: &World) -> Result<()> {
    world.redis.ask::<()>(&["FLUSHALL"])?;
    let renamed: Vec<_> = writers().into_iter().map(|(name, text)| (format!("{name}-anew"), text)).collect();
    replace_writers(world, &renamed)
}

/// The entries of these writers, and no others, are in the store.
async fn equal(world: &World) -> Result<usize> {
    let expected = compare::expected(&world.mysql).await?;
    let expected = expected.into_iter().filter(|(key, _)| key.starts_with("order:") || key.starts_with("bulk:"));
    compare::same(&expected.collect(), &compare::actual(&mut world.redis.conn()?)?)
}

async fn wait_equal(world: &World, process: &Mysync) -> Result<usize> {
    let waited = until_within(PATIENCE, "Redis equals MySQL", async || equal(world).await).await;
    waited.with_context(|| format!("{:?}{}", process.status(), world.complaints()))
}

/// Rows come, change, move and go.
async fn load(world: &World, mysync: &Mysync, random: &mut Random) -> Result<()> {
    let before = count(&writer(mysync, "bulk-cache")?, "rows");
    let load = Load::start(&world.mysql, random, &[]);
    until("enough has happened", async || {
        let rows = count(&writer(mysync, "bulk-cache")?, "rows");
        Ok(ensure!(rows > before + 1000, "{rows}"))
    })
    .await?;
    load.stop().await?;
    Ok(())
}

/// Waits until a writer has made its store anew: every one of its fences says so.
async fn wait_rebuilt(world: &World, writer: &str, partitions: u32) -> Result<()> {
    until("the store has been made anew", async || {
        for partition in 0..partitions {
            let fence = world.fence(writer, partition)?.context("no fence")?;
            ensure!(fence.get("rebuild").is_none() && fence["began"] == fence["applied"], "{fence}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_writer_makes_its_store_from_what_compaction_has_left() -> Result<()> {
    let test = "a_new_writer_makes_its_store_from_what_compaction_has_left";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = world(&kafka, test).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let mysync = run(&world, "run").await?;
    load(&world, &mysync, &mut random).await?;
    wait_equal(&world, &mysync).await?;
    compact(&world, &kafka, test).await?;
    wait_equal(&world, &mysync).await?;
    end(mysync).await?;

    begin_anew(&world)?;
    let mysync = run(&world, "run").await?;
    println!("{} entries, made anew", wait_equal(&world, &mysync).await?);
    wait_through(&world).await?;
    wait_rebuilt(&world, "bulk-cache-anew", 2).await?;
    // It goes on like any other.
    world
        .mysql
        .exec("DELETE FROM shop.orders WHERE id % 2 = 0; UPDATE shop.orders SET id = id + 1000, note = 'moved'")
        .await?;
    println!("{} entries", wait_equal(&world, &mysync).await?);
    end(mysync).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_made_anew_is_finished_however_often_its_writer_is_killed() -> Result<()> {
    const ROWS: u32 = 10_000;
    let test = "a_store_that_is_made_anew_is_finished_however_often_its_writer_is_killed";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = world(&kafka, test).await? else { return Ok(()) };
    let mysync = run(&world, "run").await?;
    shop::fill(&world.mysql, &[("bulk", ROWS), ("orders", 500)]).await?;
    world.mysql.exec("DELETE FROM shop.bulk WHERE id % 10 = 0; UPDATE shop.bulk SET k = -1 WHERE id % 3 = 0").await?;
    wait_equal(&world, &mysync).await?;
    compact(&world, &kafka, test).await?;
    end(mysync).await?;

    begin_anew(&world)?;
    let (mut within, mut places) = (0, Vec::new());
    for _ in 0..3 {
        let mysync = world.spawn()?;
        let last = places.last().copied().unwrap_or_default();
        let seen = until("it has come further", async || {
            let fence = world.fence("bulk-cache-anew", 0)?.context("no fence")?;
            let seq = fence["applied"]["seq"].as_u64().context("no place")?;
            ensure!(seq > last || fence.get("rebuild").is_none(), "{fence}");
            Ok(seq)
        })
        .await?;
        mysync.kill();
        let fence = world.fence("bulk-cache-anew", 0)?.context("no fence")?;
        within += u32::from(fence.get("rebuild").is_some());
        places.push(seen);
    }
    println!("killed {within} times before it was done, at {places:?}");
    ensure!(within > 0, "it was done before it was killed");
    let mysync = run(&world, "run").await?;
    println!("{} entries", wait_equal(&world, &mysync).await?);
    wait_through(&world).await?;
    wait_rebuilt(&world, "bulk-cache-anew", 2).await?;
    end(mysync).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_was_away_for_too_long_is_told_and_one_that_was_not_goes_on() -> Result<()> {
    let test = "a_writer_that_was_away_for_too_long_is_told_and_one_that_was_not_goes_on";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = world(&kafka, test).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let capture = run(&world, "capture").await?;
    let machine = Machine::new(&world)?;
    let deliver = start(&world, machine.dir(), "deliver").await?;
    load(&world, &deliver, &mut random).await?;
    wait_equal(&world, &deliver).await?;
    compact(&world, &kafka, test).await?;
    wait_equal(&world, &deliver).await?;
    end(deliver).await?;

    // Everything that it missed is still there, though what lies before it has been compacted.
    for statement in [
        "DELETE FROM shop.orders WHERE id % 3 = 0",
        "UPDATE shop.orders SET note = 'moved', id = id + 1000 WHERE id % 3 = 1",
        "UPDATE shop.orders SET note = 'changed'",
    ] {
        world.mysql.exec(statement).await?;
        wait_in_log(&world, &kafka, test).await?;
    }
    let deliver = start(&world, machine.dir(), "deliver").await?;
    println!("{} entries", wait_equal(&world, &deliver).await?);
    end(deliver).await?;

    // Now rows were deleted of which nothing is said any more.
    let mut places = Vec::new();
    for partition in 0..2 {
        let fence = world.fence("orders-cache", partition)?.context("no fence")?;
        places.extend(fence["applied"]["seq"].as_u64());
    }
    world.mysql.exec("DELETE FROM shop.orders WHERE id % 2 = 0").await?;
    compact_behind(&world, &kafka, test, places.into_iter().max().context("no place")?).await?;
    let mut deliver = world.spawn_half(machine.dir(), "deliver")?;
    for writer in ["orders-cache", "bulk-cache"] {
        let said = wait_stopped(&deliver, writer, "REBUILD_NEEDED", 2).await?;
        ensure!(said.contains(&format!("'mysync writer rewind {writer}'")), "{said}");
    }
    // Nothing was written by it.
    ensure!(equal(&world).await.is_err(), "there was nothing to miss");
    deliver.ask_to_end()?;
    deliver.wait_exit().await?;

    world.redis.ask::<()>(&["FLUSHALL"])?;
    for writer in ["orders-cache", "bulk-cache"] {
        print!("{}", world.command_well(&["writer", "rewind", writer])?);
    }
    let deliver = start(&world, machine.dir(), "deliver").await?;
    println!("{} entries", wait_equal(&world, &deliver).await?);
    wait_through(&world).await?;
    wait_rebuilt(&world, "orders-cache", 2).await?;
    let stopped: Vec<_> = parts(&deliver, "orders-cache")?;
    ensure!(stopped.iter().all(|part| part["state"] == "running"), "{stopped:?}");
    end(deliver).await?;
    end(capture).await
}

/// What a row's entries were made of may have been removed while the store is made anew, and with it what has to go from the store.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_has_to_know_what_a_row_was_is_told_to_load_its_store_instead() -> Result<()> {
    let test = "a_writer_that_has_to_know_what_a_row_was_is_told_to_load_its_store_instead";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = world(&kafka, test).await? else { return Ok(()) };
    let mut mysync = run(&world, "run").await?;
    shop::fill(&world.mysql, &[("users", 300)]).await?;
    world
        .mysql
        .exec("UPDATE shop.users SET city = 'Oslo' WHERE id % 2 = 0; DELETE FROM shop.users WHERE id % 5 = 0")
        .await?;
    wait_in_log(&world, &kafka, test).await?;
    end(mysync).await?;

    replace_writers(&world, &[("users-cache".to_owned(), shop::without_dump(shop::USERS))])?;
    world.redis.ask::<()>(&["FLUSHALL"])?;
    mysync = run(&world, "run").await?;
    let said = wait_stopped(&mysync, "users-cache", "REBUILD_HISTORY", 2).await?;
    ensure!(said.contains("'mysync writer rebase users-cache --to end'"), "{said}");
    ensure!(compare::actual(&mut world.redis.conn()?)?.is_empty(), "something was written");
    print!("{}", world.command_well(&["writer", "rebase", "users-cache", "--to", "end"])?);
    let number = dumps::order(&world, &["--writer", "users-cache"])?;
    dumps::wait(&mysync, number, "done").await?;
    world.mysql.exec("UPDATE shop.users SET city = 'Rome', id = id + 1000 WHERE id % 3 = 0").await?;
    let entries = until_within(PATIENCE, "Redis equals MySQL", async || {
        let expected = compare::expected(&world.mysql).await?.into_iter().filter(|(key, _)| key.starts_with("user"));
        compare::same(&expected.collect(), &compare::actual(&mut world.redis.conn()?)?)
    })
    .await
    .with_context(|| world.complaints())?;
    println!("{entries} entries");
    end(mysync).await
}
