//! `chain`: MySQL → Redis through the whole program, everything on this machine.
//!
//! A backlog of W1 (rows, 1,000 a transaction) and one of W2 (single-row updates, a transaction each, full images) are read at full speed
//! from a stored checkpoint; every row is compared afterwards. Then commits on a fixed schedule, each timed from its acknowledgement to the
//! moment at which Redis tells a subscriber of the change.

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysync_e2e_tests::bench::{Figures, MYSQL, arguments, commits, redis_says, said, work_off};
use mysync_e2e_tests::figures::median;
use mysync_e2e_tests::subscriber::Subscriber;
use mysync_e2e_tests::{Options, World, rows};

const USAGE: &str = "bench-chain [--rows N] [--transactions N] [--latency-runs N] [--stages]
1,000 rows at least; 0 transactions or runs leave that part out; --stages says where the CPU time goes (needs perf)";

const COMMITS_PER_SECOND: u32 = 1000;
const RUN_COMMITS: u32 = 10_000;
/// Not counted: connections and caches become warm.
const WARM_COMMITS: u32 = 1000;

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
    let options = Options { mysql: MYSQL.to_vec(), writers: vec![("rows-cache", rows::WRITER)], ..Options::default() };
    let world = World::start("bench-chain", options).await?.context("there is no MySQL or no Redis")?;
    let sync_binlog: Vec<u32> = world.mysql.query("SELECT @@sync_binlog").await?;
    figure("machine", "sync_binlog", f64::from(sync_binlog[0]), "commits per fsync");
    Figures::new("chain").print_load("load_average")?;

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
    Figures::new("chain").print_load("load_average_after")
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
    let done = redis_says(world, question, answer)?;
    let work = work_off(world, "run", None, stages.then_some(workload), done).await?;
    let compared = rows::compare(world).await?;
    said(&format!("{workload}: {compared} rows compare equal"));
    let unit = if workload == "W1" { "rows" } else { "transactions" };
    figure(workload, unit, f64::from(changes), unit);
    figure(workload, "wall_s", work.wall, "s");
    figure(workload, "start_cpu_s", work.start_cpu, "s");
    figure(workload, &format!("{unit}_per_s"), work.rate(changes), &format!("{unit}/s"));
    figure(workload, "cpu_s_per_million", work.cpu_per_million(changes), "s");
    Ok(())
}

async fn latency(world: &World, mysql: &mut Conn, ids: u32, runs: u32) -> Result<()> {
    let mysync = world.mysync().await?;
    let subscriber = Subscriber::start(&world.redis, "bulk:*")?;
    commits(mysql, &subscriber, ids, COMMITS_PER_SECOND, WARM_COMMITS).await?;
    let (mut quantiles, mut missed) = ([(); 3].map(|()| Vec::new()), Vec::new());
    let cpu_before = mysync.cpu_seconds()?;
    for run in 1..=runs {
        let measured = commits(mysql, &subscriber, ids, COMMITS_PER_SECOND, RUN_COMMITS).await?;
        let [p50, p99, p999] = [500, 990, 999].map(|q| measured.times.quantile(q).as_secs_f64() * 1e6);
        said(&format!(
            "run {run}: p50 {p50:.0} µs, p99 {p99:.0} µs, p99.9 {p999:.0} µs; {} commits late",
            measured.late
        ));
        quantiles.iter_mut().zip([p50, p99, p999]).for_each(|(all, one)| all.push(one));
        missed.push(f64::from(measured.late) / f64::from(RUN_COMMITS) * 100.0);
    }
    let committed = f64::from(runs * RUN_COMMITS);
    for (name, values) in ["p50", "p99", "p99.9"].into_iter().zip(quantiles) {
        figure("latency", name, median(values), "µs");
    }
    figure("latency", "schedule_missed", median(missed), "% of commits begun more than 1 ms late");
    figure("latency", "cpu_s_per_million", (mysync.cpu_seconds()? - cpu_before) / committed * 1e6, "s");
    figure("latency", "runs", f64::from(runs), &format!("of {RUN_COMMITS} commits at {COMMITS_PER_SECOND} per second"));
    ensure!(mysync.terminate().await?.success(), "mysync did not end well");
    let compared = rows::compare(world).await?;
    said(&format!("latency: {compared} rows compare equal"));
    Ok(())
}

impl Plan {
    fn from_arguments() -> Result<Self> {
        let mut plan = Self { rows: 1_000_000, transactions: 300_000, latency_runs: 5, stages: false };
        let Self { rows, transactions, latency_runs, stages } = &mut plan;
        let numbers = &mut [("--rows", rows), ("--transactions", transactions), ("--latency-runs", latency_runs)];
        arguments(USAGE, numbers, &mut [], &mut [("--stages", stages)])?;
        Ok(plan)
    }
}

fn figure(workload: &str, figure: &str, value: f64, unit: &str) {
    Figures::new("chain").print(workload, figure, value, unit);
}
