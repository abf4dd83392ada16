//! Processes that are asked to end, that stand still, and that are two where one should be.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::chance::{kills, moment};
use mysync_e2e_tests::dumps;
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::shop::WRITERS;
use mysync_e2e_tests::told::{capture, wait_rows, wait_writer, writer};
use mysync_e2e_tests::witness::Witness;
use mysync_e2e_tests::{Options, World};
use mysync_test_support::{Mysync, Proxy, Random, until};

fn options() -> Options {
    Options { writers: WRITERS.to_vec(), ..Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_end_it_finishes_what_it_began_and_the_next_start_does_nothing_twice() -> Result<()> {
    let test = "asked_to_end_it_finishes_what_it_began_and_the_next_start_does_nothing_twice";
    let Some(world) = World::start(test, options()).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let mysync = world.mysync().await?;
    let load = Load::start(&world.mysql, &mut random, &[]);
    let witness = Witness::start(&world.redis, true);
    wait_rows(|| writer(&mysync, "visits-cache"), 20).await?;
    let mut running = mysync;
    for _ in 0..kills(4) {
        tokio::time::sleep(moment(&mut random, Duration::from_millis(300))).await;
        end_well(&world, running).await?;
        running = world.mysync().await?;
    }
    load.stop().await?;
    world.wait_equal().await?;
    witness.stop()?;
    // Each end stops the first dumps too, and what is left of them brings rows that are equal already.
    dumps::wait_over(&running).await?;
    end_well(&world, running).await?;

    let mysync = world.mysync().await?;
    let before: Vec<_> = WRITERS.iter().map(|(name, _)| world.fence(name, 0)).collect::<Result<_>>()?;
    world.mysql.exec("INSERT INTO shop.orders VALUES (5000, 1, 1.00, NULL)").await?;
    world.wait_equal().await?;
    for ((name, _), fence) in WRITERS.iter().zip(before) {
        let told = writer(&mysync, name)?;
        ensure!(told["rows"] == u64::from(*name == "orders-cache"), "rows were written twice: {told}, {fence:?}");
    }
    end_well(&world, mysync).await
}

async fn end_well(world: &World, mysync: Mysync) -> Result<()> {
    let status = mysync.terminate().await?;
    ensure!(status.success(), "it ended with {status}");
    for (name, _) in WRITERS {
        let fence = world.fence(name, 0)?.with_context(|| format!("{name} has no fence"))?;
        ensure!(fence["began"] == fence["applied"], "the fence of {name} is not settled: {fence}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() -> Result<()> {
    let test = "a_second_signal_ends_at_once";
    let Some(world) = World::start(test, options()).await? else { return Ok(()) };
    let proxy = Proxy::start(world.redis.port)?;
    world.reconfigure(&Options { redis_port: Some(proxy.port), ..options() })?;
    let mut mysync = world.mysync().await?;
    proxy.hold();
    world.mysql.exec("INSERT INTO shop.orders VALUES (1, 1, 1.00, NULL)").await?;
    until("a batch is on its way", async || {
        let held: u64 = mysync.status()?["capture"]["rows"].as_u64().unwrap_or(0);
        Ok(ensure!(held == 1))
    })
    .await?;
    mysync.ask_to_end()?;
    until("it is ending", async || Ok(ensure!(mysync.log().contains("ending: what was begun"), "{}", mysync.log())))
        .await?;
    ensure!(mysync.exited()?.is_none(), "it did not wait for the answer to what it began");
    let asked = Instant::now();
    mysync.ask_to_end()?;
    let status = mysync.wait_exit().await?;
    ensure!(status.code() == Some(143), "it ended with {status}");
    ensure!(asked.elapsed() < Duration::from_secs(5), "it took {:?} to end at once", asked.elapsed());
    proxy.restore();
    let mysync = world.mysync().await?;
    ensure!(world.wait_equal().await? == 1);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_in_use_is_refused_also_while_its_process_stands_still() -> Result<()> {
    let test = "a_log_that_is_in_use_is_refused_also_while_its_process_stands_still";
    let Some(world) = World::start(test, options()).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let mysync = world.mysync().await?;
    let load = Load::start(&world.mysql, &mut random, &[]);
    let witness = Witness::start(&world.redis, true);
    wait_rows(|| writer(&mysync, "visits-cache"), 20).await?;
    refused(&world, &mysync).await?;
    mysync.pause()?;
    let paused = Instant::now();
    refused(&world, &mysync).await?;
    // Longer than everything that is done once in a second.
    tokio::time::sleep(Duration::from_secs(3).saturating_sub(paused.elapsed())).await;
    mysync.go_on()?;
    wait_rows(|| writer(&mysync, "visits-cache"), 20).await?;
    load.stop().await?;
    world.wait_equal().await?;
    witness.stop()?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

/// Another one on the same log says who holds it, and ends.
async fn refused(world: &World, holder: &Mysync) -> Result<()> {
    let mut other = world.spawn()?;
    let status = other.wait_exit().await?;
    let said = other.log();
    ensure!(status.code() == Some(1), "it ended with {status}: {said}");
    ensure!(said.contains("LOG_LOCKED") && said.contains(&format!("process {}", holder.id())), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_with_a_log_of_its_own_writes_nothing() -> Result<()> {
    let test = "a_second_process_with_a_log_of_its_own_writes_nothing";
    let Some(world) = World::start(test, options()).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let elsewhere = world.copy()?;
    let first = world.mysync().await?;
    let load = Load::start(&world.mysql, &mut random, &[]);
    let witness = Witness::start(&world.redis, true);
    wait_rows(|| writer(&first, "visits-cache"), 20).await?;
    let mut second = world.spawn_in(elsewhere.path())?;
    second.wait_ready().await?;
    for (name, _) in WRITERS {
        wait_writer(&second, name, "stopped", "LOG_REPLACED").await?;
    }
    wait_rows(|| capture(&second), 20).await?;
    wait_rows(|| writer(&first, "visits-cache"), 20).await?;
    let told = writer(&second, "visits-cache")?;
    ensure!(told["rows"] == 0, "the second has written: {told}");
    // The first is gone for good, log and all: the second has read everything since before that, and goes on.
    first.kill();
    load.stop().await?;
    ensure!(second.terminate().await?.success());
    witness.stop()?;
    for (name, _) in WRITERS {
        world.command_well_in(elsewhere.path(), &["writer", "rebase", name, "--to", "start"])?;
    }
    let mut second = world.spawn_in(elsewhere.path())?;
    second.wait_ready().await?;
    world.wait_equal().await?;
    ensure!(second.terminate().await?.success());
    Ok(())
}

/// A copied log has the same name, so only the fence tells the two apart.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_replaced_while_it_stood_still_writes_nothing_more() -> Result<()> {
    let test = "a_process_that_was_replaced_while_it_stood_still_writes_nothing_more";
    let Some(world) = World::start(test, options()).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let mysync = world.mysync().await?;
    let load = Load::start(&world.mysql, &mut random, &[]);
    let witness = Witness::start(&world.redis, true);
    wait_rows(|| writer(&mysync, "visits-cache"), 20).await?;
    ensure!(mysync.terminate().await?.success());
    let elsewhere = world.copy()?;
    let old = world.mysync().await?;
    wait_rows(|| writer(&old, "visits-cache"), 20).await?;
    old.pause()?;
    let mut new = world.spawn_in(elsewhere.path())?;
    new.wait_ready().await?;
    for (name, _) in WRITERS {
        wait_rows(|| writer(&new, name), 20).await?;
    }
    old.go_on()?;
    for (name, _) in WRITERS {
        wait_writer(&old, name, "stopped", "FENCE_TAKEN").await?;
    }
    wait_rows(|| writer(&new, "visits-cache"), 20).await?;
    old.kill();
    load.stop().await?;
    world.wait_equal().await?;
    witness.stop()?;
    ensure!(new.terminate().await?.success());
    Ok(())
}
