//! What every client of librdkafka tells, into our own log and metrics.

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError as ClientError;
use tracing::{debug, error, info, warn};

/// Of clients without tasks of their own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told;

impl ClientContext for Told {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tell(level, facility, message);
    }

    fn error(&self, error: ClientError, reason: &str) {
        debug!(target: "mysync_log::kafka", %error, "{reason}");
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
