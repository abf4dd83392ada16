//! What librdkafka tells of the leader's producer.

use metrics::{Unit, describe_gauge, gauge};
use rdkafka::statistics::Statistics;

/// Messages that wait in the producer.
pub const QUEUED: &str = "mysync_kafka_producer_queued_messages";
/// Bytes that wait in the producer.
pub const QUEUED_BYTES: &str = "mysync_kafka_producer_queued_bytes";
/// Messages sent since the producer began.
pub const SENT: &str = "mysync_kafka_producer_sent_messages";
/// Bytes sent since the producer began, compressed.
pub const SENT_BYTES: &str = "mysync_kafka_producer_sent_bytes";
/// Requests that were repeated, by broker.
pub const RETRIES: &str = "mysync_kafka_broker_retries";
/// 99th percentile of the time that a broker takes to answer, by broker.
pub const ANSWER_SECONDS: &str = "mysync_kafka_broker_answer_p99_seconds";

/// Tells the recorder what the figures mean. Once, after it is installed.
pub fn describe() {
    describe_gauge!(QUEUED, Unit::Count, "Messages that wait in the leader's producer");
    describe_gauge!(QUEUED_BYTES, Unit::Bytes, "Bytes that wait in the leader's producer");
    describe_gauge!(SENT, Unit::Count, "Messages sent since the leader's producer began");
    describe_gauge!(SENT_BYTES, Unit::Bytes, "Bytes sent since the leader's producer began, compressed");
    describe_gauge!(RETRIES, Unit::Count, "Requests to a broker that were repeated since the producer began");
    describe_gauge!(ANSWER_SECONDS, Unit::Seconds, "99th percentile of the time a broker takes to answer the producer");
}

pub fn producer(statistics: &Statistics) {
    gauge!(QUEUED).set(statistics.msg_cnt as f64);
    gauge!(QUEUED_BYTES).set(statistics.msg_size as f64);
    gauge!(SENT).set(statistics.txmsgs as f64);
    gauge!(SENT_BYTES).set(statistics.tx_bytes as f64);
    // Brokers that were only asked for others have no number.
    for broker in statistics.brokers.values().filter(|broker| broker.nodeid >= 0) {
        let name = broker.nodeid.to_string();
        gauge!(RETRIES, "broker" => name.clone()).set(broker.txretries as f64);
        if let Some(rtt) = &broker.rtt {
            gauge!(ANSWER_SECONDS, "broker" => name).set(rtt.p99 as f64 / 1e6);
        }
    }
}
