//! What benchmarks of the whole program share: figures as lines of JSON, work timed to its end, and commits on a schedule.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use mysync_test_support::{Kafka, KafkaPlan, Mysync};
use serde_json::Value;

use crate::World;
use crate::figures::Times;
use crate::stages::Sampling;
use crate::subscriber::Subscriber;

const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Work that takes longer does not move.
const PATIENCE: Duration = Duration::from_secs(600);

/// Of a server that keeps rows and binlog in memory: what is measured is mysync, not the disk.
pub const MYSQL: [&str; 2] = ["--innodb-buffer-pool-size=512M", "--innodb-redo-log-capacity=512M"];

/// One JSON line a figure.
#[derive(Debug, Clone)]
pub struct Figures {
    bench: &'static str,
    fields: String,
}

impl Figures {
    pub fn new(bench: &'static str) -> Self {
        Self { bench, fields: String::new() }
    }

    /// Each of them also says this.
    pub fn with(&self, name: &str, value: impl Into<Value>) -> Self {
        Self { fields: format!(r#"{},"{name}":{}"#, self.fields, value.into()), ..*self }
    }

    pub fn print(&self, workload: &str, figure: &str, value: f64, unit: &str) {
        let Self { bench, fields } = self;
        println!(
            r#"{{"bench":"{bench}","workload":"{workload}"{fields},"figure":"{figure}","value":{value:.3},"unit":"{unit}"}}"#
        );
    }

    /// The machine's load of the last minute.
    pub fn print_load(&self, figure: &str) -> Result<()> {
        let text = std::fs::read_to_string("/proc/loadavg")?;
        let load = text.split(' ').next().and_then(|load| load.parse().ok()).context("no load average")?;
        self.print("machine", figure, load, "processes");
        Ok(())
    }
}

/// Progress, for people.
pub fn said(what: &str) {
    eprintln!("{what}");
}

/// Reads the command line: numbers, texts, and flags that are there or not.
pub fn arguments(
    usage: &str,
    numbers: &mut [(&str, &mut u32)],
    texts: &mut [(&str, &mut String)],
    flags: &mut [(&str, &mut bool)],
) -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if let Some((_, number)) = numbers.iter_mut().find(|(name, _)| *name == argument) {
            let given = arguments.next().and_then(|given| given.parse().ok());
            **number = given.with_context(|| format!("{argument} needs a number\n{usage}"))?;
        } else if let Some((_, text)) = texts.iter_mut().find(|(name, _)| *name == argument) {
            **text = arguments.next().with_context(|| format!("{argument} needs a word\n{usage}"))?;
        } else if let Some((_, flag)) = flags.iter_mut().find(|(name, _)| *name == argument) {
            **flag = true;
        } else {
            bail!("{argument} is unknown\n{usage}");
        }
    }
    Ok(())
}

/// Brokers with Kafka's own settings where those for tests are smaller.
pub fn brokers(nodes: u32) -> Result<Kafka> {
    let settings = [
        "log.segment.bytes=1073741824",
        "log.retention.check.interval.ms=300000",
        "log.cleaner.backoff.ms=15000",
        "log.cleaner.dedupe.buffer.size=134217728",
        "num.network.threads=3",
        "num.io.threads=8",
    ];
    ensure!(Kafka::home().is_some(), "there is no Kafka: `cargo x services install kafka` says why");
    KafkaPlan::new(usize::try_from(nodes)?).fast().settings(&settings).start()
}

/// Work that was there when the program started.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    pub wall: f64,
    /// Of the program, from when it was connected.
    pub cpu: f64,
    /// And until then.
    pub start_cpu: f64,
    /// Of the brokers meanwhile.
    pub broker_cpu: f64,
}

impl Work {
    /// `changes` in all: `rows` or `transactions`.
    pub fn rate(&self, changes: u32) -> f64 {
        f64::from(changes) / self.wall
    }

    pub fn cpu_per_million(&self, changes: u32) -> f64 {
        self.cpu / f64::from(changes) * 1e6
    }

