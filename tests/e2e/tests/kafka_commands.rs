//! The commands beside the program that runs, with the log on Kafka: nothing is moved by looking, and writers are moved wherever they run.
#![allow(clippy::unit_arg, reason = "`ensure!` has a value of its own")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::{Machine, OnKafka, Options, World, clusters, shop};
use mysync_test_support::{Kafka, Mysync, until, until_within};
use serde_json::Value;

/// A deliverer that is idle looks every three seconds; one that has stopped does, too.
const FOLLOWS: Duration = Duration::from_secs(20);

fn options(kafka: &Kafka, test: &str) -> Options {
    let (writers, log) = (shop::without_dumps(), "partitions = 3");
    Options { writers, log, kafka: Some(OnKafka::new(kafka, test)), ..Options::default() }
}

/// Every record in the log.
fn records(world: &World) -> Result<Vec<Value>> {
    let said = world.command_well(&["log", "tail", "--json"])?;
    said.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

async fn start(machine: &Machine, world: &World, half: &str) -> Result<Mysync> {
    let mut mysync = world.spawn_half(machine.dir(), half)?;
    mysync.wait_ready().await?;
    Ok(mysync)
}

/// A process that captures and two that deliver, each on a machine of its own.
async fn three(world: &World) -> Result<[(Machine, Mysync); 3]> {
    let mut running = Vec::new();
    for half in ["capture", "deliver", "deliver"] {
        let machine = Machine::new(world)?;
        let mysync = start(&machine, world, half).await?;
        running.push((machine, mysync));
    }
    running.try_into().ok().context("three were started")
}

/// Both deliver: each has a partition at least of this writer.
async fn shared(delivering: &[(Machine, Mysync)], writer: &str) -> Result<()> {
    let count = |mysync: &Mysync| -> Result<usize> {
        let status = mysync.status()?;
        let writers = status["writers"].as_array().context("no writers")?;
        Ok(writers.iter().filter(|of| of["writer"] == writer && of["state"] == "running").count())
    };
    until_within(FOLLOWS, "two processes share the partitions", async || {
        let counts: Vec<usize> = delivering.iter().map(|(_, mysync)| count(mysync)).collect::<Result<_>>()?;
        Ok(ensure!(counts.iter().sum::<usize>() == 3 && counts.iter().all(|count| *count > 0), "{counts:?}"))
    })
    .await
}

async fn bulk(world: &World, ids: std::ops::RangeInclusive<u32>) -> Result<()> {
    for id in ids {
        world.mysql.exec(&format!("INSERT INTO shop.bulk VALUES ({id}, 0, 'c', '')")).await?;
    }
    Ok(())
}

fn remove(world: &World, ids: std::ops::RangeInclusive<u32>) -> Result<()> {
    for id in ids {
        let removed: u32 = world.redis.ask(&["DEL", &format!("bulk:{id}")])?;
        ensure!(removed == 1, "bulk:{id} was not there");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_makes_no_topic_and_joins_no_group() -> Result<()> {
    let test = "a_check_makes_no_topic_and_joins_no_group";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, options(&kafka, test)).await? else { return Ok(()) };
    let said = world.command_well(&["check"])?;
    println!("{said}");
    for expected in ["KAFKA_CLUSTER", "holds no log yet", "a start makes what is missing", "allowed by log.allow"] {
        ensure!(said.contains(expected), "{expected}: {said}");
    }
    for topic in ["", ".control", ".orders"] {
        ensure!(kafka.leaders(&format!("{test}{topic}")).await.is_err(), "{test}{topic} was made");
    }
    let tail = world.command(&["log", "tail"])?;
    ensure!(String::from_utf8_lossy(&tail.stderr).contains("[KAFKA_LOG_ABSENT]"), "{tail:?}");

    let [capture, delivering @ ..] = three(&world).await?;
    bulk(&world, 1..=9).await?;
    world.wait_equal().await?;
    shared(&delivering, "bulk-cache").await?;
    let group = format!("{test}.writer.bulk-cache");
    let said = world.command_well(&["check"])?;
    println!("{said}");
    ensure!(
        said.contains("capture has come to") && said.matches("writer bulk-cache has come to seq").count() == 3,
        "{said}"
    );
    let members = kafka.group_members(&group).await?;
    ensure!(members == Some(2), "{members:?} members deliver, and two did before");
    let status = world.command_well(&["status", "--admin", &delivering[0].1.admin()?])?;
    println!("{status}");
    let leader = format!(":{}", capture.1.id());
    ensure!(status.contains("this process delivers only") && status.contains(&leader), "{leader}: {status}");

    // What was allowed by name is refused without it; a log without its records is none.
    let text = std::fs::read_to_string(world.dir().join("mysync.toml"))?;
    let strict = text.replace("allow = [\"replication.factor\"]\n", "");
    std::fs::write(world.dir().join("mysync.toml"), strict)?;
    let refused = world.command(&["check"])?;
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    ensure!(refused.status.code() == Some(1) && said.contains("adds \"replication.factor\" to log.allow"), "{said}");
    std::fs::write(world.dir().join("mysync.toml"), text)?;
    for (_, mysync) in [capture].into_iter().chain(delivering) {
        ensure!(mysync.terminate().await?.success());
    }
    world.redis.ask::<()>(&["FLUSHALL"])?;
    let emptied = world.command(&["check"])?;
    let said = String::from_utf8_lossy(&emptied.stdout).into_owned();
    ensure!(said.contains("STORE_EMPTIED") && said.contains("mysync writer rewind bulk-cache"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_is_moved_is_followed_wherever_its_partition_is_delivered() -> Result<()> {
    let test = "a_fence_that_is_moved_is_followed_wherever_its_partition_is_delivered";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, options(&kafka, test)).await? else { return Ok(()) };
    let [capture, delivering @ ..] = three(&world).await?;
    shared(&delivering, "bulk-cache").await?;
    bulk(&world, 1..=30).await?;
    world.wait_equal().await?;
    let records = records(&world)?;
    ensure!(records.len() == 30 && records.is_sorted_by_key(|record| record["seq"].as_u64()), "{records:?}");
    println!("{}", records[0]);
    let id = |record: &Value| record["after"]["id"].as_str().and_then(|id| id.parse::<u32>().ok());
    ensure!(records.iter().map(id).eq((1..=30).map(Some)), "{records:?}");
    let equal = async |what: &str| world.wait_equal().await.map(|_| println!("{what}")).context(what.to_owned());
    let rewind =
        |to: &str| world.command_well(&["writer", "rewind", "bulk-cache", "--to", to]).inspect(|said| print!("{said}"));

    // Nothing happens meanwhile: every deliverer is idle.
    remove(&world, 1..=30)?;
    rewind("start")?;
    equal("from the start").await?;
    remove(&world, 20..=30)?;
    let since = records[19]["committed"].as_str().context("no time")?;
    rewind(since)?;
    equal("from a time").await?;
    let later = records[25..].iter().map(id).collect::<Vec<_>>();
    let partition = records[25]["partition"].as_u64().context("no partition")?;
    remove(&world, 26..=26)?;
    let at = format!("{partition}@{}", records[25]["offset"]);
    let said = rewind(&at)?;
    ensure!(said.matches("stays where it is").count() == 2, "{later:?}: {said}");
    equal("from an offset").await?;
    let before =
        records[..25].iter().rev().find(|record| record["partition"] == partition).context("it is the first")?;
    remove(&world, 26..=26)?;
    rewind(&before["seq"].to_string())?;
    equal("from behind a record").await?;

    for (to, code) in [
        ("2100-01-01T00:00:00Z", "TIME_UNKNOWN"),
        ("9@0", "OFFSET_UNKNOWN"),
        ("0@1000000", "OFFSET_UNKNOWN"),
        ("7", "SEQ_UNKNOWN"),
    ] {
        let refused = world.command(&["writer", "rewind", "bulk-cache", "--to", to])?;
        ensure!(String::from_utf8_lossy(&refused.stderr).contains(&format!("[{code}]")), "{to}: {refused:?}");
    }

    // Under load, again and again: whoever writes meanwhile gives way, and nobody puts an old place back.
    for round in 1..=3_u32 {
        let ids = round * 100..=round * 100 + 60;
        let (loaded, rewound) = tokio::join!(bulk(&world, ids), async { rewind("start") });
        loaded?;
        rewound?;
        equal("under load").await?;
    }

    // What has stopped is started by it, without anybody being told where.
    world.redis.ask::<()>(&["FLUSHALL"])?;
    bulk(&world, 31..=60).await?;
    until("every partition has stopped", async || {
        let stopped = |(_, mysync): &(Machine, Mysync)| -> Result<usize> {
            let status = mysync.status()?;
            let writers = status["writers"].as_array().context("no writers")?;
            Ok(writers.iter().filter(|of| of["writer"] == "bulk-cache" && of["code"] == "STORE_EMPTIED").count())
        };
        let count = delivering.iter().map(stopped).sum::<Result<usize>>()?;
        Ok(ensure!(count == 3, "{count}"))
    })
    .await?;
    rewind("start")?;
    equal("a store that was emptied").await?;
    for (_, mysync) in [capture].into_iter().chain(delivering) {
        ensure!(mysync.terminate().await?.success());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_service_replays_the_log_while_others_go_on() -> Result<()> {
    let test = "a_new_service_replays_the_log_while_others_go_on";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, options(&kafka, test)).await? else { return Ok(()) };
    let [capture, delivering @ ..] = three(&world).await?;
    bulk(&world, 1..=100).await?;
    world.wait_equal().await?;
    // Only the new one can bring these back: the others have passed them.
    remove(&world, 1..=100)?;
    world.write_writer("bulk-service", shop::without_dump(shop::BULK))?;
    let machine = Machine::new(&world)?;
    let (loaded, service) = tokio::join!(bulk(&world, 101..=200), start(&machine, &world, "deliver"));
    loaded?;
    world.wait_equal().await?;
    let service = service?;
    let status = service.status()?;
    let writers = status["writers"].as_array().context("no writers")?;
    let replayed: u64 =
        writers.iter().filter(|of| of["writer"] == "bulk-service").filter_map(|of| of["rows"].as_u64()).sum();
    ensure!(replayed >= 200, "{status}");
    for (_, mysync) in [capture].into_iter().chain(delivering).chain([(machine, service)]) {
        ensure!(mysync.terminate().await?.success());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_keys_is_shown_with_what_was_deleted_and_followed() -> Result<()> {
    let test = "a_log_of_keys_is_shown_with_what_was_deleted_and_followed";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let log = "partitions = 3\ncleanup = \"compact\"\nretention = \"1h\"";
    let Some(world) = World::start(test, Options { log, ..options(&kafka, test) }).await? else { return Ok(()) };
    let machine = Machine::new(&world)?;
    let mysync = start(&machine, &world, "run").await?;
    let output = tempfile::TempDir::new()?;
    let follower = Mysync::spawn(Mysync::command(world.dir(), &["log", "tail", "-f", "--json"])?, output.path())?;
    bulk(&world, 1..=10).await?;
    world.mysql.exec("UPDATE shop.bulk SET c = 'é' WHERE id = 3; DELETE FROM shop.bulk WHERE id = 4").await?;
    world.mysql.exec("INSERT INTO shop.orders VALUES (9007199254740993, 1, 1.50, NULL)").await?;
    world.wait_equal().await?;
    let records = records(&world)?;
    let rows = records.iter().filter(|record| record["table"] == "bulk" || record["table"] == "orders");
    let shown: Vec<String> = rows
        .map(|record| {
            format!(
                "{} {}",
                record["operation"],
                if record["after"].is_null() { &record["before"]["id"] } else { &record["after"]["id"] }
            )
        })
        .collect();
    ensure!(
        shown.len() == 13 && shown[10..] == ["\"update\" \"3\"", "\"delete\" \"4\"", "\"insert\" \"9007199254740993\""],
        "{shown:?}"
    );
    ensure!(records.iter().any(|record| record["before"]["c"] == "c" && record["after"]["c"] == "é"), "{records:?}");
    ensure!(
        records.iter().any(|record| record["after"]["total"] == "1.50" && record["after"]["note"].is_null()),
        "{records:?}"
    );
    until("the follower has seen all of it", async || {
        let said = follower.log();
        let seqs: Vec<u64> = said
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|record| record["seq"].as_u64())
            .collect();
        Ok(ensure!(records.iter().all(|record| seqs.contains(&record["seq"].as_u64().unwrap_or(0))), "{said}"))
    })
    .await?;
    follower.kill();
    let text = world.command_well(&["log", "tail"])?;
    let at = format!(" {}@{} ", records[0]["partition"], records[0]["offset"]);
    ensure!(text.lines().next().is_some_and(|line| line.contains(&at)), "{at}: {text}");

    remove(&world, 1..=2)?;
    println!("{}", world.command_well(&["writer", "rewind", "bulk-cache"])?);
    world.wait_equal().await?;
    println!("{}", world.command_well(&["check"])?);
    ensure!(mysync.terminate().await?.success());
    Ok(())
}
