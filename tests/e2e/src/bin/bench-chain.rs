//! `chain`: MySQL → Redis through the whole program, everything on this machine.
//!
//! A backlog of W1 (rows, 1,000 a transaction) and one of W2 (single-row updates, a transaction each, full images) are read at full speed
//! from a stored checkpoint; every row is compared afterwards. Then commits on a fixed schedule, each timed from its acknowledgement to the
//! moment at which Redis tells a subscriber of the change.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use mysync_e2e_tests::figures::{Times, median};
use mysync_e2e_tests::stages::Sampling;
use mysync_e2e_tests::subscriber::Subscriber;
use mysync_e2e_tests::{Options, World, rows};
use mysync_test_support::Mysync;

const USAGE: &str = "bench-chain [--rows N] [--transactions N] [--latency-runs N] [--stages]
1,000 rows at least; 0 transactions or runs leave that part out; --stages says where the CPU time goes (needs perf)";

const COMMITS_PER_SECOND: u32 = 1000;
const RUN_COMMITS: u32 = 10_000;
/// Not counted: connections and caches become warm.
const WARM_COMMITS: u32 = 1000;
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// A backlog that takes longer does not move.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is measured.
struct Plan {
    rows: u32,
    transactions: u32,
    latency_runs: u32,
    stages: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let plan = Plan::from_arguments()?;
    let options = Options {
        // Rows and binlog stay in memory: what is measured is mysync, not the disk.
        mysql: vec!["--innodb-buffer-pool-size=512M", "--innodb-redo-log-capacity=512M"],
        writers: vec![("rows-cache", rows::WRITER)],
        ..Options::default()
    };
    let world = World::start("bench-chain", options).await?.context("there is no MySQL or no Redis")?;
    let sync_binlog: Vec<u32> = world.mysql.query("SELECT @@sync_binlog").await?;
    figure("machine", "sync_binlog", f64::from(sync_binlog[0]), "commits per fsync");
    figure("machine", "load_average", load_average()?, "processes");

    // The first start stores where the source is, and compiles the writer.
    world.mysync().await?.terminate().await?;
    let mut mysql = world.mysql.conn().await?;
    // The other parts change rows, so there are some.
    let loaded = plan.rows.max(rows::TRANSACTION_ROWS);
    said(&format!("loading {loaded} rows"));
    rows::insert(&mut mysql, 1..=loaded).await?;
    backlog(&world, "W1", loaded, plan.stages, &["EXISTS", &format!("bulk:{loaded}")], 1).await?;
    if plan.transactions > 0 {
        said(&format!("committing {} single-row updates", plan.transactions));
        rows::update(&mut mysql, plan.transactions, loaded).await?;
        let last = 1 + (plan.transactions - 1) % loaded;
        let k: Vec<u32> = world.mysql.query(&format!("SELECT k FROM shop.bulk WHERE id = {last}")).await?;
        backlog(&world, "W2", plan.transactions, plan.stages, &["HGET", &format!("bulk:{last}"), "k"], k[0]).await?;
    }
    if plan.latency_runs > 0 {
        latency(&world, &mut mysql, loaded, plan.latency_runs).await?;
    }
    figure("machine", "load_average_after", load_average()?, "processes");
    Ok(())
}

/// Reads what was committed meanwhile, until Redis answers the question about the last change so.
async fn backlog(
    world: &World,
    workload: &str,
    changes: u32,
    stages: bool,
    question: &[&str],
    answer: u32,
) -> Result<()> {
    let mut mysync = world.spawn()?;
    connected(&mut mysync).await?;
    let (started, cpu_before) = (Instant::now(), mysync.cpu_seconds()?);
    let sampling = if stages { Some(Sampling::start(mysync.id())?) } else { None };
    let mut redis = world.redis.conn()?;
    let mut asked = redis::Cmd::new();
    question.iter().for_each(|word| _ = asked.arg(word));
    while asked.query::<Option<u32>>(&mut redis)? != Some(answer) {
        ensure!(started.elapsed() < PATIENCE, "the backlog does not reach Redis: {}", mysync.log());
        sleep(LOOK_EVERY);
    }
    let (wall, cpu) = (started.elapsed().as_secs_f64(), mysync.cpu_seconds()? - cpu_before);
    if let Some(sampling) = sampling {
        eprintln!("{workload}: {}", sampling.finish(cpu)?);
    }
    ensure!(mysync.terminate().await?.success(), "mysync did not end well");
    let compared = rows::compare(world).await?;
    said(&format!("{workload}: {compared} rows compare equal"));
    let unit = if workload == "W1" { "rows" } else { "transactions" };
    let per_s = f64::from(changes) / wall;
    figure(workload, unit, f64::from(changes), unit);
    figure(workload, "wall_s", wall, "s");
    figure(workload, "start_cpu_s", cpu_before, "s");
    figure(workload, &format!("{unit}_per_s"), per_s, &format!("{unit}/s"));
    figure(workload, "cpu_s_per_million", cpu / f64::from(changes) * 1e6, "s");
    Ok(())
}