    pub fn broker_cpu_per_million(&self, changes: u32) -> f64 {
        self.broker_cpu / f64::from(changes) * 1e6
    }
}

/// Starts the program, or half of it, and measures from the moment at which capture has connected until everything is done. `stages`: says
/// where its time goes, under this name.
pub async fn work_off(
    world: &World,
    half: &str,
    brokers: Option<&Kafka>,
    stages: Option<&str>,
    mut done: impl FnMut(&Mysync) -> Result<bool>,
) -> Result<Work> {
    let mysync = world.spawn_half(world.dir(), half)?;
    wait(&mysync, || Ok(mysync.log().contains("capture is connected")))?;
    let broker_cpu = || brokers.map_or(Ok(0.0), Kafka::cpu_seconds);
    let (started, start_cpu, broker_before) = (Instant::now(), mysync.cpu_seconds()?, broker_cpu()?);
    let sampling = if stages.is_some() { Some(Sampling::start(mysync.id())?) } else { None };
    wait(&mysync, || done(&mysync))?;
    let (wall, cpu) = (started.elapsed().as_secs_f64(), mysync.cpu_seconds()? - start_cpu);
    let broker_cpu = broker_cpu()? - broker_before;
    if let (Some(sampling), Some(name)) = (sampling, stages) {
        said(&format!("{name}: {}", sampling.finish(cpu)?));
    }
    ensure!(mysync.terminate().await?.success(), "mysync did not end well");
    Ok(Work { wall, cpu, start_cpu, broker_cpu })
}

fn wait(mysync: &Mysync, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !done()? {
        ensure!(started.elapsed() < PATIENCE, "it does not move: {}", mysync.log());
        sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Asks Redis whether it answers a question so: about the last change of a backlog.
pub fn redis_says(
    world: &World,
    question: &[&str],
    answer: u32,
) -> Result<impl FnMut(&Mysync) -> Result<bool> + use<>> {
    let mut redis = world.redis.conn()?;
    let mut asked = redis::Cmd::new();
    question.iter().for_each(|word| _ = asked.arg(word));
    Ok(move |_: &Mysync| Ok(asked.query::<Option<u32>>(&mut redis)? == Some(answer)))
}

/// Where a log is to begin so that it holds what is committed from now on.
pub async fn place(world: &World) -> Result<String> {
    // In a binlog file of its own: the server looks for the place from the beginning of one.
    world.mysql.exec("FLUSH BINARY LOGS").await?;
    let gtids: Vec<String> = world.mysql.query("SELECT @@GLOBAL.gtid_executed").await?;
    Ok(gtids.concat().replace('\n', ""))
}

/// Commits that were timed to their sight in Redis.
#[derive(Debug)]
pub struct Timed {
    /// From a commit's acknowledgement to its being seen; what is seen earlier took no time.
    pub times: Times,
    /// Commits begun more than one interval behind schedule.
    pub late: u32,
}

/// Commits on a schedule that waits for nothing, and matches what becomes visible one to one, in order. For [`crate::rows::WRITER`].
pub async fn commits(
    mysql: &mut Conn,
    subscriber: &Subscriber,
    rows: u32,
    per_second: u32,
    commits: u32,
) -> Result<Timed> {
    let interval = Duration::from_secs(1) / per_second;
    let update = mysql.prep("UPDATE shop.bulk SET k = k + 1 WHERE id = ?").await?;
    let (mut acknowledged, mut late) = (Vec::new(), 0);
    let begin = Instant::now();
    for number in 0..commits {
        let due = begin + interval * number;
        let now = Instant::now();
        late += u32::from(now > due + interval);
        // Nothing else runs on this thread, and the runtime's own clock ticks in milliseconds.
        sleep(due.saturating_duration_since(now));
        let id = 1 + number % rows;
        mysql.exec_drop(&update, (id,)).await?;
        acknowledged.push((id, Instant::now()));
    }
    mysql.close(update).await?;
    let mut times = Vec::new();
    for (id, at) in acknowledged {
        times.push(subscriber.seen(&format!("bulk:{id}"))?.saturating_duration_since(at));
    }
    Ok(Timed { times: Times::new(times), late })
}
