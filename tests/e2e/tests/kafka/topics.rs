//! What others do to the topics: foreign bytes, another number of partitions, limits, deletion. Each is told clearly, and loses nothing.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use mysync_change::envelope;
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::shop::BULK;
use mysync_e2e_tests::told::{capture, wait_capture, wait_rows, wait_writer, writer};
use mysync_e2e_tests::{OnKafka, Options, World, clusters, shop};
use mysync_test_support::{Kafka, Message, Random, until};
use serde_json::Value;

use crate::crew::{Worker, in_partitions, options, wait_through, well, well_in_partitions};

/// Several writers would only say the same.
fn one_writer(kafka: &Kafka, test: &str) -> Options {
    Options { writers: vec![("bulk-cache", shop::without_dump(BULK))], ..options(kafka, test) }
}

fn message(value: &[u8]) -> Message {
    Message { value: Some(value.to_vec()), ..Message::default() }
}

/// Starts it, and it does not start.
async fn refused(world: &World, half: &'static str) -> Result<String> {
    let mut worker = Worker::new(world, half)?;
    worker.restart(world)?;
    worker.wait_refused().await
}

fn words(told: &Value) -> &str {
    told["message"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_bytes_stop_a_writer_until_they_are_allowed() -> Result<()> {
    let test = "foreign_bytes_stop_a_writer_until_they_are_allowed";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let options = one_writer(&kafka, test);
    let Some(world) = World::start(test, options.clone()).await? else { return Ok(()) };
    let mut worker = Worker::start(&world, "run").await?;
    wait_through(&world).await?;
    let offset = kafka.offsets(test).await?.first().context("no partition")?.1;
    kafka.produce(test, 0, vec![message(b"who knows?"), message(b"")]).await?;
    world.mysql.exec("INSERT INTO shop.bulk VALUES (1, 1, 'c', '')").await?;
    let told = wait_writer(worker.process()?, "bulk-cache", "stopped", "KAFKA_FOREIGN_RECORD").await?;
    ensure!(words(&told).contains(&format!("offset {offset}")) && words(&told).contains("foreign.records"), "{told}");
    let value: Option<String> = world.redis.ask(&["HGET", "bulk:1", "c"])?;
    ensure!(value.is_none(), "what stands behind it was written");
    worker.end_stopped().await?;
    let mut on = world.log_on_kafka()?.clone();
    on.allow.push("foreign.records");
    world.reconfigure(&Options { kafka: Some(on), ..options })?;
    let mut worker = Worker::start(&world, "run").await?;
    wait_through(&world).await?;
    world.wait_equal().await?;
    worker.end().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_a_later_release_stops_a_writer_before_it() -> Result<()> {
    let test = "a_record_of_a_later_release_stops_a_writer_before_it";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, one_writer(&kafka, test)).await? else { return Ok(()) };
    let mut worker = Worker::start(&world, "run").await?;
    wait_through(&world).await?;
    let mut later = kafka.read(test).await?.pop().and_then(|record| record.message.value).context("no record")?;
    later[4] = envelope::VERSION + 1;
    kafka.produce(test, 0, vec![message(&later)]).await?;
    world.mysql.exec("INSERT INTO shop.bulk VALUES (1, 1, 'c', '')").await?;
    let told = wait_writer(worker.process()?, "bulk-cache", "stopped", "RECORD_VERSION").await?;
    ensure!(words(&told).contains("use the release that wrote it"), "{told}");
    worker.end().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_partitions_is_refused_until_it_is_set_back() -> Result<()> {
    let test = "another_number_of_partitions_is_refused_until_it_is_set_back";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let options = one_writer(&kafka, test);
    let Some(world) = World::start(test, options.clone()).await? else { return Ok(()) };
    let mut worker = Worker::start(&world, "run").await?;
    wait_through(&world).await?;
    worker.end().await?;
    world.reconfigure(&Options { log: "partitions = 3", ..options.clone() })?;
    for half in ["run", "capture", "deliver"] {
        let said = refused(&world, half).await?;
        ensure!(said.contains("KAFKA_ROUTING") && said.contains("Set back what was changed"), "{said}");
    }
    world.reconfigure(&options)?;
    worker.restart(&world)?;
    wait_through(&world).await?;
    println!("{}", well(&world, &kafka).await?);
    worker.end().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_somebody_made_with_other_partitions_is_refused() -> Result<()> {
    let test = "a_topic_that_somebody_made_with_other_partitions_is_refused";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, one_writer(&kafka, test)).await? else { return Ok(()) };
    kafka.create_topic(test, 2, 1, &[]).await?;
    let said = refused(&world, "run").await?;
    ensure!(said.contains("KAFKA_ROUTING") && said.contains("2 partitions"), "{said}");
    Ok(())
}

/// What the writers of a process do in each of its partitions.
fn at_work(worker: &Worker) -> Result<BTreeMap<(String, u64), String>> {
    let status = worker.process()?.status()?;
    let writers = status["writers"].as_array().context("no writers")?.iter();
    writers
        .map(|told| {
            let (name, partition) = (told["writer"].as_str(), told["partition"].as_u64());
            let place = (name.context("no name")?.to_owned(), partition.context("no partition")?);
            Ok((
                place,
                format!("{} {}", told["state"].as_str().unwrap_or_default(), told["code"].as_str().unwrap_or_default()),
            ))
        })
        .collect()
}

/// No key of the log ever lies in one of them, whatever somebody else writes there.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_while_it_runs_are_none_of_the_log() -> Result<()> {
    let test = "partitions_that_are_added_while_it_runs_are_none_of_the_log";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let options = in_partitions(&kafka, test);
    let Some(world) = World::start(test, options.clone()).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let mut source = Worker::start(&world, "capture").await?;
    let mut delivers = [Worker::start(&world, "deliver").await?, Worker::start(&world, "deliver").await?];
    wait_through(&world).await?;
    let load = Load::start(&world.mysql, &mut random, &[]);
    kafka.add_partitions(test, 5).await?;
    wait_rows(|| capture(source.process()?), 100).await?;
    // The group shares out anew all that are there.
    delivers[0].end().await?;
    let own: BTreeSet<(String, u64)> =
        options.writers.iter().flat_map(|(name, _)| (0..3).map(|partition| ((*name).to_owned(), partition))).collect();
    let alone = || async {
        until("one process delivers all that the log has, and nothing else", async || {
            let works = at_work(&delivers[1])?;
            ensure!(works.values().all(|state| state == "running "), "{works:?}");
            Ok(ensure!(works.keys().eq(&own), "{works:?}"))
        })
        .await
    };
    alone().await?;
    wait_rows(|| capture(source.process()?), 100).await?;
    wait_through(&world).await?;
    load.stop().await?;
    println!("{}", well_in_partitions(&world, &kafka).await?);
    kafka.produce(test, 4, vec![message(b"who knows?")]).await?;
    wait_through(&world).await?;
    alone().await?;
    world.wait_equal().await?;
    source.end().await?;
    delivers[1].end().await?;

    for half in ["run", "capture", "deliver"] {
        let said = refused(&world, half).await?;
        let told = ["KAFKA_ROUTING", "5 partitions", "another prefix", "mysync writer rebase"];
        ensure!(told.iter().all(|word| said.contains(word)), "{said}");
    }
    let mut on = world.log_on_kafka()?.clone();
    on.prefix.push_str(".anew");
    world.reconfigure(&Options { kafka: Some(on), ..options.clone() })?;
    let mut anew = Worker::start(&world, "run").await?;
    for (name, _) in &options.writers {
        wait_writer(anew.process()?, name, "stopped", "LOG_REPLACED").await?;
        world.command_well(&["writer", "rebase", name])?;
    }
    wait_through(&world).await?;
    world.wait_equal().await?;
    anew.end().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_topic_does_not_take_stops_capture_until_the_limit_is_raised() -> Result<()> {
    let test = "a_row_that_the_topic_does_not_take_stops_capture_until_the_limit_is_raised";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, options(&kafka, test)).await? else { return Ok(()) };
    world.mysql.exec("ALTER TABLE shop.orders MODIFY note LONGTEXT").await?;
    // The broker's own default.
    kafka.create_topic(test, 1, 1, &[("max.message.bytes", "1048588")]).await?;
    let mut worker = Worker::start(&world, "run").await?;
    wait_through(&world).await?;
    world.mysql.exec("INSERT INTO shop.orders VALUES (1, 1, 1.00, REPEAT('n', 2000000))").await?;
    world.mysql.exec("INSERT INTO shop.orders VALUES (2, 1, 1.00, 'behind it')").await?;
    let told = wait_capture(worker.process()?, "stopped", "KAFKA_RECORD_TOO_LARGE").await?;
    ensure!(words(&told).contains("max.message.bytes") && words(&told).contains("1048588"), "{told}");
    worker.end_stopped().await?;
    // As long as nothing has changed it stops at the same row.
    worker.restart(&world)?;
    wait_capture(worker.process()?, "stopped", "KAFKA_RECORD_TOO_LARGE").await?;
    worker.end_stopped().await?;
    kafka.alter_topic(test, &[("max.message.bytes", "8388608")]).await?;
    worker.restart(&world)?;
    wait_through(&world).await?;
    println!("{}", well(&world, &kafka).await?);
    worker.end().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changes_of_a_topic_in_use_is_told_by_its_name() -> Result<()> {
    let test = "what_somebody_changes_of_a_topic_in_use_is_told_by_its_name";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, one_writer(&kafka, test)).await? else { return Ok(()) };
    let mut worker = Worker::start(&world, "run").await?;
    wait_through(&world).await?;
    // It takes nothing without a key from here on.
    kafka.alter_topic(test, &[("cleanup.policy", "compact")]).await?;
    world.mysql.exec("INSERT INTO shop.bulk VALUES (1, 1, 'c', '')").await?;
    let told = wait_capture(worker.process()?, "stopped", "KAFKA_SETTING").await?;
    ensure!(words(&told).contains("cleanup.policy=compact"), "{told}");
    worker.end_stopped().await?;
    kafka.alter_topic(test, &[("cleanup.policy", "delete")]).await?;
    worker.restart(&world)?;
    wait_through(&world).await?;
    world.wait_equal().await?;
    worker.end().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_topic_that_is_made_anew_under_a_leader_is_told() -> Result<()> {
    let test = "a_control_topic_that_is_made_anew_under_a_leader_is_told";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, one_writer(&kafka, test)).await? else { return Ok(()) };
    let mut worker = Worker::start(&world, "run").await?;
    wait_through(&world).await?;
    let control = world.log_on_kafka()?.control();
    kafka.delete_topic(&control).await?;
    kafka.create_topic(&control, 1, 1, &[("cleanup.policy", "compact"), ("max.message.bytes", "8388608")]).await?;
    wait_capture(worker.process()?, "stopped", "KAFKA_CONTROL_LOST").await?;
    worker.end_stopped().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_of_one_source_alone() -> Result<()> {
    let test = "a_log_is_of_one_source_alone";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, one_writer(&kafka, test)).await? else { return Ok(()) };
    let mut worker = Worker::start(&world, "run").await?;
    wait_through(&world).await?;
    let file = world.dir().join("mysync.toml");
    let other = std::fs::read_to_string(&file)?.replace("name = \"shop\"", "name = \"store\"");
    std::fs::write(file, other)?;
    for half in ["capture", "deliver"] {
        let said = refused(&world, half).await?;
        ensure!(said.contains("[KAFKA_SOURCE]") && said.contains("source shop"), "{half}: {said}");
    }
    worker.end().await?;
    Ok(())
}

/// Its template makes names for tables that the other's topics have already.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_begins_beside_another_one_whose_topics_are_called_alike() -> Result<()> {
    let test = "a_log_begins_beside_another_one_whose_topics_are_called_alike";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let by_table = Options { log: "topic = \"{prefix}-{database}-{table}\"", ..one_writer(&kafka, test) };
    let there = OnKafka::new(&kafka, &format!("{test}-eu"));
    let Some(other) = World::start(test, Options { kafka: Some(there), ..by_table.clone() }).await? else {
        return Ok(());
    };
    let Some(world) = World::start(test, by_table).await? else { return Ok(()) };
    for world in [&other, &world] {
        let mut worker = Worker::start(world, "run").await?;
        world.mysql.exec("INSERT INTO shop.bulk VALUES (1, 1, 'c', '')").await?;
        wait_through(world).await?;
        world.wait_equal().await?;
        worker.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_that_was_deleted_is_not_made_anew() -> Result<()> {
    let test = "a_compacted_topic_that_was_deleted_is_not_made_anew";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let options = Options { log: "cleanup = \"compact\"", ..one_writer(&kafka, test) };
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    let mut worker = Worker::start(&world, "run").await?;
    world.mysql.exec("INSERT INTO shop.bulk VALUES (1, 1, 'c', '')").await?;
    wait_through(&world).await?;
    worker.end().await?;
    kafka.delete_topic(test).await?;
    for half in ["deliver", "run"] {
        let said = refused(&world, half).await?;
        ensure!(said.contains("[KAFKA_TOPIC_MISSING]") && said.contains(test), "{half}: {said}");
    }
    ensure!(kafka.offsets(test).await.is_err(), "it was made anew");
    // As it says.
    for topic in [world.log_on_kafka()?.control(), format!("{test}.orders")] {
        kafka.delete_topic(&topic).await?;
    }
    worker.restart(&world)?;
    worker.wait_state("running").await?;
    wait_writer(worker.process()?, "bulk-cache", "stopped", "LOG_REPLACED").await?;
    world.command_well(&["writer", "rebase", "bulk-cache", "--to", "end"])?;
    world.command_well_in(worker.dir(), &["dump", "--writer", "bulk-cache"])?;
    wait_through(&world).await?;
    world.wait_equal().await?;
    worker.end().await?;
    Ok(())
}

/// Its writer has read everything until then, so it misses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_while_it_is_used_is_made_anew_by_a_restart() -> Result<()> {
    let test = "a_topic_that_is_deleted_while_it_is_used_is_made_anew_by_a_restart";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, one_writer(&kafka, test)).await? else { return Ok(()) };
    let mut worker = Worker::start(&world, "run").await?;
    wait_through(&world).await?;
    kafka.delete_topic(test).await?;
    world.mysql.exec("INSERT INTO shop.bulk VALUES (1, 1, 'c', '')").await?;
    wait_capture(worker.process()?, "stopped", "KAFKA_TOPIC_GONE").await?;
    worker.end_stopped().await?;
    worker.restart(&world)?;
    wait_through(&world).await?;
    world.wait_equal().await?;
    worker.end().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_stops_that_had_not_read_all_of_a_topic_that_was_deleted() -> Result<()> {
    let test = "a_writer_stops_that_had_not_read_all_of_a_topic_that_was_deleted";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, one_writer(&kafka, test)).await? else { return Ok(()) };
    let mut source = Worker::start(&world, "capture").await?;
    let mut deliver = Worker::start(&world, "deliver").await?;
    wait_through(&world).await?;
    deliver.end().await?;
    world.mysql.exec("INSERT INTO shop.bulk VALUES (1, 1, 'c', '')").await?;
    wait_rows(|| capture(source.process()?), 1).await?;
    source.end().await?;
    kafka.delete_topic(test).await?;
    source.restart(&world)?;
    source.wait_ready().await?;
    source.wait_state("running").await?;
    world.mysql.exec("INSERT INTO shop.bulk VALUES (2, 1, 'c', '')").await?;
    deliver.restart(&world)?;
    let told = until("the writer stops", async || {
        let told = writer(deliver.process()?, "bulk-cache")?;
        ensure!(told["state"] == "stopped", "{told}");
        Ok(told)
    })
    .await?;
    println!("{} {}", told["code"], told["message"]);
    ensure!(words(&told).contains("mysync writer"), "it does not say how to go on: {told}");
    let value: Option<String> = world.redis.ask(&["HGET", "bulk:2", "c"])?;
    ensure!(value.is_none(), "what stands behind the hole was written");
    source.end().await?;
    deliver.end_stopped().await
}
