//! `kafka-capture`: MySQL → Kafka by `mysync capture`, everything on this machine.
//!
//! A backlog of W1 (rows, 1,000 a transaction) and one of W2 (single-row updates, a transaction each, full images), each read into new logs
//! again and again: in both layouts, with every compression. The first run of a workload is not counted: a broker begins slowly.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mysync_e2e_tests::bench::{Figures, MYSQL, Work, arguments, brokers, place, said, work_off};
use mysync_e2e_tests::figures::median;
use mysync_e2e_tests::{OnKafka, Options, World, rows, told};
use mysync_test_support::{Kafka, Mysync};

const USAGE: &str = "bench-kafka-capture [--rows N] [--transactions N] [--runs N] [--partitions N] [--nodes 1|3] [--only TEXT] [--stages]
1,000 rows at least; --only: those whose name contains this, such as W1, runs or W2/keyed/lz4; --stages says where the CPU time of each goes
(needs perf)";

/// The status costs the program time, too.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LAYOUTS: [(&str, &str); 2] = [("runs", "delete"), ("keyed", "compact")];
const COMPRESSIONS: [&str; 3] = ["lz4", "none", "zstd"];

/// What is measured.
struct Plan {
    rows: u32,
    transactions: u32,
    runs: u32,
    partitions: u32,
    nodes: u32,
    only: String,
    stages: bool,
}

/// What is to be captured.
struct Backlog {
    workload: &'static str,
    unit: &'static str,
    changes: u32,
    /// Where it begins.
    start: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let plan = Plan::from_arguments()?;
    let figures = Figures::new("kafka-capture");
    figures.print_load("load_average")?;
    let kafka = brokers(plan.nodes)?;
    let options = Options { mysql: MYSQL.to_vec(), writers: vec![("rows-cache", rows::WRITER)], ..Options::default() };
    let world = World::start("bench-kafka-capture", options).await?.context("there is no MySQL or no Redis")?;
    let mut mysql = world.mysql.conn().await?;

    let loaded = plan.rows.max(rows::TRANSACTION_ROWS);
    said(&format!("loading {loaded} rows"));
    let start = place(&world).await?;
    rows::insert(&mut mysql, 1..=loaded).await?;
    let backlog = Backlog { workload: "W1", unit: "rows", changes: loaded, start };
    capture(&world, &kafka, &plan, &backlog).await?;
    if plan.transactions > 0 {
        said(&format!("committing {} single-row updates", plan.transactions));
        let start = place(&world).await?;
        rows::update(&mut mysql, plan.transactions, loaded).await?;
        let backlog = Backlog { workload: "W2", unit: "transactions", changes: plan.transactions, start };
        capture(&world, &kafka, &plan, &backlog).await?;
    }
    figures.print_load("load_average_after")
}

/// In every way that the plan asks for.
async fn capture(world: &World, kafka: &Kafka, plan: &Plan, backlog: &Backlog) -> Result<()> {
    let mut is_warm = false;
    for (layout, cleanup) in LAYOUTS {
        for compression in COMPRESSIONS {
            let name = format!("{}/{layout}/{compression}", backlog.workload);
            if !name.contains(&plan.only) {
                continue;
            }
            let log =
                format!("partitions = {}\ncompression = \"{compression}\"\ncleanup = \"{cleanup}\"\n", plan.partitions);
            if !is_warm {
                run(world, kafka, backlog, &log, None).await?;
                is_warm = true;
            }
            let mut works = Vec::new();
            for number in 1..=plan.runs {
                let stages = (plan.stages && number == plan.runs).then_some(name.as_str());
                let work = run(world, kafka, backlog, &log, stages).await?;
                said(&format!(
                    "{name}, run {number}: {:.0} {}/s, {:.2} CPU s per million, the broker's {:.2}",
                    work.rate(backlog.changes),
                    backlog.unit,
                    work.cpu_per_million(backlog.changes),
                    work.broker_cpu_per_million(backlog.changes)
                ));
                works.push(work);
            }
            let figures = plan.figures().with("layout", layout).with("compression", compression);
            tell(&figures, backlog, &works);
        }
    }
    Ok(())
}

/// Captures it into a new log, which is deleted afterwards.
async fn run(world: &World, kafka: &Kafka, backlog: &Backlog, log: &str, stages: Option<&str>) -> Result<Work> {
    let on = OnKafka::new(kafka, "bench");
    let topics = [on.prefix.clone(), on.control(), format!("{}.orders", on.prefix)];
    // One of them is little, and the program ends soon.
    let (source, log) = (format!("start = \"{}\"", backlog.start).leak(), log.to_owned().leak());
    world.reconfigure(&Options { kafka: Some(on), source, log, ..Options::default() })?;
    let (changes, mut looked) = (u64::from(backlog.changes), Instant::now());
    let done = move |mysync: &Mysync| {
        if looked.elapsed() < LOOK_EVERY {
            return Ok(false);
        }
        looked = Instant::now();
        Ok(told::count(&told::capture(mysync)?, "rows") >= changes)
    };
    let work = work_off(world, "capture", Some(kafka), stages, done).await?;
    for topic in topics {
        kafka.delete_topic(&topic).await?;
    }
    Ok(work)
}

fn tell(figures: &Figures, backlog: &Backlog, works: &[Work]) {
    let Backlog { workload, unit, changes, .. } = backlog;
    let print = |figure: &str, of: &dyn Fn(&Work) -> f64, unit: &str| {
        figures.print(workload, figure, median(works.iter().map(of).collect()), unit);
    };
    print(unit, &|_| f64::from(*changes), unit);
    print(&format!("{unit}_per_s"), &|work| work.rate(*changes), &format!("{unit}/s"));
    print("cpu_s_per_million", &|work| work.cpu_per_million(*changes), "s");
    print("broker_cpu_s_per_million", &|work| work.broker_cpu_per_million(*changes), "s");
}

impl Plan {
    fn from_arguments() -> Result<Self> {
        let mut plan = Self {
            rows: 1_000_000,
            transactions: 300_000,
            runs: 3,
            partitions: 1,
            nodes: 1,
            only: String::new(),
            stages: false,
        };
        let Self { rows, transactions, runs, partitions, nodes, only, stages } = &mut plan;
        let numbers = &mut [
            ("--rows", rows),
            ("--transactions", transactions),
            ("--runs", runs),
            ("--partitions", partitions),
            ("--nodes", nodes),
        ];
        arguments(USAGE, numbers, &mut [("--only", only)], &mut [("--stages", stages)])?;
        Ok(plan)
    }

    fn figures(&self) -> Figures {
        let figures = Figures::new("kafka-capture").with("partitions", self.partitions);
        figures.with("nodes", self.nodes).with("replication", self.nodes).with("runs", self.runs)
    }
}
