//! Benchmarks: programs that print one JSON line a figure, the only things that are built for release.
//!
//! One is called like its file: `benches/NAME.rs`, or `src/bin/bench-NAME.rs`.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::environment::Environment;
use crate::places::cargo;
use crate::step::{read, say};
use crate::{build, plugins, services};

struct Bench {
    name: String,
    /// `--bench` or `--bin`.
    kind: &'static str,
    target: String,
    /// It starts servers.
    servers: bool,
}

/// `cargo x bench`.
pub fn run(arguments: &[&str]) -> Result<ExitCode> {
    let benches = benches()?;
    let names = benches.iter().map(|bench| bench.name.as_str()).collect::<Vec<_>>().join(", ");
    let [name, arguments @ ..] = arguments else {
        println!("{names}");
        return Ok(ExitCode::SUCCESS);
    };
    let bench = benches.iter().find(|bench| bench.name == *name);
    let bench = bench.with_context(|| format!("there is no bench \"{name}\": there are {names}"))?;
    let mut environment = Environment::new()?;
    environment.set("MYSYNC_PLUGINS_DIR", plugins::build()?);
    if bench.servers {
        environment.set_mysql_homes(&[services::newest_mysql()?])?;
        environment.set("MYSYNC_REDIS_SERVER", services::redis_server()?);
        if bench.name.starts_with("kafka-") {
            environment.set("MYSYNC_KAFKA_HOME", services::kafka_home()?);
        }
        say("building mysync for release");
        let programs = build::programs(&["build", "--release", "--workspace", "--bin", "mysync"])?;
        environment.set("MYSYNC_BIN", build::find(&programs, "mysync")?);
    }
    say(format!("building {} for release", bench.target));
    let programs = build::programs(&["build", "--release", "--workspace", bench.kind, &bench.target])?;
    let program = programs.iter().find(|program| program.name == bench.target);
    let program = program.with_context(|| format!("the build made no {}", bench.target))?;
    environment.hand_over(Command::new(&program.file).args(arguments))
}

fn benches() -> Result<Vec<Bench>> {
    let metadata = read(&mut cargo(&["metadata", "--no-deps", "--locked", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut benches = Vec::new();
    for package in list(&metadata["packages"]) {
        let servers = list(&package["dependencies"])
            .iter()
            .any(|dependency| dependency["name"] == "mysync-test-support" && dependency["kind"].is_null());
        for target in list(&package["targets"]) {
            let Some(name) = target["name"].as_str() else { continue };
            let (kind, bench) = match target["kind"][0].as_str() {
                Some("bench") => ("--bench", name),
                Some("bin") => match name.strip_prefix("bench-") {
                    Some(bench) => ("--bin", bench),
                    None => continue,
                },
                _ => continue,
            };
            benches.push(Bench { name: bench.to_owned(), kind, target: name.to_owned(), servers });
        }
    }
    benches.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(benches)
}
