//! What a start says to topics that are not as the log needs them.

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::{Options, World, clusters, shop};
use mysync_test_support::{Kafka, KafkaPlan};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;

use crate::scene::{allow, end, options, refused, run, wait_equal, wait_in_log, wait_through};

const COMPACT: &str = "cleanup = \"compact\"";
const WEEK: &str = "604800000";

/// A topic that somebody made, in a log that is configured so; and what a start has to say of it.
struct Case {
    log: &'static str,
    setting: &'static str,
    value: &'static str,
    /// What is wrong, in words.
    found: &'static str,
    /// The value that mends it.
    cure: &'static str,
    /// Whether a log can be kept in such a topic.
    works: bool,
}

const CASES: [Case; 7] = [
    Case {
        log: "",
        setting: "unclean.leader.election.enable",
        value: "true",
        found: "unclean.leader.election.enable=true",
        cure: "false",
        works: true,
    },
    // Rows that share a message have no key, which a topic that keeps the last one of each does not take.
    Case {
        log: "",
        setting: "cleanup.policy",
        value: "compact",
        found: "cleanup.policy=compact",
        cure: "delete",
        works: false,
    },
    Case {
        log: COMPACT,
        setting: "cleanup.policy",
        value: "delete",
        found: "cleanup.policy=delete",
        cure: "compact",
        works: true,
    },
    Case { log: "", setting: "retention.ms", value: "3600000", found: "retention.ms=3600000", cure: WEEK, works: true },
    Case {
        log: COMPACT,
        setting: "min.compaction.lag.ms",
        value: "0",
        found: "min.compaction.lag.ms=0",
        cure: WEEK,
        works: true,
    },
    Case {
        log: COMPACT,
        setting: "delete.retention.ms",
        value: "86400000",
        found: "delete.retention.ms=86400000",
        cure: WEEK,
        works: true,
    },
    Case {
        log: "",
        setting: "max.message.bytes",
        value: "100000",
        found: "max.message.bytes=100000",
        cure: "8388608",
        works: true,
    },
];

impl Case {
    /// What the topic is made with: nothing else is wrong with it.
    fn settings(&self) -> Vec<(&'static str, &'static str)> {
        let usual = if self.log == COMPACT {
            vec![("cleanup.policy", "compact"), ("min.compaction.lag.ms", WEEK), ("delete.retention.ms", WEEK)]
        } else {
            vec![("cleanup.policy", "delete"), ("retention.ms", WEEK)]
        };
        let others = usual.into_iter().filter(|(name, _)| *name != self.setting);
        others.chain([(self.setting, self.value)]).collect()
    }
}

/// One writer says all there is to say.
fn one_writer(kafka: &Kafka, prefix: &str, log: &'static str) -> Options {
    Options { writers: vec![("bulk-cache", shop::without_dump(shop::BULK))], ..options(kafka, prefix, log) }
}

/// The start is refused for one setting, which it names with what it should be, and whether it can be allowed.
async fn refused_for(world: &World, setting: &str, found: &str, cure: &str, can_be_allowed: bool) -> Result<()> {
    let said = refused(world, "run").await?;
    for expected in ["KAFKA_SETTING", found, cure] {
        ensure!(said.contains(expected), "it does not say {expected}: {said}");
    }
    ensure!(said.contains(&format!("log.allow = [\"{setting}\"]")) == can_be_allowed, "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_setting_that_breaks_a_promise_is_refused_unless_it_is_allowed() -> Result<()> {
    let test = "each_setting_that_breaks_a_promise_is_refused_unless_it_is_allowed";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, one_writer(&kafka, test, "")).await? else { return Ok(()) };
    for (number, case) in CASES.iter().enumerate() {
        let Case { setting, found, cure, .. } = case;
        let topic = format!("{test}.{number}");
        let options = one_writer(&kafka, &topic, case.log);
        kafka.create_topic(&topic, 1, 1, &case.settings()).await?;
        world.reconfigure(&options)?;
        let command = format!("kafka-configs --alter --topic {topic} --add-config {setting}={cure}");
        let cure = if *setting == "max.message.bytes" { *cure } else { &*command };
        refused_for(&world, setting, found, cure, case.works).await.with_context(|| (*setting).to_owned())?;
        ensure!(kafka.topic_settings(&topic).await?[*setting] == case.value, "{setting} was changed");

        allow(world.dir(), &[setting])?;
        if !case.works {
            refused_for(&world, setting, found, cure, false).await.with_context(|| (*setting).to_owned())?;
        } else {
            let capture = run(&world, "capture").await?;
            let said = capture.log();
            let warned = said.lines().any(|line| {
                line.contains("WARN")
                    && line.contains("KAFKA_SETTING")
                    && line.contains("log.allow")
                    && line.contains(found)
            });
            ensure!(warned, "{setting}: {said}");
            wait_in_log(&world, &kafka, &topic).await.with_context(|| (*setting).to_owned())?;
            end(capture).await?;
        }
        // The cure of the message.
        kafka.alter_topic(&topic, &[(setting, case.cure)]).await?;
        world.reconfigure(&options)?;
        let capture = run(&world, "capture").await.with_context(|| (*setting).to_owned())?;
        let said = capture.log();
        ensure!(!said.contains(found), "{said}");
        wait_in_log(&world, &kafka, &topic).await?;
        end(capture).await?;
    }
    Ok(())
}

