//! The main job, with the log on Kafka.

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::told::{wait_rows, writer};
use mysync_e2e_tests::witness::Witness;
use mysync_e2e_tests::{Options, World, clusters, oracle, shop, story};
use mysync_test_support::{Random, until};

use crate::crew::{Worker, options, wait_through, well};

#[tokio::test(flavor = "multi_thread")]
async fn a_change_committed_in_mysql_is_in_redis_a_moment_later() -> Result<()> {
    changes("a_change_committed_in_mysql_is_in_redis_a_moment_later", "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_go_through_three_partitions() -> Result<()> {
    changes("changes_go_through_three_partitions", "partitions = 3").await
}

async fn changes(test: &str, log: &'static str) -> Result<()> {
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let options = Options { log, ..options(&kafka, test) };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    let mut worker = Worker::start(&world, "run").await?;
    story::play(&world).await?;
    println!("{}", well(&world, &kafka).await?);
    worker.end().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_writer_begins_with_a_dump_and_takes_what_changes_meanwhile() -> Result<()> {
    let test = "a_new_writer_begins_with_a_dump_and_takes_what_changes_meanwhile";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let options = Options { writers: shop::with_dumps(), ..options(&kafka, test) };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    let mut random = Random::from_env();
    shop::fill(&world.mysql, &[("users", 3000), ("orders", 3000), ("bulk", 20_000), ("visits", 200)]).await?;
    let load = Load::start(&world.mysql, &mut random, &[]);
    let mut mysync = Worker::start(&world, "run").await?;
    wait_rows(|| writer(mysync.process()?, "bulk-cache"), 20_000).await?;
    load.stop().await?;
    let entries = world.wait_loaded().await?;
    println!("{entries} entries");
    mysync.end().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_end_it_finishes_what_it_began_and_the_next_start_does_nothing_twice() -> Result<()> {
    let test = "asked_to_end_it_finishes_what_it_began_and_the_next_start_does_nothing_twice";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let options = options(&kafka, test);
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let mut worker = Worker::start(&world, "run").await?;
    let load = Load::start(&world.mysql, &mut random, &[]);
    let witness = Witness::start(&world.redis, true);
    for _ in 0..3 {
        wait_through(&world).await?;
        wait_rows(|| writer(worker.process()?, "visits-cache"), 50).await?;
        let took = worker.end().await?;
        println!("it ended within {} ms", took.as_millis());
        for (name, _) in shop::WRITERS {
            let fence = world.fence(name, 0)?.with_context(|| format!("{name} has no fence"))?;
            ensure!(fence["began"] == fence["applied"], "the fence of {name} is not settled: {fence}");
        }
        worker.restart(&world)?;
        worker.wait_ready().await?;
    }
    load.stop().await?;
    println!("{}", well(&world, &kafka).await?);
    witness.stop()?;
    worker.end().await?;

    worker.restart(&world)?;
    worker.wait_state("running").await?;
    world.mysql.exec("INSERT INTO shop.orders VALUES (5000, 1, 1.00, NULL)").await?;
    world.wait_equal().await?;
    for (name, _) in shop::WRITERS {
        let told = until("it goes on", async || writer(worker.process()?, name)).await?;
        ensure!(told["rows"] == u64::from(name == "orders-cache"), "rows were written twice: {told}");
    }
    oracle::compare(&world.mysql, &kafka, world.log_on_kafka()?).await?;
    worker.end().await?;
    Ok(())
}
