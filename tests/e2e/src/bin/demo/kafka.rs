//! The demo with its log on Kafka: two processes capture, one of which stands by, and two deliver and share three partitions. Each of the four
//! is killed in turn while changes are committed, and another takes over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use mysync_e2e_tests::world::PASSWORD;
use mysync_e2e_tests::{Machine, OnKafka, Options, World, dumps, show, told};
use mysync_test_support::{Kafka, Mysync, until};
use tokio::task::JoinHandle;

use crate::{EVENING, GONE, MORNING, change, interrupted, say, servers, show_configuration, timed_commits};

const WRITERS: [&str; 3] = ["bulk-cache", "orders-cache", "users-cache"];
const PARTITIONS: usize = 3;
/// At a moderate pace: what is killed must not be what keeps up.
const PACE: Duration = Duration::from_millis(10);
const ROWS_A_TRANSACTION: u32 = 10;

pub async fn demo(keep: bool) -> Result<()> {
    let started = Instant::now();
    let kafka = Kafka::start(1, &[])?;
    let took = started.elapsed().as_secs_f64();
    say(&format!("Kafka, one broker, runs on {}: ready after {took:.1} s", kafka.brokers()));
    let on = OnKafka::new(&kafka, "mysync.shop");
    let world = servers(Options { kafka: Some(on), log: "partitions = 3\n", ..Options::default() }).await?;
    show_configuration(&world)?;
    change(&world, &MORNING).await?;

    let first = Worker::start(&world, "capture")?;
    first.wait_capture("running").await?;
    let mut captures = [first, Worker::start(&world, "capture")?];
    captures[1].wait_capture("standby").await?;
    say(&format!("{} captures, {} stands by", captures[0], captures[1]));
    let mut delivers = [Worker::start(&world, "deliver")?, Worker::start(&world, "deliver")?];
    shared(&delivers).await?;

    let leader = captures[0].process()?;
    let mut rows = 0;
    for writer in WRITERS {
        rows += told::count(&dumps::wait_of(leader, writer, "done").await?, "rows");
    }
    say(&format!("first load: {rows} rows that were there before, by a dump for each writer"));
    world.wait_equal().await?;
    print!("{}", show::side_by_side(&world, &[]).await?);
    change(&world, &EVENING).await?;
    world.wait_equal().await?;
    print!("{}", show::side_by_side(&world, &GONE).await?);
    timed_commits(&world).await?;

    let load = Load::start(world.mysql.conn().await?);
    say(&format!(
        "a load begins: every {} ms a transaction that inserts {ROWS_A_TRANSACTION} rows, changes some and deletes one",
        PACE.as_millis()
    ));
    load.wait_shown(&world).await?;
    // The first kill makes the other one lead, which is killed then.
    for number in 0..captures.len() {
        kill_capture(&world, &load, &mut captures, number).await?;
    }
    for number in 0..delivers.len() {
        kill_deliver(&world, &load, &mut delivers, number).await?;
    }
    let (transactions, rows) = load.stop().await?;
    let entries = world.wait_equal().await?;
    say(&format!(
        "the load is over: {transactions} transactions with {rows} changes of rows were committed; compared: each of {entries} entries is \
         what MySQL says, and there are no others"
    ));
    if keep {
        show_what_to_try(&world, &kafka, &captures, &delivers)?;
        interrupted().await;
    }
    for worker in captures.into_iter().chain(delivers) {
        worker.end().await?;
    }
    say("all four were asked to end, and ended well");
    Ok(())
}

/// Ends the process that captures like a power cut; the other one goes on, and a new one stands by.
async fn kill_capture(world: &World, load: &Load, captures: &mut [Worker; 2], number: usize) -> Result<()> {
    captures[number].kill()?;
    let killed = Instant::now();
    let other = &captures[1 - number];
    other.wait_capture("running").await?;
    let took = killed.elapsed().as_secs_f64();
    load.wait_shown(world).await?;
    say(&format!(
        "{other} captures {took:.1} s later; what was committed meanwhile is in Redis {:.1} s after the kill",
        killed.elapsed().as_secs_f64()
    ));
    captures[number].restart(world)?;
    captures[number].wait_capture("standby").await
}

