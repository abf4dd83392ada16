//! What goes over the network and lies on the brokers' disks is compressed, in each way that there is.

use anyhow::{Result, ensure};
use mysync_e2e_tests::exposition::Exposition;
use mysync_e2e_tests::{World, clusters, oracle, shop};
use mysync_test_support::{Kafka, until};

use crate::scene::{end, options, run, wait_equal};

const ROWS: u32 = 5000;
/// Of a row's text, which says the same again and again.
const ROW_BYTES: f64 = 170.0;

/// Takes a load through a log, and answers what it took to send each row, in bytes.
async fn load(kafka: &Kafka, test: &str, log: &'static str) -> Result<Option<f64>> {
    let Some(world) = World::start(test, options(kafka, test, log)).await? else { return Ok(None) };
    let mysync = run(&world, "run").await?;
    let sent = || Exposition::parse(&mysync.metrics()?)?.value("mysync_kafka_producer_sent_bytes", &[]);
    // It is told from time to time, and grows whatever happens.
    let grown = async |before: f64| {
        until("it is told what was sent", async || {
            let now = sent()?;
            ensure!(now > before, "{now}");
            Ok(now)
        })
        .await
    };
    let before = grown(0.0).await?;
    shop::fill(&world.mysql, &[("bulk", ROWS), ("users", 500), ("orders", 500)]).await?;
    world.mysql.exec("UPDATE shop.users SET score = score + 1; DELETE FROM shop.orders WHERE id % 3 = 0").await?;
    let entries = wait_equal(&world).await?;
    let compared = oracle::compare(&world.mysql, kafka, world.log_on_kafka()?).await?;
    let bytes = (grown(sent()?).await? - before) / f64::from(ROWS);
    println!("{log}: {bytes:.0} bytes a row; {compared}; {entries} entries");
    end(mysync).await?;
    Ok(Some(bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_compression_takes_a_load() -> Result<()> {
    let test = "each_compression_takes_a_load";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let loads =
        [("none", "compression = \"none\""), ("lz4", "compression = \"lz4\""), ("zstd", "compression = \"zstd\"")];
    let mut taken = Vec::new();
    for (name, log) in loads {
        let Some(bytes) = load(&kafka, &format!("{test}.{name}"), log).await? else { return Ok(()) };
        taken.push(bytes);
    }
    let [none, lz4, zstd] = taken[..] else { anyhow::bail!("{taken:?}") };
    ensure!(none > ROW_BYTES && lz4 < none / 2.0 && zstd < lz4, "{taken:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_under_their_keys_are_compressed_as_well() -> Result<()> {
    let test = "rows_under_their_keys_are_compressed_as_well";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let log = "compression = \"zstd\"\ncleanup = \"compact\"\npartitions = 3";
    if let Some(bytes) = load(&kafka, test, log).await? {
        ensure!(bytes < ROW_BYTES, "{bytes}");
    }
    Ok(())
}
