//! Processes that share the work on one world.

use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::told::capture;
use mysync_e2e_tests::world::PATIENCE;
use mysync_e2e_tests::{Machine, OnKafka, Options, World, oracle, shop};
use mysync_test_support::{Kafka, Mysync, until, until_within};

/// The shop's writers, each of which begins with what the log holds: an order for a dump reaches a process that captures itself.
pub fn writers() -> Vec<(&'static str, &'static str)> {
    let mut writers = shop::without_dumps();
    writers.push(("visits-cache", shop::VISITS));
    writers
}

/// A world whose log is on this cluster, named after its test.
pub fn options(kafka: &Kafka, test: &str) -> Options {
    Options { writers: writers(), kafka: Some(OnKafka::new(kafka, test)), ..Options::default() }
}

/// The same with three partitions, and without a list, whose order is that of one.
pub fn in_partitions(kafka: &Kafka, test: &str) -> Options {
    Options { writers: shop::without_dumps(), log: "partitions = 3", ..options(kafka, test) }
}

/// A row of `shop.bulk` that no load touches.
const MARK: i32 = 1_000_000;

/// A process on a machine of its own, which may be killed and started again there.
pub struct Worker {
    machine: Machine,
    half: &'static str,
    running: Option<Mysync>,
}

impl Worker {
    pub fn new(world: &World, half: &'static str) -> Result<Self> {
        Ok(Self { machine: Machine::new(world)?, half, running: None })
    }

    /// The first one, or the only one of its kind: it leads if it captures.
    pub async fn start(world: &World, half: &'static str) -> Result<Self> {
        let mut worker = Self::new(world, half)?;
        worker.restart(world)?;
        worker.wait_ready().await?;
        if half != "deliver" {
            worker.wait_state("running").await?;
        }
        Ok(worker)
    }

    /// Of its configuration.
    pub fn dir(&self) -> &Path {
        self.machine.dir()
    }

    /// It does not start: it ends with 1 or 2. Answers what it says.
    pub async fn wait_refused(&mut self) -> Result<String> {
        let mut running = self.running.take().context("it does not run")?;
        let status = running.wait_exit().await?;
        let said = running.log();
        ensure!(matches!(status.code(), Some(1 | 2)), "it ended with {status}: {said}");
        Ok(said)
    }

    /// Asks it to end, well or with what it has stopped for.
    pub async fn end_stopped(&mut self) -> Result<()> {
        let running = self.running.take().context("it does not run")?;
        let status = running.terminate().await?;
        ensure!(status.code().is_some(), "it ended with {status}");
        Ok(())
    }

    /// Kills it if it runs, and starts it again.
    pub fn restart(&mut self, world: &World) -> Result<()> {
        self.kill();
        self.running = Some(self.machine.spawn(world, self.half)?);
        Ok(())
    }

    pub async fn wait_ready(&mut self) -> Result<()> {
        self.running.as_mut().context("it does not run")?.wait_ready().await
    }

    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill();
        }
    }

    pub fn process(&self) -> Result<&Mysync> {
        self.running.as_ref().context("it does not run")
    }

    /// It has not ended by itself.
    pub fn check(&mut self) -> Result<()> {
        if let Some(running) = &mut self.running {
            let ended = running.exited()?;
            ensure!(ended.is_none(), "mysync ended by itself with {ended:?}: {}", running.log());
        }
        Ok(())
    }

    /// Asks it to end, and answers how long that took.
    pub async fn end(&mut self) -> Result<Duration> {
        let asked = Instant::now();
        let running = self.running.take().context("it does not run")?;
        let status = running.terminate().await?;
        ensure!(status.success(), "it ended with {status}");
        Ok(asked.elapsed())
    }

    /// `running`, `standby` or another state of its capture.
    pub fn state(&self) -> Result<String> {
        Ok(capture(self.process()?)?["state"].as_str().unwrap_or_default().to_owned())
    }

    pub async fn wait_state(&self, state: &str) -> Result<()> {
        until(&format!("capture is {state}"), async || {
            let now = capture(self.process()?)?;
            Ok(ensure!(now["state"] == state, "{now}"))
        })
        .await
    }
}

/// Which of these leads.
pub async fn leader(workers: &[Worker]) -> Result<usize> {
    until("one of them leads", async || {
        leads(workers)
            .with_context(|| format!("nobody does: {:?}", workers.iter().map(Worker::state).collect::<Vec<_>>()))
    })
    .await
}

/// The same, if there is one now.
pub fn leads(workers: &[Worker]) -> Option<usize> {
    workers.iter().position(|worker| worker.state().is_ok_and(|state| state == "running"))
}

/// Redis equals MySQL, and the log holds what the binlog holds; said in one line.
pub async fn well(world: &World, kafka: &Kafka) -> Result<String> {
    let log = world.log_on_kafka()?;
    let entries = world.wait_equal().await?;
    let compared = oracle::compare(&world.mysql, kafka, log).await?;
    Ok(format!("{compared}; {entries} entries"))
}

/// The same with several partitions, where the order of a list is not that of its rows.
pub async fn well_in_partitions(world: &World, kafka: &Kafka) -> Result<String> {
    world.mysql.exec("DELETE FROM shop.visits").await?;
    well(world, kafka).await
}

/// Waits until a transaction of now is in Redis: everything goes on.
pub async fn wait_through(world: &World) -> Result<Duration> {
    static TURN: AtomicI32 = AtomicI32::new(1);
    let (began, turn) = (Instant::now(), TURN.fetch_add(1, Relaxed));
    world.mysql.exec(&format!("REPLACE INTO shop.bulk VALUES ({MARK}, {turn}, '', '')")).await?;
    until_within(PATIENCE, "a change goes through", async || {
        let now: Option<i32> = world.redis.ask(&["HGET", &format!("bulk:{MARK}"), "k"])?;
        Ok(ensure!(now == Some(turn), "{now:?} is seen instead of {turn}"))
    })
    .await
    .with_context(|| world.complaints())?;
    Ok(began.elapsed())
}
