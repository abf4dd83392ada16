//! Worlds with their log on Kafka, and the processes that run on them.

use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::world::PATIENCE;
use mysync_e2e_tests::{OnKafka, Options, World, shop};
use mysync_test_support::{Kafka, Mysync, until, until_within};
use serde_json::Value;

/// Rows of `shop.bulk` that no load touches, enough for each of a few partitions to hold some.
const MARKS: std::ops::Range<i32> = 1_000_000..1_000_012;

/// The shop's writers, each of which begins with what the log holds.
pub fn options(kafka: &Kafka, test: &str, log: &'static str) -> Options {
    Options { writers: shop::without_dumps(), log, kafka: Some(OnKafka::new(kafka, test)), ..Options::default() }
}

/// Puts these writers in the place of those that there are.
pub fn replace_writers(world: &World, writers: &[(String, &str)]) -> Result<()> {
    for file in std::fs::read_dir(world.team())? {
        let file = file?.path();
        if file.extension().is_some_and(|end| end == "toml") {
            std::fs::remove_file(file)?;
        }
    }
    writers.iter().try_for_each(|(name, text)| world.write_writer(name, text))
}

/// Allows these settings by name, beside what is allowed already.
pub fn allow(dir: &Path, names: &[&str]) -> Result<()> {
    const LIST: &str = "allow = [";
    let file = dir.join("mysync.toml");
    let text = std::fs::read_to_string(&file)?;
    ensure!(text.contains(LIST), "{text}");
    let names: String = names.iter().map(|name| format!("\"{name}\", ")).collect();
    Ok(std::fs::write(file, text.replacen(LIST, &format!("{LIST}{names}"), 1))?)
}

/// Starts the program in the world's own folder, where its commands find it; returns once it captures.
pub async fn run(world: &World, half: &str) -> Result<Mysync> {
    let mut mysync = world.spawn_half(world.dir(), half)?;
    mysync.wait_ready().await?;
    until("it captures", async || {
        let status = mysync.status()?;
        Ok(ensure!(status["capture"]["state"] == "running", "{}", status["capture"]))
    })
    .await?;
    Ok(mysync)
}

/// Starts half of the program on a folder of its own. Once it says that it is ready, its writers have begun.
pub async fn start(world: &World, dir: &Path, half: &str) -> Result<Mysync> {
    let mut mysync = world.spawn_half(dir, half)?;
    mysync.wait_ready().await?;
    let status = mysync.status()?;
    ensure!(status["writers"].as_array().is_some_and(|writers| !writers.is_empty()), "{status}");
    Ok(mysync)
}

pub async fn end(mysync: Mysync) -> Result<()> {
    let status = mysync.terminate().await?;
    Ok(ensure!(status.success(), "it ended with {status}"))
}

/// The program does not start: it ends with 1 or 2. Answers what it says.
pub async fn refused(world: &World, half: &str) -> Result<String> {
    let mut mysync = world.spawn_half(world.dir(), half)?;
    let status = mysync.wait_exit().await?;
    let said = mysync.log();
    ensure!(matches!(status.code(), Some(1 | 2)), "it ended with {status}: {said}");
    Ok(said)
}

/// Writes to every partition.
pub async fn mark(world: &World) -> Result<i32> {
    static TURN: AtomicI32 = AtomicI32::new(1);
    let turn = TURN.fetch_add(1, Relaxed);
    let rows: Vec<String> = MARKS.map(|id| format!("({id}, {turn}, '', '')")).collect();
    world.mysql.exec(&format!("REPLACE INTO shop.bulk VALUES {}", rows.join(", "))).await?;
    Ok(turn)
}

/// Waits until what was just written to MySQL is in the log, in each partition.
pub async fn wait_in_log(world: &World, kafka: &Kafka, topic: &str) -> Result<()> {
    let before = kafka.committed_ends(topic).await?;
    mark(world).await?;
    until("the log has it", async || {
        let now = kafka.committed_ends(topic).await?;
        Ok(ensure!(now.iter().zip(&before).all(|(now, before)| now > before), "{before:?} has become {now:?}"))
    })
    .await
    .with_context(|| world.complaints())
}

/// Waits until a transaction of now is in Redis: everything goes on.
pub async fn wait_through(world: &World) -> Result<()> {
    let turn = mark(world).await?;
    until_within(PATIENCE, "a change goes through", async || {
        for id in MARKS {
            let now: Option<i32> = world.redis.ask(&["HGET", &format!("bulk:{id}"), "k"])?;
            ensure!(now == Some(turn), "{now:?} is seen instead of {turn}");
        }
        Ok(())
    })
    .await
    .with_context(|| world.complaints())
}

/// Redis equals MySQL in what keeps its order over several partitions.
pub async fn wait_equal(world: &World) -> Result<usize> {
    world.mysql.exec("DELETE FROM shop.visits").await?;
    world.wait_equal().await
}

/// One writer's part of the status, partition by partition.
pub fn parts(mysync: &Mysync, writer: &str) -> Result<Vec<Value>> {
    let status = mysync.status()?;
    let writers = status["writers"].as_array().context("no writers")?;
    Ok(writers.iter().filter(|part| part["writer"] == writer).cloned().collect())
}

/// Waits until so many partitions of a writer have stopped for a reason, and answers what one of them says.
pub async fn wait_stopped(mysync: &Mysync, writer: &str, code: &str, partitions: usize) -> Result<String> {
    let what = format!("{partitions} partitions of {writer} have stopped, {code}");
    let stopped = until(&what, async || {
        let parts = parts(mysync, writer)?;
        let stopped: Vec<Value> =
            parts.iter().filter(|part| part["state"] == "stopped" && part["code"] == code).cloned().collect();
        ensure!(stopped.len() == partitions, "{parts:?}");
        Ok(stopped)
    })
    .await?;
    let message = stopped.first().and_then(|part| part["message"].as_str()).unwrap_or_default();
    ensure!(!message.contains("  "), "it is not said well: {message:?}");
    Ok(message.to_owned())
}
