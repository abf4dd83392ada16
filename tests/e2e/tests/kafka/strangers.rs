//! Brokers that demand a name and a password, and give rights.

use anyhow::{Result, ensure};
use mysync_e2e_tests::told::capture;
use mysync_e2e_tests::{OnKafka, Options, World, clusters};
use mysync_test_support::{Kafka, KafkaPlan, Operation, Resource, until};

use crate::crew::{Worker, options, wait_through, well};

const USER: &str = "mysync";
const PASSWORD: &str = "tell-no-broker";
const RIGHTS: [Resource<'_>; 4] =
    [Resource::Topic(PREFIX), Resource::Group(PREFIX), Resource::Transactions(PREFIX), Resource::Cluster];
const PREFIX: &str = "prod.shop";

/// The log is behind the listener that demands TLS and a password.
fn secured(kafka: &Kafka, ca: &std::path::Path, password: &str) -> Result<Options> {
    let lines = format!(
        "[log.tls]\nca = \"{}\"\n[log.sasl]\nmechanism = \"scram-sha-512\"\nuser = \"{USER}\"\npassword = \"{password}\"",
        ca.display()
    );
    let on = OnKafka { brokers: kafka.secure()?.brokers.clone(), ..OnKafka::new(kafka, PREFIX) };
    Ok(Options { log: lines.leak(), kafka: Some(on), ..options(kafka, PREFIX) })
}

async fn refused(world: &World) -> Result<String> {
    let mut worker = Worker::new(world, "run")?;
    worker.restart(world)?;
    let said = worker.wait_refused().await?;
    ensure!(!said.contains(PASSWORD), "the password is in what it says: {said}");
    Ok(said)
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_a_password_let_it_in_and_nothing_else_does() -> Result<()> {
    let test = "tls_and_a_password_let_it_in_and_nothing_else_does";
    let Some(kafka) = clusters::own(test, KafkaPlan::new(1).users(&[(USER, PASSWORD)]).rights())? else {
        return Ok(());
    };
    let secure = kafka.secure()?;
    let good = secured(&kafka, &secure.authority, PASSWORD)?;
    let Some(world) = World::start(test, good.clone()).await? else { return Ok(()) };

    world.reconfigure(&secured(&kafka, &secure.authority, "guessed")?)?;
    let said = refused(&world).await?;
    ensure!(said.contains("KAFKA_DENIED") && said.contains("[log.sasl]"), "a wrong password: {said}");
    world.reconfigure(&secured(&kafka, &secure.stranger, PASSWORD)?)?;
    let said = refused(&world).await?;
    ensure!(said.contains("KAFKA_DENIED") || said.contains("certificate"), "an authority that did not sign: {said}");
    world.reconfigure(&good)?;
    let said = refused(&world).await?;
    ensure!(said.contains("KAFKA_DENIED"), "no right at all: {said}");

    for right in RIGHTS {
        kafka.allow(USER, right, Operation::All)?;
    }
    let mut worker = Worker::start(&world, "run").await?;
    wait_through(&world).await?;
    println!("{}", well(&world, &kafka).await?);

    // Taken away while it runs.
    kafka.deny(USER, Resource::Topic(PREFIX), Operation::Write)?;
    world.mysql.exec("INSERT INTO shop.orders VALUES (1, 1, 1.00, NULL)").await?;
    let told = until("capture says that it may not write", async || {
        let told = capture(worker.process()?)?;
        ensure!(told["code"] == "KAFKA_DENIED", "{told}");
        Ok(told)
    })
    .await?;
    println!("{told}");
    worker.end_stopped().await?;
    Ok(())
}
