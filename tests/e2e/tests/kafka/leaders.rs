//! Who captures: one of several, and another when that one is gone, ends, or stands still.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::told::{capture, wait_rows};
use mysync_e2e_tests::witness::Witness;
use mysync_e2e_tests::{World, clusters};
use mysync_test_support::Random;

use crate::crew::{Worker, leader, options, wait_through, well};

/// For as long as the group believes in a member that is silent, and a little more.
const SESSION: Duration = Duration::from_secs(8);

/// How long a leader stands still, at least: `MYSYNC_PAUSE_SECONDS`, or longer than its session.
fn pause() -> Duration {
    let given = std::env::var("MYSYNC_PAUSE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    given.map_or(SESSION, Duration::from_secs)
}

/// Two that capture, of whom the first leads, and one that delivers.
async fn crew(world: &World) -> Result<(Vec<Worker>, Worker)> {
    let mut captures = vec![Worker::start(world, "capture").await?, Worker::new(world, "capture")?];
    captures[1].restart(world)?;
    captures[1].wait_ready().await?;
    captures[1].wait_state("standby").await?;
    Ok((captures, Worker::start(world, "deliver").await?))
}

#[tokio::test(flavor = "multi_thread")]
async fn another_takes_over_soon_from_a_leader_that_was_killed_or_ends() -> Result<()> {
    let test = "another_takes_over_soon_from_a_leader_that_was_killed_or_ends";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, options(&kafka, test)).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let (mut captures, mut deliver) = crew(&world).await?;
    let load = Load::start(&world.mysql, &mut random, &[]);
    let witness = Witness::start(&world.redis, true);
    for kill in [true, false, true, false] {
        let first = leader(&captures).await?;
        wait_rows(|| capture(captures[first].process()?), 50).await?;
        let gone = Instant::now();
        let ended = match kill {
            true => {
                captures[first].kill();
                Duration::ZERO
            }
            false => captures[first].end().await?,
        };
        captures[1 - first].wait_state("running").await?;
        let led = gone.elapsed();
        wait_through(&world).await?;
        let through = gone.elapsed();
        println!(
            "{}: it took {:.1} s to end, another led after {:.1} s, a change went through after {:.1} s",
            if kill { "killed" } else { "asked to end" },
            ended.as_secs_f64(),
            led.as_secs_f64(),
            through.as_secs_f64()
        );
        let most = if kill { Duration::from_secs(20) } else { Duration::from_secs(6) };
        ensure!(led < most, "it took {led:?} until another led");
        captures[first].restart(&world)?;
        captures[first].wait_ready().await?;
        captures[first].wait_state("standby").await?;
    }
    load.stop().await?;
    println!("{}", well(&world, &kafka).await?);
    witness.stop()?;
    for worker in captures.iter_mut().chain([&mut deliver]) {
        worker.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stood_still_writes_nothing_and_stands_by() -> Result<()> {
    let test = "a_leader_that_stood_still_writes_nothing_and_stands_by";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, options(&kafka, test)).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let (mut captures, mut deliver) = crew(&world).await?;
    let load = Load::start(&world.mysql, &mut random, &[]);
    let witness = Witness::start(&world.redis, true);
    for _ in 0..2 {
        let first = leader(&captures).await?;
        wait_rows(|| capture(captures[first].process()?), 50).await?;
        captures[first].process()?.pause()?;
        let paused = Instant::now();
        captures[1 - first].wait_state("running").await?;
        println!("another led {:.1} s after the leader stood still", paused.elapsed().as_secs_f64());
        wait_rows(|| capture(captures[1 - first].process()?), 50).await?;
        tokio::time::sleep(pause().saturating_sub(paused.elapsed())).await;
        captures[first].process()?.go_on()?;
        let resumed = Instant::now();
        captures[first].wait_state("standby").await?;
        println!("it stands by {:.1} s after it went on", resumed.elapsed().as_secs_f64());
        ensure!(captures[1 - first].state()? == "running", "the one that took over does not lead any more");
        wait_through(&world).await?;
        captures[first].check()?;
    }
    load.stop().await?;
    println!("{}", well(&world, &kafka).await?);
    let aborted = kafka.read_uncommitted(test).await?.len() - kafka.read(test).await?.len();
    println!("{aborted} messages were sent that no reader is given");
    witness.stop()?;
    for worker in captures.iter_mut().chain([&mut deliver]) {
        worker.end().await?;
    }
    Ok(())
}
