//! The demo: everything it needs is made here, and `tests/e2e/src/bin/demo.rs` plays it.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::environment::Environment;
use crate::step::say;
use crate::{build, plugins, services};

/// `cargo x demo`.
pub fn run(arguments: &[&str]) -> Result<ExitCode> {
    if let Some(unknown) = arguments.iter().find(|argument| !["--keep", "--kafka"].contains(*argument)) {
        bail!("the demo knows --keep and --kafka, and not \"{unknown}\"");
    }
    let mut environment = Environment::new()?;
    if arguments.contains(&"--kafka") {
        // First: it is what a machine may lack.
        let needs = "--kafka needs Java 17 or newer to run a broker, and Maven (mvn) to fetch it once";
        environment.set("MYSYNC_KAFKA_HOME", services::kafka_home().context(needs)?);
    }
    if std::env::var_os("MYSYNC_TEST_MYSQL").is_none() {
        environment.set_mysql_homes(&[services::newest_mysql()?])?;
    }
    environment.set("MYSYNC_REDIS_SERVER", services::redis_server()?);
    environment.set("MYSYNC_PLUGINS_DIR", plugins::build()?);
    say("building mysync with the dev profile: dependencies optimised a little, our own code not at all");
    let programs = build::programs(&["build", "--workspace", "--bin", "mysync", "--bin", "demo"])?;
    environment.set("MYSYNC_BIN", build::find(&programs, "mysync")?);
    environment.hand_over(Command::new(build::find(&programs, "demo")?).args(arguments))
}
