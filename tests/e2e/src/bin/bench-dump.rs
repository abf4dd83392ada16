//! `dump`: a first load of rows W1, everything on this machine.
//!
//! First what MySQL can give: the table drained over one connection, nothing done with the rows. Then the dump into the log alone, in this
//! process; then through the whole program into Redis; and once more while another table is committed to on a fixed schedule, each commit
//! timed from its acknowledgement to its sight in Redis, after the same without a dump.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mysql_async::prelude::Queryable;
use mysync_binlog::connection::ConnectionSettings;
use mysync_binlog::source::{Mysql as Source, MysqlSettings, Selected, StartAt};
use mysync_binlog::tls::TlsSettings;
use mysync_change::pattern::Pattern;
use mysync_e2e_tests::drain::drain;
use mysync_e2e_tests::figures::{Times, median};
use mysync_e2e_tests::subscriber::Subscriber;
use mysync_e2e_tests::{Options, World, rows, shop};
use mysync_log::{EmbeddedLog, LogSettings};
use mysync_pipeline::capture::capture;
use mysync_pipeline::dump::{Request, orders};
use mysync_pipeline::shutdown::Shutdown;
use mysync_pipeline::status::Board;
use mysync_test_support::Mysync;

const USAGE: &str = "bench-dump [--rows N] [--runs N]";
const QUERY: &str = "SELECT * FROM shop.bulk";
/// Of the kernel's accounts: the same on every Linux with this ABI.
const TICKS_PER_SECOND: f64 = 100.0;
const COMMITS_PER_SECOND: u32 = 500;
const COMMITS: u32 = 1_000;
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// A dump that takes longer does not move.
const PATIENCE: Duration = Duration::from_secs(600);

#[tokio::main]
async fn main() -> Result<()> {
    let (rows, runs) = arguments()?;
    let options = Options {
        // Rows stay in memory: what is measured is mysync, not the disk.
        mysql: vec!["--innodb-buffer-pool-size=1G", "--innodb-redo-log-capacity=512M"],
        writers: vec![("rows-cache", rows::WRITER), ("users-cache", shop::USERS)],
        ..Options::default()
    };
    let world = World::start("bench-dump", options).await?.context("there is no MySQL or no Redis")?;
    said(&format!("loading {rows} rows"));
    rows::insert(&mut world.mysql.conn().await?, 1..=rows).await?;

    let port = world.mysql.port;
    let mut drained = Vec::new();
    for _ in 0..runs {
        let started = Instant::now();
        ensure!(drain(port, QUERY)? == u64::from(rows), "not all rows came");
        drained.push(f64::from(rows) / started.elapsed().as_secs_f64());
    }
    let drained = median(drained);
    figure("drain", "rows_per_s", drained, "rows/s");

    let (mut rates, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let (seconds, cpu_seconds) = into_log(&world, rows).await?;
        rates.push(f64::from(rows) / seconds);
        cpu.push(cpu_seconds / f64::from(rows) * 1e6);
    }
    report("log", median(rates), drained, median(cpu));

    let mut mysync = world.mysync().await?;
    let (mut rates, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let (started, before) = (Instant::now(), mysync.cpu_seconds()?);
        world.command_well(&["dump", "--writer", "rows-cache", "--detach"])?;
        done(&mut mysync)?;
        rates.push(f64::from(rows) / started.elapsed().as_secs_f64());
        cpu.push((mysync.cpu_seconds()? - before) / f64::from(rows) * 1e6);
    }
    report("redis", median(rates), drained, median(cpu));
    said(&format!("{} rows compare equal", rows::compare(&world).await?));

    for workload in ["latency", "latency_during_a_dump"] {
        if workload != "latency" {
            world.command_well(&["dump", "--writer", "rows-cache", "--detach"])?;
        }
        let times = latency(&world).await?;
        ensure!(workload == "latency" || !is_done(&mysync)?, "the dump was over before the commits were");
        for (name, thousandths) in [("p50", 500), ("p99", 990), ("p99.9", 999)] {
            figure(workload, name, times.quantile(thousandths).as_secs_f64() * 1e6, "µs");
        }
        done(&mut mysync)?;
    }
    ensure!(mysync.terminate().await?.success(), "mysync did not end well");
    Ok(())
}

