//! `kafka-chain`: MySQL → Kafka → Redis through the whole program, everything on this machine.
//!
//! A backlog of W1 (rows, 1,000 a transaction) and backlogs of W2 (single-row updates, a transaction each, full images) go the whole way by one
//! process; every row is compared afterwards. Then commits on a fixed schedule, each timed from its acknowledgement to the moment at which Redis
//! tells a subscriber of the change, and the same for several group times. Last, how long a standby takes to go on for a leader that was
//! killed, or that has ended well.

mod takeover;

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysync_e2e_tests::bench::{Figures, MYSQL, Work, arguments, brokers, commits, place, redis_says, said, work_off};
use mysync_e2e_tests::figures::median;
use mysync_e2e_tests::subscriber::Subscriber;
use mysync_e2e_tests::{OnKafka, Options, World, rows};
use mysync_test_support::Kafka;

const USAGE: &str = "bench-kafka-chain [--rows N] [--transactions N] [--runs N] [--commits N] [--group-times N,N,…] [--takeovers N] [--nodes 1|3]
[--stages]
1,000 rows at least; 0 runs, commits or takeovers leave that part out; --commits: of each run at 1,000 a second; --group-times: milliseconds;
--stages says where the CPU time of each backlog goes (needs perf)";

const COMMITS_PER_SECOND: u32 = 1000;
/// Not counted: connections, caches and the broker become warm.
const WARM_COMMITS: u32 = 2000;

pub struct Plan {
    rows: u32,
    transactions: u32,
    runs: u32,
    commits: u32,
    group_times: String,
    pub takeovers: u32,
    nodes: u32,
    stages: bool,
}

/// Everything that runs beside the program.
pub struct Bench {
    pub plan: Plan,
    pub figures: Figures,
    pub kafka: Kafka,
    pub world: World,
    pub mysql: Conn,
    /// Of logs: each begins anew.
    logs: u32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let plan = Plan::from_arguments()?;
    let figures = Figures::new("kafka-chain").with("nodes", plan.nodes).with("replication", plan.nodes);
    figures.print_load("load_average")?;
    let kafka = brokers(plan.nodes)?;
    let options = Options { mysql: MYSQL.to_vec(), writers: vec![("rows-cache", rows::WRITER)], ..Options::default() };
    let world = World::start("bench-kafka-chain", options).await?.context("there is no MySQL or no Redis")?;
    let mysql = world.mysql.conn().await?;
    let mut bench = Bench { plan, figures, kafka, world, mysql, logs: 0 };

    // The other parts change rows, so there are some.
    let loaded = bench.plan.rows.max(rows::TRANSACTION_ROWS);
    said(&format!("loading {loaded} rows"));
    let start = place(&bench.world).await?;
    rows::insert(&mut bench.mysql, 1..=loaded).await?;
    bench.new_log(&start, "")?;
    // At least once: the other parts go on from there, and it is the warm-up.
    let question = ["EXISTS", &format!("bulk:{loaded}")];
    bench.backlog("warm-up", &question, 1, None).await?;
    bench.w1(&start, loaded, &question).await?;
    if bench.plan.transactions > 0 {
        bench.w2(loaded).await?;
    }
    if bench.plan.commits > 0 {
        let group_times = bench.plan.group_times.clone();
        for group_time in group_times.split(',') {
            bench.latency(group_time, loaded).await?;
        }
    }
    if bench.plan.takeovers > 0 {
        takeover::takeovers(&mut bench).await?;
    }
    bench.figures.print_load("load_average_after")
}

impl Bench {
    /// A new log that begins there, with these lines of configuration, and an empty Redis.
    pub fn new_log(&mut self, start: &str, log: &str) -> Result<()> {
        self.logs += 1;
        let on = OnKafka::new(&self.kafka, &format!("bench-{}", self.logs));
        // Some of them are little, and the program ends soon.
        let (source, log) = (format!("start = \"{start}\"").leak(), log.to_owned().leak());
        self.world.redis.ask::<()>(&["FLUSHALL"])?;
        self.world.reconfigure(&Options { kafka: Some(on), source, log, ..Options::default() })
    }

    async fn w1(&mut self, start: &str, rows: u32, question: &[&str]) -> Result<()> {
        let mut works = Vec::new();
        for number in 1..=self.plan.runs {
            self.new_log(start, "")?;
            works.push(self.backlog(&format!("W1, run {number}"), question, 1, self.stages(number)).await?);
        }
        self.tell("W1", "rows", rows, &works);
        self.compare("W1").await
    }

    async fn w2(&mut self, rows: u32) -> Result<()> {
        let (transactions, mut works) = (self.plan.transactions, Vec::new());
        let last = 1 + (transactions - 1) % rows;
        for number in 1..=self.plan.runs {
            said(&format!("committing {transactions} single-row updates"));
            rows::update(&mut self.mysql, transactions, rows).await?;
            let k: Vec<u32> = self.world.mysql.query(&format!("SELECT k FROM shop.bulk WHERE id = {last}")).await?;
            let question = ["HGET", &format!("bulk:{last}"), "k"];
            works.push(self.backlog(&format!("W2, run {number}"), &question, k[0], self.stages(number)).await?);
        }
        self.tell("W2", "transactions", transactions, &works);
        self.compare("W2").await
    }

