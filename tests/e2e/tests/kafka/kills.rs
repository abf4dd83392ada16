//! Processes are killed like by a power switch, at moments that nobody chose.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable;
use mysync_e2e_tests::chance::{kills, moment};
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::told::{capture, count};
use mysync_e2e_tests::witness::Witness;
use mysync_e2e_tests::{Options, World, clusters, rows, shop};
use mysync_test_support::{Kafka, Proxy, Random, until};

use crate::crew::{Worker, in_partitions, leader, leads, options, wait_through, well, well_in_partitions};

/// From a takeover to well into the work behind it.
const LIFE: Duration = Duration::from_millis(1500);
/// A process takes this long to start, and some more to do anything.
const START: Duration = Duration::from_millis(700);
/// Rows of one transaction: it goes into the log in several parts.
const LARGE: u32 = 100_000;

/// Rows of `shop.bulk` that no load touches.
const FAR: u32 = 2_000_000;

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1)));
    let seconds = |time: Option<&Duration>| time.map_or("-".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()));
    format!("median {}, longest {}", seconds(at(50)), seconds(at(100)))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_killed_at_random_moments_while_another_stands_by() -> Result<()> {
    let test = "the_leader_is_killed_at_random_moments_while_another_stands_by";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, options(&kafka, test)).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let mut captures = vec![Worker::start(&world, "capture").await?, Worker::new(&world, "capture")?];
    captures[1].restart(&world)?;
    let mut deliver = Worker::start(&world, "deliver").await?;
    let load = Load::start(&world.mysql, &mut random, &[]);
    let witness = Witness::start(&world.redis, true);
    let (times, mut leaders, mut takeovers) = (kills(10), 0, Vec::new());
    for _ in 0..times {
        let killed = Instant::now();
        // Some kills fall into the takeover itself, and hit whoever is there.
        if random.chance(85) {
            leader(&captures).await?;
            takeovers.push(killed.elapsed());
        }
        tokio::time::sleep(moment(&mut random, LIFE)).await;
        let victim = leads(&captures);
        leaders += u64::from(victim.is_some());
        let victim = victim.unwrap_or_else(|| random.below(2) as usize);
        for worker in &mut captures {
            worker.check()?;
        }
        captures[victim].restart(&world)?;
    }
    let committed = load.stop().await?;
    println!("{}", well(&world, &kafka).await?);
    let steps = witness.stop()?;
    println!(
        "{times} kills, {leaders} of a leader; until another led: {}; {committed} transactions, {steps} steps seen",
        spread(takeovers)
    );
    ensure!(leaders >= times / 2, "only {leaders} kills hit a leader");
    for worker in captures.iter_mut().chain([&mut deliver]) {
        worker.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_share_three_partitions_are_killed_at_random_moments() -> Result<()> {
    let test = "two_that_share_three_partitions_are_killed_at_random_moments";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, in_partitions(&kafka, test)).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let mut capture = Worker::start(&world, "capture").await?;
    let mut delivers = vec![Worker::new(&world, "deliver")?, Worker::new(&world, "deliver")?];
    for worker in &mut delivers {
        worker.restart(&world)?;
    }
    wait_through(&world).await?;
    let load = Load::start(&world.mysql, &mut random, &[]);
    let witness = Witness::start(&world.redis, false);
    let times = kills(10);
    for _ in 0..times {
        tokio::time::sleep(START + moment(&mut random, 2 * LIFE)).await;
        for worker in &mut delivers {
            worker.check()?;
        }
        delivers[random.below(2) as usize].restart(&world)?;
    }
    let committed = load.stop().await?;
    println!("{}", well_in_partitions(&world, &kafka).await?);
    let steps = witness.stop()?;
    println!("{times} kills; {committed} transactions, {steps} steps seen");
    for worker in delivers.iter_mut().chain([&mut capture]) {
        worker.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_inside_a_large_transaction() -> Result<()> {
    let test = "killed_inside_a_large_transaction";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, options(&kafka, test)).await? else { return Ok(()) };
    Worker::start(&world, "capture").await?.kill();
    shop::fill(&world.mysql, &[("bulk", LARGE)]).await?;
    world.mysql.exec("UPDATE shop.bulk SET k = k + 1").await?;
    killed_in_a_backlog(&world, &kafka, 2 * u64::from(LARGE), kills(4)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_a_backlog_of_small_transactions() -> Result<()> {
    let test = "killed_in_a_backlog_of_small_transactions";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, options(&kafka, test)).await? else { return Ok(()) };
    Worker::start(&world, "capture").await?.kill();
    let transactions = std::env::var("MYSYNC_BACKLOG").ok().and_then(|text| text.parse().ok()).unwrap_or(30_000);
    shop::fill(&world.mysql, &[("bulk", 1000)]).await?;
    rows::update(&mut world.mysql.conn().await?, transactions, 1000).await?;
    killed_in_a_backlog(&world, &kafka, u64::from(transactions), kills(4)).await
}

/// Kills capture, again and again, when some share of the backlog is in the log.
async fn killed_in_a_backlog(world: &World, kafka: &Kafka, backlog: u64, times: u64) -> Result<()> {
    let mut random = Random::from_env();
    let mut deliver = Worker::start(world, "deliver").await?;
    let mut worker = Worker::new(world, "capture")?;
    let all: String =
        world.mysql.query("SELECT REPLACE(@@gtid_executed, '\\n', '')").await?.pop().context("no GTIDs")?;
    let mut inside = 0;
    for _ in 0..times {
        worker.restart(world)?;
        let share = random.below(2 * backlog / times);
        inside += until("some of it is in the log", async || {
            let told = capture(worker.process()?)?;
            let is_done = told["position"].as_str().is_some_and(|position| position.starts_with(&all));
            ensure!(count(&told, "rows") > share || is_done, "{told}, and not {share} rows");
            Ok(u64::from(!is_done))
        })
        .await?;
        tokio::time::sleep(moment(&mut random, Duration::from_millis(50))).await;
        worker.kill();
    }
    worker.restart(world)?;
    println!("{}", well(world, kafka).await?);
    println!("{inside} of {times} kills fell inside");
    ensure!(inside > 0, "no kill fell inside");
    worker.end().await?;
    deliver.end().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binlog_is_cut_off_in_mid_stream_again_and_again() -> Result<()> {
    let test = "the_binlog_is_cut_off_in_mid_stream_again_and_again";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let options = options(&kafka, test);
    let Some(world) = World::start(test, options.clone()).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let proxy = Proxy::start(world.mysql.port)?;
    world.reconfigure(&Options { mysql_port: Some(proxy.port), ..options })?;
    let mut worker = Worker::start(&world, "run").await?;
    let load = Load::start(&world.mysql, &mut random, &[]);
    let witness = Witness::start(&world.redis, true);
    for _ in 0..kills(12) {
        let before = proxy.connected();
        proxy.cut_after(random.below(60_000) as usize);
        until("the program connects again", async || Ok(ensure!(proxy.connected() > before))).await?;
    }
    let mut conn = world.mysql.conn().await?;
    conn.query_drop("BEGIN").await?;
    rows::insert(&mut conn, FAR..=FAR + LARGE / 2).await?;
    conn.query_drop("COMMIT").await?;
    for _ in 0..3 {
        proxy.cut_after(random.below(4_000_000) as usize);
        wait_through(&world).await?;
    }
    proxy.restore();
    let committed = load.stop().await?;
    println!("{}", well(&world, &kafka).await?);
    let errors = count(&capture(worker.process()?)?, "errors");
    println!("{committed} transactions, {} steps seen, cut off {errors} times", witness.stop()?);
    ensure!(errors > 0, "no cut fell into the stream");
    worker.end().await?;
    Ok(())
}
