//! Stops: each has a reason that is seen, nothing behind it is applied, others go on, and what the reason names as the cure cures it.
#![allow(clippy::unit_arg, reason = "`ensure!` has a value of its own")]

use anyhow::{Context, Result, ensure};
use mysync_contract_tests::components::guest;
use mysync_e2e_tests::{Options, World, shop, told};
use mysync_test_support::{Mysync, until};
use serde_json::Value;

const USUAL: [&str; 3] = ["users-cache", "orders-cache", "bulk-cache"];

async fn user(world: &World, id: u32) -> Result<()> {
    world.mysql.exec(&format!("INSERT INTO shop.users VALUES ({id}, 'User {id}', NULL, 'London', 0)")).await
}

/// Commits an order, and waits until it is in Redis: whatever was captured before it has been looked at by now.
async fn order_goes_by(world: &World, id: u32) -> Result<()> {
    world.mysql.exec(&format!("INSERT INTO shop.orders VALUES ({id}, 1, 9.90, NULL)")).await?;
    let key = format!("order:{id}");
    until(&format!("{key} is in Redis"), async || Ok(ensure!(world.redis.ask::<bool>(&["EXISTS", &key])?))).await
}

/// Waits until a writer has stopped for this reason and health is red with it. Answers the reason in words.
async fn stopped(mysync: &Mysync, writer: &str, code: &str) -> Result<String> {
    let told = told::wait_writer(mysync, writer, "stopped", code).await?;
    let (status, health) = mysync.get("/healthz")?;
    ensure!(status == 503 && health.contains(&format!("writer {writer}/0: [{code}] ")), "{status}: {health}");
    message(&told)
}

fn message(told: &Value) -> Result<String> {
    Ok(told["message"].as_str().context("no reason")?.to_owned())
}

async fn wait_healthy(mysync: &Mysync) -> Result<()> {
    until("nothing is wrong", async || {
        let (status, health) = mysync.get("/healthz")?;
        ensure!(status == 200, "{health}");
        Ok(())
    })
    .await
}