    /// Reads what was committed meanwhile, until Redis answers the question about the last change so.
    async fn backlog(&self, name: &str, question: &[&str], answer: u32, stages: Option<&str>) -> Result<Work> {
        let done = redis_says(&self.world, question, answer)?;
        let work = work_off(&self.world, "run", Some(&self.kafka), stages, done).await?;
        said(&format!("{name}: {:.2} s, {:.2} CPU s, the broker's {:.2}", work.wall, work.cpu, work.broker_cpu));
        Ok(work)
    }

    /// Of the last run only.
    fn stages(&self, run: u32) -> Option<&'static str> {
        (self.plan.stages && run == self.plan.runs).then_some("stages of the last run")
    }

    fn tell(&self, workload: &str, unit: &str, changes: u32, works: &[Work]) {
        if works.is_empty() {
            return;
        }
        let print = |figure: &str, of: &dyn Fn(&Work) -> f64, unit: &str| {
            self.figures.print(workload, figure, median(works.iter().map(of).collect()), unit);
        };
        print(unit, &|_| f64::from(changes), unit);
        print(&format!("{unit}_per_s"), &|work| work.rate(changes), &format!("{unit}/s"));
        print("cpu_s_per_million", &|work| work.cpu_per_million(changes), "s");
        print("broker_cpu_s_per_million", &|work| work.broker_cpu_per_million(changes), "s");
    }

    async fn compare(&self, of: &str) -> Result<()> {
        said(&format!("{of}: {} rows compare equal", rows::compare(&self.world).await?));
        Ok(())
    }

    /// With a group time of so many milliseconds, in a log that holds nothing but these changes.
    async fn latency(&mut self, group_time: &str, rows: u32) -> Result<()> {
        let start = place(&self.world).await?;
        self.new_log(&start, &format!("group_time = \"{group_time}ms\"\n"))?;
        let mysync = self.world.mysync().await?;
        let subscriber = Subscriber::start(&self.world.redis, "bulk:*")?;
        commits(&mut self.mysql, &subscriber, rows, COMMITS_PER_SECOND, WARM_COMMITS).await?;
        let (mut quantiles, mut missed) = ([(); 3].map(|()| Vec::new()), Vec::new());
        let (cpu_before, broker_before) = (mysync.cpu_seconds()?, self.kafka.cpu_seconds()?);
        let runs = self.plan.runs.max(1);
        for run in 1..=runs {
            let timed = commits(&mut self.mysql, &subscriber, rows, COMMITS_PER_SECOND, self.plan.commits).await?;
            let [p50, p99, p999] = [500, 990, 999].map(|q| timed.times.quantile(q).as_secs_f64() * 1e3);
            said(&format!(
                "group_time {group_time} ms, run {run}: p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms; {} commits late",
                timed.late
            ));
            quantiles.iter_mut().zip([p50, p99, p999]).for_each(|(all, one)| all.push(one));
            missed.push(f64::from(timed.late) / f64::from(self.plan.commits) * 100.0);
        }
        let figures = self.figures.with("group_time_ms", group_time.parse::<u32>()?);
        for (name, values) in ["p50", "p99", "p99.9"].into_iter().zip(quantiles) {
            figures.print("latency", name, median(values), "ms");
        }
        figures.print("latency", "schedule_missed", median(missed), "% of commits begun more than 1 ms late");
        let committed = f64::from(runs * self.plan.commits);
        let per_million = |cpu: f64| cpu / committed * 1e6;
        figures.print("latency", "cpu_s_per_million", per_million(mysync.cpu_seconds()? - cpu_before), "s");
        figures.print(
            "latency",
            "broker_cpu_s_per_million",
            per_million(self.kafka.cpu_seconds()? - broker_before),
            "s",
        );
        ensure!(mysync.terminate().await?.success(), "mysync did not end well");
        Ok(())
    }
}

impl Plan {
    fn from_arguments() -> Result<Self> {
        let mut plan = Self {
            rows: 1_000_000,
            transactions: 300_000,
            runs: 3,
            commits: 10_000,
            group_times: "0,2,5,10,20,50".to_owned(),
            takeovers: 5,
            nodes: 1,
            stages: false,
        };
        let Self { rows, transactions, runs, commits, group_times, takeovers, nodes, stages } = &mut plan;
        let numbers = &mut [
            ("--rows", rows),
            ("--transactions", transactions),
            ("--runs", runs),
            ("--commits", commits),
            ("--takeovers", takeovers),
            ("--nodes", nodes),
        ];
        arguments(USAGE, numbers, &mut [("--group-times", group_times)], &mut [("--stages", stages)])?;
        Ok(plan)
    }
}