/// The same with one that delivers: the other one takes its partitions, until a new one takes its share.
async fn kill_deliver(world: &World, load: &Load, delivers: &mut [Worker; 2], number: usize) -> Result<()> {
    delivers[number].kill()?;
    let killed = Instant::now();
    let other = &delivers[1 - number];
    until("the other one has every partition", async || {
        let work = other.work()?;
        let all = work.values().all(|partitions| partitions.len() == PARTITIONS) && work.len() == WRITERS.len();
        ensure!(all, "{work:?}");
        Ok(())
    })
    .await?;
    let took = killed.elapsed().as_secs_f64();
    load.wait_shown(world).await?;
    say(&format!(
        "{other} has all partitions {took:.1} s later; what was committed meanwhile is in Redis {:.1} s after the kill",
        killed.elapsed().as_secs_f64()
    ));
    delivers[number].restart(world)?;
    shared(delivers).await
}

/// Waits until both work at some of the partitions and together at all, and says who has which.
async fn shared(delivers: &[Worker; 2]) -> Result<()> {
    let [one, other] = until("the partitions are shared", async || {
        let [one, other] = [delivers[0].work()?, delivers[1].work()?];
        for writer in WRITERS {
            let none = BTreeSet::new();
            let [one, other] = [&one, &other].map(|work| work.get(writer).unwrap_or(&none));
            let fair = !one.is_empty() && !other.is_empty() && one.is_disjoint(other);
            ensure!(fair && one.len() + other.len() == PARTITIONS, "{writer}: {one:?} and {other:?}");
        }
        Ok([one, other])
    })
    .await?;
    for (worker, work) in delivers.iter().zip([one, other]) {
        let of = |(writer, partitions): (&String, &BTreeSet<u64>)| {
            let partitions: Vec<String> = partitions.iter().map(u64::to_string).collect();
            format!("{writer} in {}", partitions.join(" and "))
        };
        say(&format!("{worker} delivers {}", work.iter().map(of).collect::<Vec<_>>().join(", ")));
    }
    Ok(())
}

/// A process on a machine of its own, as far as a folder and an address are one.
struct Worker {
    machine: Machine,
    half: &'static str,
    process: Option<Mysync>,
}

impl Worker {
    fn start(world: &World, half: &'static str) -> Result<Self> {
        let mut worker = Self { machine: Machine::new(world)?, half, process: None };
        worker.restart(world)?;
        Ok(worker)
    }

    fn restart(&mut self, world: &World) -> Result<()> {
        let process = self.process.insert(self.machine.spawn(world, self.half)?);
        say(&format!("mysync {} is started: process {}", self.half, process.id()));
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        let process = self.process.take().context("it does not run")?;
        say(&format!("kill -9 of process {}, mysync {}", process.id(), self.half));
        process.kill();
        Ok(())
    }

    async fn end(mut self) -> Result<()> {
        let process = self.process.take().context("it does not run")?;
        let status = process.terminate().await?;
        ensure!(status.success(), "mysync {} ended with {status}", self.half);
        Ok(())
    }

    fn process(&self) -> Result<&Mysync> {
        self.process.as_ref().context("it does not run")
    }

    /// Waits until it captures, or stands by.
    async fn wait_capture(&self, state: &str) -> Result<()> {
        until(&format!("capture is {state}"), async || {
            let capture = told::capture(self.process()?)?;
            ensure!(capture["state"] == state, "{capture}");
            Ok(())
        })
        .await
    }

    /// Partitions that it works at, by writer.
    fn work(&self) -> Result<BTreeMap<String, BTreeSet<u64>>> {
        let status = self.process()?.status()?;
        let mut work: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for writer in status["writers"].as_array().context("a status has writers")? {
            if writer["state"] == "running" {
                let name = writer["writer"].as_str().unwrap_or_default().to_owned();
                work.entry(name).or_default().extend(writer["partition"].as_u64());
            }
        }
        Ok(work)
    }
}