/// Of several at once each is named.
#[tokio::test(flavor = "multi_thread")]
async fn all_settings_that_break_a_promise_are_told_at_once() -> Result<()> {
    let test = "all_settings_that_break_a_promise_are_told_at_once";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, one_writer(&kafka, test, "")).await? else { return Ok(()) };
    let settings =
        [("retention.ms", "60000"), ("unclean.leader.election.enable", "true"), ("max.message.bytes", "1000")];
    kafka.create_topic(test, 1, 1, &settings).await?;
    let text = std::fs::read_to_string(world.dir().join("mysync.toml"))?;
    std::fs::write(world.dir().join("mysync.toml"), text.replace("allow = [\"replication.factor\"]\n", ""))?;
    let said = refused(&world, "run").await?;
    for (name, value) in settings {
        ensure!(said.contains(&format!("{name}={value}")), "{name}: {said}");
    }
    ensure!(said.contains(&format!("topic {test} has 1 replicas")) && !said.contains("  "), "{said}");
    // The other halves are no less strict, and a check says the same.
    for half in ["capture", "deliver"] {
        ensure!(refused(&world, half).await?.contains("KAFKA_SETTING"), "{half}");
    }
    let checked = world.command(&["check"])?;
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    ensure!(checked.status.code() == Some(1) && told.contains("retention.ms=60000"), "{told}");
    Ok(())
}

