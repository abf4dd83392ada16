//! A plain idempotent producer, with the settings of the log's own but for transactions.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mysync_change::block::BlockBuilder;
use mysync_change::position::Checkpoint;
use mysync_log::kafka::KafkaSettings;
use rdkafka::ClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::Notify;

use crate::Measured;

/// How long a full queue is waited for before it is looked at again.
const FULL_PAUSE: Duration = Duration::from_millis(1);

pub struct Plain {
    client: ThreadedProducer<Delivered>,
}

#[derive(Default)]
struct Delivered {
    messages: AtomicU64,
    failures: AtomicU64,
    told: Notify,
}

impl ClientContext for Delivered {}

impl ProducerContext for Delivered {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.failures.fetch_add(u64::from(result.is_err()), Relaxed);
        self.messages.fetch_add(1, Relaxed);
        self.told.notify_one();
    }
}

impl Plain {
    pub fn new(settings: &KafkaSettings, message_bytes_max: usize, linger: Duration) -> Result<Self> {
        let mut config = settings.producer(message_bytes_max, message_bytes_max);
        config.remove("transactional.id");
        config.remove("transaction.timeout.ms");
        config.set("linger.ms", linger.as_millis().to_string());
        Ok(Self { client: config.create_with_context(Delivered::default())? })
    }

    /// One group after the other: the block's messages, and a record of the checkpoint as in a transaction. Each is waited for, or all of them
    /// at the end; and each begins no sooner than `pace` after the one before.
    pub async fn groups(
        &self,
        block: &BlockBuilder,
        checkpoint: &Checkpoint,
        pace: Duration,
        time: Duration,
        waits: bool,
    ) -> Result<Measured> {
        let covered = serde_json::to_vec(checkpoint)?;
        let mut sent = self.client.context().messages.load(Relaxed);
        let (started, mut groups) = (Instant::now(), 0);
        while started.elapsed() < time {
            let begun = Instant::now();
            for message in block.partitions().iter().flat_map(|part| part.messages()) {
                self.send("plain", message.key, message.bytes).await?;
                sent += 1;
            }
            self.send("plain.control", Some(b"checkpoint"), &covered).await?;
            sent += 1;
            groups += 1;
            if waits {
                self.wait(sent).await;
            }
            let early = pace.saturating_sub(begun.elapsed());
            if !early.is_zero() {
                tokio::time::sleep(early).await;
            }
        }
        self.wait(sent).await;
        ensure!(self.client.context().failures.load(Relaxed) == 0, "messages of the plain producer failed");
        Ok(Measured { groups, wall: started.elapsed() })
    }

    async fn send(&self, topic: &str, key: Option<&[u8]>, bytes: &[u8]) -> Result<()> {
        loop {
            let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(0).payload(bytes);
            record.key = key;
            match self.client.send(record) {
                Ok(()) => return Ok(()),
                Err((error, _)) => {
                    ensure!(error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull), "{topic}: {error}");
                    tokio::time::sleep(FULL_PAUSE).await;
                }
            }
        }
    }

    async fn wait(&self, sent: u64) {
        let delivered = self.client.context();
        while delivered.messages.load(Relaxed) < sent {
            delivered.told.notified().await;
        }
    }
}
