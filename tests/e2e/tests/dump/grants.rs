//! What the program's account may not do holds up a dump, and nothing else.

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::shop::{BULK, USERS, fill, with_dumps};
use mysync_e2e_tests::told::{capture, count, wait_rows};
use mysync_e2e_tests::witness::Witness;
use mysync_e2e_tests::{Options, World, dumps};
use mysync_test_support::{Random, homes, skip, until};
use serde_json::Value;

const NO_GTIDS: [&str; 2] = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];

/// The statements that a stopped dump gives as its cure.
fn cure(dump: &Value) -> Result<Vec<String>> {
    let message = dump["message"].as_str().context("no message")?;
    let at = message.find("GRANT ").with_context(|| message.to_owned())?;
    let grants = message[at..].split(" (MySQL").next().unwrap_or_default();
    Ok(grants.split("; ").map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_gtids_a_dump_waits_for_the_grant_that_it_names() -> Result<()> {
    let test = "without_gtids_a_dump_waits_for_the_grant_that_it_names";
    let options = Options { mysql: NO_GTIDS.to_vec(), writers: with_dumps(), ..Options::default() };
    without_gtids(test, options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_gtids_and_with_commits_in_no_order() -> Result<()> {
    let mysql = [&NO_GTIDS[..], &["--binlog-order-commits=OFF"]].concat();
    let options = Options { mysql, writers: with_dumps(), ..Options::default() };
    without_gtids("without_gtids_and_with_commits_in_no_order", options).await
}

async fn without_gtids(test: &str, options: Options) -> Result<()> {
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    fill(&world.mysql, &[("users", 100), ("orders", 200), ("bulk", 3_000), ("visits", 75)]).await?;
    let check = world.command(&["check"])?;
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    if said.contains("DUMP_NEEDS_GTIDS") {
        skip(test, "this MySQL does not tell without GTIDs what a SELECT sees");
        return Ok(());
    }
    ensure!(said.contains("BACKUP_ADMIN"), "{said}");
    let load = Load::start(&world.mysql, &mut Random::from_env(), &[]);
    let mysync = world.mysync().await?;
    let witness = Witness::start(&world.redis, true);
    let stopped = dumps::wait_stopped(&mysync, "bulk-cache", "DUMP_PRIVILEGE").await?;
    let (health, reasons) = mysync.get("/healthz")?;
    ensure!(health == 503 && reasons.contains("DUMP_PRIVILEGE"), "{health}: {reasons}");
    wait_rows(|| capture(&mysync), 100).await?;
    let cure = cure(&stopped)?;
    ensure!(cure.iter().any(|grant| grant.contains("BACKUP_ADMIN")), "{stopped}");
    for grant in &cure {
        world.mysql.exec(grant).await.with_context(|| stopped.to_string())?;
    }
    let said = world.command_well(&["dump", "resume"])?;
    ensure!(said.contains(" goes on"), "{said}");
    dumps::wait_first(&mysync, &with_dumps()).await?;
    for _ in 0..2 {
        let number = dumps::order(&world, &[])?;
        dumps::wait(&mysync, number, "done").await?;
    }
    load.stop().await?;
    world.wait_loaded().await?;
    witness.stop()?;
    ensure!(mysync.get("/healthz")?.0 == 200);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_tell_what_a_select_sees_is_dumped_once_it_has_gtids() -> Result<()> {
    let test = "a_server_that_does_not_tell_what_a_select_sees_is_dumped_once_it_has_gtids";
    let writers = vec![("users-cache", USERS), ("bulk-cache", BULK)];
    let options = Options { mysql: NO_GTIDS.to_vec(), writers: writers.clone(), ..Options::default() };
    let Some(oldest) = homes()?.pop() else {
        skip(test, "there is no MySQL");
        return Ok(());
    };
    let Some(world) = World::on(test, &oldest, options).await? else { return Ok(()) };
    let check = world.command(&["check"])?;
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    let Some((_, told)) = said.split_once("WARN DUMP_NEEDS_GTIDS: ") else {
        skip(test, "every MySQL that is here tells it");
        return Ok(());
    };
    let cure = told.lines().nth(1).context("no cure")?.trim();
    world.mysql.exec("GRANT BACKUP_ADMIN ON *.* TO mysync@'127.0.0.1'").await?;
    fill(&world.mysql, &[("users", 100), ("bulk", 3_000)]).await?;
    let mysync = world.mysync().await?;
    dumps::wait_stopped(&mysync, "bulk-cache", "DUMP_NEEDS_GTIDS").await?;
    world.mysql.exec("UPDATE shop.bulk SET k = -1 WHERE id = 1").await?;
    until("changes go by", async || {
        let k: Option<String> = world.redis.ask(&["HGET", "bulk:1", "k"])?;
        Ok(ensure!(k.as_deref() == Some("-1"), "{k:?}"))
    })
    .await?;
    world.mysql.exec(cure).await.with_context(|| said.clone())?;
    ensure!(mysync.terminate().await?.success());
    let mysync = world.mysync().await?;
    // Its position is one of GTIDs from the next file of the binlog on.
    world.mysql.exec("FLUSH BINARY LOGS; UPDATE shop.bulk SET k = -2 WHERE id = 2").await?;
    until("the position is a set of GTIDs", async || {
        let position = capture(&mysync)?["position"].to_string();
        Ok(ensure!(position.contains(" (binlog."), "{position}"))
    })
    .await?;
    // What began only then goes on already.
    world.command(&["dump", "resume"])?;
    dumps::wait_first(&mysync, &writers).await?;
    world.wait_equal().await?;
    ensure!(mysync.get("/healthz")?.0 == 200);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_may_not_be_read_holds_up_its_dump_until_it_may() -> Result<()> {
    let test = "a_table_that_may_not_be_read_holds_up_its_dump_until_it_may";
    let writers = vec![("users-cache", USERS), ("bulk-cache", BULK)];
    let Some(world) = World::start(test, Options { writers, ..Options::default() }).await? else { return Ok(()) };
    fill(&world.mysql, &[("users", 50), ("bulk", 3_000)]).await?;
    world
        .mysql
        .exec(
            "REVOKE SELECT ON *.* FROM mysync@'127.0.0.1'; GRANT SELECT ON shop.users TO mysync@'127.0.0.1'; \
             GRANT INSERT ON shop.bulk TO mysync@'127.0.0.1'",
        )
        .await?;
    let mysync = world.mysync().await?;
    let stopped = dumps::wait_stopped(&mysync, "bulk-cache", "DUMP_DENIED").await?;
    // And one that it may not even see would not be found.
    ensure!(mysync.log().contains("DUMP_GRANTS"), "{}", mysync.log());
    ensure!(count(&dumps::wait_of(&mysync, "users-cache", "done").await?, "rows") == 50);
    world.mysql.exec("UPDATE shop.bulk SET k = -1 WHERE id = 1").await?;
    until("its changes go by", async || {
        let k: Option<String> = world.redis.ask(&["HGET", "bulk:1", "k"])?;
        Ok(ensure!(k.as_deref() == Some("-1"), "{k:?}"))
    })
    .await?;
    for grant in cure(&stopped)? {
        world.mysql.exec(&grant).await.with_context(|| stopped.to_string())?;
    }
    world.command_well(&["dump", "resume"])?;
    dumps::wait_of(&mysync, "bulk-cache", "done").await?;
    world.wait_equal().await?;
    ensure!(mysync.get("/healthz")?.0 == 200);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
