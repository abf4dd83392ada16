//! What lies between MySQL, the program and Redis breaks while a dump is at work.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::chance::kills;
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::shop::{BULK, USERS, fill, with_dumps};
use mysync_e2e_tests::told::{count, wait_capture, wait_writer, writer};
use mysync_e2e_tests::witness::Witness;
use mysync_e2e_tests::{Options, World, dumps};
use mysync_test_support::{Proxy, Random, until};

#[tokio::test(flavor = "multi_thread")]
async fn mysql_is_killed_in_the_middle_of_a_dump_and_comes_back() -> Result<()> {
    let test = "mysql_is_killed_in_the_middle_of_a_dump_and_comes_back";
    let options = Options { writers: with_dumps(), more: "[dump]\nrows_per_second = 4000", ..Options::default() };
    let Some(mut world) = World::start(test, options).await? else { return Ok(()) };
    let mut random = Random::from_env();
    fill(&world.mysql, &[("users", 60), ("orders", 100), ("bulk", 8_000), ("visits", 75)]).await?;
    let load = Load::start(&world.mysql, &mut random, &[]);
    let mysync = world.mysync().await?;
    let witness = Witness::start(&world.redis, true);
    for rows in [1, 3_000] {
        dumps::wait_rows(&mysync, "bulk-cache", rows).await?;
        world.mysql.kill();
        wait_capture(&mysync, "retrying", "SOURCE_UNREACHABLE").await?;
        world.mysql.restart()?;
    }
    dumps::wait_over(&mysync).await?;
    load.stop().await?;
    world.wait_loaded().await?;
    witness.stop()?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_is_cut_again_and_again_while_a_table_is_read() -> Result<()> {
    let test = "the_line_is_cut_again_and_again_while_a_table_is_read";
    let options = Options { writers: vec![("bulk-cache", BULK)], ..Options::default() };
    let Some(world) = World::start(test, options.clone()).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let proxy = Proxy::start(world.mysql.port)?;
    world.reconfigure(&Options { mysql_port: Some(proxy.port), ..options })?;
    fill(&world.mysql, &[("bulk", 40_000)]).await?;
    let mysync = world.mysync().await?;
    let mut cuts = 0;
    while cuts < kills(8) {
        let before = proxy.connected();
        // The table is about 7 MB: most cuts are in the middle of a chunk.
        proxy.cut_after(random.below(1_500_000) as usize);
        let over = until("the line was cut, or everything is read", async || {
            let over = dumps::of(&mysync, "bulk-cache")?["state"] == "done";
            ensure!(over || proxy.connected() > before);
            Ok(over)
        })
        .await?;
        if over {
            break;
        }
        cuts += 1;
    }
    // Only the reader's own connection, and not the stream's.
    proxy.restore();
    let more = dumps::all(&mysync)?.iter().all(|dump| dump["state"] == "done");
    if more {
        dumps::order(&world, &["--rows-per-second", "20000"])?;
    }
    let killed = until("the reader's connection is killed", async || {
        let query =
            "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'mysync' AND COMMAND NOT LIKE 'Binlog Dump%'";
        let readers: Vec<u64> = world.mysql.query(query).await?;
        let reader = readers.first().context("nobody reads")?;
        world.mysql.exec(&format!("KILL {reader}")).await?;
        Ok(*reader)
    })
    .await?;
    dumps::wait_over(&mysync).await?;
    let entries = world.wait_equal().await?;
    let again = mysync.log().matches(" tries again: ").count();
    println!("cut {cuts} times, connection {killed} was killed; tried again {again} times; {entries} entries");
    ensure!(cuts > 0 && again > 0, "nothing was cut: {cuts} cuts, tried again {again} times");
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

/// Bytes of files in a folder.
fn size(folder: &Path) -> Result<u64> {
    let sizes = std::fs::read_dir(folder)?.map(|file| Ok(file?.metadata()?.len()));
    sizes.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_waits_while_redis_is_away_and_the_log_does_not_fill_up() -> Result<()> {
    let test = "a_dump_waits_while_redis_is_away_and_the_log_does_not_fill_up";
    let options = Options { writers: vec![("bulk-cache", BULK)], ..Options::default() };
    let Some(world) = World::start(test, options.clone()).await? else { return Ok(()) };
    let proxy = Proxy::start(world.redis.port)?;
    world.reconfigure(&Options { redis_port: Some(proxy.port), ..options })?;
    // About 10 MB in the log.
    fill(&world.mysql, &[("bulk", 50_000)]).await?;
    let mysync = world.mysync().await?;
    dumps::wait_rows(&mysync, "bulk-cache", 5_000).await?;
    proxy.refuse();
    until("the store is gone", async || {
        let told = writer(&mysync, "bulk-cache")?;
        Ok(ensure!(told["state"] == "retrying", "{told}"))
    })
    .await?;
    let waits = until("the dump waits", async || {
        let dump = dumps::of(&mysync, "bulk-cache")?;
        ensure!(dump["waits_for"].as_str().is_some_and(|held| held.contains("writer bulk-cache")), "{dump}");
        Ok(dump)
    })
    .await?;
    let before = size(&world.data())?;
    // Longer than the pauses between looks at how far writers are.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let still = dumps::of(&mysync, "bulk-cache")?;
    ensure!(still["rows"] == waits["rows"] && still["state"] == "running", "it goes on: {waits}, then {still}");
    let (rows, bytes) = (count(&still, "rows"), size(&world.data())?);
    println!("{rows} rows were in the log when it waited, {before} and then {bytes} bytes on disk");
    ensure!(rows < 30_000 && bytes < before + (1 << 20), "the log fills up: {before}, then {bytes} bytes");
    proxy.restore();
    ensure!(count(&dumps::wait_of(&mysync, "bulk-cache", "done").await?, "rows") == 50_000);
    ensure!(world.wait_equal().await? == 50_000);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_has_stopped_holds_up_its_own_dump_and_no_other() -> Result<()> {
    let test = "a_writer_that_has_stopped_holds_up_its_own_dump_and_no_other";
    let writers = vec![("users-cache", USERS), ("bulk-cache", BULK)];
    let Some(world) = World::start(test, Options { writers, ..Options::default() }).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    dumps::wait_over(&mysync).await?;
    // More than the log takes ahead of a writer.
    fill(&world.mysql, &[("users", 40_000), ("bulk", 3_000)]).await?;
    world.wait_equal().await?;
    world.redis.ask::<()>(&["SET", "user:0", "no hash"])?;
    world.mysql.exec("INSERT INTO shop.users VALUES (0, 'Ada', NULL, 'London', 0)").await?;
    wait_writer(&mysync, "users-cache", "stopped", "REDIS_COMMAND_REFUSED").await?;
    let bulk = dumps::order(&world, &["--writer", "bulk-cache"])?;
    ensure!(count(&dumps::wait(&mysync, bulk, "done").await?, "rows") == 3_000);
    // The rows of one for everybody are for it as well.
    let all = dumps::order(&world, &[])?;
    until("the dump waits for the writer", async || {
        let dump = dumps::dump(&mysync, all)?;
        ensure!(dump["waits_for"].as_str().is_some_and(|held| held.contains("writer users-cache")), "{dump}");
        Ok(())
    })
    .await?;
    world.mysql.exec("UPDATE shop.bulk SET k = -5 WHERE id = 5").await?;
    until("changes of others go by", async || {
        let k: Option<String> = world.redis.ask(&["HGET", "bulk:5", "k"])?;
        Ok(ensure!(k.as_deref() == Some("-5"), "{k:?}"))
    })
    .await?;
    world.redis.ask::<()>(&["DEL", "user:0"])?;
    world.command_well(&["writer", "resume", "users-cache"])?;
    dumps::wait(&mysync, all, "done").await?;
    world.wait_equal().await?;
    ensure!(mysync.get("/healthz")?.0 == 200);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn dumps_pass_by_one_whose_writer_has_stopped_or_is_gone() -> Result<()> {
    let test = "dumps_pass_by_one_whose_writer_has_stopped_or_is_gone";
    let writers = vec![("users-cache", USERS), ("bulk-cache", BULK)];
    let Some(world) = World::start(test, Options { writers, ..Options::default() }).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    dumps::wait_over(&mysync).await?;
    // More than the log takes ahead of a writer.
    fill(&world.mysql, &[("users", 30_000), ("bulk", 3_000)]).await?;
    world.wait_equal().await?;
    // It stops at its first row.
    world.redis.ask::<()>(&["DEL", "user:1"])?;
    world.redis.ask::<()>(&["SET", "user:1", "no hash"])?;
    let users = dumps::order(&world, &["--writer", "users-cache"])?;
    wait_writer(&mysync, "users-cache", "stopped", "REDIS_COMMAND_REFUSED").await?;
    let bulk = dumps::order(&world, &["--writer", "bulk-cache"])?;
    ensure!(count(&dumps::wait(&mysync, bulk, "done").await?, "rows") == 3_000);
    ensure!(dumps::dump(&mysync, users)?["state"] != "done");
    ensure!(mysync.terminate().await?.success());

    let file = world.team().join("users-cache.toml");
    std::fs::rename(&file, world.dir().join("aside"))?;
    let mysync = world.mysync().await?;
    let bulk = dumps::order(&world, &["--writer", "bulk-cache"])?;
    ensure!(count(&dumps::wait(&mysync, bulk, "done").await?, "rows") == 3_000);
    ensure!(mysync.terminate().await?.success());

    std::fs::rename(world.dir().join("aside"), &file)?;
    world.redis.ask::<()>(&["DEL", "user:1"])?;
    let mysync = world.mysync().await?;
    dumps::wait(&mysync, users, "done").await?;
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