/// The dump and capture, without anybody who takes the rows from the log; answers the seconds and the CPU seconds it took.
async fn into_log(world: &World, rows: u32) -> Result<(f64, f64)> {
    let dir = tempfile::tempdir()?;
    let log = EmbeddedLog::open(&LogSettings {
        dir: dir.path().to_owned(),
        partitions: 1,
        max_bytes: 64 << 30,
        retention: Duration::from_secs(3600),
        writers: Vec::new(),
        loaded: Vec::new(),
    })?;
    let (board, shutdown) = (Arc::new(Board::default()), Shutdown::default());
    let (orders, book) = orders();
    let mut source = Source::new(source(world), book, board.clone());
    let (mut writer, ending, status) = (log.writer(), shutdown.ending(), board.clone());
    let captured = tokio::spawn(async move { capture(&mut source, &mut writer, &status.capture, ending).await });
    let (started, before) = (Instant::now(), cpu_seconds()?);
    let request = Request { writer: None, tables: vec![Pattern::new("shop.bulk")], rows_per_second: None };
    orders.start(request).await?;
    let ended = loop {
        match board.capture.dumps().first() {
            Some(dump) if dump.stage.is_over() => break dump.clone(),
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
        ensure!(started.elapsed() < PATIENCE, "the dump does not end: {:?}", board.capture.dumps());
    };
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds()? - before);
    ensure!(ended.rows == u64::from(rows), "{ended:?}");
    shutdown.begin();
    captured.await??;
    Ok((seconds, cpu))
}

fn source(world: &World) -> MysqlSettings {
    MysqlSettings {
        connection: ConnectionSettings {
            host: "127.0.0.1".to_owned(),
            port: world.mysql.port,
            user: "root".to_owned(),
            password: String::new(),
            tls: TlsSettings::default(),
            connect_timeout: ConnectionSettings::CONNECT_TIMEOUT,
            server_id: 4711,
            replica_uuid: [7; 16],
            heartbeat: Duration::from_secs(1),
            event_bytes_max: ConnectionSettings::EVENT_BYTES_MAX,
        },
        selected: Selected { tables: vec![Pattern::new("shop.*")], ..Selected::default() },
        start: StartAt::Now,
        chunk_rows_max: MysqlSettings::CHUNK_ROWS_MAX,
        writers_elsewhere: false,
    }
}

/// Of this process, its threads included.
fn cpu_seconds() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    // The command's name in brackets may hold anything.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).context("no CPU time");
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

fn is_done(mysync: &Mysync) -> Result<bool> {
    let status = mysync.status()?;
    let dumps = status["dumps"].as_array().context("no dumps")?;
    Ok(dumps.iter().all(|dump| ["done", "cancelled"].contains(&dump["state"].as_str().unwrap_or_default())))
}

/// Waits until every dump is over.
fn done(mysync: &mut Mysync) -> Result<()> {
    let started = Instant::now();
    while !is_done(mysync)? {
        ensure!(started.elapsed() < PATIENCE, "the dump does not end: {}", mysync.log());
        sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Commits to another table on a schedule that waits for nothing, each timed to its sight in Redis.
async fn latency(world: &World) -> Result<Times> {
    let subscriber = Subscriber::start(&world.redis, "user:*")?;
    let mut conn = world.mysql.conn().await?;
    let put = conn.prep("REPLACE INTO shop.users (id, name, city) VALUES (?, ?, 'Paris')").await?;
    let (interval, begin, mut acknowledged) = (Duration::from_secs(1) / COMMITS_PER_SECOND, Instant::now(), Vec::new());
    for number in 0..COMMITS {
        sleep((begin + interval * number).saturating_duration_since(Instant::now()));
        conn.exec_drop(&put, (number, format!("{begin:?} {number}"))).await?;
        acknowledged.push(Instant::now());
    }
    let mut times = Vec::new();
    for (number, at) in (0..).zip(acknowledged) {
        times.push(subscriber.seen(&format!("user:{number}"))?.saturating_duration_since(at));
    }
    Ok(Times::new(times))
}

fn arguments() -> Result<(u32, u32)> {
    let (mut rows, mut runs) = (1_000_000, 3);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let number = arguments.next().and_then(|number| number.parse().ok());
        let number = number.with_context(|| format!("{argument} needs a number\n{USAGE}"))?;
        match argument.as_str() {
            "--rows" => rows = number,
            "--runs" => runs = number,
            _ => bail!("{argument} is unknown\n{USAGE}"),
        }
    }
    Ok((rows, runs))
}

fn report(workload: &str, rate: f64, drained: f64, cpu: f64) {
    figure(workload, "rows_per_s", rate, "rows/s");
    figure(workload, "of_the_drain", rate / drained * 100.0, "%");
    figure(workload, "cpu_s_per_million", cpu, "s");
}

fn figure(workload: &str, figure: &str, value: f64, unit: &str) {
    println!(r#"{{"bench":"dump","workload":"{workload}","figure":"{figure}","value":{value:.3},"unit":"{unit}"}}"#);
}

fn said(what: &str) {
    eprintln!("{what}");
}
