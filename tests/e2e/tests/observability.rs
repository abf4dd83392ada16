//! What the running program tells: lag, health, figures, status and log lines. It is right, and gives no secret away.
#![allow(clippy::unit_arg, reason = "`ensure!` has a value of its own")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::exposition::Exposition;
use mysync_e2e_tests::world::PASSWORD;
use mysync_e2e_tests::{Options, World, dumps, shop, told};
use mysync_test_support::{Mysync, Proxy, RedisServer, free_port, until};
use serde_json::Value;

const USERS: [(&str, &str); 2] = [("writer", "users-cache"), ("partition", "0")];
const ORDERS: [(&str, &str); 2] = [("writer", "orders-cache"), ("partition", "0")];
/// What a proxy that lets nobody through looks like.
const AWAY: &str = "REDIS_LOST_ANSWER";
/// What an idle writer may lag behind at most, in seconds.
const NOTHING: f64 = 0.5;

/// A Redis that the program reaches through a proxy.
fn through(world: &World, options: &Options) -> Result<Proxy> {
    let proxy = Proxy::start(world.redis.port)?;
    world.reconfigure(&Options { redis_port: Some(proxy.port), ..options.clone() })?;
    Ok(proxy)
}

fn said(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

/// `mysync status` ended with this code. Answers what it said.
fn status_is(world: &World, code: i32) -> Result<String> {
    let Output { status, stdout, stderr } = world.command(&["status"])?;
    ensure!(status.code() == Some(code), "{status}: {}{}", said(&stdout), said(&stderr));
    Ok(said(&stdout) + &said(&stderr))
}

async fn wait_healthy(mysync: &Mysync, healthy: bool) -> Result<String> {
    until(if healthy { "health is green" } else { "health is red" }, async || {
        let (status, told) = mysync.get("/healthz")?;
        ensure!(status == if healthy { 200 } else { 503 }, "{status}: {told}");
        Ok(told)
    })
    .await
}

/// The lags of all writers in all partitions, by the status.
fn lags(mysync: &Mysync) -> Result<Vec<f64>> {
    let status = mysync.status()?;
    let writers = status["writers"].as_array().context("no writers")?;
    writers.iter().map(|writer| writer["lag_seconds"].as_f64().with_context(|| writer.to_string())).collect()
}

fn largest(lags: &[f64]) -> f64 {
    lags.iter().copied().fold(0.0, f64::max)
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_is_the_age_of_the_oldest_change_that_is_not_in_the_store_and_none_while_the_source_is_idle() -> Result<()>
{
    let test = "lag_is_the_age_of_the_oldest_change_that_is_not_in_the_store_and_none_while_the_source_is_idle";
    let writers = vec![("orders-cache", shop::ORDERS), ("bulk-cache", shop::BULK)];
    let options = Options { writers, log: "partitions = 3", ..Options::default() };
    let Some(world) = World::start(test, options.clone()).await? else { return Ok(()) };
    let proxy = through(&world, &options)?;
    let mysync = world.mysync().await?;
    let order = async |id: u32| {
        world.mysql.exec(&format!("INSERT INTO shop.orders VALUES ({id}, 1, 9.90, NULL)")).await?;
        Ok::<Instant, anyhow::Error>(Instant::now())
    };
    // In one partition of three: the others have nothing to do, and do not lag.
    order(1).await?;
    until("the order is in Redis", async || Ok(ensure!(world.redis.ask::<bool>(&["EXISTS", "order:1"])?))).await?;
    let idle = Instant::now();
    while idle.elapsed() < Duration::from_secs(3) {
        let lags = lags(&mysync)?;
        ensure!(lags.len() == 6 && largest(&lags) < NOTHING, "idle for {:?}: {lags:?}", idle.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    proxy.hold();
    let committed = order(2).await?;
    until("the writer lags for two seconds", async || {
        let lags = lags(&mysync)?;
        let (lag, age) = (largest(&lags), committed.elapsed().as_secs_f64());
        // Whatever was before, the change is as old as it is; an answer takes its time, too.
        if lag > age + NOTHING {
            return Ok(Err(anyhow::anyhow!("lag is {lag} s, {age} s after the commit")));
        }
        ensure!(lag > 2.0, "{lags:?}");
        Ok(Ok((lags, age)))
    })
    .await
    .and_then(|lags| {
        let (lags, age) = lags?;
        ensure!(largest(&lags) > age - NOTHING, "{lags:?}, {age} s after the commit");
        Ok(ensure!(lags.iter().filter(|lag| **lag > NOTHING).count() == 1, "one writer in one partition: {lags:?}"))
    })?;
    let metrics = Exposition::parse(&mysync.metrics()?)?;
    let lag = |writer: &str, partition: &str| {
        metrics.value("mysync_writer_lag_seconds", &[("writer", writer), ("partition", partition)])
    };
    let lags = ["0", "1", "2"].map(|partition| lag("orders-cache", partition).unwrap_or(f64::NAN));
    ensure!(lags.iter().filter(|lag| **lag > 2.0).count() == 1 && lag("bulk-cache", "0")? < NOTHING, "{lags:?}");
    ensure!(mysync.get("/healthz")?.0 == 200, "a store that is slow is no dead delivery");

    proxy.restore();
    until("nothing lags", async || {
        let lags = self::lags(&mysync)?;
        Ok(ensure!(largest(&lags) < NOTHING, "{lags:?}"))
    })
    .await?;
    ensure!(world.redis.ask::<bool>(&["EXISTS", "order:2"])?);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_green_while_something_is_tried_again_and_red_once_it_has_stopped() -> Result<()> {
    let test = "health_is_green_while_something_is_tried_again_and_red_once_it_has_stopped";
    let Some(world) = World::start(test, Options::default()).await? else { return Ok(()) };
    let nobody = status_is(&world, 2)?;
    ensure!(nobody.contains("[ADMIN_UNREACHABLE]") && nobody.contains("is it running?"), "{nobody}");
    let (mysql, redis) = (Proxy::start(world.mysql.port)?, Proxy::start(world.redis.port)?);
    world.reconfigure(&Options { mysql_port: Some(mysql.port), redis_port: Some(redis.port), ..Options::default() })?;
    let mysync = world.mysync().await?;
    let user = async |id: u32| {
        world.mysql.exec(&format!("INSERT INTO shop.users VALUES ({id}, 'User {id}', NULL, 'Paris', 0)")).await
    };
    user(1).await?;
    world.wait_equal().await?;
    ensure!(mysync.get("/healthz")? == (200, "healthy\n".to_owned()));
    ensure!(mysync.get("/readyz")? == (200, "ready\n".to_owned()));
    let healthy = status_is(&world, 0)?;
    ensure!(healthy.starts_with("source shop: healthy\n") && !healthy.contains('['), "{healthy}");
    let row = healthy.lines().find(|line| line.starts_with("users-cache/0")).context("no line of the writer")?;
    let words: Vec<&str> = row.split_whitespace().collect();
    let seq = told::count(&told::writer(&mysync, "users-cache")?, "seq").to_string();
    ensure!(words[1] == "running" && words[2..4] == ["0.0", "s"] && words[4] == seq && words[5] == "1", "{row}");
    let json = world.command_well(&["status", "--json"])?;
    ensure!(serde_json::from_str::<Value>(&json)?["writers"] == mysync.status()?["writers"], "{json}");

    // Both sides away: nothing is dead, and the reason can be read.
    redis.refuse();
    user(2).await?;
    told::wait_writer(&mysync, "users-cache", "retrying", AWAY).await?;
    mysql.refuse();
    told::wait_capture(&mysync, "retrying", "SOURCE_CONNECTION_LOST").await?;
    ensure!(mysync.get("/healthz")?.0 == 200 && mysync.get("/readyz")?.0 == 200);
    let retrying = status_is(&world, 0)?;
    ensure!(retrying.contains("\nwriter users-cache/0: [REDIS_LOST_ANSWER] "), "{retrying}");
    ensure!(retrying.contains("\ncapture: [SOURCE_CONNECTION_LOST] "), "{retrying}");
    mysync.kill();

    // With a backlog, after a start: not ready, and not dead either.
    mysql.restore();
    let mysync = world.spawn()?;
    told::wait_writer(&mysync, "users-cache", "retrying", AWAY).await?;
    until("capture runs", async || Ok(ensure!(told::capture(&mysync)?["state"] == "running"))).await?;
    let (status, told) = mysync.get("/healthz")?;
    ensure!(status == 200, "{told}");
    let (status, told) = mysync.get("/readyz")?;
    ensure!(
        status == 503 && told.starts_with("starting\n") && told.contains("writer users-cache/0: retrying"),
        "{told}"
    );
    ensure!(status_is(&world, 0)?.starts_with("source shop: starting\n"));
    redis.restore();
    world.wait_equal().await?;
    until("it is ready", async || Ok(ensure!(mysync.get("/readyz")?.0 == 200))).await?;

    // One writer stops, the others go on.
    world.redis.ask::<()>(&["SET", "user:3", "theirs"])?;
    user(3).await?;
    let health = wait_healthy(&mysync, false).await?;
    ensure!(
        health.starts_with("unhealthy\nwriter users-cache/0: [REDIS_COMMAND_REFUSED] Redis refused HSET"),
        "{health}"
    );
    ensure!(health.lines().count() == 2 && mysync.get("/readyz")?.0 == 200, "{health}");
    let stopped = status_is(&world, 1)?;
    ensure!(stopped.starts_with("source shop: unhealthy\n"), "{stopped}");
    ensure!(stopped.contains("\nwriter users-cache/0: [REDIS_COMMAND_REFUSED] Redis refused HSET"), "{stopped}");
    let json = world.command(&["status", "--json"])?;
    let json: Value = serde_json::from_slice(&json.stdout)?;
    ensure!(json["healthy"] == false && json["reasons"][0]["code"] == "REDIS_COMMAND_REFUSED", "{json}");
    world.redis.ask::<()>(&["DEL", "user:3"])?;
    world.command_well(&["writer", "resume", "users-cache"])?;
    wait_healthy(&mysync, true).await?;

    // Capture stops.
    world.mysql.exec("SET SESSION binlog_format = 'STATEMENT'; UPDATE shop.users SET score = 1 WHERE id = 1").await?;
    let health = wait_healthy(&mysync, false).await?;
    ensure!(health.starts_with("unhealthy\ncapture: [SOURCE_STATEMENT] "), "{health}");
    ensure!(status_is(&world, 1)?.contains("\ncapture: [SOURCE_STATEMENT] "));
    ensure!(mysync.terminate().await?.success());
    status_is(&world, 2)?;
    ensure!(world.command(&["writer", "resume", "users-cache"])?.status.code() == Some(2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_move_by_exactly_what_was_written() -> Result<()> {
    let Some(world) = World::start("figures_move_by_exactly_what_was_written", Options::default()).await? else {
        return Ok(());
    };
    let proxy = through(&world, &Options::default())?;
    let mysync = world.mysync().await?;
    // A dump that still reads would count these rows once more.
    for writer in ["users-cache", "orders-cache", "bulk-cache"] {
        dumps::wait_of(&mysync, writer, "done").await?;
    }
    let read = || Exposition::parse(&mysync.metrics()?);
    for name in [
        "mysync_build_info",
        "mysync_capture_state",
        "mysync_log_bytes",
        "mysync_log_max_bytes",
        "mysync_log_oldest_seconds",
        "mysync_log_paused",
        "mysync_redis_commands_total",
        "mysync_redis_round_trip_seconds",
        "mysync_redis_sent_bytes_total",
        "mysync_writer_state",
    ] {
        until(name, async || Ok(ensure!(read()?.names().contains(name)))).await?;
    }
    let users = |ids: std::ops::Range<u32>| {
        let rows: Vec<String> = ids.map(|id| format!("({id}, 'User', NULL, 'Paris', 7)")).collect();
        format!("INSERT INTO shop.users VALUES {}", rows.join(", "))
    };
    /// What one transaction does to a writer: rows, and commands if they are known.
    type Moves = (f64, Option<f64>);
    let (none, mut byte_moves): (Moves, Vec<f64>) = ((0.0, None), Vec::new());
    let transactions: [(String, Moves, Moves); 6] = [
        (users(10..11), (1.0, None), none),
        (users(11..12), (1.0, None), none),
        (users(20..25), (5.0, None), none),
        ("INSERT INTO shop.orders VALUES (1, 1, 9.90, NULL), (2, 1, 9.90, NULL)".into(), none, (2.0, Some(2.0))),
        ("UPDATE shop.orders SET total = 1.00".into(), none, (2.0, Some(2.0))),
        ("BEGIN; DELETE FROM shop.orders; UPDATE shop.users SET score = 8; COMMIT".into(), (7.0, None), (2.0, None)),
    ];
    for (statement, on_users, on_orders) in transactions {
        let before = read()?;
        world.mysql.exec(&statement).await?;
        let applied = |after: &Exposition, labels: &[(&str, &str)], (rows, commands): Moves| {
            let moved = |name: &str| Ok::<f64, anyhow::Error>(after.value(name, labels)? - before.value(name, labels)?);
            let batches = if rows > 0.0 { 1.0 } else { 0.0 };
            for (name, expected) in [
                ("mysync_writer_rows_total", rows),
                ("mysync_writer_batches_total", batches),
                ("mysync_commit_to_store_seconds_count", rows),
                ("mysync_writer_errors_total", 0.0),
                ("mysync_writer_split_transactions_total", 0.0),
            ] {
                ensure!(moved(name)? == expected, "{statement}: {name} of {labels:?} moves by {}", moved(name)?);
            }
            let (bytes, seconds) = (moved("mysync_writer_bytes_total")?, moved("mysync_commit_to_store_seconds_sum")?);
            ensure!(
                (bytes > 0.0) == (rows > 0.0) && (seconds > 0.0) == (rows > 0.0),
                "{statement}: {bytes}, {seconds}"
            );
            if let Some(commands) = commands {
                let [writer, _] = labels else { return Ok(bytes) };
                let sent = |of: &Exposition| of.value("mysync_redis_commands_total", &[*writer]);
                ensure!(sent(after)? - sent(&before)? == commands, "{statement}: commands of {labels:?}");
            }
            Ok(bytes)
        };
        let bytes = until(&format!("all of it is counted: {statement}"), async || {
            let after = read()?;
            let captured =
                after.value("mysync_capture_rows_total", &[])? - before.value("mysync_capture_rows_total", &[])?;
            ensure!(captured == on_users.0 + on_orders.0, "{captured} rows captured");
            applied(&after, &ORDERS, on_orders)?;
            applied(&after, &USERS, on_users)
        })
        .await?;
        byte_moves.push(bytes);
    }
    ensure!(byte_moves[0] == byte_moves[1] && byte_moves[2] == 5.0 * byte_moves[0], "{byte_moves:?}");

    // A stop is one failure; the row that was refused counts once it is in effect.
    let before = read()?;
    world.redis.ask::<()>(&["SET", "order:9", "theirs", "KEEPTTL"])?;
    world.redis.ask::<()>(&["SET", "user:30", "theirs"])?;
    world.mysql.exec(&users(30..31)).await?;
    told::wait_writer(&mysync, "users-cache", "stopped", "REDIS_COMMAND_REFUSED").await?;
    let moved = |name: &str, labels: &[(&str, &str)]| {
        Ok::<f64, anyhow::Error>(read()?.value(name, labels)? - before.value(name, labels)?)
    };
    ensure!(
        moved("mysync_writer_errors_total", &USERS)? == 1.0 && moved("mysync_writer_errors_total", &ORDERS)? == 0.0
    );
    ensure!(moved("mysync_writer_rows_total", &USERS)? == 0.0 && moved("mysync_writer_batches_total", &USERS)? == 0.0);
    let state = |state| read()?.value("mysync_writer_state", &[USERS[0], USERS[1], ("state", state)]);
    ensure!(state("stopped")? == 1.0 && state("running")? == 0.0);
    world.redis.ask::<()>(&["DEL", "user:30", "order:9"])?;
    ensure!(mysync.post("/api/writers/users-cache/resume")?.0 == 204);
    world.wait_equal().await?;
    until("the row counts", async || Ok(ensure!(moved("mysync_writer_rows_total", &USERS)? == 1.0))).await?;
    ensure!(moved("mysync_commit_to_store_seconds_count", &USERS)? == 1.0);
    ensure!(moved("mysync_writer_errors_total", &USERS)? == 1.0 && state("running")? == 1.0);

    // So is each attempt while the store is away.
    proxy.refuse();
    told::wait_errors(|| told::writer(&mysync, "users-cache"), 1).await?;
    world.mysql.exec(&users(31..32)).await?;
    let retrying = told::wait_writer(&mysync, "users-cache", "retrying", AWAY).await?;
    let errors = read()?.value("mysync_writer_errors_total", &USERS)?;
    ensure!(errors >= told::count(&retrying, "errors") as f64 && state("retrying")? == 1.0, "{errors}: {retrying}");
    proxy.restore();
    world.wait_equal().await?;
    until("the row counts", async || Ok(ensure!(moved("mysync_writer_rows_total", &USERS)? == 2.0))).await?;
    ensure!(mysync.terminate().await?.success());
    Ok(())
}

/// One start of the program: warnings, capture and a writer that try again, one that stops, and the end. Answers all lines.
async fn eventful_run(world: &World, options: &Options, id: u32) -> Result<Vec<String>> {
    let mysql = Proxy::start(world.mysql.port)?;
    let proxy = through(world, &Options { mysql_port: Some(mysql.port), ..options.clone() })?;
    let mysync = world.mysync().await?;
    mysql.cut();
    told::wait_errors(|| told::capture(&mysync), 1).await?;
    let key = format!("user:{id}");
    world.redis.ask::<()>(&["SET", &key, "theirs"])?;
    proxy.refuse();
    world.mysql.exec(&format!("INSERT INTO shop.users VALUES ({id}, 'User', NULL, 'Paris', 7)")).await?;
    told::wait_writer(&mysync, "users-cache", "retrying", AWAY).await?;
    proxy.restore();
    told::wait_writer(&mysync, "users-cache", "stopped", "REDIS_COMMAND_REFUSED").await?;
    world.redis.ask::<()>(&["DEL", &key])?;
    ensure!(mysync.post("/api/writers/users-cache/resume")?.0 == 204);
    world.wait_equal().await?;
    let from = std::fs::metadata(world.dir().join("mysync.out"))?.len();
    mysync.ask_to_end()?;
    let text = until("it has said that it ended", async || {
        let text = std::fs::read_to_string(world.dir().join("mysync.out"))?;
        ensure!(text.get(from as usize..).is_some_and(|end| end.contains("mysync ended")), "{}", mysync.log());
        Ok(mysync.log())
    })
    .await?;
    ensure!(mysync.terminate().await?.success());
    Ok(text.lines().map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_are_for_machines_or_for_people_one_event_each() -> Result<()> {
    let test = "log_lines_are_for_machines_or_for_people_one_event_each";
    let Some(world) = World::start(test, Options::default()).await? else { return Ok(()) };
    let json = Options { more: "[telemetry]\nlog = \"json\"", ..Options::default() };
    let lines = eventful_run(&world, &json, 1).await?;
    let lines: Result<Vec<Value>> =
        lines.iter().map(|line| serde_json::from_str(line).with_context(|| line.clone())).collect();
    let lines = lines?;
    for line in &lines {
        let text = |field: &str| line[field].as_str().filter(|text| !text.is_empty()).with_context(|| line.to_string());
        ensure!(text("timestamp")?.ends_with('Z') && text("message").is_ok() && text("target").is_ok(), "{line}");
        let level = text("level")?;
        ensure!(["INFO", "WARN", "ERROR"].contains(&level), "{line}");
        // Whatever needs somebody has a code to look it up by.
        ensure!(level == "INFO" || text("code").is_ok(), "{line}");
    }
    let compiled = lines.iter().filter(|line| line["message"] == "component compiled").count();
    ensure!(compiled == 1, "three writers of one component have compiled it {compiled} times");
    let find = |level: &str, code: &str| {
        lines.iter().find(|line| line["level"] == level && line["code"] == code).with_context(|| format!("no {code}"))
    };
    let doubt = find("WARN", "SOURCE_SYNC_BINLOG")?;
    ensure!(doubt["cure"] == "SET PERSIST sync_binlog = 1;", "{doubt}");
    let retry = find("WARN", AWAY)?;
    ensure!(retry["writer"] == "users-cache" && retry["wait_ms"].is_u64(), "{retry}");
    let stop = find("ERROR", "REDIS_COMMAND_REFUSED")?;
    ensure!(
        stop["writer"] == "users-cache" && stop["message"].as_str().is_some_and(|m| m.contains("user:1")),
        "{stop}"
    );

    let lines = eventful_run(&world, &Options::default(), 2).await?;
    for line in &lines {
        let mut words = line.split_whitespace();
        let (time, level, message) = (words.next(), words.next(), words.next().unwrap_or_default());
        ensure!(time.is_some_and(|time| time.starts_with("20") && time.ends_with('Z')), "{line}");
        ensure!(level.is_some_and(|level| ["INFO", "WARN", "ERROR"].contains(&level)), "{line}");
        ensure!(!["INFO", "OK", "WARN", "ERROR", "FAIL"].contains(&message) && line.is_ascii(), "{line}");
        ensure!(!line.contains('\u{1b}') && !line.contains("Some(") && !line.contains("http"), "{line}");
    }
    let has = |words: &[&str]| lines.iter().any(|line| words.iter().all(|word| line.contains(word)));
    ensure!(has(&["WARN", "sync_binlog is", "code=\"SOURCE_SYNC_BINLOG\""]), "{lines:#?}");
    ensure!(
        has(&["WARN", "tries again: MySQL closed the connection", "code=\"SOURCE_CONNECTION_LOST\""]),
        "{lines:#?}"
    );
    ensure!(has(&["ERROR", "Redis refused HSET on key 'user:2'", "code=\"REDIS_COMMAND_REFUSED\""]), "{lines:#?}");
    Ok(())
}

/// Redis's own secret, in a file.
const TOKEN: &str = "tell/nobody:either@all";

/// What a secret looks like wherever it is shown: as it is, or made fit for a URL.
const SECRETS: [&str; 3] = [PASSWORD, TOKEN, "tell%2Fnobody%3Aeither%40all"];

/// Everything but how components are compiled.
const TRACE: &str =
    "[telemetry]\nlevel = \"trace,cranelift_codegen=info,cranelift_frontend=info,regalloc2=info,wasmtime=info\"\n";

fn gives_nothing_away(what: &str, told: &[u8]) -> Result<()> {
    let shown = SECRETS.iter().find(|secret| told.windows(secret.len()).any(|window| window == secret.as_bytes()));
    Ok(ensure!(shown.is_none(), "{what} gives {} away: {}", shown.unwrap_or(&""), said(told)))
}

fn files_give_nothing_away(dir: &Path) -> Result<usize> {
    let mut files = 0;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            files += files_give_nothing_away(&path)?;
        } else if path.extension().is_none_or(|extension| extension != "token") {
            gives_nothing_away(&path.display().to_string(), &std::fs::read(&path)?)?;
            files += 1;
        }
    }
    Ok(files)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_told_by_anything_even_where_logins_fail() -> Result<()> {
    let Some(world) = World::start("no_secret_is_told_by_anything_even_where_logins_fail", Options::default()).await?
    else {
        return Ok(());
    };
    let allow = |redis: &RedisServer, secret: &str| {
        redis.ask::<()>(&["ACL", "SETUSER", "app", "on", "resetpass", &format!(">{secret}"), "~*", "&*", "+@all"])
    };
    allow(&world.redis, TOKEN)?;
    std::fs::write(world.dir().join("redis.token"), format!("{TOKEN}\n"))?;
    let file = world.dir().join("mysync.toml");
    let text = std::fs::read_to_string(&file)?;
    let text = text.replace("redis://127", "redis://app:${file:redis.token}@127") + TRACE;
    std::fs::write(&file, &text)?;
    let looks = |mysync: &Mysync| {
        for page in ["/metrics", "/healthz", "/readyz", "/api/status"] {
            gives_nothing_away(page, mysync.get(page)?.1.as_bytes())?;
        }
        gives_nothing_away("what it says", mysync.log().as_bytes())
    };
    let commands = || {
        for arguments in
            [&["check"][..], &["status"], &["status", "--json"], &["log", "tail"], &["writer", "rewind", "x"]]
        {
            let Output { stdout, stderr, .. } = world.command(arguments)?;
            gives_nothing_away(&arguments.join(" "), &stdout)?;
            gives_nothing_away(&arguments.join(" "), &stderr)?;
        }
        Ok::<(), anyhow::Error>(())
    };
    let mysync = world.mysync().await?;
    world.mysql.exec("INSERT INTO shop.users VALUES (1, 'Ada', NULL, 'London', 1)").await?;
    world.wait_equal().await?;
    looks(&mysync)?;
    commands()?;

    // Both servers want something else from now on.
    allow(&world.redis, "another")?;
    world.redis.ask::<()>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])?;
    world.mysql.exec("INSERT INTO shop.users VALUES (2, 'Bob', NULL, 'London', 1)").await?;
    told::wait_writer(&mysync, "users-cache", "stopped", "REDIS_LOGIN").await?;
    world.mysql.exec("ALTER USER mysync@'127.0.0.1' IDENTIFIED BY 'another'").await?;
    let streams = "SELECT id, user FROM information_schema.processlist WHERE user = 'mysync'";
    for (id, _) in world.mysql.query::<(u64, String)>(streams).await? {
        world.mysql.exec(&format!("KILL {id}")).await?;
    }
    told::wait_capture(&mysync, "stopped", "SOURCE_ACCESS_DENIED").await?;
    looks(&mysync)?;
    commands()?;
    ensure!(mysync.terminate().await?.success());

    // A mistake beside a secret is told without it.
    let mistakes = [
        ("127.0.0.1:", "127.0.0.1:x"),
        ("mysql://", "mysq://"),
        ("redis://app:", "redis//app:"),
        ("/0\"", "/0?db=1\""),
        ("/0\"", "/zero\""),
        ("kind = \"redis\"", "kind = \"redis"),
        ("url = \"redis", "urls = \"redis"),
    ];
    for (good, wrong) in mistakes {
        std::fs::write(&file, text.replace(good, wrong))?;
        let Output { status, stdout, stderr } = world.command(&["check"])?;
        ensure!(
            status.code() == Some(2) && said(&stderr).starts_with("mysync: [CONFIG_"),
            "{wrong}: {}",
            said(&stderr)
        );
        gives_nothing_away(wrong, &stdout)?;
        gives_nothing_away(wrong, &stderr)?;
    }
    ensure!(files_give_nothing_away(world.dir())? > 5, "too few files were looked at");
    Ok(())
}

/// Sends one request as it stands, and answers the status.
fn request(address: &str, request: &str) -> Result<u16> {
    let mut stream = TcpStream::connect(address).with_context(|| address.to_owned())?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.with_context(|| format!("no HTTP: {answer}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_this_machine_is_told_or_commands_anything_unless_it_is_allowed_by_name() -> Result<()> {
    let test = "nobody_but_this_machine_is_told_or_commands_anything_unless_it_is_allowed_by_name";
    let Some(world) = World::start(test, Options::default()).await? else { return Ok(()) };
    let file = world.dir().join("mysync.toml");
    let text = std::fs::read_to_string(&file)?;
    let listening = |mysync: &Mysync| Ok::<String, anyhow::Error>(mysync.admin()?.replace("127.0.0.1", "127.0.0.2"));

    world.redis.ask::<()>(&["SET", "user:1", "theirs"])?;
    let mysync = world.mysync().await?;
    let address = mysync.admin()?;
    ensure!(TcpStream::connect(listening(&mysync)?).is_err(), "it listens on more than 127.0.0.1");
    world.mysql.exec("INSERT INTO shop.users VALUES (1, 'Ada', NULL, 'London', 1)").await?;
    told::wait_writer(&mysync, "users-cache", "stopped", "REDIS_COMMAND_REFUSED").await?;
    world.redis.ask::<()>(&["DEL", "user:1"])?;
    let resume = |headers: &str| {
        let head = "POST /api/writers/users-cache/resume HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n";
        request(&address, &format!("{head}{headers}\r\n\r\n"))
    };
    // A page of another site; one whose name has been made to lead here; one that hides where it is from.
    for headers in [
        &format!("Host: {address}\r\nOrigin: http://evil.example"),
        "Host: evil.example",
        "Host: evil.example:7070\r\nOrigin: http://evil.example:7070",
        &format!("Host: {address}\r\nOrigin: null"),
        "Host: 127.0.0.1.evil.example",
    ] {
        ensure!(resume(headers)? == 403, "{headers}");
        ensure!(told::writer(&mysync, "users-cache")?["state"] == "stopped", "{headers}");
    }
    // Nor is such a page told anything.
    for page in ["/metrics", "/healthz", "/readyz", "/api/status"] {
        let get = format!("GET {page} HTTP/1.1\r\nConnection: close\r\nHost: ");
        ensure!(request(&address, &format!("{get}evil.example\r\n\r\n"))? == 403, "{page}");
        ensure!(request(&address, &format!("{get}{address}\r\n\r\n"))? != 403, "{page}");
    }
    ensure!(request(&address, "GET /api/writers/users-cache/resume HTTP/1.0\r\n\r\n")? == 405);
    ensure!(request(&address, "POST /healthz HTTP/1.0\r\nContent-Length: 0\r\n\r\n")? == 405);
    let unknown = world.command(&["writer", "resume", "nobody"])?;
    let told = said(&unknown.stderr);
    ensure!(unknown.status.code() == Some(1) && told.contains("[WRITER_NOT_RESUMED]"), "{told}");
    ensure!(
        told.contains("[WRITER_UNKNOWN]") && told.contains("there is bulk-cache, orders-cache, users-cache"),
        "{told}"
    );
    for host in [&*address, "localhost:7070", "[::1]:7070"] {
        ensure!(resume(&format!("Host: {host}"))? == 204, "{host}");
    }
    world.wait_equal().await?;
    ensure!(mysync.terminate().await?.success());

    let port = free_port();
    let open = |admin: &str| {
        let (before, _) = text.split_once("[admin]").context("no [admin]")?;
        Ok::<(), anyhow::Error>(std::fs::write(&file, format!("{before}{admin}\n"))?)
    };
    open(&format!("[admin]\nlisten = \"0.0.0.0:{port}\""))?;
    let refused = world.command(&["run"])?;
    let told = said(&refused.stderr);
    ensure!(refused.status.code() == Some(2), "{}: {told}", refused.status);
    ensure!(told.contains("[CONFIG_VALUE]") && told.contains("allow_remote = true"), "{told}");
    open(&format!("[admin]\nlisten = \"0.0.0.0:{port}\"\nallow_remote = true"))?;
    let mysync = world.spawn()?;
    let get = "GET /healthz HTTP/1.1\r\nHost: db1.example\r\nConnection: close\r\n\r\n";
    until("others are told", async || Ok(ensure!(request(&format!("127.0.0.2:{port}"), get)? == 200))).await?;
    ensure!(mysync.terminate().await?.success());

    // Nothing is said of it: the usual place is of this machine, taken or not.
    open("")?;
    let mysync = world.spawn()?;
    until("it says where", async || Ok(ensure!(mysync.log().contains("127.0.0.1:7070"), "{}", mysync.log()))).await?;
    Ok(())
}
