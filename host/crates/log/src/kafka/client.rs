//! What every client of librdkafka tells, into our own log and metrics.

use std::sync::Arc;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError as ClientError;
use tokio::sync::Notify;
use tracing::{debug, error, info, warn};

/// Of clients without tasks of their own.
#[derive(Debug, Default)]
pub struct Told {
    /// Whoever waits for messages is woken by what is told, too: both come by one queue, which says only once that it is no longer empty.
    pub came: Arc<Notify>,
}

impl ClientContext for Told {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tell(level, facility, message);
        self.came.notify_one();
    }

    fn error(&self, error: ClientError, reason: &str) {
        debug!(target: "mysync_log::kafka", %error, "{reason}");
        self.came.notify_one();
    }
}

impl ConsumerContext for Told {}

/// librdkafka's own lines, under our name. It goes on by itself after most of them.
pub fn tell(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            error!(target: "mysync_log::kafka", facility, "{message}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            warn!(target: "mysync_log::kafka", facility, "{message}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => info!(target: "mysync_log::kafka", facility, "{message}"),
        RDKafkaLogLevel::Debug => debug!(target: "mysync_log::kafka", facility, "{message}"),
    }
}

/// Holds a client a moment longer than whoever uses it, where nobody waits for its end: it leaves its brokers, and its threads end. Stands
/// behind the client in a struct.
pub struct Parting<T: Send + Sync + 'static>(Option<Arc<T>>);

impl<T: Send + Sync + 'static> Parting<T> {
    pub fn of(client: &Arc<T>) -> Self {
        Self(Some(client.clone()))
    }
}

impl<T: Send + Sync + 'static> Drop for Parting<T> {
    fn drop(&mut self) {
        let client = self.0.take();
        std::thread::spawn(move || drop(client));
    }
}
