//! Stores and logs that do not hold everything, and writers that begin without a dump.

use anyhow::{Result, ensure};
use mysync_e2e_tests::shop::{BULK, USERS, fill, without_dump};
use mysync_e2e_tests::told::{count, wait_writer};
use mysync_e2e_tests::{Options, World, dumps};
use mysync_test_support::until;

/// Waits until the log, which keeps for a second what everybody has passed, has nothing but a change of a user that is made now.
pub async fn wait_trimmed(world: &World) -> Result<()> {
    world.mysql.exec("UPDATE shop.users SET score = score + 1 WHERE id = 1").await?;
    until("the log is trimmed", async || {
        let said = world.command_well(&["log", "tail"])?;
        let mut lines = said.lines().filter(|line| !line.contains(" shop.users shape "));
        let last = lines.next().is_some_and(|line| line.contains(" shop.users update "));
        ensure!(last && lines.next().is_none(), "{said}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_wants_no_dump_begins_with_what_the_log_holds_and_may_change_its_mind() -> Result<()> {
    let test = "a_writer_that_wants_no_dump_begins_with_what_the_log_holds_and_may_change_its_mind";
    let writers = vec![("users-cache", without_dump(USERS))];
    let options = Options { writers, log: "retention = \"1s\"", ..Options::default() };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    fill(&world.mysql, &[("users", 100), ("bulk", 1_500)]).await?;
    let mysync = world.mysync().await?;
    world
        .mysql
        .exec("UPDATE shop.users SET score = -1 WHERE id <= 3; UPDATE shop.bulk SET k = -1 WHERE id = 3")
        .await?;
    until("what was changed is there", async || {
        let users: Vec<String> = world.redis.ask(&["KEYS", "user:*"])?;
        Ok(ensure!(users.len() == 3, "{users:?}"))
    })
    .await?;
    ensure!(dumps::all(&mysync)?.is_empty());
    let said = world.command_well(&["dump", "status"])?;
    ensure!(said.starts_with("there is no dump"), "{said}");
    wait_trimmed(&world).await?;
    ensure!(mysync.terminate().await?.success());

    // Another one comes too late for that.
    world.write_writer("bulk-cache", without_dump(BULK))?;
    let check = world.command(&["check"])?;
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    ensure!(check.status.code() == Some(1) && said.contains("FAIL LOG_INCOMPLETE: "), "{said}");
    let mysync = world.mysync().await?;
    let told = wait_writer(&mysync, "bulk-cache", "stopped", "LOG_INCOMPLETE").await?;
    let message = told["message"].as_str().unwrap_or_default();
    ensure!(message.contains("dump = \"initial\"") && message.contains("'mysync writer resume bulk-cache'"), "{told}");
    world.write_writer("bulk-cache", &without_dump(BULK).replace("\"never\"", "\"initial\""))?;
    world.command_well(&["writer", "resume", "bulk-cache"])?;
    ensure!(count(&dumps::wait_of(&mysync, "bulk-cache", "done").await?, "rows") == 1_500);
    // And the first has its rows for the asking.
    let number = dumps::order(&world, &["--writer", "users-cache"])?;
    ensure!(count(&dumps::wait(&mysync, number, "done").await?, "rows") == 100);
    world.wait_equal().await?;
    ensure!(mysync.get("/healthz")?.0 == 200);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_emptied_is_filled_again_from_the_tables() -> Result<()> {
    let test = "a_store_that_was_emptied_is_filled_again_from_the_tables";
    let writers = vec![("users-cache", USERS), ("bulk-cache", BULK)];
    let options = Options { writers: writers.clone(), log: "retention = \"1s\"", ..Options::default() };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    fill(&world.mysql, &[("users", 300), ("bulk", 3_000)]).await?;
    let mysync = world.mysync().await?;
    dumps::wait_first(&mysync, &writers).await?;
    world.wait_equal().await?;
    wait_trimmed(&world).await?;
    world.redis.ask::<()>(&["FLUSHALL"])?;
    world
        .mysql
        .exec("UPDATE shop.users SET score = score + 1 WHERE id = 7; DELETE FROM shop.bulk WHERE id = 8")
        .await?;
    for (name, _) in &writers {
        wait_writer(&mysync, name, "stopped", "STORE_EMPTIED").await?;
        let rewind = world.command(&["writer", "rewind", name])?;
        let said = String::from_utf8_lossy(&rewind.stderr).into_owned();
        let cures = [format!("mysync writer rebase {name} --to end"), format!("mysync dump --writer {name}")];
        ensure!(said.contains("[LOG_INCOMPLETE]") && cures.iter().all(|cure| said.contains(cure)), "{rewind:?}");
        world.command_well(&["writer", "rebase", name, "--to", "end"])?;
        world.command_well(&["writer", "resume", name])?;
        let said = world.command_well(&["dump", "--writer", name])?;
        ensure!(said.contains(" is done: "), "{said}");
    }
    ensure!(world.wait_equal().await? == 300 + 7 + 2_999);
    ensure!(mysync.get("/healthz")?.0 == 200);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
