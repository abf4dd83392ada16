//! `cargo x demo`: a shop in MySQL, kept equal in Redis. Rows that are there before, changes, a look at both sides, the time that a change takes,
//! a bulk load, a kill. With `--kafka` the log is on Kafka, and several processes share the work: see [`kafka`].
//!
//! Ends with 0 only if every row compares equal. With `--keep` everything goes on running for play, until Ctrl-C.

mod kafka;

use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mysql_async::prelude::Queryable;
use mysync_e2e_tests::figures::Times;
use mysync_e2e_tests::subscriber::Subscriber;
use mysync_e2e_tests::world::PASSWORD;
use mysync_e2e_tests::{Options, World, dumps, rows, shop, show};
use mysync_test_support::{Home, Mysql, Mysync, until};
use tokio::signal::unix::{SignalKind, signal};

/// What the shop holds before anything follows it, and what the day brings.
const MORNING: [&str; 2] = [
    "INSERT INTO shop.users VALUES (1, 'Ada', 'ada@example.org', 'London', 7), (2, 'Émile', NULL, 'Paris', -3), \
     (3, 'Grace', 'grace@example.org', 'New York', 0)",
    "INSERT INTO shop.orders VALUES (10, 1, 19.90, 'gift \"wrapped\"'), (11, 2, 0.01, NULL)",
];
const EVENING: [&str; 4] = [
    "UPDATE shop.users SET city = 'Paris', score = score + 1 WHERE id = 1",
    "UPDATE shop.users SET id = 30, name = 'Grace Hopper' WHERE id = 3",
    "DELETE FROM shop.orders WHERE id = 10",
    "UPDATE shop.orders SET note = 'paid' WHERE id = 11",
];
/// Keys whose rows are gone by then.
const GONE: [&str; 2] = ["user:3", "order:10"];

const TIMED_COMMITS: u32 = 500;
const LOAD_ROWS: u32 = 50_000;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = arguments.iter().find(|argument| !["--keep", "--kafka"].contains(&argument.as_str())) {
        bail!("the demo knows --keep and --kafka, and not \"{unknown}\"");
    }
    let [keep, kafka] = ["--keep", "--kafka"].map(|known| arguments.iter().any(|argument| argument == known));
    say(&format!("demo, built with {}", profile()));
    tokio::select! {
        // First, because it may be what waits for Ctrl-C.
        biased;
        done = play(kafka, keep) => done.map(|()| ExitCode::SUCCESS),
        () = interrupted() => {
            say("interrupted: everything that was started has ended");
            Ok(ExitCode::from(130))
        }
    }
}

async fn play(kafka: bool, keep: bool) -> Result<()> {
    if kafka { kafka::demo(keep).await } else { demo(keep).await }
}

async fn demo(keep: bool) -> Result<()> {
    let world = servers(Options::default()).await?;
    show_configuration(&world)?;
    change(&world, &MORNING).await?;
    let mut mysync = start(&world).await?;
    first_load(&world, &mysync).await?;
    change(&world, &EVENING).await?;
    world.wait_equal().await?;
    print!("{}", show::side_by_side(&world, &GONE).await?);
    latency(&world, &mysync).await?;
    bulk_load(&world).await?;
    mysync = kill_in_a_load(&world, mysync).await?;
    say(&format!(
        "compared: each of {} entries is what MySQL says, and there are no others",
        world.wait_equal().await?
    ));
    if keep {
        show_what_to_try(&world, &mysync)?;
        interrupted().await;
    }
    ensure!(mysync.terminate().await?.success(), "mysync did not end well");
    say("mysync was asked to end, and ended well");
    Ok(())
}

/// A MySQL and a Redis of the demo's own, with the shop in MySQL. Without an installed MySQL: a running one that may be changed at will.
async fn servers(options: Options) -> Result<World> {
    let (mysql, of) = match Home::newest()? {
        Some(home) => (Mysql::start(&home, &[])?, home.name()),
        None => {
            let mysql = Mysql::given()?.context("there is no MySQL: `cargo x demo` brings one")?;
            // An earlier demo's.
            mysql.exec("DROP DATABASE IF EXISTS shop; DROP USER IF EXISTS mysync@'127.0.0.1'").await?;
            (mysql, "a given MySQL".to_owned())
        }
    };
    let writers = vec![("users-cache", shop::USERS), ("orders-cache", shop::ORDERS), ("bulk-cache", shop::BULK)];
    let world = World::with(mysql, Options { writers, ..options }).await?;
    say(&format!("{of} runs on 127.0.0.1:{}, Redis on 127.0.0.1:{}", world.mysql.port, world.redis.port));
    Ok(world)
}

/// The main file, and one of the writers.
fn show_configuration(world: &World) -> Result<()> {
    for file in ["mysync.toml", "plugins/shop-team/users-cache.toml"] {
        say(&format!("{file}:"));
        let text = std::fs::read_to_string(world.dir().join(file))?;
        for line in text.lines().filter(|line| !line.is_empty()) {
            println!("{}    {line}", if line.starts_with('[') { "\n" } else { "" });
        }
        println!();
    }
    Ok(())
}

async fn start(world: &World) -> Result<Mysync> {
    let started = Instant::now();
    let mysync = world.mysync().await?;
    say(&format!("mysync run: process {}, ready after {:.1} s", mysync.id(), started.elapsed().as_secs_f64()));
    Ok(mysync)
}

async fn change(world: &World, statements: &[&str]) -> Result<()> {
    for statement in statements {
        say(statement);
        world.mysql.exec(statement).await?;
    }
    Ok(())
}

