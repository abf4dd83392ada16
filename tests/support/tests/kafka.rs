//! Clusters of Kafka: what they keep over kills and pauses, and whom they refuse.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysync_test_support::{Kafka, KafkaPlan, Message, Operation, Resource, skip, until};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, ClientContext};

const ASK_TIME: Duration = Duration::from_secs(20);

/// Whether there is a Kafka; otherwise the test is skipped.
fn installed(test: &str) -> bool {
    let installed = Kafka::home().is_some();
    if !installed {
        skip(test, "MYSYNC_KAFKA_HOME names no Kafka");
    }
    installed
}

fn value(text: &str) -> Message {
    Message { value: Some(text.into()), ..Message::default() }
}

async fn values(kafka: &Kafka, topic: &str) -> Result<Vec<String>> {
    let values = kafka.read(topic).await?.into_iter().map(|record| record.message.value.unwrap_or_default());
    values.map(|value| Ok(String::from_utf8(value)?)).collect()
}

fn client(kafka: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.brokers()).set("group.id", "test").set("message.timeout.ms", "60000");
    config
}

/// Remembers the first thing that went wrong.
#[derive(Default)]
struct Trouble(OnceLock<RDKafkaErrorCode>);

impl ClientContext for Trouble {
    fn error(&self, error: KafkaError, _: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            self.0.get_or_init(|| code);
        }
    }
}

impl ConsumerContext for Trouble {}

/// What a client is refused by.
fn refusal(config: &ClientConfig) -> Result<RDKafkaErrorCode> {
    let consumer: BaseConsumer<Trouble> = config.create_with_context(Trouble::default())?;
    consumer.subscribe(&["rows"])?;
    let deadline = Instant::now() + ASK_TIME;
    loop {
        ensure!(Instant::now() < deadline, "nobody refuses it");
        consumer.poll(Duration::from_millis(10));
        if let Some(code) = consumer.context().0.get() {
            return Ok(*code);
        }
    }
}

#[tokio::test]
async fn what_a_broker_has_acknowledged_survives_its_kill() -> Result<()> {
    if !installed("what_a_broker_has_acknowledged_survives_its_kill") {
        return Ok(());
    }
    let mut kafka = Kafka::start(1, &["log.segment.bytes=1048576"])?;
    kafka.create_topic("rows", 2, 1, &[("retention.ms", "-1")]).await?;
    let headers = vec![("mysync".to_owned(), b"envelope".to_vec())];
    let deleted = Message { key: Some(b"1".to_vec()), value: None, headers };
    kafka.produce("rows", 1, vec![value("a"), deleted.clone(), value("b")]).await?;
    kafka.kill(1)?;
    assert!(kafka.running_ids().is_empty());
    kafka.restart(1)?;
    let read = kafka.read("rows").await?;
    let places: Vec<_> = read.iter().map(|record| (record.partition, record.offset)).collect();
    assert_eq!(places, [(1, 0), (1, 1), (1, 2)]);
    assert_eq!(read[1].message, deleted);

    kafka.alter_topic("rows", &[("max.message.bytes", "1000")]).await?;
    let settings = kafka.topic_settings("rows").await?;
    let names = ["max.message.bytes", "retention.ms", "min.insync.replicas"];
    assert_eq!(names.map(|name| settings.get(name).map_or("", String::as_str)), ["1000", "-1", "1"]);
    let refused = kafka.produce("rows", 0, vec![value(&"x".repeat(2000))]).await;
    assert!(format!("{:#}", refused.unwrap_err()).contains("MessageSizeTooLarge"));

    kafka.delete_records("rows", 1, 2).await?;
    assert_eq!(kafka.offsets("rows").await?, [(0, 0), (2, 3)]);
    assert_eq!(values(&kafka, "rows").await?, ["b"]);
    Ok(())
}

/// A producer of transactions.
fn capture(kafka: &Kafka) -> Result<BaseProducer> {
    let producer: BaseProducer = client(kafka).set("transactional.id", "capture").create()?;
    producer.init_transactions(ASK_TIME)?;
    Ok(producer)
}

/// Begins a transaction with one row, which is on the broker when it answers.
fn put(producer: &BaseProducer, text: &str) -> Result<()> {
    producer.begin_transaction()?;
    producer.send(BaseRecord::<(), str>::to("rows").partition(0).payload(text)).map_err(|(error, _)| error)?;
    Ok(producer.flush(ASK_TIME)?)
}