/// Size deletes what time has not.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_cut_by_size_is_refused() -> Result<()> {
    let test = "a_topic_that_is_cut_by_size_is_refused";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, one_writer(&kafka, test, "")).await? else { return Ok(()) };
    kafka.create_topic(test, 1, 1, &[("retention.ms", WEEK), ("retention.bytes", "1048576")]).await?;
    let said = refused(&world, "run").await?;
    ensure!(said.contains("KAFKA_SETTING") && said.contains("retention.bytes=1048576"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_are_too_few_are_refused_unless_they_are_allowed() -> Result<()> {
    let test = "copies_that_are_too_few_are_refused_unless_they_are_allowed";
    let Some(kafka) = clusters::own(test, KafkaPlan::new(3))? else { return Ok(()) };
    let Some(world) = World::start(test, one_writer(&kafka, test, "")).await? else { return Ok(()) };
    let cases = [
        (
            "min.insync.replicas",
            3,
            vec![("min.insync.replicas", "1")],
            "min.insync.replicas=1",
            "min.insync.replicas=2",
        ),
        ("replication.factor", 1, vec![], "1 replicas", "log.replication"),
        ("replication.factor", 2, vec![], "2 replicas and log.replication says 3", "log.replication"),
    ];
    for (number, (setting, copies, settings, found, cure)) in cases.into_iter().enumerate() {
        let topic = format!("{test}.{number}");
        let settings: Vec<_> = settings.into_iter().chain([("retention.ms", WEEK)]).collect();
        kafka.create_topic(&topic, 1, copies, &settings).await?;
        if copies == 1 {
            // With a single copy the cluster's own bound could never be met.
            kafka.alter_topic(&topic, &[("min.insync.replicas", "1")]).await?;
        }
        world.reconfigure(&one_writer(&kafka, &topic, ""))?;
        refused_for(&world, setting, found, cure, true).await.with_context(|| setting.to_owned())?;
        world.redis.ask::<()>(&["FLUSHALL"])?;
        world.reconfigure(&one_writer(&kafka, &topic, ""))?;
        allow(world.dir(), &[setting])?;
        let mysync = run(&world, "run").await?;
        let said = mysync.log();
        let warned =
            said.lines().any(|line| line.contains("WARN") && line.contains("KAFKA_SETTING") && line.contains(found));
        ensure!(warned, "{setting}: {said}");
        wait_through(&world).await?;
        end(mysync).await?;
    }

    // Topics that we make have as many copies as the configuration says, and the settings that go with it.
    let topic = format!("{test}.made");
    world.redis.ask::<()>(&["FLUSHALL"])?;
    world.reconfigure(&one_writer(&kafka, &topic, "partitions = 4"))?;
    let mysync = run(&world, "run").await?;
    wait_through(&world).await?;
    ensure!(!mysync.log().contains("KAFKA_SETTING"), "{}", mysync.log());
    for (suffix, partitions) in [("", 4), (".control", 1), (".orders", 1)] {
        let topic = format!("{topic}{suffix}");
        let settings = kafka.topic_settings(&topic).await?;
        ensure!(settings["min.insync.replicas"] == "2", "{topic}: {settings:?}");
        ensure!(settings["unclean.leader.election.enable"] == "false", "{topic}: {settings:?}");
        ensure!(kafka.leaders(&topic).await?.len() == partitions, "{topic}");
        let copies = copies(&kafka, &topic).await?;
        ensure!(copies == vec![3; partitions], "{topic}: {copies:?}");
    }
    end(mysync).await
}

/// How many copies each partition has.
async fn copies(kafka: &Kafka, topic: &str) -> Result<Vec<usize>> {
    let (admin, topic) = (admin(kafka)?, topic.to_owned());
    let look = move || {
        let metadata = admin.inner().fetch_metadata(Some(&topic), std::time::Duration::from_secs(10))?;
        let found = metadata.topics().first().context("no topic")?;
        Ok(found.partitions().iter().map(|partition| partition.replicas().len()).collect())
    };
    tokio::task::spawn_blocking(look).await?
}

fn admin(kafka: &Kafka) -> Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", kafka.brokers()).create()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_with_what_the_log_relies_on() -> Result<()> {
    let test = "topics_are_made_with_what_the_log_relies_on";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, one_writer(&kafka, test, "")).await? else { return Ok(()) };
    let three_days = "259200000";
    let always =
        [("unclean.leader.election.enable", "false"), ("max.message.bytes", "8388608"), ("min.insync.replicas", "1")];
    let cases = [
        (
            "delete",
            "partitions = 3\nretention = \"3d\"",
            vec![("cleanup.policy", "delete"), ("retention.ms", three_days)],
        ),
        (
            "compact",
            "partitions = 3\nretention = \"3d\"\ncleanup = \"compact\"",
            vec![
                ("cleanup.policy", "compact"),
                ("min.compaction.lag.ms", three_days),
                ("delete.retention.ms", three_days),
            ],
        ),
    ];
    for (name, log, own) in cases {
        let prefix = format!("{test}.{name}");
        world.redis.ask::<()>(&["FLUSHALL"])?;
        world.reconfigure(&one_writer(&kafka, &prefix, log))?;
        let mysync = run(&world, "run").await?;
        wait_through(&world).await?;
        end(mysync).await?;
        let topics = [
            ("", 3, own),
            (".control", 1, vec![("cleanup.policy", "compact")]),
            (".orders", 1, vec![("cleanup.policy", "delete"), ("retention.ms", "86400000")]),
        ];
        for (suffix, partitions, own) in topics {
            let topic = format!("{prefix}{suffix}");
            let settings = kafka.topic_settings(&topic).await?;
            for (name, value) in always.into_iter().chain(own) {
                ensure!(settings.get(name).is_some_and(|has| has == value), "{topic}: {name}: {settings:?}");
            }
            ensure!(kafka.leaders(&topic).await?.len() == partitions, "{topic}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_laid_out_otherwise_is_refused_until_it_is_set_back() -> Result<()> {
    let test = "a_log_that_was_laid_out_otherwise_is_refused_until_it_is_set_back";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let options = one_writer(&kafka, test, "partitions = 2");
    let Some(world) = World::start(test, options.clone()).await? else { return Ok(()) };
    let mysync = run(&world, "run").await?;
    wait_through(&world).await?;
    end(mysync).await?;

    // Fewer partitions or more than there are, another order of rows, and another topic, which is as good as any.
    for (log, how) in [
        ("partitions = 1", "2 partitions"),
        ("partitions = 3", "2 partitions"),
        ("partitions = 2\ncleanup = \"compact\"", "each under its key"),
        ("partitions = 2\ntopic = \"{prefix}-other\"", "-other"),
    ] {
        world.reconfigure(&Options { log, ..options.clone() })?;
        for half in ["run", "deliver"] {
            let said = refused(&world, half).await?;
            ensure!(said.contains("KAFKA_ROUTING") && said.contains(how), "{log}: {said}");
        }
    }
    let other = kafka.offsets(&format!("{test}-other")).await;
    ensure!(other.is_err(), "a topic was made for what was refused: {other:?}");

    world.reconfigure(&options)?;
    let mysync = run(&world, "run").await?;
    wait_through(&world).await?;
    println!("{} entries", wait_equal(&world).await?);

    // Somebody gives the topic more partitions while it is used: nothing lies in them, and the next start says what is wrong.
    let made = admin(&kafka)?.create_partitions([&NewPartitions::new(test, 4)], &AdminOptions::new()).await?;
    ensure!(made.iter().all(Result::is_ok), "{made:?}");
    wait_through(&world).await?;
    end(mysync).await?;
    let said = refused(&world, "run").await?;
    ensure!(said.contains("KAFKA_ROUTING") && said.contains("4 partitions"), "{said}");
    Ok(())
}
