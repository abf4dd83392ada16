//! A topic for each table: made with its first row, delivered by whoever has writers for it, and the same after any crash.

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::told::wait_capture;
use mysync_e2e_tests::{OnKafka, Options, World, clusters, shop};
use mysync_test_support::{Kafka, Message, Mysync, Random, until};
use serde_json::Value;
use tempfile::TempDir;

use crate::crew::{Worker, leader, options, wait_through, well_in_partitions};

/// What the names of the tables are in those of topics.
const SHOP: [&str; 4] = ["users", "orders", "bulk", "visits"];
const ODD: &str = "odd-2d-name-20--e9-";

fn topic_of(test: &str, table: &str) -> String {
    format!("{test}-shop-{table}")
}

fn by_table<'t>(kafka: &Kafka, test: &str, log: &'static str, tables: impl IntoIterator<Item = &'t str>) -> Options {
    let of_tables = tables.into_iter().map(|table| topic_of(test, table));
    let topics = [test.to_owned()].into_iter().chain(of_tables).collect();
    let kafka_log = OnKafka { topics, ..OnKafka::new(kafka, test) };
    Options { log, kafka: Some(kafka_log), ..options(kafka, test) }
}

const TWO_EACH: &str = "partitions = 2\ntopic = \"{prefix}-{database}-{table}\"";
const COMPACT: &str = "cleanup = \"compact\"";
const ONE_EACH: &str = "topic = \"{prefix}-{database}-{table}\"";

