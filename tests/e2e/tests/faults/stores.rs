//! Redis goes away, is slow, forgets everything, is full, is no master any more, or answers where nobody hears it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::chance::kills;
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::shop::{VISITS, WRITERS};
use mysync_e2e_tests::told::{count, wait_errors, wait_rows, wait_writer, writer};
use mysync_e2e_tests::witness::Witness;
use mysync_e2e_tests::{Options, World};
use mysync_test_support::{Proxy, Random, until};

/// So many attempts in vain take longer than a connection that was merely cut: the waits between them have grown.
const IN_VAIN: u64 = 4;
/// Keeps over a kill whatever was answered.
const APPEND_ONLY: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

fn options(redis: &[&'static str]) -> Options {
    Options { writers: WRITERS.to_vec(), redis: redis.to_vec(), ..Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_killed_and_comes_back_with_everything_it_answered() -> Result<()> {
    let test = "redis_is_killed_and_comes_back_with_everything_it_answered";
    let Some(mut world) = World::start(test, options(&APPEND_ONLY)).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let mysync = world.mysync().await?;
    let load = Load::start(&world.mysql, &mut random, &[]);
    let witness = Witness::start(&world.redis, true);
    for _ in 0..2 {
        wait_rows(|| writer(&mysync, "visits-cache"), 50).await?;
        world.redis.kill();
        let told = wait_writer(&mysync, "visits-cache", "retrying", "REDIS_UNREACHABLE").await?;
        wait_errors(|| writer(&mysync, "visits-cache"), count(&told, "errors") + IN_VAIN).await?;
        ensure!(mysync.log().contains("delivery tries again"), "it does not say so: {}", mysync.log());
        ensure!(mysync.status()?["capture"]["state"] == "running", "what the store suffers does not concern capture");
        world.redis.restart()?;
    }
    wait_rows(|| writer(&mysync, "visits-cache"), 50).await?;
    load.stop().await?;
    world.wait_equal().await?;
    witness.stop()?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_comes_back_empty_which_stops_and_a_rewind_cures() -> Result<()> {
    let test = "redis_comes_back_empty_which_stops_and_a_rewind_cures";
    let Some(mut world) = World::start(test, options(&[])).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let mysync = world.mysync().await?;
    let load = Load::start(&world.mysql, &mut random, &[]);
    for (name, _) in WRITERS {
        wait_rows(|| writer(&mysync, name), 20).await?;
    }
    world.redis.restart()?;
    for (name, _) in WRITERS {
        wait_writer(&mysync, name, "stopped", "STORE_EMPTIED").await?;
    }
    let (health, reasons) = mysync.get("/healthz")?;
    ensure!(health == 503 && reasons.contains("STORE_EMPTIED"), "{health}: {reasons}");
    let size: u64 = world.redis.ask(&["DBSIZE"])?;
    ensure!(size == 0, "{size} keys were written into the emptied store");

    let [(first, _), others @ ..] = WRITERS;
    world.command_well(&["writer", "rewind", first])?;
    ensure!(mysync.post(&format!("/api/writers/{first}/resume"))?.0 == 204);
    wait_rows(|| writer(&mysync, first), 20).await?;
    load.stop().await?;
    ensure!(mysync.terminate().await?.success());
    for (name, _) in others {
        world.command_well(&["writer", "rewind", name])?;
    }
    let mysync = world.mysync().await?;
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_emptied_while_nobody_looked_stops_the_next_start() -> Result<()> {
    let test = "a_store_emptied_while_nobody_looked_stops_the_next_start";
    let Some(world) = World::start(test, options(&[])).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    world.mysql.exec("INSERT INTO shop.orders VALUES (1, 1, 1.00, NULL), (2, 1, 2.00, 'two')").await?;
    ensure!(world.wait_equal().await? == 2);
    ensure!(mysync.terminate().await?.success());
    world.redis.ask::<()>(&["FLUSHALL"])?;
    let mysync = world.mysync().await?;
    wait_writer(&mysync, "orders-cache", "stopped", "STORE_EMPTIED").await?;
    mysync.kill();
    for (name, _) in WRITERS {
        world.command_well(&["writer", "rewind", name])?;
    }
    let mysync = world.mysync().await?;
    ensure!(world.wait_equal().await? == 2);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_redis_only_delays_and_a_kill_meanwhile_loses_nothing() -> Result<()> {
    let test = "a_slow_redis_only_delays_and_a_kill_meanwhile_loses_nothing";
    let Some(world) = World::start(test, options(&[])).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let proxy = Proxy::start(world.redis.port)?;
    world.reconfigure(&Options { redis_port: Some(proxy.port), ..options(&[]) })?;
    proxy.delay(Duration::from_millis(100));
    let load = Load::start(&world.mysql, &mut random, &[]);
    let witness = Witness::start(&world.redis, true);
    for _ in 0..3 {
        let mysync = world.mysync().await?;
        wait_rows(|| writer(&mysync, "visits-cache"), 30).await?;
        ensure!(mysync.status()?["capture"]["errors"] == 0, "what the store suffers does not concern capture");
        mysync.kill();
    }
    let mysync = world.mysync().await?;
    load.stop().await?;
    world.wait_equal().await?;
    witness.stop()?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_is_waited_for_and_said_so() -> Result<()> {
    let test = "a_full_redis_is_waited_for_and_said_so";
    let Some(world) = World::start(test, options(&[])).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let mysync = world.mysync().await?;
    let load = Load::start(&world.mysql, &mut random, &[]);
    let witness = Witness::start(&world.redis, true);
    wait_rows(|| writer(&mysync, "visits-cache"), 30).await?;
    world.redis.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"])?;
    let told = wait_writer(&mysync, "visits-cache", "retrying", "REDIS_OUT_OF_MEMORY").await?;
    ensure!(told["message"].as_str().is_some_and(|message| message.contains("maxmemory")), "{told}");
    wait_errors(|| writer(&mysync, "visits-cache"), 2).await?;
    world.redis.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"])?;
    wait_rows(|| writer(&mysync, "visits-cache"), 30).await?;
    load.stop().await?;
    world.wait_equal().await?;
    witness.stop()?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_became_a_replica_is_waited_for() -> Result<()> {
    let test = "a_redis_that_became_a_replica_is_waited_for";
    let Some(world) = World::start(test, options(&[])).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let mysync = world.mysync().await?;
    let load = Load::start(&world.mysql, &mut random, &[]);
    wait_rows(|| writer(&mysync, "visits-cache"), 30).await?;
    // Of a master that is not there: it keeps what it has, and takes nothing.
    world.redis.ask::<()>(&["REPLICAOF", "127.0.0.1", "1"])?;
    wait_writer(&mysync, "visits-cache", "retrying", "REDIS_READ_ONLY").await?;
    world.redis.ask::<()>(&["REPLICAOF", "NO", "ONE"])?;
    wait_rows(|| writer(&mysync, "visits-cache"), 30).await?;
    load.stop().await?;
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answer_after_redis_applied() -> Result<()> {
    let test = "lost_answer_after_redis_applied";
    let options = Options { writers: vec![("visits-cache", VISITS)], ..Options::default() };
    let Some(world) = World::start(test, options.clone()).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let proxy = Proxy::start(world.redis.port)?;
    world.reconfigure(&Options { redis_port: Some(proxy.port), ..options })?;
    let mysync = world.mysync().await?;
    let mut redone = 0;
    for turn in 1..=kills(20) {
        let lost = mysync.log().matches("REDIS_LOST_ANSWER").count();
        // Of the answers to MULTI, LREM, RPUSH, SET, EXEC, WATCH and GET nothing comes through, or the beginning.
        proxy.cut_after(random.below(120) as usize);
        let visits = [turn % 5, (turn + 1) % 5]
            .map(|id| format!("({id}, 'Rome', {})", turn * 2 + u64::from(id == (turn + 1) % 5)));
        world.mysql.exec(&format!("REPLACE INTO shop.visits VALUES {}", visits.join(", "))).await?;
        until("an answer is lost", async || {
            Ok(ensure!(mysync.log().matches("REDIS_LOST_ANSWER").count() > lost, "{}", mysync.log()))
        })
        .await?;
        let commands: String = world.redis.ask(&["INFO", "commandstats"])?;
        redone = commands.lines().find_map(|line| calls(line, "cmdstat_rpush")).context(commands.clone())?;
        world.wait_equal().await?;
    }
    println!("{} visits were written, with {redone} RPUSH", kills(20) * 2);
    // A batch whose answer is lost was in effect, and is applied again all the same.
    ensure!(redone > kills(20) * 2, "no batch was applied again");
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

fn calls(line: &str, command: &str) -> Option<u64> {
    let (name, figures) = line.split_once(':')?;
    let calls = figures.split(',').find_map(|figure| figure.strip_prefix("calls="))?;
    (name == command).then(|| calls.parse().ok()).flatten()
}
