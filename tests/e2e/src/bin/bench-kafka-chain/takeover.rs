//! How long it takes until a standby goes on for the leader.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use mysync_e2e_tests::bench::{Figures, place, said};
use mysync_e2e_tests::figures::{Times, median};
use mysync_e2e_tests::subscriber::Subscriber;
use mysync_e2e_tests::{Machine, told};
use mysync_test_support::{Mysync, until};

use crate::Bench;

/// Between two commits.
const PACE: Duration = Duration::from_millis(5);
/// Commits before the leader goes.
const UNDER_WAY: u32 = 20;

/// Commits one after the other, until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU32>,
    session: tokio::task::JoinHandle<Result<Vec<Instant>>>,
}

/// Two that capture, of which one stands by, and one that delivers.
pub async fn takeovers(bench: &mut Bench) -> Result<()> {
    let start = place(&bench.world).await?;
    bench.new_log(&start, "")?;
    let world = &bench.world;
    let (first, second, third) = (Machine::new(world)?, Machine::new(world)?, Machine::new(world)?);
    let mut leader = first.spawn(world, "capture")?;
    wait_state(&leader, "running").await?;
    let delivers = third.start(world, "deliver").await?;
    let mut machines = [first, second];
    for kind in ["killed", "ended"] {
        let (mut led, mut stood) = (Vec::new(), Vec::new());
        for number in 1..=bench.plan.takeovers {
            let standby = machines[1].spawn(world, "capture")?;
            wait_state(&standby, "standby").await?;
            let subscriber = Subscriber::start(&world.redis, "bulk:*")?;
            let load = Load::start(world.mysql.conn().await?);
            load.is_under_way().await?;
            let gone = Instant::now();
            let ending = match kind {
                "killed" => {
                    leader.kill();
                    None
                }
                _ => {
                    leader.ask_to_end()?;
                    Some(leader)
                }
            };
            wait_state(&standby, "running").await?;
            let leads = gone.elapsed().as_secs_f64();
            if let Some(leader) = ending {
                ensure!(leader.terminate().await?.success(), "the leader did not end well");
            }
            let mut latencies = Vec::new();
            for committed in load.stop().await? {
                latencies.push(subscriber.seen("bulk:1")?.saturating_duration_since(committed));
            }
            let longest = Times::new(latencies).quantile(1000).as_secs_f64();
            said(&format!(
                "{kind}, {number}: the standby captures after {leads:.2} s, a commit took {longest:.2} s at most"
            ));
            led.push(leads);
            stood.push(longest);
            leader = standby;
            machines.swap(0, 1);
        }
        let figures = bench.figures.with("takeovers", bench.plan.takeovers);
        tell(&figures, &format!("takeover_{kind}"), "standby_captures_after", led);
        tell(&figures, &format!("takeover_{kind}"), "longest_commit_to_visible", stood);
    }
    for process in [leader, delivers] {
        ensure!(process.terminate().await?.success(), "mysync did not end well");
    }
    Ok(())
}

fn tell(figures: &Figures, workload: &str, figure: &str, values: Vec<f64>) {
    let max = values.iter().copied().fold(0.0, f64::max);
    figures.print(workload, &format!("{figure}_median"), median(values), "s");
    figures.print(workload, &format!("{figure}_max"), max, "s");
}

async fn wait_state(mysync: &Mysync, state: &str) -> Result<()> {
    until(&format!("capture is {state}"), async || {
        let capture = told::capture(mysync)?;
        ensure!(capture["state"] == state, "{capture}");
        Ok(())
    })
    .await
}

impl Load {
    fn start(conn: Conn) -> Self {
        let (stop, committed) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
        let session = tokio::spawn(commit(conn, stop.clone(), committed.clone()));
        Self { stop, committed, session }
    }

    async fn is_under_way(&self) -> Result<()> {
        until("the load is under way", async || {
            let committed = self.committed.load(Relaxed);
            ensure!(committed >= UNDER_WAY, "{committed} transactions are committed");
            Ok(())
        })
        .await
    }

    /// When each commit was acknowledged.
    async fn stop(self) -> Result<Vec<Instant>> {
        self.stop.store(true, Relaxed);
        self.session.await.context("the load has ended by itself")?
    }
}

async fn commit(mut conn: Conn, stop: Arc<AtomicBool>, count: Arc<AtomicU32>) -> Result<Vec<Instant>> {
    let (mut pace, mut committed) = (tokio::time::interval(PACE), Vec::new());
    while !stop.load(Relaxed) {
        pace.tick().await;
        conn.query_drop("UPDATE shop.bulk SET k = k + 1 WHERE id = 1").await?;
        committed.push(Instant::now());
        count.fetch_add(1, Relaxed);
    }
    conn.disconnect().await?;
    Ok(committed)
}
