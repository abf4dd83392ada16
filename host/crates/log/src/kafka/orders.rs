//! Orders of dumps, from any process to the one that leads.
//!
//! Orders and their answers are records of a topic of their own. Whoever leads carries out what comes, and answers once it is in the log. An
//! order without an answer may not have been carried out: who gave it is told so, and gives it again. Nothing is kept: what an order has
//! changed is in the control topic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mysync_pipeline::dump::{Answer, Order, OrderBook, Wish};
use mysync_pipeline::failure::{Failure, Kind};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::topic_partition_list::Offset;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{debug, info};

use super::Cluster;
use super::control::{parse, to_json};
use super::error::KafkaError;
use super::random_id;
use super::settings::KafkaSettings;
use super::tail::{Next, Tail};

/// An order that nobody has answered by then is given up.
const ANSWER_TIME: Duration = Duration::from_secs(25);
/// What another process has refused; its own code stands in the message.
const REFUSED: &str = "DUMP_REFUSED";
/// How often it is looked for orders that were given up.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Who has heard nothing for so long asks whether there is more.
const SILENCE: Duration = Duration::from_secs(5);
const SEND_TIME: Duration = Duration::from_secs(5);
/// After an error.
const PAUSE: Duration = Duration::from_secs(1);
/// Answers of this process's capture that wait to be sent.
const ANSWERS_MAX: usize = 64;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Record {
    Wish(Wish),
    Done { numbers: Vec<u64> },
    Refused { definite: bool, message: String },
}

/// Carries orders until it is dropped.
pub async fn carry(cluster: Arc<Cluster>, mut given: OrderBook, book: mpsc::Sender<Order>) {
    loop {
        if let Err(error) = carry_on(&cluster, &mut given, &book).await {
            debug!(target: "mysync_log::kafka", %error, "orders are not carried at the moment");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn carry_on(cluster: &Arc<Cluster>, given: &mut OrderBook, book: &mpsc::Sender<Order>) -> Result<(), KafkaError> {
    let settings = &cluster.settings;
    let topic = settings.orders_topic();
    let mut tail = Tail::stream(cluster, &settings.capture_name(), &topic, 0)?;
    let (_, mut next) = tail.bounds().await?;
    tail.seek(Offset::Offset(next))?;
    let mut heard = Instant::now();
    let (answers, mut answered) = mpsc::channel::<(String, Record)>(ANSWERS_MAX);
    let mut waiting: BTreeMap<String, (Answer, Instant)> = BTreeMap::new();
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        loop {
            let record = match tail.poll()? {
                Next::Message(record) => record,
                Next::End => continue,
                Next::Nothing => break,
            };
            (next, heard) = (record.offset + 1, Instant::now());
            let id = String::from_utf8_lossy(record.key()).into_owned();
            let answer = match parse::<Record>(&topic, &id, record.bytes())? {
                Record::Wish(wish) => {
                    if *cluster.leads.borrow() {
                        pass_on(id, wish, book, &answers);
                    }
                    continue;
                }
                Record::Done { numbers } => Ok(numbers),
                Record::Refused { definite: true, message } => Err(Failure::definite(REFUSED, message)),
                Record::Refused { definite: false, message } => Err(Failure::transient(REFUSED, message)),
            };
            if let Some((waiting, _)) = waiting.remove(&id) {
                // Whoever has given up waiting need not be told.
                let _ = waiting.send(answer);
            }
        }
        tokio::select! {
            Some(Order { wish, answer }) = given.recv() => {
                let id = random_id().to_string();
                waiting.insert(id.clone(), (answer, Instant::now() + ANSWER_TIME));
                send(settings, id, Record::Wish(wish)).await?;
            }
            Some((id, answer)) = answered.recv() => send(settings, id, answer).await?,
            () = tail.wait() => {}
            now = look.tick() => {
                waiting.retain(|_, (whose, until)| *until > now && !whose.is_closed());
                if heard.elapsed() > SILENCE {
                    heard = now;
                    // A client may lose its way without a word.
                    if tail.bounds().await?.1 > next {
                        return Err(KafkaError::PlaceGone { topic, partition: 0 });
                    }
                }
            }
        }
    }
}

/// Hands an order to this process's capture, and its answer to whoever sends it.
fn pass_on(id: String, wish: Wish, book: &mpsc::Sender<Order>, answers: &mpsc::Sender<(String, Record)>) {
    let (answer, coming) = oneshot::channel();
    info!(order = id, "an order of a dump is taken");
    if book.try_send(Order { wish, answer }).is_err() {
        return;
    }
    let answers = answers.clone();
    tokio::spawn(async move {
        // Capture that has lost its lead has dropped the order: another one may carry it out when it is given again. What whoever gave it no longer
        // waits for is not carried out either.
        let Ok(Ok(answer)) = tokio::time::timeout(ANSWER_TIME, coming).await else { return };
        let record = match answer {
            Ok(numbers) => Record::Done { numbers },
            Err(failure) => Record::Refused { definite: failure.kind == Kind::Definite, message: failure.to_string() },
        };
        let _ = answers.send((id, record)).await;
    });
}

/// By a producer of its own: orders are rare, and one that waits for them is not for free.
async fn send(settings: &KafkaSettings, id: String, record: Record) -> Result<(), KafkaError> {
    let topic = settings.orders_topic();
    let json = to_json(&topic, &id, &record)?;
    let mut config = settings.client();
    config.set("enable.idempotence", "true").set("acks", "all").set("linger.ms", "0");
    let sent = tokio::task::spawn_blocking(move || {
        let producer: ThreadedProducer<DefaultProducerContext> = config.create()?;
        let record = BaseRecord::to(&topic).partition(0).key(id.as_bytes()).payload(&json);
        producer.send(record).map_err(|(error, _)| error)?;
        producer.flush(SEND_TIME)
    });
    let sent = sent.await.map_err(|_| KafkaError::Ending)?;
    sent.map_err(|error| KafkaError::of("giving orders", &error))
}
