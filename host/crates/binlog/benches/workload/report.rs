//! Figures, one JSON line each.

use std::time::{Duration, Instant};

/// Runs of a workload, of which the median counts.
pub const RUNS: usize = 31;

/// Time of one run.
pub struct Run {
    wall: Duration,
    cpu: Duration,
}

impl Run {
    pub fn measure(work: impl FnOnce()) -> Self {
        let (started, cpu) = (Instant::now(), cpu_time());
        work();
        Self { cpu: cpu_time() - cpu, wall: started.elapsed() }
    }
}

/// What this thread has used.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

pub fn line(bench: &str, workload: &str, figure: &str, value: f64, unit: &str) {
    println!(r#"{{"bench":"{bench}","workload":"{workload}","figure":"{figure}","value":{value:.4},"unit":"{unit}"}}"#);
}

/// A workload with one row per transaction is told by its transactions.
pub fn print(bench: &str, workload: &str, mut runs: Vec<Run>, transactions: usize, rows: usize) {
    runs.sort_by_key(|run| run.wall);
    let wall = runs[runs.len() / 2].wall.as_nanos() as f64 / rows as f64;
    // The kernel counts in steps that are too coarse for one run.
    let cpu: Duration = runs.iter().map(|run| run.cpu).sum();
    let cpu = cpu.as_nanos() as f64 / (runs.len() * rows) as f64;
    let figure = if rows == transactions { "ns_per_transaction" } else { "ns_per_row" };
    line(bench, workload, figure, wall, "ns");
    line(bench, workload, "cpu_s_per_million", cpu / 1000.0, "s");
    line(bench, workload, "rows_per_s", 1e9 / wall, "1/s");
}