/// New writers begin with the rows that are there.
async fn first_load(world: &World, mysync: &Mysync) -> Result<()> {
    dumps::wait_over(mysync).await?;
    let rows: u64 = dumps::all(mysync)?.iter().filter_map(|dump| dump["rows"].as_u64()).sum();
    say(&format!("first load: {rows} rows that were there before, by a dump for each writer"));
    world.wait_equal().await?;
    print!("{}", show::side_by_side(world, &[]).await?);
    Ok(())
}

/// Single commits, each timed from its acknowledgement to what Redis tells a subscriber.
async fn latency(world: &World, mysync: &Mysync) -> Result<()> {
    timed_commits(world).await?;
    let status = mysync.status()?;
    let writers = status["writers"].as_array().context("a status has writers")?;
    let users =
        writers.iter().find(|writer| writer["writer"] == "users-cache").context("the writer of users is there")?;
    let millis = |name: &str| users[name].as_f64().unwrap_or_default() * 1e3;
    let (p50, p99) = (millis("commit_to_store_p50_seconds"), millis("commit_to_store_p99_seconds"));
    say(&format!("commit to store by mysync's own histogram (bounds of its buckets): p50 ≤ {p50} ms, p99 ≤ {p99} ms"));
    Ok(())
}

async fn timed_commits(world: &World) -> Result<()> {
    let subscriber = Subscriber::start(&world.redis, "user:*")?;
    let mut conn = world.mysql.conn().await?;
    let mut times = Vec::new();
    for _ in 0..TIMED_COMMITS {
        conn.query_drop("UPDATE shop.users SET score = score + 1 WHERE id = 1").await?;
        let committed = Instant::now();
        times.push(subscriber.seen("user:1")?.saturating_duration_since(committed));
    }
    conn.disconnect().await?;
    let times = Times::new(times);
    let [p50, p99] = [500, 990].map(|thousandths| times.quantile(thousandths).as_secs_f64() * 1e3);
    say(&format!(
        "commit to store, {TIMED_COMMITS} single commits: p50 {p50:.2} ms, p99 {p99:.2} ms, as a subscriber of Redis sees it"
    ));
    Ok(())
}

async fn bulk_load(world: &World) -> Result<()> {
    let started = Instant::now();
    rows::insert(&mut world.mysql.conn().await?, 1..=LOAD_ROWS).await?;
    let committed = started.elapsed();
    wait_for_row(world, LOAD_ROWS).await?;
    let seconds = started.elapsed().as_secs_f64();
    let per_second = f64::from(LOAD_ROWS) / seconds;
    let committed = committed.as_secs_f64();
    say(&format!(
        "bulk load: {LOAD_ROWS} rows committed in {committed:.2} s, in Redis after {seconds:.2} s: {per_second:.0} rows/s"
    ));
    Ok(())
}

/// Ends mysync like a power cut while rows arrive, and starts it again when they have.
async fn kill_in_a_load(world: &World, mysync: Mysync) -> Result<Mysync> {
    let mut conn = world.mysql.conn().await?;
    let load = tokio::spawn(async move { rows::insert(&mut conn, LOAD_ROWS + 1..=2 * LOAD_ROWS).await });
    wait_for_row(world, LOAD_ROWS + LOAD_ROWS / 4).await?;
    mysync.kill();
    say(&format!("kill -9 in the middle of another load: Redis has {} rows of it", entries(world)? - LOAD_ROWS));
    load.await??;
    let started = Instant::now();
    let mysync = start(world).await?;
    let compared = world.wait_equal().await?;
    let seconds = started.elapsed().as_secs_f64();
    say(&format!(
        "the load is committed, mysync is back, and {compared} entries are equal {seconds:.2} s after its start"
    ));
    Ok(mysync)
}

async fn wait_for_row(world: &World, id: u32) -> Result<()> {
    let mut redis = world.redis.conn()?;
    let key = format!("bulk:{id}");
    until("the load is in Redis", async || {
        let there: bool = redis::cmd("EXISTS").arg(&key).query(&mut redis)?;
        ensure!(there, "{key} is not there");
        Ok(())
    })
    .await
}

/// Entries of loaded rows.
fn entries(world: &World) -> Result<u32> {
    let keys: Vec<String> = world.redis.ask(&["KEYS", "bulk:*"])?;
    Ok(u32::try_from(keys.len())?)
}

fn show_what_to_try(world: &World, mysync: &Mysync) -> Result<()> {
    let program = Mysync::command(world.dir(), &[])?.get_program().display().to_string();
    let (admin, config) = (mysync.admin()?, world.dir().join("mysync.toml"));
    let (mysql, redis, config) = (world.mysql.port, world.redis.port, config.display());
    say("everything keeps running; in another terminal:");
    println!("    mysql -h 127.0.0.1 -P {mysql} -u root shop      UPDATE users SET city = 'Rome' WHERE id = 2;");
    println!("    redis-cli -p {redis} hgetall user:2");
    println!("    redis-cli -p {redis} smembers users:by-city:Rome");
    println!("    {program} status --admin {admin}");
    println!("    MYSYNC_PASSWORD={PASSWORD} {program} log tail --follow --config {config}");
    println!("    curl http://{admin}/metrics");
    say("Ctrl-C ends it all");
    Ok(())
}

async fn interrupted() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// This program and `mysync` are built together.
fn profile() -> &'static str {
    if cfg!(debug_assertions) { "the dev profile: fast to build, slow to run" } else { "the release profile" }
}

fn say(what: &str) {
    static STARTED: OnceLock<Instant> = OnceLock::new();
    let elapsed: Duration = STARTED.get_or_init(Instant::now).elapsed();
    println!("[{:5.1} s] {what}", elapsed.as_secs_f64());
}
