//! MySQL goes away, and the connection to it is cut, wherever it is at.

use std::time::Duration;

use anyhow::{Result, ensure};
use mysync_e2e_tests::chance::kills;
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::shop::{BULK, WRITERS};
use mysync_e2e_tests::told::{capture, count, wait_capture, wait_errors, wait_rows};
use mysync_e2e_tests::witness::Witness;
use mysync_e2e_tests::{Options, World};
use mysync_test_support::{Proxy, Random, until};

use crate::kills::{LARGE, insert_large};

/// So many attempts in vain take longer than a connection that was merely cut: the waits between them have grown.
const IN_VAIN: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn mysql_is_killed_and_comes_back() -> Result<()> {
    killed_and_back("mysql_is_killed_and_comes_back", vec![]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_that_syncs_its_binlog_is_killed_and_comes_back() -> Result<()> {
    let flags = vec!["--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1"];
    killed_and_back("mysql_that_syncs_its_binlog_is_killed_and_comes_back", flags).await
}

async fn killed_and_back(test: &str, mysql: Vec<&'static str>) -> Result<()> {
    let options = Options { mysql, writers: WRITERS.to_vec(), ..Options::default() };
    let Some(mut world) = World::start(test, options).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let mysync = world.mysync().await?;
    let load = Load::start(&world.mysql, &mut random, &[]);
    let witness = Witness::start(&world.redis, true);
    for _ in 0..2 {
        let told = wait_rows(|| capture(&mysync), 100).await?;
        world.mysql.kill();
        wait_capture(&mysync, "retrying", "SOURCE_UNREACHABLE").await?;
        wait_errors(|| capture(&mysync), count(&told, "errors") + IN_VAIN).await?;
        ensure!(mysync.log().contains("capture tries again"), "it does not say so: {}", mysync.log());
        world.mysql.restart()?;
    }
    wait_rows(|| capture(&mysync), 100).await?;
    load.stop().await?;
    world.wait_equal().await?;
    witness.stop()?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binlog_is_cut_off_in_mid_stream_again_and_again() -> Result<()> {
    let test = "the_binlog_is_cut_off_in_mid_stream_again_and_again";
    let options = Options { writers: WRITERS.to_vec(), ..Options::default() };
    let Some(world) = World::start(test, options.clone()).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let proxy = Proxy::start(world.mysql.port)?;
    world.reconfigure(&Options { mysql_port: Some(proxy.port), ..options })?;
    let mysync = world.mysync().await?;
    let load = Load::start(&world.mysql, &mut random, &[]);
    let witness = Witness::start(&world.redis, true);
    for _ in 0..kills(12) {
        cut(&proxy, random.below(60_000)).await?;
    }
    proxy.restore();
    let committed = load.stop().await?;
    world.wait_equal().await?;
    println!("{committed} transactions, {} steps seen", witness.stop()?);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binlog_is_cut_off_inside_a_large_transaction() -> Result<()> {
    let test = "the_binlog_is_cut_off_inside_a_large_transaction";
    let options = Options { writers: vec![("bulk-cache", BULK)], ..Options::default() };
    let Some(world) = World::start(test, options.clone()).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let proxy = Proxy::start(world.mysql.port)?;
    world.reconfigure(&Options { mysql_port: Some(proxy.port), ..options })?;
    let mysync = world.mysync().await?;
    // The whole of it is about 12 MB, and is sent again from its beginning each time.
    let mut before = proxy.connected();
    proxy.cut_after(random.below(8_000_000) as usize);
    world.mysql.exec(&insert_large()).await?;
    for _ in 0..kills(5) {
        let whole = until("the stream was cut, or has passed", async || {
            let whole = count(&capture(&mysync)?, "rows") >= LARGE;
            ensure!(whole || proxy.connected() > before);
            Ok(whole)
        })
        .await?;
        if whole {
            break;
        }
        before = proxy.connected();
        proxy.cut_after(random.below(8_000_000) as usize);
    }
    proxy.restore();
    let entries = world.wait_equal().await?;
    let errors = count(&capture(&mysync)?, "errors");
    println!("{entries} entries, capture was cut off {errors} times");
    ensure!(errors > 0, "no cut fell into the stream");
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

/// Cuts a connection after so many more bytes, and waits until another one was made.
async fn cut(proxy: &Proxy, bytes: u64) -> Result<()> {
    let before = proxy.connected();
    proxy.cut_after(bytes as usize);
    until("the program connects again", async || Ok(ensure!(proxy.connected() > before))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mysql_that_says_nothing_any_more_is_left_and_found_again() -> Result<()> {
    let test = "a_mysql_that_says_nothing_any_more_is_left_and_found_again";
    let options = Options { writers: WRITERS.to_vec(), ..Options::default() };
    let Some(world) = World::start(test, options.clone()).await? else { return Ok(()) };
    let proxy = Proxy::start(world.mysql.port)?;
    world.reconfigure(&Options { mysql_port: Some(proxy.port), ..options })?;
    let mysync = world.mysync().await?;
    proxy.hold();
    world.mysql.exec("INSERT INTO shop.orders VALUES (1, 1, 1.00, NULL)").await?;
    wait_errors(|| capture(&mysync), 1).await?;
    proxy.cut();
    proxy.restore();
    ensure!(world.wait_equal().await? == 1);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

/// What a slow line has under way is not lost by a kill at either end.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_line_to_mysql_only_delays() -> Result<()> {
    let test = "a_slow_line_to_mysql_only_delays";
    let options = Options { writers: WRITERS.to_vec(), ..Options::default() };
    let Some(world) = World::start(test, options.clone()).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let proxy = Proxy::start(world.mysql.port)?;
    world.reconfigure(&Options { mysql_port: Some(proxy.port), ..options })?;
    proxy.delay(Duration::from_millis(40));
    let mysync = world.mysync().await?;
    let load = Load::start(&world.mysql, &mut random, &[]);
    wait_rows(|| capture(&mysync), 200).await?;
    mysync.kill();
    let mysync = world.mysync().await?;
    wait_rows(|| capture(&mysync), 200).await?;
    load.stop().await?;
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