/// What a reason tells to do, `'mysync WORDS'`, as the words.
fn cure(reason: &str) -> Result<Vec<&str>> {
    let command = reason.split("'mysync ").nth(1).and_then(|rest| rest.split('\'').next());
    Ok(command.with_context(|| format!("no command: {reason}"))?.split(' ').collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_emptied_is_a_stop_and_a_rewind_fills_it() -> Result<()> {
    let test = "a_store_that_was_emptied_is_a_stop_and_a_rewind_fills_it";
    let Some(world) = World::start(test, Options::default()).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    user(&world, 1).await?;
    order_goes_by(&world, 1).await?;
    world.wait_equal().await?;

    // While it runs: the next batch of each writer finds out.
    world.redis.ask::<()>(&["FLUSHALL"])?;
    user(&world, 2).await?;
    let reason = stopped(&mysync, "users-cache", "STORE_EMPTIED").await?;
    ensure!(world.redis.ask::<u64>(&["DBSIZE"])? == 0, "written in spite of it");
    world.command_well(&cure(&reason)?)?;
    until("users are there again", async || Ok(ensure!(world.redis.ask::<u64>(&["EXISTS", "user:1", "user:2"])? == 2)))
        .await?;
    // The writer whose rows did not change since has not looked yet, and is not gone past either.
    world.command_well(&["writer", "rewind", "orders-cache"])?;
    world.wait_equal().await?;
    wait_healthy(&mysync).await?;
    ensure!(mysync.terminate().await?.success());

    // While it does not.
    world.redis.ask::<()>(&["FLUSHALL"])?;
    user(&world, 3).await?;
    let mysync = world.mysync().await?;
    for writer in USUAL {
        let reason = stopped(&mysync, writer, "STORE_EMPTIED").await?;
        ensure!(cure(&reason)? == ["writer", "rewind", writer], "{reason}");
        world.command_well(&cure(&reason)?)?;
    }
    world.wait_equal().await?;
    wait_healthy(&mysync).await?;
    ensure!(mysync.terminate().await?.success());

    // The cure is as good between two runs.
    world.redis.ask::<()>(&["FLUSHALL"])?;
    for writer in USUAL {
        world.command_well(&["writer", "rewind", writer])?;
    }
    let mysync = world.mysync().await?;
    world.wait_equal().await?;
    wait_healthy(&mysync).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_wiped_or_replaced_is_a_stop_and_a_rebase_goes_on() -> Result<()> {
    let test = "a_log_that_was_wiped_or_replaced_is_a_stop_and_a_rebase_goes_on";
    let Some(world) = World::start(test, Options::default()).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    user(&world, 1).await?;
    order_goes_by(&world, 1).await?;
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());

    let old = world.dir().join("old");
    std::fs::rename(world.data(), &old)?;
    let mysync = world.mysync().await?;
    user(&world, 2).await?;
    let seq = world.fence("users-cache", 0)?.context("no fence")?;
    for writer in USUAL {
        let reason = stopped(&mysync, writer, "LOG_REPLACED").await?;
        let rewind = world.command(&["writer", "rewind", writer])?;
        ensure!(String::from_utf8_lossy(&rewind.stderr).contains("[LOG_REPLACED]"), "{rewind:?}");
        ensure!(rewind.status.code() == Some(1) && !world.redis.ask::<bool>(&["EXISTS", "user:2"])?);
        ensure!(cure(&reason)? == ["writer", "rebase", writer], "{reason}");
    }
    ensure!(world.fence("users-cache", 0)?.context("no fence")? == seq, "a refused rewind has moved the fence");
    for writer in USUAL {
        world.command_well(&["writer", "rebase", writer])?;
    }
    world.wait_equal().await?;
    wait_healthy(&mysync).await?;
    ensure!(mysync.terminate().await?.success());

    // The old log comes back: what was captured since is read again into it.
    std::fs::remove_dir_all(world.data())?;
    std::fs::rename(&old, world.data())?;
    user(&world, 3).await?;
    let mysync = world.mysync().await?;
    for writer in USUAL {
        stopped(&mysync, writer, "LOG_REPLACED").await?;
        world.command_well(&["writer", "rebase", writer, "--to", "start"])?;
    }
    world.mysql.exec("DELETE FROM shop.users WHERE id = 1").await?;
    world.wait_equal().await?;
    wait_healthy(&mysync).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_wrong_type_in_the_middle_of_a_batch_is_never_skipped() -> Result<()> {
    let test = "a_key_of_the_wrong_type_in_the_middle_of_a_batch_is_never_skipped";
    let Some(world) = World::start(test, Options::default()).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    world.redis.ask::<()>(&["SET", "user:3", "theirs"])?;
    let five: Vec<String> = (1..=5).map(|id| format!("({id}, 'User {id}', NULL, 'Paris', 0)")).collect();
    world.mysql.exec(&format!("INSERT INTO shop.users VALUES {}", five.join(", "))).await?;
    let reason = stopped(&mysync, "users-cache", "REDIS_COMMAND_REFUSED").await?;
    ensure!(reason.contains("HSET on key 'user:3'") && reason.contains("WRONGTYPE"), "{reason}");
    user(&world, 6).await?;
    order_goes_by(&world, 1).await?;
    ensure!(!world.redis.ask::<bool>(&["EXISTS", "user:6"])?, "it went on behind the row");
    ensure!(told::count(&told::writer(&mysync, "users-cache")?, "rows") == 0, "the batch counts as applied");

    // Neither a crash nor a resume gets past it.
    mysync.kill();
    let mysync = world.mysync().await?;
    stopped(&mysync, "users-cache", "REDIS_COMMAND_REFUSED").await?;
    // It starts, and stops at its first batch: an answer may come in between.
    let (status, told) = mysync.post("/api/writers/users-cache/resume")?;
    ensure!(status == 204 || status == 409 && told.contains("REDIS_COMMAND_REFUSED"), "{status}: {told}");
    stopped(&mysync, "users-cache", "REDIS_COMMAND_REFUSED").await?;
    order_goes_by(&world, 2).await?;
    ensure!(world.redis.ask::<String>(&["GET", "user:3"])? == "theirs");
    ensure!(!world.redis.ask::<bool>(&["EXISTS", "user:6"])?, "it went on behind the row");

    world.redis.ask::<()>(&["DEL", "user:3"])?;
    ensure!(mysync.post("/api/writers/users-cache/resume")?.0 == 204);
    world.wait_equal().await?;
    wait_healthy(&mysync).await?;

    // A restart is as good as a resume.
    world.redis.ask::<()>(&["SADD", "user:7", "theirs"])?;
    user(&world, 7).await?;
    stopped(&mysync, "users-cache", "REDIS_COMMAND_REFUSED").await?;
    ensure!(mysync.terminate().await?.success());
    world.redis.ask::<()>(&["DEL", "user:7"])?;
    let mysync = world.mysync().await?;
    world.wait_equal().await?;
    wait_healthy(&mysync).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

/// Runs the guest at first; what it is given is a mapping for the writer that takes its place.
const TRAPPING: &str = r#"
component = "trapping.wasm"
connector = "cache"
tables = ["shop.users"]

[[map]]
table = "shop.users"
as = "string"
key = "users:name:{id}"
value = "{name}"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_traps_or_reaches_beyond_its_grant_stops_alone() -> Result<()> {
    let test = "a_writer_that_traps_or_reaches_beyond_its_grant_stops_alone";
    let beyond = shop::USERS.replace("\"user:{id}\"", "\"account:{id}\"").leak();
    let writers = vec![("users-cache", &*beyond), ("orders-cache", shop::ORDERS)];
    let Some(world) = World::start(test, Options { writers, ..Options::default() }).await? else { return Ok(()) };
    std::fs::copy(guest("traps"), world.team().join("trapping.wasm"))?;
    world.write_writer("trapping", TRAPPING)?;
    let mysync = world.mysync().await?;
    user(&world, 1).await?;
    let reason = stopped(&mysync, "users-cache", "ROW_REJECTED").await?;
    ensure!(reason.contains("[GRANT_KEY_REFUSED]") && reason.contains("account:1"), "{reason}");
    let reason = stopped(&mysync, "trapping", "WASM_TRAP").await?;
    ensure!(reason.contains("`trapping` trapped in"), "{reason}");
    order_goes_by(&world, 1).await?;
    ensure!(!world.redis.ask::<bool>(&["EXISTS", "user:half"])?, "a trap leaves nothing behind");
    ensure!(world.redis.ask::<Vec<String>>(&["KEYS", "users:*"])?.is_empty(), "the other commands of the row stand");

    // A mended component is taken at the next resume.
    std::fs::copy(world.team().join("redis-writer.wasm"), world.team().join("trapping.wasm"))?;
    ensure!(mysync.post("/api/writers/trapping/resume")?.0 == 204);
    until("the mended writer writes", async || {
        let name: Option<String> = world.redis.ask(&["GET", "users:name:1"])?;
        ensure!(name.as_deref() == Some("User 1"), "{name:?}");
        Ok(())
    })
    .await?;
    ensure!(mysync.terminate().await?.success());
    world.redis.ask::<()>(&["DEL", "users:name:1"])?;
    std::fs::remove_file(world.team().join("trapping.toml"))?;
    // A mended mapping at the next start.
    world.write_writer("users-cache", shop::USERS)?;
    let mysync = world.mysync().await?;
    world.wait_equal().await?;
    wait_healthy(&mysync).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

/// May write entries of users whose numbers begin with 1. Without a dump, which brings a row that was passed over once more.
const ONES: &str = r#"
component = "redis-writer.wasm"
connector = "cache"
dump = "never"
tables = ["shop.users"]

[wants]
keys = ["user:1*"]

[[map]]
table = "shop.users"
as = "hash"
key = "user:{id}"
columns = ["id", "name"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_passed_over_in_one_partition_moves_no_other() -> Result<()> {
    let test = "what_is_passed_over_in_one_partition_moves_no_other";
    let writers = vec![("ones", ONES)];
    let Some(world) = World::start(test, Options { writers, log: "partitions = 2", ..Options::default() }).await?
    else {
        return Ok(());
    };
    let mysync = world.mysync().await?;
    let standing = |partition: u64| -> Result<Value> {
        let status = mysync.status()?;
        let mut parts = status["writers"].as_array().context("no writers")?.iter();
        parts.find(|part| part["partition"] == partition).cloned().context("no such partition")
    };
    let are_there = async |ids: std::ops::Range<u32>| {
        let keys: Vec<String> = ids.map(|id| format!("user:{id}")).collect();
        let words: Vec<&str> = ["EXISTS"].into_iter().chain(keys.iter().map(String::as_str)).collect();
        let what = "every user that may be there is";
        until(what, async || Ok(ensure!(world.redis.ask::<usize>(&words)? == keys.len()))).await
    };
    for id in 10..20 {
        user(&world, id).await?;
    }
    are_there(10..20).await?;
    user(&world, 2).await?;
    let (partition, reason) = until("a partition has stopped", async || {
        for partition in 0..2 {
            let told = standing(partition)?;
            if told["code"] == "ROW_REJECTED" {
                return Ok((partition, message(&told)?));
            }
        }
        anyhow::bail!("none has")
    })
    .await?;
    let other = 1 - partition;
    for id in 100..120 {
        user(&world, id).await?;
    }
    // It has come further than the row that is passed over.
    let seq: u64 = cure(&reason)?.pop().context("no words")?.parse()?;
    let applied = |partition: u64| -> Result<u64> {
        let fence = world.fence("ones", partition as u32)?.context("no fence")?;
        fence["applied"]["seq"].as_u64().context("no seq")
    };
    until("the other one goes on", async || Ok(ensure!(applied(other)? > seq))).await?;
    ensure!(mysync.terminate().await?.success());

    let ahead = world.fence("ones", other as u32)?;
    let unknown = world.command(&["writer", "rewind", "ones", "--to", "1"])?;
    ensure!(String::from_utf8_lossy(&unknown.stderr).contains("[SEQ_UNKNOWN]"), "{unknown:?}");
    ensure!(unknown.status.code() == Some(1) && applied(partition)? < seq, "{unknown:?}");
    let said = world.command_well(&cure(&reason)?)?;
    ensure!(said.contains(&format!("partition {partition}: goes forward")), "{said}");
    let moved = format!("partition {other}: goes");
    ensure!(!said.contains(&moved) && world.fence("ones", other as u32)? == ahead, "{said}");
    ensure!(applied(partition)? == seq, "{said}");

    let mysync = world.mysync().await?;
    are_there(100..120).await?;
    wait_healthy(&mysync).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_block_is_a_stop_and_is_passed_over_as_it_says() -> Result<()> {
    let test = "a_damaged_block_is_a_stop_and_is_passed_over_as_it_says";
    // The row in the damaged block is nowhere else in the log.
    let options = Options { writers: shop::without_dumps(), ..Options::default() };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    for id in 1..=3 {
        user(&world, id).await?;
        // Each in a block of its own.
        order_goes_by(&world, id).await?;
    }
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());
    let file = world.data().join("log.sqlite");
    let mut bytes = std::fs::read(&file)?;
    let at = bytes.windows(6).position(|bytes| bytes == b"User 2").context("it is not in the file")?;
    bytes[at] = b'L';
    // Without the WAL, which would make up for it.
    std::fs::remove_dir_all(world.data())?;
    std::fs::create_dir(world.data())?;
    std::fs::write(&file, bytes)?;
    world.redis.ask::<()>(&["DEL", "user:1", "user:2", "user:3"])?;
    world.command_well(&["writer", "rewind", "users-cache"])?;

    let mysync = world.mysync().await?;
    let reason = stopped(&mysync, "users-cache", "LOG_BLOCK_DAMAGED").await?;
    let known = cure(&reason)?.into_iter().map(|word| if word == "NAME" { "users-cache" } else { word });
    world.command_well(&known.collect::<Vec<_>>())?;
    until("what follows is there", async || Ok(ensure!(world.redis.ask::<bool>(&["EXISTS", "user:3"])?))).await?;
    ensure!(!world.redis.ask::<bool>(&["EXISTS", "user:2"])?, "a row of the damaged block was applied");
    world.mysql.exec("UPDATE shop.users SET score = 1").await?;
    world.wait_equal().await?;
    wait_healthy(&mysync).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_that_does_not_fit_its_table_is_refused_before_any_row() -> Result<()> {
    let test = "a_mapping_that_does_not_fit_its_table_is_refused_before_any_row";
    let Some(world) = World::start(test, Options::default()).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    user(&world, 1).await?;
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());

    world.write_writer("users-cache", &shop::USERS.replace("\"email\"", "\"emial\""))?;
    let mysync = world.mysync().await?;
    let reason = stopped(&mysync, "users-cache", "MAPPING_TABLE_MISMATCH").await?;
    ensure!(reason.contains("line 10, column ") && reason.contains("did you mean `email`?"), "{reason}");
    order_goes_by(&world, 1).await?;
    ensure!(mysync.terminate().await?.success());

    world.write_writer("users-cache", &shop::USERS.replace("as = \"set\"", "as = \"sett\""))?;
    let check = world.command(&["check"])?;
    let said = String::from_utf8_lossy(&check.stdout);
    ensure!(check.status.code() == Some(1) && said.contains("FAIL MAPPING_INVALID: "), "{check:?}");
    let mysync = world.mysync().await?;
    let reason = stopped(&mysync, "users-cache", "MAPPING_INVALID").await?;
    ensure!(reason.contains("line 14, column ") && reason.contains("did you mean \"set\"?"), "{reason}");
    ensure!(mysync.terminate().await?.success());

    world.write_writer("users-cache", shop::USERS)?;
    user(&world, 2).await?;
    let mysync = world.mysync().await?;
    world.wait_equal().await?;
    wait_healthy(&mysync).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_rows_go_at_once_is_a_stop_unless_the_mapping_keeps_them() -> Result<()> {
    let test = "a_table_whose_rows_go_at_once_is_a_stop_unless_the_mapping_keeps_them";
    let keeping = format!("{}on_truncate = \"keep\"\n", shop::ORDERS).leak();
    let writers = vec![("users-cache", shop::USERS), ("orders-cache", &*keeping), ("bulk-cache", shop::BULK)];
    let Some(world) = World::start(test, Options { writers, ..Options::default() }).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    user(&world, 1).await?;
    world.mysql.exec("INSERT INTO shop.bulk VALUES (1, 1, 'c', 'p')").await?;
    order_goes_by(&world, 1).await?;
    world.wait_equal().await?;

    world.mysql.exec("TRUNCATE shop.orders").await?;
    order_goes_by(&world, 2).await?;
    ensure!(world.redis.ask::<bool>(&["EXISTS", "order:1"])?, "what is to be kept is gone");
    wait_healthy(&mysync).await?;
    ensure!(mysync.log().contains("truncate of shop.orders"), "nobody was told");
    world.redis.ask::<()>(&["DEL", "order:1"])?;

    world.mysql.exec("TRUNCATE TABLE shop.users").await?;
    stopped(&mysync, "users-cache", "TABLE_TRUNCATED").await?;
    user(&world, 2).await?;
    // At a start the event and what follows it are at hand together: the cure must not pass over more than the event.
    mysync.kill();
    let mysync = world.mysync().await?;
    let reason = stopped(&mysync, "users-cache", "TABLE_TRUNCATED").await?;
    ensure!(world.redis.ask::<bool>(&["EXISTS", "user:1"])? && !world.redis.ask::<bool>(&["EXISTS", "user:2"])?);
    world.redis.ask::<()>(&["DEL", "user:1", "users:by-city:London"])?;
    world.command_well(&cure(&reason)?)?;
    world.wait_equal().await?;
    wait_healthy(&mysync).await?;

    world.mysql.exec("DROP TABLE shop.bulk").await?;
    let reason = stopped(&mysync, "bulk-cache", "TABLE_DROPPED").await?;
    world.redis.ask::<()>(&["DEL", "bulk:1"])?;
    world.command_well(&cure(&reason)?)?;
    wait_healthy(&mysync).await?;

    // A new name is no reason to stop: rows are as they were.
    world.mysql.exec("RENAME TABLE shop.users TO shop.people").await?;
    world.mysql.exec("UPDATE shop.people SET name = 'Nobody'").await?;
    world.mysql.exec("ALTER TABLE shop.people RENAME TO shop.users").await?;
    world.mysql.exec(shop::SCHEMA[3]).await?;
    world.mysql.exec("UPDATE shop.users SET score = 5; INSERT INTO shop.bulk VALUES (2, 2, 'c', 'p')").await?;
    world.wait_equal().await?;
    ensure!(mysync.log().contains("rename of shop.users"), "nobody was told");
    wait_healthy(&mysync).await?;

    world.mysql.exec("CREATE DATABASE other; DROP DATABASE other").await?;
    order_goes_by(&world, 3).await?;
    wait_healthy(&mysync).await?;
    world.mysql.exec("DROP DATABASE shop").await?;
    stopped(&mysync, "users-cache", "TABLE_DROPPED").await?;
    stopped(&mysync, "bulk-cache", "TABLE_DROPPED").await?;
    ensure!(told::writer(&mysync, "orders-cache")?["state"] == "running");
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_the_binlog_does_not_hold_as_rows_stop_capture() -> Result<()> {
    let test = "changes_that_the_binlog_does_not_hold_as_rows_stop_capture";
    let Some(world) = World::start(test, Options::default()).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    let red = async |mysync: &Mysync, code: &str| {
        let told = told::wait_capture(mysync, "stopped", code).await?;
        let (status, health) = mysync.get("/healthz")?;
        ensure!(status == 503 && health.contains(&format!("capture: [{code}] ")), "{status}: {health}");
        message(&told)
    };

    world.mysql.exec("XA START 'one'; INSERT INTO shop.users VALUES (1, 'Xa', NULL, 'Paris', 1); XA END 'one'; XA COMMIT 'one' ONE PHASE").await?;
    world.wait_equal().await?;
    world
        .mysql
        .exec("XA START 'two'; INSERT INTO shop.bulk VALUES (1, 1, 'c', 'p'); XA END 'two'; XA PREPARE 'two'")
        .await?;
    let reason = red(&mysync, "SOURCE_XA").await?;
    ensure!(reason.contains("source.exclude"), "{reason}");
    world.mysql.exec("XA COMMIT 'two'").await?;
    user(&world, 2).await?;
    ensure!(mysync.terminate().await?.success());
    let mysync = world.spawn()?;
    red(&mysync, "SOURCE_XA").await?;
    ensure!(mysync.terminate().await?.success());
    world.reconfigure(&Options { source: "exclude = [\"shop.bulk\"]", ..Options::default() })?;
    let mysync = world.mysync().await?;
    until("what follows is there", async || Ok(ensure!(world.redis.ask::<bool>(&["EXISTS", "user:2"])?))).await?;
    ensure!(!world.redis.ask::<bool>(&["EXISTS", "bulk:1"])?);
    world.mysql.exec("DELETE FROM shop.bulk").await?;

    world
        .mysql
        .exec("SET SESSION binlog_format = 'STATEMENT'; UPDATE shop.users SET score = score + 1 WHERE id = 2")
        .await?;
    let reason = red(&mysync, "SOURCE_STATEMENT").await?;
    ensure!(reason.contains("UPDATE shop.users") && reason.contains("[log] dir"), "{reason}");
    ensure!(mysync.terminate().await?.success());
    std::fs::remove_dir_all(world.data())?;
    let mysync = world.mysync().await?;
    for writer in USUAL {
        stopped(&mysync, writer, "LOG_REPLACED").await?;
        world.command_well(&["writer", "rebase", writer])?;
    }
    world.mysql.exec("UPDATE shop.users SET name = 'Again'").await?;
    world.wait_equal().await?;
    wait_healthy(&mysync).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
