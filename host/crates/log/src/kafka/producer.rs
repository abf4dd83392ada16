//! The leader's producer: one transaction after the other, each waited for.
//!
//! A producer that has failed is given up. What became of its last transaction is not known then; the next producer of the same name ends it,
//! one way or the other, before it begins. So is one that has lost a connection, once its transaction is committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::statistics::Statistics;
use tokio::sync::Notify;
use tracing::debug;

use super::client;
use super::error::KafkaError;
use super::metrics;
use super::preflight::Limits;
use super::settings::{KafkaSettings, TRANSACTION_TIMEOUT};
use super::tail::RECORD_HEADER;

/// The brokers end the former leader's transaction first, which may take as long as that was allowed to.
const INIT_TIME: Duration = Duration::from_secs(30);
/// How long a full queue is waited for before it is looked at again.
const FULL_PAUSE: Duration = Duration::from_millis(1);
/// How soon the thread that serves a client ends with it.
const POLL: Duration = Duration::from_millis(500);
/// Everything was delivered, and librdkafka is about to know. Other things wait in the same queue, but not for long.
const SETTLE_TURNS: u32 = 20;
const SETTLE_PAUSE: Duration = Duration::from_micros(20);
const SETTLE_TIME: Duration = Duration::from_millis(100);

/// What may wait to be told between two transactions: some lines about each broker.
const TOLD_MAX: u32 = 1000;

/// How librdkafka tells that a connection failed.
const FAILED: &str = "FAIL";
/// States of a connection over which nothing was sent yet but what makes one.
const NEW: [&str; 6] = [
    "in state INIT",
    "in state DOWN",
    "in state TRY_CONNECT",
    "in state CONNECT",
    "in state SSL_HANDSHAKE",
    "in state APIVERSION_QUERY",
];
/// Over which transactions are ended, and nothing else.
const COORDINATOR: &str = "TxnCoordinator";

/// Counts what was delivered.
struct Context {
    delivered: AtomicU64,
    /// Told at each delivery.
    told: Notify,
    /// Whether a connection was lost.
    was_cut: AtomicBool,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // It comes before anything of that connection is sent again.
        if is_cut(level, facility, message) {
            self.was_cut.store(true, Relaxed);
        }
        client::tell(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        metrics::producer(&statistics);
    }

    fn error(&self, error: ClientError, reason: &str) {
        debug!(target: "mysync_log::kafka", %error, "{reason}");
    }
}

/// Whether a line tells of a lost connection over which something may have been on its way. Debugging aids tell of all, also of those that lay
/// idle and of the first one of all, which the client leaves by itself: the coordinator's are neither.
fn is_cut(level: RDKafkaLogLevel, facility: &str, message: &str) -> bool {
    let is_new = || NEW.iter().any(|state| message.contains(state));
    let counts = !matches!(level, RDKafkaLogLevel::Debug) || message.contains(COORDINATOR);
    facility == FAILED && counts && !is_new()
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, (): ()) {
        // What failed makes the transaction fail.
        self.delivered.fetch_add(1, Relaxed);
        self.told.notify_one();
    }
}

/// One message.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    pub topic: &'a str,
    pub partition: u32,
    pub key: Option<&'a [u8]>,
    pub bytes: &'a [u8],
    /// The key is gone: the bytes stand beside the message, which has no value.
    pub is_tombstone: bool,
}

pub struct Producer {
    client: Arc<BaseProducer<Context>>,
    sent: u64,
    /// Of messages that are sent together.
    batch_bytes_max: usize,
    _serving: Serving,
}

/// The thread that takes what the client tells, and ends it. It looks seldom whether it has to: the client's own waiting is exact to a
/// thousandth of a second, the last of which it spends in circles.
struct Serving(Arc<AtomicBool>);

impl Serving {
    fn start(client: Arc<BaseProducer<Context>>) -> Result<Self, KafkaError> {
        let ending = Arc::new(AtomicBool::new(false));
        let told = ending.clone();
        let serve = move || {
            while !told.load(Relaxed) {
                client.poll(POLL);
            }
        };
        let started = std::thread::Builder::new().name("mysync-producer".to_owned()).spawn(serve);
        started.map_err(|error| KafkaError::Transaction { reason: error.to_string() })?;
        Ok(Self(ending))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("sent", &self.sent).finish_non_exhaustive()
    }
}

