//! Where a process's time goes, stage by stage. `perf` looks; a machine without it has no answer.
//!
//! A sample counts for the crate of ours that is nearest to where the process was: what the kernel or a library does for a crate is that
//! crate's time. Code that was inlined counts where it was inlined, so neighbours blur.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

const SAMPLES_PER_SECOND: &str = "499";
/// Places named beside the stages.
const PLACES: usize = 25;

/// Crates in whose names a stage's functions are, and what the stage does.
const STAGES: [(&str, &str); 8] = [
    ("mysync_binlog", "binlog: stream, CRC, rows decoded"),
    ("mysync_change", "change: blocks cut, batches built"),
    ("rd_kafka", "librdkafka: Kafka written and read"),
    ("LZ4", "librdkafka: Kafka written and read"),
    ("mysync_log", "log: written and read, SQLite if it is there"),
    ("mysync_wasm", "wasm: batches carried over, commands checked"),
    ("mysync_connectors", "connectors: Redis written and read"),
    ("mysync_pipeline", "pipeline: both loops"),
];
const GUEST: &str = "writer: the component itself";
const OTHERS: &str = "others: runtime, idle threads";

/// Samples a process until it is finished.
pub struct Sampling {
    perf: Child,
    dir: TempDir,
}

impl Sampling {
    pub fn start(process: u32) -> Result<Self> {
        let dir = TempDir::new()?;
        let mut command = Command::new("perf");
        command.args(["record", "--quiet", "--freq", SAMPLES_PER_SECOND, "--call-graph", "dwarf,16384"]);
        command.args(["--pid", &process.to_string(), "--output"]).arg(dir.path().join("samples"));
        let perf = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().context("perf cannot be started")?;
        Ok(Self { perf, dir })
    }

    /// A table of stages, and one of places, each with its part of `cpu_seconds`.
    pub fn finish(mut self, cpu_seconds: f64) -> Result<String> {
        // It writes what it has when it is interrupted.
        Command::new("kill").args(["-s", "INT", &self.perf.id().to_string()]).status()?;
        self.perf.wait()?;
        let mut command = Command::new("perf");
        command
            .args(["script", "--no-inline", "--fields", "ip,sym,dso", "--input"])
            .arg(self.dir.path().join("samples"));
        let output = command.stderr(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        // The line above the frames is empty: none of its fields are asked for.
        let frames = text.split("\n\n").map(|sample| sample.lines().map(str::trim).filter(|frame| !frame.is_empty()));
        let samples: Vec<Vec<&str>> =
            frames.map(Iterator::collect).filter(|frames: &Vec<_>| !frames.is_empty()).collect();
        ensure!(!samples.is_empty(), "perf has seen nothing");
        let share = |count: usize| count as f64 / samples.len() as f64;
        let mut table = format!("{} samples\n", samples.len());
        for (title, names, rows) in
            [("stage", counted(&samples, stage), usize::MAX), ("place", counted(&samples, place), PLACES)]
        {
            table.push_str(&format!("{:>6} {:>8}  {title}\n", "share", "CPU s"));
            for (name, count) in names.into_iter().take(rows) {
                table.push_str(&format!("{:5.1}% {:8.3}  {name}\n", share(count) * 100.0, share(count) * cpu_seconds));
            }
        }
        Ok(table)
    }
}

/// How often each name comes, most first.
fn counted(samples: &[Vec<&str>], name: impl Fn(&[&str]) -> String) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    samples.iter().for_each(|frames| *counts.entry(name(frames)).or_default() += 1);
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

fn stage(frames: &[&str]) -> String {
    // Compiled guests are mapped by nobody that perf could name.
    if frames.first().is_some_and(|frame| frame.contains("[unknown]")) {
        return GUEST.to_owned();
    }
    let found = frames.iter().find_map(|frame| STAGES.iter().find(|(name, _)| frame.contains(name)));
    found.map_or(OTHERS, |(_, stage)| stage).to_owned()
}

/// The function that the sample was in.
fn place(frames: &[&str]) -> String {
    let frame = frames.first().copied().unwrap_or_default();
    let symbol = frame.split_once(' ').map_or(frame, |(_, symbol)| symbol);
    let (symbol, library) = symbol.rsplit_once(" (").unwrap_or((symbol, ""));
    let symbol = symbol.rsplit_once("+0x").map_or(symbol, |(symbol, _)| symbol);
    match library {
        "[kernel.kallsyms])" => format!("kernel: {symbol}"),
        _ => symbol.to_owned(),
    }
}