/// Waits until capture begins to read: starting is not part of the work.
async fn connected(mysync: &mut Mysync) -> Result<()> {
    let started = Instant::now();
    while !mysync.log().contains("capture is connected") {
        ensure!(started.elapsed() < PATIENCE, "mysync does not connect: {}", mysync.log());
        sleep(LOOK_EVERY);
    }
    Ok(())
}

async fn latency(world: &World, mysql: &mut Conn, ids: u32, runs: u32) -> Result<()> {
    let mysync = world.mysync().await?;
    let subscriber = Subscriber::start(&world.redis, "bulk:*")?;
    measure(mysql, &subscriber, ids, WARM_COMMITS).await?;
    let (mut quantiles, mut missed) = ([(); 3].map(|()| Vec::new()), Vec::new());
    let cpu_before = mysync.cpu_seconds()?;
    for run in 1..=runs {
        let measured = measure(mysql, &subscriber, ids, RUN_COMMITS).await?;
        let [p50, p99, p999] = [500, 990, 999].map(|q| measured.times.quantile(q).as_secs_f64() * 1e6);
        said(&format!(
            "run {run}: p50 {p50:.0} µs, p99 {p99:.0} µs, p99.9 {p999:.0} µs; {} commits late",
            measured.late
        ));
        quantiles.iter_mut().zip([p50, p99, p999]).for_each(|(all, one)| all.push(one));
        missed.push(f64::from(measured.late) / f64::from(RUN_COMMITS) * 100.0);
    }
    let commits = f64::from(runs * RUN_COMMITS);
    for (name, values) in ["p50", "p99", "p99.9"].into_iter().zip(quantiles) {
        figure("latency", name, median(values), "µs");
    }
    figure("latency", "schedule_missed", median(missed), "% of commits begun more than 1 ms late");
    figure("latency", "cpu_s_per_million", (mysync.cpu_seconds()? - cpu_before) / commits * 1e6, "s");
    figure("latency", "runs", f64::from(runs), &format!("of {RUN_COMMITS} commits at {COMMITS_PER_SECOND} per second"));
    ensure!(mysync.terminate().await?.success(), "mysync did not end well");
    let compared = rows::compare(world).await?;
    said(&format!("latency: {compared} rows compare equal"));
    Ok(())
}

struct Measured {
    /// From a commit's acknowledgement to its being seen in Redis; what is seen earlier took no time.
    times: Times,
    /// Commits begun more than one interval behind schedule.
    late: u32,
}

/// Commits on a schedule that waits for nothing, and matches what becomes visible one to one, in order.
async fn measure(mysql: &mut Conn, subscriber: &Subscriber, ids: u32, commits: u32) -> Result<Measured> {
    let interval = Duration::from_secs(1) / COMMITS_PER_SECOND;
    let update = mysql.prep("UPDATE shop.bulk SET k = k + 1 WHERE id = ?").await?;
    let (mut acknowledged, mut late) = (Vec::new(), 0);
    let begin = Instant::now();
    for number in 0..commits {
        let due = begin + interval * number;
        let now = Instant::now();
        late += u32::from(now > due + interval);
        // Nothing else runs on this thread, and the runtime's own clock ticks in milliseconds.
        sleep(due.saturating_duration_since(now));
        let id = 1 + number % ids;
        mysql.exec_drop(&update, (id,)).await?;
        acknowledged.push((id, Instant::now()));
    }
    mysql.close(update).await?;
    let mut times = Vec::new();
    for (id, at) in acknowledged {
        times.push(subscriber.seen(&format!("bulk:{id}"))?.saturating_duration_since(at));
    }
    Ok(Measured { times: Times::new(times), late })
}

impl Plan {
    fn from_arguments() -> Result<Self> {
        let mut plan = Self { rows: 1_000_000, transactions: 300_000, latency_runs: 5, stages: false };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let number = arguments.next().and_then(|number| number.parse().ok());
                number.with_context(|| format!("{argument} needs a number\n{USAGE}"))
            };
            match argument.as_str() {
                "--rows" => plan.rows = number()?,
                "--transactions" => plan.transactions = number()?,
                "--latency-runs" => plan.latency_runs = number()?,
                "--stages" => plan.stages = true,
                _ => bail!("{argument} is unknown\n{USAGE}"),
            }
        }
        Ok(plan)
    }
}

fn figure(workload: &str, figure: &str, value: f64, unit: &str) {
    println!(r#"{{"bench":"chain","workload":"{workload}","figure":"{figure}","value":{value:.3},"unit":"{unit}"}}"#);
}

fn said(what: &str) {
    eprintln!("{what}");
}

/// Of the last minute.
fn load_average() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    text.split(' ').next().and_then(|load| load.parse().ok()).context("no load average")
}