impl Producer {
    /// Takes over from whoever wrote under the name of this log before: from here on nothing of theirs is committed.
    pub async fn take_over(settings: &KafkaSettings, limits: &Limits) -> Result<Self, KafkaError> {
        let batch_bytes_max = limits.values().copied().min().unwrap_or_default();
        let message_bytes_max = limits.values().copied().max().unwrap_or_default();
        let mut config = settings.producer(batch_bytes_max, message_bytes_max);
        // Otherwise it keeps to itself what repeats itself, and which brokers it leaves or no longer waits for.
        config.set("debug", "broker").set_log_level(RDKafkaLogLevel::Debug);
        blocking(move || {
            let context =
                Context { delivered: AtomicU64::new(0), told: Notify::new(), was_cut: AtomicBool::new(false) };
            let doing = "taking over the log's transactions";
            let client: BaseProducer<Context> =
                config.create_with_context(context).map_err(|error| KafkaError::of(doing, &error))?;
            let client = Arc::new(client);
            let serving = Serving::start(client.clone())?;
            client.init_transactions(INIT_TIME).map_err(|error| KafkaError::of(doing, &error))?;
            Ok(Self { client, sent: 0, batch_bytes_max, _serving: serving })
        })
        .await
    }

    /// Whether a connection was lost since it took over. The end of a transaction was said again then, and the first time it was said may come
    /// late: it would end the next transaction in its middle, if that was not of another producer.
    pub fn was_cut(&self) -> bool {
        // The thread that takes what the client tells may not have come to it yet.
        for _ in 0..TOLD_MAX {
            if self.client.in_flight_count() == 0 {
                break;
            }
            self.client.poll(Duration::ZERO);
        }
        self.client.context().was_cut.load(Relaxed)
    }

    /// Whether it may send more at once than one of the topics takes.
    pub fn is_too_large(&self, limits: &Limits) -> bool {
        limits.values().any(|max| *max < self.batch_bytes_max)
    }

    pub fn begin(&self) -> Result<(), KafkaError> {
        self.client.begin_transaction().map_err(|error| failed(&error))
    }

    /// Hands a message over; waits while too much is on the way.
    pub async fn send(&mut self, message: Outgoing<'_>) -> Result<(), KafkaError> {
        let deadline = Instant::now() + TRANSACTION_TIMEOUT;
        loop {
            let mut record = BaseRecord::<[u8], [u8]>::to(message.topic).partition(message.partition as i32);
            record.key = message.key;
            if message.is_tombstone {
                let header = Header { key: RECORD_HEADER, value: Some(message.bytes) };
                record = record.headers(OwnedHeaders::new().insert(header));
            } else {
                record = record.payload(message.bytes);
            }
            match self.client.send(record) {
                Ok(()) => {
                    self.sent += 1;
                    return Ok(());
                }
                Err((error, _)) if error.rdkafka_error_code() == Some(Code::QueueFull) && Instant::now() < deadline => {
                    tokio::time::sleep(FULL_PAUSE).await;
                }
                Err((error, _)) => return Err(failed(&error)),
            }
        }
    }

    /// Waits until everything was delivered, and commits it. After an error the producer is of no use any more.
    pub async fn commit(&self) -> Result<(), KafkaError> {
        let context = self.client.context();
        let delivered = async {
            while context.delivered.load(Relaxed) < self.sent {
                context.told.notified().await;
            }
        };
        if tokio::time::timeout(TRANSACTION_TIMEOUT, delivered).await.is_err() {
            let reason = format!(
                "not everything was taken within {} s: if that goes on, the line to the brokers is too slow for so large a transaction",
                TRANSACTION_TIMEOUT.as_secs()
            );
            return Err(KafkaError::Transaction { reason });
        }
        let client = self.client.clone();
        blocking(move || {
            // A commit that finds messages not yet done with waits for a tenth of a second.
            let deadline = Instant::now() + SETTLE_TIME;
            let mut turns = 0;
            while client.in_flight_count() > 0 && Instant::now() < deadline {
                turns += 1;
                if turns < SETTLE_TURNS { std::thread::yield_now() } else { std::thread::sleep(SETTLE_PAUSE) }
            }
            client.commit_transaction(TRANSACTION_TIMEOUT).map_err(|error| failed(&error))
        })
        .await
    }
}

