//! Brokers of a release that lacks what the log is made of.

use anyhow::{Result, ensure};
use mysync_e2e_tests::{World, clusters};
use mysync_test_support::KafkaPlan;

use crate::crew::{Worker, options, wait_through, well};

/// What came with Kafka 0.11: settings that can be read, and transactions.
const DESCRIBE_CONFIGS: u16 = 32;
const TRANSACTIONS: [u16; 4] = [22, 24, 26, 28];

/// Takes requests out of the list of those that a broker knows, which is what it answers first of all.
fn without(requests: &[u16]) -> impl Fn(&mut [u8]) + Send + Sync + 'static {
    let requests = requests.to_vec();
    // Nobody knows this one.
    let unknown = u16::MAX >> 1;
    move |piece| {
        // A size, the number of the question (the first is 1, and asks for the list), no error, how many there are and one more.
        let [_, _, _, _, 0, 0, 0, 1, 0, 0, count, list @ ..] = piece else { return };
        // Each is a number, the oldest and the newest form that is known, and that there is nothing else to say.
        for request in list.chunks_exact_mut(7).take(usize::from(*count).saturating_sub(1)) {
            if let [high, low, ..] = request
                && requests.contains(&u16::from_be_bytes([*high, *low]))
            {
                [*high, *low] = unknown.to_be_bytes();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_too_old_is_refused_by_what_it_lacks() -> Result<()> {
    let test = "a_broker_that_is_too_old_is_refused_by_what_it_lacks";
    let Some(kafka) = clusters::own(test, KafkaPlan::new(1).proxied())? else { return Ok(()) };
    let Some(world) = World::start(test, options(&kafka, test)).await? else { return Ok(()) };
    for lacks in [[DESCRIBE_CONFIGS].as_slice(), &TRANSACTIONS] {
        kafka.proxy(1)?.edit(without(lacks));
        let mut worker = Worker::new(&world, "run")?;
        worker.restart(&world)?;
        let said = worker.wait_refused().await?;
        ensure!(said.contains("[KAFKA_RELEASE]") && said.contains("Kafka 4.0"), "without {lacks:?}: {said}");
    }
    kafka.proxy(1)?.restore();
    let mut worker = Worker::start(&world, "run").await?;
    wait_through(&world).await?;
    println!("{}", well(&world, &kafka).await?);
    worker.end().await?;
    Ok(())
}
