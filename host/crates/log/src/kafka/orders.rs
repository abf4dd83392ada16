//! Orders of dumps, from any process to the one that leads.
//!
//! Orders and their answers are records of a topic of their own. Whoever leads carries out what comes, and answers once it is in the log. An
//! order without an answer may not have been carried out: who gave it is told so, and gives it again. Nothing is kept: what an order has
//! changed is in the control topic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mysync_change::pattern::Pattern;
use mysync_pipeline::dump::{Answer, Change, Order, OrderBook, Request};
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
#[serde(tag = "what", rename_all = "lowercase")]
enum Record {
    Start(Wish),
    Begin {
        #[serde(flatten)]
        wish: Wish,
        begun: bool,
    },
    Change {
        number: Option<u64>,
        change: Wanted,
    },
    Done {
        numbers: Vec<u64>,
    },
    Refused {
        definite: bool,
        message: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Wish {
    writer: Option<Arc<str>>,
    tables: Vec<Pattern>,
    rows_per_second: Option<u64>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wanted {
    Pause,
    Resume,
    Cancel,
}

/// Who waits for an answer here.
enum Waiting {
    One(Answer<u64>),
    Many(Answer<Vec<u64>>),
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
    let mut waiting: BTreeMap<String, (Waiting, Instant)> = BTreeMap::new();
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
            match parse::<Record>(&topic, &id, record.bytes())? {
                answer @ (Record::Done { .. } | Record::Refused { .. }) => {
                    if let Some((waiting, _)) = waiting.remove(&id) {
                        waiting.tell(answer);
                    }
                }
                order if *cluster.leads.borrow() => pass_on(id, order, book, &answers),
                _ => {}
            }
        }
        tokio::select! {
            Some(order) = given.recv() => {
                let id = random_id().to_string();
                let (record, whose) = Record::of(order);
                waiting.insert(id.clone(), (whose, Instant::now() + ANSWER_TIME));
                send(settings, id, record).await?;
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
fn pass_on(id: String, record: Record, book: &mpsc::Sender<Order>, answers: &mpsc::Sender<(String, Record)>) {
    let Some((order, coming)) = record.into_order() else { return };
    info!(order = id, "an order of a dump is taken");
    if book.try_send(order).is_err() {
        return;
    }
    let answers = answers.clone();
    tokio::spawn(async move {
        // Capture that has lost its lead has dropped the order: another one may carry it out when it is given again. What whoever gave it no longer
        // waits for is not carried out either.
        if let Ok(Some(record)) = tokio::time::timeout(ANSWER_TIME, coming.record()).await {
            let _ = answers.send((id, record)).await;
        }
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

/// An answer of this process's capture, when it has come.
enum Coming {
    One(oneshot::Receiver<Result<u64, Failure>>),
    Many(oneshot::Receiver<Result<Vec<u64>, Failure>>),
}

impl Coming {
    async fn record(self) -> Option<Record> {
        let answer = match self {
            Coming::One(answer) => answer.await.ok()?.map(|number| vec![number]),
            Coming::Many(answer) => answer.await.ok()?,
        };
        Some(match answer {
            Ok(numbers) => Record::Done { numbers },
            Err(failure) => Record::Refused { definite: failure.kind == Kind::Definite, message: failure.to_string() },
        })
    }
}

impl Waiting {
    fn is_closed(&self) -> bool {
        match self {
            Waiting::One(answer) => answer.is_closed(),
            Waiting::Many(answer) => answer.is_closed(),
        }
    }

    fn tell(self, record: Record) {
        let answer = match record {
            Record::Done { numbers } => Ok(numbers),
            Record::Refused { definite: true, message } => Err(Failure::definite(REFUSED, message)),
            Record::Refused { definite: false, message } => Err(Failure::transient(REFUSED, message)),
            _ => return,
        };
        // Whoever has given up waiting need not be told.
        match self {
            Waiting::One(waiting) => {
                let first = answer.map(|numbers| numbers.first().copied().unwrap_or(0));
                let _ = waiting.send(first);
            }
            Waiting::Many(waiting) => _ = waiting.send(answer),
        }
    }
}

impl Record {
    fn of(order: Order) -> (Self, Waiting) {
        match order {
            Order::Start { request, answer } => (Record::Start(request.into()), Waiting::One(answer)),
            Order::Begin { request, begun, answer } => {
                (Record::Begin { wish: request.into(), begun }, Waiting::Many(answer))
            }
            Order::Change { number, change, answer } => {
                let change = match change {
                    Change::Pause => Wanted::Pause,
                    Change::Resume => Wanted::Resume,
                    Change::Cancel => Wanted::Cancel,
                };
                (Record::Change { number, change }, Waiting::Many(answer))
            }
        }
    }

    fn into_order(self) -> Option<(Order, Coming)> {
        Some(match self {
            Record::Start(wish) => {
                let (answer, coming) = oneshot::channel();
                (Order::Start { request: wish.into(), answer }, Coming::One(coming))
            }
            Record::Begin { wish, begun } => {
                let (answer, coming) = oneshot::channel();
                (Order::Begin { request: wish.into(), begun, answer }, Coming::Many(coming))
            }
            Record::Change { number, change } => {
                let (answer, coming) = oneshot::channel();
                let change = match change {
                    Wanted::Pause => Change::Pause,
                    Wanted::Resume => Change::Resume,
                    Wanted::Cancel => Change::Cancel,
                };
                (Order::Change { number, change, answer }, Coming::Many(coming))
            }
            Record::Done { .. } | Record::Refused { .. } => return None,
        })
    }
}

impl From<Request> for Wish {
    fn from(Request { writer, tables, rows_per_second }: Request) -> Self {
        Self { writer, tables, rows_per_second }
    }
}

impl From<Wish> for Request {
    fn from(Wish { writer, tables, rows_per_second }: Wish) -> Self {
        Self { writer, tables, rows_per_second }
    }
}