#[tokio::test]
async fn an_open_transaction_is_not_read_as_committed() -> Result<()> {
    if !installed("an_open_transaction_is_not_read_as_committed") {
        return Ok(());
    }
    let kafka = Kafka::start(1, &[])?;
    kafka.create_topic("rows", 1, 1, &[]).await?;
    let producer = capture(&kafka)?;
    let put = |text| put(&producer, text);
    put("aborted")?;
    producer.abort_transaction(ASK_TIME)?;
    put("committed")?;
    producer.commit_transaction(ASK_TIME)?;
    put("open")?;
    assert_eq!(values(&kafka, "rows").await?, ["committed"]);
    assert_eq!(kafka.read_uncommitted("rows").await?.len(), 3);
    // Each end of a transaction takes an offset too.
    assert_eq!(kafka.committed_ends("rows").await?, [4]);
    assert_eq!(kafka.offsets("rows").await?, [(0, 5)]);
    Ok(())
}

/// The client says it again over a new connection when the first one is cut, and the broker takes the late one for the next transaction's end.
#[tokio::test]
async fn a_commit_that_comes_late_commits_what_there_is_of_the_next_transaction() -> Result<()> {
    if !installed("a_commit_that_comes_late_commits_what_there_is_of_the_next_transaction") {
        return Ok(());
    }
    let kafka = KafkaPlan::new(1).proxied().start()?;
    kafka.create_topic("rows", 1, 1, &[]).await?;
    let producer = capture(&kafka)?;
    let put = |text| put(&producer, text);
    put("first")?;
    let proxy = kafka.proxy(1)?;
    proxy.hold();
    std::thread::scope(|scope| {
        let committing = scope.spawn(|| producer.commit_transaction(ASK_TIME));
        std::thread::sleep(Duration::from_millis(500));
        proxy.strand();
        committing.join().expect("it does not panic")
    })?;
    assert_eq!(values(&kafka, "rows").await?, ["first"]);
    put("half")?;
    assert_eq!(values(&kafka, "rows").await?, ["first"]);
    proxy.arrive_late();
    until("it is committed", async || {
        ensure!(values(&kafka, "rows").await? == ["first", "half"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_a_group_has_committed_is_seen_without_being_in_it() -> Result<()> {
    if !installed("what_a_group_has_committed_is_seen_without_being_in_it") {
        return Ok(());
    }
    let kafka = Kafka::start(1, &[])?;
    kafka.create_topic("rows", 2, 1, &[]).await?;
    assert_eq!(kafka.group_members("writer").await?, None);
    kafka.set_group_offset("writer", "rows", 1, 7).await?;
    let consumer: BaseConsumer = client(&kafka).set("group.id", "writer").create()?;
    consumer.subscribe(&["rows"])?;
    until("the group is settled", async || {
        consumer.poll(Duration::ZERO);
        ensure!(kafka.group_members("writer").await? == Some(1));
        Ok(())
    })
    .await?;
    assert_eq!(kafka.group_offsets("writer", "rows").await?, [None, Some(7)]);
    assert!(kafka.set_group_offset("writer", "rows", 1, 8).await.is_err(), "it has a member");
    Ok(())
}

#[tokio::test]
async fn a_cluster_goes_on_while_any_one_of_its_nodes_is_dead_or_stands_still() -> Result<()> {
    if !installed("a_cluster_goes_on_while_any_one_of_its_nodes_is_dead_or_stands_still") {
        return Ok(());
    }
    let mut kafka = Kafka::start(3, &[])?;
    kafka.create_topic("rows", 3, 3, &[]).await?;
    let mut expected = Vec::new();
    let controller = kafka.controller()?;
    let leader = kafka.leaders("rows").await?[0];
    for (turn, id) in [controller, leader].into_iter().enumerate() {
        kafka.kill(id)?;
        kafka.produce("rows", 0, vec![value(&format!("dead {turn}"))]).await?;
        ensure!(kafka.controller()? != id, "a dead node leads");
        kafka.restart(id)?;
        expected.push(format!("dead {turn}"));
    }
    let leader = kafka.leaders("rows").await?[0];
    kafka.pause(leader)?;
    kafka.produce("rows", 0, vec![value("still")]).await?;
    kafka.go_on(leader)?;
    kafka.await_whole()?;
    expected.push("still".to_owned());
    assert_eq!(values(&kafka, "rows").await?, expected);

    kafka.kill(1)?;
    kafka.kill(2)?;
    // Most nodes are away: it cannot be of use yet, and is not waited for.
    kafka.kill(3)?;
    kafka.restart(1)?;
    kafka.restart(2)?;
    kafka.restart(3)?;
    assert_eq!(values(&kafka, "rows").await?, expected);
    Ok(())
}

#[tokio::test]
async fn clients_that_are_cut_off_do_not_blind_the_test() -> Result<()> {
    if !installed("clients_that_are_cut_off_do_not_blind_the_test") {
        return Ok(());
    }
    let kafka = KafkaPlan::new(1).proxied().start()?;
    kafka.create_topic("rows", 1, 1, &[]).await?;
    let producer: BaseProducer = client(&kafka).create()?;
    let send = |text: &str| producer.send(BaseRecord::<(), str>::to("rows").payload(text)).map_err(|(error, _)| error);
    send("before")?;
    producer.flush(ASK_TIME)?;
    kafka.proxy(1)?.refuse();
    send("during")?;
    assert_eq!(producer.flush(Duration::from_millis(200)), Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut)));
    assert_eq!(values(&kafka, "rows").await?, ["before"]);
    kafka.proxy(1)?.restore();
    producer.flush(ASK_TIME)?;
    assert_eq!(values(&kafka, "rows").await?, ["before", "during"]);
    Ok(())
}

#[tokio::test]
async fn a_broker_that_demands_tls_and_a_password_refuses_whoever_lacks_either() -> Result<()> {
    if !installed("a_broker_that_demands_tls_and_a_password_refuses_whoever_lacks_either") {
        return Ok(());
    }
    let kafka = KafkaPlan::new(1).users(&[("alice", "open sesame")]).start()?;
    let secure = kafka.secure()?.clone();
    let alice = |mechanism: &str, password: &str| {
        let mut config = secure.client("alice", password);
        config.set("sasl.mechanisms", mechanism).set("group.id", "test");
        config
    };
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] {
        let consumer: BaseConsumer = alice(mechanism, "open sesame").create()?;
        assert_eq!(consumer.fetch_metadata(None, ASK_TIME).context(mechanism)?.brokers().len(), 1);
        assert_eq!(refusal(&alice(mechanism, "wrong"))?, RDKafkaErrorCode::Authentication, "{mechanism}");
    }
    let mut mistaken = alice("PLAIN", "open sesame");
    mistaken.set("ssl.ca.location", secure.stranger.display().to_string());
    assert_eq!(refusal(&mistaken)?, RDKafkaErrorCode::SSL);
    let mut plain = client(&kafka);
    assert_eq!(refusal(plain.set("bootstrap.servers", &secure.brokers))?, RDKafkaErrorCode::AllBrokersDown);
    Ok(())
}

#[tokio::test]
async fn a_user_writes_where_it_may_and_nowhere_else() -> Result<()> {
    if !installed("a_user_writes_where_it_may_and_nowhere_else") {
        return Ok(());
    }
    let kafka = KafkaPlan::new(1).users(&[("alice", "a"), ("bob", "b")]).rights().start()?;
    for topic in ["shop.rows", "bank.rows"] {
        kafka.create_topic(topic, 1, 1, &[]).await?;
    }
    let secure = kafka.secure()?;
    let producer: BaseProducer = secure.client("alice", "a").set("message.timeout.ms", "20000").create()?;
    let write = |topic: &str| -> Option<RDKafkaErrorCode> {
        let producer = producer.client();
        let metadata = producer.fetch_metadata(Some(topic), ASK_TIME).ok()?;
        metadata.topics().first()?.error().map(RDKafkaErrorCode::from)
    };
    assert_eq!(write("shop.rows"), Some(RDKafkaErrorCode::TopicAuthorizationFailed));
    kafka.allow("alice", Resource::Topic("*"), Operation::All)?;
    assert_eq!(write("shop.rows"), None);
    kafka.deny("alice", Resource::Topic("bank."), Operation::Describe)?;
    assert_eq!(write("bank.rows"), Some(RDKafkaErrorCode::TopicAuthorizationFailed));
    assert_eq!(write("shop.rows"), None);
    Ok(())
}
