//! Times one writer's way from a typed batch to whatever is made of its commands.

use std::time::{Duration, Instant};

use mysync_change::batch::{Batch, Plan};
use mysync_change::operations::RedisCommands;
use mysync_pipeline::ports::Writer;
use mysync_wasm::{Instance, PluginSettings};

use crate::{batches, writers};

/// Rows a batch.
pub const WORKLOADS: [u32; 4] = [1, 10, 100, 1000];
/// Runs of a workload, of which the median counts.
const RUNS: usize = 7;
/// Time of one run: long enough to average, short enough for seven of them.
const RUN: Duration = Duration::from_millis(300);
/// Rows made ready at a time, outside of what is measured: few enough to be in the cache, as they are when a batch has just been built.
const READY_ROWS: u32 = 1000;

/// Prints one JSON line for each figure of each workload, or of the one that the command line names.
pub async fn bench(name: &str, settings: PluginSettings, mut use_up: impl FnMut(&RedisCommands)) {
    let mut instance = writers::load(settings).await.start().await.expect("the writer starts");
    let plan = instance.define(0, &batches::users()).await.expect("the writer takes the table");
    let only = std::env::args().nth(1).and_then(|rows| rows.parse().ok());
    for rows in WORKLOADS.into_iter().filter(|rows| only.is_none_or(|only: u32| only == *rows)) {
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            runs.push(run(&mut instance, &plan, rows, &mut use_up).await);
        }
        let mut figure = |figure: &str, of: fn(&(f64, f64)) -> f64| {
            runs.sort_by(|a, b| of(a).total_cmp(&of(b)));
            let value = of(&runs[RUNS / 2]);
            println!(r#"{{"bench":"{name}","workload":"{rows}","figure":"{figure}","value":{value:.1},"unit":"ns"}}"#);
        };
        figure("ns_per_row", |run| run.0);
        figure("cpu_ns_per_row", |run| run.1);
    }
}

/// Wall and CPU time of a row, in nanoseconds.
async fn run(instance: &mut Instance, plan: &Plan, rows: u32, use_up: &mut impl FnMut(&RedisCommands)) -> (f64, f64) {
    let template = batches::inserts(plan, 0, rows);
    let (mut wall, mut cpu, mut count) = (Duration::ZERO, Duration::ZERO, 0);
    while wall < RUN {
        let ready: Vec<Batch> = (0..READY_ROWS / rows).map(|_| template.clone()).collect();
        let (started, cpu_started) = (Instant::now(), cpu_time());
        for batch in ready {
            let mapped = instance.write(batch).await.expect("the writer maps the batch");
            assert!(mapped.rejections.is_empty(), "{:?}", mapped.rejections.first());
            use_up(&mapped.commands);
        }
        cpu += cpu_time() - cpu_started;
        wall += started.elapsed();
        count += READY_ROWS;
    }
    let per_row = |time: Duration| time.as_nanos() as f64 / f64::from(count);
    (per_row(wall), per_row(cpu))
}

/// What this thread has used. Everything that is measured runs on it.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a kernel that counts");
    Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds"))
}
