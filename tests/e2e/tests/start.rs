//! Starts: where a first one begins, what it refuses and how that is mended, and what it waits for.
#![allow(clippy::unit_arg, reason = "`ensure!` has a value of its own")]

use std::io::Write;
use std::net::TcpListener;

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::world::PASSWORD;
use mysync_e2e_tests::{Options, World, shop, told};
use mysync_test_support::{Home, Mysql, Mysync, free_port, skip, until};

const ONE: &str = "INSERT INTO shop.users VALUES (1, 'Ada', NULL, 'London', 1)";
const TWO: &str = "INSERT INTO shop.users VALUES (2, 'Bob', NULL, 'Paris', 2)";
const THREE: &str = "INSERT INTO shop.users VALUES (3, 'Cleo', NULL, 'Rome', 3)";

/// Waits until these users have entries, and no others have.
async fn wait_users(world: &World, users: &[&str]) -> Result<()> {
    until(&format!("{users:?} are in Redis"), async || {
        let mut found: Vec<String> = world.redis.ask(&["KEYS", "user:*"])?;
        found.sort();
        ensure!(found == users, "{found:?}");
        Ok(())
    })
    .await
}

/// Where the binlog ends, or begins.
async fn file_position(world: &World, end: bool) -> Result<String> {
    let files = world.mysql.query::<(String, u64, String)>("SHOW BINARY LOGS").await?;
    let (first, last) = files.first().zip(files.last()).context("no binlog")?;
    Ok(if end { format!("{}:{}", last.0, last.1) } else { format!("{}:4", first.0) })
}

/// The program ends by itself at a definite reason, and names it. Answers everything that it said.
async fn refused(world: &World, code: &str) -> Result<String> {
    let mut mysync = world.spawn()?;
    let status = mysync.wait_exit().await?;
    let said = mysync.log();
    ensure!(status.code() == Some(1), "{status}: {said}");
    ensure!(said.contains(&format!("mysync: [{code}] ")), "{code} is not named: {said}");
    Ok(said)
}

/// `mysync check` fails, and names this. Answers everything that it said.
fn check_fails(world: &World, code: &str) -> Result<String> {
    let check = world.command(&["check"])?;
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    ensure!(check.status.code() == Some(1) && said.contains(&format!("FAIL {code}: ")), "{code}: {said}");
    Ok(said)
}