fn failed(error: &ClientError) -> KafkaError {
    match KafkaError::of("writing to the log", error) {
        KafkaError::Unreachable { reason, .. } => KafkaError::Transaction { reason },
        other => other,
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(KafkaError::Ending))
}

#[cfg(test)]
mod tests {
    use RDKafkaLogLevel::{Debug, Error, Info, Warning};

    use super::*;

    const BROKER: &str = "[thrd:127.0.0.1:9092/1]: 127.0.0.1:9092/1: ";
    const COORDINATOR: &str = "[thrd:TxnCoordinator]: TxnCoordinator: 127.0.0.1:9092: ";
    const CLOSED: &str = "Disconnected: connection closed by peer: receive 0 after POLLIN";

    fn cut(from: &str, lines: &[(RDKafkaLogLevel, String)]) -> Vec<bool> {
        lines.iter().map(|(level, line)| is_cut(*level, "FAIL", &format!("{from}{line}"))).collect()
    }

    #[test]
    fn a_connection_is_lost_over_which_something_may_be_on_its_way() {
        let lines = [
            (Info, format!("{CLOSED} (after 803ms in state UP)")),
            (Warning, format!("{CLOSED} (after 40000ms in state UP, 2 identical error(s) suppressed)")),
            (Info, "Disconnected: connection reset by peer (after 803ms in state UP)".to_owned()),
            (Error, "Send failed: Broken pipe (after 3ms in state REAUTH)".to_owned()),
            (Error, "SASL authentication error: expired (after 2ms in state AUTH_REQ)".to_owned()),
            // Longer than the line: the state is not told.
            (Error, "Receive failed: this and that".to_owned()),
        ];
        assert_eq!((cut(BROKER, &lines), cut(COORDINATOR, &lines)), (vec![true; 6], vec![true; 6]));
    }

    #[test]
    fn a_coordinator_is_lost_that_is_told_to_nobody_else() {
        let lines = [
            // The same was told of two connections that never came up.
            (
                Debug,
                format!(
                    "{CLOSED} (after 803ms in state UP) (_TRANSPORT): identical to last error: error log suppressed"
                ),
            ),
            (Debug, "Closing connection due to nodename change (after 9000ms in state UP) (_TRANSPORT)".to_owned()),
            (Debug, "1 request(s) timed out: disconnect (after 29900ms in state UP) (_TIMED_OUT)".to_owned()),
        ];
        assert_eq!(cut(COORDINATOR, &lines), [true; 3]);
    }

    #[test]
    fn brokers_that_are_down_or_idle_and_those_of_the_start_cost_nothing() {
        let lines = [
            (
                Error,
                "Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT)".to_owned(),
            ),
            (
                Error,
                "Failed to resolve 'kafka3:9092': Name or service not known (after 2ms in state CONNECT)".to_owned(),
            ),
            (Warning, "Connection setup timed out in state CONNECT (after 5000ms in state CONNECT)".to_owned()),
            (Error, "SSL handshake failed: this and that (after 1ms in state SSL_HANDSHAKE)".to_owned()),
            // A proxy that has no broker behind it.
            (Info, format!("{CLOSED} (after 1ms in state APIVERSION_QUERY, 1 identical error(s) suppressed)")),
            (
                Debug,
                "Closing connection due to nodename change (after 34ms in state TRY_CONNECT) (_TRANSPORT)".to_owned(),
            ),
        ];
        assert_eq!((cut(BROKER, &lines), cut(COORDINATOR, &lines)), (vec![false; 6], vec![false; 6]));
        let lines = [
            (Debug, format!("{CLOSED} (after 600000ms in state UP) (_TRANSPORT)")),
            (Debug, "Decommissioning this broker (after 1ms in state UP) (_DESTROY_BROKER)".to_owned()),
        ];
        assert_eq!(cut(BROKER, &lines), [false; 2]);
        assert!(!is_cut(Debug, "STATE", &format!("{COORDINATOR}Broker changed state APIVERSION_QUERY -> UP")));
    }
}
