//! `cargo x`: everything that is done with this repository, on a machine that has nothing prepared.

mod bench;
mod build;
mod ci;
mod demo;
mod environment;
mod lint;
mod places;
mod plugins;
mod services;
mod step;
mod test;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
cargo x demo [--keep] [--kafka]       a shop in MySQL, kept equal in Redis: load, kill, compare; --kafka: by way of a Kafka
cargo x test [--in PROGRAM] [FILTER]  every test there is, on real servers; PROGRAM is a folder or a test file's name
cargo x lint                          format, clippy, documentation, dependencies
cargo x ci                            lint, then test: what CI runs
cargo x bench [NAME [ARGUMENTS]]      one benchmark, built for release; without a name: which there are
cargo x plugins                       builds the writers
cargo x services                      what is installed, and what runs
cargo x services up|down|install NAME...   mysql (the newest to be had), mysql-8.0, redis, kafka

Servers are taken from MYSYNC_MYSQL_HOMES, MYSYNC_REDIS_SERVER, MYSYNC_KAFKA_HOME or PATH, or fetched into
${MYSYNC_CACHE:-$HOME/.cache/mysync}; nothing outside of it is changed.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(arguments: &[&str]) -> Result<ExitCode> {
    match arguments {
        ["demo", rest @ ..] => demo::run(rest),
        ["test", rest @ ..] => test::run(rest),
        ["lint"] => lint::run(),
        ["ci"] => ci::run(),
        ["bench", rest @ ..] => bench::run(rest),
        ["plugins"] => plugins::run(),
        ["services", rest @ ..] => services::run(rest),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("what to do is one of these:\n\n{USAGE}"),
    }
}
