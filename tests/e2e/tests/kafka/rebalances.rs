//! Processes that deliver come and go faster than the group can settle.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mysync_e2e_tests::chance::moment;
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::witness::Witness;
use mysync_e2e_tests::{World, clusters};
use mysync_test_support::Random;

use crate::crew::{Worker, in_partitions, wait_through, well_in_partitions};

/// About one comes or goes in a second.
const CALM: Duration = Duration::from_secs(2);
const WORKERS: u64 = 3;

/// How long the storm lasts: `MYSYNC_STORM_SECONDS`, or a while.
fn storm() -> Duration {
    let given = std::env::var("MYSYNC_STORM_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(given.unwrap_or(20))
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_deliver_come_and_go_every_second() -> Result<()> {
    let test = "processes_that_deliver_come_and_go_every_second";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, in_partitions(&kafka, test)).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let mut capture = Worker::start(&world, "capture").await?;
    let mut delivers = (0..WORKERS).map(|_| Worker::new(&world, "deliver")).collect::<Result<Vec<_>>>()?;
    delivers[0].restart(&world)?;
    wait_through(&world).await?;
    let load = Load::start(&world.mysql, &mut random, &[]);
    let witness = Witness::start(&world.redis, false);
    let (mut came, mut ended, mut killed, mut longest) = (0, 0, 0, Duration::ZERO);
    let end = Instant::now() + storm();
    while Instant::now() < end {
        tokio::time::sleep(moment(&mut random, CALM)).await;
        let worker = &mut delivers[random.below(WORKERS) as usize];
        worker.check()?;
        if worker.process().is_err() {
            worker.restart(&world)?;
            came += 1;
        } else if random.chance(30) || worker.process()?.status().is_err() {
            // Who has not come to its first step yet cannot be asked either.
            worker.kill();
            killed += 1;
        } else {
            longest = worker.end().await?.max(longest);
            ended += 1;
        }
    }
    for worker in &mut delivers {
        if worker.process().is_err() {
            worker.restart(&world)?;
        }
    }
    let through = wait_through(&world).await?;
    let committed = load.stop().await?;
    println!("{}", well_in_partitions(&world, &kafka).await?);
    let steps = witness.stop()?;
    println!(
        "{came} came, {ended} were asked to end (the longest took {:.1} s), {killed} were killed; a change went through {:.1} s after the \
         storm; {committed} transactions, {steps} steps seen",
        longest.as_secs_f64(),
        through.as_secs_f64()
    );
    ensure!(ended > 0, "nobody was asked to end");
    for worker in delivers.iter_mut().chain([&mut capture]) {
        worker.end().await?;
    }
    Ok(())
}