impl std::fmt::Display for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.process {
            Some(process) => write!(f, "process {}", process.id()),
            None => write!(f, "no process"),
        }
    }
}

/// Transactions on the table for loads, one after the other, until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    /// The last row that is committed, at first the one that will be. It is never deleted.
    committed: Arc<AtomicU32>,
    session: JoinHandle<Result<(u32, u32)>>,
}

impl Load {
    fn start(conn: Conn) -> Self {
        let (stop, committed) = (Arc::<AtomicBool>::default(), Arc::new(AtomicU32::new(ROWS_A_TRANSACTION)));
        let session = tokio::spawn(commit(conn, stop.clone(), committed.clone()));
        Self { stop, committed, session }
    }

    /// Waits until Redis shows what is committed by now.
    async fn wait_shown(&self, world: &World) -> Result<()> {
        let (mut redis, key) = (world.redis.conn()?, format!("bulk:{}", self.committed.load(Relaxed)));
        until("Redis shows the load", async || {
            let shown: bool = redis::cmd("EXISTS").arg(&key).query(&mut redis)?;
            ensure!(shown, "{key} is not there");
            Ok(())
        })
        .await
    }

    /// Answers how many transactions were committed, and changes in them.
    async fn stop(self) -> Result<(u32, u32)> {
        self.stop.store(true, Relaxed);
        self.session.await?
    }
}

async fn commit(mut conn: Conn, stop: Arc<AtomicBool>, committed: Arc<AtomicU32>) -> Result<(u32, u32)> {
    let (mut pace, mut turn, mut changes) = (tokio::time::interval(PACE), 0, 0);
    while !stop.load(Relaxed) {
        pace.tick().await;
        let first = turn * ROWS_A_TRANSACTION + 1;
        let last = first + ROWS_A_TRANSACTION - 1;
        let rows: Vec<String> = (first..=last).map(|id| format!("({id}, {turn}, 'row {id}', '')")).collect();
        // Rows from before: some all over the table, one in the middle of its transaction, and a user.
        let (some, one) = (turn / 3 * ROWS_A_TRANSACTION + 1, turn / 2 * ROWS_A_TRANSACTION + 5);
        let statements = [
            "BEGIN".to_owned(),
            format!("INSERT INTO shop.bulk VALUES {}", rows.join(", ")),
            format!("UPDATE shop.bulk SET k = {turn}, c = 'changed' WHERE id BETWEEN {some} AND {some} + 3"),
            format!("DELETE FROM shop.bulk WHERE id = {one}"),
            "UPDATE shop.users SET score = score + 1 WHERE id = 1".to_owned(),
            "COMMIT".to_owned(),
        ];
        for statement in statements {
            conn.query_drop(statement).await?;
            changes += u32::try_from(conn.affected_rows())?;
        }
        committed.store(last, Relaxed);
        turn += 1;
    }
    conn.disconnect().await?;
    Ok((turn, changes))
}

fn show_what_to_try(world: &World, kafka: &Kafka, captures: &[Worker], delivers: &[Worker]) -> Result<()> {
    let program = Mysync::command(world.dir(), &[])?.get_program().display().to_string();
    let (mysql, redis) = (world.mysql.port, world.redis.port);
    say("everything keeps running; in another terminal:");
    println!("    mysql -h 127.0.0.1 -P {mysql} -u root shop      UPDATE users SET city = 'Rome' WHERE id = 2;");
    println!("    redis-cli -p {redis} hgetall user:2");
    println!("    redis-cli -p {redis} smembers users:by-city:Rome");
    for worker in captures.iter().chain(delivers) {
        let process = worker.process()?;
        println!("    {program} status --admin {}      process {}, {}", process.admin()?, process.id(), worker.half);
    }
    if let Some(worker) = delivers.first() {
        println!(
            "    kill -9 {0}; cd {1} && MYSYNC_PASSWORD={PASSWORD} {program} deliver",
            worker.process()?.id(),
            worker.machine.dir().display()
        );
    }
    println!("    and any tool of Kafka's, with --bootstrap-server {}", kafka.brokers());
    say("Ctrl-C ends it all");
    Ok(())
}
