//! Stores that are made anew from a compacted topic, and writers that come too late for what was removed from it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::told::{count, writer};
use mysync_e2e_tests::{Machine, Options, World, clusters, compare, shop};
use mysync_test_support::{Kafka, Mysync, Random, until, until_within};

use crate::scene::{allow, end, options, parts, rename_writers, run, start, wait_equal, wait_stopped, wait_through};
use crate::topic::{ALLOWED, compact, make};

const LOG: &str = "partitions = 2\ncleanup = \"compact\"\nretention = \"1m\"";

/// A world whose log is compacted when a test says so.
async fn world(kafka: &Kafka, test: &str, options: Options) -> Result<Option<World>> {
    let partitions = if options.log == LOG { 2 } else { 1 };
    let Some(world) = World::start(test, options).await? else { return Ok(None) };
    make(kafka, test, partitions).await?;
    allow(world.dir(), &ALLOWED)?;
    Ok(Some(world))
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
    let Some(world) = world(&kafka, test, options(&kafka, test, LOG)).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let mysync = run(&world, "run").await?;
    load(&world, &mysync, &mut random).await?;
    wait_equal(&world).await?;
    compact(&world, &kafka, test).await?;
    wait_equal(&world).await?;
    end(mysync).await?;

    world.redis.ask::<()>(&["FLUSHALL"])?;
    rename_writers(&world, "anew")?;
    let mysync = run(&world, "run").await?;
    println!("{} entries, made anew", wait_equal(&world).await?);
    wait_through(&world).await?;
    wait_rebuilt(&world, "bulk-cache-anew", 2).await?;
    // It goes on like any other.
    world
        .mysql
        .exec("DELETE FROM shop.users WHERE id % 2 = 0; UPDATE shop.users SET id = id + 1000, city = 'Oslo'")
        .await?;
    println!("{} entries", wait_equal(&world).await?);
    end(mysync).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_made_anew_is_finished_however_often_its_writer_is_killed() -> Result<()> {
    const ROWS: u32 = 20_000;
    let test = "a_store_that_is_made_anew_is_finished_however_often_its_writer_is_killed";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = world(&kafka, test, options(&kafka, test, LOG)).await? else { return Ok(()) };
    let mysync = run(&world, "run").await?;
    shop::fill(&world.mysql, &[("bulk", ROWS), ("users", 500)]).await?;
    world.mysql.exec("DELETE FROM shop.bulk WHERE id % 10 = 0; UPDATE shop.bulk SET k = -1 WHERE id % 3 = 0").await?;
    wait_equal(&world).await?;
    compact(&world, &kafka, test).await?;
    end(mysync).await?;

    world.redis.ask::<()>(&["FLUSHALL"])?;
    rename_writers(&world, "anew")?;
    let (mut within, mut places) = (0, Vec::new());
    for _ in 0..4 {
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
    println!("{} entries", wait_equal(&world).await?);
    wait_through(&world).await?;
    wait_rebuilt(&world, "bulk-cache-anew", 2).await?;
    end(mysync).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_was_away_for_too_long_is_told_and_one_that_was_not_goes_on() -> Result<()> {
    let test = "a_writer_that_was_away_for_too_long_is_told_and_one_that_was_not_goes_on";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = world(&kafka, test, options(&kafka, test, LOG)).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let capture = run(&world, "capture").await?;
    let machine = Machine::new(&world)?;
    let deliver = start(&world, machine.dir(), "deliver").await?;
    load(&world, &deliver, &mut random).await?;
    wait_equal(&world).await?;
    compact(&world, &kafka, test).await?;
    wait_equal(&world).await?;
    end(deliver).await?;

    // Everything that it missed is still there, though what lies before it has been compacted.
    for _ in 0..3 {
        world
            .mysql
            .exec("DELETE FROM shop.users WHERE id % 3 = 0; UPDATE shop.users SET city = 'Oslo', id = id + 1000")
            .await?;
        wait_marked(&world, &kafka, test).await?;
    }
    let deliver = start(&world, machine.dir(), "deliver").await?;
    println!("{} entries", wait_equal(&world).await?);
    end(deliver).await?;

    // Now rows were deleted of which nothing is said any more.
    world.mysql.exec("DELETE FROM shop.users WHERE id % 2 = 0").await?;
    compact(&world, &kafka, test).await?;
    let mut deliver = world.spawn_half(machine.dir(), "deliver")?;
    for writer in ["users-cache", "bulk-cache"] {
        let said = wait_stopped(&deliver, writer, "REBUILD_NEEDED", 2).await?;
        ensure!(said.contains(&format!("'mysync writer rewind {writer}'")), "{said}");
    }
    let checked = world.command(&["check"])?;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    ensure!(checked.status.code() == Some(1) && said.contains("REBUILD_NEEDED"), "{said}");
    // Nothing was written by it.
    ensure!(compare::equal(&world.mysql, &world.redis).await.is_err(), "there was nothing to miss");
    deliver.ask_to_end()?;
    deliver.wait_exit().await?;

    world.redis.ask::<()>(&["FLUSHALL"])?;
    for writer in ["users-cache", "orders-cache", "bulk-cache"] {
        print!("{}", world.command_well(&["writer", "rewind", writer])?);
    }
    let deliver = start(&world, machine.dir(), "deliver").await?;
    println!("{} entries", wait_equal(&world).await?);
    wait_through(&world).await?;
    wait_rebuilt(&world, "users-cache", 2).await?;
    let stopped: Vec<_> = parts(&deliver, "users-cache")?;
    ensure!(stopped.iter().all(|part| part["state"] == "running"), "{stopped:?}");
    end(deliver).await?;
    end(capture).await
}

/// Waits until a transaction of now is in the log.
async fn wait_marked(world: &World, kafka: &Kafka, topic: &str) -> Result<()> {
    let before = kafka.committed_ends(topic).await?;
    crate::scene::mark(world).await?;
    until("the log has it", async || {
        let now = kafka.committed_ends(topic).await?;
        Ok(ensure!(now.iter().zip(&before).all(|(now, before)| now > before), "{before:?} has become {now:?}"))
    })
    .await
}

/// An entry is made of a row's first message, and the second one, which says where the row went from there, is removed before it is read: the
/// third one says only where the row was in between.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_while_a_store_is_made_anew_leaves_nothing_of_it_behind() -> Result<()> {
    const ROWS: u32 = 20_000;
    let test = "what_is_removed_while_a_store_is_made_anew_leaves_nothing_of_it_behind";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let one = Options {
        writers: vec![("users-cache", shop::without_dump(shop::USERS))],
        ..options(&kafka, test, "cleanup = \"compact\"\nretention = \"1m\"")
    };
    let Some(world) = world(&kafka, test, one).await? else { return Ok(()) };
    let capture = run(&world, "capture").await?;
    let row = |id: u32, city: &str| format!("REPLACE INTO shop.users (id, name, city) VALUES ({id}, 'Ada', '{city}')");
    world.mysql.exec(&row(0, "London")).await?;
    shop::fill(&world.mysql, &[("users", ROWS)]).await?;
    world.mysql.exec("UPDATE shop.users SET city = 'Paris' WHERE id = 0").await?;
    world.mysql.exec("UPDATE shop.users SET city = 'Rome' WHERE id = 0").await?;
    wait_marked(&world, &kafka, test).await?;

    let machine = Machine::new(&world)?;
    let deliver = world.spawn_half(machine.dir(), "deliver")?;
    let seen = until("it has begun", async || {
        let members: u32 = world.redis.ask(&["SCARD", "users:by-city:London"])?;
        Ok(ensure!(members == 1, "{members}"))
    })
    .await;
    deliver.kill();
    seen?;
    let members: u32 = world.redis.ask(&["SCARD", "users:by-city:Rome"])?;
    ensure!(members == 0, "it was done before it was killed");
    compact(&world, &kafka, test).await?;
    let deliver = start(&world, machine.dir(), "deliver").await?;
    until_within(Duration::from_secs(60), "Redis equals MySQL", async || {
        let expected = compare::expected(&world.mysql).await?.into_iter().filter(|(key, _)| key.starts_with("user"));
        compare::same(&expected.collect(), &compare::actual(&mut world.redis.conn()?)?)
    })
    .await
    .with_context(|| world.complaints())?;
    end(deliver).await?;
    end(capture).await
}
