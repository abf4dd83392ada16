//! Ways to write a binlog, each on every MySQL there is: with and without GTIDs, transactions compressed, not compressed, or now and then.

use anyhow::{Result, ensure};
use mysync_e2e_tests::chance::{kill_again_and_again, kills};
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::shop::WRITERS;
use mysync_e2e_tests::witness::Witness;
use mysync_e2e_tests::{Options, World};
use mysync_test_support::{Random, homes, skip};

const NO_GTIDS: [&str; 2] = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
const COMPRESSED: &str = "--binlog-transaction-compression=ON";
const NOW_AND_THEN: [&str; 3] = [
    "SET SESSION binlog_transaction_compression = ON",
    "SET SESSION binlog_transaction_compression = OFF",
    "FLUSH BINARY LOGS",
];

#[tokio::test(flavor = "multi_thread")]
async fn gtids_and_plain_transactions() -> Result<()> {
    run("gtids_and_plain_transactions", vec![], &["FLUSH BINARY LOGS"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn gtids_and_compressed_transactions() -> Result<()> {
    run("gtids_and_compressed_transactions", vec![COMPRESSED], &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn gtids_and_sessions_that_compress_now_and_then() -> Result<()> {
    run("gtids_and_sessions_that_compress_now_and_then", vec![], &NOW_AND_THEN).await
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_offsets_and_plain_transactions() -> Result<()> {
    run("files_and_offsets_and_plain_transactions", NO_GTIDS.to_vec(), &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_offsets_and_compressed_transactions() -> Result<()> {
    let flags = [&NO_GTIDS[..], &[COMPRESSED]].concat();
    run("files_and_offsets_and_compressed_transactions", flags, &["FLUSH BINARY LOGS"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_offsets_and_sessions_that_compress_now_and_then() -> Result<()> {
    run("files_and_offsets_and_sessions_that_compress_now_and_then", NO_GTIDS.to_vec(), &NOW_AND_THEN).await
}

/// A load, kills of the program, and one of MySQL.
async fn run(test: &str, mysql: Vec<&'static str>, between: &'static [&'static str]) -> Result<()> {
    let homes = homes()?;
    if homes.is_empty() {
        skip(test, "there is no MySQL");
    }
    let mut random = Random::from_env();
    for home in homes {
        let options = Options { mysql: mysql.clone(), writers: WRITERS.to_vec(), ..Options::default() };
        let Some(mut world) = World::on(test, &home, options).await? else { return Ok(()) };
        world.mysync().await?.kill();
        let load = Load::start(&world.mysql, &mut random, between);
        let witness = Witness::start(&world.redis, true);
        kill_again_and_again(&world, &mut random, kills(2), "visits-cache").await?;
        world.mysql.restart()?;
        kill_again_and_again(&world, &mut random, kills(2), "visits-cache").await?;
        let mysync = world.mysync().await?;
        let committed = load.stop().await?;
        world.wait_equal().await?;
        let steps = witness.stop()?;
        println!("{}: {committed} transactions, {steps} steps seen", home.name());
        ensure!(steps > 0 && mysync.terminate().await?.success());
    }
    Ok(())
}
