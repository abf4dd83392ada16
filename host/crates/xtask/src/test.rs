//! Every test there is: each test program by itself, one after the other, with real servers beside them.

mod results;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::build::{self, Program};
use crate::environment::Environment;
use crate::places::{cargo, repository, target};
use crate::step::{command, say};
use crate::{plugins, services};
pub use results::Results;

/// A test program that takes longer hangs.
const PROGRAM_TIME: Duration = Duration::from_secs(20 * 60);
/// Their tests start servers of their own: more at a time would only wait for each other.
const SERVERS: &str = "tests/e2e";
const SERVERS_THREADS: &str = "--test-threads=2";

/// Which tests.
#[derive(Debug, Default)]
pub struct Selection {
    /// Programs whose folder or name this is.
    program: Option<String>,
    /// Tests whose name contains this.
    test: Option<String>,
}

/// `cargo x test`.
pub fn run(arguments: &[&str]) -> Result<ExitCode> {
    let selection = match arguments {
        [] => Selection::default(),
        ["--in", program] => Selection { program: Some((*program).to_owned()), test: None },
        ["--in", program, test] => Selection { program: Some((*program).to_owned()), test: Some((*test).to_owned()) },
        [test] if !test.starts_with('-') => Selection { program: None, test: Some((*test).to_owned()) },
        _ => bail!("test knows [--in PROGRAM] [FILTER]"),
    };
    Ok(results(&selection).tell())
}

/// Runs them. What keeps them from running at all is a failure like any other.
pub fn results(selection: &Selection) -> Results {
    let mut results = Results::default();
    if let Err(error) = all(selection, &mut results) {
        results.fail(format!("the tests did not run to their end: {error:#}"));
    }
    results
}

fn all(selection: &Selection, results: &mut Results) -> Result<()> {
    let mut environment = Environment::new()?;
    prepare(&mut environment, results)?;
    environment.set("MYSYNC_PLUGINS_DIR", plugins::build()?);
    say("building the tests with the dev profile");
    let programs = build::programs(&["test", "--workspace", "--no-run"])?;
    environment.set("MYSYNC_BIN", build::find(&programs, "mysync")?);
    let logs = target().join("test-output");
    std::fs::create_dir_all(&logs)?;
    for program in programs.iter().filter(|program| program.tests && selection.names(program)) {
        let label = format!("{} {}", folder(program), program.name);
        let mut command = command(&program.file);
        command.current_dir(&program.package).arg("--show-output").args(&selection.test);
        if folder(program) == SERVERS {
            command.arg(SERVERS_THREADS);
        }
        run_program(environment.apply(&mut command), &label, &logs, results)?;
    }
    if selection.program.is_none() {
        let mut command = cargo(&["test", "--workspace", "--doc", "--locked", "--quiet", "--"]);
        run_program(environment.apply(&mut command).args(&selection.test), "documentation", &logs, results)?;
    }
    Ok(())
}

/// Servers. In CI one that cannot be had is a failure; elsewhere the tests that need it say that they are skipped.
fn prepare(environment: &mut Environment, results: &mut Results) -> Result<()> {
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    let mut miss = |reason: String, needed: bool| {
        say(&reason);
        if ci && needed {
            results.fail(reason);
        }
    };
    match services::redis_server() {
        Ok(redis) => environment.set("MYSYNC_REDIS_SERVER", redis),
        Err(error) => miss(format!("Redis cannot be had: {error:#}"), true),
    }
    // Java is no part of what every machine of ours has.
    match services::kafka_home() {
        Ok(home) => environment.set("MYSYNC_KAFKA_HOME", home),
        Err(error) => miss(format!("Kafka cannot be had: {error:#}"), false),
    }
    let (homes, missing) = services::mysql_homes()?;
    // One version may be away for a day.
    missing.into_iter().for_each(|reason| miss(reason, homes.is_empty()));
    environment.set_mysql_homes(&homes)?;
    environment.start_shared_mysqls(&homes)
}

impl Selection {
    fn names(&self, program: &Program) -> bool {
        self.program.as_ref().is_none_or(|name| *name == program.name || *name == folder(program))
    }
}

/// The package's folder in the repository.
fn folder(program: &Program) -> String {
    program.package.strip_prefix(repository()).unwrap_or(&program.package).display().to_string()
}

/// Runs one program to its end, with everything it says in a file, and shows what failed.
fn run_program(command: &mut Command, label: &str, logs: &Path, results: &mut Results) -> Result<()> {
    let log: PathBuf = logs.join(format!("{}.txt", label.replace(['/', ' '], "-")));
    let (file, began) = (File::create(&log)?, Instant::now());
    let mut child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if began.elapsed() > PROGRAM_TIME => {
                child.kill()?;
                child.wait()?;
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let output = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
    let mut here = Results::read(label, &output);
    match status {
        Some(status) if status.success() || here.failed() > 0 => {}
        Some(status) => here.fail(format!("{label}: ended with {status}")),
        None => here.fail(format!("{label}: did not end within {} minutes", PROGRAM_TIME.as_secs() / 60)),
    }
    if here.failed() > 0 {
        eprintln!("{}", results::failures_in(&output));
        say(format!("{label}: everything it said is in {}", log.display()));
    }
    if !here.is_empty() {
        say(format!("{label}: {here} in {:.1} s", began.elapsed().as_secs_f64()));
    }
    results.add(here);
    Ok(())
}