/// The statement that a refusal gives as its cure.
fn cure<'s>(said: &'s str, code: &str) -> Result<&'s str> {
    // A field of the log's line, or a line of its own where `check` says it.
    let (logged, told) = (format!("code=\"{code}\" cure=\""), format!("FAIL {code}: "));
    let field = said.split_once(&logged).and_then(|(_, rest)| rest.split('"').next());
    let line = said.lines().skip_while(|line| !line.contains(&told)).nth(1);
    let cure = field.or(line).with_context(|| format!("no cure of {code}: {said}"))?;
    Ok(cure.split(" -- ").next().unwrap_or_default().trim())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_killed_before_any_change_loses_nothing_committed_meanwhile() -> Result<()> {
    let test = "a_first_start_killed_before_any_change_loses_nothing_committed_meanwhile";
    let options = Options { writers: shop::without_dumps(), ..Options::default() };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    world.mysql.exec(ONE).await?;
    world.mysync().await?.kill();
    world.mysql.exec(TWO).await?;
    let mysync = world.mysync().await?;
    wait_users(&world, &["user:2"]).await?;
    mysync.kill();
    world.mysql.exec(THREE).await?;
    let mysync = world.mysync().await?;
    wait_users(&world, &["user:2", "user:3"]).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_begins_where_it_is_told_to() -> Result<()> {
    let test = "a_first_start_begins_where_it_is_told_to";
    let options = Options { writers: shop::without_dumps(), ..Options::default() };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    let start = async |at: &str| {
        let source = format!("start = \"{at}\"").leak();
        world.reconfigure(&Options { source, ..Options::default() })?;
        world.mysync().await
    };
    let anew = async |mysync: Mysync| {
        ensure!(mysync.terminate().await?.success());
        std::fs::remove_dir_all(world.data())?;
        world.redis.ask::<()>(&["FLUSHALL"])
    };
    let beginning = file_position(&world, false).await?;
    world.mysql.exec(ONE).await?;
    let file = file_position(&world, true).await?;
    world.mysql.exec(TWO).await?;
    let gtids: String = world.mysql.query("SELECT @@GLOBAL.gtid_executed").await?.pop().context("no set")?;
    world.mysql.exec(THREE).await?;

    let mysync = start(&gtids.replace('\n', "")).await?;
    wait_users(&world, &["user:3"]).await?;
    anew(mysync).await?;
    let mysync = start(&file).await?;
    wait_users(&world, &["user:2", "user:3"]).await?;
    // From here on it has a position of its own, and `start` is not looked at.
    ensure!(mysync.terminate().await?.success());
    world.mysql.exec("DELETE FROM shop.users WHERE id = 3").await?;
    let mysync = start("now").await?;
    wait_users(&world, &["user:2"]).await?;
    anew(mysync).await?;
    let mysync = start(&beginning).await?;
    ensure!(world.wait_equal().await? == 4);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_followed_is_refused_with_the_sql_that_mends_it() -> Result<()> {
    let test = "a_server_that_cannot_be_followed_is_refused_with_the_sql_that_mends_it";
    let Some(world) = World::start(test, Options::default()).await? else { return Ok(()) };
    for (code, spoil) in [
        ("SOURCE_BINLOG_FORMAT", "SET GLOBAL binlog_format = 'MIXED'"),
        ("SOURCE_ROW_IMAGE", "SET GLOBAL binlog_row_image = 'MINIMAL'"),
        ("SOURCE_ROW_METADATA", "SET GLOBAL binlog_row_metadata = 'MINIMAL'"),
        ("SOURCE_PARTIAL_JSON", "SET GLOBAL binlog_row_value_options = 'PARTIAL_JSON'"),
        ("SOURCE_PRIVILEGES", "REVOKE REPLICATION SLAVE ON *.* FROM mysync@'127.0.0.1'"),
        ("SOURCE_PRIVILEGES", "REVOKE REPLICATION CLIENT ON *.* FROM mysync@'127.0.0.1'"),
    ] {
        world.mysql.exec(spoil).await?;
        let said = refused(&world, code).await?;
        let check = world.command(&["check"])?;
        ensure!(check.status.code() == Some(1), "{spoil}: {check:?}");
        ensure!(cure(&String::from_utf8_lossy(&check.stdout), code)? == cure(&said, code)?, "{spoil}");
        world.mysql.exec(cure(&said, code)?).await.with_context(|| said.clone())?;
        let mysync = world.mysync().await?;
        ensure!(mysync.terminate().await?.success(), "{spoil}");
    }
    let source = format!("server_id = {}", world.mysql.port).leak();
    world.reconfigure(&Options { source, ..Options::default() })?;
    let said = refused(&world, "SOURCE_SERVER_ID").await?;
    ensure!(cure(&said, "SOURCE_SERVER_ID")?.contains("source.server_id"), "{said}");
    world.reconfigure(&Options { source: "server_id = 4711", ..Options::default() })?;
    let mysync = world.mysync().await?;
    world.mysql.exec(ONE).await?;
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_binlog_is_refused_until_it_has_one() -> Result<()> {
    let test = "a_server_without_a_binlog_is_refused_until_it_has_one";
    let options = Options { mysql: vec!["--skip-log-bin"], ..Options::default() };
    let Some(mut world) = World::start(test, options).await? else { return Ok(()) };
    let said = refused(&world, "SOURCE_LOG_BIN").await?;
    ensure!(cure(&said, "SOURCE_LOG_BIN")?.contains("log_bin"), "{said}");
    world.mysql.restart_with(&[])?;
    let mysync = world.mysync().await?;
    world.mysql.exec(ONE).await?;
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_position_is_refused_and_a_new_log_goes_on() -> Result<()> {
    let test = "a_purged_position_is_refused_and_a_new_log_goes_on";
    let Some(world) = World::start(test, Options::default()).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    world.mysql.exec(ONE).await?;
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());
    world.mysql.exec(TWO).await?;
    world.mysql.exec("FLUSH BINARY LOGS").await?;
    let last = file_position(&world, true).await?;
    let file = last.split(':').next().unwrap_or_default();
    world.mysql.exec(&format!("PURGE BINARY LOGS TO '{file}'")).await?;

    let said = refused(&world, "SOURCE_PURGED").await?;
    let (checked, cure) = (check_fails(&world, "SOURCE_PURGED")?, cure(&said, "SOURCE_PURGED")?);
    ensure!(checked.contains(cure), "{checked}");
    ensure!(cure.contains("[log] dir") && cure.contains("mysync writer rebase"), "{cure}");
    std::fs::rename(world.data(), world.dir().join("old"))?;
    let mysync = world.mysync().await?;
    for writer in ["users-cache", "orders-cache", "bulk-cache"] {
        told::wait_writer(&mysync, writer, "stopped", "LOG_REPLACED").await?;
        world.command_well(&["writer", "rebase", writer])?;
    }
    // The change that went with the binlog is in no log.
    world.command_well(&["dump"])?;
    world.wait_equal().await?;
    ensure!(mysync.get("/healthz")?.0 == 200);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_is_refused_by_name() -> Result<()> {
    let Some(world) = World::start("mariadb_is_refused_by_name", Options::default()).await? else { return Ok(()) };
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    // What MariaDB 10.11 sends first: protocol 10, version, thread, nonce, capabilities, plugin.
    let mut greeting = b"\x0a5.5.5-10.11.6-MariaDB\0\x05\0\0\0abcdefgh\0\xfe\xf7\x2d\x02\0\xff\x81\x15".to_vec();
    greeting.extend([&[0; 6][..], &[0x1d, 0, 0, 0], b"ijklmnopqrst\0mysql_native_password\0"].concat());
    let packet = [&[greeting.len() as u8, 0, 0, 0][..], &greeting].concat();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            // Whoever has read it goes.
            let _ = client.write_all(&packet);
        }
    });
    world.reconfigure(&Options { mysql_port: Some(port), ..Options::default() })?;
    let said = refused(&world, "SOURCE_VERSION").await?;
    ensure!(said.contains("5.5.5-10.11.6-MariaDB is MariaDB, which is not supported"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn check_looks_at_everything_and_moves_nothing() -> Result<()> {
    let Some(world) = World::start("check_looks_at_everything_and_moves_nothing", Options::default()).await? else {
        return Ok(());
    };
    let said = world.command_well(&["check"])?;
    for code in [
        "CONFIG",
        "SOURCE_VERSION",
        "SOURCE_LOG_BIN",
        "SOURCE_POSITION",
        "LOG_DIRECTORY",
        "LOG_STATE",
        "CONNECTOR",
        "FENCE",
        "WRITER",
    ] {
        ensure!(said.contains(&format!("OK   {code}: ")), "{code}: {said}");
    }
    ensure!(said.contains("WARN SOURCE_SYNC_BINLOG: ") && said.contains("SET PERSIST sync_binlog = 1;"), "{said}");
    ensure!(!world.data().exists(), "the log was made");
    ensure!(world.redis.ask::<u64>(&["DBSIZE"])? == 0, "the store was written");

    // While the program runs, too.
    let mysync = world.mysync().await?;
    world.mysql.exec(ONE).await?;
    world.wait_equal().await?;
    let fence = world.fence("users-cache", 0)?;
    let said = world.command_well(&["check"])?;
    ensure!(said.contains("writer users-cache has come to seq"), "{said}");
    until("the fence is as it was", async || Ok(ensure!(world.fence("users-cache", 0)?.is_some()))).await?;
    world.mysql.exec(TWO).await?;
    world.wait_equal().await?;
    ensure!(fence.is_some() && mysync.get("/healthz")?.0 == 200);
    ensure!(mysync.terminate().await?.success());

    let nowhere = Options { mysql_port: Some(free_port()), redis_port: Some(free_port()), ..Options::default() };
    world.reconfigure(&nowhere)?;
    let check = world.command(&["check"])?;
    let said = String::from_utf8_lossy(&check.stdout);
    ensure!(check.status.code() == Some(1), "{check:?}");
    ensure!(said.contains("FAIL SOURCE_UNREACHABLE: ") && said.contains("FAIL REDIS_UNREACHABLE: "), "{said}");
    ensure!(said.contains("OK   WRITER: "), "what can be looked at is: {said}");
    world.write_writer(
        "users-cache",
        "component = \"redis-writer.wasm\"\nconector = \"cache\"\ntables = [\"shop.users\"]\n",
    )?;
    let check = world.command(&["check"])?;
    let said = String::from_utf8_lossy(&check.stderr);
    ensure!(check.status.code() == Some(2) && said.contains("users-cache.toml"), "{check:?}");
    ensure!(said.contains("is `conector` meant to be it?"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_what_a_start_would_stop_at() -> Result<()> {
    let test = "check_finds_what_a_start_would_stop_at";
    let Some(world) = World::start(test, Options::default()).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    world.mysql.exec(ONE).await?;
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());
    let log = world.fence("users-cache", 0)?.context("no fence")?["log"].as_str().context("no log")?.to_owned();
    let said = world.command_well(&["check"])?;
    ensure!(said.contains(&format!("holds log {log}: capture has come to ")), "{said}");
    ensure!(said.contains(&format!("of log {log} in partition 0")), "{said}");

    // The table is known from the log.
    world.write_writer("users-cache", &shop::USERS.replace("\"email\"", "\"emial\""))?;
    let said = check_fails(&world, "MAPPING_TABLE_MISMATCH")?;
    ensure!(said.contains("did you mean `email`?") && said.matches("FAIL").count() == 1, "{said}");
    world.write_writer("users-cache", shop::USERS)?;

    world.redis.ask::<()>(&["DEL", "mysync:fence:{shop/users-cache/0}"])?;
    let said = check_fails(&world, "STORE_EMPTIED")?;
    ensure!(cure(&said, "STORE_EMPTIED")? == "mysync writer rewind users-cache", "{said}");
    ensure!(world.fence("users-cache", 0)?.is_none(), "a check has written");
    world.command_well(&["writer", "rewind", "users-cache"])?;
    world.command_well(&["check"])?;

    // No log, and another one.
    let old = world.dir().join("old");
    std::fs::rename(world.data(), &old)?;
    let said = check_fails(&world, "LOG_REPLACED")?;
    ensure!(said.matches("FAIL LOG_REPLACED: ").count() == 3 && !world.data().exists(), "{said}");
    let mysync = world.mysync().await?;
    let said = check_fails(&world, "LOG_REPLACED")?;
    ensure!(cure(&said, "LOG_REPLACED")?.ends_with(": mysync writer rebase bulk-cache"), "{said}");
    ensure!(mysync.terminate().await?.success());
    std::fs::remove_dir_all(world.data())?;
    std::fs::rename(&old, world.data())?;
    world.command_well(&["check"])?;

    world.reconfigure(&Options { log: "partitions = 2", ..Options::default() })?;
    check_fails(&world, "LOG_PARTITIONS")?;
    world.reconfigure(&Options::default())?;
    // In the file's first page: its name, and the number of its format.
    let whole = std::fs::read(world.data().join("log.sqlite"))?;
    std::fs::rename(world.data(), &old)?;
    std::fs::create_dir(world.data())?;
    for (at, bytes, code) in [(0, "SQLite format 2", "LOG_DAMAGED"), (60, "\0\0\0c", "LOG_VERSION")] {
        let mut changed = whole.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes.as_bytes());
        std::fs::write(world.data().join("log.sqlite"), changed)?;
        let said = check_fails(&world, code)?;
        ensure!(said.matches("FAIL").count() == 1, "nothing can be held against it: {said}");
    }
    std::fs::remove_dir_all(world.data())?;
    std::fs::rename(&old, world.data())?;

    // A mapping that fits the rows there were, and none that come.
    let mysync = world.mysync().await?;
    world.mysql.exec("ALTER TABLE shop.users RENAME COLUMN email TO mail").await?;
    world.mysql.exec(TWO).await?;
    told::wait_writer(&mysync, "users-cache", "stopped", "MAPPING_TABLE_MISMATCH").await?;
    ensure!(mysync.terminate().await?.success());
    let check = world.command(&["check"])?;
    let said = String::from_utf8_lossy(&check.stderr);
    ensure!(
        check.status.success() && said.contains("delivery will stop at the next row of another shape"),
        "{check:?}"
    );

    // A server that knows nothing of what was read: made anew, or another one.
    if world.mysql.exec("RESET BINARY LOGS AND GTIDS").await.is_err() {
        world.mysql.exec("RESET MASTER").await?;
    }
    let said = check_fails(&world, "SOURCE_FOREIGN")?;
    ensure!(cure(&said, "SOURCE_FOREIGN")?.contains("the right server"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn check_knows_another_server_from_the_one_that_was_read() -> Result<()> {
    let test = "check_knows_another_server_from_the_one_that_was_read";
    let Some(home) = Home::newest()? else { return Ok(skip(test, "there is no MySQL")) };
    let mysql = vec!["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
    let other = Mysql::start(&home, &mysql)?;
    let Some(world) = World::on(test, &home, Options { mysql, ..Options::default() }).await? else { return Ok(()) };
    let mysync = world.mysync().await?;
    world.mysql.exec(ONE).await?;
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());
    world.command_well(&["check"])?;
    other.exec(&format!("CREATE USER mysync@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")).await?;
    other.exec("GRANT REPLICATION SLAVE, REPLICATION CLIENT, SELECT ON *.* TO mysync@'127.0.0.1'").await?;
    world.reconfigure(&Options { mysql_port: Some(other.port), ..Options::default() })?;
    let said = check_fails(&world, "SOURCE_CHANGED")?;
    ensure!(said.contains("begin anew with an empty log"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_away_at_the_start_are_waited_for() -> Result<()> {
    let test = "servers_that_are_away_at_the_start_are_waited_for";
    let Some(mut world) = World::start(test, Options::default()).await? else { return Ok(()) };
    world.redis.kill();
    world.mysql.kill();
    let mysync = world.spawn()?;
    told::wait_capture(&mysync, "retrying", "SOURCE_UNREACHABLE").await?;
    told::wait_writer(&mysync, "users-cache", "retrying", "REDIS_UNREACHABLE").await?;
    ensure!(mysync.get("/readyz")?.0 == 503, "it says that it is ready");
    world.mysql.restart()?;
    until("capture runs", async || Ok(ensure!(told::capture(&mysync)?["state"] == "running"))).await?;
    world.mysql.exec(ONE).await?;
    world.redis.restart()?;
    world.wait_equal().await?;
    until("it is ready", async || Ok(ensure!(mysync.get("/readyz")?.0 == 200))).await?;
    let said = mysync.log();
    ensure!(said.contains("capture tries again: cannot connect to MySQL"), "{said}");
    ensure!(said.contains("delivery tries again: Redis at"), "{said}");
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
