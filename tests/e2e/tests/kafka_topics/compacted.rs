//! Topics with `cleanup = "compact"`: one message for each row under its key, where any client of Kafka finds it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mysync_change::rows::Operation;
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::told::{count, writer};
use mysync_e2e_tests::{Options, World, clusters, dumps, oracle, shop};
use mysync_test_support::{Kafka, Random, until};
use rdkafka::ClientConfig;
use rdkafka::message::ToBytes;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::scene::{allow, end, options, run, wait_equal};
use crate::topic::{ALLOWED, Row, compact, make, rows};

const PARTITIONS: i32 = 5;
const SEND_TIME: Duration = Duration::from_secs(30);

/// Where librdkafka sends each key when it is told to do as Java clients do.
async fn places(kafka: &Kafka, keys: &BTreeSet<Vec<u8>>) -> Result<HashMap<Vec<u8>, i32>> {
    const TOPIC: &str = "where-java-clients-send-keys";
    kafka.create_topic(TOPIC, PARTITIONS, 1, &[]).await?;
    let (brokers, sent) = (kafka.brokers(), keys.clone());
    tokio::task::spawn_blocking(move || {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("partitioner", "murmur2_random");
        let producer: BaseProducer = config.create()?;
        for key in &sent {
            producer.send(BaseRecord::to(TOPIC).key(key).payload("".to_bytes())).map_err(|(error, _)| error)?;
        }
        Ok::<_, anyhow::Error>(producer.flush(SEND_TIME)?)
    })
    .await??;
    let records = kafka.read(TOPIC).await?;
    records.into_iter().map(|record| Ok((record.message.key.context("no key")?, record.partition))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_stands_under_its_key_where_java_clients_look_for_it() -> Result<()> {
    let test = "each_row_stands_under_its_key_where_java_clients_look_for_it";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let options = options(&kafka, test, "partitions = 5\ncleanup = \"compact\"");
    let Some(world) = World::start(test, options).await? else { return Ok(()) };
    let mut random = Random::from_env();
    let mysync = run(&world, "run").await?;
    let mysql = &world.mysql;
    mysql.exec("INSERT INTO shop.orders VALUES (1000, 1, 1.00, 'stays'), (1001, 1, 1.00, 'moves'), (1002, 1, 1.00, 'goes')").await?;
    mysql.exec("UPDATE shop.orders SET id = 2001, note = 'moved' WHERE id = 1001").await?;
    mysql.exec("UPDATE shop.orders SET id = -2001 WHERE id = 2001; DELETE FROM shop.orders WHERE id = 1002").await?;
    let load = Load::start(mysql, &mut random, &[]);
    until("enough has happened", async || {
        let rows = count(&writer(&mysync, "bulk-cache")?, "rows");
        Ok(ensure!(rows > 1000, "{rows}"))
    })
    .await?;
    load.stop().await?;
    let entries = wait_equal(&world).await?;
    println!("{}; {entries} entries", oracle::compare(mysql, &kafka, world.log_on_kafka()?).await?);

    let rows = rows(&kafka, test).await?;
    let mut last: HashMap<(String, i64), &Row> = HashMap::new();
    for row in &rows {
        let (database, table, id) = row.names().with_context(|| format!("{row:?}"))?;
        ensure!(database == "shop", "{row:?}");
        let removes = matches!(row.operation, Operation::Delete | Operation::MoveOut);
        ensure!(row.is_tombstone == removes, "{row:?}");
        if let Some(before) = last.insert((table, id), row) {
            ensure!(before.partition == row.partition && before.seq < row.seq, "{before:?}, {row:?}");
        }
    }
    let kinds: Vec<usize> =
        [Operation::Insert, Operation::Update, Operation::Delete, Operation::MoveOut, Operation::MoveIn]
            .map(|operation| rows.iter().filter(|row| row.operation == operation).count())
            .to_vec();
    ensure!(kinds.iter().all(|count| *count > 0), "{kinds:?}");

    // What is under a key says whether the row is there.
    for table in ["users", "orders", "bulk", "visits"] {
        let there: BTreeSet<i64> = mysql.query(&format!("SELECT id FROM shop.{table}")).await?.into_iter().collect();
        let told = last.iter().filter(|((of, _), row)| of == table && !row.is_tombstone).map(|((_, id), _)| *id);
        ensure!(told.collect::<BTreeSet<_>>() == there, "{table}: {there:?}");
    }
    let keys: BTreeSet<Vec<u8>> = last.values().map(|row| row.key.clone()).collect();
    let places = places(&kafka, &keys).await?;
    for row in last.values() {
        ensure!(places.get(&row.key) == Some(&row.partition), "{row:?} belongs to {:?}", places.get(&row.key));
    }
    let used: BTreeSet<i32> = places.values().copied().collect();
    ensure!(used.len() == PARTITIONS as usize, "{used:?}");
    println!(
        "{} messages under {} keys: {kinds:?} inserts, updates, deletes, moves out and in",
        rows.len(),
        keys.len()
    );
    end(mysync).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_into_a_compacted_topic_leaves_one_message_of_each_row() -> Result<()> {
    let test = "a_dump_into_a_compacted_topic_leaves_one_message_of_each_row";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let writers = vec![("users-cache", shop::USERS), ("orders-cache", shop::ORDERS), ("bulk-cache", shop::BULK)];
    let options = options(&kafka, test, "partitions = 2\ncleanup = \"compact\"\nretention = \"1m\"");
    let Some(world) = World::start(test, Options { writers, ..options }).await? else { return Ok(()) };
    make(&kafka, test, 2).await?;
    allow(world.dir(), &ALLOWED)?;
    shop::fill(&world.mysql, &[("users", 300), ("orders", 300), ("bulk", 2000)]).await?;
    let mut random = Random::from_env();
    let load = Load::start(&world.mysql, &mut random, &[]);
    let mysync = run(&world, "run").await?;
    for writer in ["users-cache", "orders-cache", "bulk-cache"] {
        dumps::wait_of(&mysync, writer, "done").await?;
    }
    load.stop().await?;
    wait_equal(&world).await?;
    compact(&world, &kafka, test).await?;
    let rows = rows(&kafka, test).await?;
    let dumped = rows.iter().filter(|row| row.operation == Operation::Read).count();
    println!("{dumped} rows of the dump are left of {}", rows.len());
    println!("{} entries", wait_equal(&world).await?);
    end(mysync).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_writer_of_a_compacted_log_begins_with_a_dump_whatever_its_mapping() -> Result<()> {
    let test = "the_first_writer_of_a_compacted_log_begins_with_a_dump_whatever_its_mapping";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let writers = vec![("users-cache", shop::USERS), ("orders-cache", shop::ORDERS), ("bulk-cache", shop::BULK)];
    let options = options(&kafka, test, "partitions = 8\ncleanup = \"compact\"");
    let Some(world) = World::start(test, Options { writers, ..options }).await? else { return Ok(()) };
    // Nothing is in the log before the dumps; in some partition their rows are there before the writer looks how far the log goes.
    shop::fill(&world.mysql, &[("users", 3000), ("orders", 300), ("bulk", 300)]).await?;
    let mysync = run(&world, "run").await?;
    println!("{} entries", wait_equal(&world).await?);
    end(mysync).await
}