#[tokio::test(flavor = "multi_thread")]
async fn each_table_has_a_topic_of_its_own_through_kills_of_any_process() -> Result<()> {
    let test = "each_table_has_a_topic_of_its_own_through_kills_of_any_process";
    each_table_has_its_topic(test, TWO_EACH, shop::without_dumps()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_table_has_a_compacted_topic_of_its_own_through_kills_of_any_process() -> Result<()> {
    let test = "each_table_has_a_compacted_topic_of_its_own_through_kills_of_any_process";
    // Sets by city are no business of a writer that only knows what a row is now.
    let mut writers = shop::without_dumps();
    writers[0] = ("users-cache", shop::USERS);
    each_table_has_its_topic(test, format!("{TWO_EACH}\n{COMPACT}").leak(), writers).await
}

async fn each_table_has_its_topic(
    test: &str,
    log: &'static str,
    writers: Vec<(&'static str, &'static str)>,
) -> Result<()> {
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let tables = SHOP.into_iter().chain([ODD]);
    let options = Options { writers, ..by_table(&kafka, test, log, tables.clone()) };
    let Some(world) = World::start(test, options.clone()).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let mut workers = vec![Worker::start(&world, "run").await?, Worker::new(&world, "run")?];
    workers[1].restart(&world)?;
    let mut delivers = Worker::start(&world, "deliver").await?;
    // Before the first row of a table nobody knows of its topic.
    let load = Load::start(&world.mysql, &mut random, &[]);
    for round in 0..4 {
        wait_through(&world).await?;
        let leads = leader(&workers).await?;
        if round % 2 == 0 {
            workers[leads].restart(&world)?;
        } else {
            delivers.restart(&world)?;
        }
    }
    // A name that no topic can have as it is.
    world
        .mysql
        .exec("CREATE TABLE shop.`odd-name é` (id INT PRIMARY KEY); INSERT INTO shop.`odd-name é` VALUES (1)")
        .await?;
    wait_through(&world).await?;
    load.stop().await?;
    println!("{}", well_in_partitions(&world, &kafka).await?);
    for table in tables {
        let ends = kafka.committed_ends(&topic_of(test, table)).await?;
        ensure!(ends.len() == 2 && ends.iter().any(|end| *end > 0), "{table}: {ends:?}");
    }

    let checked = world.command_well(&["check"])?;
    ensure!(checked.contains("FENCE"), "{checked}");
    // Those of other tables are not its business.
    let moved = world.command_well(&["writer", "rewind", "orders-cache"])?;
    ensure!(moved.matches("writer orders-cache, partition ").count() == 3, "{moved}");
    wait_through(&world).await?;
    println!("{}", well_in_partitions(&world, &kafka).await?);
    for worker in workers.iter_mut().chain([&mut delivers]) {
        worker.end().await?;
    }

    let other = Options { log: "partitions = 2\ntopic = \"{prefix}.{database}.{table}\"", ..options.clone() };
    for other in [other, Options { log: "partitions = 2", ..options.clone() }] {
        world.reconfigure(&other)?;
        let refused = world.command(&["check"])?;
        let said = String::from_utf8_lossy(&refused.stdout).into_owned() + &String::from_utf8_lossy(&refused.stderr);
        ensure!(said.contains("KAFKA_ROUTING") && refused.status.code() == Some(1), "{said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_gets_its_first_row_late_is_delivered_by_who_waits_for_it() -> Result<()> {
    let test = "a_table_that_gets_its_first_row_late_is_delivered_by_who_waits_for_it";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let options = Options { writers: shop::with_dumps(), ..by_table(&kafka, test, ONE_EACH, SHOP) };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    shop::fill(&world.mysql, &[("users", 500), ("orders", 500), ("bulk", 500)]).await?;
    let mut captures = Worker::start(&world, "capture").await?;
    let mut delivers = [Worker::start(&world, "deliver").await?, Worker::start(&world, "deliver").await?];
    println!("{} entries", world.wait_loaded().await?);
    until("the dumps have brought three tables", async || {
        let mut ends = Vec::new();
        for table in ["users", "orders", "bulk"] {
            ends.extend(kafka.committed_ends(&topic_of(test, table)).await?);
        }
        Ok(ensure!(ends.len() == 3 && ends.iter().all(|end| *end > 0), "{ends:?}"))
    })
    .await?;

    let watched = TempDir::new()?;
    let watcher = Mysync::spawn(Mysync::command(world.dir(), &["log", "tail", "--follow"])?, watched.path())?;
    let sees = async |row: &str| {
        until("whoever follows the log sees a row", async || Ok(ensure!(watcher.log().contains(row), "not {row}")))
            .await
    };
    sees("shop.bulk read +{id: 500, ").await?;

    world.mysql.exec("INSERT INTO shop.visits VALUES (1, 'Paris', 1), (2, 'Rome', 1), (3, 'Paris', 2)").await?;
    println!("{} entries", world.wait_equal().await?);
    sees("shop.visits insert +{id: 3, ").await?;
    watcher.kill();
    captures.restart(&world)?;
    wait_through(&world).await?;
    world.mysql.exec("INSERT INTO shop.visits VALUES (4, 'Paris', 3)").await?;
    println!("{} entries", world.wait_equal().await?);
    captures.end().await?;
    for delivers in &mut delivers {
        delivers.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_topic_would_be_one_of_the_logs_own_is_a_stop() -> Result<()> {
    let test = "a_table_whose_topic_would_be_one_of_the_logs_own_is_a_stop";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let usual = options(&kafka, "shop");
    let options = Options { log: "topic = \"{database}.{table}\"", writers: shop::without_dumps(), ..usual };
    let Some(world) = World::start(test, options.clone()).await? else { return Ok(()) };
    let mut worker = Worker::start(&world, "run").await?;
    wait_through(&world).await?;
    world.mysql.exec("INSERT INTO shop.orders VALUES (1, 1, 9.90, NULL)").await?;
    let told = wait_capture(worker.process()?, "stopped", "KAFKA_TOPIC_NAME").await?;
    let said = told["message"].as_str().unwrap_or_default().to_owned();
    ensure!(said.contains("table shop.orders") && said.contains("shop.orders, which is another topic"), "{said}");
    worker.end_stopped().await?;

    world.reconfigure(&Options { source: "exclude = [\"shop.orders\"]", ..options })?;
    let mut worker = Worker::start(&world, "run").await?;
    wait_through(&world).await?;
    worker.end().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_tables_as_wholes_stops_their_writers_in_their_topics() -> Result<()> {
    let test = "what_happens_to_tables_as_wholes_stops_their_writers_in_their_topics";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let writers =
        vec![("users-cache", shop::without_dump(shop::USERS)), ("bulk-cache", shop::without_dump(shop::BULK))];
    let Some(world) = World::start(test, Options { writers, ..by_table(&kafka, test, ONE_EACH, SHOP) }).await? else {
        return Ok(());
    };
    let mut worker = Worker::start(&world, "run").await?;
    wait_through(&world).await?;
    world.mysql.exec("INSERT INTO shop.users VALUES (1, 'One', NULL, 'Paris', 1)").await?;
    until("the user is there", async || Ok(ensure!(world.redis.ask::<bool>(&["EXISTS", "user:1"])?))).await?;

    world.mysql.exec("TRUNCATE shop.users; INSERT INTO shop.users VALUES (2, 'Two', NULL, 'Paris', 1)").await?;
    let told = wait_part(&worker, "users-cache", "TABLE_TRUNCATED").await?;
    ensure!(!world.redis.ask::<bool>(&["EXISTS", "user:2"])?, "it went on behind it: {told}");
    wait_through(&world).await?;
    world.mysql.exec("DROP DATABASE shop").await?;
    wait_part(&worker, "bulk-cache", "TABLE_DROPPED").await?;
    worker.end_stopped().await
}

/// Waits until a partition of a writer has stopped for a reason.
async fn wait_part(worker: &Worker, writer: &str, code: &str) -> Result<Value> {
    until(&format!("{writer} has stopped, {code}"), async || {
        let status = worker.process()?.status()?;
        let parts = status["writers"].as_array().context("no writers")?;
        let stopped = parts.iter().find(|part| part["writer"] == writer && part["code"] == code);
        stopped.cloned().with_context(|| format!("{parts:?}"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_resumed_with_more_tables_takes_part_in_their_topics() -> Result<()> {
    let test = "a_writer_that_is_resumed_with_more_tables_takes_part_in_their_topics";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let writers = vec![("bulk-cache", shop::without_dump(shop::BULK))];
    let Some(world) = World::start(test, Options { writers, ..by_table(&kafka, test, ONE_EACH, SHOP) }).await? else {
        return Ok(());
    };
    let mut worker = Worker::start(&world, "run").await?;
    wait_through(&world).await?;
    world.mysql.exec("INSERT INTO shop.orders VALUES (1, 1, 9.90, NULL)").await?;
    wait_through(&world).await?;
    let more = shop::without_dump(shop::BULK).replace("\"shop.bulk\"]", "\"shop.bulk\", \"shop.orders\"]")
        + "\n[[map]]\ntable = \"shop.orders\"\nas = \"string\"\nkey = \"order:{id}\"\nvalue = \"json\"\n";
    world.write_writer("bulk-cache", &more)?;
    // Each process reads the file for itself.
    std::fs::copy(world.team().join("bulk-cache.toml"), worker.dir().join("plugins/shop-team/bulk-cache.toml"))?;
    ensure!(worker.process()?.post("/api/writers/bulk-cache/resume")?.0 == 204);
    until("the order is there", async || Ok(ensure!(world.redis.ask::<bool>(&["EXISTS", "order:1"])?))).await?;
    worker.end().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_holds_something_else_is_not_taken_for_a_table() -> Result<()> {
    let test = "a_topic_that_holds_something_else_is_not_taken_for_a_table";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let options = Options { writers: shop::without_dumps(), ..by_table(&kafka, test, ONE_EACH, SHOP) };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    let theirs = topic_of(test, "orders");
    let week = [("cleanup.policy", "delete"), ("retention.ms", "604800000"), ("max.message.bytes", "8388608")];
    kafka.create_topic(&theirs, 1, 1, &week).await?;
    kafka.produce(&theirs, 0, vec![Message { value: Some(b"theirs".to_vec()), ..Message::default() }]).await?;
    let mut worker = Worker::start(&world, "run").await?;
    wait_through(&world).await?;
    world.mysql.exec("INSERT INTO shop.orders VALUES (1, 1, 9.90, NULL)").await?;
    let told = wait_capture(worker.process()?, "stopped", "KAFKA_TOPIC_NAME").await?;
    ensure!(told["message"].as_str().is_some_and(|said| said.contains("none of this log")), "{told}");
    worker.end_stopped().await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_in_the_place_of_the_one_it_began_with_has_other_numbers() -> Result<()> {
    let test = "another_log_in_the_place_of_the_one_it_began_with_has_other_numbers";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let writers = vec![
        ("bulk-cache", shop::without_dump(shop::BULK)),
        ("users-cache", shop::USERS),
        ("orders-cache", shop::without_dump(shop::ORDERS)),
    ];
    let Some(world) = World::start(test, Options { writers, ..by_table(&kafka, test, ONE_EACH, SHOP) }).await? else {
        return Ok(());
    };
    let is_there = async |key: &str| {
        until(&format!("{key} is there"), async || Ok(ensure!(world.redis.ask::<bool>(&["EXISTS", key])?))).await
    };
    let mut captures = Worker::start(&world, "capture").await?;
    let mut delivers = Worker::start(&world, "deliver").await?;
    wait_through(&world).await?;
    world.mysql.exec("INSERT INTO shop.users VALUES (1, 'One', NULL, 'Paris', 1)").await?;
    is_there("user:1").await?;
    captures.end().await?;
    let own = [test.to_owned(), format!("{test}.control"), format!("{test}.orders")];
    for topic in own.into_iter().chain(["bulk", "users"].map(|table| topic_of(test, table))) {
        kafka.delete_topic(&topic).await?;
    }
    let mut captures = Worker::start(&world, "capture").await?;
    wait_part(&delivers, "bulk-cache", "KAFKA_RENUMBERED").await?;
    delivers.end_stopped().await?;

    // The tables have no topics yet, and get the same numbers as in the former log.
    for (writer, partition) in [("users-cache", 1), ("bulk-cache", 2)] {
        world.command_well(&["writer", "rebase", writer, "--to", "start"])?;
        let left = format!("mysync:fence:{{shop/{writer}/{partition}}}");
        ensure!(world.redis.ask::<bool>(&["EXISTS", &left])?, "{writer} has no fence in partition {partition}");
    }
    for (table, row) in [("users", "(2, 'Two', NULL, 'Paris', 1)"), ("bulk", "(1, 1, 'c', 'p')")] {
        world.mysql.exec(&format!("REPLACE INTO shop.{table} VALUES {row}")).await?;
        until("the table has its topic again", async || {
            let ends = kafka.committed_ends(&topic_of(test, table)).await?;
            Ok(ensure!(ends.iter().any(|end| *end > 0), "{ends:?}"))
        })
        .await?;
    }
    let checked = String::from_utf8_lossy(&world.command(&["check"])?.stdout).into_owned();
    ensure!(
        checked.matches("LOG_REPLACED").count() == 1 && checked.contains("for writer orders-cache from"),
        "{checked}"
    );
    world.command_well(&["writer", "rewind", "bulk-cache", "--to", "start"])?;
    let mut delivers = Worker::start(&world, "deliver").await?;
    is_there("user:2").await?;
    wait_through(&world).await?;

    // Who was not rebased is in the former log, though it has written nothing there from a table's topic.
    world.mysql.exec("INSERT INTO shop.orders VALUES (1, 1, 9.90, NULL)").await?;
    until("every partition of it has stopped", async || {
        let status = delivers.process()?.status()?;
        let parts = status["writers"].as_array().context("no writers")?;
        let parts: Vec<_> = parts.iter().filter(|part| part["writer"] == "orders-cache").collect();
        ensure!(parts.len() == 2 && parts.iter().all(|part| part["code"] == "LOG_REPLACED"), "{parts:?}");
        Ok(())
    })
    .await?;
    ensure!(!world.redis.ask::<bool>(&["EXISTS", "order:1"])?);
    world.command_well(&["writer", "rebase", "orders-cache", "--to", "start"])?;
    is_there("order:1").await?;
    println!("{} entries", world.wait_equal().await?);
    delivers.end().await?;
    captures.end().await?;
    Ok(())
}
